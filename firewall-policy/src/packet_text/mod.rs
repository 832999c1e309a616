//! A packet as one line of text: `tcp 203.0.113.9:5000 > 198.51.100.80:22 syn ttl 64`.
//!
//! ```text
//! text ─► read ─► PacketText ─► frame ─► bytes that parser and program judge
//!                     └── of_key ◄── PacketKey      (and back to text by Display)
//! ```
//!
//! For the verb `test`, for the tests inside a policy, and for naming a packet in the findings of
//! lint and diff. May not import `validate`, `compile` or `oracle`.
//!
//! Invariant: what `Display` writes reads back as the same value.

mod before;
mod content;
mod frame;
mod link;
mod members;
mod print;
mod read;
mod zone;

pub use before::Earlier;
pub use members::Misplaced;
pub use read::{TextError, parse, read};
pub use zone::zone_of;

use crate::fields::{self, Header, Row, Usual};
use crate::rule::Mac;
use firewall_common::field::Field;
use firewall_common::parse::{flag, fragment};
use std::net::IpAddr;

/// Source port where the text names none: in the range that hosts take ports from.
pub const SOURCE_PORT: u16 = 40_000;

/// A packet and where it comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketText {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Protocol and what belongs to it.
    pub kind: Kind,
    /// The source MAC address, if it is said.
    pub mac: Option<Mac>,
    /// What is said of the numbers in its headers.
    pub numbers: Numbers,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// A value of [`firewall_common::parse::fragment`].
    pub fragment: u32,
    /// Options of an IPv4 header, or extension headers of IPv6, bits of
    /// [`firewall_common::abi::option_bit`]; [`ANY`](firewall_common::abi::option_bit::ANY) alone: some that
    /// mean nothing.
    pub options: Option<u32>,
    /// What follows the header of TCP or UDP, if it is said.
    pub payload: Vec<u8>,
    /// Whether it belongs to a connection that this host has opened or accepted.
    pub established: bool,
    /// Whether it comes because of a datagram that this host has sent to another port of its source.
    pub related: bool,
    /// Sets that the source is in, beside those that the policy puts it into.
    pub from_sets: Vec<String>,
    /// Sets that the destination is in.
    pub to_sets: Vec<String>,
    /// Where it comes in.
    pub ingress: Ingress,
}

/// What is said of the numbers in a packet's headers ([`crate::fields::numbers`]). Of what nothing is
/// said the packet has what such packets have: a `length` is the shortest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers([Option<u32>; Field::COUNT]);

impl Numbers {
    /// What is said of a field.
    #[must_use]
    pub const fn get(&self, field: Field) -> Option<u32> {
        self.0[field as usize]
    }

    /// Says nothing of a field.
    const fn forget(&mut self, field: Field) {
        self.0[field as usize] = None;
    }

    /// Says it. What all packets have of which nothing is said is not worth a word.
    const fn say(&mut self, row: &Row, value: u32) {
        self.0[row.field as usize] = match row.usual {
            Usual::Is(usual) if usual == value => None,
            _ => Some(value),
        };
    }
}

/// Where a packet comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ingress {
    /// On an interface without zone.
    Anywhere,
    /// On an interface of this zone.
    Zone(String),
    /// On the interface of this name.
    Interface(String),
}

/// What kind of packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An ARP request; not an IP packet.
    Arp,
    /// Another frame that is not IP. Its `src` and `dst` mean nothing.
    Frame {
        /// As [`crate::rule::FrameKey::ethertype`].
        ethertype: u32,
        /// Where it is sent to.
        to: Mac,
    },
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// As [`firewall_common::field::Field::TcpFlags`].
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// SCTP.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, by number. A protocol above, too, in a later fragment.
    Other(u8),
}

/// What can be said of a packet behind its addresses, whatever its protocol: the words with which it
/// begins.
pub fn words() -> impl Iterator<Item = &'static str> {
    let others = [
        "vlan",
        "fragment",
        "established",
        "related",
        "from",
        "to",
        "options",
        "payload",
        "mac",
        "in",
        "on",
    ];
    fields::numbers().map(|row| row.word).chain(others)
}

impl PacketText {
    /// A packet with nothing said of it but addresses and kind.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, kind: Kind) -> Self {
        Self {
            src,
            dst,
            kind,
            mac: None,
            numbers: Numbers::default(),
            vlans: Vec::new(),
            fragment: fragment::WHOLE,
            options: None,
            payload: Vec::new(),
            established: false,
            related: false,
            from_sets: Vec::new(),
            to_sets: Vec::new(),
            ingress: Ingress::Anywhere,
        }
    }

    /// Whether such a packet can belong to a connection: TCP but for the packet that opens one, UDP,
    /// echo replies and ICMP errors.
    #[must_use]
    pub fn can_be_established(&self) -> bool {
        let v6 = self.dst.is_ipv6();
        match self.kind {
            Kind::Tcp { flags, .. } => u32::from(flags) & (flag::SYN | flag::ACK) != flag::SYN,
            Kind::Udp { .. } => true,
            Kind::Icmp { kind, .. } if v6 => matches!(kind, 1..=4 | 129),
            Kind::Icmp { kind, .. } => matches!(kind, 0 | 3 | 11 | 12),
            Kind::Arp | Kind::Frame { .. } | Kind::Sctp { .. } | Kind::Other(_) => false,
        }
    }

    /// Whether the packet has a header of this kind. (A text about ARP may say what IPv4 has.)
    const fn has(&self, header: Header) -> bool {
        match header {
            _ if matches!(self.kind, Kind::Frame { .. }) => false,
            Header::Ipv4 => self.dst.is_ipv4(),
            Header::Ipv6 => self.dst.is_ipv6(),
            Header::Tcp => matches!(self.kind, Kind::Tcp { .. }),
        }
    }

    /// The IP protocol number; 0 for frames that are not IP.
    #[must_use]
    pub fn proto(&self) -> u8 {
        match self.kind {
            Kind::Arp | Kind::Frame { .. } => 0,
            Kind::Tcp { .. } => 6,
            Kind::Udp { .. } => 17,
            Kind::Sctp { .. } => 132,
            Kind::Icmp { .. } if self.dst.is_ipv6() => 58,
            Kind::Icmp { .. } => 1,
            Kind::Other(number) => number,
        }
    }
}

#[cfg(test)]
mod tests;
