//! The canonical form of a policy: the same policy, written in one way, with its comments.
//!
//! ```text
//! text ─► tree ─┬─► units (sections, entries of lists and of sets), in canonical order ─► text
//!      └► comments ┘
//! ```
//!
//! May not import `rule` or `compile`: what is written is what was written, never what was made of
//! it. Invariant: the result reads as the same policy, has every comment, and is its own canonical
//! form.

mod comments;
mod values;

use crate::ast::{Key, Node, Value, yaml};
use crate::bundle::{self, Part};
use crate::diag::{Diagnostics, Severity, Sink};
use crate::fields;
use comments::{Comments, Unit};

/// Longest line of an entry that is written on one line.
const WIDTH: usize = 100;

/// Sections in canonical order.
const SECTIONS: [&str; 10] = [
    "version",
    "mode",
    "interfaces",
    "default",
    "packet",
    "state",
    "sets",
    "exempt",
    "rules",
    "tests",
];

/// Keys of entries in canonical order: what it is called, what it matches, what it does. The match
/// fields stand in the order of their table, but for those that say where a packet comes from.
const BEFORE_FIELDS: [&str; 13] = [
    "match",
    "name",
    "comment",
    "owner",
    "reason",
    "enabled",
    "expires",
    "mode",
    "zone",
    "packet",
    "type",
    "state",
    "ethertype",
];

const BEHIND_FIELDS: [&str; 14] = [
    "options", "payload", "offset", "bytes", "text", "limit", "over", "ban", "log", "action",
    "expect", "by", "max", "elements",
];

/// The place of an entry's key in canonical order.
fn rank_of_key(key: &str) -> usize {
    let fields = &fields::KEYS;
    let orders: [&[&str]; 3] = [&BEFORE_FIELDS, fields, &BEHIND_FIELDS];
    let mut all = orders.into_iter().flatten();
    all.position(|&known| known == key)
        .unwrap_or(orders.map(<[_]>::len).iter().sum())
}

/// Writes a policy anew in canonical form, each of its files. The caller has read it, so that it is
/// valid.
///
/// # Errors
/// Text that is not YAML.
pub fn canonical(name: &str, text: &str) -> Result<String, Diagnostics> {
    let mut sink = Sink::new(name, text);
    let mut written = Vec::new();
    for (source, part) in (0..).zip(bundle::parts(text)) {
        let Some(root) = yaml::parse(part.text, source, &mut sink) else {
            return Err(sink.finish(Severity::Error));
        };
        written.push((part.path, file(part.text, &root)));
    }
    if let [("", text)] = &mut *written {
        return Ok(std::mem::take(text));
    }
    let parts = written.iter().map(|(path, text)| Part { path, text });
    Ok(bundle::join(parts))
}

/// One file in canonical form.
fn file(text: &str, root: &Node<'_>) -> String {
    let Value::Map(sections) = &root.value else {
        return text.to_owned();
    };
    let mut comments = Comments::of(text, root);
    let head = sections
        .first()
        .map_or(String::new(), |(key, _)| comments.head(key.span));
    let mut written: Vec<(usize, String)> = sections
        .iter()
        .map(|(key, node)| {
            (
                rank_of_section(&key.text),
                section(key, node, &mut comments),
            )
        })
        .collect();
    written.sort_by_key(|&(rank, _)| rank);
    let mut out = written
        .into_iter()
        .map(|(_, section)| section)
        .collect::<Vec<_>>()
        .join("\n");
    out.insert_str(0, &head);
    let rest = comments.rest();
    if !rest.is_empty() {
        out.push('\n');
        out.push_str(&rest);
    }
    out
}

fn rank_of_section(key: &str) -> usize {
    SECTIONS
        .iter()
        .position(|&known| known == key)
        .unwrap_or(SECTIONS.len())
}

