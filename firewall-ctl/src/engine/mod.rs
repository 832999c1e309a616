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
use firewall_policy::compile::LimitError;
use firewall_policy::diag::Diagnostics;
use firewall_policy::rule::{Mode, Policy};
use firewall_policy::tables::Tables;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where the pins are, unless the caller says otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/firewall";

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

/// A policy that was read and compiled, attached to nothing.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Its tables; rule `i` counts in slot `i`.
    pub tables: Tables,
    /// Warnings about the policy.
    pub warnings: Diagnostics,
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
    /// The policy is larger than the tables can hold (exit code 3).
    #[error("the policy is too large: {0}")]
    Limit(#[from] LimitError),
    /// The kernel layer failed; its variants carry their exit codes.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl EngineError {
    /// The exit code of a command that fails with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Policy(_) | Self::File { .. } | Self::Interface(_) | Self::Limit(_) => 3,
            Self::Kernel(error) => error.exit_code(),
        }
    }
}

/// Applies policies under one folder of pins, and reads what the kernel counts.
#[derive(Debug)]
pub struct Engine {
    root: PathBuf,
}

impl Engine {
    /// An engine for the pins under `root` (see [`DEFAULT_ROOT`]). Does nothing to the kernel.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder of pins.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads and compiles a policy. Needs no privilege and no kernel; set files are read relative
    /// to `request.base`.
    ///
    /// # Errors
    /// Everything that is wrong with the policy, or the limit that it exceeds.
    pub fn compile(&self, request: &Request) -> Result<Compiled, EngineError> {
        let _ = request;
        Err(KernelError::Stub.into())
    }

    /// Puts a policy in force. Idempotent: the same policy on the same interfaces changes nothing.
    ///
    /// The interfaces are those that `request.interfaces` names in addition to those that are
    /// filtered already; if it names none, exactly those that the policy names; if that names none
    /// either, those that are filtered already.
    ///
    /// # Errors
    /// Whatever went wrong; the generation before is in force then, on every interface.
    pub fn apply(&mut self, request: &Request) -> Result<Applied, EngineError> {
        let _ = request;
        Err(KernelError::Stub.into())
    }

    /// What the kernel runs now; `None` when nothing is loaded.
    ///
    /// # Errors
    /// Pins that cannot be read or understood.
    pub fn observe(&self) -> Result<Option<Observed>, EngineError> {
        Err(KernelError::Stub.into())
    }

    /// All counters now. For sampling, keep a [`CounterReader`].
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn counters(&self) -> Result<Counters, EngineError> {
        Ok(self.reader()?.read())
    }

    /// Opens the counters of the generation in force for sampling.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn reader(&self) -> Result<CounterReader, EngineError> {
        Err(KernelError::Stub.into())
    }

    /// Takes the filter off the named interfaces (`None`: off all of them), and with the last one
    /// removes every map, pin and folder. Returns the names of the interfaces it was taken off.
    ///
    /// # Errors
    /// A name that is not filtered, or the system's refusal.
    pub fn unload(&mut self, interfaces: Option<&[String]>) -> Result<Vec<String>, EngineError> {
        let _ = interfaces;
        Err(KernelError::Stub.into())
    }
}

/// The counters of one generation, memory-mapped: reading costs no system call. Open a new one
/// when the generation changes.
#[derive(Debug)]
pub struct CounterReader {
    generation: u64,
}

impl CounterReader {
    /// The generation whose counters these are.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All counters now.
    #[must_use]
    pub fn read(&self) -> Counters {
        Counters {
            monotonic: 0.0,
            reasons: Vec::new(),
            ports: Vec::new(),
            rules: Vec::new(),
        }
    }
}
