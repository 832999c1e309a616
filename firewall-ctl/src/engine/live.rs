//! Bans and live sets of what is in force: changing them from commands, and bringing them from one
//! generation to the next.
//!
//! A set keeps its number as long as it keeps its name, so its entries stay where they are when a
//! policy changes. Numbers that are new in a generation are filled before its program is attached;
//! what a policy says differently of a set that is in force is changed behind the switch.
//!
//! Whoever changes something holds the lock on the store: no generation changes meanwhile.

use super::Engine;
use super::types::{EngineError, LiveRecord, Record};
use crate::kernel::KernelError;
use crate::kernel::host::{self, Lock};
use crate::kernel::live::{Entry, LiveTable, Origin, Writer, no_room};
use crate::kernel::maps::BigMap;
use firewall_common::live::{Added, BANNED, BANS, IDS, Prefix, SETS};
use firewall_common::region::Region;
use firewall_policy::prefixes::{prefix_v4, prefix_v6, prefixes};
use firewall_policy::rule::{LiveSet, Policy, SELF};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

/// Name of the set of bans in commands.
pub const BANNED_NAME: &str = "banned";

/// The table of what is in force, to be changed.
#[derive(Debug)]
pub struct Live {
    view: LiveView,
    _lock: Lock,
}

/// The table of what is in force, to be read.
#[derive(Debug)]
pub struct LiveView {
    table: LiveTable,
    sets: Vec<LiveRecord>,
}

impl Engine {
    /// Bans and live sets of what is in force. Until this is dropped nobody else changes anything.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read; a missing privilege.
    pub fn live(&self) -> Result<Live, EngineError> {
        if !self.root().exists() {
            return Err(self.nothing_loaded().into());
        }
        host::require_privilege()?;
        let lock = host::lock(self.root())?;
        let view = self.open_live(LiveTable::for_changes);
        if view.is_err() {
            self.store.remove_if_empty();
        }
        Ok(Live {
            view: view?,
            _lock: lock,
        })
    }

    /// As [`Engine::live`], to be read.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn live_view(&self) -> Result<LiveView, EngineError> {
        self.open_live(LiveTable::of_region)
    }

    fn open_live(
        &self,
        open: impl Fn(&BigMap) -> Result<LiveTable, KernelError>,
    ) -> Result<LiveView, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        let map = in_force
            .folder
            .region(Region::Live)
            .ok_or_else(|| KernelError::State("the table of bans and live sets is gone".into()))?;
        Ok(LiveView {
            table: open(&map)?,
            sets: record.live,
        })
    }
}

impl LiveView {
    /// The set with a name; `banned` is the bans.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<LiveRecord> {
        if name == BANNED_NAME {
            return Some(LiveRecord {
                name: name.into(),
                id: BANNED,
                max: BANS,
                timeout: None,
            });
        }
        self.sets.iter().find(|set| set.name == name).cloned()
    }

    /// The policy's live sets.
    #[must_use]
    pub fn sets(&self) -> &[LiveRecord] {
        &self.sets
    }

    /// How many entries a set has.
    #[must_use]
    pub fn count(&self, set: &LiveRecord) -> u64 {
        self.table.count(set.id)
    }

    /// The entries of a set that have not ended, by address.
    #[must_use]
    pub fn entries(&self, set: &LiveRecord) -> Vec<Entry> {
        let mut entries = self.table.list();
        entries.retain(|entry| entry.id == set.id);
        entries.sort_unstable_by_key(|entry| {
            let Prefix {
                hi,
                lo,
                length,
                is_v6,
            } = entry.prefix;
            (is_v6, hi, lo, length)
        });
        entries
    }

    /// The entries of all sets that have not ended, in no order.
    #[must_use]
    pub fn all_entries(&self) -> Vec<Entry> {
        self.table.list()
    }

    /// How many bans of rules found no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.table.refused()
    }

    /// Another number after every change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.table.changes()
    }

    /// Whether entries take up room that have ended.
    #[must_use]
    pub fn has_ended_entries(&self) -> bool {
        let ids = self.sets.iter().map(|set| set.id).chain([BANNED]);
        let counted: u64 = ids.map(|id| self.table.count(id)).sum();
        counted > self.table.list().len() as u64
    }

    /// Whether `@self`, if the policy has it, holds the addresses that this host has now.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_self_current(&self) -> Result<bool, EngineError> {
        let Some(set) = self.sets.iter().find(|set| set.name == SELF) else {
            return Ok(true);
        };
        let wanted = own_prefixes()?;
        let fits = |prefix: &Prefix| self.table.sets_of(prefix) >> set.id & 1 != 0;
        Ok(self.table.count(set.id) == wanted.len() as u64 && wanted.iter().all(fits))
    }
}

