//! The daemon's HTTP and JSON interface on a unix socket: its paths and what is sent to them.
//!
//! ```text
//! GET  /v1/status               StatusReport
//! GET  /v1/snapshot?ports=N     view::Snapshot
//! GET  /v1/rules                RulesReport
//! GET  /v1/reasons              ReasonsReport
//! GET  /v1/policy               PolicyReport
//! GET  /v1/history              HistoryReport
//! GET  /v1/history/N            PolicyReport
//! GET  /v1/flows?port=N         FlowsRequest -> FlowsReport
//! GET  /v1/sets                 SetsReport
//! GET  /v1/sets/NAME            SetReport
//! GET  /v1/events?last=N        EventsRequest -> EventsReport
//! POST /v1/doctor               DoctorRequest -> DoctorReport
//! PUT  /v1/files/SHA256         the bytes of a file -> FileKept
//! POST /v1/apply                ApplyRequest -> ApplyReport
//! POST /v1/reload               ReloadRequest -> ApplyReport
//! POST /v1/confirm              ConfirmRequest -> ApplyReport
//! POST /v1/cancel               ConfirmRequest -> ApplyReport
//! POST /v1/rollback             RollbackRequest -> ApplyReport
//! POST /v1/compare              CompareRequest -> Compared
//! POST /v1/plan                 PlanRequest -> PlanReport
//! POST /v1/rules                RulesChange -> RulesChanged
//! POST /v1/flows/forget         FlowsRequest -> FlowsForgotten
//! POST /v1/sets                 SetChange -> SetChanged
//! POST /v1/selftest             PolicySource -> Selftest
//! POST /v1/verify               PolicySource -> Verified
//! POST /v1/trace                TraceRequest -> Traced
//! anything that fails           ErrorReport
//! ```
//!
//! A request that brings a policy names its files by their hashes. Where the bytes of one are not
//! there, the answer is a failure with the code `files-missing`, whose diagnostics are the files: they
//! are put, and the request is repeated. Paths in requests are labels: none of them is opened.
//!
//! The documents are the JSON that `-o json` prints, with a daemon or without. Fields are added,
//! never renamed.

use crate::failure::{Exit, Failure};
use crate::session::{Asker, Session};
use crate::source::{NamedFile, PolicySource};
use firewall_policy::diag::Findings;
use firewall_policy::rule::Mode;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Header of a request that changes something: address and port from which the asker's SSH session comes.
/// A daemon that is not root cannot read that of its peers' processes.
pub const SESSION_HEADER: &str = "firewall-session";

/// Largest request body, in bytes: a policy of 16 MiB, escaped as JSON.
pub const BODY_LIMIT: usize = 32 << 20;

/// Largest change of a live set, in bytes: some three million entries.
pub const SET_LIMIT: usize = 256 << 20;

/// Ports in a snapshot if the reader does not say.
pub const DEFAULT_PORTS: usize = 1000;

/// What a snapshot is to hold.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotRequest {
    /// How many of the busiest ports.
    pub ports: usize,
    /// Seconds over which rates are taken if nobody has read the counters before. `None`: there are
    /// no rates then.
    pub over: Option<f64>,
}

impl Default for SnapshotRequest {
    fn default() -> Self {
        Self {
            ports: DEFAULT_PORTS,
            over: None,
        }
    }
}

/// Body of `POST /v1/apply`. The client reads the policy and the files that it names, so that its own
/// permissions decide what it can read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file as the user named it: a label.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The folder in which the client finds the files: a label.
    pub base: PathBuf,
    /// The files that the text names.
    #[serde(default)]
    pub files: Vec<NamedFile>,
    /// Lose the runtime rules that are in force. Without it, a policy that has none is refused
    /// while there are any.
    #[serde(default)]
    pub discard_runtime: bool,
    /// The session that is not to be cut off by it.
    #[serde(default)]
    pub session: Session,
    /// Do it also if it would do harm.
    #[serde(default)]
    pub i_know: bool,
    /// Seconds within which it is to be confirmed: else the confirmed policy before it comes back. What
    /// would cut the session is no reason to refuse it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u64>,
    /// Why, for the history and the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asks. Not part of the document: whoever takes the request knows.
    #[serde(skip)]
    pub asker: Asker,
}

impl ApplyRequest {
    /// A request for a policy.
    #[must_use]
    pub fn new(policy: PolicySource) -> Self {
        Self {
            path: policy.path,
            text: policy.text,
            base: policy.base,
            files: policy.files,
            discard_runtime: false,
            session: Session::None,
            i_know: false,
            confirm: None,
            why: None,
            asker: Asker::default(),
        }
    }
}

/// What `load` asks of this host's own firewall.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct LoadRequest {
    /// The policy.
    pub policy: PolicySource,
    /// Interfaces to filter; none: those that the policy names.
    pub interfaces: Vec<String>,
    /// Attach mode; `None`: the policy's.
    pub mode: Option<Mode>,
    /// Replace another XDP program.
    pub replace: bool,
    /// Lose the runtime rules that are in force.
    pub discard_runtime: bool,
    /// The session that is not to be cut off by it.
    pub session: Session,
    /// Do it also if it would do harm.
    pub i_know: bool,
    /// As at the machine's start: where the policy is not valid or was not confirmed, the newest
    /// confirmed generation is put in force in its place.
    pub or_confirmed: bool,
    /// Why the policy cannot be read, if it cannot.
    pub unreadable: Option<Failure>,
    /// Why, for the history and the trail.
    pub why: Option<String>,
    /// Who asks.
    pub asker: Asker,
}

/// Body of `POST /v1/reload`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Lose the runtime rules that are in force; refused without it while there are any.
    #[serde(default)]
    pub discard_runtime: bool,
    /// The session that is not to be cut off by it.
    #[serde(default)]
    pub session: Session,
    /// Do it also if it would do harm.
    #[serde(default)]
    pub i_know: bool,
    /// Why, for the history and the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asks. Not part of the document: whoever takes the request knows.
    #[serde(skip)]
    pub asker: Asker,
}

/// Body of every answer that is not a success.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub error: Failure,
    /// Its findings, to be shown in colour where the answer is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Box<Findings>>,
}

impl ErrorReport {
    /// The answer for whoever shows the failure.
    #[must_use]
    pub fn new(mut error: Failure) -> Self {
        let findings = error.findings.take();
        Self { error, findings }
    }

    /// The failure of an answer.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        Failure {
            findings: self.findings,
            ..self.error
        }
    }
}

/// The failure of what needs a daemon where none listens.
#[must_use]
pub fn no_daemon(socket: &Path) -> Failure {
    Failure::new(Exit::Unreachable, format!("no daemon listens on {}", socket.display())).help(
        "start one: firewall-ctl daemon -i IF -f FILE; or load without a daemon: firewall-ctl load -i IF -f FILE",
    )
}
