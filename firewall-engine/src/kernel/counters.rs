//! Reading the counter maps: memory-mapped, summed over CPUs, no system call per element.
//!
//! A counter is two words that the kernel updates one after the other, so a sum that is read while
//! packets flow may be one packet ahead in one of the two. Each word by itself never goes back.

use super::mapping::Mapping;
use super::maps::{self, BigMap};
use super::{KernelError, host};
use firewall_common::abi::{
    COUNTER_SIZE, Counter, INTERFACES, PORTS, PORTS_STRIDE, REASONS_STRIDE,
};
use firewall_common::reason::Reason;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a [`Counter`].
const COUNTER_WORDS: usize = COUNTER_SIZE as usize / 8;

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

/// The counter maps of one program, mapped for reading.
#[derive(Debug)]
pub(crate) struct CounterMaps {
    cpus: usize,
    reasons: Mapping,
    ports: Mapping,
    rules: RuleCounters,
}

impl CounterMaps {
    /// Maps them.
    pub(crate) fn new(
        reasons: &BigMap,
        ports: &BigMap,
        rules: &BigMap,
    ) -> Result<Self, KernelError> {
        Ok(Self {
            cpus: host::cpus()? as usize,
            reasons: reasons.map()?,
            ports: ports.map()?,
            rules: RuleCounters::new(rules)?,
        })
    }

    /// Reads everything. No system calls.
    pub(crate) fn read(&self) -> Sums {
        Sums {
            reasons: sum_groups(
                self.reasons.words(),
                self.cpus,
                REASONS_STRIDE as usize,
                INTERFACES * Reason::CAPACITY,
            ),
            ports: self.ports(),
            rules: self.rules.read(),
        }
    }

    fn ports(&self) -> Vec<[Counter; 4]> {
        let mut sums = vec![[Counter::default(); 4]; PORTS];
        let regions = self.ports.words().chunks_exact(PORTS_STRIDE as usize / 8);
        for region in regions.take(self.cpus) {
            for (number, plane) in region.chunks_exact(PORTS * COUNTER_WORDS).enumerate() {
                for (sums, counter) in sums.iter_mut().zip(plane.chunks_exact(COUNTER_WORDS)) {
                    add(&mut sums[number], counter);
                }
            }
        }
        sums
    }

    /// The counters of one interface slot, by reason. No system calls.
    pub(crate) fn reasons(&self, slot: usize) -> Vec<[Counter; 2]> {
        let words = Reason::CAPACITY * 2 * COUNTER_WORDS;
        let mut sums = vec![[Counter::default(); 2]; Reason::CAPACITY];
        let regions = self
            .reasons
            .words()
            .chunks_exact(REASONS_STRIDE as usize / 8);
        for region in regions.take(self.cpus) {
            let slot = region.chunks_exact(words).nth(slot).unwrap_or_default();
            add_group(&mut sums, slot);
        }
        sums
    }

    /// One rule counter, if there is one with this slot. No system calls.
    pub(crate) fn rule(&self, slot: u32) -> Option<Counter> {
        self.rules.one(slot)
    }
}

/// The map `fw_rules`, mapped for reading.
#[derive(Debug)]
pub(crate) struct RuleCounters {
    map: Mapping,
    /// Regions: one for each CPU, and the carried totals.
    regions: usize,
    stride: usize,
}

impl RuleCounters {
    /// Maps it.
    pub(crate) fn new(rules: &BigMap) -> Result<Self, KernelError> {
        let regions = host::cpus()? as usize + 1;
        Ok(Self {
            map: rules.map()?,
            regions,
            stride: rules.size() / regions,
        })
    }

    /// Counters by slot, carried totals included.
    pub(crate) fn read(&self) -> Vec<Counter> {
        let slots = self.stride / COUNTER_SIZE as usize;
        sum_groups::<1>(self.map.words(), self.regions, self.stride, slots)
            .into_iter()
            .map(|[counter]| counter)
            .collect()
    }

    /// The counter of one slot, carried total included.
    fn one(&self, slot: u32) -> Option<Counter> {
        let start = slot as usize * COUNTER_WORDS;
        let mut sum = Counter::default();
        for region in self.map.words().chunks_exact(self.stride / 8) {
            let counter = region.get(start..)?.first_chunk::<COUNTER_WORDS>()?;
            add(&mut sum, counter);
        }
        Some(sum)
    }
}

