//! The keys of a rule that its protocol has to bear out: ports, types of ICMP, what only TCP has.

use super::super::number::{self, Domain, Names};
use super::super::set::Sets;
use super::super::shape::Cx;
use super::super::{icmp, proto};
use crate::ast::{Node, Span};
use crate::diag::{codes, show};
use crate::fields::Row;
use crate::range::RangeSet;
use crate::vocabulary;

/// What is known of a rule's protocols: `Err` after an error, `Ok(None)` without `proto`.
pub(super) type Protos = Result<Option<Vec<u8>>, ()>;

pub(super) fn expand(set: &RangeSet<u32>) -> Vec<u8> {
    set.ranges()
        .iter()
        .flat_map(|&(a, b)| a..=b)
        .filter_map(|p| u8::try_from(p).ok())
        .collect()
}

pub(super) fn ports(
    cx: &mut Cx<'_>,
    (row, key): (&'static Row, &'static str),
    (span, node): (Span, &Node<'_>),
    protos: &Protos,
    sets: &mut Sets,
) -> Option<RangeSet<u32>> {
    let known = protos.as_ref().ok()?;
    let all_have_ports = known
        .as_ref()
        .is_some_and(|p| p.iter().all(|p| proto::WITH_PORTS.contains(p)));
    // A port that says its protocol is reported as what it is.
    if !(all_have_ports || known.is_none() && number::names_protocol(node)) {
        let message = match known {
            None => format!("`{key}` needs `proto`"),
            Some(protos) => {
                let other = protos
                    .iter()
                    .find(|p| !proto::WITH_PORTS.contains(p))
                    .copied();
                match other {
                    Some(proto @ (33 | 136)) => {
                        format!("the ports of {} are not read here", proto::name(proto))
                    }
                    other => format!(
                        "{} has no ports",
                        other.map_or("this protocol", proto::name)
                    ),
                }
            }
        };
        let value = node.scalar().map_or_else(|| "[...]".to_owned(), show);
        let help = match known {
            None => format!(
                "write `proto: tcp, {key}: {value}`, or for both `proto: [tcp, udp], {key}: {value}`"
            ),
            Some(_) => format!(
                "leave `{key}` out, or write `proto: tcp`, `proto: udp`, `proto: sctp`, or a list of \
                 those: [tcp, udp]"
            ),
        };
        cx.sink
            .error(&codes::PORT_NEEDS_PROTO, span, message)
            .help(help);
    }
    let of = known.as_deref().filter(|_| all_have_ports);
    let domain = Domain::of(row, key, Names::Services(of));
    number::read(cx, node, &domain, sets).filter(|_| all_have_ports)
}

pub(super) fn icmp_field(
    cx: &mut Cx<'_>,
    span: Span,
    node: &Node<'_>,
    protos: &Protos,
    sets: &mut Sets,
) -> Option<RangeSet<u32>> {
    let v6 = match protos.as_ref().ok()?.as_deref() {
        Some([proto::ICMP]) => false,
        Some([proto::ICMPV6]) => true,
        _ => {
            cx.sink
                .error(
                    &codes::ICMP_NEEDS_PROTO,
                    span,
                    "`icmp` needs `proto: icmp` or `proto: icmpv6`",
                )
                .help(match node.scalar() {
                    Some(text) => {
                        let meant = icmp::meant(text, vocabulary::ICMP_TYPES);
                        format!(
                            "write `proto: icmp, icmp: {{type: {meant}}}`, and for IPv6 a rule of its \
                             own with `proto: icmpv6`"
                        )
                    }
                    None => "the two number their types differently (echo-request is 8 and 128), so \
                             each needs a rule of its own"
                        .to_owned(),
                });
            return None;
        }
    };
    icmp::read(cx, node, v6, sets)
}

/// Whether the rule matches TCP alone, as `key` needs it; not known after an error in `proto`.
pub(super) fn is_tcp(cx: &mut Cx<'_>, span: Span, key: &str, protos: &Protos) -> bool {
    let Ok(protos) = protos else { return false };
    let is_tcp = protos.as_deref() == Some(&[proto::TCP][..]);
    if !is_tcp {
        cx.sink
            .error(
                &codes::FIELD_NEEDS_TCP,
                span,
                format!("`{key}` needs `proto: tcp`, and this rule matches other protocols too"),
            )
            .help("add `proto: tcp`");
    }
    is_tcp
}
