//! `explain`: what a code in a message or a listing means.

use super::context::Context;
use super::help::after;
use crate::api::report::governed_by;
use crate::failure::{Exit, Failure};
use crate::view::SCHEMA;
use firewall_common::reason::Reason;
use serde_json::json;

/// Explain a reason (frag-tiny) or an error code (FW0101)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A reason's name, or the code of an error or warning
    #[arg(value_name = "CODE")]
    code: String,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl explain frag-tiny",
            "firewall-ctl explain FW0101",
            "firewall-ctl explain no-match -o json",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let Some(reason) = reason(&args.code) else {
        return Err(
            Failure::new(Exit::Failed, format!("nothing is called `{}`", args.code))
                .help("list the reasons: firewall-ctl get reasons; error codes look like FW0101"),
        );
    };
    if context.format.is_text() {
        context.print(&format!(
            "{}: {}\nDecided by: {} in the policy.\n",
            reason.name(),
            reason.text(),
            governed_by(reason)
        ))?;
    } else {
        context.print(&context.format.document(
            &json!({
                "schema": SCHEMA,
                "code": reason.name(),
                "kind": "reason",
                "text": reason.text(),
                "governed_by": governed_by(reason),
            }),
            false,
        )?)?;
    }
    Ok(Exit::Ok)
}

/// A reason by its name; `FRAG_TINY` is understood too.
pub(super) fn reason(name: &str) -> Option<Reason> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.name() == name)
}
