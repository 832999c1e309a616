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
mod frame;
mod print;
mod read;
mod zone;

pub use before::Earlier;
pub(crate) use print::{flag_words, icmp_words};
pub use read::{TextError, parse, read};
pub use zone::zone_of;

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
    /// IPv4 time to live or IPv6 hop limit; `None` for what such packets have.
    pub ttl: Option<u8>,
    /// Code point, 0 to 63.
    pub dscp: u8,
    /// VLAN ids, outermost first.
    pub vlans: Vec<u16>,
    /// Length of the IP packet in bytes; `None` for the shortest.
    pub length: Option<u16>,
    /// A value of [`firewall_common::parse::fragment`].
    pub fragment: u32,
    /// Whether an IPv4 header carries options (four no-operations).
    pub options: bool,
    /// Whether it belongs to a connection that this host has opened or accepted.
    pub established: bool,
    /// Live sets that the source is in, beside those that the policy puts it into.
    pub from_sets: Vec<String>,
    /// Live sets that the destination is in.
    pub to_sets: Vec<String>,
    /// Where it comes in.
    pub ingress: Ingress,
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

impl PacketText {
    /// A packet with nothing said of it but addresses and kind.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, kind: Kind) -> Self {
        Self {
            src,
            dst,
            kind,
            ttl: None,
            dscp: 0,
            vlans: Vec::new(),
            length: None,
            fragment: fragment::WHOLE,
            options: false,
            established: false,
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
            Kind::Arp | Kind::Sctp { .. } | Kind::Other(_) => false,
        }
    }

    /// The IP protocol number; 0 for ARP.
    #[must_use]
    pub fn proto(&self) -> u8 {
        match self.kind {
            Kind::Arp => 0,
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
