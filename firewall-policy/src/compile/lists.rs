//! Which rules of a large policy go into short lists, and the lists as the walk reads them: see
//! `classify::lists`. Knows nothing of rows but their byte offsets.
//!
//! Invariant: a list holds at most [`LIST_MAX`] entries, and a rule is in the lists of one address
//! or in the rows, never in both.

use super::FamilyRules;
use super::addr::Address;
use super::blob::Blob;
use super::encode::LaneRows;
use super::hash::FastMap;
use super::rows::RowId;
use crate::range::RangeSet;
use firewall_common::abi::{Entry as RuleEntry, LIST_MAX, ListHead, ListRule};
use firewall_common::field::Field;
use firewall_common::verdict::Action;
use std::hash::Hash;

/// From so many rules on, lists are made. Fewer rules fit into rows of two short levels, and a row
/// says more at once than a list.
const WORTH_IT: usize = 2_048;

/// In how many intervals a listed rule may stand.
const MOST_INTERVALS: usize = 64;

/// How many prefixes of the other address a listed rule may have: it takes an entry for each.
const MOST_PREFIXES: usize = 4;

/// How many profiles there are at most.
const MOST_PROFILES: usize = 1_024;

/// The rules of a family, divided.
pub(super) struct Listed<T> {
    /// Numbers of the rules that stay in the rows.
    pub(super) rest: Vec<u32>,
    /// For every profile the number of a rule that has it.
    pub(super) profiles: Vec<u32>,
    /// The lists by source address.
    pub(super) src: Side<T>,
    /// The lists by destination address.
    pub(super) dst: Side<T>,
}

impl<T: Address> Listed<T> {
    /// The lists by source and by destination, where there are some.
    pub(super) fn sides(&self) -> [Option<&Side<T>>; 2] {
        [&self.src, &self.dst].map(|side| (!side.is_empty()).then_some(side))
    }
}

/// The lists of one address.
pub(super) struct Side<T> {
    /// First address of every interval; the first is the lowest of all.
    starts: Vec<T>,
    lists: Vec<Vec<Entry<T>>>,
}

/// One entry of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry<T> {
    /// Prefix and mask of the other address.
    prefix: (T, T),
    rule: u32,
    profile: u32,
}

/// Divides the rules, if that is worth it.
pub(super) fn divide<T: Address>(rules: &FamilyRules<'_, T>) -> Option<Listed<T>> {
    let count = rules.entries.len();
    if count < WORTH_IT {
        return None;
    }
    let is_narrow = |set: &RangeSet<T>| !set.is_full() && set.ranges().len() <= MOST_INTERVALS;
    let mut sides = [&rules.src, &rules.dst].map(|sets| Side::cut(sets, is_narrow));
    let mut profiles = Profiles::default();
    let mut rest = Vec::new();
    for rule in 0..count {
        let entry = rules.entries[rule];
        let decides = [Action::PASS, Action::DROP, Action::REJECT, Action::PROTECT];
        let decides = decides.contains(&entry.action()) && !entry.is_limited();
        if !decides || !list(rules, rule, is_narrow, &mut sides, &mut profiles) {
            rest.push(rule as u32);
        }
    }
    let [src, dst] = sides;
    // Rows and lists for the same packets cost more than rows.
    (rest.len() * 2 <= count).then_some(Listed {
        rest,
        profiles: profiles.rules,
        src,
        dst,
    })
}

/// Puts a rule into the lists of the address that makes for the shortest ones; false if it fits into
/// neither's.
fn list<T: Address>(
    rules: &FamilyRules<'_, T>,
    rule: usize,
    is_narrow: impl Fn(&RangeSet<T>) -> bool,
    sides: &mut [Side<T>; 2],
    profiles: &mut Profiles,
) -> bool {
    let sets = [rules.src[rule], rules.dst[rule]];
    let mut best: Option<(usize, usize)> = None;
    for (number, side) in sides.iter().enumerate() {
        let (own, other) = (sets[number], sets[1 - number]);
        if !is_narrow(own) {
            continue;
        }
        let Some(prefixes) = prefixes(other) else {
            continue;
        };
        if let Some(cost) = side.cost(own, prefixes.len())
            && best.is_none_or(|(least, _)| cost < least)
        {
            best = Some((cost, number));
        }
    }
    let Some((_, number)) = best else {
        return false;
    };
    let Some(profile) = profiles.number(rules, rule) else {
        return false;
    };
    for prefix in prefixes(sets[1 - number]).into_iter().flatten() {
        let entry = Entry {
            prefix,
            rule: rule as u32,
            profile,
        };
        sides[number].add(sets[number], entry);
    }
    true
}

