//! The data types between the kernel layer and everything above it: requests, results, records,
//! observations, counters, errors.
//!
//! Plain data. `Record` is the policy as applied, `Observed` the state of the kernel; where they
//! differ, `Observed::warnings` says so.

use super::guard::Guard;
use crate::kernel::KernelError;
use crate::kernel::clock;
use crate::kernel::flows::Losses;
use firewall_api::clock::unix_time;
use firewall_api::session::Asker;
use firewall_api::source::NamedFile;
use firewall_common::abi::Counter;
use firewall_policy::compile::LimitError;
use firewall_policy::diag::Diagnostics;
use firewall_policy::policy_tests::PolicyTest;
use firewall_policy::rule::{Interface, Mode, Policy, SetSize};
use firewall_policy::tables::Tables;
use firewall_system::set_files::Kept;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use firewall_api::report::{Applied, InterfaceRecord};

/// How far the clock may be set before rules that expire are told. Time servers slew what is less.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

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
    /// SHA-256 of the policy text and of every file that it names: one hash for one meaning. Hex.
    #[serde(default)]
    pub content_sha256: String,
    /// SHA-256 of all that decides what this generation does: the policy, every file that it names
    /// and the kernel program. Hex.
    #[serde(default)]
    pub fingerprint: String,
    /// The network namespace that the interfaces belong to: its inode number.
    #[serde(default)]
    pub namespace: u64,
    /// Seconds since the Unix epoch.
    pub applied: f64,
    /// Folder against which files named in the policy are found.
    #[serde(default)]
    pub base: PathBuf,
    /// The files that the policy names, as they were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<NamedFile>,
    /// Whether the policy came with a request: `base` and the paths of files are labels then, and
    /// nothing opens them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent: bool,
    /// If some rule expires: nanoseconds that the program's clock, the monotonic one, is behind the
    /// time since the Unix epoch, as it was when the generation was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// `pass` or `drop`.
    pub default: String,
    /// Counter slot in `fw_rules` of what no rule matched and the default did not log, if it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_unlogged: Option<u32>,
    /// `mode: audit`: nothing is dropped.
    #[serde(default)]
    pub audit: bool,
    /// In that mode, the reasons for which packets would be dropped.
    #[serde(default)]
    pub would_drop: Vec<String>,
    /// Whether the program takes frames in several buffers.
    #[serde(default)]
    pub frags: bool,
    /// Whether it keeps track of connections. (Its table of flows can be there for less.)
    #[serde(default)]
    pub tracks: bool,
    /// Whether rules match `vlan`, so that no driver may take tags off.
    #[serde(default)]
    pub matches_vlan: bool,
    /// Bytes of the classifier tables.
    pub table_bytes: u64,
    /// Rules in policy order.
    pub rules: Vec<RuleRecord>,
    /// Live sets, in the order of their bits.
    #[serde(default)]
    pub live: Vec<LiveRecord>,
    /// If the policy sends answers: which frames are sent to this host, as the program looks them up
    /// ([`firewall_common::abi::station`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stations: Option<Vec<u64>>,
    /// If the policy has what leaves taken note of: which interfaces lie over the filtered ones
    /// ([`firewall_common::abi::upper`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uppers: Option<Vec<u64>>,
    /// Prefix lengths that rules ban by: of IPv4, and of IPv6. No such prefix is banned that holds an
    /// address which this host needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ban_lengths: Vec<(u32, u32)>,
    /// By which words they are chosen.
    #[serde(default)]
    pub selectors: Selectors,
    /// Folder of what outlives the machine's next start, such as the copy of bans.
    #[serde(default, skip_serializing_if = "is_nowhere")]
    pub state: PathBuf,
    /// Filtered interfaces.
    pub interfaces: Vec<InterfaceRecord>,
}

fn is_nowhere(folder: &Path) -> bool {
    folder.as_os_str().is_empty()
}

