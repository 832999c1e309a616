//! `stats`: counters and rates as tables, once or again and again.

use super::context::Context;
use super::help::after;
use super::interval;
use super::output::Format;
use super::table::{Table, shorten};
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, bits, bytes, count, percent, rate};
use firewall_api::request::SnapshotRequest;
use firewall_api::view::{SCHEMA, Snapshot, Traffic};
use serde_json::json;
use std::time::Duration;

/// Rows of a table of ports, if not asked for otherwise.
const ROWS: usize = 20;

/// Without a daemon, rates are taken over this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Show counters and rates by port, rule, interface or reason
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to show
    #[arg(value_name = "WHAT", default_value = "ports")]
    what: What,
    /// Repeat at this interval: 1s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", value_parser = interval::parse)]
    interval: Option<Duration>,
    /// Number of repetitions [default: 1; with -i unlimited]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Maximum rows, busiest first; 0 is unlimited [default: 20 in tables]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
}

/// What can be counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum What {
    /// Destination ports, TCP and UDP
    #[value(alias = "port")]
    Ports,
    /// Rules of the policy
    #[value(alias = "rule")]
    Rules,
    /// Filtered interfaces
    #[value(aliases = ["interface", "iface"])]
    Interfaces,
    /// Reasons for passing and dropping
    #[value(alias = "reason")]
    Reasons,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl stats ports",
            "firewall-ctl stats rules -i 1s -n 10",
            "firewall-ctl stats interfaces -o json",
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
    let pause = args.interval.unwrap_or(PAUSE);
    let firewall = context.firewall()?;
    let times = args
        .count
        .unwrap_or(if args.interval.is_some() { u64::MAX } else { 1 });
    let rows = match args.rows {
        Some(0) => usize::MAX,
        Some(rows) => rows,
        None if context.format.is_text() => ROWS,
        None => usize::MAX,
    };
    let request = SnapshotRequest {
        ports: if args.what == What::Ports { rows } else { 0 },
        over: Some(pause.min(PAUSE).as_secs_f64()),
    };
    for turn in 0..times {
        if turn > 0 {
            std::thread::sleep(pause);
        }
        let snapshot = firewall.snapshot(&request)?;
        let text = match context.format {
            Format::Table | Format::Wide => {
                let gap = if turn > 0 { "\n" } else { "" };
                format!("{gap}{}", tables(&snapshot, args.what, rows, context))
            }
            format => format.document(&document(&snapshot, args.what), times > 1)?,
        };
        context.print(&text)?;
    }
    Ok(Exit::Ok)
}

/// The JSON of one table.
pub(super) fn document(snapshot: &Snapshot, what: What) -> serde_json::Value {
    let mut document = json!({
        "schema": SCHEMA,
        "time": snapshot.time,
        "interval": snapshot.interval,
    });
    match what {
        What::Ports => {
            document["ports"] = json!(snapshot.ports);
            document["other_ports"] = json!(snapshot.other_ports);
        }
        What::Rules => document["rules"] = json!(snapshot.rules),
        What::Interfaces => document["interfaces"] = json!(snapshot.status.interfaces),
        What::Reasons => {
            document["reasons"] = json!(snapshot.reasons);
            if let Some(flows) = &snapshot.flows {
                document["flows"] = json!(flows);
            }
        }
    }
    document
}

fn tables(snapshot: &Snapshot, what: What, rows: usize, context: &Context) -> String {
    text(
        snapshot,
        what,
        rows,
        context.format == Format::Wide,
        context.numbers,
    )
}

/// One table.
pub(super) fn text(
    snapshot: &Snapshot,
    what: What,
    rows: usize,
    wide: bool,
    numbers: Numbers,
) -> String {
    match what {
        What::Ports => ports(snapshot, wide, numbers),
        What::Rules => rules(snapshot, rows, wide, numbers),
        What::Interfaces => interfaces(snapshot, wide, numbers),
        What::Reasons => reasons(snapshot, wide, numbers),
    }
}

fn ports(snapshot: &Snapshot, wide: bool, numbers: Numbers) -> String {
    let mut columns = vec![
        "PROTO/PORT",
        "SERVICE",
        ">PASS/s",
        ">DROP/s",
        ">RATE",
        ">PASSED",
        ">DROPPED",
    ];
    if wide {
        columns.extend([">PASSED BYTES", ">DROPPED BYTES"]);
    }
    let mut table = Table::new(&columns);
    let mut row = |name: String, service: &str, pass: &Traffic, drop: &Traffic| {
        let mut cells = vec![
            name,
            shorten(service, 12),
            rate(pass.rate.pps, numbers),
            rate(drop.rate.pps, numbers),
            bits(pass.rate.bps + drop.rate.bps, numbers),
            count(pass.total.packets, numbers),
            count(drop.total.packets, numbers),
        ];
        if wide {
            cells.push(bytes(pass.total.bytes, numbers));
            cells.push(bytes(drop.total.bytes, numbers));
        }
        table.row(cells);
    };
    for port in &snapshot.ports {
        let name = format!("{}/{}", port.proto, port.port);
        row(
            name,
            port.service.as_deref().unwrap_or(""),
            &port.pass,
            &port.drop,
        );
    }
    let others = &snapshot.other_ports;
    if others.count > 0 {
        row(
            format!("({} more)", others.count),
            "",
            &others.pass,
            &others.drop,
        );
    }
    if table.is_empty() {
        "No port has counted packets.\n".to_owned()
    } else {
        table.render()
    }
}

