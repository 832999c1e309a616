//! What one policy does otherwise than another one, as a document: the sets of packets that newly pass, or
//! are newly dropped.

use crate::source::PolicySource;
use crate::view::SCHEMA;
use firewall_common::verdict::Verdict;
use firewall_policy::diff::{Decided, Difference, Region};
use firewall_policy::rule::Policy;
use serde::{Deserialize, Serialize};

/// Sets of packets that are listed if nobody asks for all.
pub const SHOWN: usize = 20;

/// Body of `POST /v1/compare`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// The policy before.
    pub old: Side,
    /// The policy after.
    pub new: Side,
    /// List every set of packets, not the first few.
    #[serde(default)]
    pub all: bool,
}

/// A policy to compare.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The one in force.
    InForce,
    /// That of a generation of the history.
    Generation(u64),
    /// One that the request brings.
    Policy(PolicySource),
}

impl Side {
    /// The policy that it brings.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicySource> {
        match self {
            Self::Policy(policy) => Some(policy),
            Self::InForce | Self::Generation(_) => None,
        }
    }
}

/// What becomes different.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// [`SCHEMA`].
    pub schema: String,
    /// Nothing does.
    pub equal: bool,
    /// False if the search was given up: there may be more.
    pub complete: bool,
    /// Settings outside of the rules.
    pub settings: Vec<String>,
    /// Sets of packets with another verdict.
    pub regions: Vec<RegionView>,
    /// How many more there are.
    pub more: usize,
    /// How many newly pass.
    pub newly_pass: usize,
    /// How many are newly dropped.
    pub newly_drop: usize,
}

/// Packets with another verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionView {
    /// `newly-passes` or `newly-drops`.
    pub change: String,
    /// In words.
    pub packets: String,
    /// One of them, for `test`.
    pub example: String,
    /// Who decided before.
    pub was: By,
    /// Who decides now.
    pub becomes: By,
}

/// Who decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct By {
    /// `pass` or `drop`.
    pub verdict: String,
    /// The rule; none: the default.
    pub rule: Option<String>,
    /// Where it stands.
    pub place: Option<String>,
}

impl By {
    fn of(decided: &Decided, policy: &Policy) -> Self {
        let rule = decided.rule.map(|rule| &policy.rules[rule]);
        Self {
            verdict: decided.verdict.name().to_owned(),
            rule: rule.map(|rule| rule.name.clone()),
            place: rule.map(|rule| format!("{}:{}", rule.place.file, rule.place.line)),
        }
    }

    /// `rule web (old.yaml:4)`.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.rule, &self.place) {
            (Some(rule), Some(place)) => format!("rule {rule} ({place})"),
            _ => "the default".to_owned(),
        }
    }
}

impl RegionView {
    /// See [`RegionView::change`].
    pub const PASSES: &str = "newly-passes";
    /// See [`RegionView::change`].
    pub const DROPS: &str = "newly-drops";

    /// Whether they pass now.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.change == Self::PASSES
    }
}

impl Compared {
    /// The difference from `old` to `new`; all of its sets of packets, or the first [`SHOWN`].
    #[must_use]
    pub fn of(difference: &Difference, old: &Policy, new: &Policy, all: bool) -> Self {
        let most = if all { usize::MAX } else { SHOWN };
        let passes = |region: &Region| region.becomes.verdict == Verdict::PASS;
        let view = |region: &Region| RegionView {
            change: match passes(region) {
                true => RegionView::PASSES,
                false => RegionView::DROPS,
            }
            .to_owned(),
            packets: region.packets.clone(),
            example: region.example.to_string(),
            was: By::of(&region.was, old),
            becomes: By::of(&region.becomes, new),
        };
        let regions = &difference.regions;
        let passing = regions.iter().filter(|region| passes(region)).count();
        // Packets that no rule decides are one more set.
        let default = (old.default_verdict != new.default_verdict).then_some(new.default_verdict);
        let by_default = |verdict| usize::from(default == Some(verdict));
        Self {
            schema: SCHEMA.to_owned(),
            equal: difference.is_empty(),
            complete: difference.complete,
            settings: difference.settings.clone(),
            regions: regions.iter().take(most).map(view).collect(),
            more: regions.len().saturating_sub(most),
            newly_pass: passing + by_default(Verdict::PASS),
            newly_drop: regions.len() - passing + by_default(Verdict::DROP),
        }
    }
}
