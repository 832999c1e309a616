//! What rules with `log` say about packets: events of fixed size in a ring ([`Region::Log`]) that
//! programs on all processors write and any number of readers in user space read.
//!
//! Nobody waits for a reader: a new event takes the place of the oldest. The number of an event,
//! taken from one counter, says where it stands and goes into its stamp, so that a reader knows which
//! events it has missed, and never takes half of one for a whole one.
//!
//! ```text
//! ring: [[stamp, time, source, destination, what became of the packet, fields, free]; 8192]
//! the last word of the first slot: how many events there have been
//! ```
//!
//! The rings of live filters ([`crate::watch`]) are written and read by the same code: [`Ring`] says where
//! one lies.
//!
//! How many events a rule may write is a rate limit of its own ([`crate::limits`]). What is beyond it
//! is counted, exactly, in a rule counter.
//!
//! May not import anything of the host or the kernel. A change of the layout is a change of
//! [`ABI_VERSION`](crate::abi::ABI_VERSION). Invariant: no byte of a packet's content is
//! in an event, only what the parser found in its headers.

use crate::abi::{Entry, LogEntry};
pub use crate::abi::{EventBits, SeenBits};
use crate::field::Field;
use crate::key::{FRAME, PacketKey};
use crate::limits::{self, At};
use crate::machine::Machine;
use crate::region::Region;

/// Bytes of an event.
pub const SLOT: u64 = 128;

/// Bytes of the ring: a power of two.
pub const SIZE: u32 = 1 << 20;

/// Events in the ring.
pub const EVENTS: u64 = SIZE as u64 / SLOT;

/// Byte offset of the number of events so far, in the first slot's free space.
pub const HEAD: u64 = SLOT - 8;

/// Where a ring of events lies in its region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Byte offset of the first place.
    pub first: u64,
    /// How many places there are.
    pub places: u64,
    /// Byte offset of the number of events so far.
    pub head: u64,
}

impl Ring {
    /// That of rules with `log`.
    pub const LOG: Self = Self {
        first: 0,
        places: EVENTS,
        head: HEAD,
    };

    /// Byte offset of the place of an event.
    #[must_use]
    #[inline(always)]
    pub const fn place(self, number: u64) -> u64 {
        self.first + number % self.places * SLOT
    }
}

/// Set in a stamp while the event is being written.
pub const BUSY: u64 = 1;

/// Attempts to claim a place. Each one that fails means that another processor has claimed one.
const TRIES: u32 = 16;

/// Byte offsets of the words of an event.
pub mod at {
    /// [`super::stamp`] of the event's number.
    pub const STAMP: u64 = 0;
    /// Nanoseconds of the monotonic clock.
    pub const TIME: u64 = 8;
    /// Upper and lower half of the source address, as [`crate::key::PacketKey`] has it; of a frame that
    /// is not IP, its MAC address in the lower one.
    pub const SRC: u64 = 16;
    /// Of the destination address.
    pub const DST: u64 = 32;
    /// [`super::name_hash`] of the rule.
    pub const RULE: u64 = 48;
    /// [`super::EventBits`]: what became of the packet.
    pub const FOUND: u64 = 56;
    /// Source port; from bit 32 on destination port, or the EtherType of a frame that is not IP.
    pub const PORTS: u64 = 64;
    /// Protocol number; from bit 32 on ICMP type and code.
    pub const PROTO: u64 = 72;
    /// TCP flags; from bit 32 on VLAN.
    pub const FLAGS: u64 = 80;
    /// Bytes of the IP packet; from bit 32 on which part of a datagram it is.
    pub const LENGTH: u64 = 88;
    /// Of an event of a live filter, [`super::SeenBits`]; 0 in those of rules.
    pub const SEEN: u64 = 96;
}

/// The fields of an event in pairs, by word.
pub const FIELDS: [(u64, Field, Field); 4] = [
    (at::PORTS, Field::SourcePort, Field::DestinationPort),
    (at::PROTO, Field::Proto, Field::Icmp),
    (at::FLAGS, Field::TcpFlags, Field::Vlan),
    (at::LENGTH, Field::Length, Field::Fragment),
];

