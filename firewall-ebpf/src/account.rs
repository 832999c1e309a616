//! Counting an outcome: per interface, reason and verdict; per rule; per port. Each in this CPU's
//! own region, so that counts are exact without atomic instructions.

use crate::kernel::Kernel;
use crate::maps;
use firewall_common::abi::{CountedPort, PORTS_STRIDE, REASONS_STRIDE, port_offset, reason_offset};
use firewall_common::machine::Machine as _;
use firewall_common::pipeline::{NO_RULE, Outcome};

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
