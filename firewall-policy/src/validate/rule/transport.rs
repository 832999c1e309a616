//! The keys of a rule that its protocol has to bear out: ports, types of ICMP, what only TCP has.

use super::super::number::{self, Domain, Names};
use super::super::set::Sets;
use super::super::shape::Cx;
use super::super::{icmp, proto};
use crate::ast::{Node, Span};
use crate::diag::codes;
use crate::fields::Row;
use crate::range::RangeSet;

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
    if !all_have_ports {
        let message = match known {
            None => format!("`{key}` needs `proto`"),
            Some(protos) => {
                let other = protos
                    .iter()
                    .find(|p| !proto::WITH_PORTS.contains(p))
                    .copied();
                format!(
                    "{} has no ports",
                    other.map_or("this protocol", proto::name)
                )
            }
        };
        cx.sink.error(&codes::PORT_NEEDS_PROTO, span, message).help(
            "write `proto: tcp`, `proto: udp`, `proto: sctp`, or a list of those: [tcp, udp]",
        );
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
                .help(
                    "the two number their types differently (echo-request is 8 and 128), so each \
                     needs a rule of its own",
                );
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
