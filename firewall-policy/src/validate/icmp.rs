//! ICMP and ICMPv6 types and codes, to the field value `type << 8 | code`.

use super::number::{self, Domain, Names};
use super::set::Sets;
use super::shape::{Cx, Keys, Table};
use crate::ast::Node;
use crate::range::RangeSet;

pub(crate) const V4_TYPES: &[(&str, u32)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];

pub(crate) const V6_TYPES: &[(&str, u32)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-query", 130),
    ("mld-report", 131),
    ("mld-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbor-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("mld2-report", 143),
];

pub(crate) const V4_CODES: &[(&str, u32)] = &[
    ("network-unreachable", 0),
    ("host-unreachable", 1),
    ("protocol-unreachable", 2),
    ("port-unreachable", 3),
    ("fragmentation-needed", 4),
    ("admin-prohibited", 13),
];

pub(crate) const V6_CODES: &[(&str, u32)] = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("address-unreachable", 3),
    ("port-unreachable", 4),
];

pub(super) const KEYS: Keys = Keys {
    of: "`icmp`",
    known: &["type", "code"],
    reserved: &[],
};

/// Reads `{type, code}` or a list of them. Without `code`, every code of the type.
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

fn one(cx: &mut Cx<'_>, node: &Node<'_>, v6: bool, sets: &mut Sets) -> Option<Vec<(u32, u32)>> {
    let (types, codes) = if v6 {
        (V6_TYPES, V6_CODES)
    } else {
        (V4_TYPES, V4_CODES)
    };
    let domain = |key, names, example| Domain {
        key,
        first: 0,
        last: 255,
        example,
        names,
    };
    let table = Table::read(cx, node, &KEYS)?;
    let types_node = table.require(cx, "type", "`type: echo-request`");
    let types = types_node.and_then(|node| {
        let example = "a type such as echo-request, or its number";
        number::read(
            cx,
            node,
            &domain("type", Names::Table(types), example),
            sets,
        )
    });
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