fn rules(snapshot: &Snapshot, rows: usize, wide: bool, numbers: Numbers) -> String {
    let mut columns = vec![
        ">#",
        "RULE",
        "ACTION",
        ">PACKETS/s",
        ">RATE",
        ">PACKETS",
        ">BYTES",
    ];
    let limited = snapshot.rules.iter().any(|rule| rule.over.is_some());
    if limited {
        columns.extend([">OVER/s", ">OVER"]);
    }
    if wide {
        columns.extend(["MATCH", "PLACE"]);
    }
    let mut table = Table::new(&columns);
    let mut busiest: Vec<_> = snapshot.rules.iter().collect();
    if busiest.len() > rows {
        busiest.sort_by(|a, b| {
            let by_rate = b.hits.rate.pps.total_cmp(&a.hits.rate.pps);
            by_rate.then(b.hits.total.packets.cmp(&a.hits.total.packets))
        });
    }
    let hidden = busiest.len().saturating_sub(rows);
    for rule in busiest.into_iter().take(rows) {
        let mut cells = vec![
            rule.number.to_string(),
            if wide {
                rule.name.clone()
            } else {
                shorten(&rule.name, 24)
            },
            action(&rule.does(), rule.enabled || rule.expired),
            rate(rule.hits.rate.pps, numbers),
            bits(rule.hits.rate.bps, numbers),
            count(rule.hits.total.packets, numbers),
            bytes(rule.hits.total.bytes, numbers),
        ];
        if limited {
            let over = |cell: fn(&Traffic, Numbers) -> String| {
                rule.over
                    .as_ref()
                    .map_or(String::new(), |over| cell(over, numbers))
            };
            cells.push(over(|over, numbers| rate(over.rate.pps, numbers)));
            cells.push(over(|over, numbers| count(over.total.packets, numbers)));
        }
        if wide {
            cells.extend([rule.summary.clone(), rule.place.clone()]);
        }
        table.row(cells);
    }
    let mut text = table.render();
    if snapshot.rules.is_empty() {
        return "The policy has no rules.\n".to_owned();
    }
    if hidden > 0 {
        text.push_str(&format!("({hidden} more: --rows 0)\n"));
    }
    text
}

/// A rule's action as a table says it.
pub(super) fn action(action: &str, enabled: bool) -> String {
    if enabled {
        action.to_owned()
    } else {
        format!("({action})")
    }
}

fn interfaces(snapshot: &Snapshot, wide: bool, numbers: Numbers) -> String {
    let mut columns = vec![
        "INTERFACE",
        "MODE",
        ">PASS/s",
        ">DROP/s",
        ">DROP%",
        ">RATE",
        ">PASSED",
        ">DROPPED",
    ];
    if wide {
        columns.extend(["ZONE", ">PASSED BYTES", ">DROPPED BYTES"]);
    }
    let mut table = Table::new(&columns);
    for interface in &snapshot.status.interfaces {
        let (pass, drop) = (&interface.pass, &interface.drop);
        let mut cells = vec![
            interface.name.clone(),
            interface.mode.name().to_owned(),
            rate(pass.rate.pps, numbers),
            rate(drop.rate.pps, numbers),
            percent(drop.rate.pps, pass.rate.pps + drop.rate.pps),
            bits(pass.rate.bps + drop.rate.bps, numbers),
            count(pass.total.packets, numbers),
            count(drop.total.packets, numbers),
        ];
        if wide {
            cells.push(interface.zone.clone());
            cells.push(bytes(pass.total.bytes, numbers));
            cells.push(bytes(drop.total.bytes, numbers));
        }
        table.row(cells);
    }
    if table.is_empty() {
        "No interface is filtered.\n".to_owned()
    } else {
        table.render()
    }
}

fn reasons(snapshot: &Snapshot, wide: bool, numbers: Numbers) -> String {
    let mut columns = vec![
        "REASON",
        "VERDICT",
        ">PACKETS/s",
        ">RATE",
        ">PACKETS",
        ">BYTES",
    ];
    if wide {
        columns.push("MEANING");
    }
    let mut table = Table::new(&columns);
    for reason in &snapshot.reasons {
        let mut cells = vec![
            reason.name.clone(),
            reason.verdict.clone(),
            rate(reason.hits.rate.pps, numbers),
            bits(reason.hits.rate.bps, numbers),
            count(reason.hits.total.packets, numbers),
            bytes(reason.hits.total.bytes, numbers),
        ];
        if wide {
            cells.push(
                super::explain::reason(&reason.name)
                    .map_or("", |r| r.text())
                    .to_owned(),
            );
        }
        table.row(cells);
    }
    let mut text = if table.is_empty() {
        "No packets counted.\n".to_owned()
    } else {
        table.render()
    };
    if let Some(flows) = &snapshot.flows {
        let [tcp, other] = [&flows.tcp, &flows.other].map(|half| count(half.full, numbers));
        text.push_str(&format!(
            "Flow table full (flow-full): tcp {tcp}, other {other}\n"
        ));
    }
    text
}
