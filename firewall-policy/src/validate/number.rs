//! Numbers of small fields, decimal or hexadecimal: ports, VLANs, code points, lengths, zones. Lists, ranges `a-b`, open
//! ranges `a-`, names, `@set` and negation `!x` work alike for all of them.
//!
//! The result lies within the field's domain and never holds `Field::none`.

use super::foreign;
use super::set::{Content, Sets};
use super::shape::{Cx, decimal, hexadecimal, items, looks_numeric, scalar};
use crate::ast::{Node, Span};
use crate::diag::{codes, show, suggest};
use crate::fields::Row;
use crate::range::RangeSet;

/// The values that a field may take, and their names.
pub(super) struct Domain<'d> {
    /// The key, for messages.
    pub(super) key: &'static str,
    pub(super) first: u32,
    pub(super) last: u32,
    /// For help: `a port (443), a range (8000-8010)`.
    pub(super) example: &'static str,
    pub(super) names: Names<'d>,
}

impl<'d> Names<'d> {
    /// Those of a table.
    pub(super) const fn of(table: &'d [(&'static str, u32)]) -> Self {
        if table.is_empty() {
            Self::None
        } else {
            Self::Table(table)
        }
    }
}

impl<'d> Domain<'d> {
    /// That of a match field, under one of its keys.
    pub(super) const fn of(row: &'static Row, key: &'static str, names: Names<'d>) -> Self {
        let (first, last) = row.range;
        Self {
            key,
            first,
            last,
            example: row.example,
            names,
        }
    }
}

