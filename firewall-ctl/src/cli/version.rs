//! `version`: the versions of this binary, the map layout and the JSON schema.

use super::context::Context;
use super::help::after;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_common::abi::ABI_VERSION;
use serde_json::json;

/// Show versions of the program, its maps and its JSON
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl version",
            "firewall-ctl version -o json",
            "firewall-ctl --version",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if context.format.is_text() {
        context.print(&format!(
            "firewall-ctl {version}  map layout {ABI_VERSION}  JSON {SCHEMA}\n"
        ))?;
    } else {
        let document = json!({
            "schema": SCHEMA,
            "version": version,
            "abi_version": ABI_VERSION,
        });
        context.print(&context.format.document(&document, false)?)?;
    }
    Ok(Exit::Ok)
}
