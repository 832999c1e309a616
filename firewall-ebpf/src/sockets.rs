//! What the kernel's own sockets say of a tuple: [`firewall_common::flows::socket`].
//!
//! Invariant: a socket that was found is given back on every path.

use crate::maps::{constant, pin};
use aya_ebpf::bindings::{__sk_buff, bpf_sock, bpf_sock_tuple, xdp_md};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use core::ffi::c_void;
use firewall_common::flows::{Tuple, socket};
use firewall_common::parse::proto;

/// The network namespace of the interface (BPF_F_CURRENT_NETNS).
const THIS_NETNS: u64 = u64::MAX;

/// Bytes of the two forms of a tuple: both addresses, both ports.
const V4: u32 = 12;
const V6: u32 = 36;

/// The socket of a tuple, seen from this host, for a frame that comes in. A global function, proved
/// once; the verifier finds nothing in it under a policy that does not look at state.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_socket(ctx: *mut xdp_md, tuple: *const Tuple) -> u64 {
    look_up(ctx.cast(), tuple)
}

/// As [`fw_socket`], for a frame that goes out.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_socket_out(ctx: *mut __sk_buff, tuple: *const Tuple) -> u64 {
    look_up(ctx.cast(), tuple)
}

#[inline(always)]
fn look_up(ctx: *mut c_void, tuple: *const Tuple) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return socket::NONE;
    }
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
