//! Values on one line, in YAML's flow form.

use crate::ast::{Key, Node, Span, Value};

/// A node on one line. Mappings have their keys in canonical order.
pub(super) fn flow(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Scalar { text, plain } => scalar(text, *plain),
        Value::List(list) => {
            let items: Vec<String> = list.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let pairs: Vec<String> = ordered(map)
                .into_iter()
                .map(|(key, value)| format!("{}: {}", scalar(&key.text, true), flow(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// Pairs in canonical order; keys that have none come before the last ones, as they stand.
pub(super) fn ordered<'m, 'a>(map: &'m [(Key<'a>, Node<'a>)]) -> Vec<(&'m Key<'a>, &'m Node<'a>)> {
    let mut pairs: Vec<_> = map.iter().map(|(key, node)| (key, node)).collect();
    pairs.sort_by_key(|(key, _)| super::rank_of_key(&key.text));
    pairs
}

/// Text as it was written, plain or in quotes. Plain text that the flow form would read in another
/// way gets quotes; nothing that is given a meaning by its form (a number, a truth value) does.
pub(super) fn scalar(text: &str, plain: bool) -> String {
    let inside = |c: char| {
        c.is_control()
            || matches!(
                c,
                ',' | '[' | ']' | '{' | '}' | '"' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'
            )
    };
    let starts = text.starts_with(|c: char| {
        matches!(
            c,
            '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '%' | '@' | '`' | '?' | ' '
        )
    });
    let ends = text.ends_with([':', ' ']);
    let marks = text.contains(": ") || text.contains(" #") || text.starts_with("- ") || text == "-";
    if plain && !text.is_empty() && !text.contains(inside) && !starts && !ends && !marks {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\U{:08x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Where a node's first word stands.
pub(super) fn start(node: &Node<'_>) -> Span {
    match &node.value {
        Value::Map(map) => map.first().map_or(node.span, |(key, _)| key.span),
        _ => node.span,
    }
}

/// The last thing in a node that has a place of its own.
pub(super) fn end(node: &Node<'_>) -> Span {
    match &node.value {
        Value::Map(map) => map.last().map_or(node.span, |(key, value)| {
            if matches!(value.value, Value::Null) {
                key.span
            } else {
                end(value)
            }
        }),
        Value::List(list) => list.last().map_or(node.span, end),
        _ => node.span,
    }
}
