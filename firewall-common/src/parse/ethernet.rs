//! Ethernet II and stacked VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use super::knob;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::machine::Machine;
use crate::reason::Reason;

/// The most VLAN tags that a policy can allow; the loop below is bounded by it.
const MAX_TAGS: u32 = 8;

/// Bytes of the Ethernet header.
const HEADER: u32 = 14;

// `& 63` below bounds what the verifier knows of the payload's offset and changes nothing.
const _: () = assert!(HEADER + MAX_TAGS * 4 < 64);

pub(super) struct Ethernet {
    pub(super) ethertype: u32,
    /// Byte offset of the payload.
    pub(super) payload: u32,
    /// As [`Field::Vlan`].
    pub(super) vlan: u32,
}

/// 802.1Q, 802.1ad, and the pre-standard stacked tag that some switches still send.
#[inline(always)]
pub const fn is_tag(ethertype: u32) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// The header that the frame begins with.
#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(machine: &M, frame: &F) -> Result<Ethernet, Reason> {
    headers::<M, F, false>(machine, frame, 0, 0)
}

/// The header of a frame inside the frame, between byte offsets `start` and `limit`.
#[inline(always)]
pub(super) fn parse_inner<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    start: u32,
    limit: u32,
) -> Result<Ethernet, Reason> {
    headers::<M, F, true>(machine, frame, start, limit)
}

/// `N` bytes at `at`. Inside another packet, what follows its end is not part of it.
#[inline(always)]
fn read<F: Frame, const N: usize, const INNER: bool>(
    frame: &F,
    at: u32,
    limit: u32,
) -> Result<F::Header<N>, Reason> {
    if INNER && at + N as u32 > limit {
        return Err(Reason::TRUNCATED);
    }
    frame.header::<N>(at).ok_or(Reason::TRUNCATED)
}

/// The VLAN of a frame that had `vlan` so far and has a tag with `vid`. A priority tag (VID 0) names no
/// VLAN; Linux looks at the tag behind it. By arithmetic: the verifier would follow every combination
/// of tags.
#[inline(always)]
const fn first_vlan(vlan: u32, vid: u32) -> u32 {
    const { assert!(Field::Vlan.none() == 1 << 12) };
    let has_none = vlan >> 12 & 1;
    let is_named = vid.wrapping_neg() >> 31;
    vlan ^ (vlan ^ vid) & (has_none & is_named).wrapping_neg()
}

#[inline(always)]
fn headers<M: Machine, F: Frame, const INNER: bool>(
    machine: &M,
    frame: &F,
    start: u32,
    limit: u32,
) -> Result<Ethernet, Reason> {
    let header = read::<F, 14, INNER>(frame, start, limit)?;
    let mut ethernet = Ethernet {
        ethertype: header.be16::<12>(),
        payload: start + HEADER,
        vlan: Field::Vlan.none(),
    };
    if !is_tag(ethernet.ethertype) {
        return Ok(ethernet);
    }
    let depth = knob(machine, |k| &k.vlan_depth);
    for tag in 0..MAX_TAGS {
        if tag >= depth {
            break;
        }
        let header = read::<F, 4, INNER>(frame, ethernet.payload, limit)?;
        ethernet.vlan = first_vlan(ethernet.vlan, header.be16::<0>() & 0x0fff);
        ethernet.ethertype = header.be16::<2>();
        ethernet.payload += 4;
        if !is_tag(ethernet.ethertype) {
            let payload = machine.forget(u64::from(ethernet.payload)) as u32;
            ethernet.payload = if INNER { payload } else { payload & 63 };
            return Ok(ethernet);
        }
    }
    Err(Reason::VLAN_DEPTH)
}
