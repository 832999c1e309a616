//! The table itself: finding a flow, changing its words, making a new one.
//!
//! A flow stands in one of two sets (two choices: Azar, Broder, Karlin and Upfal, SIAM J. Comput.
//! 1999): a new one goes where there are fewer, so that at four fifths of the table hardly a set is
//! full.

use super::room;
use super::{LINE, LOCK, SET, Tuple, WAYS, at, head, is_expired, seen, state, statistics};
use crate::bits::{index, lowest};
use crate::calls::Calls;
use crate::machine::Step;
use crate::parse::proto;
use crate::region::Region;

/// How often a lock is tried.
const TRIES: u32 = 256;

/// How often a word is changed that others change too.
const CHANGES: u32 = 8;

/// Where a flow would stand, and what it is called there.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Byte offsets of both sets. They can be one.
    sets: [u64; 2],
    /// Upper half of the head's word, never 0.
    tag: u64,
    /// Byte offset of the half of the table.
    half: u64,
}

impl Place {
    /// Two sums of products that do not wait for each other, from a secret that lives as long as the table.
    #[inline(always)]
    fn of<M: Calls>(machine: &M, tuple: &Tuple) -> Self {
        let low = machine.constant(|config| &config.flows_seed[0]);
        let high = machine.constant(|config| &config.flows_seed[1]);
        let secret = u64::from(low) | u64::from(high) << 32;
        let remote = mix(mix(tuple.remote[0] ^ secret) ^ tuple.remote[1]);
        let local = mix(mix(tuple.local[0] ^ secret.rotate_left(32)) ^ tuple.local[1]);
        let hash = mix(remote ^ local.rotate_left(32) ^ tuple.identity);
        // Half of the sets are for TCP.
        let bytes = u64::from(machine.constant(|config| &config.flows_size)) / 2;
        let half = bytes * u64::from(Tuple::proto_of(tuple.identity) != proto::TCP);
        let sets = bytes / u64::from(SET);
        // The first set is for statistics: what would stand there stands in the next one.
        let set = |hash: u64| {
            let number = hash & (sets - 1);
            half + (number | u64::from(number == 0)) * u64::from(SET)
        };
        let other = (hash ^ hash >> 29).wrapping_mul(FACTOR) >> 24;
        Self {
            sets: [set(hash), set(other)],
            tag: hash >> 32 | 1,
            half,
        }
    }
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplication and shift.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let product = word.wrapping_mul(FACTOR);
    product ^ product >> 32
}

/// A flow that was found.
#[derive(Clone, Copy)]
pub(super) struct Located {
    /// Byte offset of its word in the head.
    head: u64,
    /// Byte offset of its line.
    line: u64,
    /// Its word in the head, as it was.
    head_word: u64,
    /// Its state, as it was.
    pub(super) state: u64,
}

/// Whether the half of the table for a protocol has ever held a flow that goes on.
#[inline(always)]
pub(super) fn is_in_use<M: Calls>(machine: &M, protocol: u32) -> bool {
    let bytes = u64::from(machine.constant(|config| &config.flows_size)) / 2;
    let half = bytes * u64::from(protocol != proto::TCP);
    machine.read(Region::Flows, half + statistics::IN_USE) != 0
}

/// The flow, if it is there and has not expired. Takes no lock.
#[inline(always)]
pub(super) fn find<M: Calls>(machine: &M, tuple: &Tuple, now: u64) -> Option<Located> {
    find_any(machine, tuple)
        .filter(|found| !is_expired(tuple.identity, found.state, seen(found.head_word), now))
}

/// The flow, if it is there, expired or not.
#[inline(always)]
fn find_any<M: Calls>(machine: &M, tuple: &Tuple) -> Option<Located> {
    let place = machine.locate(tuple);
    if place == NOWHERE {
        return None;
    }
    let (tag, at) = (place >> 32, place & 0xffff_ffff);
    let set = at & !u64::from(SET - 1);
    let line = set + ((at - set) / 8 + 1) * u64::from(LINE);
    let state = machine.read(Region::Flows, line + at::STATE);
    // Whoever gives the place to another flow takes its tag away first.
    let head_word = machine.read(Region::Flows, at);
    (head_word >> 32 == tag).then_some(Located {
        head: at,
        line,
        head_word,
        state,
    })
}

