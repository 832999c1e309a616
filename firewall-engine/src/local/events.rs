//! Events of rules that log, read from the ring in the kernel.
//!
//! Any number of readers may look, and none keeps anything between two requests: the ring is shared
//! memory, and a place in it is a number.

use super::{Local, failure};
use crate::engine::Log;
use crate::kernel::events::{EventRing, clock_offset};
use firewall_api::events::{
    EventCursor, EventView, EventsReport, EventsRequest, LONGEST_WAIT, logs_nothing,
};
use firewall_api::failure::Failure;
use firewall_api::view::SCHEMA;
use firewall_common::field::Field;
use firewall_common::log::{EVENTS, name_hash};
use firewall_common::verdict::Action;
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
        let collect = PAUSE.max(begin.elapsed() * SHARE);
        let Some(ring) = log.ring.take() else {
            // Whoever follows waits for a policy that logs again.
            let cursor = request.after.ok_or_else(logs_nothing)?;
            sleep(patience(request));
            return Ok(report(Vec::new(), cursor, 0, log.unlogged));
        };
        let mut reader = match request.after {
            Some(after) if after.ring == ring.id() => Reader::at(after.next),
            _ => ring.reader(EVENTS),
        };
        let mut found = VecDeque::new();
        collect_new((&ring, &mut reader), &log, request, &mut found);
        let until = begin + patience(request);
        while Instant::now() < until && (found.is_empty() || begin.elapsed() < collect) {
            sleep(PAUSE);
            collect_new((&ring, &mut reader), &log, request, &mut found);
        }
        let cursor = EventCursor {
            ring: ring.id(),
            next: reader.place(),
        };
        Ok(report(found.into(), cursor, reader.missed(), log.unlogged))
    }
}

/// How long a request waits for its first event.
fn patience(request: &EventsRequest) -> Duration {
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
    }
}

/// Adds what has come since the reader read last, as far as it fits: the newest that are asked for, or
/// at most as many as the ring holds. The rest stays for the next request.
fn collect_new(
    (ring, reader): (&EventRing, &mut Reader),
    log: &Log,
    request: &EventsRequest,
    found: &mut VecDeque<EventView>,
) {
    let room = EVENTS as usize;
    let most = request.last.unwrap_or(room).min(room);
    let offset = clock_offset();
    while request.last.is_some() || found.len() < room {
        let Some(event) = ring.next(reader) else {
            break;
        };
        let view = view(&event, offset, log);
        if most == 0 || !request.fits(&view) {
            continue;
        }
        if found.len() == most {
            found.pop_front();
        }
        found.push_back(view);
    }
}

fn view(event: &Event, clock_offset: u64, log: &Log) -> EventView {
    let nanoseconds = event.time.wrapping_add(clock_offset);
    let seconds = time::print(nanoseconds / 1_000_000_000);
    let milliseconds = nanoseconds / 1_000_000 % 1_000;
    let rule = match log.rules.get(&event.rule) {
        Some(name) => name,
        None if event.rule == name_hash("") => DEFAULT,
        None => "?",
    };
    let interface = log.interfaces.get(&event.key.interface.into()).cloned();
    let packet = PacketText {
        ingress: match &interface {
            Some(name) => Ingress::Interface(name.clone()),
            None => Ingress::Anywhere,
        },
        ..PacketText::of_event(event)
    };
    let (from, to) = packet.ends();
    let port = |field: Field| {
        let port = event.field(field).filter(|_| !event.is_frame);
        port.map(|port| port as u16)
    };
    let ethertype = event
        .field(Field::DestinationPort)
        .filter(|_| event.is_frame);
    let verdict = match event.audit.unwrap_or(event.action) {
        Action::OVER => Action::DROP.name(),
        action => action.name(),
    };
    EventView {
        schema: SCHEMA.to_owned(),
        time: format!("{}.{milliseconds:03}Z", seconds.trim_end_matches('Z')),
        verdict: verdict.to_owned(),
        // What passes anyway passes in audit mode too.
        audit: event.audit.is_some() || event.passes && event.action != Action::PASS,
        over: event.over,
        rule: rule.to_owned(),
        interface,
        from,
        source_port: port(Field::SourcePort),
        to,
        port: port(Field::DestinationPort),
        ethertype: ethertype.map(vocabulary::ethertype),
        packet: packet.to_string(),
        number: event.number,
    }
}
