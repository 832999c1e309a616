//! The one page of a table that is on the screen.
//!
//! A snapshot may hold 131,072 ports and is shown every second, so [`page`] never sorts them all:
//! it reads each sort key once, keeps the best up to the page's end (by selection whenever twice as
//! many have come together: O(n) for all), and sorts only the page.
//!
//! Invariant: the order is total (ties go by total packets, then by port, rule or source order), so
//! rows with equal keys do not trade places from one second to the next.

use super::super::options::Tab;
use super::{Sort, by_words, len, row};
use firewall_api::view::Snapshot;
use std::cmp::Ordering;

/// Rows that a table shows of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::tui) struct Page {
    /// Indices into the snapshot, in the order of the screen.
    pub(in crate::tui) rows: Vec<usize>,
    /// Rows that the filter lets through.
    pub(in crate::tui) total: usize,
}

/// What [`page`] is asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::tui) struct Query<'a> {
    /// The table.
    pub(in crate::tui) tab: Tab,
    /// Its order.
    pub(in crate::tui) sort: Sort,
    /// Part of a name; empty for all rows.
    pub(in crate::tui) filter: &'a str,
}

/// How many rows the filter lets through.
pub(in crate::tui) fn count(snapshot: &Snapshot, query: Query<'_>) -> usize {
    if query.filter.is_empty() {
        len(snapshot, query.tab)
    } else {
        indices(snapshot, query).count()
    }
}

/// Rows `first..first + rows` in the query's order.
pub(in crate::tui) fn page(
    snapshot: &Snapshot,
    query: Query<'_>,
    first: usize,
    rows: usize,
) -> Page {
    let by = query.sort.by;
    let at = |index: u32| row(snapshot, query.tab, index as usize);
    let words = |key: &Key| at(key.index).map(|row| row.text(by)).unwrap_or_default();
    let is_text = by_words(by);
    let compare = |a: &Key, b: &Key| {
        let main = if is_text {
            words(a).cmp(&words(b))
        } else {
            a.value.total_cmp(&b.value)
        };
        let main = if query.sort.descending {
            main.reverse()
        } else {
            main
        };
        main.then_with(|| a.ties(b))
    };
    let wanted = first.saturating_add(rows);
    let room = wanted.saturating_mul(2).saturating_add(SLACK);
    let (mut keys, mut total, mut worst) = (Vec::new(), 0, None);
    for index in indices(snapshot, query) {
        let Some(row) = at(index) else { continue };
        total += 1;
        let packets = row.total().packets;
        let key = Key {
            value: row.value(by),
            packets,
            order: row.order(),
            index,
        };
        if worst
            .as_ref()
            .is_some_and(|worst| compare(&key, worst).is_ge())
        {
            continue;
        }
        keys.push(key);
        if keys.len() == room {
            worst = Some(*keys.select_nth_unstable_by(wanted, compare).1);
            keys.truncate(wanted);
        }
    }
    if wanted < keys.len() {
        keys.select_nth_unstable_by(wanted, compare);
        keys.truncate(wanted);
    }
    let first = first.min(keys.len());
    if 0 < first && first < keys.len() {
        keys.select_nth_unstable_by(first, compare);
    }
    let shown = &mut keys[first..];
    shown.sort_unstable_by(compare);
    Page {
        rows: shown.iter().map(|key| key.index as usize).collect(),
        total,
    }
}

/// Keys kept beyond those of two pages before the worse ones are thrown out: enough to make that
/// rare, few enough to stay in the cache.
const SLACK: usize = 1024;

/// Indices of the rows that the filter lets through, in the snapshot's order.
fn indices<'a>(snapshot: &'a Snapshot, query: Query<'a>) -> impl Iterator<Item = u32> + 'a {
    let filter = query.filter.to_lowercase();
    let mut scratch = String::new();
    // No table comes near 2^32 rows: ports end at 131,072, rules at what a policy file can hold.
    let len = u32::try_from(len(snapshot, query.tab)).unwrap_or(u32::MAX);
    (0..len).filter(move |index| {
        filter.is_empty()
            || row(snapshot, query.tab, *index as usize)
                .is_some_and(|row| row.matches(&filter, &mut scratch))
    })
}

/// A row's sort key, read once: comparing touches no snapshot memory for columns of numbers.
#[derive(Clone, Copy)]
struct Key {
    value: f64,
    packets: u64,
    order: u32,
    index: u32,
}

impl Key {
    /// The order of rows with equal values.
    fn ties(&self, other: &Self) -> Ordering {
        other
            .packets
            .cmp(&self.packets)
            .then(self.order.cmp(&other.order))
            .then(self.index.cmp(&other.index))
    }
}
