//! Puts rules before those of a policy's file: only lines are added, every other byte stays.
//!
//! May import `ast` and `diag` only, besides `tree`. Invariant: the text that comes out holds the rules,
//! then those of the text that went in, and all else as it was; a text in which that cannot be had by
//! adding bytes is refused.

use super::tree::{Rule, same};
use crate::ast::{Node, Value, yaml};
use crate::diag::Sink;

/// A file to which rules cannot be added as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no place was found for rules in the way that the file is written")]
pub struct Unplaced;

/// The text of a policy's file with rules, each in braces, before its own.
///
/// # Errors
/// No place can be found by adding bytes alone.
pub fn with_rules(text: &str, rules: &[&str]) -> Result<String, Unplaced> {
    let mut sink = Sink::new("", text);
    let root = yaml::parse(text, 0, &mut sink).ok_or(Unplaced)?;
    let (at, added) = place(text, &root, rules).ok_or(Unplaced)?;
    let written = format!("{}{added}{}", &text[..at], &text[at..]);
    match says(&written, &root, rules) {
        true => Ok(written),
        false => Err(Unplaced),
    }
}

/// Where to add what.
fn place(text: &str, root: &Node<'_>, rules: &[&str]) -> Option<(usize, String)> {
    let Value::Map(pairs) = &root.value else {
        return None;
    };
    let (first, _) = pairs.first()?;
    let indent = " ".repeat(first.span.column.checked_sub(1)? as usize);
    let start = root.span.start as usize;
    let found = pairs.iter().find(|(key, _)| key.text == "rules");
    let Some((key, list)) = found else {
        if text.get(start..)?.starts_with('{') {
            return Some((start + 1, format!("rules: [{}], ", rules.join(", "))));
        }
        return Some((text.len(), at_end(text, &indent, rules)));
    };
    let behind_key = key.span.end as usize;
    match &list.value {
        Value::List(items) => {
            let begin = list.span.start as usize;
            if text.get(begin..)?.starts_with('[') {
                let more = if items.is_empty() { "" } else { ", " };
                return Some((begin + 1, format!("{}{more}", rules.join(", "))));
            }
            let item = items.first()?.span.start as usize;
            let line = text[..item].rfind('\n')? + 1;
            let dash = line + text[line..item].find('-')?;
            let indent = &text[line..dash];
            indent.trim().is_empty().then_some(())?;
            Some(behind_line(text, behind_key, indent, rules))
        }
        Value::Null if list.span.start == list.span.end => {
            let indent = format!("{indent}  ");
            Some(behind_line(text, behind_key, &indent, rules))
        }
        _ => None,
    }
}

/// Lines behind the one in which `at` stands.
fn behind_line(text: &str, at: usize, indent: &str, rules: &[&str]) -> (usize, String) {
    let ending = ending(text);
    match text[at..].find('\n') {
        Some(newline) => (
            at + newline + 1,
            rules.iter().fold(String::new(), |lines, rule| {
                format!("{lines}{indent}- {rule}{ending}")
            }),
        ),
        None => (
            text.len(),
            rules.iter().fold(String::new(), |lines, rule| {
                format!("{lines}{ending}{indent}- {rule}")
            }),
        ),
    }
}

/// A list of rules behind all that there is.
fn at_end(text: &str, indent: &str, rules: &[&str]) -> String {
    let ending = ending(text);
    let lines = rules.iter().map(|rule| format!("{indent}  - {rule}"));
    let lines: Vec<String> = lines.collect();
    let list = format!("{indent}rules:{ending}{}", lines.join(ending));
    match text.is_empty() || text.ends_with('\n') {
        true => format!("{ending}{list}{ending}"),
        false => format!("{ending}{list}"),
    }
}

/// How the lines of a text end.
fn ending(text: &str) -> &'static str {
    match text.split_once('\n') {
        Some((line, _)) if line.ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Whether a text says what `before` does, with some rules before the others.
fn says(text: &str, before: &Node<'_>, rules: &[&str]) -> bool {
    let mut sink = Sink::new("", text);
    let Some(root) = yaml::parse(text, 0, &mut sink) else {
        return false;
    };
    let (Value::Map(now), Value::Map(before)) = (&root.value, &before.value) else {
        return false;
    };
    let rest = |pairs: &'_ [(crate::ast::Key<'_>, Node<'_>)]| {
        pairs.iter().filter(|(key, _)| key.text != "rules").count()
    };
    let is_kept = |(key, node): &(crate::ast::Key<'_>, Node<'_>)| {
        let other = before.iter().find(|(other, _)| other.text == key.text);
        other.is_some_and(|(_, other)| same(node, other))
    };
    let list = |pairs: &'_ [(crate::ast::Key<'_>, Node<'_>)]| {
        pairs.iter().position(|(key, _)| key.text == "rules")
    };
    let Some((
        _,
        Node {
            value: Value::List(all),
            ..
        },
    )) = list(now).and_then(|at| now.get(at))
    else {
        return false;
    };
    let former: &[Node<'_>] = match list(before).map(|at| &before[at].1.value) {
        Some(Value::List(former)) => former,
        _ => &[],
    };
    let Some((first, others)) = all.split_at_checked(rules.len()) else {
        return false;
    };
    let mut others_now = now.iter().filter(|(key, _)| key.text != "rules");
    others_now.all(is_kept)
        && rest(now) == rest(before)
        && others.len() == former.len()
        && others
            .iter()
            .zip(former)
            .all(|(one, other)| same(one, other))
        && first.iter().zip(rules).all(|(node, rule)| {
            let (read, wanted) = (Rule::of(text, node), Rule::read(rule));
            read.zip(wanted)
                .is_some_and(|(read, wanted)| read.is(&wanted))
        })
}