/// How many counters a `fw_rules` map has.
pub(crate) fn rule_capacity(rules: &BigMap) -> Result<u32, KernelError> {
    Ok((rules.size() / (host::cpus()? as usize + 1)) as u32 / COUNTER_SIZE)
}

/// Sums `groups` groups of `N` counters over regions of `stride` bytes.
fn sum_groups<const N: usize>(
    words: &[AtomicU64],
    regions: usize,
    stride: usize,
    groups: usize,
) -> Vec<[Counter; N]> {
    let mut sums = vec![[Counter::default(); N]; groups];
    for region in words.chunks_exact(stride / 8).take(regions) {
        add_group(&mut sums, region);
    }
    sums
}

/// Adds the counters that `words` begins with.
fn add_group<const N: usize>(sums: &mut [[Counter; N]], words: &[AtomicU64]) {
    for (sum, group) in sums.iter_mut().zip(words.chunks_exact(N * COUNTER_WORDS)) {
        for (sum, counter) in sum.iter_mut().zip(group.chunks_exact(COUNTER_WORDS)) {
            add(sum, counter);
        }
    }
}

/// Adds the counter that is these two words.
fn add(sum: &mut Counter, words: &[AtomicU64]) {
    sum.packets = sum.packets.wrapping_add(words[0].load(Ordering::Relaxed));
    sum.bytes = sum.bytes.wrapping_add(words[1].load(Ordering::Relaxed));
}

/// Sets rule counters that no running program uses to zero.
pub(crate) fn clear_rules(rules: &BigMap, slots: &[u32]) -> Result<(), KernelError> {
    if slots.is_empty() {
        return Ok(());
    }
    let map = rules.map_writable()?;
    let regions = host::cpus()? as usize + 1;
    let stride = rules.size() / regions / 8;
    for region in 0..regions {
        for &slot in slots {
            map.clear(
                region * stride + slot as usize * COUNTER_WORDS,
                COUNTER_WORDS,
            );
        }
    }
    Ok(())
}

/// Sets the reason counters of interface slots that no running program uses to zero.
pub(crate) fn clear_interfaces(reasons: &BigMap, slots: &[u32]) -> Result<(), KernelError> {
    if slots.is_empty() {
        return Ok(());
    }
    let map = reasons.map_writable()?;
    let per_interface = Reason::CAPACITY * 2 * COUNTER_WORDS;
    for cpu in 0..host::cpus()? as usize {
        for &slot in slots {
            let start = cpu * REASONS_STRIDE as usize / 8 + slot as usize * per_interface;
            map.clear(start, per_interface);
        }
    }
    Ok(())
}

/// Writes the carried totals of a `fw_rules` map: `totals[slot]`.
pub(crate) fn set_carried(rules: &BigMap, totals: &[Counter]) -> Result<(), KernelError> {
    let map = rules.map_writable()?;
    let cpus = host::cpus()? as usize;
    let stride = rules.size() / (cpus + 1) / 8;
    let region = map.words().get(cpus * stride..).unwrap_or_default();
    for (counter, total) in region.chunks_exact(COUNTER_WORDS).zip(totals) {
        counter[0].store(total.packets, Ordering::Relaxed);
        counter[1].store(total.bytes, Ordering::Relaxed);
    }
    Ok(())
}

/// New counter maps, all zero, with `slots` rule counters.
pub(crate) fn create(slots: u32) -> Result<(BigMap, BigMap, BigMap), KernelError> {
    Ok((
        BigMap::new_reasons()?,
        BigMap::new_ports()?,
        BigMap::new_rules(slots)?,
    ))
}

/// Bytes of one CPU's rule counters, as the program's constants have it.
pub(crate) fn stride_of(rules: &BigMap) -> Result<u32, KernelError> {
    Ok(maps::rules_stride(rule_capacity(rules)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_over_regions_and_keep_groups_apart() {
        // Two regions of two groups of two counters, plus a region that is not asked for.
        let words: Vec<AtomicU64> = (0..24).map(AtomicU64::new).collect();
        let sums = sum_groups::<2>(&words, 2, 64, 2);
        let counter = |first: u64| Counter {
            packets: 2 * first + 8,
            bytes: 2 * first + 10,
        };
        assert_eq!(sums, [[counter(0), counter(2)], [counter(4), counter(6)]]);
    }
}
