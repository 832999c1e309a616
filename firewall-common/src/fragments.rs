//! Following fragments (`packet.fragments: follow-first`): a datagram's first fragment is judged
//! like a packet, and the rest of the datagram goes the same way.
//!
//! The table remembers datagrams whose first fragment has passed, and no others: what a policy
//! drops leaves no trace in it. It is set-associative, of fixed size, with the oldest entry of a
//! set giving way, so that spraying costs other datagrams their entries and never memory. Each set
//! has a lock; whoever cannot get it drops the fragment.
//!
//! An entry holds the byte ranges seen so far, in units of 8 bytes, exactly, as up to
//! [`RANGES`] ranges that merge when they touch. Fragments that claim bytes twice (RFC 5722, and
//! the same for IPv4), a second first fragment (RFC 3128) or a second end condemn the datagram:
//! nothing of it passes any more. When all of it has passed, its entry is free: the sender may
//! use the identification again at once (RFC 4963).
//!
//! Invariant: a later fragment passes only if a fragment at offset 0 with the same key has passed
//! before it, in this generation and at most [`crate::abi::Config::fragment_ms`] ago, and no
//! byte of it has passed before.

use crate::abi::{FRAGMENT_ENTRY, FRAGMENT_SETS, FRAGMENT_WAYS};
use crate::field::Field;
use crate::machine::{Machine, Step};
use crate::parse::{Packet, fragment};
use crate::reason::Reason;
use crate::region::Region;

pub use crate::packet::Span;

/// How many ranges of a datagram can be apart from each other before the last gap is filled.
pub const RANGES: u32 = 8;

/// What [`follow`] returns for a fragment that stays with its verdict, or follows one that passed.
/// No reason to drop has this code.
pub const GOES_ON: u64 = Reason::RULE.0 as u64;

// Layout of an entry: byte offsets of its words.
const SOURCE: u64 = 0;
const DESTINATION: u64 = 16;
const IDENTITY: u64 = 32;
/// Nanoseconds at which the first fragment came, or at which the datagram was condemned; 0: free.
const TIME: u64 = 40;
/// [`State`] as a word.
const STATE: u64 = 48;
/// `start << 32 | end`, or 0.
const SPANS: u64 = 56;
/// In the first entry of a set.
const LOCK: u64 = 120;
const _: () = assert!(SPANS + 8 * RANGES as u64 == LOCK && LOCK + 8 == FRAGMENT_ENTRY as u64);

/// How often a lock is tried: some microseconds, where holding it takes a tenth of one.
const TRIES: u32 = 256;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// What is known of a datagram besides its ranges.
#[derive(Clone, Copy)]
struct State {
    /// Units that have passed.
    covered: u64,
    /// End of the furthest one.
    highest: u64,
    /// Units of the whole datagram; 0 until its last fragment has come.
    total: u64,
    /// Code of the reason that condemned it, or [`GOES_ON`].
    reason: u64,
}

impl State {
    #[inline(always)]
    const fn to_word(self) -> u64 {
        self.reason << 48 | self.total << 32 | self.highest << 16 | self.covered
    }

    #[inline(always)]
    const fn from_word(word: u64) -> Self {
        Self {
            covered: word & 0xffff,
            highest: word >> 16 & 0xffff,
            total: word >> 32 & 0xffff,
            reason: word >> 48 & 0xff,
        }
    }
}

/// Protocol (IPv4; the protocol of an IPv6 fragment is no part of its identity, RFC 8200), family,
/// VLAN, zone and identification. A datagram does not come in by two zones or VLANs: rules can
/// tell them apart.
#[inline(always)]
const fn identity(packet: &Packet) -> u64 {
    let key = &packet.key;
    let proto = if key.is_v6 != 0 {
        256
    } else {
        key.field(Field::Proto)
    };
    packet.fragment_id as u64
        | (proto as u64) << 32
        | (key.field(Field::Vlan) as u64 & 0x1fff) << 41
        | (key.field(Field::Zone) as u64 & 0x3ff) << 54
}

