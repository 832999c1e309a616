//! Reading a frame: between `data` and `data_end`, which is all of it or its first buffer.
//!
//! In generations with `frags`, a header that does not lie in the first buffer is copied into this
//! CPU's scratch memory. In all others the verifier sees a constant 0 and takes that code out.
//!
//! The verifier accepts a read only if it sees, on the very register that is read through, a
//! comparison of `pointer + N` with `data_end`. So the pointer is made by [`add`], which the
//! optimiser can neither repeat nor take apart.

use crate::kernel::Kernel;
use crate::maps::{add, constant, notes_flows, pin, scratch};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use core::arch::asm;
use core::ffi::c_void;
use firewall_common::abi::{SCRATCH_SPARE, SCRATCH_STRIDE};
use firewall_common::content;
use firewall_common::flows::{self, quote, state_field};
use firewall_common::frame::{Frame, Header, MAX_OFFSET};
use firewall_common::parse::{Packet, Parsed, parse, parse_inner};
use firewall_common::reason::Reason;

/// A frame, wherever its buffers end.
pub(crate) type XdpFrame = BufferFrame<true, false>;

/// The same, for a function that reads little of it and calls many others: where the frame begins and
/// ends is asked anew for each header, and takes no place on the stack.
pub(crate) type SeldomRead = BufferFrame<true, true>;

/// A frame of which only the first buffer is read: for functions that have no room on the stack for
/// the call of [`fw_copy`]. (Before 6.4 the kernel takes 32 bytes for every call, used or not.)
pub(crate) type FirstBuffer = BufferFrame<false, false>;

/// A frame, by its first buffer.
#[derive(Clone, Copy)]
pub(crate) struct BufferFrame<const WHOLE: bool, const SELDOM: bool> {
    pub(crate) ctx: *mut xdp_md,
    data: usize,
    end: usize,
}

impl<const WHOLE: bool, const SELDOM: bool> BufferFrame<WHOLE, SELDOM> {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self {
            ctx: ctx.ctx,
            data: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// Where the first buffer begins and ends.
    #[inline(always)]
    fn buffer(&self) -> (usize, usize) {
        if SELDOM {
            let ctx = XdpContext::new(self.ctx);
            (ctx.data(), ctx.data_end())
        } else {
            (self.data, self.end)
        }
    }
}

impl<const WHOLE: bool, const SELDOM: bool> Frame for BufferFrame<WHOLE, SELDOM> {
    type Header<const N: usize> = Checked<N>;

    #[inline(always)]
    fn len(&self) -> u32 {
        if in_buffers() {
            // SAFETY: the context that the program was called with.
            unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 }
        } else {
            let (data, end) = self.buffer();
            (end - data) as u32
        }
    }

    #[inline(always)]
    fn interface_index(&self) -> u32 {
        // SAFETY: the context that the program was called with.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        u32::from(crate::maps::interface(self.interface_index()).slot)
    }

    #[inline(always)]
    fn header<const N: usize>(&self, offset: u32) -> Option<Checked<N>> {
        let offset = pin(u64::from(offset));
        if offset > u64::from(MAX_OFFSET) {
            return None;
        }
        let (data, end) = self.buffer();
        let pointer = add(data, offset);
        if pointer + N > end {
            const { assert!(N <= SCRATCH_SPARE as usize) };
            if !WHOLE || !in_buffers() {
                return None;
            }
            let at = pin(fw_copy(self.ctx, offset, N as u32));
            if at > scratch_size() - u64::from(SCRATCH_SPARE) {
                return None;
            }
            let pointer = add(scratch(), at);
            return Some(Checked { pointer });
        }
        Some(Checked { pointer })
    }
}

/// Whether frames may come in several buffers.
#[inline(always)]
fn in_buffers() -> bool {
    constant(|c| &c.frags) != 0
}

/// Copies `bytes` bytes of the frame from `offset`, at most [`MAX_OFFSET`], wherever its buffers end,
/// to the same offset of this CPU's scratch memory. Nothing else writes there while this packet is
/// looked at, just as nothing else counts in this CPU's counters. Returns where they are in
/// `fw_scratch`; a number past its end if the frame is shorter.
///
/// A global function, which the verifier proves once: inlined, it would follow every header twice
/// as often, and as a local function it gives up.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_copy(ctx: *mut xdp_md, offset: u64, bytes: u32) -> u64 {
    if !in_buffers() {
        return u64::MAX;
    }
    // 1 to 64, by a mask and not by comparisons: Linux 6.1 does not carry what it knows from the
    // register that is compared to the one that the helper gets.
    const { assert!(SCRATCH_SPARE.is_power_of_two()) };
    let bytes = (pin(u64::from(bytes).wrapping_sub(1)) & u64::from(SCRATCH_SPARE - 1)) + 1;
    // SAFETY: a helper without arguments.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let at = pin(cpu * u64::from(SCRATCH_STRIDE) + offset);
    if at > scratch_size() - u64::from(SCRATCH_SPARE) {
        return u64::MAX;
    }
    let to = add(scratch(), at) as *mut c_void;
    // SAFETY: inside the map: no more than what is spare is written.
    match unsafe { bpf_xdp_load_bytes(ctx, offset as u32, to, bytes as u32) } {
        0 => at,
        _ => u64::MAX,
    }
}

