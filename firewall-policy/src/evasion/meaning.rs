//! What a frame is, whatever it looks like, and what must become of it under a policy.
//!
//! The label of a row is made by hand, field by field. May not import `compile`, `host` or the
//! parser: this is what they are checked against.

use super::{DST4, SRC4, SYN, address6};
use crate::oracle;
use crate::rule::Policy;
use firewall_common::abi::{essential_bit, fragments, tunnels};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::parse::fragment;
use firewall_common::reason::{Governs, Reason};
use firewall_common::verdict::{Action, Verdict};

/// Verdict and reason.
pub type End = (Verdict, Reason);

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// VLAN tags that have to be taken off to see it.
    pub tags: u32,
    /// IPv6 extension headers that have to be taken off to see it.
    pub extensions: u32,
    /// Whether it has IPv4 options.
    pub options: bool,
    /// What is seen then.
    pub kind: Kind,
}

/// What is seen of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful of them, each looked at once"
)]
pub enum Kind {
    /// Something that no sane host sends.
    Anomaly(Reason),
    /// Neither IP nor ARP.
    NonIp,
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// An IP packet.
    Packet {
        /// Its addresses and fields.
        key: PacketKey,
        /// The essential group that it belongs to.
        essential: Option<Reason>,
        /// What is inside, if it is a tunnel.
        inner: Option<Inner>,
    },
}

/// What a tunnel carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful of them, each looked at once"
)]
pub enum Inner {
    /// A packet.
    Packet(PacketKey),
    /// Something that no sane host sends, behind this many IPv6 extension headers.
    Anomaly(Reason, u32),
}

impl Meaning {
    /// Neither IP nor ARP.
    pub(super) const NON_IP: Self = Self::of(Kind::NonIp);
    /// ARP.
    pub(super) const ARP: Self = Self::of(Kind::Arp);

    const fn of(kind: Kind) -> Self {
        Self {
            tags: 0,
            extensions: 0,
            options: false,
            kind,
        }
    }

    pub(super) const fn anomaly(reason: Reason) -> Self {
        Self::of(Kind::Anomaly(reason))
    }

    /// A packet of this protocol between the two hosts of the table.
    pub(super) fn v4(proto: u8) -> Self {
        Self::packet(Family::V4, proto).from4(SRC4).to4(DST4)
    }

    /// As [`Meaning::v4`].
    pub(super) fn v6(proto: u8) -> Self {
        let (high, low) = halves(address6(2));
        Self::packet(Family::V6, proto)
            .from6(address6(1))
            .change(|key| (key.dst_hi, key.dst_lo) = (high, low))
    }

    fn packet(family: Family, proto: u8) -> Self {
        let mut key = PacketKey::empty(family);
        key.fields[Field::Proto as usize] = proto.into();
        key.fields[Field::Ttl as usize] = 64;
        key.fields[Field::Dscp as usize] = 0;
        key.fields[Field::Fragment as usize] = fragment::WHOLE;
        Self::of(Kind::Packet {
            key,
            essential: None,
            inner: None,
        })
    }

    /// Changes the label of a packet.
    fn change(mut self, change: impl FnOnce(&mut PacketKey)) -> Self {
        if let Kind::Packet { key, .. } = &mut self.kind {
            change(key);
        }
        self
    }

    fn with(self, field: Field, value: u32) -> Self {
        self.change(|key| key.fields[field as usize] = value)
    }

    /// Behind this many VLAN tags.
    pub(super) const fn tags(mut self, tags: u32) -> Self {
        self.tags = tags;
        self
    }

    /// Behind this many IPv6 extension headers.
    pub(super) const fn extensions(mut self, extensions: u32) -> Self {
        self.extensions = extensions;
        self
    }

    /// With IPv4 options.
    pub(super) const fn options(mut self) -> Self {
        self.options = true;
        self
    }

    pub(super) fn vlan(self, vlan: u32) -> Self {
        self.with(Field::Vlan, vlan)
    }

    pub(super) fn ttl(self, hops: u8) -> Self {
        self.with(Field::Ttl, hops.into())
    }

    pub(super) fn fragment(self, fragment: u32) -> Self {
        self.with(Field::Fragment, fragment)
    }

    pub(super) fn icmp(self, kind: u8, code: u8) -> Self {
        self.with(Field::Icmp, u32::from(kind) << 8 | u32::from(code))
    }

    pub(super) fn ports(self, source: u16, destination: u16) -> Self {
        self.with(Field::SourcePort, source.into())
            .with(Field::DestinationPort, destination.into())
    }

    /// A SYN to `port`.
    pub(super) fn syn(self, port: u16) -> Self {
        self.ports(40_000, port)
            .with(Field::TcpFlags, u32::from(SYN))
    }

    pub(super) fn from4(self, address: [u8; 4]) -> Self {
        self.change(|key| key.src_lo = u32::from_be_bytes(address).into())
    }

    pub(super) fn to4(self, address: [u8; 4]) -> Self {
        self.change(|key| key.dst_lo = u32::from_be_bytes(address).into())
    }

    pub(super) fn from6(self, address: [u8; 16]) -> Self {
        let (high, low) = halves(address);
        self.change(|key| (key.src_hi, key.src_lo) = (high, low))
    }

    pub(super) fn essential(mut self, group: Reason) -> Self {
        if let Kind::Packet { essential, .. } = &mut self.kind {
            *essential = Some(group);
        }
        self
    }

