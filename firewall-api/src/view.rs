//! `Snapshot`: the state of the firewall at one moment, as plain data. Built in one place (the engine's
//! sampler), read by everything that displays it: the API, `status`, `stats`, `top`, JSON.
//!
//! Field names are the JSON schema `firewall/v1`: append, never rename.

use firewall_common::verdict::Verdict;
use firewall_policy::rule::Mode;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Name of this version of the JSON.
pub const SCHEMA: &str = "firewall/v1";

/// How many one-second samples a history holds.
pub const HISTORY: usize = 60;

/// Packets and bytes since the counters were made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of frames, Ethernet header included.
    pub bytes: u64,
}

/// Packets and bits in a second, over the last sampling interval.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Packets a second.
    pub pps: f64,
    /// Bits a second.
    pub bps: f64,
}

/// A total and its rate, passed or dropped.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Since the counters were made.
    pub total: Count,
    /// Over the last interval.
    pub rate: Rate,
}

/// Everything that a reader can show.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch when the counters were read.
    pub time: f64,
    /// Seconds between the two samples behind the rates; 0 when there is one sample only, and all
    /// rates are 0 then.
    pub interval: f64,
    /// Whether something enforces, and what.
    pub status: Status,
    /// Sum over interfaces.
    pub pass: Traffic,
    /// Sum over interfaces.
    pub drop: Traffic,
    /// Ports that counted at least one packet, busiest first.
    pub ports: Vec<PortView>,
    /// Sum over the ports that counted packets and are not in `ports`.
    #[serde(default)]
    pub other_ports: OtherPorts,
    /// Rules in policy order.
    pub rules: Vec<RuleView>,
    /// Reasons that counted at least one packet, busiest first.
    pub reasons: Vec<ReasonView>,
    /// What did not fit into the table of flows, where the policy looks at state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowLosses>,
}

/// What did not fit into the table of flows, since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct FlowLosses {
    /// The half for TCP.
    pub tcp: HalfLosses,
    /// The half for all else.
    pub other: HalfLosses,
    /// Whether new flows found no room within the last minute, as far as somebody has looked.
    pub growing: bool,
}

/// What did not fit into one half of the table of flows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HalfLosses {
    /// New flows that found no room.
    pub full: u64,
    /// Settled flows that gave way to new ones.
    pub evicted: u64,
}

/// The `status` verb's facts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program that answers.
    pub version: String,
    /// Daemon process id; `None` when the facts come from the pinned maps alone.
    pub daemon_pid: Option<u32>,
    /// Seconds that the daemon has run.
    pub daemon_uptime: Option<f64>,
    /// `None` when no policy is loaded.
    pub generation: Option<GenerationView>,
    /// Interfaces with our program attached.
    pub interfaces: Vec<InterfaceView>,
    /// Outcome of the last `apply` or reload that the daemon saw fail, in one line.
    pub last_error: Option<String>,
    /// Things that want attention, one sentence each.
    pub warnings: Vec<String>,
    /// Where the policy's files no longer say what is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Whether the policy in force waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// A policy in force that goes by itself unless it is confirmed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The generation as which it was put in force.
    pub generation: u64,
    /// The confirmed generation whose policy comes back.
    pub back: u64,
    /// Seconds that there were to confirm it.
    pub seconds: u64,
    /// Seconds that are left.
    pub left: f64,
}

/// A file that says something else than what is in force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Drift {
    /// Which, in a sentence.
    pub what: String,
    /// Since when, in seconds of the Unix epoch, where that is known.
    pub since: Option<f64>,
    /// What a reload or restart would do.
    pub restart: String,
}

/// The generation that enforces.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GenerationView {
    /// Counts up with each applied change.
    pub number: u64,
    /// Policy file as it was named.
    pub policy: String,
    /// SHA-256 of the policy text and of every file that it names, hex: two policies have the same one
    /// only if they say the same.
    #[serde(default)]
    pub content_sha256: String,
    /// SHA-256 of the policy text alone, hex.
    pub sha256: String,
    /// Seconds since the Unix epoch when it was applied.
    pub applied: f64,
    /// Rules that match (not disabled).
    pub rules: usize,
    /// How many of the rules are runtime rules: see [`RuleView::runtime`].
    #[serde(default)]
    pub runtime: usize,
    /// Verdict for what no rule matches.
    pub default: String,
    /// `mode: audit`: nothing is dropped, what would be is counted.
    #[serde(default)]
    pub audit: bool,
    /// Bytes of the classifier tables.
    pub table_bytes: u64,
}

/// One interface.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// Kernel index.
    pub ifindex: u32,
    /// The mode in force: native or generic.
    pub mode: Mode,
    /// Why generic mode was taken, where native was tried and failed.
    pub fallback: Option<String>,
    /// What the filter does not see there, or sees twice: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Id of the pinned BPF link.
    pub link_id: u32,
    /// Id of the attached program.
    pub program_id: u32,
    /// Zone, empty for none.
    pub zone: String,
    /// Passed.
    pub pass: Traffic,
    /// Dropped.
    pub drop: Traffic,
}

/// One destination port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortView {
    /// `tcp` or `udp`.
    pub proto: String,
    /// Destination port.
    pub port: u16,
    /// Well-known service name.
    pub service: Option<String>,
    /// Passed.
    pub pass: Traffic,
    /// Dropped.
    pub drop: Traffic,
    /// Packets a second (passed and dropped), oldest first, at most [`HISTORY`] of them.
    pub history: Vec<u64>,
}

/// Ports left out of a snapshot, because its reader asked for the busiest only.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct OtherPorts {
    /// How many.
    pub count: usize,
    /// Passed.
    pub pass: Traffic,
    /// Dropped.
    pub drop: Traffic,
}

/// One rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleView {
    /// Position in the policy, from 1.
    pub number: usize,
    /// Name.
    pub name: String,
    /// `pass`, `drop`, `reject` or `next`.
    pub action: String,
    /// What it would do, if the rule is in audit mode: its action is `next` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When its counter was last seen to move, in seconds since the Unix epoch: exact to the interval of
    /// whoever reads counters. Unknown before, and without a daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<f64>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it stops matching: seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Whether it was added while the policy was in force, and stands in none of its files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
    /// Whether that moment has come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// What it matches, in one line.
    pub summary: String,
    /// File and line, `rules/web.yaml:12`.
    pub place: String,
    /// False for `enabled: false`.
    pub enabled: bool,
    /// Matched packets; of a rule with a rate limit, those within it.
    pub hits: Traffic,
    /// Packets over the rule's rate limit, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Traffic>,
    /// Packets a second, oldest first, at most [`HISTORY`] of them.
    pub history: Vec<u64>,
}

/// One reason.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReasonView {
    /// Name, see `get reasons`.
    pub name: String,
    /// `pass` or `drop`.
    pub verdict: String,
    /// Whether the packets passed because of `mode: audit` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub would_drop: bool,
    /// Counted packets.
    pub hits: Traffic,
    /// Packets a second, oldest first, at most [`HISTORY`] of them.
    pub history: Vec<u64>,
}

impl RuleView {
    /// The action in words: `drop`, `expired` of a rule whose time has come, or `audit drop` of a rule that only counts what it would drop.
    #[must_use]
    pub fn does(&self) -> Cow<'_, str> {
        match &self.audit {
            _ if self.expired => Cow::Borrowed("expired"),
            Some(action) => Cow::Owned(format!("audit {action}")),
            None => Cow::Borrowed(&self.action),
        }
    }
}

impl ReasonView {
    /// Whether the packets were dropped.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        self.verdict == Verdict::DROP.name()
    }
}
