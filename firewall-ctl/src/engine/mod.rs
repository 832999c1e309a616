//! The engine: applies a policy to interfaces and reads what the kernel counts. Used by the
//! daemon and by the verbs that work without one; it is the same code.
//!
//! Holds the vocabulary between the kernel layer and everything above it. May not import aya, and
//! nothing above it (`api`, `cli`, `daemon`, `tui`).
//!
//! Invariant: after every call, failed or not, each interface is filtered by exactly one whole
//! generation, the new one or the old one.

use crate::kernel::KernelError;
use firewall_common::abi::Counter;
use firewall_policy::diag::Diagnostics;
use firewall_policy::rule::Mode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything about a generation that outlives the process which made it. Kept as JSON in a pinned
/// map, so that whoever finds the pins finds the names too.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`firewall_common::abi::ABI_VERSION`] of the maps.
    pub abi_version: u32,
    /// Counts up with each applied change.
    pub generation: u64,
    /// Policy path as the user named it.
    pub policy_path: String,
    /// The policy text that was compiled.
    pub policy_text: String,
    /// SHA-256 of `policy_text`, hex.
    pub sha256: String,
    /// Seconds since the Unix epoch.
    pub applied: f64,
    /// `pass` or `drop`.
    pub default: String,
    /// Bytes of the classifier tables.
    pub table_bytes: u64,
    /// Rules in policy order.
    pub rules: Vec<RuleRecord>,
    /// Filtered interfaces.
    pub interfaces: Vec<InterfaceRecord>,
}

/// One rule of a [`Record`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Unique name.
    pub name: String,
    /// Counter slot in `fw_rules`.
    pub slot: u32,
    /// `pass`, `drop` or `next`.
    pub action: String,
    /// The match in one line.
    pub summary: String,
    /// `file:line`.
    pub place: String,
    /// False for `enabled: false`.
    pub enabled: bool,
}

/// One interface of a [`Record`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// Name when it was attached.
    pub name: String,
    /// Kernel index.
    pub ifindex: u32,
    /// Counter slot, 1 to 63.
    pub slot: u32,
    /// Zone number.
    pub zone: u32,
    /// Zone name, empty for none.
    pub zone_name: String,
    /// The mode in force: native or generic.
    pub mode: Mode,
    /// Why generic mode was taken.
    pub fallback: Option<String>,
}

/// What the kernel runs now, read from pins and links.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The generation on record.
    pub record: Record,
    /// One entry for each interface of the record whose link is alive.
    pub links: Vec<ObservedLink>,
    /// Differences between record and kernel, one sentence each.
    pub warnings: Vec<String>,
}

/// A live, pinned link.
#[derive(Clone, PartialEq, Debug)]
pub struct ObservedLink {
    /// Interface name.
    pub name: String,
    /// Kernel index.
    pub ifindex: u32,
    /// BPF link id.
    pub link_id: u32,
    /// BPF program id.
    pub program_id: u32,
}

/// All counters at one moment, summed over CPUs.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Seconds on the monotonic clock.
    pub monotonic: f64,
    /// `[interface slot * 64 + reason][verdict]`.
    pub reasons: Vec<[Counter; 2]>,
    /// `[port][tcp pass, tcp drop, udp pass, udp drop]`: 65,536 entries.
    pub ports: Vec<[Counter; 4]>,
    /// By counter slot.
    pub rules: Vec<Counter>,
}

/// What to put in force.
#[derive(Clone, Debug)]
pub struct Request {
    /// The policy file; `policy_text` is what it held.
    pub policy_path: String,
    /// The policy text.
    pub policy_text: String,
    /// Folder against which files named in the policy are found.
    pub base: PathBuf,
    /// Interfaces named by the caller (`-i`); empty: those that the policy names.
    pub interfaces: Vec<String>,
    /// Attach mode given by the caller; `None`: the policy's.
    pub mode: Option<Mode>,
    /// Take over from another XDP program (never by default).
    pub replace: bool,
}

/// What [`Request`] led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation in force.
    pub generation: u64,
    /// False: policy and interfaces were already so, and nothing was touched.
    pub changed: bool,
    /// Interfaces, with the mode in force.
    pub interfaces: Vec<InterfaceRecord>,
    /// Things to tell the user, one sentence each.
    pub warnings: Vec<String>,
    /// Seconds from request to enforcement.
    pub seconds: f64,
}

/// Why a request failed. Nothing was changed in the kernel when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The policy is not valid (exit code 3).
    #[error("the policy is not valid")]
    Policy(Diagnostics),
    /// A file cannot be read (exit code 3).
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// No such interface, or no pattern matches one (exit code 3).
    #[error("{0}")]
    Interface(String),
    /// The kernel layer failed; its variants carry their exit codes.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
