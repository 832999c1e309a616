//! Edits of a policy's text: the rules that are added to it while it is in force, and rules that are put
//! into a file by `save`.
//!
//! ```text
//! tree.rs    one rule as text and as data: whether two are the same
//! place.rs   rules before those of a file, every other byte as it was
//! ```
//!
//! Pure. May not ask for the time. Invariant: what an edit does not name stays as it was written; what
//! nobody could keep so is refused.

mod place;
mod tree;

pub use place::{Unplaced, with_rules};

use crate::bundle;
use tree::Rule;

/// A rule to be added to the policy in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRule<'r> {
    /// The rule as one mapping in braces, with some name.
    pub text: &'r str,
    /// Its name.
    pub name: &'r str,
    /// Whether it must have that name; otherwise one like it that is free.
    pub is_named: bool,
    /// The runtime rule before which it is to stand; before all others, if none is named.
    pub before: Option<&'r str>,
}

/// A policy's text after an edit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edited {
    /// The text; as it was, if nothing had to be done.
    pub text: String,
    /// The name of the rule that the edit was about.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// What became of it.
    pub what: What,
}

/// What an edit did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The rule is new.
    Added,
    /// It was there, with another end or comment.
    Renewed,
    /// It was there, behind others that decided before it.
    Moved,
    /// It was there.
    Already,
    /// It is there no more.
    Deleted,
}

/// Why a text cannot be edited.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// The part for runtime rules holds more than rules.
    #[error("the runtime part of the policy holds more than rules")]
    MoreThanRules,
    /// A rule that is to be added is no rule.
    #[error("`{0}` is not a rule in braces")]
    NoRule(String),
    /// No such runtime rule.
    #[error("there is no runtime rule `{0}`")]
    Unknown(String),
}

/// Adds a runtime rule before all other rules, unless it is there. `taken`: names that other rules have;
/// `now`: seconds since the Unix epoch. Rules that have expired go.
///
/// # Errors
/// What is to be added, or what is there, is not what it should be.
pub fn add(
    policy: &str,
    new: &NewRule<'_>,
    taken: &dyn Fn(&str) -> bool,
    now: u64,
) -> Result<Edited, EditError> {
    let mut rules = lasting(policy, now)?;
    let wrong = || EditError::NoRule(new.text.to_owned());
    let added = Rule::read(new.text).ok_or_else(wrong)?;
    let is_it =
        |rule: &Rule| rule.matches_alike(&added) && (!new.is_named || rule.name == new.name);
    if let Some(before) = new.before {
        return add_before(policy, rules, (&added, new), (before, taken));
    }
    if let Some(at) = rules.iter().position(is_it) {
        let is_first = rules[..at].iter().all(|other| other.commutes(&added));
        let again = added.called(&rules[at].name).ok_or_else(wrong)?;
        let is_equal = again.is(&rules[at]);
        let what = match (is_first, is_equal) {
            (true, true) => What::Already,
            (true, false) => What::Renewed,
            (false, _) => What::Moved,
        };
        let (name, rule) = (again.name.clone(), again.text.clone());
        match what {
            What::Moved => {
                rules.remove(at);
                rules.insert(0, again);
            }
            _ if is_equal => {}
            _ => rules[at] = again,
        }
        let text = match what {
            What::Already => policy.to_owned(),
            _ => written(&rules, policy),
        };
        return Ok(Edited {
            text,
            name,
            rule,
            what,
        });
    }
    let name = match new.is_named {
        true => new.name.to_owned(),
        false => free(new.name, taken),
    };
    let added = added.called(&name).ok_or_else(wrong)?;
    let rule = added.text.clone();
    rules.insert(0, added);
    Ok(Edited {
        text: written(&rules, policy),
        name,
        rule,
        what: What::Added,
    })
}

