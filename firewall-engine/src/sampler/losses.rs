//! Flows that found no room in their table: whether that is news. Pure, as the sampler is.

use crate::engine::Counters;
use firewall_api::view::{FlowLosses, HalfLosses};

/// Seconds for which a table counts as too small after a flow found no room.
const MEMORY: f64 = 60.0;

/// Watches the counts of one reading after another.
#[derive(Debug, Default)]
pub(super) struct LossWatch {
    /// When the counts were last seen to grow, by the clock of the readings.
    grew_at: Option<f64>,
}

impl LossWatch {
    /// Takes the counts of a reading and of the one before it.
    pub(super) fn push(&mut self, before: &Counters, now: &Counters) {
        if let (Some(after), Some(earlier)) = (now.losses, before.losses)
            && after.iter().zip(earlier).any(|(a, b)| a.full > b.full)
        {
            self.grew_at = Some(now.monotonic);
        }
    }

    /// What did not fit, where there is a table.
    pub(super) fn view(&self, now: &Counters) -> Option<FlowLosses> {
        let [tcp, other] = now.losses?.map(|losses| HalfLosses {
            full: losses.full,
            evicted: losses.evicted,
        });
        Some(FlowLosses {
            tcp,
            other,
            growing: self.grew_at.is_some_and(|at| now.monotonic - at < MEMORY),
        })
    }
}
