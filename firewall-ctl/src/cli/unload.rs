//! `unload`: take the filter off.

use super::context::Context;
use super::help::after;
use crate::door;
use firewall_api::failure::{Exit, Failure};

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

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let wanted = (!args.all).then_some(args.interfaces.as_slice());
    // A switch to turn everything off works whether a daemon runs or not.
    let report = context.host().unload(wanted)?;
    if door::has_daemon(&context.socket) {
        context.warn(&[
            "a daemon is running: its next apply, reload or restart attaches the filter again"
                .to_owned(),
        ]);
    }
    if context.format.is_text() {
        context.say(&match report.unloaded.as_slice() {
            [] => "nothing was loaded".to_owned(),
            names => format!("no longer filtered: {}", names.join(", ")),
        })?;
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(Exit::Ok)
}
