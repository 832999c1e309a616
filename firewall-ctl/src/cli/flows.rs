//! `flows`: the connections that `state: established` goes by; listing, counting, forgetting them.
//!
//! Connections of this host are known by its sockets, all others by a table.

mod rows;

use self::rows::{head, text};
use super::context::Context;
use super::help::after;
use super::suggest;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::flows::{FlowProto, FlowSort, FlowsForgotten, FlowsReport, FlowsRequest};
use firewall_api::network::Network;
use firewall_policy::well_known_ports;

/// Rows of the table, if not asked for otherwise.
const ROWS: usize = 20;

/// List, count or delete tracked connections
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Action on matching flows
    #[arg(value_name = "WHAT", default_value = "list")]
    what: What,
    /// Protocol
    #[arg(long, alias = "protocol", value_name = "PROTO")]
    proto: Option<Proto>,
    /// Remote address or network: 203.0.113.0/24, 2001:db8::1
    #[arg(long, alias = "remote", value_name = "CIDR")]
    from: Option<Network>,
    /// Local address or network
    #[arg(long, alias = "local", value_name = "CIDR")]
    to: Option<Network>,
    /// Port, local or remote: 443, https
    #[arg(long, value_name = "PORT", value_parser = port)]
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

impl From<Proto> for FlowProto {
    fn from(proto: Proto) -> Self {
        match proto {
            Proto::Tcp => Self::Tcp,
            Proto::Udp => Self::Udp,
            Proto::Icmp => Self::Icmp,
            Proto::Icmpv6 => Self::Icmpv6,
        }
    }
}

/// By what a list is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
enum Sort {
    /// Latest packet first
    #[default]
    Idle,
    /// Earliest expiry first
    Left,
    /// Most bytes first
    Bytes,
    /// By protocol
    Proto,
    /// By state
    State,
    /// By remote address
    Remote,
    /// By local address
    Local,
}

impl From<Sort> for FlowSort {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Idle => Self::Idle,
            Sort::Left => Self::Left,
            Sort::Bytes => Self::Bytes,
            Sort::Proto => Self::Proto,
            Sort::State => Self::State,
            Sort::Remote => Self::Remote,
            Sort::Local => Self::Local,
        }
    }
}

/// A port by its number or by the name of a service.
fn port(text: &str) -> Result<u16, String> {
    if let Some((port, _)) = well_known_ports::find(text) {
        return Ok(port);
    }
    text.parse().map_err(|_| {
        let near = suggest(text, well_known_ports::names());
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        format!("{near}write a number (443) or a service (https)")
    })
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

/// `flows`.
pub(super) fn listed(context: &Context) -> Result<Exit, Failure> {
    let args = Args {
        what: What::List,
        proto: None,
        from: None,
        to: None,
        port: None,
        all: false,
        sort: Sort::Idle,
        limit: None,
    };
    run(&args, context)
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let request = FlowsRequest {
        proto: args.proto.map(Into::into),
        from: args.from.clone(),
        to: args.to.clone(),
        port: args.port,
        sort: args.sort.into(),
        limit: match (args.what, args.limit) {
            (What::Count, _) => Some(0),
            (_, Some(0)) => None,
            // Two flows may become one row.
            (_, None) if context.format.is_text() => Some(2 * ROWS),
            (_, limit) => limit,
        },
    };
    let firewall = context.firewall()?;
    match args.what {
        What::List | What::Count => show(&firewall.flows(&request)?, args.limit, context)?,
        What::Delete if args.all || request.is_filtered() => {
            say_forgotten(&firewall.forget_flows(&request)?, context)?;
        }
        What::Delete => {
            return Err(Failure::new(Exit::Usage, "no filter given")
                .help("add --proto, --from, --to or --port; or --all for all flows"));
        }
    }
    Ok(Exit::Ok)
}

fn show(report: &FlowsReport, limit: Option<usize>, context: &Context) -> Result<(), Failure> {
    context.warn(&report.warnings);
    if !context.format.is_text() {
        return context.print(&context.format.document(report, false)?);
    }
    let head = head(report, context.numbers);
    let Some(flows) = &report.flows else {
        return context.print(&head);
    };
    let head = match report.count {
        0 => String::new(),
        _ => head,
    };
    let most = match limit {
        None => ROWS,
        Some(0) => usize::MAX,
        Some(limit) => limit,
    };
    context.print(&format!(
        "{head}{}",
        text(flows, (report.count, most), context.numbers)
    ))
}

fn say_forgotten(report: &FlowsForgotten, context: &Context) -> Result<(), Failure> {
    if !context.format.is_text() {
        return context.print(&context.format.document(report, false)?);
    }
    context.say(&format!("{} flows forgotten", report.deleted))?;
    if report.sockets > 0 {
        context.say(&format!(
            "connections of this host that go on, because their sockets are open: {} (ss -K \
             closes them)",
            report.sockets
        ))?;
    }
    Ok(())
}
