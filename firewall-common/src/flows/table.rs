//! The table itself: finding a flow, changing its words, making room for a new one.

use super::{LINE, LOCK, SET, Tuple, WAYS, at, head, idle, is_expired, lifetime, seen, state};
use crate::machine::{Machine, Step};
use crate::parse::proto;
use crate::region::Region;

/// No byte offset in the table.
const NOWHERE: u64 = u64::MAX;

/// How often a lock is tried, and how often a word is changed that others change too.
const TRIES: u32 = 256;

/// Where a flow would stand, and what it is called there.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Byte offset of the set.
    set: u64,
    /// Upper half of the head's word, never 0.
    tag: u64,
}

impl Place {
    /// Multiplication and shift for each word, from a secret that lives as long as the table.
    #[inline(always)]
    fn of<M: Machine>(machine: &M, tuple: &Tuple) -> Self {
        let low = machine.constant(|config| &config.flows_seed[0]);
        let high = machine.constant(|config| &config.flows_seed[1]);
        let mut hash = u64::from(low) | u64::from(high) << 32;
        for word in [
            tuple.remote[0],
            tuple.remote[1],
            tuple.local[0],
            tuple.local[1],
            tuple.identity,
        ] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        // Half of the sets are for TCP.
        let half = u64::from(machine.constant(|config| &config.flows_size)) / 2;
        let other = u64::from(Tuple::proto_of(tuple.identity) != proto::TCP);
        Self {
            set: (hash & (half / u64::from(SET) - 1)) * u64::from(SET) + other * half,
            tag: hash >> 32 | 1,
        }
    }
}

/// A flow that was found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// Byte offset of its word in the head.
    head: u64,
    /// Byte offset of its line.
    pub(super) line: u64,
    /// Its word in the head, as it was.
    head_word: u64,
    /// Its state, as it was.
    pub(super) state: u64,
}

/// The flow, if it is there and has not expired. Takes no lock.
#[inline(always)]
pub(super) fn find<M: Machine>(machine: &M, tuple: &Tuple, now: u64) -> Option<Found> {
    let place = Place::of(machine, tuple);
    find_in(machine, place, tuple)
        .filter(|found| !is_expired(tuple.identity, found.state, seen(found.head_word), now))
}

#[inline(always)]
fn find_in<M: Machine>(machine: &M, place: Place, tuple: &Tuple) -> Option<Found> {
    let mut search = Search {
        machine: *machine,
        tuple,
        tag: place.tag,
        set: place.set,
        way: 0,
        found: 0,
    };
    machine.repeat(WAYS, &mut search);
    if search.found == 0 {
        return None;
    }
    let head = place.set + search.way * 8;
    let line = place.set + (search.way + 1) * u64::from(LINE);
    let state = machine.read(Region::Flows, line + at::STATE);
    // Whoever gives the place to another flow takes its tag away first.
    let head_word = machine.read(Region::Flows, head);
    (head_word >> 32 == place.tag).then_some(Found {
        head,
        line,
        head_word,
        state,
    })
}

/// One way of a set a step.
struct Search<'a, M> {
    machine: M,
    tuple: &'a Tuple,
    tag: u64,
    set: u64,
    way: u64,
    found: u64,
}

impl<M: Machine> Step for Search<'_, M> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.tag, &mut self.set, &mut self.way, &mut self.found] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let read = |offset: u64| self.machine.read(Region::Flows, offset);
        if read(self.set + self.way * 8) >> 32 == self.tag {
            let line = self.set + (self.way + 1) * u64::from(LINE);
            let tuple = self.tuple;
            let differs = read(line + at::REMOTE) ^ tuple.remote[0]
                | read(line + at::REMOTE + 8) ^ tuple.remote[1]
                | read(line + at::LOCAL) ^ tuple.local[0]
                | read(line + at::LOCAL + 8) ^ tuple.local[1]
                | read(line + at::IDENTITY) ^ tuple.identity;
            if differs == 0 {
                self.found = 1;
                return false;
            }
        }
        self.way = self.machine.forget(self.way + 1);
        true
    }
}

impl Found {
    /// Notes that a packet of the flow came at `now`. At most one write a tick.
    #[inline(always)]
    pub(super) fn touch<M: Machine>(&self, machine: &M, now: u64) {
        if seen(self.head_word) != now & 0xffff_ffff {
            let new = head(self.head_word >> 32, now);
            // If it is another word by now, somebody else has touched it, or it is gone.
            machine.exchange_if(Region::Flows, self.head, self.head_word, new);
        }
    }

    /// Sets bits of the state that are not set yet. If the place has become another flow's
    /// meanwhile, that one stays as it is.
    #[inline(always)]
    pub(super) fn mark<M: Machine>(&self, machine: &M, bits: u64) {
        if self.state & bits == bits {
            return;
        }
        let mut mark = Mark {
            machine: *machine,
            at: self.line + at::STATE,
            version: self.state >> state::VERSION,
            bits,
        };
        machine.repeat(TRIES, &mut mark);
    }

    /// Reads a word of the flow.
    #[inline(always)]
    pub(super) fn read<M: Machine>(&self, machine: &M, word: u64) -> u64 {
        machine.read(Region::Flows, self.line + word)
    }

    /// Writes a word of the flow.
    #[inline(always)]
    pub(super) fn write<M: Machine>(&self, machine: &M, word: u64, value: u64) {
        machine.write(Region::Flows, self.line + word, value);
    }
}

/// One attempt at setting bits a step.
struct Mark<M> {
    machine: M,
    at: u64,
    version: u64,
    bits: u64,
}

