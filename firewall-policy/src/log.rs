//! Reading the ring of events ([`firewall_common::log`]): events whole, in order, and how many were
//! missed.
//!
//! Knows nothing of where the words are: in the kernel's map, or in the memory of the host build.
//! Invariant: what is returned as an event was written by one writer, and no word of it has changed
//! since.

use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::log::{BUSY, EventBits, FIELDS, Ring, SeenBits, at, stamp, unpair};
use firewall_common::verdict::Action;

/// What a rule said about a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// How many there were before it.
    pub number: u64,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    /// [`firewall_common::log::name_hash`] of the rule; that of the empty name: no rule matched. Of what
    /// a live filter has matched, the counter slot of the rule that has decided, if one has.
    pub rule: u64,
    /// What the rule does, or what becomes of what is over its limit.
    pub action: Action,
    /// What it would do, if it is in audit mode.
    pub audit: Option<Action>,
    /// Whether the packet was over the rule's limit.
    pub over: bool,
    /// Whether the policy is in audit mode: then the packet passed, whatever the action.
    pub passes: bool,
    /// Whether it is about a frame that is not IP. Then the lower halves of the addresses are MAC
    /// addresses, and the destination port is what stands for the EtherType.
    pub is_frame: bool,
    /// Of what a live filter has matched: the reason of the verdict, and more.
    pub seen: Option<SeenBits>,
    /// Addresses, the interface's counter slot, and those fields that [`FIELDS`] names.
    pub key: PacketKey,
}

/// Goes from event to event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reader {
    ring: Ring,
    next: u64,
    missed: u64,
}

/// What stands where an event should be.
enum Place {
    Event(Box<Event>),
    /// It is being written.
    NotYet,
    /// A later one stands in its place, or it was passed over.
    Gone,
}

impl Reader {
    /// Starts so that `last` events come that are there already, if there are as many.
    #[must_use]
    pub fn new(ring: Ring, read: &impl Fn(u64) -> u64, last: u64) -> Self {
        let head = read(ring.head);
        Self {
            ring,
            next: head - head.min(last).min(ring.places),
            missed: 0,
        }
    }

    /// Starts with the event of this number, or the oldest one there is.
    #[must_use]
    pub fn at(ring: Ring, number: u64) -> Self {
        Self {
            ring,
            next: number,
            missed: 0,
        }
    }

    /// The number of the event that is read next.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.next
    }

    /// How many events were overwritten before they were read.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The next event; `None` if there is none yet. `read` gives the word at a byte offset of the
    /// ring; what it reads afterwards is not older.
    pub fn next(&mut self, read: &impl Fn(u64) -> u64) -> Option<Event> {
        loop {
            let (head, places) = (read(self.ring.head), self.ring.places);
            if self.next >= head {
                return None;
            }
            if head - self.next > places {
                self.missed += head - places - self.next;
                self.next = head - places;
            }
            match place(self.ring, read, self.next) {
                Place::Event(event) => {
                    self.next += 1;
                    return Some(*event);
                }
                Place::Gone => {
                    self.next += 1;
                    self.missed += 1;
                }
                Place::NotYet => return None,
            }
        }
    }
}

fn place(ring: Ring, read: &impl Fn(u64) -> u64, number: u64) -> Place {
    let slot = ring.place(number);
    let before = read(slot + at::STAMP);
    if before != stamp(number) {
        return match before == stamp(number) | BUSY {
            true => Place::NotYet,
            false => Place::Gone,
        };
    }
    let word = |offset: u64| read(slot + offset);
    let found = EventBits::from_word(word(at::FOUND));
    let seen = SeenBits::from_word(word(at::SEEN));
    let family = if found.is_v6() {
        Family::V6
    } else {
        Family::V4
    };
    let mut key = PacketKey::empty(family);
    (key.src_hi, key.src_lo) = (word(at::SRC), word(at::SRC + 8));
    (key.dst_hi, key.dst_lo) = (word(at::DST), word(at::DST + 8));
    for (at, low, high) in FIELDS {
        (key.fields[low as usize], key.fields[high as usize]) = unpair(word(at));
    }
    key.interface = found.interface() as u8;
    let event = Event {
        number,
        time: word(at::TIME),
        rule: word(at::RULE),
        action: found.action(),
        audit: found.audit(),
        over: found.is_over(),
        passes: found.passes(),
        is_frame: found.is_frame(),
        seen: Some(seen).filter(|seen| seen.slot().is_some()),
        key,
    };
    match read(slot + at::STAMP) == before {
        true => Place::Event(Box::new(event)),
        false => Place::Gone,
    }
}

