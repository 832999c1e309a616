//! Counting an outcome: per interface, reason and verdict; per rule; per port. Each in this CPU's
//! own region, so that counts are exact without atomic instructions. And showing it to live filters, which
//! see every frame here, whatever has become of it.

use crate::frame::XdpFrame;
use crate::kernel::Kernel;
use crate::maps;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use firewall_common::abi::{CountedPort, PORTS_STRIDE, REASONS_STRIDE, port_offset, reason_offset};
use firewall_common::machine::Machine as _;
use firewall_common::packet::Packet;
use firewall_common::pipeline::{NO_RULE, Outcome};
use firewall_common::watch::{self, Fate};

/// Of how many packets one is when leases are looked at, less one.
const LEASES: u64 = 0xff;

#[inline(always)]
pub(crate) fn count(kernel: &Kernel, interface_slot: u32, outcome: &Outcome) {
    let verdict = outcome.verdict.0;
    kernel.count(
        maps::reasons(),
        u64::from(REASONS_STRIDE),
        u64::from(reason_offset(interface_slot & 63, outcome.reason, verdict)),
    );
    if outcome.rule != NO_RULE {
        kernel.count_rule(outcome.rule);
    }
    if outcome.port != CountedPort::NONE {
        let (port, udp) = (outcome.port.port(), outcome.port.is_udp());
        kernel.count(
            maps::ports(),
            u64::from(PORTS_STRIDE),
            u64::from(port_offset(port, udp, verdict)),
        );
    }
}

/// Shows a frame to the live filters, if there are some.
#[inline(always)]
pub(crate) fn watch(
    kernel: &Kernel,
    ctx: &XdpContext,
    packet: &mut Packet,
    interface_slot: u16,
    outcome: &Outcome,
) {
    if watch::is_armed(kernel) {
        let fate = Fate::new(outcome, interface_slot);
        fw_watch(ctx.ctx, packet, fate.word());
    }
}

/// The comparison with the live filters as a global function: proved once, whatever the packet.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fw_watch(ctx: *mut xdp_md, packet: *mut Packet, fate: u64) -> u64 {
    let frame = XdpFrame::new(&XdpContext::new(ctx));
    // SAFETY: the verifier lets only writable memory of this type through, or null.
    if let Some(packet) = unsafe { packet.as_mut() } {
        let (kernel, fate) = (Kernel::new(0), Fate::from_word(fate));
        // Of its reason, here. Nothing that a policy in audit mode says to drop is counted as dropped: then
        // leases are looked at each time.
        let offset = reason_offset(fate.interface() & 63, fate.reason(), fate.verdict().0 & 1);
        let counted = kernel.counted(maps::reasons(), u64::from(REASONS_STRIDE), offset.into());
        let fate = fate.looks_at_leases(counted & LEASES == 0);
        watch::look(&kernel, &frame, packet, fate);
    }
    0
}
