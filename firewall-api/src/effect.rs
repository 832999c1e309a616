//! What a change of rules does to packets, as data: what newly passes, and what is newly dropped.

use serde::{Deserialize, Serialize};

/// Changes that are listed; more are counted.
pub const LISTED: usize = 20;

/// What one policy does otherwise than another one.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// Packets that newly pass or are newly dropped, at most [`LISTED`].
    pub packets: Vec<PacketsChanged>,
    /// How many more there are.
    #[serde(default)]
    pub more: usize,
    /// What changes beside verdicts, such as limits: a line each.
    #[serde(default)]
    pub settings: Vec<String>,
    /// False if the search was given up: there may be more.
    pub complete: bool,
}

/// Packets with another verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketsChanged {
    /// `newly-passes` or `newly-drops`.
    pub change: String,
    /// In words: `tcp port 8080 from 203.0.113.0/24`.
    pub packets: String,
    /// One of them, for `test`.
    pub example: String,
    /// Who decided before: ``the rule `app` (p.yaml:7)``, `the default`.
    pub was: String,
    /// Who decides now.
    pub becomes: String,
}

impl PacketsChanged {
    /// Whether they pass now.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.change == Self::PASSES
    }

    /// See [`PacketsChanged::change`].
    pub const PASSES: &str = "newly-passes";
    /// See [`PacketsChanged::change`].
    pub const DROPS: &str = "newly-drops";
}
