//! Frames that are not IP, and MAC addresses, as global functions: proved once, and with nothing in them
//! under a policy that does not look at the link layer.

use crate::frame::XdpFrame;
use crate::kernel::Kernel;
use crate::maps::constant;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use firewall_common::abi::{Entry, essential_bit};
use firewall_common::field::Field;
use firewall_common::frame::Frame as _;
use firewall_common::packet::Packet;
use firewall_common::{essential, link};

/// The number that the policy has given to the frame's source MAC address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_mac(ctx: *mut xdp_md) -> u64 {
    if constant(|c| &c.macs) == 0 {
        return u64::from(Field::Mac.none());
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    link::mac_of(&Kernel::uncounted(0), &frame).into()
}

/// Whether a frame is one that keeps the link up, of the EtherType and the offset that the parser has
/// found.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_of_link(ctx: *mut xdp_md, ethertype: u32, offset: u32) -> u64 {
    if constant(|c| &c.essential) & essential_bit::LINK == 0 {
        return 0;
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    essential::is_of_link(&Kernel::uncounted(0), &frame, ethertype, offset).into()
}

/// What the rules say of a frame that is not IP: an [`Entry`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_frame(
    ctx: *mut xdp_md,
    packet: *mut Packet,
    ethertype: u32,
    offset: u32,
) -> u64 {
    if constant(|c| &c.frames) | constant(|c| &c.default_log) == 0 {
        return Entry::NONE.word();
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only writable memory of this type through, or null.
    match unsafe { packet.as_mut() } {
        Some(packet) => {
            let kind = link::kind(&frame, ethertype, offset);
            link::judge(&Kernel::new(frame.len()), &frame, packet, kind).word()
        }
        None => Entry::NONE.word(),
    }
}
