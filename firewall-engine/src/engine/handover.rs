//! Carries bans and live sets from one generation to the next.
//!
//! A set keeps its number as long as it keeps its name, so its entries stay in place when a policy
//! changes. New sets are filled before the generation's program is attached; entries that the policy
//! adds to or removes from existing sets are changed after the switch.

use super::spared;
use super::types::{LiveRecord, Record};
use crate::kernel::KernelError;
use crate::kernel::host;
use crate::kernel::live::{Entry, LiveTable, Origin, Writer, no_room};
use crate::kernel::maps::BigMap;
use firewall_common::live::{Added, BANNED, EXEMPT, Prefix, SETS, SPARED, is_protected};
use firewall_policy::prefixes::{prefix_v4, prefix_v6, prefixes};
use firewall_policy::rule::{LiveSet, Policy, SELF};
use std::collections::HashSet;
use std::net::IpAddr;

/// The numbers of a policy's live sets: those that they have, and for new names numbers that the
/// generation before does not use.
pub(super) fn assign(policy: &Policy, before: Option<&Record>) -> Vec<LiveRecord> {
    let old = before.map_or(&[][..], |record| &record.live);
    let mut taken: HashSet<u32> = old.iter().map(|set| set.id).collect();
    const { assert!(SPARED as usize > 2 * SETS) };
    let mut record = |set: &LiveSet| {
        let known = old.iter().find(|old| old.name == set.name);
        let id = known.map_or_else(
            || {
                let mut free = (BANNED + 1..SPARED).filter(|id| !taken.contains(id));
                free.next().unwrap_or(SPARED - 1)
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
    /// What the table protects from bans before the change.
    protected: HashSet<(u32, Prefix)>,
}

impl<'a> Handover<'a> {
    /// Of the sets of the generation to be, in `map`. Changes nothing yet.
    pub(super) fn new(
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
        let protected = table.list();
        let protected = protected.iter().filter(|e| is_protected(u64::from(e.id)));
        Ok(Self {
            policy,
            sets,
            old_ids,
            protected: protected.map(|entry| (entry.id, entry.prefix)).collect(),
            table,
            before: former,
        })
    }

    /// Fills the table for the generation to be: with what the table before has, if it is another
    /// one, and with the policy's content of sets that are new. Nobody looks at those yet.
    pub(super) fn prepare(&self) -> Result<(), KernelError> {
        self.copy(true)?;
        self.table.change(|writer| {
            writer.sweep(|id| self.is_fresh(id));
            self.protect(writer, false)?;
            self.fill(writer, |id| self.is_fresh(id))
        })?
    }

    /// Takes out what [`Handover::prepare`] has filled in, if the table goes on with the generation
    /// in force.
    pub(super) fn undo(&self) -> Result<(), KernelError> {
        if self.before.is_some() {
            return Ok(());
        }
        let entries = self.table.list();
        self.table.change(|writer| {
            writer.sweep(|id| self.is_fresh(id));
            let is_new = |entry: &&Entry| {
                is_protected(u64::from(entry.id))
                    && !self.protected.contains(&(entry.id, entry.prefix))
            };
            for entry in entries.iter().filter(is_new) {
                let _ = writer.remove(entry.id, &entry.prefix);
            }
        })
    }

    /// Whether a number is of a set that the generation in force does not have.
    fn is_fresh(&self, id: u32) -> bool {
        !is_kept(id) && !self.old_ids.contains(&id)
    }

    /// Behind the switch: what the policy says differently of sets that were in force, what rules
    /// have banned meanwhile, and the end of sets that are gone.
    pub(super) fn finish(&self) -> Result<(), KernelError> {
        self.copy(false)?;
        self.table.change(|writer| {
            let stays = |id: u32| is_kept(id) || self.sets.iter().any(|set| set.id == id);
            writer.sweep(|id| !stays(id));
            self.protect(writer, true)?;
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

    /// Makes the sets of addresses that are not banned what they are to be; before the switch only
    /// by what is new, because the former policy is in force yet.
    fn protect(&self, writer: &Writer<'_>, is_in_force: bool) -> Result<(), KernelError> {
        let exempt = prefixes(&self.policy.exempt).collect();
        let spared = spared::prefixes(&spared::lengths(self.policy))?;
        for (id, wanted) in [(EXEMPT, exempt), (SPARED, spared)] {
            match is_in_force {
                true => sync(&self.table, writer, id, &wanted)?,
                false => add_missing(&self.table, writer, id, &wanted)?,
            }
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

/// Whether a set is not one of the policy's live sets, and stays whatever the policy says.
const fn is_kept(id: u32) -> bool {
    id == BANNED || is_protected(id as u64)
}

/// Makes the policy's part of a set what is wanted. What commands have added stays.
pub(super) fn sync(
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
    add(writer, id, wanted.difference(&present))
}

/// The part of [`sync`] that adds.
fn add_missing(
    table: &LiveTable,
    writer: &Writer<'_>,
    id: u32,
    wanted: &HashSet<Prefix>,
) -> Result<(), KernelError> {
    let present = table.list().into_iter().filter(|entry| entry.id == id);
    let present: HashSet<Prefix> = present.map(|entry| entry.prefix).collect();
    add(writer, id, wanted.difference(&present))
}

fn add<'a>(
    writer: &Writer<'_>,
    id: u32,
    mut new: impl Iterator<Item = &'a Prefix>,
) -> Result<(), KernelError> {
    let full = |prefix| writer.add(id, prefix, None, Origin::Policy) == Added::NoRoom;
    if new.any(full) {
        return Err(no_room());
    }
    Ok(())
}

/// The addresses of this host, of all its interfaces: Linux takes a packet to any of them on any
/// interface.
pub(super) fn own_prefixes() -> Result<HashSet<Prefix>, KernelError> {
    let addresses = host::own_addresses()?;
    Ok(addresses
        .into_iter()
        .map(|address| match address {
            IpAddr::V4(address) => prefix_v4(address.into(), 32),
            IpAddr::V6(address) => prefix_v6(address.into(), 128),
        })
        .collect())
}
