//! One rule as it is written: read from a text, compared with another, written in one line.
//!
//! May import `ast` and `diag` only, besides plain text. Two rules are the same if their values are,
//! whatever their order and their quotes.

use crate::ast::{Node, Value, yaml};
use crate::diag::Sink;
use crate::time;
use std::collections::BTreeMap;

/// What a rule that only passes or drops may be made of, so that the order among such rules with one
/// action decides nothing.
const PLAIN: [&str; 10] = [
    "name", "comment", "expires", "zone", "proto", "port", "from", "to", "action", "enabled",
];

/// What says nothing of which packets a rule is about and what becomes of them.
const LABELS: [&str; 3] = ["name", "comment", "expires"];

/// A rule: how it is written, and its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    /// In one line, in braces.
    pub(super) text: String,
    expires: Option<u64>,
    /// By key, each value as text that is equal for equal values.
    values: BTreeMap<String, String>,
}

impl Rule {
    /// Reads one rule in braces.
    pub(super) fn read(text: &str) -> Option<Self> {
        let list = format!("rules:\n  - {text}\n");
        let mut rules = rules(&list)?;
        let rule = rules.pop()?;
        (rules.is_empty() && rule.text == text).then_some(rule)
    }

    pub(super) fn of(text: &str, node: &Node<'_>) -> Option<Self> {
        let Value::Map(pairs) = &node.value else {
            return None;
        };
        let value = |wanted: &str| {
            let found = pairs.iter().find(|(key, _)| key.text == wanted)?;
            found.1.scalar()
        };
        let slice = text.get(node.span.start as usize..node.span.end as usize);
        let is_line =
            |slice: &&str| slice.starts_with('{') && slice.ends_with('}') && !slice.contains('\n');
        let name = value("name").unwrap_or_default().to_owned();
        Some(Self {
            expires: value("expires").and_then(time::parse),
            name,
            text: slice
                .filter(is_line)
                .map_or_else(|| flow(node), str::to_owned),
            values: pairs
                .iter()
                .map(|(key, node)| (key.text.to_string(), plain(node)))
                .collect(),
        })
    }

    /// The same rule with another name.
    pub(super) fn called(&self, name: &str) -> Option<Self> {
        if self.name == name {
            return Some(self.clone());
        }
        let list = format!("rules:\n  - {}\n", self.text);
        let mut sink = Sink::new("", &list);
        let root = yaml::parse(&list, 0, &mut sink)?;
        let node = rule_nodes(&root)?.first()?;
        let Value::Map(pairs) = &node.value else {
            return None;
        };
        let (_, old) = pairs.iter().find(|(key, _)| key.text == "name")?;
        let (start, end) = (old.span.start as usize, old.span.end as usize);
        let start_of_rule = node.span.start as usize;
        let text = format!("{}{name}{}", &list[start_of_rule..start], &list[end..]);
        let renamed = Self::read(text.trim_end())?;
        (renamed.name == name).then_some(renamed)
    }

    /// Whether both say the same in every respect.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.values == other.values
    }

    /// Whether both do the same with the same packets.
    pub(super) fn matches_alike(&self, other: &Self) -> bool {
        let matters = |key: &&String| !LABELS.contains(&key.as_str());
        let one = self.values.iter().filter(|(key, _)| matters(key));
        one.eq(other.values.iter().filter(|(key, _)| matters(key)))
    }

    /// Whether it makes no difference which of the two stands first.
    pub(super) fn commutes(&self, other: &Self) -> bool {
        let is_plain = |rule: &Self| rule.values.keys().all(|key| PLAIN.contains(&key.as_str()));
        let action = |rule: &Self| rule.values.get("action").cloned();
        is_plain(self) && is_plain(other) && action(self) == action(other)
    }

    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// The rules of one file; `None` if it is no file with a list of rules.
pub(super) fn rules(text: &str) -> Option<Vec<Rule>> {
    let mut sink = Sink::new("", text);
    let root = yaml::parse(text, 0, &mut sink)?;
    let nodes = rule_nodes(&root)?.iter();
    nodes.map(|node| Rule::of(text, node)).collect()
}

/// Whether a file holds a version and rules, and nothing else.
pub(super) fn has_rules_only(text: &str) -> bool {
    let mut sink = Sink::new("", text);
    let root = yaml::parse(text, 0, &mut sink);
    root.is_some_and(|root| match &root.value {
        Value::Map(pairs) => pairs
            .iter()
            .all(|(key, _)| ["version", "rules"].contains(&&*key.text)),
        _ => false,
    })
}

fn rule_nodes<'n, 'a>(root: &'n Node<'a>) -> Option<&'n [Node<'a>]> {
    let Value::Map(pairs) = &root.value else {
        return None;
    };
    match pairs.iter().find(|(key, _)| key.text == "rules") {
        None => Some(&[]),
        Some((_, node)) => match &node.value {
            Value::List(list) => Some(list),
            Value::Null => Some(&[]),
            _ => None,
        },
    }
}

/// Whether two trees say the same.
pub(super) fn same(one: &Node<'_>, other: &Node<'_>) -> bool {
    plain(one) == plain(other)
}

/// A value as text: equal for equal values.
fn plain(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "~".to_owned(),
        Value::Scalar { text, .. } => format!("{text:?}"),
        Value::List(list) => {
            let list: Vec<String> = list.iter().map(plain).collect();
            format!("[{}]", list.join(","))
        }
        Value::Map(pairs) => {
            let pairs: BTreeMap<&str, String> = pairs
                .iter()
                .map(|(key, node)| (&*key.text, plain(node)))
                .collect();
            format!("{pairs:?}")
        }
    }
}

/// A value in one line of YAML.
fn flow(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "~".to_owned(),
        Value::Scalar { text, plain: true } if is_safe(text) => text.to_string(),
        Value::Scalar { text, .. } => serde_json::Value::from(&**text).to_string(),
        Value::List(list) => {
            let list: Vec<String> = list.iter().map(flow).collect();
            format!("[{}]", list.join(", "))
        }
        Value::Map(pairs) => {
            let pair = |(key, node): &(crate::ast::Key<'_>, Node<'_>)| {
                format!("{}: {}", key.text, flow(node))
            };
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// Whether plain text means the same inside of braces.
fn is_safe(text: &str) -> bool {
    !text.contains([',', '[', ']', '{', '}', '\n', '#'])
        && !text.contains(": ")
        && !text.ends_with(':')
}