/// What to do with one prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Add it, for some time or for good.
    Add(Prefix, Option<Duration>),
    /// Remove it.
    Remove(Prefix),
}

/// What became of some changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Changed {
    /// Prefixes that are in the set now and were not.
    pub added: u64,
    /// Prefixes that were there and have another end now.
    pub renewed: u64,
    /// Prefixes that are there no more.
    pub removed: u64,
    /// Prefixes that were to be removed and were not there.
    pub missing: u64,
}

impl Live {
    /// The table, to be read.
    #[must_use]
    pub fn view(&self) -> &LiveView {
        &self.view
    }

    /// Changes a set. All changes or, if there is no room for some, none of those that add.
    ///
    /// # Errors
    /// A set that would have more entries than its `max`; a table without room.
    pub fn change(&self, set: &LiveRecord, changes: &[Change]) -> Result<Changed, EngineError> {
        let table = &self.view.table;
        let answer = table.change(|writer| {
            if table.count(set.id) + changes.len() as u64 > set.max {
                // Perhaps some have ended.
                writer.sweep(|_| false);
            }
            apply(table, writer, set, changes)
        })?;
        answer.map_err(Into::into)
    }

    /// Puts other entries in the place of all that commands and rules have added to a set; what the
    /// policy puts there stays. Packets meet the former entries or the new ones, never some of both.
    ///
    /// # Errors
    /// More entries than the set's `max`; a table without room. The set is as it was then.
    pub fn replace(
        &self,
        set: &LiveRecord,
        entries: &[(Prefix, Option<Duration>)],
    ) -> Result<Changed, EngineError> {
        let table = &self.view.table;
        let old = self.view.entries(set);
        let by_policy = old.iter().filter(|entry| entry.origin == Origin::Policy);
        let fixed: Vec<Prefix> = by_policy.map(|entry| entry.prefix).collect();
        let before: HashSet<Prefix> = old.iter().map(|entry| entry.prefix).collect();
        let mut after: HashSet<Prefix> = fixed.iter().copied().collect();
        let new: Vec<&(Prefix, Option<Duration>)> = entries
            .iter()
            .filter(|(prefix, _)| after.insert(*prefix))
            .collect();
        if after.len() as u64 > set.max {
            return Err(too_many(set, after.len() as u64).into());
        }
        let fixed = fixed.iter().map(|prefix| (prefix, None, Origin::Policy));
        let new = new
            .iter()
            .map(|(prefix, time)| (prefix, *time, Origin::Command));
        if !table.change(|writer| writer.replace(set.id, fixed.chain(new)))? {
            return Err(no_room().into());
        }
        let both = before.intersection(&after).count() as u64;
        Ok(Changed {
            added: after.len() as u64 - both,
            renewed: both,
            removed: before.len() as u64 - both,
            missing: 0,
        })
    }

    /// Removes everything from a set but what the policy puts there. How many entries that were.
    ///
    /// # Errors
    /// As [`Live::change`].
    pub fn clear(&self, set: &LiveRecord) -> Result<u64, EngineError> {
        Ok(self.replace(set, &[])?.removed)
    }

