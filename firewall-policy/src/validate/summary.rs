//! A rule's match, and its limit, in one line, in the words of the policy: `tcp port 80,443 from @admins`.

use super::shape::Table;
use crate::ast::{Node, Value};

/// Elements of a list that are shown before the rest is counted.
const SHOWN: usize = 4;

/// Fields after the protocol, in reading order, and the word in front of each.
const FIELDS: &[(&str, &str)] = &[
    ("icmp", "type"),
    ("port", "port"),
    ("to_port", "port"),
    ("source_port", "source port"),
    ("from", "from"),
    ("to", "to"),
    ("state", "state"),
    ("zone", "in zone"),
    ("flags", "flags"),
    ("vlan", "vlan"),
    ("dscp", "dscp"),
    ("ttl", "ttl"),
    ("length", "length"),
    ("limit", "limit"),
    ("syn_protect", "syn_protect"),
    ("ban", "ban"),
    ("log", "log"),
];

/// The line; `any` for a rule that matches everything.
pub(super) fn line(table: &Table<'_, '_>) -> String {
    let mut words = Vec::new();
    if let Some(node) = table.get("proto") {
        words.push(list(node));
    }
    for &(key, word) in FIELDS {
        if let Some(node) = table.get(key) {
            words.push(format!("{word} {}", value(key, node)));
        }
    }
    if words.is_empty() {
        "any".into()
    } else {
        words.join(" ")
    }
}

fn value(key: &str, node: &Node<'_>) -> String {
    let part = |node: &Node<'_>, wanted: &str| match &node.value {
        Value::Map(map) => map
            .iter()
            .find(|(k, _)| k.text == wanted)
            .map(|(_, node)| list(node)),
        _ => None,
    };
    match key {
        "icmp" => node
            .items()
            .iter()
            .map(|item| {
                let kind = part(item, "type").unwrap_or_default();
                match part(item, "code") {
                    Some(code) => format!("{kind} code {code}"),
                    None => kind,
                }
            })
            .collect::<Vec<_>>()
            .join(", "),
        "flags" => {
            let set = part(node, "set").map(|flags| flags.replace(',', "+"));
            let clear = part(node, "clear").map(|flags| format!("!{}", flags.replace(',', "+!")));
            set.into_iter().chain(clear).collect::<Vec<_>>().join("+")
        }
        "limit" => super::limit::line(node),
        _ => list(node),
    }
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