/// Two fields of a packet, as a word of an event.
#[must_use]
#[inline(always)]
pub const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Back from [`pair`].
#[must_use]
#[inline(always)]
pub const fn unpair(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// What stands before event `number` once it is written.
#[must_use]
#[inline(always)]
pub const fn stamp(number: u64) -> u64 {
    (number + 1) << 1
}

/// What stands in events for the name of a rule: names outlive counter slots. FNV-1a, 64 bits
/// (draft-eastlake-fnv); the default has the empty name.
#[must_use]
pub const fn name_hash(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name.as_bytes()[i] as u64).wrapping_mul(0x100_0000_01b3);
        i += 1;
    }
    hash
}

/// Writes an event for a packet whose rule has a log. `found` is the rule's entry, or what its limit put
/// in its place.
#[inline(always)]
pub fn record<M: Machine>(machine: &M, key: &PacketKey, rule: Entry, found: Entry) {
    if found == Entry::GOES_ON {
        return;
    }
    let Some(log) = At::of(machine, rule).log(machine) else {
        return;
    };
    let bucket = limits::only_bucket(machine, log.rate());
    if limits::takes(machine, bucket, log.rate()) && write(machine, key, log, found, rule != found)
    {
        return;
    }
    machine.count_rule(log.unlogged(machine));
}

/// Writes an event in the place of the oldest; false if there are too many writers.
#[inline(always)]
fn write<M: Machine>(
    machine: &M,
    key: &PacketKey,
    log: At<LogEntry>,
    found: Entry,
    is_over: bool,
) -> bool {
    let Some(number) = claim(machine, Region::Log, Ring::LOG) else {
        return false;
    };
    let mut what = log.found(machine).with_action(found.action());
    if is_over {
        what = what.over();
    }
    if machine.constant(|c| &c.audit) != 0 {
        what = what.passing();
    }
    let what = what.with_interface(u32::from(key.interface));
    let slot = Ring::LOG.place(number);
    machine.write(Region::Log, slot + at::RULE, log.name(machine));
    machine.write(Region::Log, slot + at::SEEN, 0);
    finish(machine, Region::Log, slot, number, key, what);
    true
}

/// Writes what an event says of its packet in the place that was claimed for its number, and says that it
/// is there. What else it says stands there already.
#[inline(always)]
pub(crate) fn finish<M: Machine>(
    machine: &M,
    region: Region,
    slot: u64,
    number: u64,
    key: &PacketKey,
    what: EventBits,
) {
    let put = |at: u64, word: u64| machine.write(region, slot + at, word);
    put(at::TIME, machine.now());
    put(at::SRC, key.src_hi);
    put(at::SRC + 8, key.src_lo);
    put(at::DST, key.dst_hi);
    put(at::DST + 8, key.dst_lo);
    let what = match key.is_v6 {
        0 => what,
        FRAME => what.frame(),
        _ => what.v6(),
    };
    put(at::FOUND, what.word());
    for (at, low, high) in FIELDS {
        put(at, pair(key.field(low), key.field(high)));
    }
    // What was written before is seen by whoever sees this.
    machine.exchange_if(region, slot, stamp(number) | BUSY, stamp(number));
}

/// The number of a new event, whose place is this writer's from now on. A place is claimed before
/// its number is counted: whoever sees the number counted, sees the claim.
#[inline(always)]
pub(crate) fn claim<M: Machine>(machine: &M, region: Region, ring: Ring) -> Option<u64> {
    for _ in 0..TRIES {
        let number = machine.read(region, ring.head);
        let slot = ring.place(number);
        let before = machine.read(region, slot);
        // Whose event is still being written there is a whole round behind. Its place is passed over.
        let is_free = before & BUSY == 0 && before < stamp(number);
        let is_ours = is_free && machine.exchange_if(region, slot, before, stamp(number) | BUSY);
        // Counted by whoever comes first: nobody waits for a writer that does not run.
        machine.exchange_if(region, ring.head, number, number + 1);
        if is_ours {
            return Some(number);
        }
    }
    None
}
