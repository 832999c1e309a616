//! `from` and `to`: addresses, `@set` and negation, to the set of one side of a rule.

use super::addr::Ranges;
use super::set::{Content, Sets};
use super::shape::{Cx, MAX_RANGES, items, scalar};
use crate::ast::{Node, Span};
use crate::diag::{codes, show};
use crate::rule::AddrSet;

/// `from` or `to`: what the positive elements name, less what the negated ones name; with negated
/// elements only, everything else of both families.
pub(super) fn read(
    cx: &mut Cx<'_>,
    key: &str,
    node: &Node<'_>,
    sets: &mut Sets,
) -> Option<AddrSet> {
    let (mut taken, mut away) = (Ranges::default(), Ranges::default());
    let (mut sound, mut positive, mut negative) = (true, false, false);
    let items = items(cx, node, key)?;
    if let [item] = items
        && let Some(name) = item.scalar().and_then(|text| text.strip_prefix('@'))
    {
        return set(cx, item.span, name, sets).cloned();
    }
    for item in items {
        let expected = format!("`{key}` is an address, a prefix, \"@set\" or a list of those");
        let Some(text) = scalar(cx, item, &expected, "an address such as 10.0.0.0/8") else {
            sound = false;
            continue;
        };
        let (side, text) = match text.strip_prefix('!') {
            Some(rest) => {
                negative = true;
                (&mut away, rest.trim_start())
            }
            None => {
                positive = true;
                (&mut taken, text)
            }
        };
        sound &= address(cx, item.span, text, side, sets);
    }
    if !sound {
        return None;
    }
    // As many ranges as both have come out at most, and one more of each family.
    if !cx.keep_ranges(node.span, taken.len() + away.len()) {
        return None;
    }
    let (taken, away) = (taken.finish(), away.finish());
    if !negative {
        return Some(taken);
    }
    let rest = away.complement();
    if !positive {
        return Some(rest);
    }
    let left = AddrSet {
        v4: taken.v4.intersection(&rest.v4),
        v6: taken.v6.intersection(&rest.v6),
    };
    if left == AddrSet::none() && taken != AddrSet::none() {
        cx.sink
            .error(
                &codes::NOTHING_LEFT,
                node.span,
                format!("`{key}` matches nothing"),
            )
            .help("the elements with `!` take away everything that the others name");
        return None;
    }
    Some(left)
}

fn address(cx: &mut Cx<'_>, span: Span, text: &str, into: &mut Ranges, sets: &mut Sets) -> bool {
    let Some(name) = text.strip_prefix('@') else {
        return match into.add(text) {
            Ok(()) => true,
            Err(fault) => {
                cx.sink
                    .error(fault.code, span, fault.message)
                    .help(fault.help);
                false
            }
        };
    };
    let Some(set) = set(cx, span, name, sets) else {
        return false;
    };
    // Counted before it is copied.
    if into.len() + set.len() > MAX_RANGES {
        return cx.keep_ranges(span, MAX_RANGES + 1);
    }
    into.add_set(set);
    true
}

/// The addresses of `@name`; reports what is no set of addresses.
fn set<'s>(cx: &mut Cx<'_>, span: Span, name: &str, sets: &'s mut Sets) -> Option<&'s AddrSet> {
    match sets.find(cx, span, name)? {
        Content::Cidr(set) => Some(set),
        Content::Port(_) => {
            cx.sink
                .error(
                    &codes::SET_TYPE,
                    span,
                    format!("`@{}` is a set of ports, not of addresses", show(name)),
                )
                .help("use it with `port:` or `source_port:`; a set of addresses has `type: cidr`");
            None
        }
        Content::Broken => None,
    }
}
