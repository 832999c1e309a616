//! What a rule matches: every key of the table of fields, read by the form that its row names.

use super::super::number::{self, Domain, Names};
use super::super::set::Sets;
use super::super::shape::{Cx, Table, items, word};
use super::super::{flags, sides};
use super::transport::{self, Protos, expand, icmp_field, ports};
use super::{content, link};
use crate::ast::{Node, Span};
use crate::diag::codes;
use crate::fields::{self, Form, ROWS, Row};
use crate::range::RangeSet;
use crate::rule::Match;
use crate::vocabulary;
use firewall_common::field::Field;

/// All match fields; `None` after an error in one of them.
pub(super) fn matches(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    sets: &mut Sets,
    zones: &[String],
) -> Option<Match> {
    let mut found = Match::any();
    let protos = protocols(cx, table, sets, &mut found);
    let mut sound = protos.is_ok();
    for row in ROWS.iter().filter(|row| row.field != Field::Proto) {
        one_key(cx, table, row);
        for &key in row.keys {
            let Some((span, node)) = table.entry(key) else {
                continue;
            };
            sound &= match row.form {
                Form::Addresses => side(cx, row, node, sets, &mut found),
                _ => {
                    let values = values(cx, (row, key), (span, node), &protos, sets, zones);
                    put(&mut found, row.field, values)
                }
            };
        }
    }
    let content = content::read(cx, table, &protos, sets);
    let ethertypes = link::ethertypes(cx, table).ok()?;
    if let Some(ethertypes) = ethertypes {
        found = found.of_frames(ethertypes);
    }
    found.content = content.ok()?;
    sound.then_some(found)
}

/// Narrows a field; false without values, which have been reported.
fn put(found: &mut Match, field: Field, values: Option<RangeSet<u32>>) -> bool {
    let Some(values) = values else { return false };
    found.fields[field as usize] = values;
    true
}

/// `proto`, which other fields depend on.
fn protocols(cx: &mut Cx<'_>, table: &Table<'_, '_>, sets: &mut Sets, found: &mut Match) -> Protos {
    let row = fields::of(Field::Proto);
    let Some((key, node)) = row.keys.iter().find_map(|key| Some((key, table.get(key)?))) else {
        // What depends on it is not wrong as well.
        let misspelt = row.keys.iter().any(|key| table.is_misspelt(key));
        return if misspelt { Err(()) } else { Ok(None) };
    };
    let domain = Domain::of(row, key, Names::of(row.names()));
    let protos = number::read(cx, node, &domain, sets).ok_or(())?;
    let known = expand(&protos);
    found.fields[Field::Proto as usize] = protos;
    Ok(Some(known))
}

/// The values of a field but addresses, under one of its keys; `None` after an error.
fn values(
    cx: &mut Cx<'_>,
    (row, key): (&'static Row, &'static str),
    (span, node): (Span, &Node<'_>),
    protos: &Protos,
    sets: &mut Sets,
    zones: &[String],
) -> Option<RangeSet<u32>> {
    let values = match row.form {
        Form::Numbers(names) => {
            let domain = Domain::of(row, key, Names::of(names));
            number::read(cx, node, &domain, sets)
        }
        Form::Zones => {
            let domain = Domain::of(row, key, Names::Zones(zones));
            number::read(cx, node, &domain, sets)
        }
        Form::Ports => ports(cx, (row, key), (span, node), protos, sets),
        Form::Icmp => icmp_field(cx, span, node, protos, sets),
        Form::Flags => flags::read(cx, node),
        Form::Words(table) => words(cx, node, key, table),
        Form::Macs => link::macs(cx, node, sets),
        Form::Addresses => None,
    };
    let fits = !row.is_of_tcp() || transport::is_tcp(cx, span, key, protos);
    values.filter(|_| fits)
}

/// One of a table's words, or a list of them.
fn words(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    key: &'static str,
    table: vocabulary::Table,
) -> Option<RangeSet<u32>> {
    let mut ranges = Vec::new();
    let mut sound = true;
    for item in items(cx, node, key)? {
        match word(cx, item, key, table, &[]) {
            Some(value) => ranges.push((value, value)),
            None => sound = false,
        }
    }
    sound.then(|| RangeSet::from_ranges(ranges))
}

/// Addresses of one side, and the live sets among them; false after an error.
fn side(
    cx: &mut Cx<'_>,
    row: &'static Row,
    node: &Node<'_>,
    sets: &mut Sets,
    found: &mut Match,
) -> bool {
    let Some(side) = sides::read(cx, row.field.name(), node, sets) else {
        return false;
    };
    if let Some(sets) = side.sets {
        found.fields[row.field as usize] = sets;
    }
    match row.field {
        Field::SourceSets => found.src = side.addresses,
        _ => found.dst = side.addresses,
    }
    true
}

/// Refuses a rule that names a field twice, by two of its keys.
fn one_key(cx: &mut Cx<'_>, table: &Table<'_, '_>, row: &Row) {
    let mut named = row.keys.iter();
    let mut named = named
        .by_ref()
        .filter_map(|&key| Some((key, table.entry(key)?.0)));
    if let (Some((first_key, first)), Some((second_key, second))) = (named.next(), named.next()) {
        cx.sink
            .error(
                &codes::DUPLICATE_KEY,
                second,
                format!("`{second_key}` is another word for `{first_key}`"),
            )
            .label("again here")
            .also(first, "first here")
            .help("keep one of them");
    }
}