impl<M: Machine> Step for Mark<M> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.version, &mut self.bits] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let old = self.machine.read(Region::Flows, self.at);
        if old >> state::VERSION != self.version {
            return false;
        }
        let new = old | self.bits;
        !self.machine.exchange_if(Region::Flows, self.at, old, new)
    }
}

/// What a flow begins with.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// Bits of [`state`], and the shift of the window.
    pub(super) state: u64,
    /// As [`at::WINDOW`].
    pub(super) window: u64,
    /// Lower half of [`at::NEXT`].
    pub(super) next: u64,
}

/// Makes a flow, or makes it anew where it is. Nothing happens if the set has no room for it, or if
/// its lock cannot be had.
#[inline(always)]
pub(super) fn insert<M: Machine>(machine: &M, tuple: &Tuple, start: Start, now: u64) {
    let place = Place::of(machine, tuple);
    let lock_at = place.set + u64::from(LOCK);
    let mut lock = Locking {
        machine: *machine,
        at: lock_at,
        is_mine: 0,
    };
    machine.repeat(TRIES, &mut lock);
    if lock.is_mine == 0 {
        return;
    }
    let way = match find_in(machine, place, tuple) {
        Some(found) => (found.head - place.set) / 8,
        None => room(
            machine,
            place.set,
            is_settled(tuple.identity, start.state),
            now,
        ),
    };
    if way < u64::from(WAYS) {
        fill(machine, place, way, tuple, start, now);
    }
    machine.unlock(Region::Flows, lock_at);
}

/// Writes a flow. Its tag is away while it is being written.
#[inline(always)]
fn fill<M: Machine>(machine: &M, place: Place, way: u64, tuple: &Tuple, start: Start, now: u64) {
    let head_at = place.set + way * 8;
    let line = place.set + (way + 1) * u64::from(LINE);
    let write = |word: u64, value: u64| machine.write(Region::Flows, line + word, value);
    machine.unlock(Region::Flows, head_at);
    let version = (machine.read(Region::Flows, line + at::STATE) >> state::VERSION) + 1;
    write(at::STATE, start.state | version << state::VERSION);
    write(at::REMOTE, tuple.remote[0]);
    write(at::REMOTE + 8, tuple.remote[1]);
    write(at::LOCAL, tuple.local[0]);
    write(at::LOCAL + 8, tuple.local[1]);
    write(at::IDENTITY, tuple.identity);
    write(at::WINDOW, start.window);
    write(at::NEXT, now << 32 | start.next & 0xffff_ffff);
    machine.exchange_if(Region::Flows, head_at, 0, head(place.tag, now));
}

/// Whether a flow is a TCP connection that both sides have used and that goes on.
#[inline(always)]
const fn is_settled(identity: u64, state: u64) -> bool {
    Tuple::proto_of(identity) == proto::TCP
        && state & (state::REPLIED | state::FIN_IN | state::FIN_OUT | state::RESET)
            == state::REPLIED
}

/// The way of a set that a new flow can have; [`NOWHERE`] if all are worth more.
#[inline(always)]
fn room<M: Machine>(machine: &M, set: u64, for_settled: bool, now: u64) -> u64 {
    let mut search = Room {
        machine: *machine,
        set,
        now,
        way: 0,
        least: u64::MAX,
        found: NOWHERE,
    };
    machine.repeat(WAYS, &mut search);
    if search.least >> WORTH_SHIFT == WORTH_SETTLED && !for_settled {
        return NOWHERE;
    }
    search.found
}

/// Where the worth of a flow stands above the other half.
const WORTH_SHIFT: u32 = 32;
const WORTH_CLOSING: u64 = 1;
const WORTH_ONE_WAY: u64 = 2;
const WORTH_ANSWERED: u64 = 3;
const WORTH_SETTLED: u64 = 4;

/// One way of a set a step: finds the one that is worth least.
struct Room<M> {
    machine: M,
    set: u64,
    now: u64,
    way: u64,
    least: u64,
    found: u64,
}

impl<M: Machine> Room<M> {
    /// The worth of a flow, and below it how new its last packet is; 0 if it is none.
    #[inline(always)]
    fn worth(&self) -> u64 {
        let head = self.machine.read(Region::Flows, self.set + self.way * 8);
        let line = self.set + (self.way + 1) * u64::from(LINE);
        let identity = self.machine.read(Region::Flows, line + at::IDENTITY);
        let state = self.machine.read(Region::Flows, line + at::STATE);
        let idle = idle(seen(head), self.now);
        if head == 0 || idle >= lifetime(identity, state) {
            return 0;
        }
        let worth = if is_settled(identity, state) {
            WORTH_SETTLED
        } else if state & state::REPLIED == 0 {
            WORTH_ONE_WAY
        } else if Tuple::proto_of(identity) == proto::TCP {
            WORTH_CLOSING
        } else {
            WORTH_ANSWERED
        };
        worth << WORTH_SHIFT | (0xffff_ffff - idle)
    }
}

impl<M: Machine> Step for Room<M> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.set,
            &mut self.now,
            &mut self.way,
            &mut self.least,
            &mut self.found,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let worth = self.worth();
        if worth < self.least {
            self.least = worth;
            self.found = self.way;
        }
        self.way = self.machine.forget(self.way + 1);
        true
    }
}

/// One attempt at a set's lock a step.
struct Locking<M> {
    machine: M,
    at: u64,
    is_mine: u64,
}

impl<M: Machine> Step for Locking<M> {
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
