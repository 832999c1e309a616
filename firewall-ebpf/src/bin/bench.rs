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
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, ProgramArray};
use aya_ebpf::programs::XdpContext;
use core::arch::asm;

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

/// Puts the next header in, then sends the frame.
#[xdp]
fn bench_send(ctx: XdpContext) -> u32 {
    match next_header(&ctx) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
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
