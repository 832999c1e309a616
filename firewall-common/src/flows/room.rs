//! Which flow of a set gives way to a new one: what nobody needs any more, then what is worth least,
//! the longest idle first.
//!
//! Invariant: a flow that both sides use gives way only where every flow of both of its sets is of
//! that kind, or is the new one's own [counterpart](super::Tuple::counterpart). So whoever can make
//! flows, and not answer them, takes at most one place of a set away, and two where he stands on both
//! sides of this host.

use super::{LINE, Tuple, WAYS, at, idle, lifetime, seen, state};
use crate::calls::Calls;
use crate::machine::Step;
use crate::parse::proto;
use crate::region::Region;

/// The place for a new flow in one set, as [`room`] says it: how much is lost by taking it, and below
/// that the way. Below [`LOSS`] nothing is lost: then it is how many flows the set has, so that of
/// two sets the emptier one is taken. Of two sets that lose something of equal worth, the one is taken
/// that has fewer flows that both sides use: a flood leaves those as evenly spread as it found them.
pub(super) const fn way(room: u64) -> u64 {
    room & 7
}

/// How much is lost.
pub(super) const fn cost(room: u64) -> u64 {
    room >> WAY_BITS
}

const WAY_BITS: u32 = 3;

/// The least cost of a place whose flow somebody may still need.
const LOSS: u64 = 1 << WORTH_SHIFT;

/// The least cost of a place whose flow both sides use.
pub(super) const SETTLED: u64 = WORTH_SETTLED << WORTH_SHIFT;

/// Where the worth of a flow stands above how new its last packet is.
const WORTH_SHIFT: u32 = 32;
/// It has ended.
const WORTH_OVER: u64 = 1;
/// A question that has been answered; TCP of which only one side has been heard.
const WORTH_ANSWERED: u64 = 2;
/// Somebody behind this host waits for an answer.
const WORTH_WAITING: u64 = 3;
/// This host itself does.
const WORTH_OWN: u64 = 4;
/// Both sides use it.
const WORTH_SETTLED: u64 = 5;
/// It is the other half of the new one's connection.
const WORTH_COUNTERPART: u64 = 6;

/// The worth of a flow that has not expired.
#[inline(always)]
const fn worth(identity: u64, bits: u64) -> u64 {
    let is_tcp = Tuple::proto_of(identity) == proto::TCP;
    if is_tcp && state::is_over(bits) {
        WORTH_OVER
    } else if bits & state::SETTLED != 0 {
        WORTH_SETTLED
    } else if is_tcp && bits & state::OPENING == 0 || !is_tcp && bits & state::REPLIED != 0 {
        WORTH_ANSWERED
    } else if bits & state::OWN != 0 {
        WORTH_OWN
    } else {
        WORTH_WAITING
    }
}

/// The place of a set that a new flow can have. A flow with the tag `counterpart` never gives way: the
/// new one is the other half of its connection.
#[inline(always)]
pub fn room<M: Calls>(machine: &M, set: u64, now: u64, counterpart: u64) -> u64 {
    // Zeros that the compiler does not know: of known ones it would make a call of `memset`.
    let zero = machine.opaque(0);
    let mut search = Eviction {
        machine: *machine,
        set,
        now,
        counterpart,
        way: zero,
        flows: zero,
        settled: zero,
        least: u64::MAX,
        found: zero,
    };
    machine.repeat(WAYS, &mut search);
    let cost = if search.least == 0 {
        search.flows
    } else if search.least < SETTLED {
        search.least >> WORTH_SHIFT << WORTH_SHIFT | search.settled
    } else {
        search.least
    };
    cost << WAY_BITS | search.found
}

/// One way of a set a step: finds the one that is worth least.
struct Eviction<M> {
    machine: M,
    set: u64,
    now: u64,
    counterpart: u64,
    way: u64,
    flows: u64,
    settled: u64,
    least: u64,
    found: u64,
}

impl<M: Calls> Eviction<M> {
    /// The worth of a flow, and below it how new its last packet is; 0 if it is none.
    #[inline(always)]
    fn cost(&self) -> u64 {
        let head = self.machine.read(Region::Flows, self.set + self.way * 8);
        let line = self.set + (self.way + 1) * u64::from(LINE);
        let identity = self.machine.read(Region::Flows, line + at::IDENTITY);
        let state = self.machine.read(Region::Flows, line + at::STATE);
        let idle = idle(seen(head), self.now);
        if head == 0 || idle >= lifetime(identity, state) {
            return 0;
        }
        let worth = if head >> 32 == self.counterpart {
            WORTH_COUNTERPART
        } else {
            worth(identity, state)
        };
        worth << WORTH_SHIFT | (0xffff_ffff - idle)
    }
}

impl<M: Calls> Step for Eviction<M> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.set,
            &mut self.now,
            &mut self.counterpart,
            &mut self.way,
            &mut self.flows,
            &mut self.settled,
            &mut self.least,
            &mut self.found,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let cost = self.cost();
        if cost >= LOSS {
            self.flows = self.machine.forget(self.flows + 1);
        }
        if cost >= SETTLED {
            self.settled = self.machine.forget(self.settled + 1);
        }
        if cost < self.least {
            self.least = self.machine.forget(cost);
            self.found = self.machine.forget(self.way);
        }
        self.way = self.machine.forget(self.way + 1);
        true
    }
}
