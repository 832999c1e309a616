//! The documents of the reading verbs, as plain data made from a [`Snapshot`].
//!
//! One document for the API, for `-o json` and for the tables, so they cannot disagree.

use crate::effect::Effect;
use crate::source::{NamedFile, PolicySource};
use crate::view::{Count, GenerationView, Pending, RuleView, SCHEMA, Snapshot, Status, Traffic};
use firewall_common::reason::{Governs, Reason};
use firewall_common::verdict::Verdict;
use firewall_policy::rule::Mode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How many reasons for dropping a status names.
const TOP_DROPS: usize = 4;

/// Whether the host is filtered as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A policy is in force on at least one interface.
    Active,
    /// A policy is in force, and it is not what was last asked for: a change was refused, or an
    /// interface is not filtered by it.
    Degraded,
    /// Nothing is filtered.
    Off,
}

/// `GET /v1/status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// See [`Snapshot::interval`].
    pub interval: f64,
    /// Whether the host is filtered as asked.
    pub state: State,
    /// The facts.
    #[serde(flatten)]
    pub status: Status,
    /// Sum over interfaces.
    pub pass: Traffic,
    /// Sum over interfaces.
    pub drop: Traffic,
    /// What drops most: names of rules and reasons, busiest first, at most four.
    pub top_drops: Vec<Hits>,
    /// The table of flows, where the policy looks at state and the asker may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowsUse>,
    /// Whether new flows found no room in it within the last minute.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flow_full_grows: bool,
}

/// How full the table of flows is.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct FlowsUse {
    /// Flows that have not expired.
    pub count: usize,
    /// How many there is room for: never fewer than there are.
    pub capacity: usize,
    /// Bytes of its memory.
    #[serde(default)]
    pub bytes: u64,
    /// The half for TCP.
    #[serde(default)]
    pub tcp: HalfUse,
    /// The half for all else.
    #[serde(default)]
    pub other: HalfUse,
    /// What wants attention, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How full one half of the table of flows is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HalfUse {
    /// Flows that have not expired.
    pub count: usize,
    /// How many there is room for: never fewer than there are.
    pub capacity: usize,
    /// New flows that found no room, since the table was made.
    pub full: u64,
    /// Settled flows that gave way to new ones, since then.
    pub evicted: u64,
}

/// Percent of one half of the table of flows from which on it wants attention.
const FLOWS_HIGH: usize = 80;

impl StatusReport {
    /// Adds what is known of the table of flows. One that is nearly full, or has no room for some,
    /// is not what was asked for.
    pub fn add_flows(&mut self, mut flows: FlowsUse) {
        for (half, name) in [(&flows.tcp, "TCP"), (&flows.other, "all but TCP")] {
            let percent = half.count * 100 / half.capacity.max(1);
            if percent >= FLOWS_HIGH {
                flows.warnings.push(format!(
                    "the flow table is {percent} % full for {name}; to enlarge it: \
                     `state: {{flows: N}}` in the policy"
                ));
            }
        }
        if self.flow_full_grows {
            flows.warnings.push(
                "the flow table is full (flow-full): answers to new flows may be dropped; to \
                 enlarge it: `state: {flows: N}` in the policy"
                    .to_owned(),
            );
        }
        if self.state == State::Active && !flows.warnings.is_empty() {
            self.state = State::Degraded;
        }
        self.flows = Some(flows);
    }
}

/// A name and what it counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hits {
    /// Rule or reason.
    pub name: String,
    /// Counted packets.
    pub hits: Traffic,
}

impl StatusReport {
    /// The status part of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let status = &snapshot.status;
        let state = match () {
            () if status.generation.is_none() || status.interfaces.is_empty() => State::Off,
            () if status.last_error.is_some() || !status.warnings.is_empty() => State::Degraded,
            () => State::Active,
        };
        Self {
            schema: SCHEMA.to_owned(),
            time: snapshot.time,
            interval: snapshot.interval,
            state,
            status: status.clone(),
            pass: snapshot.pass,
            drop: snapshot.drop,
            top_drops: top_drops(snapshot),
            flows: None,
            flow_full_grows: snapshot.flows.is_some_and(|flows| flows.growing),
        }
    }
}

/// Reasons by their names, and in the place of "a rule matched" the rules. In audit mode, what would
/// drop most.
fn top_drops(snapshot: &Snapshot) -> Vec<Hits> {
    let generation = snapshot.status.generation.as_ref();
    let audit = generation.is_some_and(|generation| generation.audit);
    let rules = snapshot
        .rules
        .iter()
        .filter(|rule| rule.action == Verdict::DROP.name())
        .map(|rule| Hits {
            name: rule.name.clone(),
            hits: rule.hits,
        });
    let reasons = snapshot
        .reasons
        .iter()
        .filter(|reason| {
            (reason.is_drop() && !audit || reason.would_drop) && reason.name != Reason::RULE.name()
        })
        .map(|reason| Hits {
            name: reason.name.clone(),
            hits: reason.hits,
        });
    let mut drops: Vec<Hits> = rules
        .chain(reasons)
        .filter(|drop| drop.hits.total.packets > 0)
        .collect();
    drops.sort_by(|a, b| {
        let by_rate = b.hits.rate.pps.total_cmp(&a.hits.rate.pps);
        by_rate.then(b.hits.total.packets.cmp(&a.hits.total.packets))
    });
    drops.truncate(TOP_DROPS);
    drops
}