/// Where a flow stands: its tag, and below it the byte offset of its word in a set's head; or
/// [`NOWHERE`]. The part of a lookup that is the same for every packet: the kernel's verifier proves it
/// once.
#[inline(always)]
pub fn locate<M: Calls>(machine: &M, tuple: &Tuple) -> u64 {
    let place = Place::of(machine, tuple);
    let [first, second] = place.sets;
    let mut at = find_in(machine, first, place.tag, tuple);
    // Most flows stand in the first set that is looked at.
    if at == NOWHERE {
        at = find_in(machine, second, place.tag, tuple);
    }
    if at == NOWHERE {
        return NOWHERE;
    }
    place.tag << 32 | at
}

/// No byte offset of a flow: the table's first set has none.
pub const NOWHERE: u64 = 0;

/// Byte offset of the word in a set's head that is of a flow; [`NOWHERE`] if it is not there.
#[inline(always)]
fn find_in<M: Calls>(machine: &M, set: u64, tag: u64, tuple: &Tuple) -> u64 {
    let read = |offset: u64| machine.read(Region::Flows, offset);
    // Without a jump for each way: a bit for every tag that is this one. Two of them in a set are
    // seen once in a thousand million lookups; the second one is not looked at then.
    let mut same = 0;
    let mut way = 0;
    while way < u64::from(WAYS) {
        let differs = read(set + way * 8) >> 32 ^ tag;
        same |= (differs.wrapping_sub(1) >> 63) << way;
        way += 1;
    }
    if same == 0 {
        return NOWHERE;
    }
    let way = index(lowest(same));
    let line = set + (way + 1) * u64::from(LINE);
    let differs = read(line + at::REMOTE) ^ tuple.remote[0]
        | read(line + at::REMOTE + 8) ^ tuple.remote[1]
        | read(line + at::LOCAL) ^ tuple.local[0]
        | read(line + at::LOCAL + 8) ^ tuple.local[1]
        | read(line + at::IDENTITY) ^ tuple.identity;
    if differs == 0 { set + way * 8 } else { NOWHERE }
}

impl Located {
    /// Notes that a packet of the flow came at `now`. At most one write a tick.
    #[inline(always)]
    pub(super) fn touch<M: Calls>(&self, machine: &M, now: u64) {
        if seen(self.head_word) != now & 0xffff_ffff {
            let new = head(self.head_word >> 32, now);
            // If it is another word by now, somebody else has touched it, or it is gone.
            machine.exchange_if(Region::Flows, self.head, self.head_word, new);
        }
    }

    /// Takes bits of the state away and sets others. If the place has become another flow's
    /// meanwhile, that one stays as it is.
    #[inline(always)]
    pub(super) fn change<M: Calls>(&self, machine: &M, away: u64, set: u64) {
        if self.state & !away | set == self.state {
            return;
        }
        let at = self.line + at::STATE;
        for _ in 0..CHANGES {
            let old = machine.read(Region::Flows, at);
            if old >> state::VERSION != self.state >> state::VERSION
                || machine.exchange_if(Region::Flows, at, old, old & !away | set)
            {
                return;
            }
        }
    }

    /// Reads a word of the flow.
    #[inline(always)]
    pub(super) fn read<M: Calls>(&self, machine: &M, word: u64) -> u64 {
        machine.read(Region::Flows, self.line + word)
    }

    /// Writes a word of the flow.
    #[inline(always)]
    pub(super) fn write<M: Calls>(&self, machine: &M, word: u64, value: u64) {
        machine.write(Region::Flows, self.line + word, value);
    }
}

/// What a flow begins with.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// Bits of [`state`].
    pub(super) state: u64,
    /// As [`at::OUT`].
    pub(super) out: u64,
}

