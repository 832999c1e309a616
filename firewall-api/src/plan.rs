//! What applying a policy would do, as a document: the rules that come, change and go, the packets that
//! newly pass or are newly dropped, and what becomes of the session that asks and of what listens.

use crate::compared::Compared;
use crate::session::Session;
use crate::source::PolicySource;
use crate::view::Count;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/plan`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The policy that would be applied.
    pub policy: PolicySource,
    /// The session that is not to be cut off by it.
    #[serde(default)]
    pub session: Session,
    /// List every set of packets, not the first few.
    #[serde(default)]
    pub all: bool,
}

/// What applying a policy would do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlanReport {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// The policy as it was named.
    pub policy: String,
    /// The generation in force; none if nothing is, and all packets pass.
    pub in_force: Option<u64>,
    /// Whether it would change nothing.
    pub equal: bool,
    /// The default's verdict, if that would change.
    pub default: Option<Change>,
    /// Rules that would come, change, move or go.
    pub rules: Vec<RulePlan>,
    /// What it would do to packets.
    pub packets: Compared,
    /// What would become of the session that asks, if it comes over SSH.
    pub session: Option<SessionPlan>,
    /// What listens on this host, and who would reach it.
    pub services: Vec<ServicePlan>,
    /// How many rules would come.
    pub add: usize,
    /// How many would change, the default among them.
    pub change: usize,
    /// How many would go.
    pub remove: usize,
    /// What `apply` would say, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What something is, and what it would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Now.
    pub was: String,
    /// Then.
    pub becomes: String,
}

/// What would become of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It comes.
    Add,
    /// It says something else.
    Change,
    /// It says the same and stands elsewhere among the others.
    Move,
    /// It goes.
    Remove,
}

/// A rule that would not stay as it is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RulePlan {
    /// What would become of it.
    pub fate: Fate,
    /// Its name.
    pub name: String,
    /// What it does and matches; of one that goes, what it did.
    pub text: String,
    /// Of one that changes, what it does and matches now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// Where it stands.
    pub place: String,
    /// Of one that is in force: what it has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<Count>,
    /// When its counter was last seen to move, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<f64>,
    /// Whether it stands in no file of the policy in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
}

/// What would become of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionPlan {
    /// Its connections, as far as they are known: `203.0.113.5:51512 > 192.0.2.80:22`.
    pub connections: Vec<String>,
    /// Why it would be cut, or why nobody can say; none if it goes on.
    pub cut: Option<String>,
}

/// Who reaches a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Everybody.
    All,
    /// Some.
    Some,
    /// Nobody.
    None,
    /// Nobody can say.
    Unknown,
}

impl Reach {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::All => "open to all",
            Self::Some => "open to some",
            Self::None => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// A port on which something listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServicePlan {
    /// `tcp` or `udp`.
    pub proto: String,
    /// The port.
    pub port: u16,
    /// Well-known service name.
    pub service: Option<String>,
    /// Who reaches it now.
    pub was: Reach,
    /// Who would.
    pub becomes: Reach,
}