impl Event {
    /// A field of the packet, if it has it.
    #[must_use]
    pub fn field(&self, field: Field) -> Option<u32> {
        let value = self.key.field(field);
        (value != field.none()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::log::{EVENTS, HEAD, SLOT};
    use std::cell::RefCell;

    /// A ring, and writers that stop half-way.
    struct Written(RefCell<Vec<u64>>);

    impl Written {
        fn new() -> Self {
            Self(RefCell::new(vec![0; (EVENTS * SLOT / 8) as usize]))
        }

        fn read(&self) -> impl Fn(u64) -> u64 {
            |offset| self.0.borrow()[(offset / 8) as usize]
        }

        fn set(&self, offset: u64, word: u64) {
            self.0.borrow_mut()[(offset / 8) as usize] = word;
        }

        /// Takes a number; says that the event is `stamp`.
        fn write(&self, stamp_of: impl Fn(u64) -> u64) {
            let number = self.read()(HEAD);
            self.set(HEAD, number + 1);
            let slot = number % EVENTS * SLOT;
            self.set(slot + at::TIME, number + 100);
            let before = self.read()(slot);
            let stamp = stamp_of(number);
            self.set(slot, if stamp == 0 { before } else { stamp });
        }
    }

    fn times(reader: &mut Reader, ring: &Written) -> Vec<u64> {
        std::iter::from_fn(|| reader.next(&ring.read()))
            .map(|event| event.time - 100)
            .collect()
    }

    #[test]
    fn events_come_in_order_from_where_one_asks() {
        let ring = Written::new();
        let mut all = Reader::new(Ring::LOG, &ring.read(), 100);
        assert!(times(&mut all, &ring).is_empty());
        (0..5).for_each(|_| ring.write(stamp));
        let mut two = Reader::new(Ring::LOG, &ring.read(), 2);
        assert_eq!(times(&mut two, &ring), [3, 4]);
        assert_eq!(times(&mut all, &ring), [0, 1, 2, 3, 4]);
        ring.write(stamp);
        assert_eq!(times(&mut two, &ring), [5]);
        assert_eq!((two.missed(), all.missed()), (0, 0));
    }

    #[test]
    fn what_was_overwritten_is_counted() {
        let ring = Written::new();
        let mut reader = Reader::new(Ring::LOG, &ring.read(), EVENTS);
        (0..EVENTS + 7).for_each(|_| ring.write(stamp));
        let found = times(&mut reader, &ring);
        assert_eq!(found.len() as u64, EVENTS);
        assert_eq!((found[0], reader.missed()), (7, 7));
        // More than there is room for cannot be had.
        assert_eq!(
            times(&mut Reader::new(Ring::LOG, &ring.read(), u64::MAX), &ring),
            found
        );
    }

    #[test]
    fn an_event_that_is_being_written_is_waited_for() {
        let ring = Written::new();
        let mut reader = Reader::new(Ring::LOG, &ring.read(), 9);
        ring.write(stamp);
        ring.write(|number| stamp(number) | BUSY);
        ring.write(stamp);
        assert_eq!(times(&mut reader, &ring), [0]);
        assert!(times(&mut reader, &ring).is_empty());
        ring.set(SLOT, stamp(1));
        assert_eq!(times(&mut reader, &ring), [1, 2]);
        // And here is one that was passed over.
        ring.write(|_| 0);
        ring.write(stamp);
        assert_eq!(times(&mut reader, &ring), [4]);
        assert_eq!(reader.missed(), 1);
    }

    #[test]
    fn a_place_that_was_taken_meanwhile_is_no_event() {
        let ring = Written::new();
        (0..3).for_each(|_| ring.write(stamp));
        // A writer comes round while the second event is read.
        let stamps_read = std::cell::Cell::new(0);
        let read = |offset: u64| {
            if offset == SLOT {
                stamps_read.set(stamps_read.get() + 1);
                if stamps_read.get() == 2 {
                    ring.set(SLOT, stamp(1 + EVENTS) | BUSY);
                }
            }
            ring.read()(offset)
        };
        let mut reader = Reader::new(Ring::LOG, &read, 3);
        let found: Vec<u64> = std::iter::from_fn(|| reader.next(&read))
            .map(|event| event.number)
            .collect();
        assert_eq!((found, reader.missed()), (vec![0, 2], 1));
    }
}