/// By which words interfaces are chosen: whatever comes and matches them is filtered, too.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Selectors {
    /// Names and patterns that a caller has named; none: those of the policy's entries.
    pub named: Vec<String>,
    /// The policy's entries, for mode and zone.
    pub entries: Vec<Interface>,
    /// Names of zones, by number.
    pub zones: Vec<String>,
    /// The mode that a caller has named.
    pub mode: Option<Mode>,
    /// Interfaces from which the filter was taken off since, by name: they stay so.
    pub taken_off: Vec<String>,
}

/// One rule of a [`Record`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Unique name.
    pub name: String,
    /// Counter slot in `fw_rules`.
    pub slot: u32,
    /// `pass`, `drop`, `reject` or `next`.
    pub action: String,
    /// What the rule would do, if it is in audit mode: its action is `next` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it stops matching: seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The match in one line.
    pub summary: String,
    /// `file:line`.
    pub place: String,
    /// False for `enabled: false`.
    pub enabled: bool,
    /// Counter slot in `fw_rules` of what is over the rule's rate limit, if it has one.
    #[serde(default)]
    pub over: Option<u32>,
    /// Counter slot in `fw_rules` of what the rule matched and did not log, if it has a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlogged: Option<u32>,
    /// Whether it was added while the policy was in force, and stands in none of its files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
}

impl Record {
    /// Whether the machine's clock has been set, or the machine has slept, since the generation was
    /// made, so that its rules no longer expire at their time. Exact to [`CLOCK_TOLERANCE`]. Never, if
    /// no rule expires.
    #[must_use]
    pub fn clock_has_moved(&self) -> bool {
        let tolerance = CLOCK_TOLERANCE.as_nanos() as u64;
        self.clock
            .is_some_and(|clock| clock::offset().abs_diff(clock) > tolerance)
    }

    /// Names of the runtime rules that have not expired.
    pub(crate) fn runtime_rules(&self) -> Vec<&str> {
        let now = unix_time().as_secs();
        let lasts = |rule: &&RuleRecord| rule.expires.is_none_or(|end| end > now);
        let rules = self.rules.iter().filter(|rule| rule.runtime).filter(lasts);
        rules.map(|rule| rule.name.as_str()).collect()
    }

    /// Name and slot of everything that has a rule counter: see
    /// [`firewall_policy::rule::Policy::counters`].
    pub(crate) fn counters(&self) -> Vec<(String, u32)> {
        let rules = self.rules.iter().map(|rule| (rule.name.clone(), rule.slot));
        let over = self
            .rules
            .iter()
            .filter_map(|rule| Some((format!("{}/over", rule.name), rule.over?)));
        rules.chain(over).chain(self.unlogged()).collect()
    }

    /// Name and slot of what logs leave out: those of the rules, and that of the default.
    pub(crate) fn unlogged(&self) -> impl Iterator<Item = (String, u32)> {
        let rules = self.rules.iter();
        let rules = rules.filter_map(|rule| Some((rule.name.as_str(), rule.unlogged?)));
        let default = self.default_unlogged.map(|slot| ("", slot));
        rules
            .chain(default)
            .map(|(name, slot)| (format!("{name}/unlogged"), slot))
    }
}

/// One live set of a [`Record`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LiveRecord {
    /// Its name.
    pub name: String,
    /// Its number in the table of live sets.
    pub id: u32,
    /// Entries that it may have at most.
    pub max: u64,
    /// Seconds that an entry stays which is added without a time.
    pub timeout: Option<u64>,
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
    /// Whether everything is there that the generation needs. What is not, the daemon puts back.
    pub is_whole: bool,
    /// Why the policy is to be applied once more as it is, if it is.
    pub renewal: Option<&'static str>,
    /// What tells this generation, and this version of its record, from all others since the machine
    /// has started.
    pub identity: Identity,
}

/// Which generation it is, by more than a number.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Identity {
    /// Ids of its XDP programs.
    pub programs: Vec<u32>,
    /// Another one after each time that its record was written.
    pub record: u64,
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
    /// What the filter does not see there, or sees twice: a sentence each.
    pub limits: Vec<String>,
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
    /// What did not fit into the table of flows, of TCP and of all else, where there is one.
    pub losses: Option<[Losses; 2]>,
}

