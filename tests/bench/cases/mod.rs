//! The cases of the benchmark: what is compared with what, and which bar it is held against.
//! One file for each bed and kind of policy; the bars are those of docs/performance.md.

pub(crate) mod control;
pub(crate) mod frames;
pub(crate) mod large_sets;
pub(crate) mod one_rule;
pub(crate) mod rule_sets;

use crate::report::{Mark, Report};
use crate::sets::Sets;
use anyhow::Result;

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

/// P10: bans and changes of a live set, which this version does not have.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every case is a function of this type"
)]
pub(crate) fn p10(_: &Context, report: &mut Report) -> Result<()> {
    for (what, unit, bar, moonshot) in [
        ("ban of one address, command to enforced", "ms", 5.0, 2.0),
        ("set add into a live set of a million", "ms", 5.0, 2.0),
        ("100,000 bans in one batch", "s", 1.0, 0.3),
    ] {
        let mark = Mark::at_most("P10", what, unit, bar).moonshot(moonshot);
        report.not_run(mark, "not built yet (bans)");
    }
    Ok(())
}
