//! What the tables say of frames that are not IP, and of MAC addresses: see [`crate::link`].

use super::Entry;

/// How many [`FrameRow`]s a policy can have: they are searched one by one.
pub const FRAME_ROWS: usize = 256;

/// How many MAC addresses a policy can name.
pub const MACS: usize = 1_024;

/// A rule about frames that are not IP, or one of the ranges of which its match is made, in rule order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct FrameRow {
    /// The lowest values that it accepts: a [`frame_word`].
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// What the match leads to.
    pub entry: Entry,
}
const _: () = assert!(size_of::<FrameRow>() == FRAME_ROW as usize);

/// Bytes of a [`FrameRow`].
pub const FRAME_ROW: u32 = 24;

/// What rules look at in a frame that is not IP, 16 bits each: EtherType, and the values of the fields
/// `vlan`, `zone` and `mac`.
#[must_use]
#[inline(always)]
pub const fn frame_word(ethertype: u32, vlan: u32, zone: u32, mac: u32) -> u64 {
    ethertype as u64 & 0xffff
        | (vlan as u64 & 0xffff) << 16
        | (zone as u64 & 0xffff) << 32
        | (mac as u64 & 0xffff) << 48
}

/// A MAC address, and its number in the policy, as a word of the table of addresses.
#[must_use]
#[inline(always)]
pub const fn mac_word(mac: u64, number: u32) -> u64 {
    mac << 16 | number as u64 & 0xffff
}
