//! The daemon's options.

use firewall_api::source::NamedFile;
use firewall_engine::engine::{
    Engine, Guard, Origin, Record, Request, Scope, Session, Stage, state_of,
};
use firewall_engine::kernel::watch::DefaultRoutes;
use firewall_policy::rule::Mode;
use firewall_system::file_store::FileStore;
use firewall_system::policy_file::PolicyFile;
use firewall_system::set_files::Kept;
use firewall_system::trail::Trail;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// What it is called when the daemon applies by itself what was in force.
pub(super) const RENEWAL: &str = "renewal";

/// The default routes, of which all that look know the same: a process is one daemon, in one network
/// namespace.
static ROUTES: LazyLock<Arc<DefaultRoutes>> = LazyLock::new(Arc::default);

/// What the daemon was started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interfaces to filter; empty: those that the policy names.
    pub interfaces: Vec<String>,
    /// The policy file, read at the start and at every reload.
    pub policy: String,
    /// Attach mode; `None`: the policy's.
    pub mode: Option<Mode>,
    /// Where to listen.
    pub socket: PathBuf,
    /// Folder of pins.
    pub root: PathBuf,
    /// Folder of what is to outlive the machine's next start.
    pub state: PathBuf,
    /// Write findings to the log with colour.
    pub color: bool,
}

impl Options {
    /// The folder for what is to outlive the machine's next start, unless another one is asked for.
    #[must_use]
    pub fn state_of(root: &Path) -> PathBuf {
        state_of(root)
    }

    /// An engine for the pins and the state of this daemon.
    pub(super) fn engine(&self) -> Engine {
        let engine = Engine::new(&self.root).keeping_in(self.state.clone());
        engine.with_routes(Arc::clone(&ROUTES))
    }

    /// A request to put a policy in force as the daemon does it.
    /// Files that it names are copied to where a later change of it finds them.
    pub(super) fn request(&self, file: PolicyFile) -> Request {
        Request {
            policy_path: file.name,
            policy_text: file.text,
            base: file.base,
            kept: Some(self.kept(None)),
            interfaces: self.interfaces.clone(),
            mode: self.mode,
            replace: false,
            scope: Scope::Waiting,
            of: None,
            guard: Guard::of(Session::None),
            is_change: false,
            origin: Origin::default(),
        }
    }

    /// Where changes are put on record.
    pub(super) fn trail(&self) -> Trail {
        Trail::in_folder(&self.state)
    }

    /// Where files of policies are kept, by their hashes.
    pub(super) fn store(&self) -> FileStore {
        FileStore::new(&self.state.join("files"))
    }

    /// Where a policy's files come from: the store, if a request has named them.
    pub(super) fn kept(&self, named: Option<Vec<NamedFile>>) -> Kept {
        Kept {
            store: self.store(),
            named,
        }
    }

    /// The policy in force, as it is, on the interfaces that it is on, with its files as they were read.
    /// The mode is the one that the daemon was started with, as for all that it applies: what the policy
    /// says may be another one.
    pub(super) fn again(&self, record: &Record) -> Request {
        let has_copies = || !record.files.is_empty() && self.store().require(&record.files).is_ok();
        let is_kept = record.sent || has_copies();
        // Where copies are gone, a policy that was read here is read here again.
        let named = is_kept.then(|| record.files.clone());
        Request {
            policy_path: record.policy_path.clone(),
            policy_text: record.policy_text.clone(),
            base: record.base.clone(),
            kept: Some(self.kept(named)),
            interfaces: Vec::new(),
            mode: self.mode,
            replace: false,
            scope: Scope::Again,
            of: None,
            guard: Guard::of(Session::None),
            is_change: false,
            origin: Origin {
                verb: RENEWAL,
                stage: Stage::Upkeep,
                ..Origin::default()
            },
        }
    }

    /// A policy of the history, on the interfaces and in the mode that this daemon was started with.
    pub(super) fn adapted(&self, request: Request) -> Request {
        let interfaces = match self.interfaces.is_empty() {
            true => request.interfaces,
            false => self.interfaces.clone(),
        };
        Request {
            interfaces,
            mode: self.mode,
            ..request
        }
    }
}
