//! Test harness: random numbers that repeat, frames, the shipped policies, namespaces, and the
//! `firewall-ctl` program under test.
//!
//! Everything that it makes on the machine has a name with the prefix `fwt-` and is removed by a
//! `Drop`, so also when a test fails.

#![forbid(unsafe_code)]

use anyhow::Context as _;

pub mod clock;
pub mod ctl;
pub mod echo;
pub mod evasion;
pub mod features;
pub mod filled;
pub mod frames;
pub mod fuzz;
pub mod keyed;
pub mod netns;
pub mod open;
pub mod oracle;
pub mod original;
pub mod policies;
pub mod random;
pub mod raw;
pub mod relay;
pub mod relayed;
pub mod routed;
pub mod segments;
pub mod snapshot;
pub mod stack;
pub mod talk;
pub mod tracked;
pub mod transfers;
pub mod trial;
pub mod tun;
pub mod verifier;

/// The number in an environment variable by which a run is made longer or different (CONTRIBUTING
/// names them), or `otherwise` where it is not set. Underscores may group its digits.
///
/// # Errors
/// The variable is not a number.
pub fn number(variable: &str, otherwise: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text
            .replace('_', "")
            .parse()
            .with_context(|| format!("{variable}={text}: expected a number")),
        Err(_) => Ok(otherwise),
    }
}

/// Where random numbers begin: `otherwise`, so that a run repeats, or far from it if `FIREWALL_SEED`
/// is set.
///
/// # Errors
/// The variable is not a number.
pub fn seed(otherwise: u64) -> anyhow::Result<u64> {
    Ok(otherwise.wrapping_add(number("FIREWALL_SEED", 0)? << 20))
}

/// How long to wait for what takes `time` at most: longer in a guest that `cargo xtask vm`
/// emulates, which sets `FIREWALL_EMULATED`.
#[must_use]
pub fn patience(time: std::time::Duration) -> std::time::Duration {
    if std::env::var_os("FIREWALL_EMULATED").is_some() {
        time * 30
    } else {
        time
    }
}

/// How long this thread has been on a processor: what its work costs, whatever else runs.
#[must_use]
pub fn processor_time() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
