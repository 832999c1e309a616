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

/// Where a packet is counted among the ports: its destination port times two, plus one for UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct CountedPort(u32);

impl CountedPort {
    /// Nowhere: the packet has no port that is counted.
    pub const NONE: Self = Self(u32::MAX);

    /// A TCP port, 0 to 65,535.
    #[must_use]
    #[inline(always)]
    pub const fn tcp(port: u32) -> Self {
        Self(port * 2)
    }

    /// A UDP port, 0 to 65,535.
    #[must_use]
    #[inline(always)]
    pub const fn udp(port: u32) -> Self {
        Self(port * 2 + 1)
    }

    /// The port, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn port(self) -> u16 {
        (self.0 >> 1) as u16
    }

    /// Whether it is of UDP, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn is_udp(self) -> bool {
        self.0 & 1 != 0
    }

    /// As a number, for the log of a program that is debugged.
    #[must_use]
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }
}

/// Byte offset of a port's counter inside one CPU's region of `fw_ports`.
#[must_use]
pub const fn port_offset(port: u16, udp: bool, verdict: u8) -> u32 {
    ((udp as u32 * 2 + verdict as u32) * PORTS as u32 + port as u32) * COUNTER_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_comes_back() {
        for port in 0..=u16::MAX {
            let (tcp, udp) = (CountedPort::tcp(port.into()), CountedPort::udp(port.into()));
            assert_eq!((tcp.port(), tcp.is_udp()), (port, false));
            assert_eq!((udp.port(), udp.is_udp()), (port, true));
            assert!(tcp != CountedPort::NONE && udp != CountedPort::NONE);
        }
    }
}
