//! What a rule asks of a packet beside the fields of its key: bytes of its payload, options and
//! extension headers of IP.
//!
//! Of the conditions that a policy names each has a bit. They are looked at once for a packet, before
//! the walk, and the rule that the walk stops at asks for its bit as it asks whether it has expired: a
//! packet without goes on behind it. So the fields of the walk, and packets under policies without such
//! conditions, pay nothing.
//!
//! A payload is what follows the header of TCP or UDP, to the end of the datagram. Of packets whose
//! transport header is not in order, or is not there, nothing is known of it.
//!
//! May not import anything of the host or the kernel. A change of the layout is a change of
//! [`ABI_VERSION`](crate::abi::ABI_VERSION).

use crate::abi::{CONTENT_ROW, CONTENTS, ContentRow};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::machine::{Machine, Step};
use crate::packet::Packet;
use crate::parse::{fragment, proto};
use core::mem::offset_of;

/// Bytes of a payload that a condition can ask for.
pub const PAYLOAD: u32 = 16;

/// Which of the policy's conditions hold of a packet, a bit for each.
#[inline(always)]
pub fn of<M: Machine, F: Frame>(machine: &M, frame: &F, packet: &Packet) -> u32 {
    let (data, end) = payload(frame, packet).unwrap_or((1, 0));
    let start = u64::from(machine.constant(|c| &c.content_rows));
    let rows = u64::from(machine.constant(|c| &c.contents));
    let mut search = Search {
        machine: *machine,
        frame: *frame,
        at: start,
        behind: start + rows * u64::from(CONTENT_ROW),
        data: u64::from(data),
        end: u64::from(end),
        options: u64::from(packet.options()),
        bit: 1,
        found: 0,
    };
    machine.repeat(CONTENTS as u32, &mut search);
    search.found as u32
}

/// Where the payload of TCP or UDP begins and ends, in bytes of the frame.
#[inline(always)]
fn payload<F: Frame>(frame: &F, packet: &Packet) -> Option<(u32, u32)> {
    if !packet.is_sound() || packet.key.field(Field::Fragment) == fragment::LATER {
        return None;
    }
    let (at, end) = (packet.l4, packet.end);
    match packet.key.field(Field::Proto) {
        proto::TCP => {
            let header = frame.header::<20>(at)?;
            Some((at + (header.u8::<12>() >> 4) * 4, end))
        }
        proto::UDP => {
            let header = frame.header::<8>(at)?;
            // What follows the datagram is padding, though it lies inside the IP packet. (Of a first
            // fragment the datagram goes on behind it.)
            let behind = at + header.be16::<4>();
            Some((at + 8, if behind < end { behind } else { end }))
        }
        _ => None,
    }
}

/// Goes over the conditions, one a step.
struct Search<M, F> {
    machine: M,
    frame: F,
    /// Byte offset of the next row in the tables.
    at: u64,
    /// Byte offset behind the last one.
    behind: u64,
    /// Byte offset of the payload in the frame.
    data: u64,
    /// Byte offset of its end; before `data` if there is none.
    end: u64,
    /// As [`Packet::options`].
    options: u64,
    /// The bit of the next row.
    bit: u64,
    /// Those of the rows so far that hold.
    found: u64,
}

impl<M: Machine, F: Frame> Search<M, F> {
    /// Whether the packet has the options of the row.
    #[inline(always)]
    fn has_options(&self) -> bool {
        let row = self.at + offset_of!(ContentRow, options) as u64;
        let wanted = u64::from(self.machine.table_u32(row));
        wanted == 0 || wanted & self.options != 0
    }

    /// Whether the payload has the bytes of the row.
    #[inline(always)]
    fn has_bytes(&self) -> bool {
        let word = |at: usize| self.machine.table_u64(self.at + at as u64);
        let row = self.at + offset_of!(ContentRow, end) as u64;
        let wanted = u64::from(self.machine.table_u32(row));
        if wanted == 0 {
            return true;
        }
        let behind = self.data + wanted;
        if behind > self.end {
            return false;
        }
        // Those that end there: there are as many bytes of headers before any payload.
        let behind = self.machine.forget(behind) as u32;
        let Some(bytes) = self
            .frame
            .header::<{ PAYLOAD as usize }>(behind.wrapping_sub(PAYLOAD))
        else {
            return false;
        };
        let high = bytes.be64::<0, 4>() & word(offset_of!(ContentRow, mask_high));
        let low = bytes.be64::<8, 12>() & word(offset_of!(ContentRow, mask_low));
        (high ^ word(offset_of!(ContentRow, high))) | (low ^ word(offset_of!(ContentRow, low))) == 0
    }
}

impl<M: Machine, F: Frame> Step for Search<M, F> {
    const FORGETS: bool = true;

    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.at,
            &mut self.behind,
            &mut self.data,
            &mut self.end,
            &mut self.options,
            &mut self.bit,
            &mut self.found,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.at >= self.behind {
            return false;
        }
        if self.has_options() && self.has_bytes() {
            self.found |= self.bit;
        }
        self.bit <<= 1;
        self.at += u64::from(CONTENT_ROW);
        true
    }
}
