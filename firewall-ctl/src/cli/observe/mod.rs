//! `observe`: packets, one line each. Without `-f` those that rules with `log` have matched; with it what
//! comes, and with a filter every packet that fits, whatever the policy logs ([`live`]).
//!
//! Asks the firewall again and again, each time for what lies behind the place where the last answer
//! ended. Any number of readers may follow what rules log; nobody waits for them.

mod filter;
mod lines;
mod live;

use self::filter::Filter;
pub(super) use self::lines::packet_of_line;
use self::lines::{Fold, line, time};
use super::context::Context;
use super::help::after;
use super::suggest;
use crate::tui::Signals;
use firewall_api::clock::unix_time;
use firewall_api::events::{EventCursor, EventView, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::format::count as number;
use firewall_api::request::SnapshotRequest;
use firewall_policy::{duration, time as moments};
use std::time::{Duration, Instant};

/// Events that are shown, if not asked for otherwise.
const LAST: usize = 20;

/// What `--rule` calls packets that no rule matched.
const DEFAULT: &str = "default";

/// Seconds after which a follower asks again where nothing came.
const WAIT: f64 = 1.0;

/// Show packets: those that rules log, or with -f and a filter every one that fits
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Follow new packets; with a filter every packet that fits, logged or not
    #[arg(short, long)]
    follow: bool,
    /// Follow only what rules with `log` match, at their rates
    #[arg(long, requires = "follow")]
    logged: bool,
    /// Number of past packets [default: 20; 0 with -f and a filter]
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Past packets of this time and later: 5m, 2026-11-30T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl observe -f --from 203.0.113.70",
            "sudo firewall-ctl observe -f --verdict drop --not --port 22",
            "sudo firewall-ctl observe --since 5m --rule default -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Privilege,
            Exit::Unreachable,
            Exit::Refused,
        ],
    )
}

/// A time, or how long ago it was, as events have it.
fn since(text: &str) -> Result<String, String> {
    let moment = match (duration::parse(text), moments::parse(text)) {
        (Some(ago), _) => unix_time().saturating_sub(ago),
        (None, Some(seconds)) => Duration::from_secs(seconds),
        (None, None) => {
            return Err(
                "write how long ago (30s, 5m, 2h) or a time (2026-11-30T12:00:00Z)".to_owned(),
            );
        }
    };
    let nanoseconds = u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
    Ok(moments::print_milliseconds(nanoseconds))
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let firewall = context.firewall()?;
    let filter = args.filter.request();
    match (known(&*firewall, &filter), args.follow) {
        (Err(unknown), false) => return Err(unknown),
        // It may come with the next policy.
        (Err(unknown), true) if args.logged => context.warn(&[unknown.line()]),
        _ => {}
    }
    let wants_past = args.last.is_some() || args.since.is_some();
    let last = match args.since {
        Some(_) => args.last,
        None => Some(args.last.unwrap_or(LAST)),
    };
    let past = EventsRequest {
        last,
        since: args.since.clone(),
        ..filter.clone()
    };
    if args.follow && filter.chooses() && !args.logged {
        let past = wants_past.then_some(&past);
        return live::follow(&*firewall, filter, past, context);
    }
    let report = firewall.events(&past)?;
    print(context, &report.events)?;
    if args.follow {
        return follow(filter, report.cursor, &*firewall, context);
    }
    if let (Some(since), Some(oldest)) = (&args.since, &report.oldest)
        && oldest > since
    {
        context.note(&format!(
            "(older events are overwritten; the oldest is of {oldest})\n"
        ));
    }
    if context.format.is_text() && report.unlogged > 0 {
        let unlogged = number(report.unlogged, context.numbers);
        context.say(&format!("({unlogged} more exceeded log rates)"))?;
    }
    Ok(Exit::Ok)
}

/// Whether there is the rule and the interface that a filter names, or something is remembered of them.
fn known(firewall: &dyn Firewall, filter: &EventsRequest) -> Result<(), Failure> {
    let remembered = |filter: EventsRequest| -> Result<bool, Failure> {
        let one = EventsRequest {
            last: Some(1),
            ..filter
        };
        Ok(!firewall.events(&one)?.events.is_empty())
    };
    let unknown = |what: &str, name: &str, names: Vec<String>| {
        let near = suggest(name, names.iter().map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Failure::new(Exit::Failed, format!("there is no {what} called `{name}`"))
            .help(format!("{near}list them: firewall-ctl get {what}s"))
    };
    if let Some(rule) = filter.rule.as_ref().filter(|rule| *rule != DEFAULT) {
        let rules = firewall.rules()?.rules.into_iter();
        let names: Vec<String> = rules.map(|rule| rule.name).collect();
        let alone = EventsRequest {
            rule: Some(rule.clone()),
            ..EventsRequest::default()
        };
        if !names.contains(rule) && !remembered(alone)? {
            return Err(unknown("rule", rule, names));
        }
    }
    if let Some(interface) = &filter.interface {
        let nothing = SnapshotRequest {
            ports: 0,
            over: None,
        };
        let filtered = firewall.snapshot(&nothing)?.status.interfaces.into_iter();
        let names: Vec<String> = filtered.map(|one| one.name).collect();
        let alone = EventsRequest {
            interface: Some(interface.clone()),
            ..EventsRequest::default()
        };
        if !names.contains(interface) && !remembered(alone)? {
            return Err(unknown("interface", interface, names));
        }
    }
    Ok(())
}

/// Shows what comes, until nothing is loaded any more, or a signal.
fn follow(
    mut request: EventsRequest,
    cursor: EventCursor,
    firewall: &dyn Firewall,
    context: &Context,
) -> Result<Exit, Failure> {
    request.wait = Some(WAIT);
    request.after = Some(cursor);
    let signals = catch()?;
    let mut fold = Fold::default();
    while !signals.arrived() {
        let report = firewall.events(&request)?;
        show(context, &report.events, &mut fold)?;
        if report.missed > 0 {
            let more = number(report.missed, context.numbers);
            context.warn(&[format!(
                "{more} events were lost: overwritten before they were read"
            )]);
        }
        // What comes from here on may be of another policy, and in another ring.
        request.after = Some(report.cursor);
    }
    context.print(&fold.end())?;
    Ok(Exit::Ok)
}

fn catch() -> Result<Signals, Failure> {
    Signals::catch()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot catch signals: {error}")))
}

/// Shows what has come, and what is due of what has come before.
fn show(context: &Context, events: &[EventView], fold: &mut Fold) -> Result<(), Failure> {
    if !context.format.is_text() {
        return print(context, events);
    }
    let now = Instant::now();
    let mut text = fold.due(now);
    for event in events {
        text.push_str(&fold.add(event, context.color, now));
    }
    match text.is_empty() {
        true => Ok(()),
        false => context.print(&text),
    }
}

fn print(context: &Context, events: &[EventView]) -> Result<(), Failure> {
    let mut text = String::new();
    for event in events {
        if context.format.is_text() {
            text.push_str(&format!("{} {}\n", time(event), line(event, context.color)));
        } else {
            text.push_str(&context.format.document(event, true)?);
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    context.print(&text)
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let time = since("2026-11-30T12:00:00Z").unwrap();
        assert_eq!(time, "2026-11-30T12:00:00.000Z");
        assert!(since("5m").unwrap() < since("1s").unwrap());
        for wrong in ["", "5", "yesterday", "12:00"] {
            assert!(since(wrong).unwrap_err().contains("write how long ago"));
        }
    }
}
