//! Sets of numbers as sorted, disjoint, non-touching inclusive ranges.

use std::fmt;
use std::sync::Arc;

/// A number that ranges are made of: `u32` for IPv4 and small fields, `u128` for IPv6.
pub trait Number: Copy + Ord + fmt::Debug {
    /// The smallest value.
    const MIN: Self;
    /// The largest value.
    const MAX: Self;
    /// The next value; `None` after the largest.
    fn next(self) -> Option<Self>;
    /// The value before; `None` before the smallest.
    fn prev(self) -> Option<Self>;
}

macro_rules! number {
    ($($t:ty),*) => { $(impl Number for $t {
        const MIN: Self = <$t>::MIN;
        const MAX: Self = <$t>::MAX;
        fn next(self) -> Option<Self> { self.checked_add(1) }
        fn prev(self) -> Option<Self> { self.checked_sub(1) }
    })* };
}
number!(u32, u128);

/// A set of numbers. The ranges are inclusive, sorted, and neither overlap nor touch, so equal sets
/// have equal representations.
///
/// A clone shares the ranges: a thousand rules that name one set of a million prefixes hold it
/// once.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RangeSet<T> {
    ranges: Arc<Vec<(T, T)>>,
}

impl<T: Number> RangeSet<T> {
    /// The set of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::sorted(Vec::new())
    }

    /// Ranges that are sorted, disjoint and do not touch.
    fn sorted(ranges: Vec<(T, T)>) -> Self {
        Self {
            ranges: Arc::new(ranges),
        }
    }

    /// The set of every number of the type.
    #[must_use]
    pub fn full() -> Self {
        Self::of(T::MIN, T::MAX)
    }

    /// The set of `first..=last`; nothing if `first > last`.
    #[must_use]
    pub fn of(first: T, last: T) -> Self {
        Self::sorted(if first <= last {
            vec![(first, last)]
        } else {
            Vec::new()
        })
    }

    /// Folds any ranges (overlapping, touching, in any order; those with first > last ignored), in
    /// the memory that they are in.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        // By the first values alone: folding takes the largest end, in whatever order they come.
        ranges.sort_unstable_by_key(|&(first, _)| first);
        ranges.dedup_by(|next, folded| {
            let joins = folded.1.next().is_none_or(|after| next.0 <= after);
            if joins {
                folded.1 = folded.1.max(next.1);
            }
            joins
        });
        ranges.shrink_to_fit();
        Self::sorted(ranges)
    }

    /// The ranges, sorted, disjoint, not touching.
    #[must_use]
    pub fn ranges(&self) -> &[(T, T)] {
        &self.ranges
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether every number of the type is in the set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ranges() == [(T::MIN, T::MAX)]
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: T) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= value);
        after > 0 && value <= self.ranges[after - 1].1
    }

    /// Everything in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges.iter().chain(&*other.ranges).copied().collect())
    }

    /// Everything in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        let mut both = Vec::new();
        while let (Some(&&(a_first, a_last)), Some(&&(b_first, b_last))) = (a.peek(), b.peek()) {
            let (first, last) = (a_first.max(b_first), a_last.min(b_last));
            if first <= last {
                both.push((first, last));
            }
            if a_last < b_last {
                a.next();
            } else {
                b.next();
            }
        }
        Self::sorted(both)
    }

    /// Everything of the type that is not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.ranges.len() + 1);
        let mut start = Some(T::MIN);
        for &(first, last) in self.ranges() {
            if let (Some(from), Some(to)) = (start, first.prev())
                && from <= to
            {
                gaps.push((from, to));
            }
            start = last.next();
        }
        if let Some(from) = start {
            gaps.push((from, T::MAX));
        }
        Self::sorted(gaps)
    }
}

impl<T: fmt::Debug> fmt::Debug for RangeSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.ranges.iter().map(|(a, b)| (a, b)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::RangeSet;
    use proptest::prelude::*;

    fn set() -> impl Strategy<Value = RangeSet<u32>> {
        prop::collection::vec((0u32..64, 0u32..64), 0..6).prop_map(|pairs| {
            RangeSet::from_ranges(
                pairs
                    .into_iter()
                    .map(|(a, b)| {
                        let stretch = |v: u32| if v == 63 { u32::MAX } else { v };
                        (stretch(a.min(b)), stretch(a.max(b)))
                    })
                    .collect(),
            )
        })
    }

    proptest! {
        #[test]
        fn set_algebra_agrees_with_membership(a in set(), b in set()) {
            for v in (0..66).chain([u32::MAX - 1, u32::MAX]) {
                prop_assert_eq!(a.union(&b).contains(v), a.contains(v) || b.contains(v));
                prop_assert_eq!(a.intersection(&b).contains(v), a.contains(v) && b.contains(v));
                prop_assert_eq!(a.complement().contains(v), !a.contains(v));
            }
            prop_assert_eq!(a.complement().complement(), a.clone());
            prop_assert_eq!(RangeSet::from_ranges(a.ranges().to_vec()), a);
        }
    }

    #[test]
    fn touching_ranges_fold() {
        let folded = RangeSet::from_ranges(vec![(5u32, 9), (0, 4), (20, 10)]);
        assert_eq!(folded.ranges(), [(0, 9)]);
        assert!(RangeSet::from_ranges(vec![(0u32, 7), (8, u32::MAX)]).is_full());
    }
}
