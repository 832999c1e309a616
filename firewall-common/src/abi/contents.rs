//! What the tables say of conditions on a packet's payload and options: see [`crate::content`].

/// How many of them a policy can name.
pub const CONTENTS: usize = 16;

/// One condition.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ContentRow {
    /// The bytes that are asked for, as one big-endian number of 128 bits that ends where they end: its
    /// upper half.
    pub high: u64,
    /// Its lower half.
    pub low: u64,
    /// Which of its bits count, the upper half.
    pub mask_high: u64,
    /// The lower half.
    pub mask_low: u64,
    /// Where the bytes end, counted from the start of the payload; 0: none are asked for.
    pub end: u32,
    /// Bits of [`option_bit`], one of which the packet must have; 0: none is asked for.
    pub options: u32,
}
const _: () = assert!(size_of::<ContentRow>() == CONTENT_ROW as usize);

/// Bytes of a [`ContentRow`].
pub const CONTENT_ROW: u32 = 40;

/// Options of IPv4, and what IPv6 has in their place.
pub mod option_bit {
    /// An IPv4 header with options, or an extension header of IPv6.
    pub const ANY: u32 = 1;
    /// Router alert (RFC 2113).
    pub const ROUTER_ALERT: u32 = 2;
    /// A loose or strict source route; an IPv6 routing header of type 0, or with segments left.
    pub const SOURCE_ROUTE: u32 = 4;
    /// Record route.
    pub const RECORD_ROUTE: u32 = 8;
    /// Timestamps.
    pub const TIMESTAMP: u32 = 16;
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u32 = 32;
    /// Destination options.
    pub const DESTINATION: u32 = 64;
    /// A routing header.
    pub const ROUTING: u32 = 128;
    /// A fragment header, be it that of a whole packet.
    pub const FRAGMENT: u32 = 256;
    /// An authentication header.
    pub const AUTHENTICATION: u32 = 512;
}
