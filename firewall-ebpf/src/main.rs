//! The kernel programs. `fw_xdp` decides about each frame that a NIC receives, before the kernel
//! allocates a packet buffer for it; `fw_egress` remembers what this host sends.
//!
//! Everything that decides is in `firewall-common`; here is only what the kernel side adds: reading
//! frames and tables by checked pointers, and counting.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod account;
mod answer;
mod calls;
mod frame;
mod kernel;
mod link;
mod listener;
mod maps;
mod skb;
mod sockets;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::frame::Frame as _;
use firewall_common::outgoing::record;
use firewall_common::packet::Packet;
use firewall_common::pipeline::{Outcome, decide, enforced};
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use kernel::Kernel;

/// XDP entry point.
#[xdp]
fn fw_xdp(ctx: XdpContext) -> u32 {
    let frame = frame::SeldomRead::new(&ctx);
    let interface = maps::interface(ctx.ingress_ifindex() as u32);
    let bytes = frame.len();
    let kernel = Kernel::new(bytes);
    let mut packet = Packet::EMPTY;
    let zone = u32::from(interface.zone);
    let outcome = decide(&kernel, &frame, zone, &mut packet);
    let outcome = forgotten(outcome, &mut packet);
    account::watch(&kernel, &ctx, &mut packet, interface.slot, &outcome);
    let outcome = enforced(&kernel, outcome);
    log(bytes, &outcome);
    account::count(&kernel, u32::from(interface.slot), &outcome);
    if outcome.verdict.0 == Verdict::PASS.0 {
        xdp_action::XDP_PASS
    } else if outcome.is_answered() {
        xdp_action::XDP_TX
    } else {
        xdp_action::XDP_DROP
    }
}

/// The same outcome, of which the verifier has forgotten by which of its many ways it was reached: they
/// are counted by one proof.
#[inline(always)]
fn forgotten(outcome: Outcome, packet: &mut Packet) -> Outcome {
    let said = u32::from(outcome.verdict.0) << 8 | u32::from(outcome.reason.0);
    let word = maps::lose(said, packet);
    Outcome {
        verdict: Verdict((word >> 8) as u8),
        reason: Reason(word as u8),
        ..outcome
    }
}

/// What a TC program returns that leaves the packet to whoever comes next (TC_ACT_UNSPEC, TCX_NEXT).
const NEXT: i32 = -1;

/// TC egress entry point: takes note of what this host sends, in generations that look at state or let
/// in what has been asked for. It never stops a packet.
#[classifier]
fn fw_egress(ctx: TcContext) -> i32 {
    let frame = skb::SkbFrame::new(ctx.skb.skb);
    let zone = u32::from(maps::interface(frame.interface_index()).zone);
    record(&Kernel::outgoing(), &frame, zone);
    NEXT
}

/// Writes the outcome to the kernel log ring, in generations that are loaded for debugging. In all
/// others the verifier sees a constant 0 and takes the code out.
#[inline(always)]
fn log(bytes: u32, outcome: &Outcome) {
    if maps::constant(|c| &c.debug) != 0 {
        let said = u32::from(outcome.verdict.0) << 8 | u32::from(outcome.reason.0);
        fw_debug(said, outcome.rule, outcome.port.word(), bytes);
    }
}

/// Writing to that ring as a global function: what it keeps on the stack, the caller has no room for.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fw_debug(said: u32, rule: u32, port: u32, bytes: u32) -> u64 {
    if maps::constant(|c| &c.debug) == 0 {
        return 0;
    }
    // The ring asks for no context, and the compiler passes none that nobody uses.
    aya_log_ebpf::info!(
        &XdpContext::new(core::ptr::null_mut()),
        "verdict {} reason {} rule {} port {} bytes {}",
        said >> 8,
        said & 0xff,
        rule,
        port,
        bytes
    );
    0
}

/// Helpers of the kernel that are marked GPL-only may be used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: the program has no panicking code left after optimisation, and would not load if
/// it had.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