/// Bytes of the map `fw_scratch`.
#[inline(always)]
fn scratch_size() -> u64 {
    u64::from(constant(|c| &c.cpus)) * u64::from(SCRATCH_STRIDE)
}

/// The parser as a global function: the verifier proves it once, and forgets after the call by
/// which of its many paths the packet was filled in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_parse(ctx: *mut xdp_md, packet: *mut Packet) -> u64 {
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only writable memory of this type through, or null.
    match unsafe { packet.as_mut() } {
        Some(packet) => parse(&Kernel::uncounted(frame.len()), &frame, packet).to_word(),
        None => Parsed::Bad(Reason::INTERNAL).to_word(),
    }
}

/// As [`fw_parse`], for the packet inside the tunnel `packet`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_parse_inner(ctx: *mut xdp_md, packet: *mut Packet) -> u64 {
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: as above.
    match unsafe { packet.as_mut() } {
        Some(packet) => parse_inner(&Kernel::uncounted(frame.len()), &frame, packet).to_word(),
        None => Parsed::Bad(Reason::INTERNAL).to_word(),
    }
}

/// Which conditions on payload and options hold of a packet, as a global function, proved once. Under a
/// policy without such conditions the verifier finds nothing in it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_content(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.contents) == 0 {
        return 0;
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => content::of(&Kernel::uncounted(0), &frame, packet).into(),
        None => 0,
    }
}

/// The search for a packet's connection as a global function, proved once. Under a policy that does
/// not look at state the verifier finds nothing in it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_state(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.flows) == 0 {
        return u64::from(state_field::NEW);
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only readable memory of this type through, or null.
    match unsafe { packet.as_ref() } {
        Some(packet) => flows::state_of(&Kernel::uncounted(frame.len()), &frame, packet).into(),
        None => u64::from(state_field::NEW),
    }
}

/// Whether a datagram may come because of one that has left, likewise: 1, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_expected(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if constant(|c| &c.related) == 0 {
        return 0;
    }
    // SAFETY: the context that the program was called with.
    let interface = unsafe { (*ctx).ingress_ifindex };
    // SAFETY: as above.
    match unsafe { packet.as_ref() } {
        Some(packet) => flows::is_expected(&Kernel::uncounted(0), &packet.key, interface).into(),
        None => 0,
    }
}

/// What a DHCP answer or an ICMP error is about, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_quote(ctx: *mut xdp_md, packet: *const Packet) -> u64 {
    if !notes_flows() {
        return quote::NOTHING;
    }
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: as above.
    match unsafe { packet.as_ref() } {
        Some(packet) => quote::quote(&Kernel::uncounted(0), &frame, packet),
        None => quote::NOTHING,
    }
}

/// `N` bytes of the frame that the verifier has seen checked.
#[derive(Clone, Copy)]
pub(crate) struct Checked<const N: usize> {
    pointer: usize,
}

impl<const N: usize> Checked<N> {
    /// `N` bytes that have just been compared with the frame's end.
    #[inline(always)]
    pub(crate) const fn at(pointer: usize) -> Self {
        Self { pointer }
    }
}

impl<const N: usize> Header for Checked<N> {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u32 {
        const { assert!(AT < N) };
        // SAFETY: inside the checked bytes.
        let byte = unsafe { core::ptr::read((self.pointer + AT) as *const u8) };
        u32::from(byte)
    }

    #[inline(always)]
    fn be16<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 2 <= N) };
        let raw: u64;
        // SAFETY: inside the checked bytes. By `asm!`, because headers are not aligned, which the
        // machine can read (the verifier checks that) and the language cannot express in one load.
        unsafe {
            asm!("{0} = *(u16 *)({1} + {2})", out(reg) raw, in(reg) self.pointer, const AT,
                options(pure, readonly, nostack));
        }
        u32::from(u16::from_be(raw as u16))
    }

    #[inline(always)]
    fn be32<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= N) };
        let raw: u64;
        // SAFETY: as above.
        unsafe {
            asm!("{0} = *(u32 *)({1} + {2})", out(reg) raw, in(reg) self.pointer, const AT,
                options(pure, readonly, nostack));
        }
        u32::from_be(raw as u32)
    }
}
