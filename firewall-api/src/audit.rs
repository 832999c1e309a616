//! Who has changed what, and what came of it: one entry of the trail.
//!
//! Invariant: an entry is safe to print: what others wrote is escaped, and cut where it is long, when the
//! entry is made.

use crate::failure::{Exit, Failure};
use crate::flows::{FlowsForgotten, FlowsRequest};
use crate::history::{ConfirmRequest, RollbackRequest};
use crate::report::{ApplyReport, UnloadReport};
use crate::request::{ApplyRequest, LoadRequest, ReloadRequest};
use crate::rules::{RulesChange, RulesChanged, RulesEdit};
pub use crate::session::Asker;
use crate::sets::{NewEntry, SetChange, SetChanged, SetEdit, SetStep};
use firewall_policy::clock::unix_time;
use firewall_policy::text::safe_start;
use firewall_policy::time;
use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The verb.
    pub verb: &'static str,
    /// What it is about.
    pub subject: String,
    /// Why, in the words of whoever asks.
    pub why: Option<String>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Came {
    /// The generation in force before.
    pub before: Option<u64>,
    /// The generation in force now.
    pub after: Option<u64>,
    /// Whether it was so already.
    pub is_unchanged: bool,
    /// More about it.
    pub detail: String,
}

/// Bytes of one part of an entry: no request takes more room in the trail than others.
const LONGEST: usize = 1024;

/// A text as a part of an entry: safe to print, and its beginning where it is long.
#[must_use]
pub fn part(text: &str) -> String {
    let mut part = safe_start(text, LONGEST);
    if part.len() > LONGEST + 3 {
        let end = (0..=LONGEST).rev().find(|&end| part.is_char_boundary(end));
        part.truncate(end.unwrap_or_default());
        part.push_str("...");
    }
    part
}

/// One change, or what did not become one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since the Unix epoch.
    pub time: f64,
    /// The same for people.
    pub at: String,
    /// The verb.
    pub verb: String,
    /// What it was about.
    pub subject: String,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who has asked.
    #[serde(flatten)]
    pub asker: Asker,
    /// The generation in force before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// The generation in force behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// `done`, `unchanged`, `refused` or `failed`.
    pub result: String,
    /// Exit code of the command.
    pub exit_code: u8,
    /// What was counted, or why it was refused or failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Entry {
    /// The entry of what is over now.
    #[must_use]
    pub fn new(asked: &Asked, asker: Asker, came: Result<&Came, &Failure>) -> Self {
        let (result, exit, detail) = match came {
            Ok(came) if came.is_unchanged => ("unchanged", Exit::Ok, came.detail.clone()),
            Ok(came) => ("done", Exit::Ok, came.detail.clone()),
            Err(failure) => {
                let refused = [Exit::Refused, Exit::Privilege].contains(&failure.exit_code);
                let result = if refused { "refused" } else { "failed" };
                (result, failure.exit_code, failure.line())
            }
        };
        let now = unix_time();
        Self {
            time: now.as_secs_f64(),
            at: time::print(now.as_secs()),
            verb: asked.verb.to_owned(),
            subject: part(&asked.subject),
            why: asked.why.as_deref().map(part),
            asker: asker.printable(),
            before: came.ok().and_then(|came| came.before),
            after: came.ok().and_then(|came| came.after),
            result: result.to_owned(),
            exit_code: exit.code(),
            detail: part(&detail),
        }
    }

    /// The entry in one line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let number = |number: Option<u32>| number.map_or("?".to_owned(), |it| it.to_string());
        let mut line = format!("{} {}: {}", self.verb, self.subject, self.result);
        match (self.before, self.after) {
            (Some(before), Some(after)) if before != after => {
                line.push_str(&format!(", generation {before} -> {after}"));
            }
            (_, Some(after)) => line.push_str(&format!(", generation {after}")),
            _ => {}
        }
        if !self.detail.is_empty() {
            line.push_str(&format!(" ({})", self.detail));
        }
        if let Some(why) = &self.why {
            line.push_str(&format!("; why: {why}"));
        }
        line.push_str(&format!("; by uid {}", number(self.asker.uid)));
        if let Some(login) = self.asker.login_uid {
            line.push_str(&format!(", login uid {login}"));
        }
        if let Some(pid) = self.asker.pid {
            let command = self.asker.command.as_deref().unwrap_or("?");
            line.push_str(&format!(", {command}[{pid}]"));
        }
        if let Some(ssh) = &self.asker.ssh {
            line.push_str(&format!(", ssh from {ssh}"));
        }
        line
    }
}

