//! Ethernet (IEEE 802.3) and VLAN tags (802.1Q, 802.1ad, and the older 9100h).

use super::{Anomaly, Knobs, be16};

/// VLAN, EtherType and payload of a frame, behind all of its tags.
pub(super) fn untag<'a>(
    frame: &'a [u8],
    knobs: &Knobs,
) -> Result<(Option<u16>, u16, &'a [u8]), Anomaly> {
    let mut tags = Vec::new();
    // Where the next EtherType stands.
    let mut at = 12;
    loop {
        if frame.len() < at + 2 {
            return Err("truncated");
        }
        let ethertype = be16(frame, at);
        if ![0x8100, 0x88a8, 0x9100].contains(&ethertype) {
            // VID 0 only carries a priority.
            let vlan = tags.into_iter().find(|&vid| vid != 0);
            return Ok((vlan, ethertype, &frame[at + 2..]));
        }
        if tags.len() == knobs.vlan_depth {
            return Err("vlan-depth");
        }
        if frame.len() < at + 6 {
            return Err("truncated");
        }
        tags.push(be16(frame, at + 2) % 4096);
        at += 4;
    }
}

/// The station that has sent the frame.
pub(super) fn sender(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

/// By what a frame that is not IP is told apart: its EtherType; below 1536, which are lengths (IEEE 802.3
/// 3.2.6), the destination service access point that an LLC frame begins with (IEEE 802.2), or 256
/// without one.
pub(super) fn protocol(kind: u16, payload: &[u8]) -> u32 {
    match (kind, payload.first()) {
        (1536.., _) => kind.into(),
        (_, Some(&point)) => point.into(),
        (_, None) => 256,
    }
}
