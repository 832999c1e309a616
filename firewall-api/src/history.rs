//! The generations that have been in force, as documents: who has put each there, when and why, and
//! requests about them: confirm one, take it back, go back to a former one.
//!
//! Data alone. Where they are kept: `firewall_system::history`.

use crate::failure::{Exit, Failure};
use crate::session::{Asker, Session};
use crate::source::NamedFile;
use crate::view::Pending;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Generations that are kept at most.
pub const KEPT: usize = 50;

/// Seconds within which a change is to be confirmed if nobody says.
pub const CONFIRM_DEFAULT: u64 = 60;

/// The longest time to confirm a change, in seconds: a day.
pub const CONFIRM_LONGEST: u64 = 86_400;

/// A generation that has come into force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its number.
    pub generation: u64,
    /// When, in seconds since the Unix epoch.
    pub time: f64,
    /// The same for people.
    pub at: String,
    /// The verb that has put it in force; `renewal` and the like where nobody has asked.
    pub verb: String,
    /// Why, in the words of whoever has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who has asked.
    #[serde(flatten)]
    pub asker: Asker,
    /// The policy as it was named: a label.
    pub policy: String,
    /// Folder of the files that it names: a label.
    pub base: PathBuf,
    /// The files that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<NamedFile>,
    /// Interfaces that a caller has named beside the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// SHA-256 of the text and of every file that it names, hex.
    pub content_sha256: String,
    /// SHA-256 of the text, hex.
    pub sha256: String,
    /// SHA-256 of the text without runtime rules, hex.
    pub own_sha256: String,
    /// Bytes of the text.
    pub bytes: u64,
    /// How many rules match.
    pub rules: usize,
    /// How many of them are runtime rules.
    #[serde(default)]
    pub runtime: usize,
    /// Verdict for what no rule matches.
    pub default: String,
    /// If it is the policy of a former generation: of which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// Whether it was confirmed, or needed no confirmation. By the name of its file.
    #[serde(default)]
    pub confirmed: bool,
}

/// `GET /v1/history`: newest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistoryReport {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// The generation in force.
    pub in_force: Option<u64>,
    /// Whether that waits to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// What is kept.
    pub generations: Vec<HistoryEntry>,
    /// What cannot be read of it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Body of `POST /v1/confirm` and `POST /v1/cancel`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Take it back, and do not confirm it. Not part of the document: the path says it.
    #[serde(skip)]
    pub cancels: bool,
    /// Why, for the history and the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asks. Not part of the document: whoever takes the request knows.
    #[serde(skip)]
    pub asker: Asker,
}

impl ConfirmRequest {
    /// The verb that asks for it.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self.cancels {
            true => "cancel",
            false => "confirm",
        }
    }
}

/// Body of `POST /v1/rollback`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which generation; `None`: to the newest confirmed one with another policy than what is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The session that is not to be cut off by it.
    #[serde(default)]
    pub session: Session,
    /// Do it also if it would do harm.
    #[serde(default)]
    pub i_know: bool,
    /// See [`crate::request::ApplyRequest::confirm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<u64>,
    /// Why, for the history and the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asks. Not part of the document: whoever takes the request knows.
    #[serde(skip)]
    pub asker: Asker,
}

/// Refuses a time to confirm a change that is none.
///
/// # Errors
/// Exit code 2.
pub fn check_confirm(seconds: Option<u64>) -> Result<(), Failure> {
    if seconds.is_none_or(|seconds| (1..=CONFIRM_LONGEST).contains(&seconds)) {
        return Ok(());
    }
    let what = "the time to confirm a change is 1 second to 1 day";
    Err(Failure::new(Exit::Usage, what).help("write --confirm, which is 60s, or --confirm=5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_request_says_who_asks_or_turns_confirm_into_cancel() {
        let request = RollbackRequest {
            generation: Some(41),
            asker: Asker {
                uid: Some(7),
                ..Asker::default()
            },
            ..RollbackRequest::default()
        };
        let json = serde_json::to_string(&request).unwrap();
        let read: RollbackRequest = serde_json::from_str(&json).unwrap();
        assert_eq!((read.generation, read.asker), (Some(41), Asker::default()));
        assert!(serde_json::from_str::<RollbackRequest>("{\"asker\":{\"uid\":0}}").is_err());
        assert!(serde_json::from_str::<ConfirmRequest>("{\"cancels\":true}").is_err());
    }

    #[test]
    fn a_time_to_confirm_is_a_second_to_a_day() {
        for (seconds, is_one) in [(0, false), (1, true), (86_400, true), (86_401, false)] {
            assert_eq!(check_confirm(Some(seconds)).is_ok(), is_one, "{seconds}");
        }
        assert!(check_confirm(None).is_ok());
    }
}
