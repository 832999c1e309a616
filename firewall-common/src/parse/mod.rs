//! The packet parser: from a frame to a [`PacketKey`], or to the one reason why it is not one.
//!
//! ```text
//! ethernet ─► ipv4 ─┬─► transport
//!          └► ipv6 ─┘
//! ```
//!
//! The contract: a frame is parsed exactly, or it has a reason. Where the policy has malformed frames
//! judged by rules (`malformed: rules`), such a frame is also a [`Packet`], with the reason in
//! [`Packet::anomaly`]: what could be read is in its fields, and all else is not there. Lengths are believed only where
//! the bytes bear them out; a transport header must lie inside the IP packet, never in the
//! Ethernet padding; the payload of a later fragment is never read as ports.
//!
//! Every length check compares against bytes that exist, so no value in a frame can make the
//! parser read past its end; what a check refuses is a [`Reason`], never a guess.

mod ethernet;
mod ipv4;
mod ipv6;
mod transport;
mod tunnel;

pub use ethernet::is_tag;
pub use transport::flag;
pub use tunnel::{is_tunnel, parse_inner};

use crate::abi::{Config, PacketConfig, malformed};
use crate::field::Field;
#[cfg(doc)]
use crate::fragments::Span;
use crate::frame::Frame;
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::reason::{Governs, Reason};

/// Values of `Field::Fragment`.
pub mod fragment {
    /// The whole packet (an IPv6 atomic fragment too, RFC 6946).
    pub const WHOLE: u32 = 0;
    /// The first fragment: it has the transport header.
    pub const FIRST: u32 = 1;
    /// A later fragment: it has no transport header.
    pub const LATER: u32 = 2;
}

/// EtherTypes that the parser knows.
pub mod ethertype {
    /// An Ethernet frame, in GRE (RFC 7637).
    pub const ETHERNET: u32 = 0x6558;
    /// IPv4.
    pub const IPV4: u32 = 0x0800;
    /// ARP.
    pub const ARP: u32 = 0x0806;
    /// IPv6.
    pub const IPV6: u32 = 0x86dd;
}

/// IP protocol numbers that the parser knows.
pub mod proto {
    /// ICMP.
    pub const ICMP: u32 = 1;
    /// IGMP.
    pub const IGMP: u32 = 2;
    /// IPv4 in IP (RFC 2003).
    pub const IPIP: u32 = 4;
    /// TCP.
    pub const TCP: u32 = 6;
    /// UDP.
    pub const UDP: u32 = 17;
    /// IPv6 in IP (RFC 4213, RFC 2473).
    pub const IPV6: u32 = 41;
    /// RSVP (RFC 2205).
    pub const RSVP: u32 = 46;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u32 = 47;
    /// ICMPv6.
    pub const ICMPV6: u32 = 58;
    /// IPv6 no next header.
    pub const NO_NEXT: u32 = 59;
    /// SCTP.
    pub const SCTP: u32 = 132;
}

/// A frame that parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Packet {
    /// What the classifier looks up.
    pub key: PacketKey,
    /// Byte offset of the transport header (of the payload in a later fragment).
    pub l4: u32,
    /// Byte offset of the end of the IP packet in the frame.
    pub end: u32,
    /// 1 if there was an IPv6 fragment header, be it an atomic one.
    pub fragment_header: u32,
    /// Identification of the datagram of a fragment ; 0 for a whole packet.
    pub fragment_id: u32,
    /// Where a fragment belongs in its datagram: a packed [`Span`]; 0 for a whole packet.
    pub fragment_span: u32,
    /// Under `malformed: rules`, code of the reason for which the packet is malformed, and
    /// [`Packet::UNSOUND`]; 0 for a packet in order. Beside it [`Packet::ALERT`].
    pub anomaly: u32,
}
const _: () = assert!(size_of::<Packet>() == 120);

impl Packet {
    /// A packet with no addresses, of which nothing is known.
    pub const EMPTY: Self = Self {
        key: PacketKey::empty(Family::V4),
        l4: 0,
        end: 0,
        fragment_header: 0,
        fragment_id: 0,
        fragment_span: 0,
        anomaly: 0,
    };

    /// In [`Packet::anomaly`]: the transport header is not in order, or could not be reached.
    const UNSOUND: u32 = 1 << 8;

    /// In [`Packet::anomaly`], and none: an IPv4 header with the router alert option (RFC 2113), and no
    /// other one.
    const ALERT: u32 = 1 << 9;

    /// Whether it is an IPv4 packet with a router alert, and no other option.
    #[must_use]
    #[inline(always)]
    pub const fn has_router_alert(&self) -> bool {
        self.anomaly & Self::ALERT != 0
    }

    /// The reason for which the packet is malformed, if it is: [`Reason::RULE`], which is none, if not.
    #[must_use]
    #[inline(always)]
    pub const fn anomaly(&self) -> Reason {
        Reason(self.anomaly as u8)
    }

    /// Whether the transport header is in order, whatever else is not.
    #[must_use]
    #[inline(always)]
    pub const fn is_sound(&self) -> bool {
        self.anomaly & Self::UNSOUND == 0
    }

