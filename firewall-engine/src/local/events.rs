//! Events of rules that log, read from the ring in the kernel; and every event as a view, those of live
//! filters ([`super::watch`]) too.
//!
//! Any number of readers may look, and none keeps anything between two requests: the ring is shared
//! memory, and a place in it is a number.

use super::{Local, failure};
use crate::engine::Names;
use crate::kernel::events::clock_offset;
use firewall_api::events::{
    EventCursor, EventView, EventsReport, EventsRequest, LONGEST_WAIT, logs_nothing, protocol_name,
};
use firewall_api::failure::Failure;
use firewall_api::view::SCHEMA;
use firewall_common::field::Field;
use firewall_common::log::{EVENTS, Ring, SeenBits, name_hash};
use firewall_common::pipeline::NO_RULE;
use firewall_common::reason::Reason;
use firewall_common::verdict::Action;
use firewall_common::watch::ETHERTYPE;
use firewall_policy::log::{Event, Reader};
use firewall_policy::packet_text::{Ingress, PacketText};
use firewall_policy::{time, vocabulary};
use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at the ring.
const PAUSE: Duration = Duration::from_millis(100);

/// Opening the log may take this share of the time of a request that waits: one in ten.
const SHARE: u32 = 10;

/// What stands for the default in the place of a rule's name.
const DEFAULT: &str = "default";

impl Local {
    pub(super) fn list_events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        let begin = Instant::now();
        let mut log = self.engine().log().map_err(|error| failure(&error))?;
        let collect_for = PAUSE.max(begin.elapsed() * SHARE);
        let Some(ring) = log.ring.take() else {
            // Whoever follows waits for a policy that logs again.
            let cursor = request.after.ok_or_else(logs_nothing)?;
            sleep(patience(request));
            return Ok(report(Vec::new(), cursor, 0, log.unlogged));
        };
        let mut reader = match request.after {
            Some(after) if after.ring == ring.id() => Reader::at(Ring::LOG, after.next),
            _ => ring.reader(EVENTS),
        };
        let mut oldest = None;
        let found = collect(
            &mut || {
                let event = ring.next(&mut reader);
                oldest = oldest.or(event.as_ref().map(|event| event.time));
                event
            },
            &log.names,
            request,
            (begin, collect_for),
        );
        let cursor = EventCursor {
            ring: ring.id(),
            next: reader.place(),
        };
        Ok(EventsReport {
            oldest: oldest
                .filter(|_| request.after.is_none())
                .map(|time| time::print_milliseconds(time.wrapping_add(clock_offset()))),
            ..report(found, cursor, reader.missed(), log.unlogged)
        })
    }
}

/// How long a request waits for its first event.
pub(super) fn patience(request: &EventsRequest) -> Duration {
    let seconds = request.wait.unwrap_or(0.0).clamp(0.0, LONGEST_WAIT);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn report(events: Vec<EventView>, cursor: EventCursor, missed: u64, unlogged: u64) -> EventsReport {
    EventsReport {
        schema: SCHEMA.to_owned(),
        events,
        cursor,
        missed,
        unlogged,
        oldest: None,
    }
}

/// What fits a request, of what `next` gives: what is there, and if that is nothing, what comes while the
/// request waits. Once something has come, more is waited for until `begin` is so long ago.
pub(super) fn collect(
    next: &mut dyn FnMut() -> Option<Event>,
    names: &Names,
    request: &EventsRequest,
    (begin, collect_for): (Instant, Duration),
) -> Vec<EventView> {
    let mut found = VecDeque::new();
    collect_new(next, names, request, &mut found);
    let until = begin + patience(request);
    while Instant::now() < until && (found.is_empty() || begin.elapsed() < collect_for) {
        sleep(PAUSE);
        collect_new(next, names, request, &mut found);
    }
    found.into()
}

/// Adds what has come since the reader read last, as far as it fits: the newest that are asked for, or
/// at most as many as the ring holds. The rest stays for the next request.
fn collect_new(
    next: &mut dyn FnMut() -> Option<Event>,
    names: &Names,
    request: &EventsRequest,
    found: &mut VecDeque<EventView>,
) {
    let room = EVENTS as usize;
    let most = request.last.unwrap_or(room).min(room);
    let offset = clock_offset();
    while request.last.is_some() || found.len() < room {
        let Some(event) = next() else {
            break;
        };
        let view = view(&event, offset, names);
        if most == 0 || !request.fits(&view) {
            continue;
        }
        if found.len() == most {
            found.pop_front();
        }
        found.push_back(view);
    }
}

/// The name of the rule that an event is about.
fn rule_of<'a>(event: &Event, names: &'a Names) -> &'a str {
    const UNKNOWN: &str = "?";
    let Some(seen) = event.seen else {
        let name = names.hashes.get(&event.rule);
        return match name {
            Some(name) => name,
            None if event.rule == name_hash("") => DEFAULT,
            None => UNKNOWN,
        };
    };
    match seen.reason() {
        _ if event.rule != u64::from(NO_RULE) => {
            let name = names.slots.get(&(event.rule as u32));
            name.map_or(UNKNOWN, String::as_str)
        }
        Reason::NO_MATCH | Reason::NON_IP => DEFAULT,
        _ => "",
    }
}

