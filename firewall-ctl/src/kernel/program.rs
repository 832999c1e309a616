//! A loaded program: what the verifier accepted, with its maps.

use super::KernelError;
use super::counters::Sums;
use firewall_common::abi::InterfaceEntry;
use firewall_common::verdict::Verdict;
use firewall_policy::tables::Tables;
use std::time::Duration;

/// A candidate program with counter maps of its own, attached to nothing and pinned nowhere: it
/// is gone when this value is dropped. For test runs and measurements.
#[derive(Debug)]
pub struct Loaded {}

/// The answer of a test run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// What the program said about the frame.
    pub verdict: Verdict,
    /// Mean time of one run, as the kernel measured it.
    pub duration: Duration,
}

impl Loaded {
    /// Loads the program for `tables`. `rule_slots` is how many rule counters there are (slots
    /// `0..rule_slots`); `interfaces` fills the interface table.
    ///
    /// # Errors
    /// Missing privilege, a stub object, the verifier's refusal.
    pub fn load(
        tables: &Tables,
        rule_slots: u32,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, KernelError> {
        let _ = (tables, rule_slots, interfaces);
        Err(KernelError::Stub)
    }

    /// Runs the program `repeat` times on `frame` (BPF_PROG_TEST_RUN; at least 14 bytes), as if it
    /// had come in on `ifindex` (`None`: the loopback interface). Counts like real traffic.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&self, frame: &[u8], repeat: u32, ifindex: Option<u32>) -> Result<Run, KernelError> {
        let _ = (frame, repeat, ifindex);
        Err(KernelError::Stub)
    }

    /// What the program has counted so far.
    #[must_use]
    pub fn counters(&self) -> Sums {
        Sums {
            reasons: Vec::new(),
            ports: Vec::new(),
            rules: Vec::new(),
        }
    }
}
