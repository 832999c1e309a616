//! Which tunnels pass without a look inside, under `tunnels: inner`.
//!
//! What the default drops needs a rule to pass, and whoever wrote that rule has named the tunnel; so
//! this is about policies that pass by default.

use super::cover::{Boxes, Coverage};
use crate::range::RangeSet;
use crate::rule::Policy;
use crate::space::Space;
use crate::space::reach::Carried;
use firewall_common::abi::tunnels;
use firewall_common::field::Field;
use firewall_common::parse::proto;
use firewall_common::verdict::Verdict;

/// A kind of tunnel that the program does not open: what it is called, its protocol, and its port.
type Kind = (&'static str, u32, Option<u32>);

/// MPLS in IP (RFC 4023).
const MPLS: u32 = 137;

const KINDS: [Kind; 6] = [
    ("GENEVE (udp/6081)", proto::UDP, Some(6081)),
    ("VXLAN on udp/8472", proto::UDP, Some(8472)),
    ("VXLAN-GPE (udp/4790)", proto::UDP, Some(4790)),
    ("MPLS in UDP (udp/6635)", proto::UDP, Some(6635)),
    ("MPLS in IP (proto 137)", MPLS, None),
    ("ERSPAN and MPLS in GRE", proto::GRE, None),
];

/// The kinds of which some packet passes, by their names.
pub(super) fn unopened(
    policy: &Policy,
    v4: &Boxes<'_, u32>,
    v6: &Boxes<'_, u128>,
) -> Vec<&'static str> {
    if policy.packet.tunnels != tunnels::INNER || policy.default_verdict != Verdict::PASS {
        return Vec::new();
    }
    KINDS
        .iter()
        .filter(|kind| {
            matches!(v4.can_pass(&space(kind)), Coverage::Free(_))
                || matches!(v6.can_pass(&space(kind)), Coverage::Free(_))
        })
        .map(|(name, ..)| *name)
        .collect()
}

fn space<T: Carried>((_, proto, port): &Kind) -> Space<T> {
    let one = |value| RangeSet::of(value, value);
    let space = Space::everything().with(Field::Proto, one(*proto));
    match port {
        Some(port) => space.with(Field::DestinationPort, one(*port)),
        None => space,
    }
}
