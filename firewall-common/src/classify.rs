//! The classify walk: from a [`PacketKey`] to the first matching rule.

use crate::key::PacketKey;
use crate::machine::Machine;
use crate::verdict::Action;

/// The rule that decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Hit {
    /// Counter slot of the rule.
    pub slot: u32,
    /// `pass` or `drop`.
    pub action: Action,
}

/// The first rule with action pass or drop that matches `key`, if any. Counts every matching
/// `next` rule before it through [`Machine::count_rule`]; the deciding rule is counted by the
/// caller.
#[inline(always)]
pub fn classify<M: Machine>(machine: &M, key: &PacketKey) -> Option<Hit> {
    let _ = (machine, key);
    None
}
