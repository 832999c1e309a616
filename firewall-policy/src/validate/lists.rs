//! Lists without their brackets: `from: 10.0.0.1, 10.0.0.2` in braces, `port: 80,443` on a line of its own,
//! `admins: [10.0.0.1]` for a set. Each is answered with the line to write.
//!
//! It says what to write where a value cannot be read, and looks at values to that end alone: a line to
//! write names nothing that the key does not take.

use super::{foreign, meant};
use crate::ast::{Key, Node, Span, Value};
use crate::diag::{Sink, codes, show};
use crate::fields::{self, Form};

/// Values that a line to write shows.
const SHOWN: usize = 12;

/// Keys that take lists, by their table; those of match fields stand in [`fields`].
const LISTS: &[(&str, &[&str])] = &[
    ("a rule", &["ethertype"]),
    ("a set", &["elements"]),
    ("an interface", &["match"]),
    ("`flags`", &["set", "clear"]),
];

/// An entry of a mapping.
type Entry<'a> = (Key<'a>, Node<'a>);

/// Whether a key of a table takes a list.
fn takes_list(of: &str, key: &str) -> bool {
    let of_field = |row: &fields::Row| !matches!(row.form, Form::Icmp | Form::Flags);
    let named = |(table, keys): &(&str, &[&str])| *table == of && keys.contains(&key);
    of == "a rule" && fields::by_key(key).is_some_and(of_field) || LISTS.iter().any(named)
}

/// Words that stand alone behind a value, of which the list has lost its brackets: YAML takes each for a
/// key with nothing behind it.
pub(super) struct Loose<'n, 'a> {
    of: &'static str,
    /// The entry before them, if they can belong to it.
    head: Option<&'n Entry<'a>>,
    words: Vec<(Span, &'n str)>,
    more: bool,
}

impl<'n, 'a> Loose<'n, 'a> {
    pub(super) const fn new(of: &'static str) -> Self {
        Self {
            of,
            head: None,
            words: Vec::new(),
            more: false,
        }
    }

    /// Takes the next entry of the mapping; whether it is a loose word. What came together is reported
    /// when it ends.
    pub(super) fn take(
        &mut self,
        sink: &mut Sink<'_>,
        entry: &'n Entry<'a>,
        is_known: bool,
    ) -> bool {
        let (key, value) = entry;
        if !is_known && matches!(value.value, Value::Null) && self.head.is_some() {
            if self.words.len() < SHOWN {
                self.words.push((key.span, &key.text));
            } else {
                self.more = true;
            }
            return true;
        }
        self.end(sink);
        let has_value = matches!(value.value, Value::Scalar { .. } | Value::List(_));
        self.head = (is_known && has_value && takes_list(self.of, &key.text)).then_some(entry);
        false
    }