/// The reason of the verdict. That of an event of a rule follows from what the rule does.
fn reason_of(event: &Event) -> Option<Reason> {
    if let Some(seen) = event.seen {
        return Some(seen.reason());
    }
    let is_default = event.rule == name_hash("");
    match event.audit.unwrap_or(event.action) {
        _ if event.over => Some(Reason::LIMIT),
        _ if is_default && event.is_frame => Some(Reason::NON_IP),
        _ if is_default => Some(Reason::NO_MATCH),
        Action::NEXT => None,
        Action::REJECT => Some(Reason::REJECT),
        _ => Some(Reason::RULE),
    }
}

/// The protocol of IP, or the frame's type, if the parser has come to it.
fn protocol_of(event: &Event) -> Option<String> {
    if event.is_frame {
        let ethertype = event.field(Field::DestinationPort)?;
        return Some(protocol_name(ethertype | ETHERTYPE));
    }
    event.field(Field::Proto).map(protocol_name)
}

/// Source, destination, and the packet as text. Of one that could not be read, what is known.
fn packet_of(event: &Event, ingress: Ingress) -> (String, String, String) {
    let packet = PacketText {
        ingress,
        ..PacketText::of_event(event)
    };
    let (from, to) = packet.ends();
    let on = match &packet.ingress {
        Ingress::Interface(name) => format!(" on {name}"),
        _ => String::new(),
    };
    match event.seen {
        Some(seen) if seen.is_nameless() => {
            let text = format!("a frame of {} bytes{on}", seen.bytes());
            (String::new(), String::new(), text)
        }
        Some(_) if !event.is_frame && event.field(Field::Proto).is_none() => {
            let text = format!("{from} > {to}{on}");
            (from, to, text)
        }
        _ => (from, to, packet.to_string()),
    }
}

fn view(event: &Event, clock_offset: u64, names: &Names) -> EventView {
    let interface = names.interfaces.get(&event.key.interface.into()).cloned();
    let ingress = interface
        .clone()
        .map_or(Ingress::Anywhere, Ingress::Interface);
    let (from, to, packet) = packet_of(event, ingress);
    let port = |field: Field| {
        let port = event.field(field).filter(|_| !event.is_frame);
        port.map(|port| port as u16)
    };
    let ethertype = event
        .field(Field::DestinationPort)
        .filter(|_| event.is_frame);
    let reason = reason_of(event);
    let verdict = match event.audit.unwrap_or(event.action) {
        Action::DROP if reason.is_some_and(Reason::is_reject) => Action::REJECT.name(),
        Action::OVER => Action::DROP.name(),
        action => action.name(),
    };
    EventView {
        schema: SCHEMA.to_owned(),
        time: time::print_milliseconds(event.time.wrapping_add(clock_offset)),
        verdict: verdict.to_owned(),
        // What passes anyway passes in audit mode too.
        audit: event.audit.is_some() || event.passes && event.action != Action::PASS,
        over: event.over || reason == Some(Reason::LIMIT),
        rule: rule_of(event, names).to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        interface,
        protocol: protocol_of(event),
        from,
        source_port: port(Field::SourcePort),
        to,
        port: port(Field::DestinationPort),
        ethertype: ethertype.map(vocabulary::ethertype),
        packet,
        frame_bytes: event.seen.map(SeenBits::bytes),
        number: event.number,
    }
}
