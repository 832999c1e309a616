//! Every packet that fits a filter, for as long as somebody looks on: `observe -f` with a filter.
//!
//! Each request renews the lease of the filter's slot in the kernel. However this ends, the slot is given
//! back; if this process is killed, its lease ends.

use super::super::context::Context;
use super::filter::words;
use super::lines::Fold;
use super::{WAIT, catch, print, show};
use firewall_api::clock::unix_time;
use firewall_api::events::EventsRequest;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::watch::{RATE, SLOTS, WatchReport, WatchRequest};
use firewall_policy::time;

/// What was seen so far. Of a slot that was lost, what is known of it.
#[derive(Default)]
struct Tally {
    /// The slot that counts.
    id: String,
    /// Of slots before.
    before: [u64; 2],
    matched: u64,
    beyond: u64,
    shown: u64,
    missed: u64,
}

impl Tally {
    fn add(&mut self, report: &WatchReport) {
        // A slot whose lease was renewed late counts on; another one begins at 0.
        if report.id != self.id {
            self.before = [self.matched, self.beyond];
            self.id.clone_from(&report.id);
        }
        self.matched = self.before[0] + report.matched;
        self.beyond = self.before[1] + report.beyond;
        self.shown += report.events.len() as u64;
        self.missed += report.missed;
    }
}

/// Shows past events, if some are asked for, and then what comes, until a signal.
pub(super) fn follow(
    firewall: &dyn Firewall,
    filter: EventsRequest,
    past: Option<&EventsRequest>,
    context: &Context,
) -> Result<Exit, Failure> {
    let signals = catch()?;
    let begin = time::print_milliseconds(unix_time().as_nanos() as u64);
    let mut request = WatchRequest {
        events: filter,
        ..WatchRequest::default()
    };
    // Armed before the past is read: nothing comes in between.
    let first = firewall.watch(&request)?;
    let (mut tally, mut fold) = (Tally::default(), Fold::default());
    let mut look = || -> Result<(), Failure> {
        context.note(&format!(
            "watching every packet ({}), up to {RATE} a second: slot {} of {SLOTS}\n",
            words(&request.events),
            first.slot
        ));
        if let Some(past) = past {
            let mut events = firewall.events(past)?.events;
            events.retain(|event| event.time < begin);
            print(context, &events)?;
        }
        let mut report = first.clone();
        loop {
            tally.add(&report);
            show(context, &report.events, &mut fold)?;
            if report.lapsed {
                context.warn(&[
                    "nobody was watching for a while: this process stood still for \
                                more than 15 s"
                        .to_owned(),
                ]);
            }
            request.id = Some(report.id);
            request.events.after = Some(report.cursor);
            request.events.wait = Some(WAIT);
            if signals.arrived() {
                return Ok(());
            }
            report = firewall.watch(&request)?;
        }
    };
    let ended = look();
    request.id.get_or_insert(first.id);
    request.stop = true;
    let last = firewall.watch(&request);
    ended?;
    let last = last?;
    tally.add(&last);
    show(context, &last.events, &mut fold)?;
    context.print(&fold.end())?;
    context.note(&format!(
        "{} packets matched: {} shown, {} beyond {RATE} a second, {} lost before they were read\n",
        tally.matched, tally.shown, tally.beyond, tally.missed,
    ));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_api::events::EventCursor;

    fn report(id: &str, matched: u64, lapsed: bool) -> WatchReport {
        WatchReport {
            schema: String::new(),
            id: id.to_owned(),
            slot: 1,
            events: Vec::new(),
            cursor: EventCursor { ring: 1, next: 0 },
            matched,
            beyond: matched / 2,
            missed: 0,
            lapsed,
        }
    }

    #[test]
    fn a_slot_that_is_held_again_counts_on_and_another_one_begins_anew() {
        let mut tally = Tally::default();
        for (id, matched, lapsed) in [("a", 10, false), ("a", 30, true), ("a", 40, false)] {
            tally.add(&report(id, matched, lapsed));
        }
        assert_eq!((tally.matched, tally.beyond), (40, 20));
        tally.add(&report("b", 4, true));
        tally.add(&report("b", 6, false));
        assert_eq!((tally.matched, tally.beyond), (46, 23));
    }
}
