//! What a frame is, whatever it looks like, and the verdict that a policy must give it.
//!
//! The label of a row is made by hand, field by field. May not import `compile`, `host` or the
//! parser: this is what they are checked against.

use super::{DST4, SRC4, SYN, address6};
use crate::oracle;
use crate::rule::{FrameKey, Mac, Policy};
use firewall_common::abi::{essential_bit, fragments, malformed, tunnels};
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
pub enum Kind {
    /// Something that no sane host sends, and what can be read of it all the same, if its addresses can.
    Anomaly(Reason, Option<PacketKey>),
    /// Not IP: its EtherType, or what stands for it ([`crate::rule::FrameKey`]).
    NonIp(u32),
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// As [`Kind::NonIp`], of what keeps the link up.
    Link(u32),
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
pub enum Inner {
    /// A packet.
    Packet(PacketKey),
    /// Something that no sane host sends, behind this many IPv6 extension headers.
    Anomaly(Reason, u32),
}

impl Meaning {
    /// Not IP, of an EtherType.
    pub(super) const fn non_ip(ethertype: u32) -> Self {
        Self::of(Kind::NonIp(ethertype))
    }

    /// What keeps the link up, of an EtherType.
    pub(super) const fn link(ethertype: u32) -> Self {
        Self::of(Kind::Link(ethertype))
    }

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

    /// Something of which not even the addresses can be read.
    pub(super) const fn anomaly(reason: Reason) -> Self {
        Self::of(Kind::Anomaly(reason, None))
    }

    /// With an anomaly that leaves the transport header in order.
    pub(super) fn but(mut self, reason: Reason) -> Self {
        if let Kind::Packet { key, .. } = self.kind {
            self.kind = Kind::Anomaly(reason, Some(key));
        }
        self
    }

    /// With an anomaly of the transport header or before it: of no connection, neither new nor not.
    pub(super) fn broken(self, reason: Reason) -> Self {
        self.with(Field::State, Field::State.none()).but(reason)
    }

    /// With lengths that contradict each other: nothing but the addresses can be read.
    pub(super) fn only_addresses(self, reason: Reason) -> Self {
        self.change(|key| key.fields = PacketKey::empty(key.family()).fields)
            .broken(reason)
    }

    /// A packet of this protocol between the two hosts of the table.
    pub(super) fn v4(proto: u8) -> Self {
        Self::packet(Family::V4, proto).from4(SRC4).to4(DST4)
    }