/// Byte offset of the set in which a datagram stands: multiplication and shift for each word, from
/// a seed that nobody outside knows.
#[inline(always)]
fn set_of<M: Machine>(machine: &M, packet: &Packet) -> u64 {
    let key = &packet.key;
    let mut hash = u64::from(machine.constant(|config| &config.fragment_seed));
    for word in [
        key.src_hi,
        key.src_lo,
        key.dst_hi,
        key.dst_lo,
        identity(packet),
    ] {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    (hash & u64::from(FRAGMENT_SETS - 1)) * u64::from(FRAGMENT_WAYS * FRAGMENT_ENTRY)
}

/// Whether a first fragment keeps its verdict, `passes`, or a later one follows its first:
/// [`GOES_ON`]; otherwise the code of the reason for which the fragment is dropped.
#[inline(always)]
pub fn follow<M: Machine>(machine: &M, packet: &Packet, passes: bool) -> u64 {
    let set = set_of(machine, packet);
    let mut lock = Locking {
        machine: *machine,
        at: set + LOCK,
        is_mine: 0,
    };
    machine.repeat(TRIES, &mut lock);
    if lock.is_mine == 0 {
        return u64::from(Reason::FRAG_BUSY.0);
    }
    let result = in_set(machine, set, packet, passes);
    machine.unlock(Region::Fragments, set + LOCK);
    result
}

/// [`follow`], by whoever holds the set's lock.
#[inline(always)]
fn in_set<M: Machine>(machine: &M, set: u64, packet: &Packet, passes: bool) -> u64 {
    let now = machine.now();
    let mut search = EntrySearch {
        machine: *machine,
        packet,
        identity: identity(packet),
        now,
        at: set,
        found: NOWHERE,
        oldest: set,
        oldest_time: u64::MAX,
    };
    machine.repeat(FRAGMENT_WAYS, &mut search);
    let span = Span::unpack(packet.fragment_span);
    let is_first = packet.key.field(Field::Fragment) == fragment::FIRST;
    if search.found == NOWHERE {
        if is_first && passes {
            remember(machine, search.oldest, packet, &span, now);
        }
        return if is_first {
            GOES_ON
        } else {
            u64::from(Reason::FRAG_ORPHAN.0)
        };
    }
    let entry = search.found;
    let state = State::from_word(machine.read(Region::Fragments, entry + STATE));
    if state.reason != GOES_ON {
        return state.reason;
    }
    let verdict = if is_first {
        u64::from(Reason::FRAG_CLASH.0)
    } else {
        add(machine, entry, &span, state)
    };
    if verdict != GOES_ON {
        let condemned = State {
            reason: verdict,
            ..state
        };
        machine.write(Region::Fragments, entry + STATE, condemned.to_word());
        machine.write(Region::Fragments, entry + TIME, now);
    }
    verdict
}

/// Makes an entry of a first fragment that passes.
#[inline(always)]
fn remember<M: Machine>(machine: &M, entry: u64, packet: &Packet, span: &Span, now: u64) {
    let key = &packet.key;
    machine.write(Region::Fragments, entry + SOURCE, key.src_hi);
    machine.write(Region::Fragments, entry + SOURCE + 8, key.src_lo);
    machine.write(Region::Fragments, entry + DESTINATION, key.dst_hi);
    machine.write(Region::Fragments, entry + DESTINATION + 8, key.dst_lo);
    machine.write(Region::Fragments, entry + IDENTITY, identity(packet));
    machine.write(Region::Fragments, entry + TIME, now);
    let state = State {
        covered: span.end,
        highest: span.end,
        total: 0,
        reason: GOES_ON,
    };
    machine.write(Region::Fragments, entry + STATE, state.to_word());
    machine.write(Region::Fragments, entry + SPANS, span.end);
    for range in 1..u64::from(RANGES) {
        machine.write(Region::Fragments, entry + SPANS + 8 * range, 0);
    }
}

/// Adds a later fragment to what is known of its datagram, if it fits.
#[inline(always)]
fn add<M: Machine>(machine: &M, entry: u64, span: &Span, mut state: State) -> u64 {
    let clash = u64::from(Reason::FRAG_CLASH.0);
    if span.more {
        // Behind the end, or up to it, where the last fragment is.
        if state.total != 0 && span.end > state.total {
            return clash;
        }
    } else {
        // A second end, or an end before what was there.
        if state.total != 0 || span.end < state.highest {
            return clash;
        }
        state.total = span.end;
    }
    let mut fit = Fit {
        machine: *machine,
        start: span.start,
        end: span.end,
        at: entry + SPANS,
        before: NOWHERE,
        behind: NOWHERE,
        free: NOWHERE,
        new_start: span.start,
        new_end: span.end,
        clashes: 0,
    };
    machine.repeat(RANGES, &mut fit);
    if fit.clashes != 0 {
        return clash;
    }
    let place = if fit.before != NOWHERE {
        if fit.behind != NOWHERE {
            machine.write(Region::Fragments, fit.behind, 0);
        }
        fit.before
    } else if fit.behind != NOWHERE {
        fit.behind
    } else {
        fit.free
    };
    if place == NOWHERE {
        return u64::from(Reason::FRAG_SCATTERED.0);
    }
    machine.write(Region::Fragments, place, fit.new_start << 32 | fit.new_end);
    state.covered += span.end - span.start;
    if span.end > state.highest {
        state.highest = span.end;
    }
    if state.covered == state.total {
        // Complete: the entry is free.
        machine.write(Region::Fragments, entry + TIME, 0);
    } else {
        machine.write(Region::Fragments, entry + STATE, state.to_word());
    }
    GOES_ON
}

/// No byte offset in the table.
const NOWHERE: u64 = u64::MAX;

/// One attempt at a lock a step.
struct Locking<M> {
    machine: M,
    at: u64,
    is_mine: u64,
}

impl<M: Machine> Step for Locking<M> {
    #[inline(always)]
    fn forget(&mut self) {
        self.is_mine = self.machine.forget(self.is_mine);
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.is_mine = u64::from(self.machine.try_lock(Region::Fragments, self.at));
        self.is_mine == 0
    }
}

/// One entry of a set a step: finds the datagram's, and the one that a new one would replace.
struct EntrySearch<'a, M> {
    machine: M,
    packet: &'a Packet,
    identity: u64,
    now: u64,
    at: u64,
    found: u64,
    oldest: u64,
    oldest_time: u64,
}

