//! Live filters: a request's words as the numbers that programs compare with, and what has matched.
//!
//! Nothing is kept between two requests but the slot in the kernel: each brings the whole filter, so a
//! change of the policy that gives its rule another counter slot is followed by the next one.

use super::events::collect;
use super::{Local, failure};
use crate::engine::Names;
use crate::kernel::filters::{FilterTable, Held, MODEST_SLOTS, OWN_SLOTS, Taken};
use firewall_api::events::{EventCursor, EventsRequest, Ports, protocol_number};
use firewall_api::failure::{Exit, Failure};
use firewall_api::network::Network;
use firewall_api::view::SCHEMA;
use firewall_api::watch::{NoSlot, WatchReport, WatchRequest, no_slot};
use firewall_common::live::Prefix;
use firewall_common::reason::Reason;
use firewall_common::verdict::Action;
use firewall_policy::watch::{Filter, Wanted};
use std::time::{Duration, Instant};

/// What has come is gathered for so long before it is handed out.
const COLLECT: Duration = Duration::from_millis(100);

/// What stands for the default in the place of a rule's name.
const DEFAULT: &str = "default";

impl Local {
    pub(super) fn watch_packets(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        let begin = Instant::now();
        let (table, names) = self.engine().watch().map_err(|error| failure(&error))?;
        let filter = filter_of(&request.events, &names, request.id.is_none())?;
        let held = hold(&table, request)?;
        if request.stop {
            table.disarm(held.slot);
        } else {
            table.arm(held.slot, &filter.words());
        }
        let first = table.counts(held.slot).first;
        // After a lapse, too, its own ring goes on where it stood.
        let id = format!("{:x}", held.secret);
        let is_known = request.id.as_ref() == Some(&id);
        let next = match request.events.after {
            Some(after) if is_known && after.ring == ring(&held) => after.next.max(first),
            _ => first,
        };
        let mut reader = FilterTable::reader(held.slot, next);
        let events = EventsRequest {
            wait: request.events.wait.filter(|_| !request.stop),
            ..request.events.clone()
        };
        let found = collect(
            &mut || table.next(&mut reader),
            &names,
            &events,
            (begin, COLLECT),
        );
        let counts = table.counts(held.slot);
        if request.stop {
            table.release(&held);
        }
        Ok(WatchReport {
            schema: SCHEMA.to_owned(),
            id,
            slot: held.slot + 1,
            events: found,
            cursor: EventCursor {
                ring: ring(&held),
                next: reader.place(),
            },
            matched: counts.matched,
            beyond: counts.beyond,
            missed: reader.missed(),
            lapsed: held.lapsed,
        })
    }
}

/// What stands for a slot in a place among its events.
fn ring(held: &Held) -> u32 {
    held.slot as u32 + 1
}

/// The slot of a request: the one that it names, or one that is free.
fn hold(table: &FilterTable, request: &WatchRequest) -> Result<Held, Failure> {
    let wrong = |id: &str| {
        Failure::new(Exit::Usage, format!("`{id}` is no id of a live filter"))
            .help("take the one in the answer to the first request, or none")
    };
    let take = || {
        table.take(request.modest).map_err(|taken| {
            no_slot(match taken {
                Taken::All => NoSlot::All,
                Taken::Modest => NoSlot::Modest(MODEST_SLOTS),
                Taken::Own => NoSlot::Own(OWN_SLOTS),
            })
        })
    };
    let Some(id) = &request.id else {
        return take();
    };
    let secret = u64::from_str_radix(id, 16).map_err(|_| wrong(id))?;
    if let Some(held) = table.renew(secret) {
        return Ok(held);
    }
    // Its lease has ended, and somebody else has its slot.
    Ok(Held {
        lapsed: true,
        ..take()?
    })
}

fn usage(what: String, help: &str) -> Failure {
    Failure::new(Exit::Usage, what).help(help)
}

/// A request in numbers. The first request of a reader must name what is there; what is gone later is
/// nowhere.
fn filter_of(request: &EventsRequest, names: &Names, is_first: bool) -> Result<Filter, Failure> {
    if request.last.is_some() || request.since.is_some() {
        let what = "a live filter shows packets that come, and knows no `last` nor `since`";
        return Err(usage(
            what.to_owned(),
            "ask for events that are there without it",
        ));
    }
    if let Some(word) = unknown(request.not.as_deref(), |word| {
        EventsRequest::NEGATED.contains(&word)
    }) {
        let help = format!("write some of {}", EventsRequest::NEGATED.join(", "));
        return Err(usage(format!("`{word}` cannot be negated"), &help));
    }
    fn wanted<T>(request: &EventsRequest, field: &str, what: Option<T>) -> Option<Wanted<T>> {
        let not = request.is_negated(field);
        what.map(|what| Wanted { what, not })
    }
    let ports = |ports: Option<Ports>| ports.map(|ports| (ports.first, ports.last));
    let protocol = request.protocol.as_deref().map(protocol_number).transpose();
    let protocol = protocol.map_err(|error| Failure::new(Exit::Usage, error))?;
    let rule = rule_of(request, names, is_first)?;
    let interface = interface_of(request, names, is_first)?;
    Ok(Filter {
        reasons: reasons_of(request)?,
        from: wanted(request, "from", prefix_of(request.from.as_ref())?),
        to: wanted(request, "to", prefix_of(request.to.as_ref())?),
        port: wanted(request, "port", ports(request.port)),
        source_port: wanted(request, "source_port", ports(request.source_port)),
        destination_port: wanted(request, "destination_port", ports(request.destination_port)),
        protocol: wanted(request, "protocol", protocol),
        rule: wanted(request, "rule", rule),
        interface: wanted(request, "interface", interface),
    })
}

