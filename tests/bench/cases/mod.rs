//! The cases of the benchmark: what is compared with what, and which bar it is held against.
//! One file for each bed and kind of policy; the bars are those of docs/performance.md.

pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod large_sets;
pub(crate) mod live_sets;
pub(crate) mod one_rule;
pub(crate) mod rule_sets;
pub(crate) mod strangers;

use crate::sets::Sets;
use std::path::PathBuf;

/// What all cases share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The benchmark's BPF object.
    pub(crate) object: Vec<u8>,
    /// Rule sets.
    pub(crate) sets: Sets,
    /// Rounds that count.
    pub(crate) rounds: usize,
    /// Small sizes.
    pub(crate) quick: bool,
    /// What holds the programs of another source tree, to compare with.
    pub(crate) before: Option<PathBuf>,
}

impl Context {
    /// How many headers a rule set is looked up with.
    pub(crate) fn headers(&self) -> usize {
        if self.quick { 4_096 } else { 65_536 }
    }

    /// The size of a large rule set.
    pub(crate) fn many_rules(&self) -> usize {
        if self.quick { 1_000 } else { 10_000 }
    }

    /// The size of a large set of prefixes.
    pub(crate) fn many_prefixes(&self) -> usize {
        if self.quick { 20_000 } else { 1_000_000 }
    }
}
