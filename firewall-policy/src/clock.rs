//! The time of day. Imports nothing.

use std::time::{Duration, SystemTime};

/// Time since the Unix epoch; none of it where the clock is set to before.
#[must_use]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