impl<T: Address> Side<T> {
    /// Empty lists for all intervals that the narrow ones of `sets` make.
    fn cut(sets: &[&RangeSet<T>], is_narrow: impl Fn(&RangeSet<T>) -> bool) -> Self {
        let mut starts = vec![T::MIN];
        for &&(first, last) in sets
            .iter()
            .filter(|set| is_narrow(set))
            .flat_map(|set| set.ranges())
            .collect::<Vec<_>>()
            .iter()
        {
            starts.push(first);
            starts.extend(last.next());
        }
        starts.sort_unstable();
        starts.dedup();
        let lists = starts.iter().map(|_| Vec::new()).collect();
        Self { starts, lists }
    }

    /// The intervals of a set.
    fn intervals(&self, set: &RangeSet<T>) -> impl Iterator<Item = std::ops::Range<usize>> {
        set.ranges().iter().map(|&(first, last)| {
            let from = self.starts.partition_point(|&start| start < first);
            let rest = &self.starts[from..];
            // Most sets are one interval or a few.
            let few = rest.iter().take(8).position(|&start| start > last);
            let length = few.unwrap_or_else(|| rest.partition_point(|&start| start <= last));
            from..from + length
        })
    }

    /// What it costs to list a rule with `set` by `entries` entries: how long its lists get, and
    /// how many there are. `None` if that is too much.
    fn cost(&self, set: &RangeSet<T>, entries: usize) -> Option<usize> {
        let (mut longest, mut intervals) = (0, 0);
        for range in self.intervals(set) {
            intervals += range.len();
            if intervals > MOST_INTERVALS {
                return None;
            }
            let lengths = self.lists[range].iter().map(Vec::len);
            longest = longest.max(lengths.max().unwrap_or(0) + entries);
        }
        (longest <= LIST_MAX as usize).then_some(longest * 4 + intervals)
    }

    fn add(&mut self, set: &RangeSet<T>, entry: Entry<T>) {
        let ranges: Vec<_> = self.intervals(set).collect();
        for number in ranges.into_iter().flatten() {
            self.lists[number].push(entry);
        }
    }

    /// How many entries the longest list has.
    pub(super) fn longest(&self) -> usize {
        self.lists.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether there is any rule.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
    }

    /// Writes a block for every row and list that occur together. `intervals` are those of the
    /// rows. Returns the intervals of the blocks, and the blocks in the place of rows.
    pub(super) fn write(
        &self,
        intervals: &[(T, RowId)],
        rows: &LaneRows,
        rules: &[RuleEntry],
        blob: &mut Blob,
        what: &str,
    ) -> (Vec<(T, RowId)>, LaneRows) {
        let start = blob.align(64);
        let mut known: FastMap<(RowId, &[Entry<T>]), RowId> = FastMap::default();
        let mut references = Vec::new();
        let mut cut: Vec<(T, RowId)> = Vec::with_capacity(intervals.len() + self.starts.len());
        let (mut row, mut list) = (0, 0);
        let mut first = T::MIN;
        loop {
            let key = (intervals[row].1, self.lists[list].as_slice());
            let block = *known.entry(key).or_insert_with(|| {
                let size = 8 + key.1.len() * T::LIST_ENTRY as usize;
                // In one cache line, if it fits into one.
                let offset = blob.align(8);
                if offset % 64 + size > 64 {
                    blob.align(64);
                }
                references.push(((blob.len() - start) / 8) as u32);
                let row = rows.offset + rows.reference(key.0) * 8;
                blob.put(ListHead::new(row, key.1.len() as u32));
                for entry in key.1 {
                    T::write_prefix(entry.prefix, blob);
                    blob.put(ListRule::new(entry.rule, entry.profile));
                    blob.put(rules[entry.rule as usize]);
                }
                RowId(references.len() as u32 - 1)
            });
            if cut.last().is_none_or(|&(_, last)| last != block) {
                cut.push((first, block));
            }
            let next_row = intervals.get(row + 1).map(|next| next.0);
            let next_list = self.starts.get(list + 1).copied();
            first = match (next_row, next_list) {
                (Some(a), Some(b)) => a.min(b),
                (Some(next), None) | (None, Some(next)) => next,
                (None, None) => break,
            };
            row += usize::from(next_row == Some(first));
            list += usize::from(next_list == Some(first));
        }
        let blocks = LaneRows::new(start as u32, blob.len() - start, references);
        blob.report(format!("{what}: lists"), known.len(), start);
        (cut, blocks)
    }
}

