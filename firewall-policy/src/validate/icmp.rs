//! ICMP and ICMPv6 types and codes, to the field value `type << 8 | code`.

use super::foreign::is_any;
use super::number::{self, Domain, Names};
use super::set::Sets;
use super::shape::{Cx, Keys, Table, wrong_kind};
use crate::ast::Node;
use crate::diag::{show, suggest};
use crate::range::RangeSet;
use crate::vocabulary::{self, ICMP_CODES, ICMP_TYPES, ICMPV6_CODES, ICMPV6_TYPES};

pub(super) const KEYS: Keys = Keys {
    of: "`icmp`",
    known: &["type", "code"],
    reserved: &[],
};

/// Reads `{type, code}` or a list of them. Without `code`, every code of the type; without `type`, the
/// code of every type.
pub(super) fn read(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    v6: bool,
    sets: &mut Sets,
) -> Option<RangeSet<u32>> {
    let mut ranges = Vec::new();
    let mut sound = true;
    for item in super::shape::items(cx, node, "icmp")? {
        match one(cx, item, v6, sets) {
            Some(more) => ranges.extend(more),
            None => sound = false,
        }
    }
    sound.then(|| RangeSet::from_ranges(ranges))
}

/// The type that a word stands for, as it is to be written.
pub(super) fn meant(text: &str, types: vocabulary::Table) -> String {
    let known = types.iter().map(|&(name, _)| name);
    let near = suggest::nearest(text, known);
    near.map_or_else(|| show(text), str::to_owned)
}

fn one(cx: &mut Cx<'_>, node: &Node<'_>, v6: bool, sets: &mut Sets) -> Option<Vec<(u32, u32)>> {
    let (types, codes) = if v6 {
        (ICMPV6_TYPES, ICMPV6_CODES)
    } else {
        (ICMP_TYPES, ICMP_CODES)
    };
    let domain = |key, names, example| Domain {
        key,
        first: 0,
        last: 255,
        example,
        names,
    };
    if let Some(text) = node.scalar() {
        let several = super::lists::parts(text);
        wrong_kind(cx, node, "`icmp` is a mapping").help(if is_any(text) {
            "leave `icmp` out to match every type".to_owned()
        } else if several.len() > 1 {
            let several: Vec<String> = several.iter().map(|one| meant(one, types)).collect();
            format!("write `icmp: {{type: [{}]}}`", several.join(", "))
        } else {
            format!("write `icmp: {{type: {}}}`", meant(text, types))
        });
        return None;
    }
    let table = Table::read(cx, node, &KEYS)?;
    let types = match (table.get("type"), table.get("code")) {
        (None, Some(_)) => Some(RangeSet::of(0, 255)),
        (None, None) => table
            .require(cx, "type", "`type: echo-request`")
            .map(|_| RangeSet::empty()),
        (Some(node), _) => {
            let example = "a type such as echo-request, or its number";
            number::read(
                cx,
                node,
                &domain("type", Names::Table(types), example),
                sets,
            )
        }
    };
    let codes = match table.get("code") {
        None => Some(RangeSet::of(0, 255)),
        Some(node) => {
            let example = "a code such as port-unreachable, or its number";
            number::read(
                cx,
                node,
                &domain("code", Names::Table(codes), example),
                sets,
            )
        }
    };
    let (types, codes) = (types?, codes?);
    let mut ranges = Vec::new();
    for &(first, last) in types.ranges() {
        for kind in first..=last {
            ranges.extend(
                codes
                    .ranges()
                    .iter()
                    .map(|&(a, b)| (kind << 8 | a, kind << 8 | b)),
            );
        }
    }
    Some(ranges)
}
