//! [`RangeSet`] against a set of single numbers, near both ends of the type and in between.

use firewall_policy::range::{Number, RangeSet};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The numbers that sets are made of here: runs of 8 at the start, in the middle and at the end of
/// the type. Between the runs, sets are all or nothing.
fn samples<T: Number + TryFrom<u128>>(max: u128) -> Vec<T> {
    let starts = [0, max / 2, max - 7];
    let numbers = starts.into_iter().flat_map(|start| start..=start + 7);
    numbers.filter_map(|n| T::try_from(n).ok()).collect()
}

fn members<T: Number>(set: &RangeSet<T>, samples: &[T]) -> BTreeSet<T> {
    samples
        .iter()
        .copied()
        .filter(|&n| set.contains(n))
        .collect()
}

/// What the type promises about its ranges.
fn is_folded<T: Number>(set: &RangeSet<T>) -> bool {
    let ranges = set.ranges();
    ranges.iter().all(|(first, last)| first <= last)
        && ranges
            .windows(2)
            .all(|pair| pair[0].1.next().is_some_and(|after| after < pair[1].0))
}

fn algebra<T: Number + TryFrom<u128>>(max: u128, pairs: &[Vec<(usize, usize)>; 2]) {
    let samples = samples::<T>(max);
    let [a, b] = pairs.each_ref().map(|pairs| {
        let ranges: Vec<(T, T)> = pairs
            .iter()
            .map(|&(i, j)| (samples[i], samples[j]))
            .collect();
        let expected: BTreeSet<T> = samples
            .iter()
            .copied()
            .filter(|&n| ranges.iter().any(|&(first, last)| first <= n && n <= last))
            .collect();
        let set = RangeSet::from_ranges(ranges);
        assert_eq!(members(&set, &samples), expected);
        set
    });
    let (in_a, in_b) = (members(&a, &samples), members(&b, &samples));
    let (union, both, rest) = (a.union(&b), a.intersection(&b), a.complement());
    let all: BTreeSet<T> = samples.iter().copied().collect();
    assert_eq!(members(&union, &samples), &in_a | &in_b);
    assert_eq!(members(&both, &samples), &in_a & &in_b);
    assert_eq!(members(&rest, &samples), &all - &in_a);
    assert!([&a, &b, &union, &both, &rest].into_iter().all(is_folded));
    assert_eq!(rest.complement(), a);
    assert_eq!(a.union(&rest), RangeSet::full());
    assert_eq!(a.intersection(&rest), RangeSet::empty());
    assert_eq!(a.is_empty(), a == RangeSet::empty());
    assert_eq!(a.is_full(), a == RangeSet::full());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_algebra_agrees_with_membership(
        a in prop::collection::vec((0usize..24, 0usize..24), 0..6),
        b in prop::collection::vec((0usize..24, 0usize..24), 0..6),
    ) {
        let pairs = [a, b];
        algebra::<u32>(u32::MAX.into(), &pairs);
        algebra::<u128>(u128::MAX, &pairs);
    }
}

#[test]
fn touching_ranges_fold() {
    let folded = RangeSet::from_ranges(vec![(5u32, 9), (0, 4), (20, 10)]);
    assert_eq!(folded.ranges(), [(0, 9)]);
    assert_eq!(format!("{folded:?}"), "[(0, 9)]");
    assert!(RangeSet::from_ranges(vec![(0u32, 7), (8, u32::MAX)]).is_full());
    assert!(!RangeSet::from_ranges(vec![(0u32, 7), (9, u32::MAX)]).is_full());
    assert_eq!(RangeSet::of(3u32, 2), RangeSet::empty());
    assert_eq!(RangeSet::of(3u32, 3).ranges(), [(3, 3)]);
    assert_eq!(RangeSet::<u128>::full().ranges(), [(0, u128::MAX)]);
}
