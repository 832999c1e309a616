//! What the kernel's own sockets say of a tuple ([`firewall_common::flows::socket`]), and its routes of
//! a packet.
//!
//! Invariant: a socket that was found is given back on every path.

use crate::maps::{constant, pin};
use aya_ebpf::bindings::{
    __sk_buff, bpf_fib_lookup as FibLookup, bpf_sock, bpf_sock_tuple, xdp_md,
};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use core::ffi::c_void;
use firewall_common::abi::essential_bit;
use firewall_common::flows::{Tuple, socket};
use firewall_common::parse::{Packet, proto};

/// The network namespace of the interface (BPF_F_CURRENT_NETNS).
const THIS_NETNS: u64 = u64::MAX;

/// Bytes of the two forms of a tuple: both addresses, both ports.
const V4: u32 = 12;
const V6: u32 = 36;

/// The socket of a tuple, seen from this host, for a frame that comes in. A global function, proved
/// once; the verifier finds nothing in it under a policy that neither looks at state nor lets in ICMP
/// errors about what has been sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_socket(ctx: *mut xdp_md, tuple: *const Tuple) -> u64 {
    if constant(|c| &c.flows) | constant(|c| &c.asked) & essential_bit::ICMP_ERROR == 0 {
        return socket::NONE;
    }
    look_up(ctx.cast(), tuple)
}

/// As [`fw_socket`], for a frame that goes out.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_socket_out(ctx: *mut __sk_buff, tuple: *const Tuple) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return socket::NONE;
    }
    look_up(ctx.cast(), tuple)
}

#[inline(always)]
fn look_up(ctx: *mut c_void, tuple: *const Tuple) -> u64 {
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    let Some(tuple) = (unsafe { tuple.as_ref() }) else {
        return socket::NONE;
    };
    let identity = tuple.identity;
    let is_tcp = Tuple::proto_of(identity) == proto::TCP;
    let port = |port: u16| u32::from(port.to_be());
    let ports = port(Tuple::remote_port_of(identity)) | port(Tuple::local_port_of(identity)) << 16;
    let mut words = [pin(0) as u32; V6 as usize / 4];
    let size = if Tuple::is_v6_of(identity) {
        for (half, address) in [tuple.remote, tuple.local].into_iter().enumerate() {
            for (i, value) in address.into_iter().enumerate() {
                words[half * 4 + i * 2] = ((value >> 32) as u32).to_be();
                words[half * 4 + i * 2 + 1] = (value as u32).to_be();
            }
        }
        words[8] = ports;
        V6
    } else {
        words[0] = (tuple.remote[1] as u32).to_be();
        words[1] = (tuple.local[1] as u32).to_be();
        words[2] = ports;
        V4
    };
    let words = (&raw mut words).cast::<bpf_sock_tuple>();
    // SAFETY: the tuple is as long as is said; of a socket that is there its state is read, and then
    // it is given back.
    unsafe {
        let found: *mut bpf_sock = if is_tcp {
            bpf_skc_lookup_tcp(ctx, words, size, THIS_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(ctx, words, size, THIS_NETNS, 0)
        };
        if found.is_null() {
            return socket::NONE;
        }
        let state = u64::from(core::ptr::read_volatile(&raw const (*found).state));
        bpf_sk_release(found.cast());
        // UDP sockets are connected, or as good as listening.
        if !is_tcp && state != socket::ESTABLISHED {
            return socket::LISTENS;
        }
        state
    }
}

/// Address families of the kernel, and where they stand in the parameters of a route lookup, in words.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const IFINDEX: usize = 2;
const FROM: usize = 4;
const TO: usize = 8;
const WORDS: usize = size_of::<FibLookup>() / 4;

/// The loopback interface: nothing that comes in by it is forwarded. (Test runs come in by it.)
const LOOPBACK: u32 = 1;

/// Whether a packet that comes in would be forwarded: 1, or 0. A global function, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_is_forwarded(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.flows) == 0 || constant(|c| &c.asked) & essential_bit::ICMP_ERROR == 0 {
        return 0;
    }
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_ref() }) else {
        return 0;
    };
    // SAFETY: the context that the program was called with.
    let interface = unsafe { (*ctx).ingress_ifindex };
    if interface == LOOPBACK {
        return 0;
    }
    const { assert!(WORDS == 16) };
    let key = &packet.key;
    let mut route = [pin(0) as u32; WORDS];
    route[IFINDEX] = interface;
    // The family is the first byte: the lowest one of the word, on the machines that there are.
    if key.is_v6 == 0 {
        route[0] = AF_INET;
        route[FROM] = (key.src_lo as u32).to_be();
        route[TO] = (key.dst_lo as u32).to_be();
    } else {
        route[0] = AF_INET6;
        for (at, half) in [
            (FROM, key.src_hi),
            (FROM + 2, key.src_lo),
            (TO, key.dst_hi),
            (TO + 2, key.dst_lo),
        ] {
            route[at] = ((half >> 32) as u32).to_be();
            route[at + 1] = (half as u32).to_be();
        }
    }
    let params = (&raw mut route).cast::<FibLookup>();
    // SAFETY: the parameters are as long as is said.
    let answer = unsafe { bpf_fib_lookup(ctx.cast(), params, 64, 0) };
    // A route; one that is special, of which the neighbour is not known, or with a small MTU. Not: a route
    // that refuses, a destination that is this host's, a host that forwards nothing.
    u64::from(matches!(answer, 0 | 6..=8))
}
