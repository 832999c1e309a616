//! `flows`: the connections that `state: established` goes by; listing, counting, forgetting them.
//!
//! Reads the table in the kernel, whether a daemon runs or not: it is memory that the programs and
//! this process share. Connections of this host are known by its sockets.

mod rows;

use self::rows::{Row, Sort, Summary, View, join, sort, text};
use super::context::Context;
use super::help::after;
use super::network::Network;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_engine::engine::Engine;
use firewall_engine::kernel::flows::{Ends, FlowTable, proto_name};
use serde::Serialize;

/// Rows of the table, if not asked for otherwise.
const ROWS: usize = 20;

/// List, count or delete tracked connections
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Action on matching flows
    #[arg(value_name = "WHAT", default_value = "list")]
    what: What,
    /// Protocol
    #[arg(long, value_name = "PROTO")]
    proto: Option<Proto>,
    /// Remote address or network: 203.0.113.0/24, 2001:db8::1
    #[arg(long, value_name = "CIDR")]
    from: Option<Network>,
    /// Local address or network
    #[arg(long, value_name = "CIDR")]
    to: Option<Network>,
    /// Port, local or remote
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Delete all flows, without a filter
    #[arg(long)]
    all: bool,
    /// Sort order
    #[arg(long, value_name = "BY", default_value = "idle")]
    sort: Sort,
    /// Maximum rows; 0 is unlimited [default: 20 in tables, unlimited in JSON and YAML]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    /// List them
    List,
    /// Count them
    Count,
    /// Delete table entries: the next packet is new. A local connection continues while its
    /// socket is open (`ss -K` closes it)
    Delete,
}

/// Protocols that have flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Proto {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// ICMP echo
    Icmp,
    /// ICMPv6 echo
    Icmpv6,
}

impl Proto {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl flows --proto tcp --port 443",
            "sudo firewall-ctl flows --sort bytes --limit 5",
            "sudo firewall-ctl flows delete --from 203.0.113.9",
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
    let engine = Engine::new(&context.root);
    let table = engine
        .flows()
        .map_err(|error| error.failure(context.color_errors))?
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "the active policy tracks no connections: no rule matches `state`",
            )
        })?;
    let sockets = engine
        .sockets()
        .map_err(|error| error.failure(context.color_errors))?;
    let mut rows = join(table.list(), &sockets);
    rows.retain(|row| fits(args, &row.ends));
    match args.what {
        What::List => list(args, context, &table, rows)?,
        What::Count => {
            let summary = Summary::of(&rows);
            if context.format.is_text() {
                context.print(&summary.text(table.capacity(), context.numbers))?;
            } else {
                let report = Report::new(&table, summary, rows.len(), None);
                context.print(&context.format.document(&report, false)?)?;
            }
        }
        What::Delete => {
            if !(args.all || is_filtered(args)) {
                return Err(Failure::new(Exit::Usage, "no filter given")
                    .help("add --proto, --from, --to or --port; or --all for all flows"));
            }
            delete(context, &table, &rows)?;
        }
    }
    Ok(Exit::Ok)
}

fn delete(context: &Context, table: &FlowTable, rows: &[Row]) -> Result<(), Failure> {
    let flows = rows.iter().filter_map(|row| row.flow.as_ref());
    let report = Deleted {
        schema: SCHEMA,
        deleted: flows.filter(|flow| table.delete(flow)).count(),
        sockets: rows.iter().filter(|row| row.is_socket).count(),
    };
    if !context.format.is_text() {
        return context.print(&context.format.document(&report, false)?);
    }
    let Deleted {
        deleted, sockets, ..
    } = report;
    context.say(&format!("{deleted} flows forgotten"))?;
    if sockets > 0 {
        context.say(&format!(
            "connections of this host that go on, because their sockets are open: {sockets} (ss -K \
             closes them)"
        ))?;
    }
    Ok(())
}

const fn is_filtered(args: &Args) -> bool {
    args.proto.is_some() || args.from.is_some() || args.to.is_some() || args.port.is_some()
}

fn fits(args: &Args, ends: &Ends) -> bool {
    let has_port = |port: u16| ends.local.1 == port || ends.remote.1 == port;
    args.proto
        .is_none_or(|proto| proto.name() == proto_name(ends.proto))
        && args.from.is_none_or(|net| net.contains(ends.remote.0))
        && args.to.is_none_or(|net| net.contains(ends.local.0))
        && args.port.is_none_or(has_port)
}

fn list(
    args: &Args,
    context: &Context,
    table: &FlowTable,
    mut rows: Vec<Row>,
) -> Result<(), Failure> {
    let all = rows.len();
    let summary = Summary::of(&rows);
    sort(&mut rows, args.sort);
    match args.limit {
        Some(0) => {}
        Some(limit) => rows.truncate(limit),
        None if context.format.is_text() => rows.truncate(ROWS),
        None => {}
    }
    if !context.format.is_text() {
        let views = rows.iter().map(View::of).collect();
        let report = Report::new(table, summary, all, Some(views));
        return context.print(&context.format.document(&report, false)?);
    }
    let head = match all {
        0 => String::new(),
        _ => summary.text(table.capacity(), context.numbers),
    };
    context.print(&format!("{head}{}", text(&rows, all, context.numbers)))
}

/// `flows -o json`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    /// How many flows the table has room for.
    capacity: usize,
    /// How many fit the filter.
    count: usize,
    /// The same by protocol, by state, and by where they are known from.
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<Vec<View>>,
}

impl Report {
    fn new(table: &FlowTable, summary: Summary, count: usize, flows: Option<Vec<View>>) -> Self {
        Self {
            schema: SCHEMA,
            capacity: table.capacity(),
            count,
            summary,
            flows,
        }
    }
}

/// `flows delete -o json`.
#[derive(Serialize)]
struct Deleted {
    schema: &'static str,
    /// Flows of the table that are forgotten.
    deleted: usize,
    /// Connections of this host that fit the filter, and go on.
    sockets: usize,
}
