//! `status`: everything that matters, on one screen.

use super::context::Context;
use super::get;
use super::help::after;
use super::table::Table;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, ago, bits, bytes, count, duration as clock, percent, rate};
use firewall_api::report::{HalfUse, State, StatusReport};
use firewall_api::view::{InterfaceView, Pending};
use firewall_policy::duration;
use firewall_policy::text::safe;
use std::time::Duration;

/// Interfaces on the screen; with the other lines they fit 24 lines.
const INTERFACES: usize = 7;

/// Sentences that want attention on the screen.
const ATTENTION: usize = 6;

/// Show the state on one screen; exit code 1 if it is not as configured
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As ufw has it: the rules with their numbers
    #[arg(value_name = "VIEW", hide = true)]
    view: Option<View>,
}

/// What ufw's `status` can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum View {
    /// Rules with their numbers
    Numbered,
    /// Rules
    Verbose,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl status",
            "firewall-ctl status -o json",
            "firewall-ctl status -q || echo alert",
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
    if args.view.is_some() {
        return get::all_rules(context);
    }
    let report = context.firewall()?.status()?;
    if !context.format.is_text() {
        context.print(&context.format.document(&report, false)?)?;
    } else if !context.quiet {
        context.print(&screen(&report, context.numbers, context.color))?;
    }
    Ok(if report.state == State::Active {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// The screen.
pub(super) fn screen(report: &StatusReport, numbers: Numbers, color: bool) -> String {
    let paint = |code: &str, text: &str| {
        if color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let status = &report.status;
    let state = match report.state {
        State::Active if audits(report) => paint("1;33", "AUDIT, NOTHING IS DROPPED"),
        State::Active => paint("1;32", "ACTIVE"),
        State::Degraded => paint("1;33", "ACTIVE, DEGRADED"),
        State::Off => paint("1;31", "OFF"),
    };
    let uptime = status.daemon_uptime.map(|up| format!("  up {}", clock(up)));
    let mut text = format!("firewall {}{}", status.version, uptime.unwrap_or_default());
    if let Some(generation) = &status.generation {
        let age = match &status.pending {
            Some(pending) => format!("pending, {} left", time_left(pending)),
            None => ago(report.time - generation.applied),
        };
        text.push_str(&format!("  generation {} ({age})", generation.number));
    }
    text.push_str(&format!("  enforcement: {state}\n"));

    if let Some(generation) = &status.generation {
        // A daemon of before tells the hash of the text alone.
        let hash = match generation.content_sha256.as_str() {
            "" => ("sha256", &generation.sha256),
            _ => ("content sha256", &generation.content_sha256),
        };
        let short: String = hash.1.chars().take(12).collect();
        text.push_str(&format!(
            "Policy {}  {} {short}\n",
            generation.policy, hash.0
        ));
        text.push_str(&interfaces(report, &generation.default, numbers));
        text.push_str(&format!(
            "Rules {}  Tables {}  Passed {}  Dropped {}  {}\n",
            generation.rules,
            bytes(generation.table_bytes, numbers),
            count(report.pass.total.packets, numbers),
            count(report.drop.total.packets, numbers),
            bits(report.pass.rate.bps + report.drop.rate.bps, numbers),
        ));
        text.push_str(&flow_lines(report, numbers));
        text.push_str(&top_drops(report, numbers));
    } else {
        text.push_str("No policy is loaded: every packet passes.\n");
    }

    let sentences = attention(report);
    for sentence in sentences.iter().take(ATTENTION) {
        text.push_str(&format!("! {}\n", safe(sentence)));
    }
    if sentences.len() > ATTENTION {
        let more = sentences.len() - ATTENTION;
        text.push_str(&format!("! and {more} more: firewall-ctl status -o yaml\n"));
    }
    text.push_str(&last_line(report));
    text
}

/// The time that is left to confirm a policy, in whole seconds.
pub(super) fn time_left(pending: &Pending) -> String {
    duration::print(Duration::from_secs(pending.left.ceil() as u64))
}

/// How full the table of flows is, and in a line of its own what did not fit.
fn flow_lines(report: &StatusReport, numbers: Numbers) -> String {
    let Some(flows) = &report.flows else {
        return String::new();
    };
    let half = |half: &HalfUse| {
        let [used, room] = [half.count, half.capacity].map(|n| count(n as u64, numbers));
        let share = percent(half.count as f64, half.capacity as f64);
        format!("{used} of {room} ({share}%)")
    };
    let mut text = format!(
        "Flows tcp {}, other {}, {}\n",
        half(&flows.tcp),
        half(&flows.other),
        bytes(flows.bytes, numbers)
    );
    let losses = [&flows.tcp, &flows.other].map(|half| [half.full, half.evicted]);
    if losses != [[0; 2]; 2] {
        let [[full, evicted], [other_full, other_evicted]] =
            losses.map(|half| half.map(|n| count(n, numbers)));
        text.push_str(&format!(
            "Flow-full tcp {full}, other {other_full}  Evicted tcp {evicted}, other \
             {other_evicted}\n"
        ));
    }
    text
}

/// What wants attention, the worst first.
fn attention(report: &StatusReport) -> Vec<String> {
    let status = &report.status;
    let fallbacks = status.interfaces.iter().filter_map(|interface| {
        let why = interface.fallback.as_ref()?;
        Some(format!("{}: generic mode: {why}", interface.name))
    });
    let limits = status.interfaces.iter().flat_map(|it| &it.limits);
    let errors = status.last_error.iter().cloned();
    let drift = status.drift.iter().map(|drift| {
        let since = drift
            .since
            .map(|since| format!(" ({})", ago(report.time - since)));
        format!(
            "{}{}; {}",
            drift.what,
            since.unwrap_or_default(),
            drift.restart
        )
    });
    let audit = audits(report).then(|| {
        "AUDIT: the policy drops nothing, it counts what it would drop; to enforce it remove \
         `mode: audit`"
            .to_owned()
    });
    let runtime = status.generation.as_ref().map(|found| found.runtime);
    let runtime = runtime.filter(|&count| count > 0).map(|count| {
        let rules = if count == 1 { "rule" } else { "rules" };
        format!("{count} runtime {rules} not saved: keep with firewall-ctl save")
    });
    let flows = report.flows.iter().flat_map(|flows| &flows.warnings);
    let pending = status.pending.as_ref().map(|pending| {
        format!(
            "PENDING: firewall-ctl confirm within {}, or generation {} comes back",
            time_left(pending),
            pending.back
        )
    });
    pending
        .into_iter()
        .chain(audit)
        .chain(errors)
        .chain(runtime)
        .chain(drift)
        .chain(status.warnings.iter().cloned())
        .chain(flows.cloned())
        .chain(fallbacks)
        .chain(limits.cloned())
        .collect()
}

fn interfaces(report: &StatusReport, default: &str, numbers: Numbers) -> String {
    let mut table = Table::new(&[
        "INTERFACE",
        "MODE",
        "LINK",
        "DEFAULT",
        ">RX pps",
        ">PASS pps",
        ">DROP pps",
        ">DROP%",
    ]);
    let mut all: Vec<&InterfaceView> = report.status.interfaces.iter().collect();
    let pps = |interface: &InterfaceView| interface.pass.rate.pps + interface.drop.rate.pps;
    if all.len() > INTERFACES {
        all.sort_by(|a, b| pps(b).total_cmp(&pps(a)));
    }
    for interface in all.iter().take(INTERFACES) {
        let received = pps(interface);
        table.row([
            interface.name.clone(),
            interface.mode.name().to_owned(),
            format!("#{}", interface.link_id),
            default.to_owned(),
            rate(received, numbers),
            rate(interface.pass.rate.pps, numbers),
            rate(interface.drop.rate.pps, numbers),
            percent(interface.drop.rate.pps, received),
        ]);
    }
    let mut text = table.render();
    if all.len() > INTERFACES {
        let more = all.len() - INTERFACES;
        text.push_str(&format!("({more} more: firewall-ctl get interfaces)\n"));
    }
    text
}

/// Whether the policy in force is in audit mode.
fn audits(report: &StatusReport) -> bool {
    let generation = report.status.generation.as_ref();
    generation.is_some_and(|generation| generation.audit)
}

/// By rate while something is dropped, by total otherwise.
fn top_drops(report: &StatusReport, numbers: Numbers) -> String {
    let live = report.top_drops.iter().any(|drop| drop.hits.rate.pps > 0.0);
    let drops: Vec<String> = report
        .top_drops
        .iter()
        .filter(|drop| !live || drop.hits.rate.pps > 0.0)
        .map(|drop| match live {
            true => format!("{} {}", drop.name, rate(drop.hits.rate.pps, numbers)),
            false => format!("{} {}", drop.name, count(drop.hits.total.packets, numbers)),
        })
        .collect();
    let what = match (audits(report), live) {
        (true, true) => "Would drop/s ",
        (true, false) => "Would drop   ",
        (false, true) => "Top drops/s  ",
        (false, false) => "Top drops    ",
    };
    if drops.is_empty() {
        return format!("{what} none\n");
    }
    format!("{what} {}\n", drops.join(" | "))
}

fn last_line(report: &StatusReport) -> String {
    let status = &report.status;
    let drift = match status.warnings.len() + status.drift.len() {
        0 => "Drift none".to_owned(),
        n => format!("Drift {n}"),
    };
    match (status.daemon_pid, &status.generation) {
        (Some(pid), Some(_)) => format!(
            "{drift}  Daemon OK (pid {pid})  On daemon death: keep filtering\n\
             Next: firewall-ctl top\n"
        ),
        (Some(pid), None) => {
            format!("Daemon OK (pid {pid})\nNext: firewall-ctl apply -f FILE\n")
        }
        (None, Some(_)) => format!(
            "{drift}  Daemon not running (filter stays on)\nNext: firewall-ctl daemon -f FILE\n"
        ),
        (None, None) => "Daemon not running\nNext: firewall-ctl daemon -i IF -f FILE\n".to_owned(),
    }
}
