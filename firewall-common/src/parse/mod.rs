//! The packet parser: from a frame to a [`PacketKey`], or to the one reason why it is not one.
//!
//! ```text
//! ethernet ─┬► ipv4 ─┬─► transport
//! raw      ─┴► ipv6 ─┘
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
mod raw;
mod transport;
mod tunnel;

pub use crate::packet::{Packet, Parsed};
pub use ethernet::is_tag;
pub use transport::flag;
pub use tunnel::{is_tunnel, parse_inner};

use crate::abi::{Config, PacketConfig, malformed};
use crate::field::Field;
use crate::frame::Frame;
#[cfg(doc)]
use crate::key::PacketKey;
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
    /// The first number that is an EtherType; below it stands the length of an LLC frame (IEEE 802.3).
    pub const FIRST: u32 = 0x600;
    /// Slow Protocols: LACP, marker, OAM (IEEE 802.3, annex 57A).
    pub const SLOW: u32 = 0x8809;
    /// 802.1X.
    pub const EAPOL: u32 = 0x888e;
    /// LLDP (IEEE 802.1AB).
    pub const LLDP: u32 = 0x88cc;
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

/// Whether the policy has malformed frames judged by its rules. A constant: without, the code that
/// goes on behind an anomaly is taken out.
#[inline(always)]
pub fn rules_judge_malformed<M: Machine>(machine: &M) -> bool {
    knob(machine, |k| &k.malformed) == malformed::RULES
}

/// Whether rules ask for options and extension headers. A constant, as above.
#[inline(always)]
fn asks_for_options<M: Machine>(machine: &M) -> bool {
    machine.constant(|config| &config.contents) != 0
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

/// One of the parser's knobs.
#[inline(always)]
fn knob<M: Machine>(machine: &M, pick: impl Fn(&PacketConfig) -> &u32) -> u32 {
    machine.constant(|config: &Config| pick(&config.packet))
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
    let ethernet = if machine.constant(|config| &config.raw_ip) == 0 {
        ethernet::parse(machine, frame)?
    } else {
        raw::parse(frame)?
    };
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
