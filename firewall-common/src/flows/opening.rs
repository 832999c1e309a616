//! SYNs that have left lately. A SYN that comes in belongs to a connection only if it meets one of them:
//! both sides open at once (RFC 9293, 3.5). So a stranger's SYN costs a look at one word, and not the
//! search for a flow and a socket, unless SYNs leave by the hundred a second.
//!
//! The region [`Region::Syns`] holds times, by a hash of the connection. Two connections can share a
//! word: then a SYN is looked up in vain. The hash has no secret: whoever knows it gains no more than that.
//!
//! Invariant: a word is never older than the last SYN of a connection that it stands for. A new region
//! begins with the time at which it was made, so that no SYN that has left before is missed.

use super::{Tuple, idle};
use crate::machine::Machine;
use crate::region::Region;

/// Bytes of the region, where rules look at state.
pub const SYNS_SIZE: u32 = 128 << 10;

/// For how many ticks a SYN may be met, about 137 s: Linux gives up two minutes after the last one at the
/// latest (TCP_RTO_MAX), and a flow that waits is forgotten by then.
const LASTS: u64 = 128;

/// Byte offset of a connection's word: a sum of products, of which the upper bits are taken.
#[inline(always)]
const fn place(tuple: &Tuple) -> u64 {
    let sum = tuple.remote[0]
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(tuple.remote[1].wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(tuple.local[0].wrapping_mul(0x1656_67b1_9e37_79f9))
        .wrapping_add(tuple.local[1].wrapping_mul(0xff51_afd7_ed55_8ccd))
        .wrapping_add(tuple.identity.wrapping_mul(0xd6e8_feb8_6659_fd93));
    (sum >> (64 - (SYNS_SIZE / 8).trailing_zeros())) * 8
}

/// Notes that a SYN of a connection leaves.
#[inline(always)]
pub(super) fn note<M: Machine>(machine: &M, tuple: &Tuple) {
    let (at, word) = (place(tuple), machine.ticks());
    if machine.read(Region::Syns, at) != word {
        machine.write(Region::Syns, at, word);
    }
}

/// Whether a SYN of a connection may have left lately.
#[inline(always)]
pub(super) fn may_meet<M: Machine>(machine: &M, tuple: &Tuple) -> bool {
    idle(machine.read(Region::Syns, place(tuple)), machine.ticks()) < LASTS
}
