//! A minute of one-second samples for any number of things, in bounded memory.
//!
//! A sample holds only the things that moved, so that 131,072 idle ports cost nothing. A sample is
//! cut to [`MOVERS`] entries, the fastest: a port sweep costs at most 60 x 4,096 x 8 bytes, 2 MB.
//!
//! Invariant: every sample is sorted by key, no key twice.

use firewall_api::view::HISTORY;
use std::collections::VecDeque;

/// Most things that one sample remembers.
pub const MOVERS: usize = 4096;

/// Packets a second, by a key that the caller chose, for the last [`HISTORY`] samples.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Vec<(u32, u32)>>,
}

impl History {
    /// Adds a sample: the keys that moved and their packets a second.
    pub fn push(&mut self, mut sample: Vec<(u32, u32)>) {
        if sample.len() > MOVERS {
            sample.select_nth_unstable_by(MOVERS, |a, b| b.1.cmp(&a.1));
            sample.truncate(MOVERS);
        }
        sample.sort_unstable_by_key(|&(key, _)| key);
        sample.shrink_to_fit();
        if self.samples.len() == HISTORY {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Packets a second of one key, oldest first; empty if it stood still all the time.
    #[must_use]
    pub fn of(&self, key: u32) -> Vec<u64> {
        let at = |sample: &Vec<(u32, u32)>| match sample.binary_search_by_key(&key, |&(k, _)| k) {
            Ok(found) => u64::from(sample[found].1),
            Err(_) => 0,
        };
        let values: Vec<u64> = self.samples.iter().map(at).collect();
        if values.iter().any(|&value| value > 0) {
            values
        } else {
            Vec::new()
        }
    }

    /// Forgets the keys that now mean something else.
    pub fn forget(&mut self, gone: impl Fn(u32) -> bool) {
        for sample in &mut self.samples {
            sample.retain(|&(key, _)| !gone(key));
        }
    }

    /// Entries held, over all samples.
    #[cfg(test)]
    fn entries(&self) -> usize {
        self.samples.iter().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_minute_and_only_what_moved() {
        let mut history = History::default();
        for second in 0..100u32 {
            history.push(if second % 2 == 0 {
                vec![(7, second), (3, 1)]
            } else {
                vec![(3, 2)]
            });
        }
        let seven = history.of(7);
        assert_eq!(seven.len(), HISTORY);
        assert_eq!(&seven[..4], [40, 0, 42, 0]);
        assert_eq!(history.of(3).last(), Some(&2));
        assert!(history.of(9).is_empty());
        history.forget(|key| key == 7);
        assert!(history.of(7).is_empty());
        assert!(!history.of(3).is_empty());
    }

    #[test]
    fn a_sweep_over_all_ports_stays_bounded_and_keeps_the_fastest() {
        let mut history = History::default();
        for _ in 0..HISTORY {
            history.push(
                (0..131_072)
                    .map(|key| (key, if key == 443 { 900 } else { 1 }))
                    .collect(),
            );
        }
        assert_eq!(history.entries(), HISTORY * MOVERS);
        assert_eq!(history.of(443), vec![900; HISTORY]);
    }
}
