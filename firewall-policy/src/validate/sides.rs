//! `from` and `to`: addresses, `@set` and negation, to the set of one side of a rule. Live sets are
//! no addresses yet: they become a field of their own, the sets that a packet's address is in.

use super::addr::Ranges;
use super::set::{Content, Sets};
use super::shape::{Cx, MAX_RANGES, items, scalar};
use crate::ast::{Node, Span};
use crate::diag::{codes, show};
use crate::range::RangeSet;
use crate::rule::AddrSet;
use firewall_common::live::SETS;

/// One side of a rule.
pub(super) struct Side {
    /// The addresses.
    pub(super) addresses: AddrSet,
    /// The live sets that a packet's address may be in, if the rule names any: every combination
    /// of them, a bit for each.
    pub(super) sets: Option<RangeSet<u32>>,
}

impl Side {
    const fn of(addresses: AddrSet) -> Self {
        Self {
            addresses,
            sets: None,
        }
    }
}

/// The live sets that elements name, a bit for each.
#[derive(Default)]
struct Named {
    positive: u32,
    negative: u32,
}

impl Named {
    fn accepted(&self) -> Option<RangeSet<u32>> {
        if self.positive | self.negative == 0 {
            return None;
        }
        let fits = |sets: &u32| {
            (self.positive == 0 || sets & self.positive != 0) && sets & self.negative == 0
        };
        let sets = (0..1 << SETS).filter(fits).map(|sets| (sets, sets));
        Some(RangeSet::from_ranges(sets.collect()))
    }
}

/// `from` or `to`: what the positive elements name, less what the negated ones name; with negated
/// elements only, everything else of both families.
pub(super) fn read(cx: &mut Cx<'_>, key: &str, node: &Node<'_>, sets: &mut Sets) -> Option<Side> {
    let mut named = Named::default();
    let (mut taken, mut away) = (Ranges::default(), Ranges::default());
    let (mut sound, mut positive, mut negative) = (true, false, false);
    let items = items(cx, node, key)?;
    if let [item] = items
        && let Some(name) = item.scalar().and_then(|text| text.strip_prefix('@'))
    {
        return one_set(cx, item.span, name, sets);
    }
    // The first element of each kind, of those without `!`.
    let (mut fixed, mut live) = (None, None);
    for item in items {
        let expected = format!("`{key}` is an address, a prefix, \"@set\" or a list of those");
        let Some(text) = scalar(cx, item, &expected, "an address such as 10.0.0.0/8") else {
            sound = false;
            continue;
        };
        let (is_negated, side, text) = match text.strip_prefix('!') {
            Some(rest) => (true, &mut away, rest.trim_start()),
            None => (false, &mut taken, text),
        };
        match address(cx, item.span, text, side, sets) {
            None => sound = false,
            Some(Some(number)) if is_negated => named.negative |= 1 << number,
            Some(Some(number)) => {
                named.positive |= 1 << number;
                live.get_or_insert((item.span, text));
            }
            Some(None) if is_negated => negative = true,
            Some(None) => {
                positive = true;
                fixed.get_or_insert(item.span);
            }
        }
    }
    if let (Some(fixed), Some((span, text))) = (fixed, live) {
        cx.sink
            .error(
                &codes::LIVE_BESIDE,
                span,
                format!(
                    "`{}` is a live set, and stands beside addresses",
                    show(text)
                ),
            )
            .also(fixed, "these stand in the policy")
            .help("add the addresses to the set (`elements`), or write two rules");
        return None;
    }
    if !sound {
        return None;
    }
    // As many ranges as both have come out at most, and one more of each family.
    if !cx.keep_ranges(node.span, taken.len() + away.len()) {
        return None;
    }
    let kinds = (positive, negative);
    let side = left(named.accepted(), taken.finish(), &away.finish(), kinds);
    if side.is_none() {
        nothing_left(cx, key, node.span);
    }
    side
}