impl<M: Machine> EntrySearch<'_, M> {
    #[inline(always)]
    fn is_it(&self) -> bool {
        let key = &self.packet.key;
        let read = |at: u64| self.machine.read(Region::Fragments, self.at + at);
        let differs = read(SOURCE) ^ key.src_hi
            | read(SOURCE + 8) ^ key.src_lo
            | read(DESTINATION) ^ key.dst_hi
            | read(DESTINATION + 8) ^ key.dst_lo
            | read(IDENTITY) ^ self.identity;
        differs == 0
    }
}

impl<M: Machine> Step for EntrySearch<'_, M> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.at,
            &mut self.found,
            &mut self.oldest,
            &mut self.oldest_time,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let mut time = self.machine.read(Region::Fragments, self.at + TIME);
        // Clocks of two processors may differ a little: an entry from the future is a new one.
        let age = self.now.saturating_sub(time);
        let lifetime = u64::from(self.machine.constant(|config| &config.fragment_ms)) * MILLISECOND;
        if age >= lifetime {
            time = 0;
        }
        if time != 0 && self.is_it() {
            self.found = self.at;
            return false;
        }
        if time < self.oldest_time {
            self.oldest_time = time;
            self.oldest = self.at;
        }
        self.at = self.machine.forget(self.at + u64::from(FRAGMENT_ENTRY));
        true
    }
}

/// One range of an entry a step: whether the new one clashes with it, or touches it.
struct Fit<M> {
    machine: M,
    start: u64,
    end: u64,
    at: u64,
    /// Place of the range that ends where the new one starts.
    before: u64,
    /// Place of the range that starts where the new one ends.
    behind: u64,
    /// A place without a range.
    free: u64,
    /// The new range with those that it touches.
    new_start: u64,
    new_end: u64,
    clashes: u64,
}

impl<M: Machine> Step for Fit<M> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.at,
            &mut self.before,
            &mut self.behind,
            &mut self.free,
            &mut self.new_start,
            &mut self.new_end,
            &mut self.clashes,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let range = self.machine.read(Region::Fragments, self.at);
        let (start, end) = (range >> 32, range & 0xffff_ffff);
        if range == 0 {
            self.free = self.at;
        } else if self.start < end && start < self.end {
            self.clashes = 1;
            return false;
        } else if end == self.start {
            self.before = self.at;
            self.new_start = start;
        } else if start == self.end {
            self.behind = self.at;
            self.new_end = end;
        }
        self.at = self.machine.forget(self.at + 8);
        true
    }
}
