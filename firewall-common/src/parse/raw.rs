//! Frames without a link header, as on WireGuard, tun, PPP and IP tunnels: the packet is all there is.
//!
//! Which IP it is says its first half byte, by which Linux tells it there, too.

use super::ethernet::Ethernet;
use super::ethertype;
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::reason::Reason;

/// The packet that the frame is, in the words of a link header that is not there.
#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F) -> Result<Ethernet, Reason> {
    let first = frame.header::<1>(0).ok_or(Reason::TRUNCATED)?;
    Ok(Ethernet {
        ethertype: match first.u8::<0>() >> 4 {
            4 => ethertype::IPV4,
            6 => ethertype::IPV6,
            _ => return Err(Reason::BAD_VERSION),
        },
        payload: 0,
        vlan: Field::Vlan.none(),
    })
}