/// A set alone, which is taken as it is.
fn one_set(cx: &mut Cx<'_>, span: Span, name: &str, sets: &mut Sets) -> Option<Side> {
    match set(cx, span, name, sets)? {
        Content::Live(number) => Some(Side {
            addresses: AddrSet::any(),
            sets: Named {
                positive: 1 << number,
                negative: 0,
            }
            .accepted(),
        }),
        Content::Cidr(set) => Some(Side::of(set.clone())),
        _ => None,
    }
}

/// What is left of the addresses `taken` without those that are taken `away`; `None` if that is
/// nothing. `positive` and `negative` say whether there are elements of these kinds.
fn left(
    sets: Option<RangeSet<u32>>,
    taken: AddrSet,
    away: &AddrSet,
    (positive, negative): (bool, bool),
) -> Option<Side> {
    if sets.as_ref().is_some_and(RangeSet::is_empty) {
        return None;
    }
    let addresses = match (positive, negative) {
        (false, false) if sets.is_some() => AddrSet::any(),
        (_, false) => taken,
        (false, true) => {
            let left = away.complement();
            if left == AddrSet::none() {
                return None;
            }
            left
        }
        (true, true) => {
            let rest = away.complement();
            let left = AddrSet {
                v4: taken.v4.intersection(&rest.v4),
                v6: taken.v6.intersection(&rest.v6),
            };
            if left == AddrSet::none() && taken != AddrSet::none() {
                return None;
            }
            left
        }
    };
    Some(Side { addresses, sets })
}

/// Addresses that must be known when the policy is read, such as those of `exempt`: as [`read`], and
/// no live sets, nothing that is taken away.
pub(super) fn fixed(
    cx: &mut Cx<'_>,
    key: &str,
    node: &Node<'_>,
    sets: &mut Sets,
) -> Option<AddrSet> {
    for item in items(cx, node, key)? {
        let text = item.scalar().unwrap_or_default();
        if text.starts_with('!') {
            cx.sink
                .error(
                    &codes::EXEMPT,
                    item.span,
                    format!("`{key}` takes nothing away"),
                )
                .help("name what is meant, without `!`: addresses, prefixes, sets");
            return None;
        }
    }
    let side = read(cx, key, node, sets)?;
    if side.sets.is_none() {
        return Some(side.addresses);
    }
    cx.sink
        .error(
            &codes::EXEMPT,
            node.span,
            format!("`{key}` names a live set, whose content is not the policy's"),
        )
        .help(
            "name addresses, or a set without `live: true`; what this host needs (`@self`, its \
             gateways and resolvers) is never banned by a rule",
        );
    None
}

fn nothing_left(cx: &mut Cx<'_>, key: &str, span: Span) {
    cx.sink
        .error(
            &codes::NOTHING_LEFT,
            span,
            format!("`{key}` matches nothing"),
        )
        .help("the elements with `!` take away everything that the others name");
}

/// Takes one element's addresses, or gives the number of the live set that it names. `None` after
/// an error.
fn address(
    cx: &mut Cx<'_>,
    span: Span,
    text: &str,
    into: &mut Ranges,
    sets: &mut Sets,
) -> Option<Option<u32>> {
    let Some(name) = text.strip_prefix('@') else {
        return match into.add(text) {
            Ok(()) => Some(None),
            Err(fault) => {
                cx.sink
                    .error(fault.code, span, fault.message)
                    .help(fault.help);
                None
            }
        };
    };
    let set = match set(cx, span, name, sets)? {
        Content::Live(number) => return Some(Some(*number)),
        Content::Cidr(set) => set,
        _ => return None,
    };
    // Counted before it is copied.
    if into.len() + set.len() > MAX_RANGES {
        cx.keep_ranges(span, MAX_RANGES + 1);
        return None;
    }
    into.add_set(set);
    Some(None)
}

/// The set `@name`; reports what is no set of addresses.
fn set<'s>(cx: &mut Cx<'_>, span: Span, name: &str, sets: &'s mut Sets) -> Option<&'s Content> {
    match sets.find(cx, span, name)? {
        found @ (Content::Cidr(_) | Content::Live(_)) => Some(found),
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
