//! Rules for `state: new` that lose packets: what goes on with a connection is `established`, and what
//! belongs to nothing and opens nothing is `invalid`.

use super::cover::{Boxes, Coverage};
use crate::range::RangeSet;
use crate::rule::{Policy, Rule};
use crate::space::reach::Carried;
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::parse::{flag, proto};
use firewall_common::verdict::Action;
use std::hash::Hash;

/// Whether a rule names `new`, and `other` not.
fn names_new_without(rule: &Rule, other: u32) -> bool {
    let states = rule.matches.field(Field::State);
    states.contains(state_field::NEW) && !states.contains(other)
}

/// Whether the rule passes what opens TCP connections, in a family, and no rule and no default passes
/// what goes on with them.
fn halts<T: Carried + Hash + Into<u128>>(rule: usize, boxes: &Boxes<'_, T>) -> bool {
    let one = |value| RangeSet::of(value, value);
    let Some(opens) = boxes.box_of(rule) else {
        return false;
    };
    let is_tcp = opens.field(Field::Proto).contains(proto::TCP);
    if !is_tcp || !opens.field(Field::TcpFlags).contains(flag::SYN) {
        return false;
    }
    let goes_on = opens
        .clone()
        .with(Field::Proto, one(proto::TCP))
        .with(Field::TcpFlags, one(flag::ACK))
        .with(Field::Length, RangeSet::of(0, Field::Length.none()))
        .with(Field::State, one(state_field::ESTABLISHED));
    matches!(boxes.can_pass(&goes_on), Coverage::Covered)
}

/// Whether connections that a rule lets begin cannot go on.
pub(super) fn stops(
    policy: &Policy,
    rule: usize,
    v4: &Boxes<'_, u32>,
    v6: &Boxes<'_, u128>,
) -> bool {
    let it = &policy.rules[rule];
    it.action == Action::PASS
        && names_new_without(it, state_field::ESTABLISHED)
        && (halts(rule, v4) || halts(rule, v6))
}

/// Whether a rule that never matches would do so if it named `invalid` in place of `new`.
pub(super) fn means_invalid(
    policy: &Policy,
    rule: usize,
    v4: &Boxes<'_, u32>,
    v6: &Boxes<'_, u128>,
) -> bool {
    names_new_without(&policy.rules[rule], state_field::INVALID)
        && (v4.is_met(rule, state_field::INVALID) || v6.is_met(rule, state_field::INVALID))
}
