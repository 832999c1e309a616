//! The daemon's options.

use firewall_engine::engine::{Request, Scope};
use firewall_engine::policy_file::PolicyFile;
use firewall_policy::rule::Mode;
use std::path::PathBuf;

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
    /// A request to put a policy in force as the daemon does it.
    pub(super) fn request(&self, file: PolicyFile) -> Request {
        Request {
            policy_path: file.name,
            policy_text: file.text,
            base: file.base,
            interfaces: self.interfaces.clone(),
            mode: self.mode,
            replace: false,
            scope: Scope::Waiting,
        }
    }
}