/// `GET /v1/rules`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RulesReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// See [`Snapshot::interval`].
    pub interval: f64,
    /// The generation whose rules these are.
    pub generation: Option<GenerationView>,
    /// In policy order.
    pub rules: Vec<RuleView>,
}

impl RulesReport {
    /// The rules of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            time: snapshot.time,
            interval: snapshot.interval,
            generation: snapshot.status.generation.clone(),
            rules: snapshot.rules.clone(),
        }
    }
}

/// `GET /v1/reasons`: the whole catalogue.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReasonsReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// In code order.
    pub reasons: Vec<ReasonEntry>,
}

/// One reason, counted or not.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReasonEntry {
    /// Name.
    pub name: String,
    /// The part of the policy that decides: `rules`, `packet.malformed`.
    pub governed_by: String,
    /// One line of documentation.
    pub text: String,
    /// Packets passed for this reason.
    pub pass: Count,
    /// Packets dropped for this reason.
    pub drop: Count,
    /// Whether those that passed did so because of `mode: audit` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub would_drop: bool,
}

impl ReasonsReport {
    /// Every reason, with a snapshot's counts.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let count = |name: &str, dropped: bool| {
            let found = snapshot
                .reasons
                .iter()
                .find(|r| r.name == name && r.is_drop() == dropped);
            found.map_or(Count::default(), |reason| reason.hits.total)
        };
        let entries = Reason::ALL.iter().map(|reason| ReasonEntry {
            name: reason.name().to_owned(),
            governed_by: governed_by(*reason).to_owned(),
            text: reason.text().to_owned(),
            pass: count(reason.name(), false),
            drop: count(reason.name(), true),
            would_drop: snapshot
                .reasons
                .iter()
                .any(|view| view.would_drop && view.name == reason.name()),
        });
        Self {
            schema: SCHEMA.to_owned(),
            time: snapshot.time,
            reasons: entries.collect(),
        }
    }
}

/// The key of the policy that decides about packets with this reason.
#[must_use]
pub fn governed_by(reason: Reason) -> &'static str {
    match reason.governed_by() {
        // Before the rules.
        Governs::Rules if reason == Reason::BANNED => "bans",
        Governs::Rules => "rules, default",
        Governs::Essential => "default.essential",
        Governs::Malformed => "packet.malformed",
        Governs::Fragments => "packet.fragments",
        Governs::IpOptions => "packet.ip_options",
        Governs::VlanDepth => "packet.vlan_depth",
        Governs::ExtMax => "packet.ipv6_ext_max",
        Governs::Nothing => "nothing: always dropped",
    }
}

/// `GET /v1/policy`: what is in force, as it was written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolicyReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Counts up with each applied change.
    pub generation: u64,
    /// The file as it was named.
    pub policy: String,
    /// SHA-256 of `text` and of every file that it names, hex.
    #[serde(default)]
    pub content_sha256: String,
    /// SHA-256 of `text`, hex.
    pub sha256: String,
    /// The policy text.
    pub text: String,
    /// SHA-256 of the text, the files that it names and the kernel program, hex.
    #[serde(default)]
    pub fingerprint: String,
    /// Folder against which files named in the policy are found.
    #[serde(default)]
    pub base: PathBuf,
    /// The files that it names, as they were read.
    #[serde(default)]
    pub files: Vec<NamedFile>,
    /// The file or directory that the daemon reads at its start and at a reload; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reloads: Option<String>,
}

impl PolicyReport {
    /// The policy as a request carries it, with the files as they were read.
    #[must_use]
    pub fn source(&self) -> PolicySource {
        PolicySource {
            path: self.policy.clone(),
            text: self.text.clone(),
            base: self.base.clone(),
            files: self.files.clone(),
        }
    }
}

/// `unload -o json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnloadReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Interfaces that are no longer filtered.
    pub unloaded: Vec<String>,
    /// The generation in force before; none if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Things to tell the user, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What applying a policy led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation in force.
    pub generation: u64,
    /// The one before; none if nothing was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// False: policy and interfaces were already so, and nothing was touched.
    pub changed: bool,
    /// Interfaces, with the mode in force.
    pub interfaces: Vec<InterfaceRecord>,
    /// Things to tell the user, one sentence each.
    pub warnings: Vec<String>,
    /// Seconds from request to enforcement.
    pub seconds: f64,
    /// What it does to packets, if it was a change of the rules in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// An interface as it was put on record when a policy was applied to it.
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

/// Answer to `POST /v1/apply` and `/v1/reload`, and what `load` says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ApplyReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// The file as it was named.
    pub policy: String,
    /// What came of it.
    #[serde(flatten)]
    pub applied: Applied,
    /// If it waits to be confirmed: for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// If it is the policy of a former generation: of which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
}

impl ApplyReport {
    /// What came of applying `policy`.
    #[must_use]
    pub fn new(policy: &str, applied: Applied) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            policy: policy.to_owned(),
            applied,
            pending: None,
            restores: None,
        }
    }
}
