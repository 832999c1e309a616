//! The root with B+-trees below it: [`firewall_common::classify`]'s form for many IPv6 intervals.

use super::super::blob::Blob;
use firewall_common::abi::{AddrConfig, BranchEntry, BranchReference, addr_form};

/// Keys of a leaf.
const KEYS: usize = 5;

/// Intervals that a leaf holds if they are prefixes and gaps in turn.
const LEAF: usize = 2 * KEYS;

/// The length of a reference that holds up to the next key. No interval is longer: see [`write`].
const UNLIMITED: u32 = 63;

/// Children of a node.
const CHILDREN: usize = 8;

/// Bits of a root's index: from 1 KiB of entries to 1 MiB, which the second-level cache holds.
const ROOT_BITS: std::ops::RangeInclusive<u32> = 8..=18;

/// Intervals that an entry of the root has below it, about.
const FILL: usize = 8;

/// Starts that the choice of a window looks at.
const SAMPLES: usize = 16_384;

/// Writes the lookup structure for intervals that begin at `starts`, the first of which is 0.
pub(super) fn write(
    starts: &[u64],
    values: &[u32],
    blob: &mut Blob,
    what: &str,
    config: &mut AddrConfig,
) {
    let window = Window::choose(starts);
    config.form = addr_form::BRANCH;
    config.base_high = (window.base >> 32) as u32;
    config.base_low = window.base as u32;
    config.shift = window.shift;
    config.last = window.last as u32;

    let start = blob.align(64);
    let mut entries: Vec<BranchEntry> = Vec::with_capacity(window.last as usize + 1);
    let mut bucket: Vec<(u64, u32)> = Vec::new();
    // The leaf for entries without a start inside, by the reference that holds all through them.
    let mut whole: Option<(u32, BranchEntry)> = None;
    let (mut next, mut before) = (0, 0);
    for index in 0..=window.last {
        bucket.clear();
        let lowest = window.lowest(index);
        if starts.get(next).is_none_or(|&first| first != lowest) {
            bucket.push((lowest, before));
        }
        while let Some(&first) = starts.get(next)
            && window.index(first) == index
        {
            before = values[next];
            bucket.push((first, before));
            next += 1;
        }
        halve(&mut bucket);
        let ends = index == window.index(u64::MAX);
        let entry = match (whole, bucket.as_slice()) {
            (Some((reference, entry)), &[(_, only)]) if only == reference => entry,
            (_, &[(_, only)]) => {
                let entry = tree(&bucket, ends, blob);
                whole = Some((only, entry));
                entry
            }
            _ => tree(&bucket, ends, blob),
        };
        entries.push(entry);
    }
    blob.report(format!("{what}: trees"), starts.len(), start);
    let start = blob.align(64);
    config.levels[0] = start as u32;
    entries.iter().for_each(|&entry| blob.put(entry));
    blob.report(format!("{what}: root"), entries.len(), start);
}

/// Cuts an interval of more than 2^63 values in two: a length of [`UNLIMITED`] does not reach
/// further. There is at most one.
fn halve(bucket: &mut Vec<(u64, u32)>) {
    let long = (0..bucket.len()).find(|&i| {
        let last = bucket.get(i + 1).map_or(u64::MAX, |&(start, _)| start - 1);
        last - bucket[i].0 >= 1 << UNLIMITED
    });
    if let Some(i) = long {
        let (start, reference) = bucket[i];
        bucket.insert(i + 1, (start + (1 << UNLIMITED), reference));
    }
}

/// Writes the tree of one root entry and returns the entry. `ends`: `u64::MAX` belongs to it.
fn tree(bucket: &[(u64, u32)], ends: bool, blob: &mut Blob) -> BranchEntry {
    let copies = |lines: usize| match lines {
        _ if !ends => 0,
        1 => 0,
        _ => lines.next_multiple_of(CHILDREN) - lines,
    };
    let mut first_line = blob.align(64) / 64;
    let mut lowest: Vec<u64> = Vec::with_capacity(bucket.len().div_ceil(LEAF));
    let mut rest = bucket;
    while let Some(&(start, _)) = rest.first() {
        lowest.push(start);
        let (leaf, taken) = leaf(rest);
        blob.bytes(bytemuck::cast_slice(&leaf));
        if taken == rest.len() {
            (0..copies(lowest.len())).for_each(|_| blob.bytes(bytemuck::cast_slice(&leaf)));
        }
        rest = &rest[taken..];
    }

    let mut depth = 0;
    while lowest.len() > 1 {
        let children = first_line;
        first_line = blob.align(64) / 64;
        let nodes = lowest.len().div_ceil(CHILDREN);
        let all = (0..nodes).chain(std::iter::repeat_n(nodes - 1, copies(nodes)));
        for number in all {
            let keys = &lowest[number * CHILDREN..];
            (1..CHILDREN).for_each(|i| blob.u64(keys.get(i).copied().unwrap_or(u64::MAX)));
            blob.u64((children + number * CHILDREN) as u64);
        }
        lowest = lowest.chunks(CHILDREN).map(|keys| keys[0]).collect();
        depth += 1;
    }
    BranchEntry::new(first_line as u32, depth)
}