/// What to put in force.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The policy file; `policy_text` is what it held.
    pub policy_path: String,
    /// The policy text.
    pub policy_text: String,
    /// Folder against which files named in the policy are found.
    pub base: PathBuf,
    /// Where they are kept, or come from in the place of that folder.
    pub kept: Option<Kept>,
    /// Interfaces named by the caller (`-i`); empty: those that the policy names.
    pub interfaces: Vec<String>,
    /// Attach mode given by the caller; `None`: the policy's.
    pub mode: Option<Mode>,
    /// Take over from another XDP program (never by default).
    pub replace: bool,
    /// What becomes of names that are not there.
    pub scope: Scope,
    /// The generation that it was made of: where another one is in force, or none, nothing is changed.
    pub of: Option<u64>,
    /// What it must not cut off.
    pub guard: Guard,
    /// Whether it changes rules of what is in force, as a command does: what that does to packets is said,
    /// and a test of the policy that fails then is told.
    pub is_change: bool,
    /// Who wants it, and why: for the history.
    pub origin: Origin,
}

/// Why a generation comes into force.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The verb.
    pub verb: &'static str,
    /// Who has asked.
    pub asker: Asker,
    /// Why, in the words of whoever has asked.
    pub why: Option<String>,
    /// The former generation whose policy it is.
    pub restores: Option<u64>,
    /// Whether it stays.
    pub stage: Stage,
}

/// Whether a generation stays, and what becomes of one that waits to be confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stage {
    /// It stays. Refused while another one waits.
    #[default]
    Stays,
    /// As [`Stage::Stays`], where nobody has asked for it just now: refused, too, if it was put in force
    /// before and not confirmed.
    Start,
    /// It goes by itself unless it is confirmed within so many seconds. Refused while another one waits.
    Tried(u64),
    /// What is in force once more: what waits goes on waiting.
    Upkeep,
    /// It takes the place of what waits.
    Back,
}

impl Request {
    /// Whether its policy came from somebody whose paths are labels.
    pub(super) fn is_sent(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.named.is_some())
    }
}

/// Which interfaces a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Those that are named, which must be there.
    #[default]
    Present,
    /// Those that are named: what is not there is waited for, as long as something is.
    Waiting,
    /// Those that are filtered, and all that match the words by which they were chosen.
    Again,
}

/// A policy that was read and compiled, attached to nothing.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Its tables; rule `i` counts in slot `i`.
    pub tables: Tables,
    /// Its tests, all of which hold on the host build.
    pub tests: Vec<PolicyTest>,
    /// Warnings about the policy.
    pub warnings: Diagnostics,
    /// As [`Record::fingerprint`].
    pub fingerprint: String,
    /// The files that it names.
    pub files: Vec<NamedFile>,
    /// How large its sets are.
    pub sets: Vec<SetSize>,
}

/// Why a request failed. Nothing was changed in the kernel when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The policy is not valid (exit code 3).
    #[error("the policy is not valid")]
    Policy(Diagnostics),
    /// The tests of the policy hold on the host build and fail on the loaded candidate (exit code
    /// 7): the program does not do what it is tested to do.
    #[error("the loaded candidate fails tests of the policy")]
    Candidate(Diagnostics),
    /// A file cannot be read (exit code 3).
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The change would do harm (exit code 7).
    #[error("{message}")]
    Refused {
        /// What would happen.
        message: String,
        /// What to do instead.
        help: Cow<'static, str>,
    },
    /// What the request was made of is no longer in force.
    #[error("the policy changed in the meantime")]
    ChangedMeanwhile,
    /// It was in force before and was not confirmed, and nobody asks for it now (exit code 7).
    #[error("{policy} was in force as generation {generation} and was not confirmed")]
    Unconfirmed {
        /// The policy as it is named.
        policy: String,
        /// As which generation.
        generation: u64,
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
            Self::Candidate(_) | Self::Refused { .. } | Self::Unconfirmed { .. } => 7,
            Self::ChangedMeanwhile => 1,
            Self::Policy(_) | Self::File { .. } | Self::Interface(_) | Self::Limit(_) => 3,
            Self::Kernel(error) => error.exit_code(),
        }
    }
}
