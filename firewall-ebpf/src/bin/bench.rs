//! Programs of the benchmark (`cargo xtask bench`), in an object of their own that no product
//! contains. One puts prepared headers into the frame that it is run on, and either calls the
//! program under test or sends the frame out; the others are what is compared with.
//!
//! Invariant: putting the next header in costs the same whatever comes behind it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes,
};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, ProgramArray};
use aya_ebpf::programs::XdpContext;
use core::arch::asm;
use core::ffi::c_void;

/// Bytes of an Ethernet header. They stay as the caller made them.
const ETHERNET: usize = 14;

/// Words of the longest header: IPv6 and TCP.
const WORDS_V6: usize = 8;
/// Words of an IPv4 and a TCP header, rounded up.
const WORDS_V4: usize = 6;

/// What follows the Ethernet header: one cache line.
type Header = [u64; WORDS_V6];

/// The prepared headers, a power of two of them; user space sets the number.
#[map]
static HEADERS: Array<Header> = Array::with_max_entries(1, 0);

/// How many headers have been used so far.
#[map]
static CURSOR: Array<u64> = Array::with_max_entries(1, 0);

/// Entry 0: the program under test.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The kernel's own structure for prefixes; keys are addresses as on the wire.
#[map]
static PREFIXES: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1, 1);

/// Bytes of the longest frame that is made again.
const KEPT: usize = 128;

/// A frame that is made again after each run, and its length.
#[repr(C)]
struct Kept {
    length: u64,
    bytes: [u64; KEPT / 8],
}

/// That frame.
#[map]
static FRAME: Array<Kept> = Array::with_max_entries(1, 0);

/// Number of headers, minus one.
#[unsafe(no_mangle)]
static MASK: Global<u32> = Global::new(0);

/// Whether headers are IPv6: how much of each is copied.
#[unsafe(no_mangle)]
static LONG: Global<u32> = Global::new(0);

/// Puts the next header in, then calls the program under test.
#[xdp]
fn bench_headers(ctx: XdpContext) -> u32 {
    if next_header(&ctx).is_some() {
        // SAFETY: the kernel checks the index; on failure this returns.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

/// Makes the frame what it was before it was sent and answered, puts the next header in, and sends it.
#[xdp]
fn bench_send(ctx: XdpContext) -> u32 {
    match again(&ctx).and_then(|()| next_header(&ctx)) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

/// Makes the frame what it was before the program under test made an answer of it, then calls that.
#[xdp]
fn bench_again(ctx: XdpContext) -> u32 {
    if again(&ctx).is_some() {
        // SAFETY: the kernel checks the index; on failure this returns.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

/// The least that a program can do.
#[xdp]
fn bench_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Drops IPv4 sources that the kernel's trie of prefixes holds. Parses no more than it must.
#[xdp]
fn bench_trie(ctx: XdpContext) -> u32 {
    const SOURCE: usize = ETHERNET + 12;
    let source = ctx.data() + SOURCE;
    if source + 4 > ctx.data_end() {
        return XDP_PASS;
    }
    // SAFETY: inside the frame, as just compared; headers are aligned to two bytes at least.
    let [high, low] = unsafe { core::ptr::read(source as *const [u16; 2]) };
    let address = u32::from(low) << 16 | u32::from(high);
    match PREFIXES.get(Key::new(32, address)) {
        Some(_) => XDP_DROP,
        None => XDP_PASS,
    }
}

/// Takes back what an answer has changed: a longer one has grown at the front, a shorter one has lost
/// bytes at the end.
#[inline(always)]
fn again(ctx: &XdpContext) -> Option<()> {
    let kept = FRAME.get_ptr(0)?;
    // SAFETY: an array element, which nobody writes to meanwhile.
    let kept = unsafe { &*kept };
    let length = (kept.length.wrapping_sub(1) & (KEPT as u64 - 1)) + 1;
    // SAFETY: the context that the program was called with, and no pointer into the frame.
    let resized = unsafe {
        let longer = bpf_xdp_get_buff_len(ctx.ctx) as i32 - length as i32;
        match longer {
            0 => 0,
            1.. => bpf_xdp_adjust_head(ctx.ctx, longer),
            _ => bpf_xdp_adjust_tail(ctx.ctx, -longer),
        }
    };
    let bytes = (&raw const kept.bytes).cast_mut().cast::<c_void>();
    // SAFETY: no more than the array holds is read.
    let stored = unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, bytes, length as u32) };
    (resized == 0 && stored == 0).then_some(())
}

/// Overwrites what follows the Ethernet header. `None` if the frame is too short.
#[inline(always)]
fn next_header(ctx: &XdpContext) -> Option<()> {
    let cursor = CURSOR.get_ptr_mut(0)?;
    // SAFETY: an array element, used by one CPU at a time.
    let at = unsafe { *cursor };
    // SAFETY: as above.
    unsafe { *cursor = at + 1 };
    let header = HEADERS.get_ptr(at as u32 & MASK.load())?;
    if LONG.load() == 0 {
        copy::<WORDS_V4>(ctx, header)
    } else {
        copy::<WORDS_V6>(ctx, header)
    }
}

#[inline(always)]
fn copy<const WORDS: usize>(ctx: &XdpContext, header: *const Header) -> Option<()> {
    let start = ctx.data() + ETHERNET;
    if start + WORDS * 8 > ctx.data_end() {
        return None;
    }
    // SAFETY: an array element.
    let header = unsafe { &*header };
    for (index, &word) in header.iter().take(WORDS).enumerate() {
        // By `asm!`, because the frame is not aligned: the machine can store a word there, the
        // language cannot in one instruction. From byte 14 on in steps of eight, no address or
        // port lies in two stores, so that the parser's reads are served from one.
        //
        // SAFETY: inside the frame, as compared above.
        unsafe {
            asm!("*(u64 *)({0} + 0) = {1}", in(reg) start + index * 8, in(reg) word,
                options(nostack));
        }
    }
    Some(())
}

/// Helpers of the kernel that are marked GPL-only may be used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: no panicking code is left after optimisation.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
