//! The clock of the programs: the monotonic one, which stands still while the machine sleeps, and is
//! never set.

use firewall_policy::clock::unix_time;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How often both clocks are read to find a pair that nothing came between.
const ATTEMPTS: u32 = 10;

/// Time of the programs' clock (`bpf_ktime_get_ns`).
#[must_use]
pub fn now() -> Duration {
    read(ClockId::Monotonic)
}

/// As [`now`], exact to a tick of the kernel (`bpf_ktime_get_coarse_ns`).
#[must_use]
pub fn coarse() -> Duration {
    read(ClockId::MonotonicCoarse)
}

/// Time since the machine's start, which goes on while the machine sleeps, and is never set.
#[must_use]
pub fn since_start() -> Duration {
    read(ClockId::Boottime)
}

/// Processor time of this thread.
pub(super) fn of_thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Nanoseconds that [`now`] is behind the time since the Unix epoch. Exact to a millisecond; a process
/// that is interrupted all the time gets its best attempt.
#[must_use]
pub fn offset() -> u64 {
    let attempts = (0..ATTEMPTS).map(|_| {
        let before = now();
        let wall = unix_time();
        let between = now().saturating_sub(before);
        (between, wall.saturating_sub(before))
    });
    let mut best = (Duration::MAX, Duration::ZERO);
    for attempt in attempts {
        best = best.min(attempt);
        if best.0 < Duration::from_millis(1) {
            break;
        }
    }
    u64::try_from(best.1.as_nanos()).unwrap_or(u64::MAX)
}
