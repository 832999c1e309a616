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
const fn is_tag(ethertype: u32) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(machine: &M, frame: &F) -> Result<Ethernet, Reason> {
    let header = frame.header::<14>(0).ok_or(Reason::TRUNCATED)?;
    let mut ethernet = Ethernet {
        ethertype: header.be16::<12>(),
        payload: HEADER,
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
        let header = frame
            .header::<4>(ethernet.payload)
            .ok_or(Reason::TRUNCATED)?;
        // A priority tag (VID 0) names no VLAN; Linux looks at the tag behind it.
        let vid = header.be16::<0>() & 0x0fff;
        if vid != 0 && ethernet.vlan == Field::Vlan.none() {
            ethernet.vlan = vid;
        }
        ethernet.ethertype = header.be16::<2>();
        ethernet.payload += 4;
        if !is_tag(ethernet.ethertype) {
            ethernet.payload = machine.forget(u64::from(ethernet.payload)) as u32 & 63;
            return Ok(ethernet);
        }
    }
    Err(Reason::VLAN_DEPTH)
}
