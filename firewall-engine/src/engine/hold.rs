//! What a daemon alone asks of the engine: to hold the store for its life, and to put a filter back whose
//! links somebody has removed.
//!
//! Invariant: a filter that was taken off by `unload` is not put back.

use super::follow::Followed;
use super::ledger::Ledger;
use super::live::LiveView;
use super::resolve::Present;
use super::store::{DAEMON, Generation, Store, Survey};
use super::types::{Applied, EngineError, InterfaceRecord, Record, Request};
use super::{Engine, files, flows, host, slots};
use crate::kernel::{Hook, KernelError};
use firewall_common::abi::INTERFACES;
use firewall_common::region::Region;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

/// The store, held by a daemon for as long as this lives.
#[derive(Debug)]
pub struct Hold {
    store: Store,
    lock: Option<host::Lock>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Under the store's lock nobody else takes hold of the folder meanwhile.
        if self.store.root().exists()
            && let Ok(_lock) = host::lock(self.store.root())
        {
            self.lock = None;
            self.store.remove_if_empty();
        }
    }
}

impl Store {
    /// Keeps every other daemon away. Needs the lock on the store; `None` if one has it.
    pub(super) fn hold(&self) -> Result<Option<Hold>, KernelError> {
        let folder = self.root().join(DAEMON);
        let call = || KernelError::call(format!("lock {}", folder.display()));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(call()(error));
            }
            _ => {}
        }
        let lock = host::hold(&folder).map_err(call())?;
        Ok(lock.map(|lock| Hold {
            store: self.clone(),
            lock: Some(lock),
        }))
    }

    /// Whether a daemon holds the store.
    pub(super) fn is_held(&self) -> bool {
        matches!(host::hold(&self.root().join(DAEMON)), Ok(None))
    }

    /// The process that holds it, as far as the kernel tells.
    pub(super) fn holder(&self) -> Option<u32> {
        host::holder(&self.root().join(DAEMON))
    }
}

impl Engine {
    /// Keeps what outlives the machine's next start in another folder than usual.
    #[must_use]
    pub fn keeping_in(self, state: PathBuf) -> Self {
        Self {
            store: self.store.with_state(state),
            ..self
        }
    }

    /// Keeps every other daemon away from these pins for as long as the answer lives.
    ///
    /// # Errors
    /// Another daemon has them (exit code 7); a missing privilege or file system.
    pub fn hold(&self) -> Result<Hold, EngineError> {
        host::require_privilege()?;
        host::require_bpffs(self.root())?;
        let _lock = host::lock(self.root())?;
        self.store.hold()?.ok_or_else(|| {
            let root = self.root().display();
            let who = self.store.holder().map(|pid| format!(" (pid {pid})"));
            EngineError::Refused {
                message: format!(
                    "another daemon{} keeps the pins under {root}",
                    who.unwrap_or_default()
                ),
                help: "end that one first, or give this one pins of its own: --root FOLDER".into(),
            }
        })
    }

    /// Whether a daemon keeps what is pinned here.
    #[must_use]
    pub fn has_keeper(&self) -> bool {
        self.store.is_held()
    }

    /// Puts a generation back whose links were removed by other means than `unload`, on every interface
    /// that it filtered: the one that is pinned, or, where its pins are gone, the policy of `request` once
    /// more. `bans` is the table that it had, which outlives its pins while somebody holds it. `None` if
    /// something is in force, or it was taken off on purpose.
    ///
    /// # Errors
    /// As [`Engine::apply`]; nothing is in force then, and this can be tried again.
    pub fn revive(
        &mut self,
        request: &Request,
        lost: &Record,
        bans: Option<&LiveView>,
    ) -> Result<Option<Revived>, EngineError> {
        let start = Instant::now();
        host::require_privilege()?;
        host::require_bpffs(self.root())?;
        let lock = host::lock(self.root())?;
        let answer = self.revive_locked(request, lost, bans, start);
        self.store.remove_if_empty();
        drop(lock);
        answer
    }