/// Words that stand for numbers.
pub(super) enum Names<'d> {
    /// There are none.
    None,
    /// A table.
    Table(&'d [(&'static str, u32)]),
    /// Service names, for these IP protocols; `None` for all.
    Services(Option<&'d [u8]>),
    /// Zones of `interfaces:`; the index is the number, 0 has no name.
    Zones(&'d [String]),
}

/// Reads a field. Positive elements are joined and negated ones taken away; with negated elements
/// only, they are taken away from the whole domain.
pub(super) fn read(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    domain: &Domain<'_>,
    sets: &mut Sets,
) -> Option<RangeSet<u32>> {
    let (mut taken, mut away) = (Vec::new(), Vec::new());
    let (mut sound, mut positive) = (true, false);
    for item in items(cx, node, domain.key)? {
        let expected = format!("`{}` is {}", domain.key, domain.example);
        let Some(text) = scalar(cx, item, &expected, domain.example) else {
            sound = false;
            continue;
        };
        let (negated, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        positive |= !negated;
        match element(cx, item.span, text, domain, sets) {
            Some(ranges) if negated => away.extend(ranges),
            Some(ranges) => taken.extend(ranges),
            None => sound = false,
        }
    }
    if !sound {
        return None;
    }
    if !positive {
        taken.push((domain.first, domain.last));
    }
    let whole = RangeSet::of(domain.first, domain.last);
    let away = RangeSet::from_ranges(away);
    let left = RangeSet::from_ranges(taken)
        .intersection(&away.complement())
        .intersection(&whole);
    if left.is_empty() && !away.is_empty() {
        cx.sink
            .error(
                &codes::NOTHING_LEFT,
                node.span,
                format!("`{}` matches nothing", domain.key),
            )
            .help("the elements with `!` take away everything that the others name");
        return None;
    }
    Some(left)
}

/// One element without its `!`.
pub(super) fn element(
    cx: &mut Cx<'_>,
    span: Span,
    text: &str,
    domain: &Domain<'_>,
    sets: &mut Sets,
) -> Option<Vec<(u32, u32)>> {
    if let Some(name) = text.strip_prefix('@') {
        return of_set(cx, span, name, domain, sets);
    }
    if let Some(number) = named(cx, span, text, domain) {
        return number.map(|n| vec![(n, n)]);
    }
    let Some((first, last)) = text.split_once('-') else {
        return number(cx, span, text, domain).map(|n| vec![(n, n)]);
    };
    let (first, last) = (first.trim(), last.trim());
    // Of a port nobody means 0 by itself, and everybody takes 0-65535 for all there are.
    let first = match domain.names {
        Names::Services(_) if first == "0" && last != "0" => "1",
        _ => first,
    };
    if first.is_empty() {
        cx.sink
            .error(
                &codes::NUMBER,
                span,
                format!("`{}` has no start", show(text)),
            )
            .help(format!("write {}-{}", domain.first, show(last)));
        return None;
    }
    let start = number(cx, span, first, domain)?;
    let end = if last.is_empty() {
        domain.last
    } else {
        number(cx, span, last, domain)?
    };
    if start > end {
        cx.sink
            .error(
                &codes::REVERSED_RANGE,
                span,
                format!("the range `{}` ends before it starts", show(text)),
            )
            .help(format!("write {end}-{start}"));
        return None;
    }
    Some(vec![(start, end)])
}

/// The ports of a set.
fn of_set(
    cx: &mut Cx<'_>,
    span: Span,
    name: &str,
    domain: &Domain<'_>,
    sets: &mut Sets,
) -> Option<Vec<(u32, u32)>> {
    if !matches!(domain.names, Names::Services(_)) {
        cx.sink
            .error(
                &codes::SET_TYPE,
                span,
                format!("`{}` takes no sets", domain.key),
            )
            .help(format!("write {}", domain.example));
        return None;
    }
    match sets.find(cx, span, name)? {
        Content::Port(ports) => Some(ports.ranges().to_vec()),
        Content::Broken => None,
        Content::Cidr(_) | Content::Live(_) => {
            cx.sink
                .error(
                    &codes::SET_TYPE,
                    span,
                    format!("`@{}` is a set of addresses, not of ports", show(name)),
                )
                .help("use it with `from:` or `to:`; a set of ports has `type: port`");
            None
        }
    }
}

fn number(cx: &mut Cx<'_>, span: Span, text: &str, domain: &Domain<'_>) -> Option<u32> {
    let Domain {
        key, first, last, ..
    } = *domain;
    let value = match hexadecimal(text) {
        Some(value) => value,
        None => decimal(cx, span, &format!("`{key}`"), text)?,
    };
    if let Some(value) = u32::try_from(value)
        .ok()
        .filter(|v| (first..=last).contains(v))
    {
        return Some(value);
    }
    if value == 0 && matches!(domain.names, Names::Services(_)) {
        cx.sink.error(&codes::PORT_ZERO, span, "port 0 is never used on a wire").help(
            "ports are 1 to 65535; packets with port 0 are dropped by `packet: {malformed: drop}`",
        );
        return None;
    }
    cx.sink
        .error(
            &codes::OUT_OF_RANGE,
            span,
            format!("{key} {} is out of range", show(text)),
        )
        .help(format!("`{key}` is a number from {first} to {last}"));
    None
}

/// What is written in the manner of another program, with what to write here.
fn foreign_value(text: &str, domain: &Domain<'_>) -> Option<(String, String)> {
    let key = domain.key;
    if foreign::is_any(text) {
        let help = match domain.names {
            Names::Table(_) if key == "proto" => {
                "leave `proto` out to match every protocol; beside a port write `proto: [tcp, udp]`"
                    .to_owned()
            }
            _ => format!("leave `{key}` out to match all of them"),
        };
        return Some((format!("`{}` is not a word for `{key}`", show(text)), help));
    }
    match domain.names {
        Names::Table(_) if key == "proto" => {
            let list = foreign::joined_protocols(text)?;
            let message = format!("`{}` is more than one protocol", show(text));
            Some((message, format!("write `proto: {list}`")))
        }
        Names::Services(_) => {
            let (port, proto) = foreign::port_and_protocol(text)?;
            let port = show(&port.replace(':', "-"));
            let message = format!("`{}` is a protocol and a port in one", show(text));
            let help = match key {
                "port" => format!("write `proto: {proto}, port: {port}`"),
                _ => format!("write `proto: {proto}` in the rule, and `{key}: {port}`"),
            };
            Some((message, help))
        }
        _ => None,
    }
}

/// Whether an element says a port together with its protocol, which is reported where it is read.
pub(super) fn names_protocol(node: &Node<'_>) -> bool {
    let glued = |item: &Node<'_>| item.scalar().and_then(foreign::port_and_protocol).is_some();
    node.items().iter().any(glued)
}

/// A number of a table's word, in any case: iptables writes `AF21`.
fn word_number(table: &[(&'static str, u32)], text: &str) -> Option<u32> {
    let mut words = table.iter();
    let (_, value) = words.find(|(name, _)| name.eq_ignore_ascii_case(text))?;
    Some(*value)
}

/// A word. `None` if the text is not one; `Some(None)` after an error.
fn named(cx: &mut Cx<'_>, span: Span, text: &str, domain: &Domain<'_>) -> Option<Option<u32>> {
    if let Some((message, help)) = foreign_value(text, domain) {
        cx.sink
            .error(&codes::UNKNOWN_VALUE, span, message)
            .help(help);
        return Some(None);
    }
    match domain.names {
        Names::None => None,
        Names::Table(table) => {
            if let Some(value) = word_number(table, text) {
                return Some(Some(value));
            }
            if looks_numeric(text) {
                return None;
            }
            let known: Vec<&str> = table.iter().map(|&(name, _)| name).collect();
            cx.sink
                .error(
                    &codes::UNKNOWN_VALUE,
                    span,
                    format!("unknown {} `{}`", domain.key, show(text)),
                )
                .help(suggest::help(text, &known));
            Some(None)
        }
        Names::Zones(zones) => {
            if let Some(number) = zones.iter().skip(1).position(|zone| zone == text) {
                return Some(Some(number as u32 + 1));
            }
            let known: Vec<&str> = zones.iter().skip(1).map(String::as_str).collect();
            let error = cx.sink.error(
                &codes::UNKNOWN_ZONE,
                span,
                format!("no interface has the zone `{}`", show(text)),
            );
            if known.is_empty() {
                error.help(format!(
                    "give it to an interface: `interfaces: [{{match: eth0, zone: {}}}]`",
                    show(text)
                ));
            } else {
                error.help(suggest::help(text, &known));
            }
            Some(None)
        }
        Names::Services(protos) => service(cx, span, text, protos),
    }
}

fn service(cx: &mut Cx<'_>, span: Span, text: &str, protos: Option<&[u8]>) -> Option<Option<u32>> {
    if looks_numeric(text) || text.starts_with('-') || text.is_empty() {
        return None;
    }
    let Some((port, uses)) = crate::well_known_ports::find(text) else {
        let near = suggest::nearest(text, crate::well_known_ports::names());
        cx.sink
            .error(
                &codes::UNKNOWN_SERVICE,
                span,
                format!("unknown service `{}`", show(text)),
            )
            .help(match near {
                Some(near) => format!("did you mean `{near}`? a port number always works"),
                None => "write the port number".into(),
            });
        return Some(None);
    };
    if let Some(protos) = protos
        && !protos.iter().any(|proto| uses.contains(proto))
    {
        let of: Vec<&str> = uses.iter().map(|&p| super::proto::name(p)).collect();
        cx.sink
            .error(
                &codes::SERVICE_PROTO,
                span,
                format!(
                    "`{text}` is a service of {}, which this rule does not match",
                    of.join(" and ")
                ),
            )
            .help(format!(
                "write `proto: {}`, or the port number {port}",
                of[0]
            ));
        return Some(None);
    }
    Some(Some(u32::from(port)))
}
