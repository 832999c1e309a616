//! Addresses: intervals to the two lookup forms that [`firewall_common::classify`] describes.

use super::blob::Blob;
use super::encode::{Encoder, LaneRows};
use super::hash::FastMap;
use super::rows::RowId;
use firewall_common::abi::{AddrConfig, TREE_LEVELS, addr_form};

/// Up to so many interval starts, IPv4 addresses get a tree: it stays in the nearest cache.
const SMALL_TREE: usize = 512;

/// Marks a reference to a low block: see `classify::addr`.
const LOW_BLOCK: u32 = 1 << 31;

/// An address family's way to encode its intervals.
pub(super) trait Encode: Copy {
    /// Writes the lookup structure and the rows for `intervals`.
    fn encode(
        intervals: &[(Self, RowId)],
        blob: &mut Blob,
        encoder: &mut Encoder<'_>,
        what: &str,
    ) -> AddrConfig;
}

impl Encode for u32 {
    fn encode(
        intervals: &[(Self, RowId)],
        blob: &mut Blob,
        encoder: &mut Encoder<'_>,
        what: &str,
    ) -> AddrConfig {
        let rows = encoder.lane(blob, what, intervals.iter().map(|&(_, row)| row));
        let mut config = AddrConfig {
            wide: u32::from(rows.wide),
            rows: rows.offset,
            ..AddrConfig::default()
        };
        if intervals.len() <= SMALL_TREE {
            let starts: Vec<u64> = intervals
                .iter()
                .map(|&(start, _)| u64::from(start))
                .collect();
            let values: Vec<u32> = intervals
                .iter()
                .map(|&(_, row)| rows.reference(row))
                .collect();
            tree(&starts, &values, false, blob, what, &mut config);
        } else {
            root(intervals, &rows, blob, what, &mut config);
        }
        config
    }
}

impl Encode for u128 {
    fn encode(
        intervals: &[(Self, RowId)],
        blob: &mut Blob,
        encoder: &mut Encoder<'_>,
        what: &str,
    ) -> AddrConfig {
        let mut rows = encoder.lane(blob, what, intervals.iter().map(|&(_, row)| row));
        let low_half = |start: u128| start as u64;
        // Marked references need 32 bits.
        let has_low = intervals.iter().any(|&(start, _)| low_half(start) != 0);
        rows.wide |= has_low;
        let mut config = AddrConfig {
            wide: u32::from(rows.wide),
            has_low: u32::from(has_low),
            rows: rows.offset,
            ..AddrConfig::default()
        };
        let (mut starts, mut values): (Vec<u64>, Vec<u32>) = (Vec::new(), Vec::new());
        let low_start = blob.align(64);
        let mut low_blocks = 0;
        // Intervals that start under the same upper half.
        let mut inside = intervals.chunk_by(|a, b| a.0 >> 64 == b.0 >> 64).peekable();
        // The reference that holds up to the chunk's first start.
        let mut before = None;
        while let Some(chunk) = inside.next() {
            let high = (chunk[0].0 >> 64) as u64;
            let after = chunk.last().map(|&(_, row)| rows.reference(row));
            let whole = chunk.len() == 1 && low_half(chunk[0].0) == 0;
            starts.push(high);
            if whole {
                values.extend(after);
            } else {
                let mut lows: Vec<(u64, u32)> = Vec::with_capacity(chunk.len() + 1);
                if low_half(chunk[0].0) != 0 {
                    lows.extend(before.map(|reference| (0, reference)));
                }
                lows.extend(
                    chunk
                        .iter()
                        .map(|&(s, row)| (low_half(s), rows.reference(row))),
                );
                values.push(low_block(&lows, blob) | LOW_BLOCK);
                low_blocks += 1;
                // What follows the block's last start goes on after its upper half.
                let next = inside.peek().map(|chunk| (chunk[0].0 >> 64) as u64);
                if high != u64::MAX && next != Some(high + 1) {
                    starts.push(high + 1);
                    values.extend(after);
                }
            }
            before = after;
        }
        if has_low {
            blob.report(format!("{what}: low blocks"), low_blocks, low_start);
        }
        tree(&starts, &values, true, blob, what, &mut config);
        config
    }
}

/// The smallest `(m, e)` with `(4 + m) << e >= n`, as `e << 2 | m`, and that size.
fn size_code(n: usize) -> (u32, usize) {
    let mut code = 0;
    loop {
        let size = (4 + (code & 3)) << (code >> 2);
        if size >= n {
            return (code as u32, size);
        }
        code += 1;
    }
}