/// Makes a flow, or makes it anew where it is. Says whether there was room for it: not if the lock
/// of its set cannot be had.
#[inline(always)]
pub(super) fn insert<M: Calls>(machine: &M, tuple: &Tuple, start: Start, now: u64) -> bool {
    let place = Place::of(machine, tuple);
    let known = find_any(machine, tuple);
    let counterpart = Place::of(machine, &tuple.counterpart()).tag;
    let set = match known {
        Some(found) => found.head & !u64::from(SET - 1),
        None => emptier(machine, &place, now, counterpart),
    };
    let lock_at = set + u64::from(LOCK);
    let mut lock = Locking {
        machine: *machine,
        at: lock_at,
        is_mine: 0,
    };
    machine.repeat(TRIES, &mut lock);
    if lock.is_mine == 0 {
        add(machine, place.half + statistics::FULL);
        return false;
    }
    // Two processors can make one flow in both of its sets: the second one is never found, and expires.
    let way = match known {
        Some(found) if machine.read(Region::Flows, found.head) >> 32 == place.tag => {
            (found.head - set) / 8
        }
        _ => {
            let place_in_set = machine.room(set, now, counterpart);
            let evicts = room::cost(place_in_set) >= room::SETTLED;
            if evicts && state::is_over(start.state) {
                // What has ended is kept where there is room.
                machine.unlock(Region::Flows, lock_at);
                return true;
            }
            if evicts {
                add(machine, place.half + statistics::EVICTED);
            }
            room::way(place_in_set)
        }
    };
    fill(machine, (set, way, place.tag), tuple, start, now);
    machine.unlock(Region::Flows, lock_at);
    let in_use = place.half + statistics::IN_USE;
    if !state::is_over(start.state) && machine.read(Region::Flows, in_use) == 0 {
        machine.write(Region::Flows, in_use, 1);
    }
    true
}

/// Whether a new flow would take the place of one that both sides use.
pub(super) fn is_full<M: Calls>(machine: &M, tuple: &Tuple, now: u64) -> bool {
    let place = Place::of(machine, tuple);
    let counterpart = Place::of(machine, &tuple.counterpart()).tag;
    let set = emptier(machine, &place, now, counterpart);
    room::cost(machine.room(set, now, counterpart)) >= room::SETTLED
}

/// The set of both in which a new flow costs less.
#[inline(always)]
fn emptier<M: Calls>(machine: &M, place: &Place, now: u64, counterpart: u64) -> u64 {
    let [first, second] = place.sets;
    let of_first = room::cost(machine.room(first, now, counterpart));
    if room::cost(machine.room(second, now, counterpart)) < of_first {
        second
    } else {
        first
    }
}

/// Counts one more. Processors that count at once may count one.
#[inline(always)]
fn add<M: Calls>(machine: &M, at: u64) {
    let count = machine.read(Region::Flows, at);
    machine.write(Region::Flows, at, count + 1);
}

/// Writes a flow. Its tag is away while it is being written.
#[inline(always)]
fn fill<M: Calls>(
    machine: &M,
    (set, way, tag): (u64, u64, u64),
    tuple: &Tuple,
    start: Start,
    now: u64,
) {
    let head_at = set + way * 8;
    let line = set + (way + 1) * u64::from(LINE);
    let write = |word: u64, value: u64| machine.write(Region::Flows, line + word, value);
    machine.unlock(Region::Flows, head_at);
    let version = (machine.read(Region::Flows, line + at::STATE) >> state::VERSION) + 1;
    write(at::STATE, start.state | version << state::VERSION);
    write(at::REMOTE, tuple.remote[0]);
    write(at::REMOTE + 8, tuple.remote[1]);
    write(at::LOCAL, tuple.local[0]);
    write(at::LOCAL + 8, tuple.local[1]);
    write(at::IDENTITY, tuple.identity);
    write(at::OUT, start.out);
    write(at::IN, 0);
    machine.exchange_if(Region::Flows, head_at, 0, head(tag, now));
}

/// One attempt at a set's lock a step.
struct Locking<M> {
    machine: M,
    at: u64,
    is_mine: u64,
}

impl<M: Calls> Step for Locking<M> {
    #[inline(always)]
    fn forget(&mut self) {
        self.at = self.machine.forget(self.at);
        self.is_mine = self.machine.forget(self.is_mine);
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        self.is_mine = u64::from(self.machine.try_lock(Region::Flows, self.at));
        self.is_mine == 0
    }
}
