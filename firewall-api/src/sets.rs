//! Live sets and bans: the documents that list them, and requests that change them.

use crate::session::Session;
use crate::view::SCHEMA;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// The name of the set of what is banned.
pub const BANNED: &str = "banned";

/// What `set list -o json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetsReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// What is banned, then the live sets in the order of the policy, then the others.
    pub sets: Vec<SetView>,
    /// Things to tell the user, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One live set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetView {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// How many it may have.
    pub max: u64,
    /// Seconds that an entry stays which is added without a time.
    pub timeout: Option<u64>,
    /// Whether commands change it; what is in another one, the policy says alone.
    #[serde(default = "is_live")]
    pub live: bool,
}

const fn is_live() -> bool {
    true
}

/// Which entries of a set are asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRequest {
    /// Only those that hold this address. `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<IpAddr>,
    /// Only those that hold this port, of a set of ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// The entries of a set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SetReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its name.
    pub set: String,
    /// How many entries follow.
    pub count: usize,
    /// How many it may have.
    pub max: u64,
    /// The entries, by address.
    pub entries: Vec<EntryView>,
    /// How often a rule wanted to ban and found no room, if this is the set of bans.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Whether commands change it; what is in another one, the policy says alone.
    #[serde(default = "is_live")]
    pub live: bool,
    /// Where no entry holds what was asked for, the entry that is nearest to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// An entry of a set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EntryView {
    /// Address or prefix.
    pub prefix: String,
    /// Who added it: `policy`, `command` or `rule`.
    pub by: String,
    /// Seconds until it ends; none if it does not.
    pub left: Option<f64>,
}

/// A change of one live set: all of it or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetChange {
    /// The set, with `@` before it or without.
    pub set: String,
    /// What is to become of it.
    pub what: SetEdit,
    /// The session that is not to be cut off by it.
    #[serde(default)]
    pub session: Session,
    /// Do it also if it would do harm.
    #[serde(default)]
    pub i_know: bool,
}

/// What is to become of a set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetEdit {
    /// These steps, one after the other.
    Steps(Vec<SetStep>),
    /// These entries take the place of all that commands and rules have added.
    Replace(Vec<NewEntry>),
    /// Everything that commands and rules have added goes.
    Clear,
}

/// One step of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetStep {
    /// Add an entry.
    Add(NewEntry),
    /// Remove an address or prefix, as it was added; or all addresses of a range, whatever entries hold
    /// them.
    Remove(String),
}

/// An entry to add.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// Address or prefix.
    pub prefix: String,
    /// Seconds until it ends. `None`: the set's `timeout`, or for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What became of a [`SetChange`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SetChanged {
    /// [`SCHEMA`].
    pub schema: String,
    /// The set's name.
    pub set: String,
    /// Entries that are in the set now and were not.
    pub added: u64,
    /// Entries that were there and have another end now.
    pub renewed: u64,
    /// Entries that are there no more.
    pub removed: u64,
    /// Entries that were to be removed and were not there.
    pub missing: u64,
    /// Seconds that the change took.
    pub seconds: f64,
    /// Of what is now banned, what the policy exempts and therefore keeps nobody out; at most
    /// [`SetChanged::NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
    /// Of what is no longer banned, what a wider ban still keeps out; at most
    /// [`SetChanged::NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldEntry>,
    /// Things to tell the user, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl SetChanged {
    /// How many prefixes of a kind are named at most.
    pub const NAMED: usize = 20;

    /// Nothing has changed yet.
    #[must_use]
    pub fn nothing(set: &str) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            set: set.to_owned(),
            added: 0,
            renewed: 0,
            removed: 0,
            missing: 0,
            seconds: 0.0,
            exempt: Vec::new(),
            held: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A prefix that a wider one still holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldEntry {
    /// The prefix.
    pub prefix: String,
    /// The widest entry that holds it.
    pub by: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
