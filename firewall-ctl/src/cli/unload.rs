//! `unload`: take the filter off.

use super::context::Context;
use super::help::after;
use crate::remote::Remote;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_engine::engine::Engine;
use serde::Serialize;

/// Detach the filter from interfaces; with the last one, remove all maps and pins
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Interface to detach from; repeatable or comma-separated
    #[arg(
        short,
        long = "interface",
        value_name = "IF",
        value_delimiter = ',',
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    interfaces: Vec<String>,
    /// All interfaces
    #[arg(long)]
    all: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl unload -i eth0",
            "sudo firewall-ctl unload --all",
            "sudo firewall-ctl unload --all -o json",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage, Exit::Privilege],
    )
}

#[derive(Serialize)]
struct UnloadReport {
    schema: &'static str,
    unloaded: Vec<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut engine = Engine::new(&context.root);
    let wanted = (!args.all).then_some(args.interfaces.as_slice());
    let unloaded = engine.unload(wanted).map_err(|error| error.failure())?;
    // A switch to turn everything off works whether a daemon runs or not.
    if matches!(Remote::connect(&context.socket), Ok(Some(_))) {
        context.warn(&[
            "a daemon is running: its next apply, reload or restart attaches the filter again"
                .to_owned(),
        ]);
    }
    if context.format.is_text() {
        context.say(&match unloaded.as_slice() {
            [] => "nothing was loaded".to_owned(),
            names => format!("no longer filtered: {}", names.join(", ")),
        })?;
    } else {
        context.print(&context.format.document(
            &UnloadReport {
                schema: SCHEMA,
                unloaded,
            },
            false,
        )?)?;
    }
    Ok(Exit::Ok)
}