    /// Keeps the first reason.
    #[inline(always)]
    pub(crate) const fn note(&mut self, reason: Reason) {
        if self.anomaly as u8 == 0 {
            self.anomaly |= reason.0 as u32;
        }
    }
}

/// Whether the policy has malformed frames judged by its rules. A constant: without, the code that
/// goes on behind an anomaly is taken out.
#[inline(always)]
pub fn rules_judge_malformed<M: Machine>(machine: &M) -> bool {
    knob(machine, |k| &k.malformed) == malformed::RULES
}

/// What comes of an anomaly behind which the packet can be read on: it is noted if rules judge such
/// frames, and otherwise the end.
#[inline(always)]
fn anomaly<M: Machine>(machine: &M, packet: &mut Packet, reason: Reason) -> Result<(), Reason> {
    if !rules_judge_malformed(machine) {
        return Err(reason);
    }
    packet.note(reason);
    Ok(())
}

/// As [`anomaly`], of the transport header.
#[inline(always)]
fn unsound<M: Machine>(machine: &M, packet: &mut Packet, reason: Reason) -> Result<(), Reason> {
    anomaly(machine, packet, reason)?;
    packet.anomaly |= Packet::UNSOUND;
    Ok(())
}

/// What a frame is that could not be read on: a packet of which the rest is not there, if its
/// addresses are known and rules judge such frames.
#[inline(always)]
fn stopped<M: Machine>(machine: &M, packet: &mut Packet, reason: Reason) -> Parsed {
    let is_judged = rules_judge_malformed(machine)
        && packet.end != 0
        && matches!(reason.governed_by(), Governs::Malformed);
    if !is_judged {
        return Parsed::Bad(reason);
    }
    // What is known to be a fragment has a knob of its own.
    let part = packet.key.field(Field::Fragment);
    if (part == fragment::FIRST || part == fragment::LATER)
        && let Err(reason) = fragment_allowed(machine)
    {
        return Parsed::Bad(reason);
    }
    packet.note(reason);
    packet.anomaly |= Packet::UNSOUND;
    Parsed::Ip
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// An IP packet: the [`Packet`] is filled in, as far as it can be.
    Ip,
    /// Neither IPv4 nor IPv6: EtherType and byte offset of what follows it.
    Other {
        /// EtherType after all VLAN tags (or an 802.3 length below 600h).
        ethertype: u32,
        /// Byte offset of the payload.
        offset: u32,
    },
    /// A frame with an anomaly.
    Bad(Reason),
}

/// One of the parser's knobs.
#[inline(always)]
fn knob<M: Machine>(machine: &M, pick: impl Fn(&PacketConfig) -> &u32) -> u32 {
    machine.constant(|config: &Config| pick(&config.packet))
}

impl Parsed {
    /// As one number, to go through a call of the kernel program: see [`Parsed::from_word`].
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        match self {
            Self::Ip => 0,
            Self::Bad(reason) => 1 << 32 | reason.0 as u64,
            Self::Other { ethertype, offset } => {
                2 << 32 | (ethertype as u64) << 16 | offset as u64 & 0xffff
            }
        }
    }

    /// Back from [`Parsed::to_word`].
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        match word >> 32 {
            0 => Self::Ip,
            1 => Self::Bad(Reason(word as u8)),
            _ => Self::Other {
                ethertype: (word >> 16) as u32 & 0xffff,
                offset: word as u32 & 0xffff,
            },
        }
    }
}

/// Parses a frame into `packet`, which the caller hands in as [`Packet::EMPTY`].
#[inline(always)]
pub fn parse<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &mut Packet) -> Parsed {
    match parse_ip(machine, frame, packet) {
        Ok(None) => Parsed::Ip,
        Ok(Some((ethertype, offset))) => Parsed::Other { ethertype, offset },
        Err(reason) => stopped(machine, packet, reason),
    }
}

/// EtherType and byte offset of what follows it, if that is not IP.
#[inline(always)]
fn parse_ip<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<Option<(u32, u32)>, Reason> {
    let ethernet = ethernet::parse(machine, frame)?;
    packet.key.fields[Field::Vlan as usize] = ethernet.vlan;
    match ethernet.ethertype {
        ethertype::IPV4 => ipv4::parse(machine, frame, ethernet.payload, frame.len(), packet)?,
        ethertype::IPV6 => ipv6::parse(machine, frame, ethernet.payload, frame.len(), packet)?,
        other => return Ok(Some((other, ethernet.payload))),
    }
    transport_layer(machine, frame, packet)?;
    Ok(None)
}

/// The transport header, and whether the policy allows the fragment that the packet may be.
#[inline(always)]
fn transport_layer<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<(), Reason> {
    transport::parse(machine, frame, packet)?;
    // Judged after its transport header, because a tiny first fragment has a reason of its own.
    if packet.key.field(Field::Fragment) == fragment::FIRST {
        fragment_allowed(machine)?;
    }
    Ok(())
}

/// The reason for a fragment that is in order, under a policy that drops fragments.
#[inline(always)]
fn fragment_allowed<M: Machine>(machine: &M) -> Result<(), Reason> {
    if knob(machine, |k| &k.fragments) == crate::abi::fragments::DROP {
        return Err(Reason::FRAGMENT);
    }
    Ok(())
}