    /// As [`Meaning::v4`].
    pub(super) fn v6(proto: u8) -> Self {
        Self::packet(Family::V6, proto)
            .from6(address6(1))
            .to6(address6(2))
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

    pub(super) fn with(self, field: Field, value: u32) -> Self {
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

    /// In bytes, where that is not what the frame holds.
    pub(super) fn length(self, length: u32) -> Self {
        self.with(Field::Length, length)
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

    pub(super) fn to6(self, address: [u8; 16]) -> Self {
        let (high, low) = halves(address);
        self.change(|key| (key.dst_hi, key.dst_lo) = (high, low))
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

    /// In a frame of `bytes` bytes: no IP packet of the table has anything behind it, unless its label
    /// says how long it is.
    pub(super) fn of_length(mut self, bytes: usize) -> Self {
        if let Kind::Packet { key, .. } | Kind::Anomaly(_, Some(key)) = &mut self.kind {
            let is_readable = key.field(Field::Ttl) != Field::Ttl.none();
            let length = &mut key.fields[Field::Length as usize];
            if *length == Field::Length.none() && is_readable {
                *length = bytes as u32 - 14 - 4 * self.tags;
            }
        }
        self
    }

    /// What must become of the frame under `policy`, when it comes in from zone `zone`.
    #[must_use]
    pub fn end(&self, policy: &Policy, zone: u32) -> End {
        let (verdict, reason) = self.end_if_enforced(policy, zone);
        (if policy.audit { Verdict::PASS } else { verdict }, reason)
    }

    const fn has_forbidden_options(&self, policy: &Policy) -> bool {
        self.options && policy.packet.drop_ip_options != 0
    }

    fn end_if_enforced(&self, policy: &Policy, zone: u32) -> End {
        let knobs = &policy.packet;
        if self.tags > knobs.vlan_depth {
            return (Verdict::DROP, Reason::VLAN_DEPTH);
        }
        if self.extensions > knobs.ipv6_ext_max {
            return (Verdict::DROP, Reason::EXT_CHAIN);
        }
        match &self.kind {
            Kind::Anomaly(reason, Some(_))
                if self.has_forbidden_options(policy) && is_judged_by_rules(policy, *reason) =>
            {
                (Verdict::DROP, Reason::IP_OPTIONS)
            }
            Kind::Anomaly(reason, key) => anomaly(policy, zone, *reason, key.as_ref()),
            Kind::Packet { .. } if self.has_forbidden_options(policy) => {
                (Verdict::DROP, Reason::IP_OPTIONS)
            }
            Kind::Arp if policy.essential & essential_bit::ARP != 0 => (Verdict::PASS, Reason::ARP),
            Kind::Link(_) if policy.essential & essential_bit::LINK != 0 => {
                (Verdict::PASS, Reason::LINK)
            }
            Kind::Arp => not_ip(policy, zone, ARP),
            Kind::NonIp(ethertype) | Kind::Link(ethertype) => not_ip(policy, zone, *ethertype),
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
                    Some(Inner::Anomaly(reason, _)) => anomaly(policy, zone, *reason, None),
                    None => outer,
                }
            }
        }
    }
}

/// The station that sends every frame here.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// ARP's EtherType (RFC 826).
const ARP: u32 = 0x0806;

/// The number that a policy has for the station that sends all frames here.
fn sender(policy: &Policy) -> u32 {
    let known = |mac: &Mac| mac.bytes() == SENDER;
    let number = policy.macs.iter().position(known);
    number.map_or(Field::Mac.none(), |number| number as u32)
}

/// The end of an untagged frame that is not IP and not essential.
fn not_ip(policy: &Policy, zone: u32, ethertype: u32) -> End {
    let frame = FrameKey {
        ethertype,
        vlan: Field::Vlan.none(),
        zone,
        mac: sender(policy),
    };
    match oracle::evaluate_frame(policy, &frame).decided {
        None => (policy.default_verdict, Reason::NON_IP),
        Some(rule) if policy.rules[rule].action == Action::PASS => (Verdict::PASS, Reason::RULE),
        Some(_) => (Verdict::DROP, Reason::RULE),
    }
}

/// Whether the rules judge a frame with an anomaly by what can be read of it.
fn is_judged_by_rules(policy: &Policy, reason: Reason) -> bool {
    reason.governed_by() == Governs::Malformed && policy.packet.malformed == malformed::RULES
}

/// The end of a frame with an anomaly, of which this can be read.
fn anomaly(policy: &Policy, zone: u32, reason: Reason, key: Option<&PacketKey>) -> End {
    if !is_judged_by_rules(policy, reason) {
        return (Verdict::DROP, reason);
    }
    let Some(key) = key else {
        return (policy.default_verdict, reason);
    };
    let part = key.field(Field::Fragment);
    if matches!(part, fragment::FIRST | fragment::LATER)
        && policy.packet.fragments == fragments::DROP
    {
        return (Verdict::DROP, Reason::FRAGMENT);
    }
    by_rules(policy, zone, key).unwrap_or((policy.default_verdict, reason))
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
    if let Some(end) = by_rules(policy, zone, key) {
        return end;
    }
    if state == fragment::LATER {
        return (Verdict::PASS, Reason::FRAGMENT);
    }
    (policy.default_verdict, Reason::NO_MATCH)
}

/// What the rules say, if one of them decides.
fn by_rules(policy: &Policy, zone: u32, key: &PacketKey) -> Option<End> {
    let mut key = *key;
    key.fields[Field::Zone as usize] = zone;
    key.fields[Field::Mac as usize] = sender(policy);
    let rule = oracle::evaluate(policy, &key).decided?;
    Some(match policy.rules[rule].action {
        Action::PASS => (Verdict::PASS, Reason::RULE),
        // Whether there is an answer is not in the label.
        Action::REJECT => (Verdict::DROP, Reason::REJECT),
        _ => (Verdict::DROP, Reason::RULE),
    })
}

/// The bit of an essential group among IP packets.
const fn bit(group: Reason) -> u32 {
    match group {
        Reason::NEIGHBOUR => essential_bit::NEIGHBOUR,
        Reason::MULTICAST => essential_bit::MULTICAST,
        Reason::ICMP_ERROR => essential_bit::ICMP_ERROR,
        Reason::DHCP => essential_bit::DHCP,
        Reason::IGMP => essential_bit::IGMP,
        _ => 0,
    }
}

/// An IPv6 address as two numbers.
fn halves(address: [u8; 16]) -> (u64, u64) {
    let number = u128::from_be_bytes(address);
    ((number >> 64) as u64, number as u64)
}
