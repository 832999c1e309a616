//! `observe`: what rules with `log` say about packets, one line each; what is there, and what comes.
//!
//! Reads the ring in the kernel, whether a daemon runs or not. Any number of readers may; nobody
//! waits for them.

use super::context::Context;
use super::help::after;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::count as number;
use firewall_api::network::Network;
use firewall_api::view::SCHEMA;
use firewall_common::field::Field;
use firewall_common::log::{EVENTS, name_hash};
use firewall_common::verdict::Action;
use firewall_engine::engine::{Engine, Log};
use firewall_engine::kernel::events::{EventRing, clock_offset};
use firewall_policy::log::{Event, Reader};
use firewall_policy::packet_text::{Ingress, PacketText};
use firewall_policy::time;
use serde::Serialize;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

/// Events that are shown, if not asked for otherwise.
const LAST: usize = 20;

/// Between two looks at the ring.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at the ring between two looks at what is in force.
const LOOKS: u32 = 10;

/// Show packets matched by rules with `log`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Follow new packets
    #[arg(short, long)]
    follow: bool,
    /// Number of past packets [default: 20]
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Ingress interface
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,
    /// Rule name; `default` for packets that no rule matched
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Verdict
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<Word>,
    /// Source address or network: 203.0.113.0/24, 2001:db8::1
    #[arg(long, value_name = "CIDR")]
    from: Option<Network>,
    /// Destination address or network
    #[arg(long, value_name = "CIDR")]
    to: Option<Network>,
    /// Port, source or destination
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Word {
    /// Passed
    Pass,
    /// Dropped
    Drop,
    /// Dropped with an answer to the sender
    Reject,
    /// Passed on to the next rule
    Next,
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Next => "next",
        }
    }
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl observe -f",
            "sudo firewall-ctl observe --verdict drop --port 22",
            "sudo firewall-ctl observe -f --rule default -o json",
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
    let open = || {
        let log = engine.log();
        log.map_err(|error| error.failure())
    };
    let mut log = open()?;
    let ring = log.ring.take().ok_or_else(|| {
        Failure::new(Exit::Failed, "the active policy logs nothing")
            .help("add `log: 10/s` to a rule, or to the default: `default: {in: drop, log: 5/s}`")
    })?;
    let mut reader = ring.reader(EVENTS);
    let mut shown = VecDeque::new();
    let last = args.last.unwrap_or(LAST);
    for view in new(&ring, &mut reader, &log) {
        if !fits(args, &view) {
            continue;
        }
        if shown.len() == last {
            shown.pop_front();
        }
        if last > 0 {
            shown.push_back(view);
        }
    }
    print(context, shown)?;
    if args.follow {
        return follow(args, context, &open, log, ring, reader);
    }
    if context.format.is_text() && log.unlogged > 0 {
        let unlogged = number(log.unlogged, context.numbers);
        context.say(&format!("({unlogged} more exceeded log rates)"))?;
    }
    Ok(Exit::Ok)
}

/// Shows what comes, until nothing is loaded any more.
fn follow(
    args: &Args,
    context: &Context,
    open: &impl Fn() -> Result<Log, Failure>,
    mut log: Log,
    mut ring: EventRing,
    mut reader: Reader,
) -> Result<Exit, Failure> {
    let mut missed = 0;
    loop {
        for _ in 0..LOOKS {
            sleep(PAUSE);
            let views = new(&ring, &mut reader, &log).into_iter();
            print(context, views.filter(|view| fits(args, view)))?;
        }
        if reader.missed() > missed {
            let more = number(reader.missed() - missed, context.numbers);
            context.warn(&[format!(
                "{more} events were lost: overwritten before they were read"
            )]);
            missed = reader.missed();
        }
        // What comes from here on may be of another policy, and in another ring.
        log = open()?;
        if let Some(found) = log.ring.take().filter(|found| !found.is(&ring)) {
            (reader, missed) = (found.reader(EVENTS), 0);
            ring = found;
        }
    }
}

/// What has come since the reader read last.
fn new(ring: &EventRing, reader: &mut Reader, log: &Log) -> Vec<View> {
    let offset = clock_offset();
    std::iter::from_fn(|| ring.next(reader))
        .map(|event| View::of(&event, offset, log))
        .collect()
}

fn print(context: &Context, views: impl IntoIterator<Item = View>) -> Result<(), Failure> {
    let mut text = String::new();
    for view in views {
        if context.format.is_text() {
            text.push_str(&view.line());
        } else {
            text.push_str(&context.format.document(&view, true)?);
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    context.print(&text)
}

fn fits(args: &Args, view: &View) -> bool {
    let is =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let has_port = |port: u16| view.source_port == Some(port) || view.port == Some(port);
    is(
        &args.interface,
        view.interface.as_deref().unwrap_or_default(),
    ) && is(&args.rule, &view.rule)
        && args.verdict.is_none_or(|word| word.name() == view.verdict)
        && args.from.as_ref().is_none_or(|net| net.contains(view.from))
        && args.to.as_ref().is_none_or(|net| net.contains(view.to))
        && args.port.is_none_or(has_port)
}

/// An event, for people and scripts.
#[derive(Clone, Serialize)]
struct View {
    schema: &'static str,
    /// `2026-11-22T18:30:00.123Z`.
    time: String,
    /// What the rule does; of a rule or a policy in audit mode, what it would do.
    verdict: &'static str,
    /// Whether that is not done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    audit: bool,
    /// Whether the packet was over the rule's limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    over: bool,
    /// Name of the rule; `default`: none matched; `?`: it is not in force any more.
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    from: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    to: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The packet as `test` reads it.
    packet: String,
    /// How many events there were before it.
    number: u64,
}

/// What stands for the default in the place of a rule's name.
const DEFAULT: &str = "default";

impl View {
    fn of(event: &Event, clock_offset: u64, log: &Log) -> Self {
        let nanoseconds = event.time.wrapping_add(clock_offset);
        let seconds = time::print(nanoseconds / 1_000_000_000);
        let milliseconds = nanoseconds / 1_000_000 % 1_000;
        let rule = match log.rules.get(&event.rule) {
            Some(name) => name,
            None if event.rule == name_hash("") => DEFAULT,
            None => "?",
        };
        let interface = log.interfaces.get(&event.key.interface).cloned();
        let packet = PacketText {
            ingress: match &interface {
                Some(name) => Ingress::Interface(name.clone()),
                None => Ingress::Anywhere,
            },
            ..PacketText::of_key(&event.key, &[])
        };
        let port = |field: Field| event.field(field).map(|port| port as u16);
        Self {
            schema: SCHEMA,
            time: format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z')),
            verdict: match event.audit.unwrap_or(event.action) {
                Action::OVER => Action::DROP.name(),
                action => action.name(),
            },
            // What passes anyway passes in audit mode too.
            audit: event.audit.is_some() || event.passes && event.action != Action::PASS,
            over: event.over,
            rule: rule.to_owned(),
            interface,
            from: packet.src,
            source_port: port(Field::SourcePort),
            to: packet.dst,
            port: port(Field::DestinationPort),
            packet: packet.to_string(),
            number: event.number,
        }
    }

    /// A line for people.
    fn line(&self) -> String {
        let audit = if self.audit { "audit " } else { "" };
        let over = if self.over { " (over its limit)" } else { "" };
        let time = self.time.split_once('T').map_or("", |(_, time)| time);
        format!(
            "{time} {:<7} {:<16} {}{over}\n",
            format!("{audit}{}", self.verdict),
            self.rule,
            self.packet
        )
    }
}
