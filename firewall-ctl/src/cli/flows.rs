//! `flows`: the connections that `state: established` goes by; listing, counting, forgetting them.
//!
//! Reads the table in the kernel, whether a daemon runs or not: it is memory that the programs and
//! this process share.

use super::context::Context;
use super::help::after;
use super::network::Network;
use super::table::Table;
use crate::engine::Engine;
use crate::failure::{Exit, Failure};
use crate::format::{count as number, duration};
use crate::kernel::flows::{Flow, FlowTable, proto_name};
use crate::view::SCHEMA;
use clap::ValueEnum;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// Rows of the table, if not asked for otherwise.
const ROWS: usize = 20;

/// List, count or forget the connections that `state: established` goes by
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to do with the flows that fit
    #[arg(value_name = "WHAT", default_value = "list")]
    what: What,
    /// Only flows of this protocol
    #[arg(long, value_name = "PROTO")]
    proto: Option<Proto>,
    /// Only flows whose other side is in this network: 203.0.113.0/24, 2001:db8::1
    #[arg(long, value_name = "CIDR")]
    from: Option<Network>,
    /// Only flows whose own side is in this network
    #[arg(long, value_name = "CIDR")]
    to: Option<Network>,
    /// Only flows with this port, on either side
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// `delete`: all flows, without a filter
    #[arg(long)]
    all: bool,
    /// Show so many, those with the latest packets first; 0 for all [default: 20 in tables, all in
    /// JSON and YAML]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    /// Show them
    List,
    /// Say how many there are
    Count,
    /// Forget them: their next packet is new
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
            "sudo firewall-ctl flows count -o json",
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
    let table = Engine::new(&context.root)
        .flows()
        .map_err(|error| Failure::engine(&error, context.color_errors))?
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "the policy in force keeps no flows: none of its rules looks at `state`",
            )
        })?;
    let mut flows = table.list();
    flows.retain(|flow| fits(args, flow));
    match args.what {
        What::List => list(args, context, &table, flows)?,
        What::Count => {
            let report = Report::new(&table, flows.len(), None);
            if context.format.is_text() {
                let numbers = context.numbers;
                let (used, room) = (number(flows.len() as u64, numbers), report.capacity as u64);
                context.print(&format!(
                    "{used} flows, room for {}\n",
                    number(room, numbers)
                ))?;
            } else {
                context.print(&context.format.document(&report, false)?)?;
            }
        }
        What::Delete => {
            if !(args.all || is_filtered(args)) {
                return Err(
                    Failure::new(Exit::Usage, "nothing says which flows to forget")
                        .help("add --proto, --from, --to or --port; or --all for all of them"),
                );
            }
            let deleted = flows.iter().filter(|flow| table.delete(flow)).count();
            if context.format.is_text() {
                context.say(&format!("{deleted} flows forgotten"))?;
            } else {
                let report = Deleted {
                    schema: SCHEMA,
                    deleted,
                };
                context.print(&context.format.document(&report, false)?)?;
            }
        }
    }
    Ok(Exit::Ok)
}

const fn is_filtered(args: &Args) -> bool {
    args.proto.is_some() || args.from.is_some() || args.to.is_some() || args.port.is_some()
}

fn fits(args: &Args, flow: &Flow) -> bool {
    let has_port = |port: u16| flow.local_port == port || flow.remote_port == port;
    args.proto
        .is_none_or(|proto| proto.name() == proto_name(flow.proto))
        && args.from.is_none_or(|net| net.contains(flow.remote))
        && args.to.is_none_or(|net| net.contains(flow.local))
        && args.port.is_none_or(has_port)
}

fn list(
    args: &Args,
    context: &Context,
    table: &FlowTable,
    mut flows: Vec<Flow>,
) -> Result<(), Failure> {
    let all = flows.len();
    flows.sort_by_key(|flow| flow.idle);
    match args.limit {
        Some(0) => {}
        Some(limit) => flows.truncate(limit),
        None if context.format.is_text() => flows.truncate(ROWS),
        None => {}
    }
    let views: Vec<View> = flows.iter().map(View::of).collect();
    if !context.format.is_text() {
        let report = Report::new(table, all, Some(views));
        return context.print(&context.format.document(&report, false)?);
    }
    context.print(&text(&views, all))
}

/// `flows -o json`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    /// How many flows there is room for.
    capacity: usize,
    /// How many fit the filter.
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    flows: Option<Vec<View>>,
}

impl Report {
    fn new(table: &FlowTable, count: usize, flows: Option<Vec<View>>) -> Self {
        Self {
            schema: SCHEMA,
            capacity: table.capacity(),
            count,
            flows,
        }
    }
}

/// `flows delete -o json`.
#[derive(Serialize)]
struct Deleted {
    schema: &'static str,
    deleted: usize,
}

/// A flow, for people and scripts.
#[derive(Clone, Serialize)]
struct View {
    proto: &'static str,
    remote: IpAddr,
    remote_port: u16,
    local: IpAddr,
    local_port: u16,
    state: &'static str,
    /// Seconds since its last packet.
    idle: f64,
    /// Seconds until it is forgotten.
    left: f64,
}

impl View {
    fn of(flow: &Flow) -> Self {
        Self {
            proto: proto_name(flow.proto),
            remote: flow.remote,
            remote_port: flow.remote_port,
            local: flow.local,
            local_port: flow.local_port,
            state: flow.state.name(),
            idle: flow.idle.as_secs_f64(),
            left: flow.left.as_secs_f64(),
        }
    }
}

/// The table for people.
fn text(flows: &[View], all: usize) -> String {
    if all == 0 {
        return "No flows found.\n".to_owned();
    }
    let mut table = Table::new(&["PROTO", "REMOTE", "LOCAL", "STATE", ">IDLE", ">LEFT"]);
    for flow in flows {
        let is_echo = flow.proto.starts_with("icmp");
        let remote = if is_echo {
            flow.remote.to_string()
        } else {
            SocketAddr::new(flow.remote, flow.remote_port).to_string()
        };
        let local = if is_echo {
            format!("{} id {}", flow.local, flow.local_port)
        } else {
            SocketAddr::new(flow.local, flow.local_port).to_string()
        };
        table.row([
            flow.proto.to_owned(),
            remote,
            local,
            flow.state.to_owned(),
            duration(flow.idle),
            duration(flow.left),
        ]);
    }
    let mut text = table.render();
    if all > flows.len() {
        text.push_str(&format!(
            "({} more: firewall-ctl flows --limit 0)\n",
            all - flows.len()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(proto: &'static str, remote: &str, port: u16) -> View {
        View {
            proto,
            remote: remote.parse().unwrap(),
            remote_port: port,
            local: "2001:db8::80".parse().unwrap(),
            local_port: 40_000,
            state: "established",
            idle: 3.2,
            left: 43_196.0,
        }
    }

    #[test]
    fn the_table() {
        let flows = [
            view("tcp", "2001:db8::9", 443),
            view("icmpv6", "2001:db8::1", 0),
        ];
        insta::assert_snapshot!(text(&flows, 5));
        assert_eq!(text(&[], 0), "No flows found.\n");
    }
}
