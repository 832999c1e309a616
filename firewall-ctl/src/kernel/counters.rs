//! Reading the counter maps: memory-mapped, summed over CPUs, no system call per element.

use firewall_common::abi::Counter;

/// All counters at one moment, summed over CPUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sums {
    /// `[interface slot * 64 + reason][verdict]`.
    pub reasons: Vec<[Counter; 2]>,
    /// `[port][tcp pass, tcp drop, udp pass, udp drop]`: 65,536 entries.
    pub ports: Vec<[Counter; 4]>,
    /// By counter slot.
    pub rules: Vec<Counter>,
}
