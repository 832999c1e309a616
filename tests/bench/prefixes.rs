//! Lists of prefixes from a seed, with the lengths of published block lists.

use firewall_tests::random::Random;
use std::collections::HashSet;

/// `count` different IPv4 prefixes, lengths as in published block lists: half of them networks of
/// 256 addresses, a quarter single addresses, the rest from /20 to /31.
pub(crate) fn prefixes_v4(count: usize, seed: u64) -> Vec<(u32, u8)> {
    let mut random = Random::new(seed);
    let mut seen = HashSet::with_capacity(count);
    while seen.len() < count {
        let length = match random.below(4) {
            0 | 1 => 24,
            2 => 32,
            _ => 20 + random.below(12) as u32,
        };
        seen.insert((address(&mut random) & mask(length), length as u8));
    }
    let mut prefixes: Vec<_> = seen.into_iter().collect();
    prefixes.sort_unstable();
    prefixes
}

/// `count` different IPv6 prefixes from 2000::/3: half of them /48, a fifth single addresses, the
/// rest from /32 to /64.
pub(crate) fn prefixes_v6(count: usize, seed: u64) -> Vec<(u128, u8)> {
    let mut random = Random::new(seed);
    let mut seen = HashSet::with_capacity(count);
    while seen.len() < count {
        let length = match random.below(10) {
            0..=4 => 48,
            5 | 6 => 128,
            _ => 32 + random.below(33) as u32,
        };
        let bits = u128::from(random.bits()) << 64 | u128::from(random.bits());
        let address = 0x2000 << 112 | bits >> 3;
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        seen.insert((address & mask, length as u8));
    }
    let mut prefixes: Vec<_> = seen.into_iter().collect();
    prefixes.sort_unstable();
    prefixes
}

fn address(random: &mut Random) -> u32 {
    loop {
        let address = random.bits() as u32;
        let first = address >> 24;
        if first != 0 && first != 10 && first != 127 && first < 224 {
            return address;
        }
    }
}

fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_repeat_and_are_networks() {
        let v4 = prefixes_v4(1000, 1);
        assert_eq!(v4, prefixes_v4(1000, 1));
        assert_ne!(v4, prefixes_v4(1000, 2));
        for (address, length) in v4 {
            assert_eq!(address & mask(length.into()), address);
            assert!((20..=32).contains(&length));
        }
        let v6 = prefixes_v6(1000, 1);
        assert_eq!(v6.len(), 1000);
        assert!(v6.iter().all(|(address, _)| address >> 125 == 1));
    }
}