/// Adds a rule before a runtime rule; one that is there already moves.
fn add_before(
    policy: &str,
    mut rules: Vec<Rule>,
    (added, new): (&Rule, &NewRule<'_>),
    (before, taken): (&str, &dyn Fn(&str) -> bool),
) -> Result<Edited, EditError> {
    let is_it = |rule: &Rule| rule.matches_alike(added) && (!new.is_named || rule.name == new.name);
    let found = rules
        .iter()
        .position(|rule| rule.name != before && is_it(rule));
    let old = found.map(|at| rules.remove(at));
    let name = match &old {
        Some(old) => old.name.clone(),
        None if new.is_named => new.name.to_owned(),
        None => free(new.name, taken),
    };
    let at = rules.iter().position(|rule| rule.name == before);
    let at = at.ok_or_else(|| EditError::Unknown(before.to_owned()))?;
    let rule = added.called(&name);
    let rule = rule.ok_or_else(|| EditError::NoRule(new.text.to_owned()))?;
    let text = rule.text.clone();
    rules.insert(at, rule);
    Ok(Edited {
        text: written(&rules, policy),
        name,
        rule: text,
        what: match old {
            Some(_) => What::Moved,
            None => What::Added,
        },
    })
}

/// Takes a runtime rule away.
///
/// # Errors
/// There is none of that name; what is there is not what it should be.
pub fn delete(policy: &str, name: &str, now: u64) -> Result<Edited, EditError> {
    let mut rules = runtime_rules(policy)?;
    let at = rules.iter().position(|rule| rule.name == name);
    let at = at.ok_or_else(|| EditError::Unknown(name.to_owned()))?;
    let gone = rules.remove(at);
    rules.retain(|rule| !rule.has_expired(now));
    Ok(Edited {
        text: written(&rules, policy),
        name: gone.name,
        rule: gone.text,
        what: What::Deleted,
    })
}

/// The policy in force with another text in the place of its files, and those of its runtime rules that
/// are not in them.
///
/// # Errors
/// The runtime part is not what it should be.
pub fn saved(policy: &str, files: &str, now: u64) -> Result<String, EditError> {
    Ok(written(&unsaved_rules(policy, files, now)?, files))
}

/// The runtime rules of a policy that `files` do not hold and that have not expired: name and text.
///
/// # Errors
/// The runtime part is not what it should be.
pub fn unsaved(policy: &str, files: &str, now: u64) -> Result<Vec<(String, String)>, EditError> {
    let rules = unsaved_rules(policy, files, now)?.into_iter();
    Ok(rules.map(|rule| (rule.name, rule.text)).collect())
}

fn unsaved_rules(policy: &str, files: &str, now: u64) -> Result<Vec<Rule>, EditError> {
    let mut rules = lasting(policy, now)?;
    if !rules.is_empty() {
        let (_, files) = bundle::runtime(files);
        let held = bundle::parts(files).into_iter();
        let held: Vec<Rule> = held
            .filter_map(|part| tree::rules(part.text))
            .flatten()
            .collect();
        rules.retain(|rule| {
            !held
                .iter()
                .any(|other| other.name == rule.name && other.is(rule))
        });
    }
    Ok(rules)
}

/// The runtime rules of a policy that have not expired.
fn lasting(policy: &str, now: u64) -> Result<Vec<Rule>, EditError> {
    let mut rules = runtime_rules(policy)?;
    rules.retain(|rule| !rule.has_expired(now));
    Ok(rules)
}

fn runtime_rules(policy: &str) -> Result<Vec<Rule>, EditError> {
    let (Some(runtime), _) = bundle::runtime(policy) else {
        return Ok(Vec::new());
    };
    match tree::has_rules_only(runtime) {
        true => tree::rules(runtime).ok_or(EditError::MoreThanRules),
        false => Err(EditError::MoreThanRules),
    }
}

/// A policy with other runtime rules.
fn written(rules: &[Rule], policy: &str) -> String {
    let lines = rules.iter().map(|rule| format!("  - {}\n", rule.text));
    let file = format!("version: 1\nrules:\n{}", lines.collect::<String>());
    bundle::with_runtime((!rules.is_empty()).then_some(&file), policy)
}

/// A name that nobody has: the one that is wanted, or that with a number.
fn free(name: &str, taken: &dyn Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    let mut numbers = 2_u64..;
    let numbered = numbers.find_map(|number| {
        let name = format!("{name}-{number}");
        (!taken(&name)).then_some(name)
    });
    numbered.unwrap_or_default()
}

#[cfg(test)]
mod tests;
