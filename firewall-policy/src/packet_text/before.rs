//! What has been before a packet comes: the frame that this host has sent, which makes the flow that
//! an `established` packet belongs to, and the live sets that its addresses are in.
//!
//! The programs that judge the packet are shown this one first, the host build as well as the one in
//! the kernel. So what `established` means in a text is what it means on the wire.

use super::{Kind, PacketText, SOURCE_PORT};
use crate::prefixes::{prefix_v4, prefix_v6};
use crate::rule::{BANNED, Policy};
use firewall_common::live::Prefix;
use firewall_common::parse::flag;
use std::net::IpAddr;

/// The port to which the packet went that ICMP errors quote ([`PacketText::frame`]).
pub(super) const QUOTED_PORT: u16 = 53;

/// The port of a service that answers from others (RFC 1350).
const TFTP: u16 = 69;

/// Ports of DHCPv6 (RFC 8415).
const CLIENT_V6: u16 = 546;
const SERVER_V6: u16 = 547;

/// What has been before a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Earlier {
    /// What this host has sent, frame by frame.
    pub sent: Vec<Vec<u8>>,
    /// Addresses that are in live sets, which are named by their index in the policy.
    pub members: Vec<(usize, Prefix)>,
    /// Addresses that are banned.
    pub banned: Vec<Prefix>,
}

impl PacketText {
    /// What has been before this packet.
    ///
    /// # Errors
    /// The name of a live set that the policy does not have.
    pub fn earlier(&self, policy: &Policy) -> Result<Earlier, String> {
        let (mut members, mut banned) = (Vec::new(), Vec::new());
        for (address, names) in [(self.src, &self.from_sets), (self.dst, &self.to_sets)] {
            let prefix = match address {
                IpAddr::V4(address) => prefix_v4(address.into(), 32),
                IpAddr::V6(address) => prefix_v6(address.into(), 128),
            };
            for name in names {
                if name == BANNED {
                    banned.push(prefix);
                    continue;
                }
                let set = policy.live_set(name).ok_or_else(|| name.clone())?;
                members.push((set, prefix));
            }
        }
        Ok(Earlier {
            sent: self.before(),
            members,
            banned,
        })
    }

    /// The frames that go out before this packet comes in; none for a packet that is new.
    #[must_use]
    pub fn before(&self) -> Vec<Vec<u8>> {
        let back = |kind: Kind| Self::new(self.dst, self.src, kind);
        if let (
            true,
            Kind::Udp {
                source,
                destination,
            },
        ) = (self.related, self.kind)
        {
            let asked = Kind::Udp {
                source: destination,
                destination: if source == TFTP { TFTP + 1 } else { TFTP },
            };
            return vec![back(asked).frame()];
        }
        if !self.established {
            return Vec::new();
        }
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
            // A server answers from whatever port to a request to its own.
            Kind::Udp {
                source,
                destination: CLIENT_V6,
            } if self.dst.is_ipv6() && source != SERVER_V6 => {
                let to = |destination| {
                    back(Kind::Udp {
                        source: CLIENT_V6,
                        destination,
                    })
                };
                return [source, SERVER_V6].map(|port| to(port).frame()).into();
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
            Kind::Arp | Kind::Frame { .. } | Kind::Sctp { .. } | Kind::Other(_) => {
                return Vec::new();
            }
        };
        vec![packet.frame()]
    }
}
