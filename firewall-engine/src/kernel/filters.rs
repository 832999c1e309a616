//! The slots of live filters ([`firewall_common::watch`]) in the kernel, memory-mapped: taken, renewed and
//! given back by processes that know nothing of each other, while programs compare with them.
//!
//! Invariant: a slot is changed by whoever holds its claim, and while it is not armed; a program that has
//! read it before has ended when the changes begin.

use super::KernelError;
use super::clock;
use super::maps::BigMap;
use super::shared::Shared;
use super::wait_for_running_programs;
use firewall_common::machine::TICK_SHIFT;
use firewall_common::watch::{ARMED, SLOTS, at, claim, ring, unclaim, word};
use firewall_policy::log::{Event, Reader};
use firewall_policy::watch::WORDS;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

/// How long a slot stays its holder's after it was last renewed, in ticks of 1.07 s: 15 s at least.
const LEASE: u64 = 14;

/// Slots that those who may change nothing can hold at a time.
pub const MODEST_SLOTS: u64 = SLOTS / 2;

/// Of those, how many one user can hold: never all.
pub const OWN_SLOTS: u64 = MODEST_SLOTS - 1;

/// Bits of a secret.
const SECRET: u64 = (1 << (64 - firewall_common::watch::LEASE_BITS)) - 1;

/// One is taken at a time by this process, so that those who may change nothing are counted.
static TAKING: Mutex<()> = Mutex::new(());

/// The slots.
#[derive(Debug)]
pub struct FilterTable {
    shared: Shared,
}

/// A slot that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which one.
    pub slot: u64,
    /// What its holder shows to go on.
    pub secret: u64,
    /// Whether it was not held all the time since it was asked for last.
    pub lapsed: bool,
}

/// Why nobody gets a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// All of them are held.
    All,
    /// All that those who may change nothing can hold.
    Modest,
    /// All that one of them can hold.
    Own,
}

/// What a slot has counted since it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Number of its first event.
    pub first: u64,
    /// Packets that have matched.
    pub matched: u64,
    /// Those of them that were beyond the rate.
    pub beyond: u64,
}

