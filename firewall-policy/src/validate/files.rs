//! The files of a directory policy become one tree: their `sets`, `rules` and `tests` are put
//! behind those of `firewall.yaml`, in the order of the files; runtime rules before all others. May not give a rule or a set a
//! meaning.
//!
//! Spans keep the file that they point into, so what is said about the tree later names the right
//! file and line.

use super::shape::{Cx, Table, wrong_kind};
use super::{KEYS, Keys, version};
use crate::ast::{Key, Node, Span, Value};
use crate::bundle::MAIN;
use crate::diag::codes;
use std::collections::HashMap;

/// What a file of `rules.d` may hold.
pub(crate) const FILE: Keys = Keys {
    of: "a file of `rules.d`",
    known: &["version", "sets", "rules", "tests"],
    reserved: KEYS.reserved,
};

/// One tree of several; the first is that of the main file.
pub(super) fn merge<'a>(cx: &mut Cx<'a>, roots: Vec<Node<'a>>) -> Option<Node<'a>> {
    let mut roots = roots.into_iter();
    let mut main = roots.next()?;
    let Value::Map(into) = &mut main.value else {
        return Some(main);
    };
    for root in roots {
        add(cx, into, root);
    }
    Some(main)
}

/// Adds what one more file holds.
fn add<'a>(cx: &mut Cx<'a>, into: &mut Vec<(Key<'a>, Node<'a>)>, mut root: Node<'a>) {
    if let Value::Map(map) = &mut root.value {
        map.retain(|(key, _)| {
            let misplaced = KEYS.known.contains(&&*key.text) && !FILE.known.contains(&&*key.text);
            if misplaced {
                cx.sink
                    .error(
                        &codes::MISPLACED,
                        key.span,
                        format!("`{}` stands in {MAIN} only", key.text),
                    )
                    .help(format!(
                        "move it there; {} may hold version, sets, rules and tests",
                        FILE.of
                    ));
            }
            !misplaced
        });
    }
    let Some(table) = Table::read(cx, &root, &FILE) else {
        return;
    };
    version(cx, &table);
    let Value::Map(map) = root.value else {
        return;
    };
    for (key, node) in map {
        let known = into.iter_mut().find(|(other, _)| other.text == key.text);
        match (known, &*key.text) {
            (None, "sets" | "rules" | "tests") => into.push((key, node)),
            (Some((_, present)), "sets") => sets(cx, present, node),
            (Some((_, present)), "rules" | "tests") => entries(cx, &key, present, node),
            _ => {}
        }
    }
}

/// Entries of a list behind those that are there, or before them if they are runtime rules. What is
/// wrong with `present` is said later.
fn entries<'a>(cx: &mut Cx<'a>, key: &Key<'a>, present: &mut Node<'a>, more: Node<'a>) {
    let more_span = more.span;
    match (&mut present.value, more.value) {
        (Value::List(list), Value::List(mut more)) => {
            if cx.sink.is_runtime(more_span) {
                std::mem::swap(list, &mut more);
            }
            list.extend(more);
        }
        (_, Value::List(_)) => {}
        (_, value) => {
            let node = Node {
                span: more_span,
                value,
            };
            wrong_kind(cx, &node, &format!("`{}` is a list", key.text)).help(format!(
                "write `{}:` and one entry after another, each behind `- `",
                key.text
            ));
        }
    }
}

/// Sets behind those that are there, with names that no other file has given.
fn sets<'a>(cx: &mut Cx<'a>, present: &mut Node<'a>, more: Node<'a>) {
    let Value::Map(more) = more.value else {
        wrong_kind(cx, &more, "`sets` is a mapping of names to sets")
            .help("write `sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}`");
        return;
    };
    let Value::Map(map) = &mut present.value else {
        return;
    };
    let mut names: HashMap<String, Span> = HashMap::with_capacity(map.len());
    names.extend(map.iter().map(|(key, _)| (key.text.to_string(), key.span)));
    for (key, node) in more {
        match names.get(&*key.text) {
            None => map.push((key, node)),
            Some(&first) => {
                cx.sink
                    .error(
                        &codes::DUPLICATE_NAME,
                        key.span,
                        format!("two sets have the name `{}`", key.text),
                    )
                    .label("again here")
                    .also(first, "first here")
                    .help("keep one of them, or write another name");
            }
        }
    }
}
