//! Cuts one match field into elementary intervals: between two neighbours at least one rule starts
//! or stops to accept. Knows nothing of the encoded form.

use super::LimitError;
use super::hash::FastMap;
use super::rows::{Changing, RowId, Rows};
use crate::range::{Number, RangeSet};

/// The intervals of `sets` (rule `i` accepts `sets[i]`): the first value of each, and the rules
/// that accept it. The first starts at `T::MIN`; neighbours have different rows.
///
/// # Errors
/// More different rows than there may be.
pub(super) fn intervals<T: Number + std::hash::Hash>(
    sets: &[&RangeSet<T>],
    rows: &mut Rows,
) -> Result<Vec<(T, RowId)>, LimitError> {
    let groups = group(sets);
    let total: usize = groups
        .iter()
        .map(|group| group.set.ranges().len() * 2)
        .sum();
    let mut events: Vec<(T, u32)> = Vec::with_capacity(total);
    for (number, group) in groups.iter().enumerate() {
        for &(first, last) in group.set.ranges() {
            events.push((first, number as u32));
            if let Some(after) = last.next() {
                events.push((after, number as u32));
            }
        }
    }
    // Stable, because that sort is the one that takes advantage of the sorted runs.
    events.sort_by_key(|&(value, _)| value);

    let mut now = Changing::new(rows);
    let mut intervals: Vec<(T, RowId)> = Vec::with_capacity(events.len() + 1);
    let mut start = T::MIN;
    let mut next = 0;
    loop {
        while let Some(&(value, number)) = events.get(next)
            && value == start
        {
            for &(word, mask) in &groups[number as usize].rules {
                now.toggle(word, mask);
            }
            next += 1;
        }
        let row = now.store(rows);
        rows.check()?;
        if intervals.last().is_none_or(|&(_, last)| last != row) {
            intervals.push((start, row));
        }
        match events.get(next) {
            Some(&(value, _)) => start = value,
            None => return Ok(intervals),
        }
    }
}

/// Rules with equal sets start and stop together.
struct Group<'a, T> {
    set: &'a RangeSet<T>,
    /// The rules, as words of 64.
    rules: Vec<(u32, u64)>,
}

fn group<'a, T: Number + std::hash::Hash>(sets: &[&'a RangeSet<T>]) -> Vec<Group<'a, T>> {
    let mut groups: Vec<Group<'a, T>> = Vec::new();
    let mut by_set: FastMap<&RangeSet<T>, usize> = FastMap::default();
    // A set that rules share is looked at once.
    let mut by_place: FastMap<usize, usize> = FastMap::default();
    for (rule, &set) in sets.iter().enumerate() {
        let number = *by_place
            .entry(std::ptr::from_ref(set.ranges()).addr())
            .or_insert_with(|| {
                *by_set.entry(set).or_insert_with(|| {
                    groups.push(Group {
                        set,
                        rules: Vec::new(),
                    });
                    groups.len() - 1
                })
            });
        let (word, mask) = ((rule / 64) as u32, 1u64 << (rule % 64));
        match groups[number].rules.last_mut() {
            Some((last, masks)) if *last == word => *masks |= mask,
            _ => groups[number].rules.push((word, mask)),
        }
    }
    groups
}
