//! The table of live sets and bans, memory-mapped: adding, removing, listing, while programs use
//! it. The code that changes it is the program's own ([`firewall_common::live`]).
//!
//! Only one process changes it at a time, holding the lock on the store. So a table lock whose owner
//! does not hold the store's lock belongs to a process that died; the table is repaired then.

use super::clock;
use super::maps::BigMap;
use super::shared::{RegionMachine, Shared};
use super::{KernelError, wait_for_running_programs};
use firewall_common::abi::Config;
use firewall_common::live::{self, Added, Meta, Prefix, head};
use firewall_common::machine::Machine;
use firewall_common::region::Region;
use std::time::Duration;

/// Values of the table's lock.
const FREE: u64 = 0;
const BY_PROCESS: u64 = 2;

/// Attempts to get the lock from a program, which holds it for less than a microsecond.
const TRIES: u32 = 10_000_000;

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The set's number; [`live::BANNED`] for bans.
    pub id: u32,
    /// The prefix.
    pub prefix: Prefix,
    /// Until it ends; `None`: it does not.
    pub left: Option<Duration>,
    /// Who has added it.
    pub origin: Origin,
}

/// Who has added an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A command.
    Command,
    /// A rule with `ban`.
    Rule,
    /// The policy names it.
    Policy,
}

impl Origin {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Rule => "rule",
            Self::Policy => "policy",
        }
    }

    const fn of(meta: Meta) -> Self {
        if meta.is_by_policy() {
            Self::Policy
        } else if meta.is_by_rule() {
            Self::Rule
        } else {
            Self::Command
        }
    }

    const fn note(self, meta: Meta) -> Meta {
        match self {
            Self::Command => meta,
            Self::Rule => meta.by_rule(),
            Self::Policy => meta.by_policy(),
        }
    }
}

/// The table of programs that are loaded.
#[derive(Debug)]
pub struct LiveTable {
    words: Shared,
    /// Of its constants only the table's size and secret are filled in.
    config: Box<Config>,
}

impl LiveTable {
    /// Maps the table. `seed` is that of the programs that use it.
    pub(crate) fn of(map: &BigMap, seed: [u32; 2]) -> Result<Self, KernelError> {
        Ok(Self::with_seed(Shared::of(map)?, seed))
    }

    fn with_seed(words: Shared, seed: [u32; 2]) -> Self {
        let config = Box::new(Config {
            live_size: words.words() as u32 * 8,
            live_seed: seed,
            ..Config::default()
        });
        Self { words, config }
    }

    /// Maps the table of a generation, whose secret is kept with it.
    pub(crate) fn of_region(map: &BigMap) -> Result<Self, KernelError> {
        let words = Shared::of(map)?;
        let seed = words.seed();
        Ok(Self::with_seed(words, seed))
    }

    /// As [`LiveTable::of_region`], for a few changes: only what they touch is mapped.
    pub(crate) fn for_changes(map: &BigMap) -> Result<Self, KernelError> {
        let words = Shared::in_windows(map)?;
        let seed = words.seed();
        Ok(Self::with_seed(words, seed))
    }

    fn machine(&self) -> RegionMachine<'_> {
        RegionMachine::new(&self.words, &self.config)
    }

    /// Runs `change` under the table's lock. The caller holds the lock on the store, or has the
    /// table alone.
    ///
    /// # Errors
    /// A program that does not give the lock back, which no program does.
    pub fn change<T>(&self, change: impl FnOnce(&Writer<'_>) -> T) -> Result<T, KernelError> {
        let machine = self.machine();
        let mut abandoned = false;
        let taken = (0..TRIES).any(|_| {
            if machine.exchange_if(Region::Live, head::LOCK, FREE, BY_PROCESS) {
                return true;
            }
            abandoned = machine.read(Region::Live, head::LOCK) == BY_PROCESS;
            std::hint::spin_loop();
            abandoned
        });
        if !taken {
            return Err(KernelError::State(
                "the table of bans and live sets stays locked; `unload` and `load` make a new one"
                    .into(),
            ));
        }
        if abandoned {
            tracing::warn!(
                "a process died while it changed bans or live sets: putting the table in order"
            );
            live::recount(&machine);
        }
        let answer = change(&Writer { table: self });
        if self.words.is_broken() {
            // The lock stays: whoever comes next puts the table in order.
            return Err(KernelError::State(
                "no memory to look at the table of bans and live sets; try again".into(),
            ));
        }
        machine.unlock(Region::Live, head::LOCK);
        Ok(answer)
    }

    /// All entries that have not ended, in the order of the table.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let machine = self.machine();
        let now = now_ticks();
        let entry = |slot: u64| {
            let (prefix, meta) = live::read(&machine, slot)?;
            let id = meta.id();
            let is_present = meta.owner() == live::owner(id, live::colour(&machine, id));
            if !is_present || meta.has_ended(now) {
                return None;
            }
            let left = match meta.end() {
                Meta::FOREVER => None,
                end => Some(Duration::from_nanos((end - now) << Meta::TICK_SHIFT)),
            };
            Some(Entry {
                id: id as u32,
                prefix,
                left,
                origin: Origin::of(meta),
            })
        };
        (0..live::slots(&machine)).filter_map(entry).collect()
    }

    /// How many entries a set has, those that have ended and were not removed yet included.
    #[must_use]
    pub fn count(&self, id: u32) -> u64 {
        let machine = self.machine();
        let owner = live::owner(id.into(), live::colour(&machine, id.into()));
        machine.read(Region::Live, head::OWNERS + owner * 8)
    }

    /// Another number after every change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.machine().read(Region::Live, head::CHANGES)
    }

    /// How many bans of rules found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.machine().read(Region::Live, head::REFUSED)
    }

    /// The sets that an address is in, a bit for each number.
    #[must_use]
    pub fn sets_of(&self, prefix: &Prefix) -> u64 {
        live::of_address(&self.machine(), prefix.hi, prefix.lo, prefix.is_v6)
    }
}

