//! Turning a frame into the answer to its sender, in place. What the answer says is
//! `firewall_common::answer`; here is how the frame gets its length and its bytes.
//!
//! Invariant: after [`fw_answer`] has returned 1 the frame is the answer, and no pointer into it from
//! before may be used. After 0 it has the bytes that it came with, if not their place.

use crate::frame::{FirstBuffer, XdpFrame};
use crate::kernel::Kernel;
use crate::maps::constant;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use firewall_common::abi::answers;
use firewall_common::answer::{self, Answer, IP_WORDS, LINK_WORDS};
use firewall_common::frame::Frame as _;
use firewall_common::machine::Machine as _;
use firewall_common::parse::Packet;

/// Whether a rejected packet may be answered at all: 1, or 0. A global function, which the verifier
/// proves once; it finds nothing in it where no rule rejects.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_may_answer(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.answers) == answers::NO {
        return 0;
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => {
            let kernel = Kernel::uncounted(frame.len());
            u64::from(answer::may_be_answered(&kernel, &frame, packet))
        }
        None => 0,
    }
}

/// Whether the checksums of a packet are right: 1, or 0. Likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_intact(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.answers) == answers::NO
        && constant(|c| &c.flows) == 0
        && constant(|c| &c.syn_protect) == 0
    {
        return 0;
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => {
            let kernel = Kernel::uncounted(frame.len());
            u64::from(answer::is_intact(&kernel, &frame, packet))
        }
        None => 0,
    }
}

/// Makes the frame the answer to its sender: 1, or 0 if that cannot be. Likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_answer(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.answers) == answers::NO {
        return 0;
    }
    let frame = FirstBuffer::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return 0;
    };
    let old = frame.len();
    let kernel = Kernel::uncounted(old);
    let mut answer = Answer::new(&kernel);
    if !answer::build(&kernel, &frame, packet, &mut answer) {
        return 0;
    }
    u64::from(send_back(ctx, &kernel, old, &answer))
}

/// As [`fw_answer`], for a SYN: the answer that carries `cookie`. (Written out again, because by a
/// closure that builds the answer the frame of this function is too large for the kernel's stack.)
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_handshake(ctx: *mut xdp_md, packet: *const Packet, cookie: u64) -> u64 {
    if constant(|c| &c.syn_protect) == 0 {
        return 0;
    }
    let frame = FirstBuffer::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return 0;
    };
    let old = frame.len();
    let kernel = Kernel::uncounted(old);
    let mut answer = Answer::new(&kernel);
    if !answer::build_handshake(&kernel, &frame, packet, cookie, &mut answer) {
        return 0;
    }
    u64::from(send_back(ctx, &kernel, old, &answer))
}

/// Gives the frame, `old` bytes long, the length of the answer, and the answer's bytes. What has to
/// grow grows at the front, where XDP promises room; not every driver has some behind the frame.
#[inline(always)]
fn send_back(ctx: *mut xdp_md, kernel: &Kernel, old: u32, answer: &Answer) -> bool {
    let longer = answer.len() as i32 - old as i32;
    // SAFETY: the context that the program was called with. From here on no pointer into the frame
    // is used.
    let resized = unsafe {
        if longer > 0 {
            bpf_xdp_adjust_head(ctx, -longer)
        } else {
            bpf_xdp_adjust_tail(ctx, longer)
        }
    };
    if resized != 0 {
        return false;
    }
    const { assert!(LINK_WORDS * 4 == 64 && IP_WORDS * 4 == 128) };
    // By a mask and not by comparisons, as in `fw_copy`: at least one byte, at most what there is.
    let length = |bytes: u32, most: u64| {
        ((kernel.opaque(u64::from(bytes).wrapping_sub(1)) & (most - 1)) + 1) as u32
    };
    let (link, ip) = (&raw const answer.link, &raw const answer.ip);
    // SAFETY: no more than the two arrays hold is read.
    unsafe {
        let link = link.cast_mut().cast::<c_void>();
        let ip = ip.cast_mut().cast::<c_void>();
        bpf_xdp_store_bytes(ctx, 0, link, length(answer.link_len, 64)) == 0
            && bpf_xdp_store_bytes(ctx, answer.link_len, ip, length(answer.ip_len, 128)) == 0
    }
}
