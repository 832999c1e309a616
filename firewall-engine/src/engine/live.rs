//! Bans and live sets of the active policy: reading them, and changing them from commands.
//!
//! Invariant: bans are added only through [`Guard`]. A change holds the lock on the store, so no
//! generation changes meanwhile.

use super::Engine;
use super::copy::{self, Placed};
use super::guard::{self, After, Guard, Scene, Session, SetAfter};
use super::handover::{own_prefixes, sync};
use super::resolve::Present;
use super::spared;
use super::store::Generation;
use super::types::{EngineError, LiveRecord, Record};
use crate::kernel::KernelError;
use crate::kernel::host::{self, Lock};
use crate::kernel::live::{Entry, LiveTable, Origin, Writer, no_room};
use crate::kernel::maps::BigMap;
use firewall_common::live::{Added, BANNED, BANS, EXEMPT, Prefix, SPARED, is_protected};
use firewall_common::region::Region;
use firewall_policy::rule::SELF;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

/// Name of the set of bans in commands.
pub const BANNED_NAME: &str = firewall_api::sets::BANNED;

/// The table of what is in force, to be changed.
#[derive(Debug)]
pub struct Live {
    view: LiveView,
    /// What is in force.
    record: Record,
    /// Whether a daemon runs, which keeps the copy.
    has_keeper: bool,
    _lock: Lock,
}