    /// Removes what has ended.
    ///
    /// # Errors
    /// As [`Live::change`].
    pub fn sweep(&self) -> Result<(), EngineError> {
        Ok(self.view.table.change(|writer| writer.sweep(|_| false))?)
    }

    /// Brings `@self` up to date, if the policy has it. Whether that changed something.
    ///
    /// # Errors
    /// What the system says; a table without room.
    pub fn refresh_self(&self) -> Result<bool, EngineError> {
        let Some(set) = self.view.sets.iter().find(|set| set.name == SELF) else {
            return Ok(false);
        };
        let wanted = own_prefixes()?;
        let table = &self.view.table;
        let before = table.changes();
        table.change(|writer| sync(table, writer, set.id, &wanted))??;
        Ok(table.changes() != before)
    }
}

fn too_many(set: &LiveRecord, needed: u64) -> KernelError {
    KernelError::State(format!(
        "the set `{}` would have {needed} entries, and may have {} (its `max`); nothing was changed",
        set.name, set.max
    ))
}

fn apply(
    table: &LiveTable,
    writer: &Writer<'_>,
    set: &LiveRecord,
    changes: &[Change],
) -> Result<Changed, KernelError> {
    let mut done = Changed::default();
    let mut new: Vec<Prefix> = Vec::new();
    for change in changes {
        match change {
            Change::Remove(prefix) if writer.remove(set.id, prefix) => done.removed += 1,
            Change::Remove(_) => done.missing += 1,
            Change::Add(prefix, time) => {
                let full = table.count(set.id) > set.max;
                match writer.add(set.id, prefix, *time, Origin::Command) {
                    Added::New => new.push(*prefix),
                    Added::Again => done.renewed += 1,
                    Added::NoRoom => return Err(take_back(writer, set, &new, no_room())),
                }
                if !full && table.count(set.id) > set.max {
                    let error = too_many(set, table.count(set.id));
                    return Err(take_back(writer, set, &new, error));
                }
            }
        }
    }
    done.added = new.len() as u64;
    Ok(done)
}

/// Removes what was added before the error.
fn take_back(
    writer: &Writer<'_>,
    set: &LiveRecord,
    new: &[Prefix],
    error: KernelError,
) -> KernelError {
    for prefix in new {
        let _ = writer.remove(set.id, prefix);
    }
    error
}

/// The numbers of a policy's live sets: those that they have, and for new names numbers that the
/// generation before does not use.
pub(super) fn assign(policy: &Policy, before: Option<&Record>) -> Vec<LiveRecord> {
    let old = before.map_or(&[][..], |record| &record.live);
    let mut taken: HashSet<u32> = old.iter().map(|set| set.id).collect();
    const { assert!(IDS as usize > 2 * SETS) };
    let mut record = |set: &LiveSet| {
        let known = old.iter().find(|old| old.name == set.name);
        let id = known.map_or_else(
            || {
                let mut free = (BANNED + 1..IDS).filter(|id| !taken.contains(id));
                free.next().unwrap_or(IDS - 1)
            },
            |known| known.id,
        );
        taken.insert(id);
        LiveRecord {
            name: set.name.clone(),
            id,
            max: set.max,
            timeout: set.timeout,
        }
    };
    policy.live.iter().map(&mut record).collect()
}

/// The part of a change of policy that is about bans and live sets.
#[derive(Debug)]
pub(super) struct Handover<'a> {
    policy: &'a Policy,
    sets: Vec<LiveRecord>,
    table: LiveTable,
    /// The table before, if it is another one, and its sets' numbers.
    before: Option<LiveTable>,
    old_ids: HashSet<u32>,
}