    /// Reports what has come together.
    pub(super) fn end(&mut self, sink: &mut Sink<'_>) {
        let words = std::mem::take(&mut self.words);
        let more = std::mem::take(&mut self.more);
        let (Some((key, value)), Some(&(span, first))) = (self.head.take(), words.first()) else {
            return;
        };
        let before = value.items().iter().filter_map(Node::scalar).take(SHOWN);
        let all: Vec<&str> = before.chain(words.iter().map(|&(_, word)| word)).collect();
        let message = format!("`{}` stands alone behind `{}`", show(first), key.text);
        let help = match all.split_last() {
            _ if all.iter().all(|value| meant::fits(&key.text, value)) => {
                write(&key.text, &all, more)
            }
            Some((action, rest))
                if meant::is_action(action)
                    && !more
                    && rest.iter().all(|value| meant::fits(&key.text, value)) =>
            {
                format!(
                    "write `{}: {}, action: {action}`",
                    key.text,
                    one_or_list(rest)
                )
            }
            _ => format!(
                "write `key: value` for each key; several values of one stand in brackets: \
                 `{}: [..., ...]`",
                key.text
            ),
        };
        sink.error(&codes::UNKNOWN_KEY, span, message).help(help);
    }
}

/// Reports several values of a list in one text; whether it did.
pub(super) fn in_one_text(sink: &mut Sink<'_>, node: &Node<'_>, key: &str) -> bool {
    let found = node.items().iter().find_map(|item| {
        let parts = parts(item.scalar()?);
        (parts.len() > 1).then_some((item, parts))
    });
    let Some((item, parts)) = found else {
        return false;
    };
    let text = item.scalar().unwrap_or_default();
    if let Some(one) = meant::one(key, text) {
        let message = format!("`{}` is not written so", show(text));
        let one = in_yaml(&one);
        let help = match node.value {
            Value::List(_) => format!("write `{one}`"),
            _ => format!("write `{key}: {one}`"),
        };
        sink.error(&codes::WRONG_KIND, item.span, message)
            .help(help);
        return true;
    }
    if !parts.iter().all(|part| meant::fits(key, part)) {
        return false;
    }
    let message = format!("`{}` is {} values in one text", show(text), parts.len());
    let values = node.items().iter().filter_map(Node::scalar);
    let all: Vec<&str> = values
        .flat_map(|text| match self::parts(text) {
            several if several.len() > 1 => several,
            _ => vec![text],
        })
        .collect();
    let help = write(key, &all[..all.len().min(SHOWN)], all.len() > SHOWN);
    sink.error(&codes::WRONG_KIND, item.span, message)
        .help(help);
    true
}

/// The values that stand in a text, with commas or blanks between them.
pub(super) fn parts(text: &str) -> Vec<&str> {
    let parts: Vec<&str> = if text.contains(',') {
        text.split(',').map(str::trim).collect()
    } else if text.contains(char::is_whitespace) {
        text.split_whitespace().collect()
    } else {
        return Vec::new();
    };
    // A range and a negation may have blanks inside.
    let has_sign = |part: &&str| part.starts_with('-') || part.ends_with(['-', '!']);
    if !text.contains(',') && parts.iter().any(has_sign) {
        return Vec::new();
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// The help for a list of these values.
fn write(key: &str, values: &[&str], more: bool) -> String {
    if let Some(help) = foreign::word(key, &values.join(",")) {
        return help;
    }
    format!(
        "a list needs brackets: write `{key}: {}`",
        list(values, more)
    )
}

/// `[80, 443]`.
fn list(values: &[&str], more: bool) -> String {
    let mut items: Vec<String> = values.iter().map(|value| in_yaml(value)).collect();
    items.extend(more.then(|| "...".to_owned()));
    format!("[{}]", items.join(", "))
}

/// `80`, or `[80, 443]`.
fn one_or_list(values: &[&str]) -> String {
    match values {
        [one] => in_yaml(one),
        several => list(several, false),
    }
}

/// A value as it stands in a list, in quotes where YAML needs them.
fn in_yaml(value: &str) -> String {
    let special = value.starts_with(['@', '!', '*', '&', ':', '%', '`']) || value.ends_with(':');
    match show(value) {
        text if special => format!("\"{text}\""),
        text => text,
    }
}

/// Reports a set that is a list, an address or a file in place of a mapping; whether it did.
pub(super) fn bare_set(sink: &mut Sink<'_>, node: &Node<'_>, name: &str) -> bool {
    let texts: Vec<&str> = match &node.value {
        Value::Scalar { text, .. } => match parts(text) {
            several if several.len() > 1 => several,
            _ => vec![text],
        },
        Value::List(items) => items.iter().filter_map(Node::scalar).collect(),
        Value::Null | Value::Map(_) => return false,
    };
    let (is_port, is_file) = (texts.iter().all(|text| is_port(text)), is_file(&texts));
    let body = match texts.as_slice() {
        [] => "type: cidr, elements: [...]".to_owned(),
        [file] if is_file => format!("type: cidr, file: {}", in_yaml(file)),
        some => {
            let kind = if is_port { "port" } else { "cidr" };
            let shown = &some[..some.len().min(SHOWN)];
            format!(
                "type: {kind}, elements: {}",
                list(shown, some.len() > SHOWN)
            )
        }
    };
    let message = format!("a set is a mapping, not {}", node.kind());
    sink.error(&codes::WRONG_KIND, node.span, message)
        .help(format!("write `{}: {{{body}}}`", show(name)));
    true
}

/// Whether a text is a port or a range of ports.
pub(super) fn is_port(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().is_ok();
    match text.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(text),
    }
}

/// Whether a set is the name of a file.
fn is_file(texts: &[&str]) -> bool {
    let [text] = texts else { return false };
    let ends = [".txt", ".list", ".netset", ".ipset", ".csv"];
    text.starts_with(['/', '.']) || ends.iter().any(|end| text.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn ranges_and_negations_are_one_value() {
        for one in ["80", "8000 - 8010", "! 10.0.0.1", "10.0.0.1 -10.0.0.9", ""] {
            assert!(parts(one).len() < 2, "{one}");
        }
        assert_eq!(parts("80,443"), ["80", "443"]);
        assert_eq!(parts("10.0.0.1, 10.0.0.2"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(parts("tcp udp"), ["tcp", "udp"]);
        assert_eq!(parts("80,"), ["80"]);
    }
}
