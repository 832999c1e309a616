//! A policy of several files as one text: `firewall.yaml`, then `rules.d/*.yaml` in lexical order,
//! each behind a line that names it.
//!
//! ```text
//! --- # file: firewall.yaml
//! version: 1
//! ...
//! --- # file: rules.d/10-web.yaml
//! ```
//!
//! Rules that were added while a policy was in force stand before it in the same way, behind
//! `--- # runtime rules` and before `--- # policy`; theirs is the first word.
//!
//! To YAML the lines are starts of documents, so the text can be kept, sent, printed and read
//! again wherever that of a single file can. May not import anything that gives the text a
//! meaning. Invariant: [`join`] and [`parts`] undo each other.

use crate::rule::Place;
use crate::span::Span;
use std::collections::HashMap;

/// The file of a directory that holds what a policy has once.
pub const MAIN: &str = "firewall.yaml";

/// The folder of a directory whose files add rules, sets and tests.
pub const FOLDER: &str = "rules.d";

/// How the names of files in [`FOLDER`] end.
pub const ENDING: &str = ".yaml";

/// What stands in the place of a path for the runtime rules.
pub const RUNTIME: &str = "<runtime>";

/// The first line of a text with runtime rules.
const RUNTIME_MARK: &str = "--- # runtime rules\n";

/// The line between runtime rules and policy.
const POLICY_MARK: &str = "--- # policy\n";

/// Files in one policy.
pub const MAX_FILES: usize = 1_000;

/// What stands before a file's name. Nothing but the start of a document can begin like this, not
/// even a line of a quoted text.
const MARK: &str = "--- # file: ";

/// One file of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'t> {
    /// Its path in the policy's directory; empty for the text of a policy that is one file;
    /// [`RUNTIME`] for the runtime rules.
    pub path: &'t str,
    /// What it holds.
    pub text: &'t str,
}

/// The file of runtime rules, and the policy without them.
#[must_use]
pub fn runtime(text: &str) -> (Option<&str>, &str) {
    let Some(inside) = text.strip_prefix(RUNTIME_MARK) else {
        return (None, text);
    };
    let mut at = 0;
    for line in inside.split_inclusive('\n') {
        if line == POLICY_MARK {
            return (Some(&inside[..at]), &inside[at + line.len()..]);
        }
        at += line.len();
    }
    (None, text)
}

/// A policy with a file of runtime rules, in the place of those that it has.
#[must_use]
pub fn with_runtime(rules: Option<&str>, policy: &str) -> String {
    let (_, policy) = runtime(policy);
    match rules {
        None => policy.to_owned(),
        Some(rules) => {
            let end = if rules.is_empty() || rules.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            format!("{RUNTIME_MARK}{rules}{end}{POLICY_MARK}{policy}")
        }
    }
}

/// Whether `text` is that of several files, with runtime rules or without.
#[must_use]
pub fn is_bundle(text: &str) -> bool {
    let (_, policy) = runtime(text);
    let mut lines = policy.lines();
    lines.next().and_then(marked) == Some(MAIN)
}

/// The files of a policy in order, the first of them [`MAIN`]; or the text as its one part. The
/// runtime rules are the last, if there are any.
#[must_use]
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let (runtime, policy) = runtime(text);
    let mut parts = files(policy);
    parts.extend(runtime.map(|text| Part {
        path: RUNTIME,
        text,
    }));
    parts
}

/// The files of a policy without runtime rules.
fn files(text: &str) -> Vec<Part<'_>> {
    if !is_bundle(text) {
        return vec![Part { path: "", text }];
    }
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let behind = at + line.len();
        if let Some(path) = marked(line.trim_end_matches(['\n', '\r'])) {
            if let Some(open) = parts.last_mut() {
                open.text = &text[start..at];
            }
            parts.push(Part { path, text: "" });
            start = behind;
        }
        at = behind;
    }
    if let Some(open) = parts.last_mut() {
        open.text = &text[start..];
    }
    parts
}

/// The one text of several files, as [`parts`] gives them. Each ends with a line break in it.
#[must_use]
pub fn join<'p>(parts: impl IntoIterator<Item = Part<'p>>) -> String {
    let mut out = String::new();
    for part in parts {
        match part.path {
            RUNTIME => return with_runtime(Some(part.text), &out),
            "" => {
                out.push_str(part.text);
                continue;
            }
            _ => {}
        }
        out.push_str(&format!("{MARK}{}\n{}", part.path, part.text));
        if !part.text.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// The number of the line in a file's text, from 1, that would be taken for the start of another
/// file. Such a text cannot be joined.
#[must_use]
pub fn start_inside(text: &str) -> Option<usize> {
    text.lines()
        .position(|line| marked(line).is_some())
        .map(|at| at + 1)
}

/// Whether a file of [`FOLDER`] may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    name.len() > ENDING.len()
        && name.ends_with(ENDING)
        && !name.starts_with('.')
        && name.bytes().all(fits)
}

/// The path that a line starts a file of.
fn marked(line: &str) -> Option<&str> {
    let path = line.strip_prefix(MARK)?;
    let sound = path == MAIN
        || path
            .strip_prefix(FOLDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(is_name);
    sound.then_some(path)
}

/// The name of a part for people: that of the policy, and below it the part's.
pub(crate) fn shown(policy: &str, part: &Part<'_>) -> String {
    match part.path {
        "" => return policy.to_owned(),
        RUNTIME => return RUNTIME.to_owned(),
        _ => {}
    }
    format!("{}/{}", policy.trim_end_matches('/'), part.path)
}

/// From places to spans, without counting lines from the top each time.
pub(crate) struct Lines<'t> {
    /// By the name for people: number of the source, text, and byte offset of each line.
    files: HashMap<String, (u32, &'t str, Vec<usize>)>,
    main: &'t str,
}

/// The text of a rule where it stands in the policy `text` with the name `name`.
#[must_use]
pub fn rule_text<'t>(name: &str, text: &'t str, rule: &Place) -> &'t str {
    Lines::of(name, text).entry(rule)
}

