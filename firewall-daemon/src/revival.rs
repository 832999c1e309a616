//! A filter that somebody has taken off by other means than `unload`, until it is back: when to try again,
//! and what `status` says meanwhile.
//!
//! Knows no kernel. Invariant: what is lost is tried again until it is back, or somebody has taken it off
//! on purpose, or something else is in force.

use firewall_api::clock::unix_time;
use firewall_api::format::clock;
use firewall_engine::engine::{LiveView, Observed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between the first two attempts; it doubles from then on.
const FIRST: Duration = Duration::from_secs(1);
/// The longest time between two.
const LONGEST: Duration = Duration::from_secs(10);

/// What is to be put back.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// What was in force.
    pub(super) observed: Arc<Observed>,
    /// Its bans and live sets, which nobody else may have any more.
    pub(super) live: Option<Arc<LiveView>>,
}

/// The filter that is lost, if one is.
#[derive(Debug, Default)]
pub(super) struct Revival {
    lost: Option<Attempts>,
}

#[derive(Debug)]
struct Attempts {
    lost: Lost,
    /// When it was missed, in seconds of the Unix epoch.
    since: f64,
    /// How many attempts have failed, and why the last one did.
    failed: u32,
    why: String,
    is_under_way: bool,
    next: Instant,
}

impl Revival {
    /// A filter is missed.
    pub(super) fn begin(&mut self, observed: Arc<Observed>, live: Option<Arc<LiveView>>) {
        self.lost = Some(Attempts {
            lost: Lost { observed, live },
            since: unix_time().as_secs_f64(),
            failed: 0,
            why: String::new(),
            is_under_way: false,
            next: Instant::now(),
        });
    }

    /// What to put back now; `None` if it is not time.
    pub(super) fn due(&mut self) -> Option<Lost> {
        let attempts = self.lost.as_mut()?;
        if attempts.is_under_way || Instant::now() < attempts.next {
            return None;
        }
        attempts.is_under_way = true;
        Some(attempts.lost.clone())
    }

    /// Something has changed that may have been in the way.
    pub(super) fn hurry(&mut self) {
        if let Some(attempts) = &mut self.lost {
            attempts.next = Instant::now();
        }
    }

    /// An attempt has failed. What to log, if that is new.
    pub(super) fn failed(&mut self, why: String) -> Option<String> {
        let attempts = self.lost.as_mut()?;
        attempts.next = Instant::now() + wait(attempts.failed, LONGEST);
        attempts.failed = attempts.failed.saturating_add(1);
        attempts.is_under_way = false;
        let is_new = attempts.why != why;
        attempts.why = why;
        self.warning().filter(|_| is_new)
    }

    /// It is back, or nobody wants it back. What was lost.
    pub(super) fn end(&mut self) -> Option<Lost> {
        self.lost.take().map(|attempts| attempts.lost)
    }

    /// What `status` says.
    pub(super) fn warning(&self) -> Option<String> {
        let attempts = self.lost.as_ref()?;
        let since = clock(attempts.since);
        let generation = attempts.lost.observed.record.generation;
        Some(match attempts.failed {
            // `unload` may have done it.
            0 => format!(
                "generation {generation} is off since {since}, and every packet passes; the daemon looks \
                 why"
            ),
            failed => format!(
                "generation {generation} was taken off at {since} by other means than `unload`, and every \
                 packet passes; the daemon has tried {failed} times to put it back, and tries again: {}",
                attempts.why
            ),
        })
    }
}

/// How long to wait after an attempt that has failed, as so many before it.
pub(super) fn wait(failed: u32, longest: Duration) -> Duration {
    FIRST.saturating_mul(1 << failed.min(8)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_and_never_end() {
        let seconds = [0, 1, 2, 3, 4, u32::MAX].map(|failed| wait(failed, LONGEST).as_secs());
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }
}