/// One section, with its comments.
fn section(key: &Key<'_>, node: &Node<'_>, comments: &mut Comments<'_>) -> String {
    let name = values::scalar(&key.text, true);
    match &node.value {
        Value::List(list) if key.text != "match" && list.iter().all(is_map) && !list.is_empty() => {
            let mut out = comments
                .unit(key.span, key.span, 0)
                .wrap(&format!("{name}:"), 0);
            for item in list {
                let lists = commented_lists(item, comments);
                let unit = comments.unit(values::start(item), values::end(item), 2);
                out.push_str(&entry("- ", None, item, &unit, &lists));
            }
            out
        }
        Value::Map(map) if key.text == "sets" && !map.is_empty() => {
            let mut out = comments
                .unit(key.span, key.span, 0)
                .wrap(&format!("{name}:"), 0);
            for (key, item) in map {
                let lists = commented_lists(item, comments);
                let unit = comments.unit(key.span, values::end(item), 2);
                out.push_str(&entry("", Some(&key.text), item, &unit, &lists));
            }
            out
        }
        Value::Map(map) if has_comments(map, comments) => {
            let mut out = comments
                .unit(key.span, key.span, 0)
                .wrap(&format!("{name}:"), 0);
            for (key, value) in map {
                let unit = comments.unit(key.span, values::end(value), 2);
                out.push_str(&unit.wrap(&pair(key, value), 2));
            }
            out
        }
        Value::Map(map) => {
            let unit = comments.unit(key.span, values::end(node), 0);
            let line = format!("{name}: {}", values::flow(node));
            if line.len() <= WIDTH {
                return unit.wrap(&line, 0);
            }
            let mut block = format!("{name}:");
            for (key, value) in values::ordered(map) {
                block.push_str(&format!(
                    "\n  {}: {}",
                    values::scalar(&key.text, true),
                    values::flow(value)
                ));
            }
            unit.wrap(&block, 0)
        }
        _ => {
            let unit = comments.unit(key.span, values::end(node), 0);
            unit.wrap(&format!("{name}: {}", values::flow(node)), 0)
        }
    }
}

/// Whether the pairs of a mapping have comments of their own.
fn has_comments(map: &[(Key<'_>, Node<'_>)], comments: &Comments<'_>) -> bool {
    let (Some((first, _)), Some((last, value))) = (map.first(), map.last()) else {
        return false;
    };
    first.span.line != last.span.line && comments.between(first.span, values::end(value))
}

fn is_map(node: &Node<'_>) -> bool {
    matches!(node.value, Value::Map(_))
}

/// The lists of an entry whose elements have comments: the key, and the elements as lines.
fn commented_lists(node: &Node<'_>, comments: &mut Comments<'_>) -> Vec<(String, String)> {
    let Value::Map(map) = &node.value else {
        return Vec::new();
    };
    let mut lists = Vec::new();
    for (key, value) in map {
        let Value::List(list) = &value.value else {
            continue;
        };
        let (Some(first), Some(last)) = (list.first(), list.last()) else {
            continue;
        };
        let (first, last) = (values::start(first), values::end(last));
        // On one line there is one comment, which is the entry's.
        if first.line == last.line || !comments.between(first, last) {
            continue;
        }
        let mut lines = String::new();
        let mut since = key.span.line + 1;
        for item in list {
            let end = values::end(item);
            let unit = comments.unit_since(since.min(first.line), values::start(item), end, 6);
            lines.push_str(&unit.wrap(&format!("- {}", values::flow(item)), 6));
            since = end.line;
        }
        lists.push((key.text.to_string(), lines));
    }
    lists
}

/// An entry of a list (`dash` is `- `), or of the sets (`key` is its name): on one line if it fits
/// and none of its `lists` has comments of its own.
fn entry(
    dash: &str,
    key: Option<&str>,
    node: &Node<'_>,
    unit: &Unit,
    lists: &[(String, String)],
) -> String {
    let head = key.map_or(String::new(), |key| {
        format!("{}: ", values::scalar(key, true))
    });
    let line = format!("{dash}{head}{}", values::flow(node));
    let Value::Map(map) = &node.value else {
        return unit.wrap(&line, 2);
    };
    if line.len() + 2 <= WIDTH && lists.is_empty() {
        return unit.wrap(&line, 2);
    }
    let mut block = match key {
        Some(key) => format!("{}:", values::scalar(key, true)),
        None => String::new(),
    };
    for (number, (key, value)) in values::ordered(map).into_iter().enumerate() {
        block.push_str(match (number, dash) {
            (0, "- ") => "- ",
            _ => "\n  ",
        });
        match lists.iter().find(|(name, _)| *name == key.text) {
            // Its lines are whole already: `wrap` moves what it gets by two columns.
            Some((name, lines)) => {
                block.push_str(&format!("{}:", values::scalar(name, true)));
                for line in lines.lines() {
                    block.push('\n');
                    block.push_str(line.strip_prefix("  ").unwrap_or(line));
                }
            }
            None => block.push_str(&pair(key, value)),
        }
    }
    unit.wrap(&block, 2)
}

/// `key: value`; a list that is too long gets a line for each element.
fn pair(key: &Key<'_>, value: &Node<'_>) -> String {
    let name = values::scalar(&key.text, true);
    let line = format!("{name}: {}", values::flow(value));
    match &value.value {
        Value::List(list) if line.len() + 4 > WIDTH => {
            let mut block = format!("{name}:");
            for item in list {
                block.push_str(&format!("\n    - {}", values::flow(item)));
            }
            block
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests;