impl Asker {
    /// As a part of an entry: what a process says of itself is escaped, and cut where it is long.
    #[must_use]
    pub fn printable(self) -> Self {
        Self {
            command: self.command.map(|name| part(&name)),
            ssh: self.ssh.map(|peer| part(&peer)),
            ..self
        }
    }
}

/// A request that the trail tells of.
pub trait Recorded {
    /// What it asks for.
    fn asked(&self) -> Asked;

    /// Notes who asks, as whoever takes the request knows it: for what is kept beside the trail.
    fn told(&mut self, _asker: &Asker) {}
}

/// An answer that the trail tells of.
pub trait Outcome {
    /// What came of it.
    fn came(&self) -> Came;

    /// Tells whoever has asked one thing more, as far as there is a place for it.
    fn warn(&mut self, _warning: String) {}
}

fn asked(verb: &'static str, subject: impl Into<String>) -> Asked {
    Asked {
        verb,
        subject: subject.into(),
        why: None,
    }
}

impl Asked {
    /// With the reason that whoever asks has given.
    fn because(self, why: Option<&String>) -> Self {
        Self {
            why: why.cloned(),
            ..self
        }
    }
}

impl Recorded for ApplyRequest {
    fn asked(&self) -> Asked {
        asked("apply", &*self.path).because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for ReloadRequest {
    fn asked(&self) -> Asked {
        asked("reload", "").because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for LoadRequest {
    fn asked(&self) -> Asked {
        asked("load", &*self.policy.path).because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for ConfirmRequest {
    fn asked(&self) -> Asked {
        asked(self.verb(), "").because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for RollbackRequest {
    fn asked(&self) -> Asked {
        let subject = self.generation.map(|it| it.to_string());
        asked("rollback", subject.unwrap_or_default()).because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for RulesChange {
    fn asked(&self) -> Asked {
        let asked = match &self.what {
            RulesEdit::Add { rule, .. } => asked("add rule", &**rule),
            RulesEdit::Delete { name } => asked("delete rule", &**name),
            RulesEdit::Saved { policy, .. } => asked("save", &*policy.path),
        };
        asked.because(self.why.as_ref())
    }

    fn told(&mut self, asker: &Asker) {
        self.asker = asker.clone();
    }
}

impl Recorded for FlowsRequest {
    fn asked(&self) -> Asked {
        asked("forget flows", self.query())
    }
}

impl Recorded for SetChange {
    fn asked(&self) -> Asked {
        let set = self.set.strip_prefix('@').unwrap_or(&self.set);
        let (what, entries): (_, Vec<String>) = match &self.what {
            SetEdit::Clear => ("clear", Vec::new()),
            SetEdit::Replace(entries) => ("replace by", entries.iter().map(entry).collect()),
            SetEdit::Steps(steps) => {
                let step = |step: &SetStep| match step {
                    SetStep::Add(added) => format!("+{}", entry(added)),
                    SetStep::Remove(removed) => format!("-{removed}"),
                };
                ("change", steps.iter().map(step).collect())
            }
        };
        let some = some_of(entries.iter().map(String::as_str));
        asked("change set", format!("@{set}: {what} {some}").trim_end())
    }
}

fn entry(entry: &NewEntry) -> String {
    match entry.seconds {
        Some(seconds) => format!("{} for {seconds} s", entry.prefix),
        None => entry.prefix.clone(),
    }
}

impl Outcome for ApplyReport {
    fn came(&self) -> Came {
        let applied = &self.applied;
        let names = applied.interfaces.iter().map(|it| it.name.as_str());
        Came {
            before: applied.before,
            after: Some(applied.generation),
            is_unchanged: !applied.changed,
            detail: match applied.changed {
                true => format!("on {}{}", some_of(names), self.beside()),
                false => String::new(),
            },
        }
    }

    fn warn(&mut self, warning: String) {
        self.applied.warnings.push(warning);
    }
}

impl ApplyReport {
    /// What an entry says beside the interfaces.
    fn beside(&self) -> String {
        let mut beside = String::new();
        if let Some(restored) = self.restores {
            beside.push_str(&format!(", the policy of generation {restored}"));
        }
        if let Some(pending) = &self.pending {
            beside.push_str(&format!(", to be confirmed within {} s", pending.seconds));
        }
        beside
    }
}

impl Outcome for RulesChanged {
    fn came(&self) -> Came {
        Came {
            detail: self.rule.clone(),
            ..self.report.came()
        }
    }

    fn warn(&mut self, warning: String) {
        self.report.warn(warning);
    }
}

impl Outcome for SetChanged {
    fn came(&self) -> Came {
        let counts = [
            (self.added, "added"),
            (self.renewed, "renewed"),
            (self.removed, "removed"),
            (self.missing, "missing"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        Came {
            is_unchanged: self.added + self.renewed + self.removed == 0,
            detail: counts.join(", "),
            ..Came::default()
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

impl Outcome for FlowsForgotten {
    fn came(&self) -> Came {
        Came {
            is_unchanged: self.deleted == 0,
            detail: format!("{} flows", self.deleted),
            ..Came::default()
        }
    }
}

impl Outcome for UnloadReport {
    fn came(&self) -> Came {
        Came {
            before: self.before,
            is_unchanged: self.unloaded.is_empty(),
            detail: match self.unloaded.as_slice() {
                [] => "nothing was loaded".to_owned(),
                names => format!("off {}", some_of(names.iter().map(String::as_str))),
            },
            ..Came::default()
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

/// The first few of many.
fn some_of<'t>(texts: impl ExactSizeIterator<Item = &'t str>) -> String {
    const NAMED: usize = 10;
    let rest = texts.len().saturating_sub(NAMED);
    let named: Vec<&str> = texts.take(NAMED).collect();
    match rest {
        0 => named.join(", "),
        rest => format!("{} and {rest} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_safe_line() {
        let asked = Asked {
            verb: "apply",
            subject: "/etc/\u{202e}a\n{\"uid\":0}".to_owned(),
            why: Some("ticket\n7".to_owned()),
        };
        let asker = Asker {
            uid: Some(0),
            login_uid: Some(1000),
            pid: Some(7),
            command: Some("x\x1b[2J".to_owned()),
            ssh: Some("203.0.113.9 50000".to_owned()),
        };
        let came = Came {
            before: Some(41),
            after: Some(42),
            ..Came::default()
        };
        let entry = Entry::new(&asked, asker.clone(), Ok(&came));
        let json = serde_json::to_string(&entry).unwrap();
        assert!(
            json.chars().all(|c| !c.is_control() && c != '\u{202e}'),
            "{json}"
        );
        let again: Entry = serde_json::from_str(&json).unwrap();
        assert_eq!(again, entry);
        assert_eq!(
            entry.line(),
            "apply /etc/\\u{202e}a\\n{\"uid\":0}: done, generation 41 -> 42; why: ticket\\n7; by uid 0, login uid \
             1000, x\\u{1b}[2J[7], ssh from 203.0.113.9 50000"
        );
        let refused = Failure::new(Exit::Refused, "no");
        let entry = Entry::new(&asked, asker, Err(&refused));
        assert_eq!((entry.result.as_str(), entry.exit_code), ("refused", 7));
        assert_eq!(entry.after, None);
    }

    #[test]
    fn no_part_of_an_entry_is_long() {
        for text in ["a", "ä", "\u{202e}", "\n"] {
            let long = text.repeat(100_000);
            let asked = Asked {
                verb: "request",
                subject: long.clone(),
                why: Some(long.clone()),
            };
            let asker = Asker {
                command: Some(long.clone()),
                ssh: Some(long.clone()),
                ..Asker::default()
            };
            let failure = Failure::new(Exit::Failed, long);
            let entry = Entry::new(&asked, asker, Err(&failure));
            assert!(entry.subject.ends_with("..."), "{}", entry.subject);
            let json = serde_json::to_string(&entry).unwrap();
            assert!(json.len() < 6 * 2 * LONGEST, "{text:?}: {}", json.len());
        }
    }

    #[test]
    fn many_are_counted() {
        let texts: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let all = some_of(texts.iter().map(String::as_str));
        assert_eq!(all, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more");
    }
}