    /// A tunnel with a SYN to `port` inside, from and to the hosts of the table.
    pub(super) fn carrying(mut self, family: Family, port: u16) -> Self {
        let (packet, length) = match family {
            Family::V4 => (Self::v4(6), 60),
            Family::V6 => (Self::v6(6), 80),
        };
        let carried = packet.syn(port).with(Field::Length, length);
        if let (Kind::Packet { inner, .. }, Kind::Packet { key, .. }) =
            (&mut self.kind, carried.kind)
        {
            *inner = Some(Inner::Packet(key));
        }
        self
    }

    /// A tunnel with an anomaly inside, behind this many IPv6 extension headers.
    pub(super) fn carrying_anomaly(mut self, reason: Reason, extensions: u32) -> Self {
        if let Kind::Packet { inner, .. } = &mut self.kind {
            *inner = Some(Inner::Anomaly(reason, extensions));
        }
        self
    }

    /// In a frame of `bytes` bytes: no IP packet of the table has anything behind it.
    pub(super) fn of_length(self, bytes: usize) -> Self {
        if matches!(self.kind, Kind::Packet { .. }) {
            let length = bytes as u32 - 14 - 4 * self.tags;
            self.with(Field::Length, length)
        } else {
            self
        }
    }

    /// What must become of the frame under `policy`, when it comes in from zone `zone`.
    #[must_use]
    pub fn end(&self, policy: &Policy, zone: u32) -> End {
        let (verdict, reason) = self.end_if_enforced(policy, zone);
        (if policy.audit { Verdict::PASS } else { verdict }, reason)
    }

    fn end_if_enforced(&self, policy: &Policy, zone: u32) -> End {
        let knobs = &policy.packet;
        if self.tags > knobs.vlan_depth {
            return (Verdict::DROP, Reason::VLAN_DEPTH);
        }
        if self.options && knobs.drop_ip_options != 0 {
            return (Verdict::DROP, Reason::IP_OPTIONS);
        }
        if self.extensions > knobs.ipv6_ext_max {
            return (Verdict::DROP, Reason::EXT_CHAIN);
        }
        match &self.kind {
            Kind::Anomaly(reason) => anomaly(policy, *reason),
            Kind::Arp if policy.essential & essential_bit::ARP != 0 => (Verdict::PASS, Reason::ARP),
            Kind::Arp | Kind::NonIp => (policy.default_verdict, Reason::NON_IP),
            Kind::Packet {
                key,
                essential,
                inner,
            } => {
                let outer = packet(policy, zone, key, *essential);
                if outer.0 != Verdict::PASS || knobs.tunnels != tunnels::INNER {
                    return outer;
                }
                match inner {
                    Some(Inner::Packet(inner)) => packet(policy, zone, inner, None),
                    Some(Inner::Anomaly(_, extensions)) if *extensions > knobs.ipv6_ext_max => {
                        (Verdict::DROP, Reason::EXT_CHAIN)
                    }
                    Some(Inner::Anomaly(reason, _)) => anomaly(policy, *reason),
                    None => outer,
                }
            }
        }
    }
}

/// The end of a frame with an anomaly.
fn anomaly(policy: &Policy, reason: Reason) -> End {
    let passes = reason.governed_by() == Governs::Malformed
        && policy.packet.malformed == u32::from(Verdict::PASS.0);
    let verdict = if passes { Verdict::PASS } else { Verdict::DROP };
    (verdict, reason)
}

/// The end of an IP packet that is in order.
fn packet(policy: &Policy, zone: u32, key: &PacketKey, essential: Option<Reason>) -> End {
    let state = key.field(Field::Fragment);
    if state != fragment::WHOLE && policy.packet.fragments == fragments::DROP {
        return (Verdict::DROP, Reason::FRAGMENT);
    }
    // Each frame by itself: no first fragment has been seen.
    if state == fragment::LATER && policy.packet.fragments == fragments::FOLLOW_FIRST {
        return (Verdict::DROP, Reason::FRAG_ORPHAN);
    }
    if let Some(group) = essential
        && policy.essential & bit(group) != 0
    {
        return (Verdict::PASS, group);
    }
    let mut key = *key;
    key.fields[Field::Zone as usize] = zone;
    if let Some(rule) = oracle::evaluate(policy, &key).decided {
        return match policy.rules[rule].action {
            Action::PASS => (Verdict::PASS, Reason::RULE),
            // Whether there is an answer is not in the label.
            Action::REJECT => (Verdict::DROP, Reason::REJECT),
            _ => (Verdict::DROP, Reason::RULE),
        };
    }
    if state == fragment::LATER {
        return (Verdict::PASS, Reason::FRAGMENT);
    }
    (policy.default_verdict, Reason::NO_MATCH)
}

/// The bit of an essential group among IP packets.
const fn bit(group: Reason) -> u32 {
    match group {
        Reason::NEIGHBOUR => essential_bit::NEIGHBOUR,
        Reason::MULTICAST => essential_bit::MULTICAST,
        Reason::ICMP_ERROR => essential_bit::ICMP_ERROR,
        Reason::DHCP => essential_bit::DHCP,
        _ => 0,
    }
}

/// An IPv6 address as two numbers.
fn halves(address: [u8; 16]) -> (u64, u64) {
    let number = u128::from_be_bytes(address);
    ((number >> 64) as u64, number as u64)
}
