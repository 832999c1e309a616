//! Whether a packet came as it was sent: nobody is answered for what a wrong checksum says, for whoever
//! it names as its sender may have nothing to do with it, and no host would have taken it.
//!
//! A sum is right if it is complete (RFC 1071), or if it is that of the pseudo header alone: so a
//! neighbour on a virtual cable (veth, virtio) leaves it to a card that never comes.
//!
//! May not import anything of the host or the kernel.

use super::build::checksum;
use crate::field::Field;
use crate::frame::{Frame, Header as _, MAX_OFFSET};
use crate::key::{Family, PacketKey};
use crate::machine::{Machine, Step};
use crate::parse::{Packet, fragment, proto};

/// Bytes that are summed in one step.
const PIECE: u64 = 32;

/// Whether the checksums of the packet are right: that of an IPv4 header, and that of TCP, UDP, ICMP
/// or ICMPv6. A fragment of those four has none that can be checked.
#[inline(always)]
pub fn is_intact<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> bool {
    let key = &packet.key;
    let start = packet.end.wrapping_sub(key.field(Field::Length));
    let is_v4 = key.family() == Family::V4;
    if is_v4 && !adds_up(machine, frame, start, packet.l4, 0) {
        return false;
    }
    let length = packet.end.wrapping_sub(packet.l4);
    let protocol = key.field(Field::Proto);
    let carried = match protocol {
        proto::TCP => match frame.header::<20>(packet.l4) {
            Some(header) => Carried::sum(header.be16::<16>(), length),
            None => return false,
        },
        proto::UDP => match frame.header::<8>(packet.l4) {
            Some(header) => Carried::sum(header.be16::<6>(), header.be16::<4>()),
            None => return false,
        },
        proto::ICMP if is_v4 => Carried::without_pseudo(length),
        proto::ICMPV6 if !is_v4 => Carried::sum(NEVER_BARE, length),
        _ => return true,
    };
    if key.field(Field::Fragment) != fragment::WHOLE {
        return false;
    }
    // No sum at all: only here (RFC 768; RFC 8200, 8.1).
    if protocol == proto::UDP && carried.check == 0 {
        return is_v4;
    }
    let pseudo = match carried.has_pseudo {
        true => pseudo_header(key, protocol, carried.length),
        false => 0,
    };
    carried.check == !checksum(pseudo) & 0xffff
        || adds_up(
            machine,
            frame,
            packet.l4,
            packet.l4 + carried.length,
            pseudo,
        )
}

/// In the place of the sum of a message that no card completes: no sum of 16 bits.
const NEVER_BARE: u32 = u32::MAX;

/// What is summed, and the sum that came with it.
struct Carried {
    check: u32,
    length: u32,
    has_pseudo: bool,
}

impl Carried {
    #[inline(always)]
    const fn sum(check: u32, length: u32) -> Self {
        Self {
            check,
            length,
            has_pseudo: true,
        }
    }

    #[inline(always)]
    const fn without_pseudo(length: u32) -> Self {
        Self {
            check: NEVER_BARE,
            length,
            has_pseudo: false,
        }
    }
}

/// The sum of the pseudo header of a packet (RFC 9293, 3.1; RFC 8200, 8.1).
#[inline(always)]
fn pseudo_header(key: &PacketKey, protocol: u32, length: u32) -> u64 {
    let mut sum = u64::from(protocol) + u64::from(length);
    // Of an IPv4 address the other halves are zeros.
    for half in [key.src_hi, key.src_lo, key.dst_hi, key.dst_lo] {
        sum += (half >> 32) + (half & 0xffff_ffff);
    }
    sum
}

/// Whether the bytes between two offsets, with `sum` before them, have the checksum that they carry.
#[inline(always)]
fn adds_up<M: Machine, F: Frame>(machine: &M, frame: &F, from: u32, to: u32, sum: u64) -> bool {
    let mut walk = Sum {
        machine: *machine,
        frame: *frame,
        at: machine.forget(u64::from(from)),
        end: machine.forget(u64::from(to)),
        sum: machine.forget(sum),
    };
    // And one step for each of the shorter pieces: at most seven of four bytes, and two.
    machine.repeat(MAX_OFFSET / PIECE as u32 + 10, &mut walk);
    walk.at >= walk.end && checksum(walk.sum) == 0
}

/// One piece of what is summed a step: as long as there is room for. It ends before the end if the
/// frame does, or where no header is read any more ([`MAX_OFFSET`]).
struct Sum<M, F> {
    machine: M,
    frame: F,
    at: u64,
    end: u64,
    sum: u64,
}

impl<M: Machine, F: Frame> Sum<M, F> {
    /// The length of the piece at [`Self::at`], and the sum of its words.
    #[inline(always)]
    fn piece(&self) -> Option<(u64, u64)> {
        let at = self.at as u32;
        if self.at + PIECE <= self.end {
            let piece = self.frame.header::<{ PIECE as usize }>(at)?;
            let words = [
                piece.be32::<0>(),
                piece.be32::<4>(),
                piece.be32::<8>(),
                piece.be32::<12>(),
                piece.be32::<16>(),
                piece.be32::<20>(),
                piece.be32::<24>(),
                piece.be32::<28>(),
            ];
            let sum = words.into_iter().fold(0, |sum, word| sum + u64::from(word));
            return Some((PIECE, sum));
        }
        let (length, word) = if self.at + 4 <= self.end {
            (4, self.frame.header::<4>(at)?.be32::<0>())
        } else if self.at + 2 <= self.end {
            (2, self.frame.header::<2>(at)?.be16::<0>())
        } else if self.at < self.end {
            (1, self.frame.header::<1>(at)?.u8::<0>() << 8)
        } else {
            return None;
        };
        Some((length, u64::from(word)))
    }
}

impl<M: Machine, F: Frame> Step for Sum<M, F> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.end, &mut self.sum] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let Some((length, sum)) = self.piece() else {
            return false;
        };
        self.sum = self.machine.forget(self.sum + sum);
        self.at = self.machine.forget(self.at + length);
        true
    }
}
