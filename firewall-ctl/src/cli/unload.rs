//! `unload`: take the filter off.

use super::context::Context;
use super::help::after;
use crate::door;
use firewall_api::failure::{Exit, Failure};
use std::thread;
use std::time::{Duration, Instant};

/// A daemon looks once a second at what is in force.
const LOOKS: Duration = Duration::from_secs(3);
/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(50);

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
    context.warn(&report.warnings);
    if door::has_daemon(&context.socket) {
        until_known(context, &report.unloaded);
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

/// Waits until the daemon has seen that interfaces are not filtered any more: what it says of them next is
/// true.
fn until_known(context: &Context, unloaded: &[String]) {
    let end = Instant::now() + LOOKS;
    while let Ok(report) = context.daemon().and_then(|daemon| daemon.status()) {
        let mut filtered = report.status.interfaces.iter();
        let is_known = !filtered.any(|it| unloaded.contains(&it.name));
        if is_known || Instant::now() >= end {
            return;
        }
        thread::sleep(PAUSE);
    }
}