/// Writes a low block and returns its offset in units of 8 bytes.
fn low_block(starts: &[(u64, u32)], blob: &mut Blob) -> u32 {
    let offset = blob.align(8);
    let (code, size) = size_code(starts.len());
    let last = starts[starts.len() - 1];
    let padded = || {
        starts
            .iter()
            .copied()
            .chain(std::iter::repeat(last))
            .take(size)
    };
    blob.u64(u64::from(code));
    padded().for_each(|(start, _)| blob.u64(start));
    padded().for_each(|(_, reference)| blob.u32(reference));
    (offset / 8) as u32
}

/// Writes a static B+-tree over `starts`, the first of which is 0 and not among the keys.
fn tree(
    starts: &[u64],
    values: &[u32],
    long: bool,
    blob: &mut Blob,
    what: &str,
    config: &mut AddrConfig,
) {
    /// Keys of a node.
    const KEYS: usize = 8;
    /// Above every key of an upper level, and above every key that is not long.
    const BEYOND: u64 = 1 << 63;
    // From the leaves up.
    let mut level = starts[1..].to_vec();
    level.resize(
        level.len().next_multiple_of(KEYS).max(KEYS),
        if long { u64::MAX } else { BEYOND },
    );
    let positions = level.len() + 1;
    // The lowest key below every node of the level.
    let mut lowest: Vec<u64> = level.chunks(KEYS).map(|node| node[0]).collect();
    let mut levels = vec![level];
    while lowest.len() > 1 && levels.len() < TREE_LEVELS {
        let mut level = Vec::with_capacity(lowest.len() + KEYS);
        for children in lowest.chunks(KEYS + 1) {
            let end = level.len() + KEYS;
            level.extend(
                children[1..]
                    .iter()
                    .map(|&key| if long { key >> 1 } else { key }),
            );
            level.resize(end, BEYOND);
        }
        lowest = lowest
            .chunks(KEYS + 1)
            .map(|children| children[0])
            .collect();
        levels.push(level);
    }
    config.form = addr_form::TREE;
    config.depth = levels.len() as u32;
    let start = blob.align(64);
    for (offset, level) in config.levels.iter_mut().zip(levels.iter().rev()) {
        *offset = blob.len() as u32;
        level.iter().for_each(|&key| blob.u64(key));
    }
    blob.report(format!("{what}: tree"), starts.len(), start);
    let start = blob.align(64);
    config.values = start as u32;
    let padded = values
        .iter()
        .chain(values.last().into_iter().cycle())
        .take(positions);
    padded.for_each(|&value| blob.reference(value, config.wide != 0));
    blob.report(format!("{what}: intervals"), values.len(), start);
}

/// Writes a root by upper 16 bits and its buckets.
fn root(
    intervals: &[(u32, RowId)],
    rows: &LaneRows,
    blob: &mut Blob,
    what: &str,
    config: &mut AddrConfig,
) {
    let wide = config.wide != 0;
    config.form = addr_form::ROOT;
    let mut entries: Vec<u32> = Vec::with_capacity(1 << 16);
    let mut known: FastMap<Vec<(u16, u32)>, u32> = FastMap::default();
    let start = blob.align(64);
    let mut next = 0;
    let mut before = 0;
    for upper in 0..1u32 << 16 {
        let mut bucket: Vec<(u16, u32)> = vec![(0, before)];
        while let Some(&(first, row)) = intervals.get(next)
            && first >> 16 == upper
        {
            before = rows.reference(row);
            if first as u16 == 0 {
                bucket[0].1 = before;
            } else {
                bucket.push((first as u16, before));
            }
            next += 1;
        }
        let entry = match known.get(&bucket) {
            Some(&entry) => entry,
            None => {
                let offset = blob.align(8);
                let (code, size) = size_code(bucket.len());
                let last = bucket[bucket.len() - 1];
                let padded = || {
                    bucket
                        .iter()
                        .copied()
                        .chain(std::iter::repeat(last))
                        .take(size)
                };
                padded().for_each(|(key, _)| blob.u16(key));
                padded().for_each(|(_, reference)| blob.reference(reference, wide));
                let entry = ((offset / 8) as u32).wrapping_mul(128) | code;
                known.insert(bucket, entry);
                entry
            }
        };
        entries.push(entry);
    }
    blob.report(format!("{what}: buckets"), known.len(), start);
    let start = blob.align(64);
    config.levels[0] = start as u32;
    entries.iter().for_each(|&entry| blob.u32(entry));
    blob.report(format!("{what}: root"), entries.len(), start);
}
