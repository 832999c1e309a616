//! What this host has sent before an `established` packet comes: the frame that makes the flow which
//! the packet belongs to.
//!
//! The programs that judge the packet are shown this one first, the host build as well as the one in
//! the kernel. So what `established` means in a text is what it means on the wire.

use super::{Kind, PacketText, SOURCE_PORT};
use firewall_common::parse::flag;

/// The port to which the packet went that ICMP errors quote ([`PacketText::frame`]).
pub(super) const QUOTED_PORT: u16 = 53;

impl PacketText {
    /// The frame that goes out before this packet comes in; `None` for a packet that is new.
    #[must_use]
    pub fn before(&self) -> Option<Vec<u8>> {
        if !self.established {
            return None;
        }
        let back = |kind: Kind| Self::new(self.dst, self.src, kind);
        let packet = match self.kind {
            Kind::Tcp {
                source,
                destination,
                flags,
            } => {
                // The answer to a SYN comes behind one, all else behind the handshake. The numbers
                // that frames have here fit together: this host has acknowledged byte 1.
                let opens = u32::from(flags) & flag::SYN != 0;
                back(Kind::Tcp {
                    source: destination,
                    destination: source,
                    flags: if opens { flag::SYN } else { flag::ACK } as u8,
                })
            }
            Kind::Udp {
                source,
                destination,
            } => back(Kind::Udp {
                source: destination,
                destination: source,
            }),
            Kind::Icmp { kind: 0 | 129, .. } => back(Kind::Icmp {
                kind: if self.dst.is_ipv6() { 128 } else { 8 },
                code: 0,
            }),
            Kind::Icmp { .. } => back(Kind::Udp {
                source: SOURCE_PORT,
                destination: QUOTED_PORT,
            }),
            Kind::Arp | Kind::Sctp { .. } | Kind::Other(_) => return None,
        };
        Some(packet.frame())
    }
}
