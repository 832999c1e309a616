//! Takes a range of addresses out of a set exactly: what lies within goes, and of an entry that reaches
//! beyond it the rest stays, for as long as the entry would have.
//!
//! Pure. Invariant: afterwards no address of the range is in the set, and every other one that was, is.

use crate::engine::Change;
use crate::kernel::live::{Entry, Origin};
use firewall_common::live::Prefix;
use firewall_policy::prefixes::{prefixes, text};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::AddrSet;
use std::collections::HashMap;

/// First and last address of a prefix.
fn ends(prefix: &Prefix) -> (u128, u128) {
    let (first, bits) = match prefix.is_v6 {
        0 => (u128::from(prefix.hi >> 32), 32),
        _ => (u128::from(prefix.hi) << 64 | u128::from(prefix.lo), 128),
    };
    let free = bits - prefix.length as u32;
    let host = 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    (first, first | host)
}

/// The prefixes of the addresses from one to another.
fn between(first: u128, last: u128, is_v6: u64) -> Vec<Prefix> {
    let mut set = AddrSet {
        v4: RangeSet::empty(),
        v6: RangeSet::empty(),
    };
    match is_v6 {
        0 => set.v4 = RangeSet::of(first as u32, last as u32),
        _ => set.v6 = RangeSet::of(first, last),
    }
    prefixes(&set).collect()
}

/// The changes that take the addresses of `range`, prefixes one behind the other, out of the set of
/// `entries`.
///
/// # Errors
/// An entry that the policy names and that reaches beyond the range.
pub(super) fn exactly(entries: &[Entry], range: &[Prefix]) -> Result<Vec<Change>, String> {
    let (Some(front), Some(back)) = (range.first(), range.last()) else {
        return Ok(Vec::new());
    };
    let (first, last) = (ends(front).0, ends(back).1);
    let known: HashMap<Prefix, &Entry> = entries.iter().map(|it| (it.prefix, it)).collect();
    let (mut rest, mut gone) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|it| it.prefix.is_v6 == front.is_v6) {
        let (begin, end) = ends(&entry.prefix);
        if end < first || begin > last {
            continue;
        }
        gone.push(Change::Remove(entry.prefix));
        if begin >= first && end <= last {
            continue;
        }
        if entry.origin == Origin::Policy {
            return Err(format!(
                "{} reaches beyond the range, and the policy names it",
                text(&entry.prefix)
            ));
        }
        let below = (begin < first).then(|| between(begin, first - 1, front.is_v6));
        let above = (end > last).then(|| between(last + 1, end, front.is_v6));
        for piece in below.into_iter().chain(above).flatten() {
            // One that is there by itself and stays as long keeps its end.
            let stays = known
                .get(&piece)
                .is_some_and(|it| match (it.left, entry.left) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(own), Some(other)) => own >= other,
                });
            if !stays {
                rest.push(Change::Add(piece, entry.left));
            }
        }
    }
    if gone.is_empty() {
        gone.extend(range.iter().copied().map(Change::Remove));
    }
    // What is added first fails as a whole where there is no room.
    rest.append(&mut gone);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::entry::parse;
    use std::collections::HashSet;
    use std::time::Duration;

    fn entry(prefix: Prefix, left: Option<u64>) -> Entry {
        Entry {
            id: 0,
            prefix,
            left: left.map(Duration::from_secs),
            origin: Origin::Command,
        }
    }

    fn entries(words: &[&str]) -> Vec<Entry> {
        let all = words.iter().flat_map(|word| parse(word).expect("an entry"));
        all.map(|prefix| entry(prefix, None)).collect()
    }

    /// The set after some changes.
    fn changed(entries: &[Entry], changes: &[Change]) -> HashSet<Prefix> {
        let mut set: HashSet<Prefix> = entries.iter().map(|it| it.prefix).collect();
        for change in changes {
            match change {
                Change::Add(prefix, _) => set.insert(*prefix),
                Change::Remove(prefix) => set.remove(prefix),
            };
        }
        set
    }

    fn holds(set: &HashSet<Prefix>, address: u128) -> bool {
        set.iter()
            .any(|it| (ends(it).0..=ends(it).1).contains(&address))
    }

    #[test]
    fn a_part_of_a_range_is_taken_out_exactly() {
        let before = entries(&["10.0.0.100-10.0.0.200"]);
        let range = parse("10.0.0.110-10.0.0.190").expect("a range");
        let after = changed(&before, &exactly(&before, &range).expect("changes"));
        for last in 0..=255u128 {
            let address = 0x0a00_0000 + last;
            let stays = (100..=200).contains(&last) && !(110..=190).contains(&last);
            assert_eq!(holds(&after, address), stays, "10.0.0.{last}");
        }
    }

    #[test]
    fn the_rest_of_an_entry_stays_as_long_as_the_entry_would_have() {
        let whole = parse("10.0.0.0/30").expect("a prefix")[0];
        let part = parse("10.0.0.0").expect("an address")[0];
        let before = [entry(whole, Some(60)), entry(part, Some(90))];
        let range = parse("10.0.0.1-10.0.0.2").expect("a range");
        let changes = exactly(&before, &range).expect("changes");
        let added: Vec<String> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Add(prefix, left) => Some(format!("{} {left:?}", text(prefix))),
                Change::Remove(_) => None,
            })
            .collect();
        // The address that is there by itself keeps its own end.
        assert_eq!(added, ["10.0.0.3 Some(60s)"]);
    }

    #[test]
    fn what_the_policy_names_is_not_cut() {
        let mut before = entries(&["10.0.0.0/24", "10.0.0.7"]);
        before[0].origin = Origin::Policy;
        let range = parse("10.0.0.7-10.0.0.8").expect("a range");
        let error = exactly(&before, &range).expect_err("refused");
        assert!(error.contains("10.0.0.0/24"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let range = parse("10.0.0.7-10.0.0.8").expect("a range");
        let changes = exactly(&entries(&["10.0.1.0/24", "2001:db8::/32"]), &range);
        let removed: Vec<Change> = range.iter().copied().map(Change::Remove).collect();
        assert_eq!(changes.expect("changes"), removed);
    }

    #[test]
    fn every_address_is_where_it_belongs() {
        // Sets of up to seven entries among 64 addresses, and ranges of them: always the same ones.
        let mut state = 0x9e37_79b9u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..2_000 {
            let own = (0..next(8)).map(|_| {
                let (at, length) = (next(64), 26 + next(7));
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                firewall_policy::prefixes::prefix_v4(at & !host, length)
            });
            let set: HashSet<Prefix> = own.collect();
            let before: Vec<Entry> = set.iter().map(|it| entry(*it, None)).collect();
            let (one, other) = (next(64), next(64));
            let taken = u128::from(one.min(other))..=u128::from(one.max(other));
            let range = between(*taken.start(), *taken.end(), 0);
            let after = changed(&before, &exactly(&before, &range).expect("changes"));
            for address in 0..64u128 {
                let stays = holds(&set, address) && !taken.contains(&address);
                assert_eq!(
                    holds(&after, address),
                    stays,
                    "{address} {before:?} {range:?}"
                );
            }
        }
    }
}
