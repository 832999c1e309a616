//! `top`: the live view.

use super::context::Context;
use super::help::after;
use super::interval;
use super::output::Format;
use crate::tui::{self, Tab, TopOptions};
use firewall_api::failure::{Exit, Failure};
use firewall_api::request::SnapshotRequest;
use firewall_api::view::Snapshot;
use std::io::stdout;
use std::time::Duration;

/// Ports that the view asks for at each turn.
const PORTS: usize = 1000;

/// Without a daemon, the first rates are taken over this time.
const PAUSE: Duration = Duration::from_millis(500);

/// Watch ports, rules, reasons and interfaces live
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First table: ports, rules, reasons or interfaces
    #[arg(value_name = "WHAT", default_value = "ports")]
    tab: Tab,
    /// Refresh interval: 1s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval::parse)]
    interval: Duration,
    /// Plain text instead of full screen; implied without a terminal
    #[arg(long)]
    plain: bool,
    /// Stop after this many refreshes; implies --plain
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one snapshot and exit; with -o json as JSON
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// Totals of one interface
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Bytes per second instead of bits
    #[arg(long)]
    bytes: bool,
    /// Rows per table in plain output
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl top",
            "firewall-ctl top rules --plain -i 1s -n 10",
            "firewall-ctl top --once -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let firewall = context.firewall()?;
    let request = SnapshotRequest {
        ports: PORTS,
        over: Some(PAUSE.min(args.interval).as_secs_f64()),
    };
    // Before the screen is taken, so that a failure is an ordinary one.
    let mut first = Some(firewall.snapshot(&request)?);
    let next = move || -> anyhow::Result<Snapshot> {
        Ok(match first.take() {
            Some(first) => first,
            None => firewall.snapshot(&request)?,
        })
    };
    let options = TopOptions {
        interval: args.interval,
        count: args.count,
        interface: args.interface.clone(),
        tab: args.tab,
        bytes: args.bytes,
        numbers: context.numbers,
        colour: context.color,
        rows: args.rows,
        ..TopOptions::from_env()
    };
    let plain = args.plain || args.count.is_some() || !tui::interactive();
    let result = if args.once || !context.format.is_text() {
        once(args, context, next, &options)
    } else if plain {
        tui::plain::run(next, &options, stdout().lock())
    } else {
        tui::run(next, options)
    };
    result
        .map(|()| Exit::Ok)
        .map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::new(Exit::Failed, format!("{error:#}")),
        })
}

/// `--once`, and the machine formats.
fn once(
    args: &Args,
    context: &Context,
    mut next: impl FnMut() -> anyhow::Result<Snapshot>,
    options: &TopOptions,
) -> anyhow::Result<()> {
    match context.format {
        Format::Table | Format::Wide => tui::once(next, options, false, stdout().lock()),
        format => {
            let times = if args.once {
                1
            } else {
                args.count.unwrap_or(u64::MAX)
            };
            for turn in 0..times {
                if turn > 0 {
                    std::thread::sleep(args.interval);
                }
                context.print(&format.document(&next()?, times > 1)?)?;
            }
            Ok(())
        }
    }
}