/// The prefixes that a set is made of; `None` if there are too many.
fn prefixes<T: Address>(set: &RangeSet<T>) -> Option<Vec<(T, T)>> {
    let mut found = Vec::new();
    for &(first, last) in set.ranges() {
        let (mut from, last) = (first.into(), last.into());
        loop {
            // As far as alignment goes, and not beyond the end.
            let aligned = from.trailing_zeros().min(T::BITS);
            let room = (last - from).checked_add(1).map_or(T::BITS, |n| n.ilog2());
            let free = aligned.min(room);
            if found.len() == MOST_PREFIXES {
                return None;
            }
            found.push((T::truncate(from), T::truncate(mask(free))));
            let size = 1u128.checked_shl(free).unwrap_or(0);
            match from.checked_add(size) {
                Some(next) if size != 0 && next <= last => from = next,
                _ => break,
            }
        }
    }
    Some(found)
}

/// All ones but for the lowest `free` bits.
fn mask(free: u32) -> u128 {
    u128::MAX.checked_shl(free).unwrap_or(0)
}

/// Numbers for sets of small fields.
#[derive(Default)]
struct Profiles {
    /// Number of a field's set, by where it is, and by what it is.
    by_place: FastMap<usize, u32>,
    by_set: FastMap<RangeSet<u32>, u32>,
    numbers: FastMap<[u32; Field::COUNT], u32>,
    /// A rule of each profile.
    rules: Vec<u32>,
}

impl Profiles {
    fn number<T>(&mut self, rules: &FamilyRules<'_, T>, rule: usize) -> Option<u32> {
        let key = std::array::from_fn(|field| {
            let set = rules.fields[field][rule];
            *self
                .by_place
                .entry(std::ptr::from_ref(set.ranges()).addr())
                .or_insert_with(|| {
                    let next = self.by_set.len() as u32;
                    *self.by_set.entry(set.clone()).or_insert(next)
                })
        });
        if let Some(&number) = self.numbers.get(&key) {
            return Some(number);
        }
        if self.rules.len() == MOST_PROFILES {
            return None;
        }
        let number = self.rules.len() as u32;
        self.rules.push(rule as u32);
        self.numbers.insert(key, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::prefixes;
    use crate::range::RangeSet;

    #[test]
    fn ranges_become_prefixes() {
        let of = |first: u32, last: u32| prefixes(&RangeSet::of(first, last));
        assert_eq!(of(0, u32::MAX), Some(vec![(0, 0)]));
        assert_eq!(of(7, 7), Some(vec![(7, u32::MAX)]));
        assert_eq!(of(8, 15), Some(vec![(8, !7)]));
        assert_eq!(of(u32::MAX - 1, u32::MAX), Some(vec![(u32::MAX - 1, !1)]));
        assert_eq!(of(1, 4), Some(vec![(1, !0), (2, !1), (4, !0)]));
        assert_eq!(of(1, u32::MAX), None);
        let full = RangeSet::of(0, u128::MAX);
        assert_eq!(prefixes(&full), Some(vec![(0, 0)]));
        let top = RangeSet::of(u128::MAX, u128::MAX);
        assert_eq!(prefixes(&top), Some(vec![(u128::MAX, u128::MAX)]));
        let half = RangeSet::of(1 << 127, u128::MAX);
        assert_eq!(prefixes(&half), Some(vec![(1 << 127, 1 << 127)]));
        let none = RangeSet::<u32>::empty();
        assert_eq!(prefixes(&none), Some(vec![]));
    }
}
