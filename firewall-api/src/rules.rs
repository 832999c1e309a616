//! Rules that are added while a policy is in force: requests that change them, and what came of it.
//!
//! Invariant: a request says what is to become of which rule, and not how the policy is to read then: so
//! requests of several askers are done one after the other, and none undoes another.

use crate::failure::{Exit, Failure};
use crate::report::ApplyReport;
use crate::session::{Asker, Session};
use crate::source::PolicySource;
use serde::{Deserialize, Serialize};

/// [`Failure::code`] of a change that was made of another policy than the one in force.
pub const CHANGED_MEANWHILE: &str = "changed-meanwhile";

/// Body of `POST /v1/rules`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesChange {
    /// What is to be done.
    pub what: RulesEdit,
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

/// What is to be done with runtime rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum RulesEdit {
    /// Add one before all other rules, unless it is there.
    Add {
        /// The rule in YAML, as one mapping in braces.
        rule: String,
        /// Its name; if `named` is false, one like it that is free.
        name: String,
        /// Whether it must have that name.
        named: bool,
        /// The runtime rule before which it is to stand; before all others, if none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// Delete one.
    Delete {
        /// Its name.
        name: String,
    },
    /// The files of the policy hold them now.
    Saved {
        /// The policy with them, without runtime rules.
        policy: PolicySource,
        /// SHA-256 of the policy's text before, its runtime rules included, hex: where another one is
        /// in force, the code is [`CHANGED_MEANWHILE`].
        before: String,
    },
}

/// What became of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleOutcome {
    /// It is new.
    Added,
    /// It was there, and has another end or comment now.
    Renewed,
    /// It was there, and stands before all others now.
    Moved,
    /// It was there: nothing was done.
    Already,
    /// It is there no more.
    Deleted,
    /// It stands in the policy's files.
    Saved,
}

/// Answer to `POST /v1/rules`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RulesChanged {
    /// The policy, its generation, and what was applied.
    #[serde(flatten)]
    pub report: ApplyReport,
    /// The rule's name; empty for those that were saved.
    pub rule: String,
    /// The rule in YAML.
    pub text: String,
    /// What became of it.
    pub outcome: RuleOutcome,
}

/// The failure of a change that was made of another policy.
#[must_use]
pub fn changed_meanwhile() -> Failure {
    Failure {
        code: CHANGED_MEANWHILE.into(),
        ..Failure::new(Exit::Failed, "the policy changed in the meantime")
            .help("check the active policy, then repeat the command")
            .outcome("nothing changed")
    }
}