impl FilterTable {
    /// Maps the slots.
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        let shared = Shared::of(map)?;
        Ok(Self { shared })
    }

    fn read(&self, slot: u64, index: u64) -> u64 {
        self.shared.read((word(slot, index) / 8) as usize)
    }

    fn write(&self, slot: u64, index: u64, value: u64) {
        self.shared.write((word(slot, index) / 8) as usize, value);
    }

    /// Takes a free slot: one that nobody holds, or whose lease has ended. `modest` is the user who asks, if
    /// that one may change nothing.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, modest: Option<u32>) -> Result<Held, Taken> {
        let _alone = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let now = ticks();
        let is_held = |&slot: &u64| {
            let (secret, end) = unclaim(self.read(slot, at::CLAIM));
            secret != 0 && now <= end
        };
        let user = modest.map_or(0, |user| u64::from(user) + 1);
        let held = (0..SLOTS).filter(is_held);
        let users: Vec<u64> = held.map(|slot| self.read(slot, at::MODEST)).collect();
        let count = |is_one: &dyn Fn(u64) -> bool| users.iter().filter(|it| is_one(**it)).count();
        if user != 0 && count(&|it| it == user) as u64 >= OWN_SLOTS {
            return Err(Taken::Own);
        }
        if user != 0 && count(&|it| it != 0) as u64 >= MODEST_SLOTS {
            return Err(Taken::Modest);
        }
        let mut free = (0..SLOTS).filter(|slot| !is_held(slot));
        let taken = free.find_map(|slot| {
            let secret = (RandomState::new().hash_one(slot) & SECRET).max(1);
            let old = self.read(slot, at::CLAIM);
            let (before, end) = unclaim(old);
            let is_free = before == 0 || now > end;
            if !is_free || !self.claim(slot, old, secret) {
                return None;
            }
            self.disarm(slot);
            self.write(slot, at::MODEST, user);
            self.write(slot, at::FIRST, self.read(slot, at::HEAD));
            self.write(slot, at::BEYOND, 0);
            self.write(slot, at::DUE, 0);
            Some(Held {
                slot,
                secret,
                lapsed: false,
            })
        });
        taken.ok_or(Taken::All)
    }

    /// Renews the lease of the slot that a secret belongs to. `None`: somebody else holds it by now.
    #[must_use]
    pub fn renew(&self, secret: u64) -> Option<Held> {
        let slot = self.slot_of(secret)?;
        let old = self.read(slot, at::CLAIM);
        let (holder, end) = unclaim(old);
        let held = Held {
            slot,
            secret,
            lapsed: ticks() > end,
        };
        (holder == secret && self.claim(slot, old, secret)).then_some(held)
    }

    /// The slot that a secret belongs to.
    #[must_use]
    pub fn slot_of(&self, secret: u64) -> Option<u64> {
        let is_its = |slot: &u64| unclaim(self.read(*slot, at::CLAIM)).0 == secret;
        (0..SLOTS).find(is_its).filter(|_| secret != 0)
    }

    fn claim(&self, slot: u64, old: u64, secret: u64) -> bool {
        let new = claim(secret, ticks() + LEASE);
        let index = (word(slot, at::CLAIM) / 8) as usize;
        self.shared.exchange_if(index, old, new)
    }

    /// Has programs compare with the words of a filter, if they do not yet.
    pub fn arm(&self, slot: u64, words: &[u64; WORDS]) {
        let filter = || (1..WORDS as u64).map(|index| (index, words[index as usize]));
        let is_armed = self.shared.read((ARMED / 8) as usize) >> slot & 1 != 0;
        if is_armed && filter().all(|(index, value)| self.read(slot, index) == value) {
            return;
        }
        self.disarm(slot);
        for (index, value) in filter() {
            self.write(slot, index, value);
        }
        self.exchange(|armed| armed | 1 << slot);
    }

    /// Has programs leave a slot alone, and waits for those that have begun.
    pub fn disarm(&self, slot: u64) {
        self.exchange(|armed| armed & !(1 << slot));
        wait_for_running_programs();
    }

    fn exchange(&self, change: impl Fn(u64) -> u64) {
        let index = (ARMED / 8) as usize;
        loop {
            let armed = self.shared.read(index);
            if self.shared.exchange_if(index, armed, change(armed)) {
                return;
            }
        }
    }

    /// Gives a slot back.
    pub fn release(&self, held: &Held) {
        let old = self.read(held.slot, at::CLAIM);
        if unclaim(old).0 == held.secret {
            let index = (word(held.slot, at::CLAIM) / 8) as usize;
            self.shared.exchange_if(index, old, 0);
        }
    }

    /// What a slot has counted.
    #[must_use]
    pub fn counts(&self, slot: u64) -> Counts {
        let first = self.read(slot, at::FIRST);
        let beyond = self.read(slot, at::BEYOND);
        Counts {
            first,
            matched: self.read(slot, at::HEAD).wrapping_sub(first) + beyond,
            beyond,
        }
    }

    /// A reader of a slot's events, from one on.
    #[must_use]
    pub fn reader(slot: u64, number: u64) -> Reader {
        Reader::at(ring(slot), number)
    }

    /// The next event; `None` if there is none yet.
    pub fn next(&self, reader: &mut Reader) -> Option<Event> {
        reader.next(&|offset| self.shared.read((offset / 8) as usize))
    }

    /// Ends a slot's lease, for tests: as if nobody had asked for 16 s.
    pub fn let_lapse(&self, held: &Held) {
        let index = (word(held.slot, at::CLAIM) / 8) as usize;
        self.shared.write(index, claim(held.secret, ticks() - 1));
    }

    /// Forgets how many events a slot has written in this second, for tests.
    pub fn refill(&self, slot: u64) {
        self.write(slot, at::DUE, 0);
    }

    /// How many slots are armed.
    #[must_use]
    pub fn armed(&self) -> u32 {
        self.shared.read((ARMED / 8) as usize).count_ones()
    }
}

/// The time of leases.
fn ticks() -> u64 {
    clock::now().as_nanos() as u64 >> TICK_SHIFT
}