/// The table of what is in force, to be read.
#[derive(Debug)]
pub struct LiveView {
    table: LiveTable,
    sets: Vec<LiveRecord>,
    /// Prefix lengths that rules ban by.
    ban_lengths: Vec<spared::Lengths>,
    /// Where the copy is.
    state: PathBuf,
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
        let opened = self.open_with_record(LiveTable::for_changes);
        if opened.is_err() {
            self.store.remove_if_empty();
        }
        let (view, record) = opened?;
        Ok(Live {
            view,
            record,
            has_keeper: self.store.is_held(),
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

    pub(super) fn open_live(
        &self,
        open: impl Fn(&BigMap) -> Result<LiveTable, KernelError>,
    ) -> Result<LiveView, EngineError> {
        Ok(self.open_with_record(open)?.0)
    }

    fn open_with_record(
        &self,
        open: impl Fn(&BigMap) -> Result<LiveTable, KernelError>,
    ) -> Result<(LiveView, Record), EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        Ok((self.view_of(in_force, &record, open)?, record))
    }

    /// As [`Engine::open_live`], of a generation whose record is known.
    pub(super) fn view_of(
        &self,
        in_force: &Generation,
        record: &Record,
        open: impl Fn(&BigMap) -> Result<LiveTable, KernelError>,
    ) -> Result<LiveView, EngineError> {
        let map = in_force
            .folder
            .region(Region::Live)
            .ok_or_else(|| KernelError::State("the table of bans and live sets is gone".into()))?;
        Ok(LiveView {
            table: open(&map)?,
            sets: record.live.clone(),
            ban_lengths: record.ban_lengths.clone(),
            state: match record.state.as_os_str().is_empty() {
                true => self.store.state().to_owned(),
                false => record.state.clone(),
            },
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

    /// The entries of a set that hold a whole prefix, the widest first.
    #[must_use]
    pub fn holding(&self, set: &LiveRecord, prefix: &Prefix) -> Vec<Prefix> {
        self.holding_by(set.id, prefix)
    }

    /// Whether the policy exempts a whole prefix from bans: one is kept, and holds nobody.
    #[must_use]
    pub fn is_exempt(&self, prefix: &Prefix) -> bool {
        // Mostly nothing is, and the table can be long.
        self.table.count(EXEMPT) > 0 && !self.holding_by(EXEMPT, prefix).is_empty()
    }

    fn holding_by(&self, id: u32, prefix: &Prefix) -> Vec<Prefix> {
        let mut entries = self.table.list();
        entries.retain(|entry| entry.id == id && guard::contains(&entry.prefix, prefix));
        entries.sort_unstable_by_key(|entry| entry.prefix.length);
        entries.into_iter().map(|entry| entry.prefix).collect()
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
        let list = self.table.list();
        let theirs = list.iter().filter(|entry| !is_protected(entry.id.into()));
        counted > theirs.count() as u64
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

    /// Whether the rules of what is in force spare the addresses that this host needs now: its own, its
    /// gateways, its resolvers.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_spared_current(&self) -> Result<bool, EngineError> {
        let wanted = spared::prefixes(&self.ban_lengths)?;
        if wanted.is_empty() {
            return Ok(true);
        }
        let present = self.table.list().into_iter();
        let present = present.filter(|entry| entry.id == SPARED);
        let present: HashSet<Prefix> = present.map(|entry| entry.prefix).collect();
        Ok(present == wanted)
    }

    /// Changes a set: needs the lock on the store. All changes or, if there is no room for some, none of those that add.
    ///
    /// # Errors
    /// What the guard refuses; a set that would have more entries than its `max`; a table without
    /// room.
    pub(super) fn change(
        &self,
        set: &LiveRecord,
        changes: &[Change],
        guard: &Guard,
    ) -> Result<Changed, EngineError> {
        guard.check(
            set,
            changes.iter().filter_map(|change| match change {
                Change::Add(prefix, _) => Some(prefix),
                Change::Remove(_) => None,
            }),
        )?;
        let table = &self.table;
        let answer = table.change(|writer| {
            if table.count(set.id) + changes.len() as u64 > set.max {
                // Perhaps some have ended.
                writer.sweep(|_| false);
            }
            apply(table, writer, set, changes)
        })?;
        answer.map_err(Into::into)
    }

    /// Puts what commands and rules had in `former` in the place of what they have here: needs the lock
    /// on the store. What found no room is a warning.
    ///
    /// # Errors
    /// A table that cannot be changed.
    pub(super) fn take_over(
        &self,
        former: &Self,
        warnings: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let bans = self.set(BANNED_NAME);
        for set in bans.iter().chain(&self.sets).filter(|it| it.name != SELF) {
            let Some(before) = former.set(&set.name) else {
                continue;
            };
            let here = self.entries(set);
            let mut gone = former.entries(&before);
            gone.retain(|entry| entry.origin != Origin::Policy);
            let fixed: HashMap<Prefix, &Entry> = here
                .iter()
                .filter(|entry| entry.origin == Origin::Policy)
                .map(|entry| (entry.prefix, entry))
                .collect();
            if gone.is_empty() && fixed.len() == here.len() {
                continue;
            }
            let stay = fixed
                .values()
                .map(|entry| (&entry.prefix, None, entry.origin));
            let back = gone.iter().filter(|it| !fixed.contains_key(&it.prefix));
            let back = back.map(|entry| (&entry.prefix, entry.left, entry.origin));
            let table = &self.table;
            if !table.change(|writer| writer.replace(set.id, stay.chain(back)))? {
                warnings.push(format!(
                    "{} has the entries of its copy: {}",
                    set.name,
                    no_room()
                ));
            }
        }
        Ok(())
    }

    /// Brings `@self` up to date, if the policy has it: needs the lock on the store. Whether that changed something.
    ///
    /// # Errors
    /// What the system says; a table without room.
    pub(super) fn refresh_self(&self) -> Result<bool, EngineError> {
        let Some(set) = self.sets.iter().find(|set| set.name == SELF) else {
            return Ok(false);
        };
        let wanted = own_prefixes()?;
        let table = &self.table;
        let before = table.changes();
        table.change(|writer| sync(table, writer, set.id, &wanted))??;
        Ok(table.changes() != before)
    }

    /// Writes the copy for the machine's next start. What waits in it.
    ///
    /// # Errors
    /// What the system says, in a sentence.
    pub fn keep(&self) -> Result<Placed, String> {
        self.keep_with(false)
    }

    fn keep_with(&self, may_place: bool) -> Result<Placed, String> {
        copy::keep(self, &self.state, may_place).map_err(|error| {
            let folder = self.state.display();
            format!("cannot keep a copy in {folder}: {error}")
        })
    }

    /// Whether entries wait in the copy for a set that there is now.
    #[must_use]
    pub fn has_placeable(&self) -> bool {
        copy::has_placeable(self, &self.state)
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
    /// Of those, the ones that were to get an end and have none: the policy names them.
    pub fixed: u64,
}

impl Live {
    /// The table, to be read.
    #[must_use]
    pub fn view(&self) -> &LiveView {
        &self.view
    }

    /// The guard of a request to change one of its sets.
    #[must_use]
    pub fn guard_of(&self, session: Session, i_know: bool) -> Guard {
        let interfaces = self.record.interfaces.iter();
        Guard::of_request(session, i_know).on(interfaces.map(|it| it.ifindex).collect())
    }

    /// Refuses a change of a set that would cut off a session: what the set would hold then, of those
    /// prefixes that hold an address of the session. Bans come to the guard as they are asked for
    /// ([`Guard::refusal`]).
    ///
    /// # Errors
    /// What would be cut, or why nobody can say.
    pub fn spare(
        &self,
        set: &LiveRecord,
        edit: &SetAfter<'_>,
        guard: &Guard,
    ) -> Result<(), EngineError> {
        let concerns = |change: &Change| match change {
            Change::Add(prefix, _) | Change::Remove(prefix) => guard.concerns(prefix),
        };
        let is_none_of_its = match edit {
            SetAfter::Changed(changes) => !changes.iter().any(concerns),
            SetAfter::Replaced(_) => false,
        };
        if set.id == BANNED || is_none_of_its {
            return Ok(());
        }
        let present = Present::now()?;
        let scene = Scene {
            record: Some(&self.record),
            live: Some(&self.view),
            state: &self.view.state,
            present: &present,
        };
        let by_policy = || {
            let entries = self.view.entries(set).into_iter();
            let by_policy = entries.filter(|entry| entry.origin == Origin::Policy);
            by_policy.map(|entry| entry.prefix).collect::<HashSet<_>>()
        };
        let after = |before: &[Prefix]| edit.of(before, &by_policy);
        guard.check_change(&scene, &After::Set(set, &after))
    }

    /// As [`LiveView::change`], under the lock that this holds.
    ///
    /// # Errors
    /// What the guard refuses; a set that would have more entries than its `max`; a table without
    /// room.
    pub fn change(
        &self,
        set: &LiveRecord,
        changes: &[Change],
        guard: &Guard,
    ) -> Result<Changed, EngineError> {
        self.view.change(set, changes, guard)
    }

    /// Writes the copy for the machine's next start, unless a daemon does.
    ///
    /// # Errors
    /// What the system says, in a sentence.
    pub fn keep(&self) -> Result<(), String> {
        match self.has_keeper {
            true => Ok(()),
            false => self.view.keep().map(drop),
        }
    }

    /// Puts in force what waits in the copy, unless a daemon does: before a change, which must not bring
    /// back what it takes out.
    ///
    /// # Errors
    /// As [`LiveView::keep`].
    pub fn place_waiting(&self) -> Result<(), String> {
        match self.has_keeper || !self.view.has_placeable() {
            true => Ok(()),
            false => self.view.keep_with(true).map(drop),
        }
    }

    /// As [`LiveView::keep`], and puts in force what had waited.
    ///
    /// # Errors
    /// As [`LiveView::keep`].
    pub fn keep_and_place(&self) -> Result<Placed, String> {
        self.view.keep_with(true)
    }

    /// Puts other entries in the place of all that commands and rules have added to a set; what the
    /// policy puts there stays. Packets meet the former entries or the new ones, never some of both.
    ///
    /// # Errors
    /// What the guard refuses; more entries than the set's `max`; a table without room. The set is as
    /// it was then.
    pub fn replace(
        &self,
        set: &LiveRecord,
        entries: &[(Prefix, Option<Duration>)],
        guard: &Guard,
    ) -> Result<Changed, EngineError> {
        guard.check(set, entries.iter().map(|(prefix, _)| prefix))?;
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
            ..Changed::default()
        })
    }

    /// Removes everything from a set but what the policy puts there. How many entries that were.
    ///
    /// # Errors
    /// As [`Live::change`].
    pub fn clear(&self, set: &LiveRecord) -> Result<u64, EngineError> {
        Ok(self.replace(set, &[], &Guard::of(Session::None))?.removed)
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
        self.view.refresh_self()
    }

    /// Brings the addresses that rules do not ban up to date. Whether that changed something.
    ///
    /// # Errors
    /// What the system says; a table without room.
    pub fn refresh_spared(&self) -> Result<bool, EngineError> {
        let wanted = spared::prefixes(&self.view.ban_lengths)?;
        let table = &self.view.table;
        let before = table.changes();
        table.change(|writer| sync(table, writer, SPARED, &wanted))??;
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
            // What the policy names has no end but its own.
            Change::Add(prefix, time) if writer.is_by_policy(set.id, prefix) => {
                done.renewed += 1;
                done.fixed += u64::from(time.is_some());
            }
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
