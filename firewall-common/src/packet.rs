//! What the parser makes of a frame, as plain data.

use crate::key::{Family, PacketKey};
use crate::reason::Reason;

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
    /// [`Packet::UNSOUND`]; 0 for a packet in order. Beside it [`Packet::ALERT`], and from bit
    /// [`Packet::OPTIONS`] on, where rules ask for them, [`option_bit`](crate::abi::option_bit)s.
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
    pub(crate) const UNSOUND: u32 = 1 << 8;

    /// In [`Packet::anomaly`], and none: an IPv4 header with the router alert option (RFC 2113), and no
    /// other one.
    pub(crate) const ALERT: u32 = 1 << 9;

    /// In [`Packet::anomaly`]: where the options begin.
    pub(crate) const OPTIONS: u32 = 16;

    /// Options and extension headers of the IP header, bits of [`option_bit`](crate::abi::option_bit); 0
    /// under a policy that does not ask for them.
    #[must_use]
    #[inline(always)]
    pub const fn options(&self) -> u32 {
        self.anomaly >> Self::OPTIONS
    }

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

/// Where a fragment's data belongs in the datagram, in one number, so that it passes through a loop
/// of the parser: see [`Span::pack`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First unit of 8 bytes, 0 to 8,191.
    pub start: u64,
    /// Unit behind the last one, 1 to 8,192.
    pub end: u64,
    /// Whether more fragments follow behind it.
    pub more: bool,
}

impl Span {
    /// As a number below 2^32. `offset` and `payload` are bytes; only the last fragment's end is
    /// not a multiple of 8, and nothing can begin in the unit where it ends.
    #[must_use]
    #[inline(always)]
    pub const fn pack(offset: u32, payload: u32, more: bool) -> u32 {
        (more as u32) << 31 | (offset >> 3) << 16 | ((offset + payload + 7) >> 3) & 0xffff
    }

    /// Back from [`Span::pack`].
    #[must_use]
    #[inline(always)]
    pub const fn unpack(word: u32) -> Self {
        Self {
            start: (word >> 16 & 0x1fff) as u64,
            end: (word & 0xffff) as u64,
            more: word >> 31 != 0,
        }
    }
}