/// The first of some words with commas between that is not known.
fn unknown(words: Option<&str>, is_known: impl Fn(&str) -> bool) -> Option<&str> {
    words.and_then(|words| words.split(',').find(|word| !is_known(word)))
}

fn prefix_of(network: Option<&Network>) -> Result<Option<Prefix>, Failure> {
    let prefix = |network: &Network| {
        network.prefix().copied().ok_or_else(|| {
            usage(
                format!("`{network}` is several networks, and a live filter compares with one"),
                "write a prefix (203.0.113.0/24) or one address",
            )
        })
    };
    network.map(prefix).transpose()
}

/// Which reasons are wanted of what passes, and of what does not.
fn reasons_of(request: &EventsRequest) -> Result<[u64; 2], Failure> {
    let verdicts = [Action::PASS, Action::DROP, Action::REJECT].map(Action::name);
    if let Some(word) = unknown(request.verdict.as_deref(), |word| verdicts.contains(&word)) {
        let help = format!("write some of {}", verdicts.join(", "));
        return Err(usage(
            format!("no packet ends with the verdict `{word}`"),
            &help,
        ));
    }
    let is_known = |word: &str| Reason::ALL.iter().any(|reason| reason.name() == word);
    if let Some(word) = unknown(request.reason.as_deref(), is_known) {
        let help = "`firewall-ctl get reasons` lists them";
        return Err(usage(format!("there is no reason `{word}`"), help));
    }
    let is_default = request.rule.as_deref() == Some(DEFAULT);
    let fits = |words: &Option<String>, word: &str, field: &str| {
        words.as_ref().is_none_or(|words| {
            words.split(',').any(|one| one == word) != request.is_negated(field)
        })
    };
    Ok([true, false].map(|passes| {
        let wanted = Reason::ALL.iter().filter(|reason| {
            let verdict = match passes {
                true => Action::PASS,
                false if reason.is_reject() => Action::REJECT,
                false => Action::DROP,
            };
            let by_default = matches!(**reason, Reason::NO_MATCH | Reason::NON_IP);
            fits(&request.verdict, verdict.name(), "verdict")
                && fits(&request.reason, reason.name(), "reason")
                && (!is_default || by_default != request.is_negated("rule"))
        });
        wanted.fold(0, |mask, reason| mask | 1 << reason.0)
    }))
}

/// The counter slots of the rule that is named. That of the default is none: its reasons say it.
fn rule_of(
    request: &EventsRequest,
    names: &Names,
    is_first: bool,
) -> Result<Option<(u32, Option<u32>)>, Failure> {
    let Some(name) = request.rule.as_deref().filter(|name| *name != DEFAULT) else {
        return Ok(None);
    };
    match names.rules.iter().find(|rule| rule.name == name) {
        Some(rule) if rule.action == Action::NEXT.name() && rule.over.is_none() && is_first => {
            let what =
                format!("rule `{name}` decides about no packet: it goes on to the next rule");
            let help = "add `log: 10/s` to the rule, and follow what it logs: observe -f --logged";
            Err(usage(what, help))
        }
        Some(rule) => Ok(Some((rule.slot, rule.over))),
        None if is_first => {
            let what = format!("the active policy has no rule `{name}`");
            Err(usage(
                what,
                "`firewall-ctl get rules` lists them; `default` is what none matches",
            ))
        }
        None => Ok(Some((Filter::NOWHERE, None))),
    }
}

/// The counter slot of the interface that is named.
fn interface_of(
    request: &EventsRequest,
    names: &Names,
    is_first: bool,
) -> Result<Option<u32>, Failure> {
    let Some(name) = &request.interface else {
        return Ok(None);
    };
    let mut filtered: Vec<&str> = names.interfaces.values().map(String::as_str).collect();
    filtered.sort_unstable();
    match names.interfaces.iter().find(|(_, own)| *own == name) {
        Some((slot, _)) => Ok(Some(*slot)),
        None if is_first => Err(usage(
            format!("interface {name} is not filtered"),
            &format!("those that are: {}", filtered.join(", ")),
        )),
        None => Ok(Some(Filter::NOWHERE)),
    }
}
