//! What the kernel's sockets say of a segment: a cookie for a SYN while the queue of the listening
//! socket is full, and whether an acknowledgement carries one.
//!
//! Invariant: a socket that was found is given back on every path.

use crate::frame::FirstBuffer;
use crate::kernel::Kernel;
use crate::maps::constant;
use aya_ebpf::bindings::{bpf_fib_lookup as FibLookup, bpf_sock_tuple, tcphdr, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie,
    bpf_tcp_gen_syncookie,
};
use aya_ebpf::programs::XdpContext;
use core::ffi::c_void;
use firewall_common::answer::{FORGED, GO_ON, is_sent_here};
use firewall_common::field::Field;
use firewall_common::frame::{Frame as _, Header as _};
use firewall_common::key::Family;
use firewall_common::parse::{Packet, flag};

/// Address families of the kernel.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// The network namespace of the interface (BPF_F_CURRENT_NETNS).
const THIS_NETNS: u64 = u64::MAX;

/// What the kernel says of an acknowledgement without a valid cookie.
const ENOENT: i64 = -2;

/// Answers of a route lookup for what is not forwarded: it is for this host, or this host forwards
/// nothing.
const NOT_FORWARDED: core::ops::RangeInclusive<i64> = 4..=5;

/// Words of whatever is handed to a helper: lengths are masked to 64 bytes. (An IPv6 header has 10,
/// a TCP header at most 15, two addresses with ports 9.)
const WORDS: usize = 16;

/// Headers and addresses in the forms that the helpers take.
struct Segment {
    ip: [u32; WORDS],
    tcp: [u32; WORDS],
    ip_len: u32,
    tcp_len: u32,
}

/// What the listening socket says of a segment ([`GO_ON`], [`FORGED`], or a cookie). A global
/// function, which the verifier proves once; it finds nothing in it where no rule protects.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_listener(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.syn_protect) == 0 {
        return GO_ON;
    }
    let frame = FirstBuffer::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return GO_ON;
    };
    if !is_sent_here(&Kernel::uncounted(frame.len()), &frame) {
        return GO_ON;
    }
    let Some(mut segment) = copy(&frame, packet) else {
        return GO_ON;
    };
    let opens = packet.key.field(Field::TcpFlags) & flag::SYN != 0;
    // One piece of the stack for the parameters of both helpers: there is little of it.
    let mut room = [crate::maps::pin(0) as u32; WORDS];
    let said = ask(ctx, &mut segment, &mut room, opens);
    if said == GO_ON || said == VALID || !is_for_this_host(ctx, &segment, &mut room) {
        return GO_ON;
    }
    said
}

/// Whether an acknowledgement carries a valid cookie of the listening socket that it goes to: 1, or 0.
/// Likewise, under a policy that looks at state.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_cookie(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return 0;
    }
    let frame = FirstBuffer::new(&XdpContext::new(ctx));
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return 0;
    };
    let Some(mut segment) = copy(&frame, packet) else {
        return 0;
    };
    let mut room = [crate::maps::pin(0) as u32; WORDS];
    u64::from(ask(ctx, &mut segment, &mut room, false) == VALID)
}

/// What [`ask`] says of an acknowledgement with a valid cookie.
const VALID: u64 = u64::MAX;

/// Copies the headers to the stack.
#[inline(always)]
fn copy(frame: &FirstBuffer, packet: &Packet) -> Option<Segment> {
    let zero = crate::maps::pin(0) as u32;
    let mut segment = Segment {
        ip: [zero; WORDS],
        tcp: [zero; WORDS],
        ip_len: match packet.key.family() {
            Family::V4 => 20,
            Family::V6 => 40,
        },
        tcp_len: 0,
    };
    let start = packet.end.wrapping_sub(packet.key.field(Field::Length));
    for word in 0..10 {
        if word as u32 * 4 >= segment.ip_len {
            break;
        }
        segment.ip[word] = frame
            .header::<4>(start + word as u32 * 4)?
            .be32::<0>()
            .to_be();
    }
    let tcp = frame.header::<20>(packet.l4)?;
    segment.tcp_len = (tcp.u8::<12>() >> 4) * 4;
    for word in 0..15 {
        if word as u32 * 4 >= segment.tcp_len {
            break;
        }
        segment.tcp[word] = frame
            .header::<4>(packet.l4 + word as u32 * 4)?
            .be32::<0>()
            .to_be();
    }
    Some(segment)
}

