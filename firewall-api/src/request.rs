//! The daemon's HTTP and JSON interface on a unix socket: its paths and what is sent to them.
//!
//! ```text
//! GET  /v1/status               StatusReport
//! GET  /v1/snapshot?ports=N     view::Snapshot
//! GET  /v1/rules                RulesReport
//! GET  /v1/reasons              ReasonsReport
//! GET  /v1/policy               PolicyReport
//! POST /v1/apply                ApplyRequest -> ApplyReport
//! POST /v1/reload               ReloadRequest -> ApplyReport
//! anything that fails           ErrorReport
//! ```
//!
//! The documents are the JSON that `-o json` prints, with a daemon or without. Fields are added,
//! never renamed.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest request body, in bytes: a policy of 16 MiB, escaped as JSON.
pub const BODY_LIMIT: usize = 32 << 20;

/// Ports in a snapshot if the reader does not say.
pub const DEFAULT_PORTS: usize = 1000;

/// Body of `POST /v1/apply`. The client reads the policy, so that its own permissions decide what
/// it can read; the daemon reads the set files that the policy names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file as the user named it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Absolute folder for the set files.
    pub base: PathBuf,
    /// Render findings with colour.
    #[serde(default)]
    pub color: bool,
    /// Lose the runtime rules that are in force. Without it, a policy that has none is refused
    /// while there are any.
    #[serde(default)]
    pub discard_runtime: bool,
    /// The generation that this is a change of; refused if another one is in force. Its runtime
    /// rules are those of the text.
    #[serde(default)]
    pub change_of: Option<u64>,
}

/// Body of `POST /v1/reload`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Render findings with colour.
    #[serde(default)]
    pub color: bool,
    /// Lose the runtime rules that are in force; refused without it while there are any.
    #[serde(default)]
    pub discard_runtime: bool,
}

/// Body of every answer that is not a success.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub error: Failure,
}
