//! Counters: of ports, and of reasons for each interface. Those of rules are an array of
//! [`Counter`] by slot.

use super::{INTERFACES, PORTS};
use crate::reason::Reason;

/// Packets and bytes. Bytes are frame bytes as the NIC delivers them, Ethernet header included,
/// frame check sequence not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}
const _: () = assert!(size_of::<Counter>() == COUNTER_SIZE as usize);

/// Bytes of one [`Counter`].
pub const COUNTER_SIZE: u32 = 16;

/// Bytes of one CPU's region of the map `fw_reasons`:
/// `[interface slot; 64][reason; 64][verdict; 2]` of [`Counter`].
pub const REASONS_STRIDE: u32 = (INTERFACES * Reason::CAPACITY * 2) as u32 * COUNTER_SIZE;

/// Bytes of one CPU's region of the map `fw_ports`:
/// `[0 TCP, 1 UDP][verdict; 2][port; 65536]` of [`Counter`]. Most traffic is of one protocol and has
/// one fate: so four ports share a cache line, and a sweep over all ports touches a megabyte.
pub const PORTS_STRIDE: u32 = PORTS as u32 * 4 * COUNTER_SIZE;

/// Byte offset of a reason's counter inside one CPU's region of `fw_reasons`.
#[must_use]
pub const fn reason_offset(interface_slot: u32, reason: Reason, verdict: u8) -> u32 {
    ((interface_slot * Reason::CAPACITY as u32 + reason.0 as u32) * 2 + verdict as u32)
        * COUNTER_SIZE
}

/// Byte offset of a port's counter inside one CPU's region of `fw_ports`.
#[must_use]
pub const fn port_offset(port: u16, udp: bool, verdict: u8) -> u32 {
    ((udp as u32 * 2 + verdict as u32) * PORTS as u32 + port as u32) * COUNTER_SIZE
}