/// The table under its lock.
#[derive(Debug)]
pub struct Writer<'a> {
    table: &'a LiveTable,
}

impl Writer<'_> {
    /// Adds a prefix to a set for some time, or for good.
    #[must_use]
    pub fn add(&self, id: u32, prefix: &Prefix, time: Option<Duration>, origin: Origin) -> Added {
        let colour = live::colour(&self.table.machine(), id.into());
        self.add_coloured(id, colour, prefix, time, origin)
    }

    fn add_coloured(
        &self,
        id: u32,
        colour: u64,
        prefix: &Prefix,
        time: Option<Duration>,
        origin: Origin,
    ) -> Added {
        let meta = origin.note(prefix.meta(live::owner(id.into(), colour)));
        live::put(&self.table.machine(), prefix, meta.with_end(end(time)))
    }

    /// Whether the policy names an entry of a set.
    #[must_use]
    pub fn is_by_policy(&self, id: u32, prefix: &Prefix) -> bool {
        let machine = self.table.machine();
        let owner = live::owner(id.into(), live::colour(&machine, id.into()));
        let known = live::get(&machine, prefix, prefix.meta(owner));
        !known.is_free() && known.is_by_policy()
    }

    /// Removes a prefix from a set; whether it was there.
    #[must_use]
    pub fn remove(&self, id: u32, prefix: &Prefix) -> bool {
        let machine = self.table.machine();
        let owner = live::owner(id.into(), live::colour(&machine, id.into()));
        let old = live::remove(&machine, prefix, prefix.meta(owner));
        !old.is_free() && !old.has_ended(now_ticks())
    }

    /// Removes what has ended, and the entries of every set for which `goes` says so.
    pub fn sweep(&self, goes: impl Fn(u32) -> bool) {
        live::sweep(&self.table.machine(), |meta| goes(meta.id() as u32));
    }

    /// Puts other entries in the place of all that a set has: readers see the former ones or the
    /// new ones, never some of both. False if there is no room for both; the set is as it was then.
    #[must_use]
    pub fn replace<'p>(
        &self,
        id: u32,
        entries: impl Iterator<Item = (&'p Prefix, Option<Duration>, Origin)>,
    ) -> bool {
        let machine = self.table.machine();
        let old = live::colour(&machine, id.into());
        let (old_owner, new_owner) = (live::owner(id.into(), old), live::owner(id.into(), old ^ 1));
        // Of a process that died in here.
        live::sweep(&machine, |meta| meta.owner() == new_owner);
        for (prefix, time, origin) in entries {
            if self.add_coloured(id, old ^ 1, prefix, time, origin) == Added::NoRoom {
                live::sweep(&machine, |meta| meta.owner() == new_owner);
                return false;
            }
        }
        let colours = machine.read(Region::Live, head::COLOURS);
        machine.write(Region::Live, head::COLOURS, colours ^ 1 << id);
        // Programs that have read the former colour still look for what has it.
        wait_for_running_programs();
        live::sweep(&machine, |meta| meta.owner() == old_owner);
        true
    }
}

/// The error of a table that is full.
pub(crate) fn no_room() -> KernelError {
    KernelError::State(
        "the table of bans and live sets is full; raise `max` of a live set for a larger one"
            .into(),
    )
}

/// When something ends that begins now, in ticks; at least one tick from now.
fn end(time: Option<Duration>) -> u64 {
    match time {
        None => Meta::FOREVER,
        Some(time) => {
            let end = clock::now() + time;
            let ticks = (end.as_nanos() >> Meta::TICK_SHIFT) as u64 + 1;
            ticks.min(Meta::FOREVER - 1)
        }
    }
}

fn now_ticks() -> u64 {
    (clock::now().as_nanos() >> Meta::TICK_SHIFT) as u64
}
