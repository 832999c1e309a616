//! The result of an import: a policy and a list of rules that were left out, or an error with its place.
//!
//! Imports nothing.

use serde::Serialize;
use std::fmt;

/// A policy that was made from another firewall's rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The policy in canonical form; comments name where each rule comes from.
    pub yaml: String,
    /// What was not carried over exactly.
    pub left_out: Vec<LeftOut>,
    /// Rules of the original.
    pub rules: usize,
    /// Those of them of which nothing changed.
    pub exact: usize,
}

impl Imported {
    /// Losses by which the policy passes more than the original.
    #[must_use]
    pub fn passes_more(&self) -> usize {
        let more = |entry: &&LeftOut| entry.effect == Effect::PassesMore;
        self.left_out.iter().filter(more).count()
    }

    /// Whether the policy passes other packets than the original.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.left_out
            .iter()
            .any(|entry| entry.effect != Effect::None)
    }

    /// `12 of 16 rules exactly, 1 loss passes more`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("{} of {} rules exactly", self.exact, self.rules);
        for (effect, words) in [
            (Effect::PassesMore, "passes more"),
            (Effect::Differs, "differs"),
            (Effect::PassesLess, "passes less"),
        ] {
            let count = self
                .left_out
                .iter()
                .filter(|entry| entry.effect == effect)
                .count();
            let noun = if count == 1 { "loss" } else { "losses" };
            let words = match words {
                "differs" if count > 1 => "differ".to_owned(),
                words if count > 1 => words.replacen("passes", "pass", 1),
                words => words.to_owned(),
            };
            if count > 0 {
                text.push_str(&format!(", {count} {noun} {words}"));
            }
        }
        text
    }
}

/// Something that was not carried over exactly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeftOut {
    /// Where it stands: `line 12`, or `inet filter input, handle 7`.
    pub place: String,
    /// The line in the text, from 1; 0 where there are no lines.
    pub line: u32,
    /// The rule as written.
    pub text: String,
    /// Why.
    pub reason: String,
    /// What that does to the packets that come in.
    pub effect: Effect,
    /// Whether a part of it is in the policy.
    pub in_part: bool,
}

/// How the policy differs for want of something that was left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The policy passes packets that the original drops.
    PassesMore,
    /// It depends on the packet.
    Differs,
    /// The policy drops packets that the original passes.
    PassesLess,
    /// The same packets come in.
    None,
}

impl Effect {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::PassesMore => "the policy passes what this dropped",
            Self::Differs => "the policy treats such packets differently",
            Self::PassesLess => "the policy drops what this passed",
            Self::None => "the same packets come in",
        }
    }
}

/// Text that is not what it is said to be. Lines and columns count from 1.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ImportError {
    /// Line; 0 if the text as a whole is meant.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: String,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}
