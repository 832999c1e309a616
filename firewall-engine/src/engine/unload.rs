//! Takes the filter off interfaces; with the last one, removes all that belongs to it: maps, pins,
//! folders, and the copy of bans on disk.
//!
//! Invariant: whatever is ours comes off, also past what cannot be read; what stays is said.

use super::ledger::Ledger;
use super::store::{PinnedLink, Survey};
use super::{Engine, EngineError, copy, egress, not_filtered, require_namespace};
use crate::engine::resolve::Present;
use crate::kernel::link::Link;
use crate::kernel::{KernelError, host};
use firewall_system::history::History;
use std::fs;
use std::path::Path;

impl Engine {
    /// Takes the filter off the named interfaces (`None`: off all of them), and with the last one
    /// removes every map, pin and folder, and the copy of its bans. Returns the names of the interfaces
    /// it was taken off.
    ///
    /// # Errors
    /// A name that is not filtered, a filter whose pins are hidden, or the system's refusal: of `None`,
    /// after everything else was taken off.
    pub fn unload(&mut self, interfaces: Option<&[String]>) -> Result<Vec<String>, EngineError> {
        if !self.root().exists() {
            // No permission to look is another matter than nothing to see.
            if let Err(error) = self.store.survey() {
                host::require_privilege()?;
                return Err(error.into());
            }
            self.refuse_hidden()?;
            return match interfaces {
                Some([name, ..]) => Err(not_filtered(name, &[])),
                _ => Ok(Vec::new()),
            };
        }
        host::require_privilege()?;
        let _lock = host::lock(self.root())?;
        let answer = match interfaces {
            Some(names) => self.unload_some(names),
            None => self.unload_all(),
        };
        self.store.remove_if_empty();
        answer
    }

    /// Detaches what is pinned at `pin`, and leaves the pin alone, as `bpftool link detach` does: for
    /// tests of what is put back.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn detach_pinned(&self, pin: &Path) -> Result<(), EngineError> {
        Ok(Link::open(pin)?.detach("the interface")?)
    }

    fn unload_some(&self, interfaces: &[String]) -> Result<Vec<String>, EngineError> {
        let survey = self.store.survey()?;
        self.require_own_filters(&survey)?;
        let present = Present::now()?;
        let name_of = |pinned: &PinnedLink| name_of(pinned, &present);
        let filtered: Vec<String> = survey.links.iter().map(name_of).collect();
        let missing = interfaces.iter().find(|name| !filtered.contains(name));
        if let Some(missing) = missing {
            return Err(not_filtered(missing, &filtered));
        }
        let (go, stay): (Vec<&PinnedLink>, Vec<&PinnedLink>) = survey
            .links
            .iter()
            .partition(|pinned| interfaces.contains(&name_of(pinned)));
        if !stay.iter().any(|pinned| pinned.is_attached()) {
            return self.unload_all();
        }

        let mut unloaded = Vec::new();
        // First what decides by flows, then what takes note of them.
        for pinned in &go {
            take_off(pinned)?;
            unloaded.push(name_of(pinned));
        }
        let stays = |pinned: &PinnedLink| {
            let on = |link: &&PinnedLink| link.link.facts().ifindex == pinned.link.facts().ifindex;
            pinned.is_attached() && stay.iter().any(on)
        };
        for pinned in survey.egress.iter().filter(|pinned| !stays(pinned)) {
            egress::remove(pinned)?;
        }
        if let Some(in_force) = survey.in_force()
            && let Ok(mut record) = in_force.folder.read_record()
        {
            record.interfaces.retain(|i| !unloaded.contains(&i.name));
            let selectors = &mut record.selectors;
            selectors.named.retain(|word| !unloaded.contains(word));
            selectors.taken_off.extend(unloaded.iter().cloned());
            in_force.folder.write_record(&record)?;
        }
        Ok(unloaded)
    }

    fn unload_all(&self) -> Result<Vec<String>, EngineError> {
        let (survey, mut left) = self.store.survey_readable();
        if survey.generations.is_empty() && survey.links.is_empty() {
            self.refuse_hidden()?;
        }
        self.require_own_filters(&survey)?;
        let present = Present::now()?;
        let in_force = survey.in_force();
        let record = in_force.and_then(|in_force| in_force.folder.read_record().ok());
        let (mut unloaded, before) = (Vec::new(), left.len());
        for pinned in &survey.links {
            match take_off(pinned) {
                Ok(()) => unloaded.push(name_of(pinned, &present)),
                Err(error) => left.push(error),
            }
        }
        // What stays on keeps its generation, and its bans.
        if left.len() == before && self.hidden()?.is_empty() {
            let egress = survey.egress.iter().map(egress::remove);
            left.extend(egress.filter_map(Result::err));
            let generations = survey.generations.iter();
            let removed = generations.map(|generation| generation.folder.remove());
            left.extend(removed.filter_map(Result::err));
            let mut folders = self.store.ledgers();
            folders.extend(record.map(|record| record.state));
            folders.retain(|folder| !folder.as_os_str().is_empty());
            let forgotten = folders.iter().map(|it| forget(it, survey.newest()));
            left.extend(forgotten.filter_map(Result::err));
            // Nothing comes back by itself after that.
            let ended = folders.iter().map(|it| {
                let ended = History::in_folder(it).end_waiting();
                ended.map_err(KernelError::call(format!("change {}", it.display())))
            });
            left.extend(ended.filter_map(Result::err));
        }
        if left.is_empty() {
            return Ok(unloaded);
        }
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        let off = match unloaded.as_slice() {
            [] => "nothing was taken off".to_owned(),
            names => format!("no longer filtered: {}", names.join(", ")),
        };
        Err(KernelError::State(format!("{off}; but: {}", left.join("; "))).into())
    }

    /// A filter in `clsact` is found by the index of its interface: here it may be another one's.
    fn require_own_filters(&self, survey: &Survey) -> Result<(), EngineError> {
        if survey.egress.iter().any(|pinned| pinned.link.is_filter())
            && let Some(in_force) = survey.in_force()
            && let Ok(record) = in_force.folder.read_record()
        {
            require_namespace(&record, survey)?;
        }
        Ok(())
    }
}

/// The name that the interface of a link has now, or had.
fn name_of(pinned: &PinnedLink, present: &Present) -> String {
    let ifindex = pinned.link.facts().ifindex;
    let name = present.name_of(ifindex).filter(|_| pinned.is_alive());
    name.unwrap_or(&pinned.name).to_owned()
}

fn take_off(pinned: &PinnedLink) -> Result<(), KernelError> {
    pinned.link.detach(&pinned.name)?;
    fs::remove_file(&pinned.path).map_err(KernelError::call(format!(
        "remove {}",
        pinned.path.display()
    )))
}

/// Notes that nothing is in force any more, and that its bans are to come back with nothing.
fn forget(folder: &Path, newest: u64) -> Result<(), KernelError> {
    copy::remove(folder).map_err(KernelError::call(format!(
        "remove the copy of bans in {}",
        folder.display()
    )))?;
    let known = Ledger::read(folder).unwrap_or_default();
    let off = Ledger {
        generation: newest.max(known.newest()),
        reserved: 0,
        in_force: None,
    };
    // Nothing was ever noted here.
    if off.generation == 0 {
        return Ok(());
    }
    off.write(folder)
}
