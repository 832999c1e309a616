//! Carries the rules of another firewall over into a policy: iptables, nft, ufw.
//!
//! ```text
//! text ─► iptables | nft | ufw ─► ruleset (chains) ─► flatten (a list, first match wins) ─► write ─► YAML
//! ```
//!
//! May not import `compile`, `host` or `oracle`. Invariant: nothing is guessed. What a policy
//! cannot say exactly is in the list of what was left out, with the original text and the reason;
//! a rule that is carried in part passes nothing that the original would not have passed.

mod essential;
mod flatten;
mod interfaces;
mod ipset;
mod iptables;
mod join;
mod local;
mod names;
mod nft;
mod packets;
mod ruleset;
mod states;
mod ufw;
mod values;
mod words;
mod write;

use serde::Serialize;
use std::fmt;

/// What the caller knows beside the rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The policy is for this interface alone: rules for others are not carried over.
    pub interface: Option<String>,
    /// This host's own addresses, with the lengths of their networks: what tells packets to it from
    /// packets that it forwards.
    pub local: Vec<String>,
    /// The output of `ipset save`: the sets that iptables rules name.
    pub ipset: Option<String>,
    /// What the policy language of this version has.
    pub language: Language,
}

/// Parts of the policy language that a version may not have yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Language {
    /// `state: established` and `state: new`.
    pub state: bool,
}

impl Default for Language {
    /// What this version reads.
    fn default() -> Self {
        const STATE: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
                             - {name: a, state: established, action: pass}\n";
        let reads = |text| crate::source::read_policy("", text, &crate::source::NoFiles).is_ok();
        Self {
            state: reads(STATE),
        }
    }
}

/// A policy that was made from another firewall's rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The policy in canonical form; comments name where each rule comes from.
    pub yaml: String,
    /// What was not carried over exactly.
    pub left_out: Vec<LeftOut>,
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
            Self::Differs => "the policy judges such packets in another way",
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

/// From `iptables-save` and `ip6tables-save`. At least one of the two must be there; of a family
/// whose rules are not given nothing is known, and that is in the list.
///
/// # Errors
/// Text that is not the output of these programs, with its place.
pub fn iptables(
    v4: Option<&str>,
    v6: Option<&str>,
    options: &Options,
) -> Result<Imported, ImportError> {
    iptables::import(v4, v6, options)
}

/// From `nft -j list ruleset`.
///
/// # Errors
/// Text that is not the output of this command, with its place.
pub fn nft(text: &str, options: &Options) -> Result<Imported, ImportError> {
    nft::import(text, options)
}

/// From ufw: `/etc/ufw/user.rules` (and `user6.rules` beside it), or the output of `ufw show added`
/// or `ufw status`, which hold both families.
///
/// # Errors
/// Text without rules of ufw, with its place.
pub fn ufw(text: &str, v6: Option<&str>, options: &Options) -> Result<Imported, ImportError> {
    ufw::import(text, v6, options)
}

#[cfg(test)]
mod tests;
