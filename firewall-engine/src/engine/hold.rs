//! What a daemon alone asks of the engine: to hold the store for its life, and to put a filter back whose
//! links somebody has removed.
//!
//! Invariant: a filter that was taken off by `unload` is not put back.

use super::types::{Applied, EngineError, Request, Selectors};
use super::{Engine, files, host};
use crate::engine::resolve::Present;
use crate::engine::store::{DAEMON, Store};
use crate::kernel::KernelError;
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
                help: "end that one first, or give this one pins of its own: --root FOLDER",
            }
        })
    }

    /// Whether a daemon keeps what is pinned here.
    #[must_use]
    pub fn has_keeper(&self) -> bool {
        self.store.is_held()
    }

    /// Puts the policy of `request` in force once more where a generation of the number `generation`
    /// was, whose links were removed by other means than `unload`. `None` if that is not so (any more).
    ///
    /// # Errors
    /// As [`Engine::apply`].
    pub fn revive(
        &mut self,
        request: &Request,
        generation: u64,
        selectors: &Selectors,
    ) -> Result<Option<Applied>, EngineError> {
        let start = Instant::now();
        let source = files::read(request, &self.object)?;
        let present = Present::now()?;
        host::require_privilege()?;
        host::require_bpffs(self.root())?;
        let _lock = host::lock(self.root())?;
        let ledger = self.store.ledger()?;
        if ledger.generation < generation {
            return Err(KernelError::State(
                "the filter is off, and its ledger could not be written, so nobody can tell whether \
                 `unload` has taken it off; apply the policy again"
                    .into(),
            )
            .into());
        }
        let was_taken_off = ledger.programs().is_empty() || ledger.generation != generation;
        if was_taken_off || self.store.survey()?.in_force().is_some() {
            self.store.remove_if_empty();
            return Ok(None);
        }
        let answer = self.apply_locked(request, &source, &present, Some(selectors));
        self.store.remove_if_empty();
        let (done, changed) = answer?;
        Ok(Some(Applied {
            generation: done.record.generation,
            changed,
            interfaces: done.record.interfaces,
            warnings: done.warnings,
            seconds: start.elapsed().as_secs_f64(),
        }))
    }
}