/// A length in bytes of which the verifier knows that it is at least 1 and at most 64.
#[inline(always)]
fn length(bytes: u32) -> u32 {
    const { assert!(WORDS * 4 == 64) };
    (crate::maps::pin(u64::from(bytes).wrapping_sub(1)) & 63) as u32 + 1
}

/// Finds the socket of the segment and asks it.
#[inline(always)]
fn ask(ctx: *mut xdp_md, segment: &mut Segment, tuple: &mut [u32; WORDS], opens: bool) -> u64 {
    let (ip, ports) = (&segment.ip, segment.tcp[0]);
    let v4 = segment.ip_len == 20;
    if v4 {
        (tuple[0], tuple[1], tuple[2]) = (ip[3], ip[4], ports);
    } else {
        tuple[..8].copy_from_slice(&ip[2..10]);
        tuple[8] = ports;
    }
    let size = length(if v4 { 12 } else { 36 });
    let ctx = ctx.cast::<c_void>();
    let tuple = core::ptr::from_mut(tuple).cast::<bpf_sock_tuple>();
    // SAFETY: the tuple is as long as is said.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx, tuple, size, THIS_NETNS, 0) };
    if socket.is_null() {
        return GO_ON;
    }
    let socket = socket.cast::<c_void>();
    let ip = (&raw mut segment.ip).cast::<c_void>();
    let tcp = (&raw mut segment.tcp).cast::<tcphdr>();
    let (ip_len, tcp_len) = (length(segment.ip_len), length(segment.tcp_len));
    // SAFETY: no more than the two arrays hold is read, and the socket is given back.
    unsafe {
        let said = if opens {
            bpf_tcp_gen_syncookie(socket, ip, ip_len, tcp, tcp_len)
        } else {
            bpf_tcp_check_syncookie(socket, ip, ip_len, tcp, tcp_len)
        };
        bpf_sk_release(socket);
        match (opens, said) {
            (true, 1..) => said as u64,
            (false, ENOENT) => FORGED,
            (false, 0) => VALID,
            _ => GO_ON,
        }
    }
}

/// Whether the segment is for this host. A socket that listens on every address is found for packets
/// to other hosts, too, which a router must pass on.
#[inline(always)]
fn is_for_this_host(ctx: *mut xdp_md, segment: &Segment, route: &mut [u32; WORDS]) -> bool {
    const { assert!(size_of::<FibLookup>() == 64) };
    let ip = &segment.ip;
    *route = [crate::maps::pin(0) as u32; WORDS];
    // SAFETY: the context that the program was called with.
    route[2] = unsafe { (*ctx).ingress_ifindex };
    // The family is the first byte: the lowest one of the word, on the machines that there are.
    if segment.ip_len == 20 {
        route[0] = AF_INET;
        (route[4], route[8]) = (ip[3], ip[4]);
    } else {
        route[0] = AF_INET6;
        #[expect(
            clippy::manual_memcpy,
            reason = "copies of slices take more instructions"
        )]
        for word in 0..4 {
            route[4 + word] = ip[2 + word];
            route[8 + word] = ip[6 + word];
        }
    }
    let params = core::ptr::from_mut(route).cast::<FibLookup>();
    // SAFETY: the parameters are as long as is said.
    let answer = unsafe { bpf_fib_lookup(ctx.cast(), params, 64, 0) };
    NOT_FORWARDED.contains(&answer)
}