/// A leaf for the first of `intervals`, and how many it holds.
fn leaf(intervals: &[(u64, u32)]) -> ([u32; 16], usize) {
    let ground = intervals[0].1;
    let mut references = [BranchReference::new(ground, 0); 1 + KEYS];
    let mut keys = [u64::MAX; KEYS];
    let mut taken = 1;
    let mut used = 0;
    // What holds behind the last key.
    let mut end = ground;
    while used < KEYS
        && let Some(&(start, reference)) = intervals.get(taken)
    {
        // The last key leaves its gap to the next leaf, whose ground it becomes.
        let gap = intervals.get(taken + 1).filter(|&&(after, then)| {
            then == ground && (after - start).is_power_of_two() && used + 1 < KEYS
        });
        let length = match gap {
            Some(&(after, _)) => (after - start).trailing_zeros(),
            None => UNLIMITED,
        };
        keys[used] = start;
        references[1 + used] = BranchReference::new(reference, length);
        used += 1;
        taken += 1 + usize::from(gap.is_some());
        end = if gap.is_some() { ground } else { reference };
    }
    references[1 + used..].fill(BranchReference::new(end, UNLIMITED));
    let mut words = [0; 16];
    words[..=KEYS].copy_from_slice(bytemuck::cast_slice(&references));
    words[1 + KEYS..].copy_from_slice(bytemuck::cast_slice(&keys));
    (words, taken)
}

/// Which bits of a key the root looks at.
#[derive(Clone, Copy)]
struct Window {
    base: u64,
    shift: u32,
    last: u64,
}

impl Window {
    /// The window that makes the trees lowest. Candidates begin at the first start, or leave one
    /// start in 128 below it, and look at any run of bits.
    fn choose(starts: &[u64]) -> Self {
        let bits = (starts.len() / FILL)
            .max(1)
            .next_power_of_two()
            .ilog2()
            .clamp(*ROOT_BITS.start(), *ROOT_BITS.end());
        let last = (1 << bits) - 1;
        let step = starts.len().div_ceil(SAMPLES);
        let samples: Vec<u64> = starts[1..].iter().copied().step_by(step).collect();
        let top = starts[starts.len() - 1];
        let mut best = (
            usize::MAX,
            Self {
                base: 0,
                shift: 64 - bits,
                last,
            },
        );
        for base in [starts[1], starts[starts.len() / 128]] {
            let whole = (64 - top.saturating_sub(base).leading_zeros()).saturating_sub(bits);
            for shift in (0..=whole).rev() {
                let window = Self { base, shift, last };
                let cost = samples
                    .chunk_by(|&a, &b| window.index(a) == window.index(b))
                    .map(|bucket| bucket.len() * height(bucket.len() * step))
                    .sum();
                if cost < best.0 {
                    best = (cost, window);
                }
            }
        }
        best.1
    }

    /// The root's entry for `key`, as the walk finds it.
    fn index(self, key: u64) -> u64 {
        (key.saturating_sub(self.base) >> self.shift).min(self.last)
    }

    /// The lowest key of entry `index`.
    fn lowest(self, index: u64) -> u64 {
        if index == 0 {
            return 0;
        }
        self.base.saturating_add(index << self.shift)
    }
}

/// Nodes above a leaf of a tree with `starts` starts.
fn height(starts: usize) -> usize {
    let mut lines = starts.div_ceil(LEAF);
    let mut height = 0;
    while lines > 1 {
        lines = lines.div_ceil(CHILDREN);
        height += 1;
    }
    height
}