impl<'a> Handover<'a> {
    /// Fills a table for the generation to be: with what the table before has, if it is another
    /// one, and with the policy's content of sets that are new. Nobody looks at those yet.
    pub(super) fn prepare(
        policy: &'a Policy,
        sets: Vec<LiveRecord>,
        before: Option<(&Record, &BigMap)>,
        map: &BigMap,
    ) -> Result<Self, KernelError> {
        let table = LiveTable::of_region(map)?;
        let old_ids: HashSet<u32> = before
            .iter()
            .flat_map(|(record, _)| record.live.iter().map(|set| set.id))
            .collect();
        let former = match before {
            Some((_, old)) if old.id()? != map.id()? => Some(LiveTable::of_region(old)?),
            _ => None,
        };
        let this = Self {
            policy,
            sets,
            table,
            before: former,
            old_ids,
        };
        this.copy(true)?;
        this.table.change(|writer| {
            let fresh = |id: u32| id != BANNED && !this.old_ids.contains(&id);
            writer.sweep(fresh);
            this.fill(writer, fresh)
        })??;
        Ok(this)
    }

    /// Behind the switch: what the policy says differently of sets that were in force, what rules
    /// have banned meanwhile, and the end of sets that are gone.
    pub(super) fn finish(&self) -> Result<(), KernelError> {
        self.copy(false)?;
        self.table.change(|writer| {
            let stays = |id: u32| id == BANNED || self.sets.iter().any(|set| set.id == id);
            writer.sweep(|id| !stays(id));
            self.fill(writer, |id| self.old_ids.contains(&id))
        })?
    }

    fn fill(&self, writer: &Writer<'_>, which: impl Fn(u32) -> bool) -> Result<(), KernelError> {
        for (set, record) in self.policy.live.iter().zip(&self.sets) {
            if !which(record.id) {
                continue;
            }
            let wanted = if set.name == SELF {
                own_prefixes()?
            } else {
                prefixes(&set.content).collect()
            };
            sync(&self.table, writer, record.id, &wanted)?;
        }
        Ok(())
    }

    /// Copies what the table before has, or (`!all`) what it has and this one has not.
    fn copy(&self, all: bool) -> Result<(), KernelError> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        let entries = before.list();
        let have: HashSet<(u32, Prefix)> = if all {
            HashSet::new()
        } else {
            let present = self.table.list();
            present.iter().map(|e| (e.id, e.prefix)).collect()
        };
        let goes_over = |entry: &&Entry| {
            (entry.id == BANNED || self.sets.iter().any(|set| set.id == entry.id))
                && (all || entry.origin == Origin::Rule)
                && !have.contains(&(entry.id, entry.prefix))
        };
        self.table.change(|writer| {
            for entry in entries.iter().filter(goes_over) {
                if writer.add(entry.id, &entry.prefix, entry.left, entry.origin) == Added::NoRoom {
                    return Err(no_room());
                }
            }
            Ok(())
        })?
    }
}

/// Makes the policy's part of a set what is wanted. What commands have added stays.
fn sync(
    table: &LiveTable,
    writer: &Writer<'_>,
    id: u32,
    wanted: &HashSet<Prefix>,
) -> Result<(), KernelError> {
    let present: HashSet<Prefix> = table
        .list()
        .into_iter()
        .filter(|entry| entry.id == id && entry.origin == Origin::Policy)
        .map(|entry| entry.prefix)
        .collect();
    for gone in present.difference(wanted) {
        let _ = writer.remove(id, gone);
    }
    for new in wanted.difference(&present) {
        if writer.add(id, new, None, Origin::Policy) == Added::NoRoom {
            return Err(no_room());
        }
    }
    Ok(())
}

/// The addresses of this host, of all its interfaces: Linux takes a packet to any of them on any
/// interface.
fn own_prefixes() -> Result<HashSet<Prefix>, KernelError> {
    let addresses = host::own_addresses()?;
    Ok(addresses
        .into_iter()
        .map(|address| match address {
            IpAddr::V4(address) => prefix_v4(address.into(), 32),
            IpAddr::V6(address) => prefix_v6(address.into(), 128),
        })
        .collect())
}