    fn revive_locked(
        &self,
        request: &Request,
        lost: &Record,
        bans: Option<&LiveView>,
        start: Instant,
    ) -> Result<Option<Revived>, EngineError> {
        let ledger = self.store.ledger()?;
        if ledger.generation < lost.generation {
            return Err(KernelError::State(
                "the filter is off, and its ledger could not be written, so nobody can tell whether \
                 `unload` has taken it off; apply the policy again"
                    .into(),
            )
            .into());
        }
        let was_taken_off = ledger.programs().is_empty() || ledger.generation != lost.generation;
        let survey = self.store.survey()?;
        if was_taken_off || survey.in_force().is_some() {
            return Ok(None);
        }
        if let Some(pinned) = whole(&survey, &ledger) {
            let mut followed = self.follow_on(&survey, pinned)?;
            if !followed.attached.is_empty() {
                if let Some(flows) = pinned.folder.region(Region::Flows).filter(|_| lost.tracks) {
                    let opened = flows::take_open(&flows, &mut followed.failed);
                    followed
                        .failed
                        .extend(opened.err().map(|it| it.to_string()));
                }
                return Ok(Some(Revived::Followed(followed)));
            }
            // What another load of the program may mend.
            if !followed.is_stale {
                let why = match &followed.failed[..] {
                    [] => "none of its interfaces is there".to_owned(),
                    failed => failed.join("; "),
                };
                return Err(EngineError::Interface(why));
            }
        }
        let source = files::read(request, &self.object)?;
        let present = self.present()?;
        let (done, changed) = self.apply_locked(request, &source, &present, Some(lost))?;
        let (mut record, mut warnings) = (done.record, done.warnings);
        if let Some(bans) = bans
            && let Err(error) = self
                .live_view()
                .and_then(|view| view.take_over(bans, &mut warnings))
        {
            warnings.push(format!("bans and live sets are those of the copy: {error}"));
        }
        // The filter is on: what fails from here on is told, and undoes nothing.
        if let Err(error) = self.remember(lost, &mut record, &present) {
            warnings.push(format!(
                "interfaces that could not be filtered just now are not missed: {error}"
            ));
        }
        Ok(Some(Revived::Applied(Applied {
            generation: record.generation,
            before: done.before,
            changed,
            interfaces: record.interfaces,
            warnings,
            seconds: start.elapsed().as_secs_f64(),
            effect: None,
        })))
    }

    /// Keeps interfaces of the lost generation on record that could not be filtered just now: they are
    /// missed, and tried again.
    fn remember(
        &self,
        lost: &Record,
        record: &mut Record,
        present: &Present,
    ) -> Result<(), EngineError> {
        let before = record.interfaces.len();
        for interface in lost.still_there(present) {
            let taken = record.interfaces.iter();
            let taken: Vec<(&str, u32)> = taken.map(|it| (it.name.as_str(), it.slot)).collect();
            let is_filtered = taken.iter().any(|(name, _)| *name == interface.name);
            let name = [interface.name.as_str()];
            let assigned = slots::assign(&name, &taken, 1..INTERFACES as u32);
            if let Some(assigned) = assigned.filter(|_| !is_filtered) {
                record.interfaces.push(InterfaceRecord {
                    slot: assigned.slots[0],
                    ..interface.clone()
                });
            }
        }
        if record.interfaces.len() > before
            && let Some(in_force) = self.store.survey()?.in_force()
        {
            in_force.folder.write_record(record)?;
        }
        Ok(())
    }
}

/// What has come of a lost filter.
#[derive(Clone, PartialEq, Debug)]
pub enum Revived {
    /// Its programs were pinned yet: they are back on its interfaces, with all that they know.
    Followed(Followed),
    /// Its policy was applied once more.
    Applied(Applied),
}

/// The generation that was in force by the ledger, if everything of it is pinned yet but its links.
fn whole<'a>(survey: &'a Survey, ledger: &Ledger) -> Option<&'a Generation> {
    let mut generations = survey.generations.iter();
    let pinned = generations.find(|it| it.number == ledger.generation)?;
    let record = pinned.folder.read_record().ok()?;
    let has_flows = pinned.folder.region(Region::Flows).is_some();
    let is_whole = pinned.ids(Hook::Xdp) == ledger.programs()
        && pinned.has_egress() == has_flows
        && pinned.folder.missing(&record).is_empty();
    is_whole.then_some(pinned)
}

impl Record {
    /// Its interfaces that are there, by index and name.
    pub(super) fn still_there<'a>(
        &'a self,
        present: &'a Present,
    ) -> impl Iterator<Item = &'a InterfaceRecord> {
        let interfaces = self.interfaces.iter();
        interfaces.filter(|it| present.name_of(it.ifindex) == Some(it.name.as_str()))
    }
}
