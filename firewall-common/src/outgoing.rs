//! The egress program's way from frame to flow: parse, look up the flow, and for a datagram without one
//! ask the rules whether its answer needs one. Counterpart of [`crate::pipeline`].
//!
//! Invariant: no frame is dropped, and nothing is counted, limited, logged or banned.

use crate::calls::{Calls, EgressCalls};
use crate::classify::classify;
use crate::field::Field;
use crate::flows::{self, ASKS_RULES, ENDS_FLOW, state_field};
use crate::parse::{Packet, Parsed, fragment, proto};
use crate::pipeline;
use crate::verdict::{Action, Verdict};

/// Takes note of a frame that goes out by an interface of zone `zone`.
#[inline(always)]
pub fn record<M: Calls, F: EgressCalls>(machine: &M, frame: &F, zone: u32) {
    if frame.is_hairpin() {
        return;
    }
    let mut packet = Packet::EMPTY;
    if frame.parse(machine, &mut packet) != Parsed::Ip {
        return;
    }
    // Known before the packet is turned round.
    let is_asked = machine.constant(|config| &config.related) != 0
        && packet.key.field(Field::Proto) == proto::UDP
        && packet.key.field(Field::Fragment) != fragment::LATER;
    let is_turned = note(machine, frame, zone, &mut packet);
    if is_asked {
        if is_turned {
            flows::reverse(&mut packet.key);
        }
        flows::expect(&mut packet.key, frame.interface_index());
        note(machine, frame, zone, &mut packet);
    }
}

/// Takes note of a packet, and makes a flow of its own if it needs one. Says whether the packet has become
/// its answer for that.
#[inline(always)]
fn note<M: Calls, F: EgressCalls>(machine: &M, frame: &F, zone: u32, packet: &mut Packet) -> bool {
    match frame.record(machine, packet) {
        ASKS_RULES => {}
        ENDS_FLOW => {
            if frame.is_intact(machine, packet) {
                frame.reset(machine, packet);
            }
            return false;
        }
        _ => return false,
    }
    flows::reverse(&mut packet.key);
    packet.key.fields[Field::Zone as usize] = zone;
    packet.key.fields[Field::State as usize] = state_field::NEW;
    if !lets_in(machine, packet) {
        frame.open(machine, packet);
    }
    true
}

/// Whether the rules let a packet in whether it belongs to something or not, whenever it comes: by a
/// rule that passes without a limit and without an end, or by the default.
#[inline(always)]
pub fn lets_in<M: Calls>(machine: &M, packet: &mut Packet) -> bool {
    if machine.constant(|config| &config.asks_rules) == 0 {
        return false;
    }
    if pipeline::look_up_sets(machine, &mut packet.key) {
        return false;
    }
    if !passes(machine, packet) {
        return false;
    }
    packet.key.fields[Field::State as usize] = state_field::ESTABLISHED;
    passes(machine, packet)
}

#[inline(always)]
fn passes<M: Calls>(machine: &M, packet: &Packet) -> bool {
    match classify(&machine.quiet(), &packet.key) {
        Some(hit) => hit.action.0 == Action::PASS.0,
        None => machine.constant(|config| &config.default_verdict) == u32::from(Verdict::PASS.0),
    }
}
