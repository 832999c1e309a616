//! `observe`: what rules with `log` say about packets, one line each; what is there, and what comes.
//!
//! Asks the firewall again and again, each time for what lies behind the place where the last answer
//! ended. Any number of readers may; nobody waits for them.

use super::context::Context;
use super::help::after;
use clap::ValueEnum;
use firewall_api::events::{EventCursor, EventView, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::format::count as number;
use firewall_api::network::Network;

/// Events that are shown, if not asked for otherwise.
const LAST: usize = 20;

/// Seconds after which a follower asks again where nothing came.
const WAIT: f64 = 1.0;

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
    let firewall = context.firewall()?;
    let request = EventsRequest {
        after: None,
        last: Some(args.last.unwrap_or(LAST)),
        wait: None,
        interface: args.interface.clone(),
        rule: args.rule.clone(),
        verdict: args.verdict.map(|verdict| verdict.name().to_owned()),
        from: args.from.clone(),
        to: args.to.clone(),
        port: args.port,
    };
    let report = firewall.events(&request)?;
    print(context, &report.events)?;
    if args.follow {
        return follow(request, report.cursor, &*firewall, context);
    }
    if context.format.is_text() && report.unlogged > 0 {
        let unlogged = number(report.unlogged, context.numbers);
        context.say(&format!("({unlogged} more exceeded log rates)"))?;
    }
    Ok(Exit::Ok)
}

/// Shows what comes, until nothing is loaded any more.
fn follow(
    mut request: EventsRequest,
    cursor: EventCursor,
    firewall: &dyn Firewall,
    context: &Context,
) -> Result<Exit, Failure> {
    request.last = None;
    request.wait = Some(WAIT);
    request.after = Some(cursor);
    loop {
        let report = firewall.events(&request)?;
        print(context, &report.events)?;
        if report.missed > 0 {
            let more = number(report.missed, context.numbers);
            context.warn(&[format!(
                "{more} events were lost: overwritten before they were read"
            )]);
        }
        // What comes from here on may be of another policy, and in another ring.
        request.after = Some(report.cursor);
    }
}

fn print(context: &Context, events: &[EventView]) -> Result<(), Failure> {
    let mut text = String::new();
    for event in events {
        if context.format.is_text() {
            text.push_str(&line(event));
        } else {
            text.push_str(&context.format.document(event, true)?);
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    context.print(&text)
}

/// An event as a line for people.
fn line(event: &EventView) -> String {
    let audit = if event.audit { "audit " } else { "" };
    let over = if event.over { " (over its limit)" } else { "" };
    let time = event.time.split_once('T').map_or("", |(_, time)| time);
    format!(
        "{time} {:<7} {:<16} {}{over}\n",
        format!("{audit}{}", event.verdict),
        event.rule,
        event.packet
    )
}
