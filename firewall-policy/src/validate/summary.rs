//! A rule's match, and its limit, in one line, in the words of the policy: `tcp port 80,443 from @admins`.

use super::shape::Table;
use crate::ast::{Node, Value};
use crate::fields::{Form, ROWS};

/// Elements of a list that are shown before the rest is counted.
const SHOWN: usize = 4;

/// Stands first: a rule that has it is about frames that are not IP.
const ETHERTYPE: &str = "ethertype";

/// What stands behind the match, which begins with itself as its word.
const MORE: [&str; 4] = ["limit", "syn_protect", "ban", "log"];

/// The line; `any` for a rule that matches everything.
pub(super) fn line(table: &Table<'_, '_>) -> String {
    let mut words = Vec::new();
    if let Some(node) = table.get(ETHERTYPE) {
        words.push(format!("{ETHERTYPE} {}", list(node)));
    }
    for row in &ROWS {
        for node in row.keys.iter().filter_map(|key| table.get(key)) {
            let values = match row.form {
                Form::Icmp => icmp(node),
                Form::Flags => flags(node),
                _ => list(node),
            };
            // The protocol stands first and without a word.
            let space = if row.word.is_empty() { "" } else { " " };
            words.push(format!("{}{space}{values}", row.word));
        }
    }
    if let Some(node) = table.get("options") {
        words.push(format!("options {}", list(node)));
    }
    if let Some(node) = table.get("payload") {
        words.push(payload(node));
    }
    for key in MORE {
        if let Some(node) = table.get(key) {
            let value = match key {
                "limit" => super::limit::line(node),
                _ => list(node),
            };
            words.push(format!("{key} {value}"));
        }
    }
    if words.is_empty() {
        "any".into()
    } else {
        words.join(" ")
    }
}

/// The list at a key of a mapping.
fn part(node: &Node<'_>, wanted: &str) -> Option<String> {
    let Value::Map(map) = &node.value else {
        return None;
    };
    map.iter()
        .find(|(key, _)| key.text == wanted)
        .map(|(_, node)| list(node))
}

/// `payload ff ff at 4`, `payload \"TSource\"`.
fn payload(node: &Node<'_>) -> String {
    let text = part(node, "text").map(|text| format!("{text:?}"));
    let bytes = text.or_else(|| part(node, "bytes")).unwrap_or_default();
    match part(node, "offset").filter(|at| at != "0") {
        Some(at) => format!("payload {bytes} at {at}"),
        None => format!("payload {bytes}"),
    }
}

/// `echo-request, destination-unreachable code 4`.
fn icmp(node: &Node<'_>) -> String {
    let items = node.items().iter().map(|item| {
        let kind = part(item, "type").unwrap_or_default();
        match part(item, "code") {
            Some(code) => format!("{kind} code {code}"),
            None => kind,
        }
    });
    items.collect::<Vec<_>>().join(", ")
}

/// `syn+!ack`.
fn flags(node: &Node<'_>) -> String {
    let set = part(node, "set").map(|flags| flags.replace(',', "+"));
    let clear = part(node, "clear").map(|flags| format!("!{}", flags.replace(',', "+!")));
    set.into_iter().chain(clear).collect::<Vec<_>>().join("+")
}

fn list(node: &Node<'_>) -> String {
    let items = node.items();
    let shown: Vec<&str> = items.iter().take(SHOWN).filter_map(Node::scalar).collect();
    let mut line = shown.join(",");
    if items.len() > SHOWN {
        line.push_str(&format!(",... ({})", items.len()));
    }
    line
}