impl<'t> Lines<'t> {
    /// Those of the policy `text` with the name `name`.
    pub(crate) fn of(name: &str, text: &'t str) -> Self {
        let parts = parts(text);
        let main = parts.first().map_or("", |part| part.text);
        let files = (0..)
            .zip(&parts)
            .map(|(source, part)| {
                let behind = part.text.match_indices('\n').map(|(at, _)| at + 1);
                let starts = std::iter::once(0).chain(behind).collect();
                (shown(name, part), (source, part.text, starts))
            })
            .collect();
        Self { files, main }
    }

    /// What stands at a place, to the end of its line.
    pub(crate) fn span(&self, place: &Place) -> Span {
        let Some((source, text, starts)) = self.files.get(&place.file) else {
            return Span::default();
        };
        let Some(&start) = starts.get(place.line.saturating_sub(1) as usize) else {
            return Span::default();
        };
        let rest = text[start..].lines().next().unwrap_or_default();
        let span = Span::of_line(rest, 1, place.column);
        Span {
            source: *source,
            start: span.start + start as u32,
            end: span.end + start as u32,
            line: place.line,
            ..span
        }
    }

    /// The entry of a list whose first key stands at a place, from its dash to the line before the next
    /// entry.
    pub(crate) fn entry(&self, place: &Place) -> &'t str {
        let Some((_, text, starts)) = self.files.get(&place.file) else {
            return "";
        };
        let Some(&start) = starts.get(place.line.saturating_sub(1) as usize) else {
            return "";
        };
        let indented = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let rest = &text[start..];
        let mut lines = rest.split_inclusive('\n');
        let first = lines.next().unwrap_or_default();
        // Entries of one list begin in one column, and what belongs to them behind it.
        let dash = match first.trim_start().starts_with('-') {
            true => indented(first),
            false => (place.column as usize).saturating_sub(1),
        };
        let inside = |line: &&str| !line.trim().is_empty() && indented(line) > dash;
        let more: usize = lines.take_while(inside).map(str::len).sum();
        rest[..first.len() + more].trim_end()
    }

    /// The line of the first file that begins with `key`.
    pub(crate) fn key(&self, key: &str) -> Span {
        let mut start = 0;
        for (line, content) in (1..).zip(self.main.split_inclusive('\n')) {
            if content.starts_with(key) {
                return Span {
                    source: 0,
                    start,
                    end: start + key.len() as u32,
                    line,
                    column: 1,
                };
            }
            start += content.len() as u32;
        }
        Span {
            end: 1,
            line: 1,
            column: 1,
            ..Span::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_and_taking_apart_undo_each_other() {
        let files = [
            Part {
                path: "firewall.yaml",
                text: "---\nversion: 1\n",
            },
            Part {
                path: "rules.d/10-web.yaml",
                text: "",
            },
            Part {
                path: "rules.d/20-mail.yaml",
                text: "# --- # file: firewall.yaml\n--- # file: ../../etc/passwd\nrules: []\r\n",
            },
        ];
        let mut with_break = files;
        with_break[1].text = "\n";
        let text = join(files);
        assert_eq!(parts(&text), with_break);
        assert_eq!(join(parts(&text)), text);
    }

    #[test]
    fn a_text_without_the_first_line_is_one_file() {
        for text in [
            "",
            "version: 1\n--- # file: firewall.yaml\n",
            "--- # file: rules.d/a.yaml\n",
            " --- # file: firewall.yaml\n",
        ] {
            assert_eq!(parts(text), [Part { path: "", text }]);
        }
    }

    #[test]
    fn runtime_rules_stand_before_a_policy_of_one_file_or_several() {
        let directory = join([Part {
            path: "firewall.yaml",
            text: "version: 1\n",
        }]);
        for policy in ["version: 1", "--- # policy\n", "", &directory] {
            let text = with_runtime(Some("version: 1\nrules: []\n"), policy);
            assert_eq!(runtime(&text), (Some("version: 1\nrules: []\n"), policy));
            assert_eq!(join(parts(&text)), text);
            assert_eq!(with_runtime(None, &text), policy);
            assert_eq!(is_bundle(&text), policy == directory);
            let last = parts(&text).pop().map(|part| part.path);
            assert_eq!(last, Some(RUNTIME));
        }
        let cut_off = "--- # runtime rules\nversion: 1\n";
        assert_eq!(runtime(cut_off), (None, cut_off));
    }

    #[test]
    fn a_start_inside_a_file_is_found() {
        assert_eq!(start_inside("a\n--- # file: rules.d/a.yaml\n"), Some(2));
        assert_eq!(start_inside("a\n--- # file: /etc/passwd\n---\n"), None);
    }
}
