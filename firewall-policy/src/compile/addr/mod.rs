//! Addresses: intervals to the lookup forms that [`firewall_common::classify`] describes, one file
//! a form. Picks the form by the number of intervals.

mod branch;
mod bucket;
mod tree;

use super::blob::Blob;
use super::encode::LaneRows;
use super::rows::RowId;
use crate::range::Number;
use firewall_common::abi::{AddrConfig, LIST_ENTRY_V4, LIST_ENTRY_V6, LOW_BLOCK};
use std::hash::Hash;

/// Up to so many interval starts, addresses get a tree: it stays in the nearest cache.
const SMALL_TREE: usize = 512;

/// An address of one family, and the family's way to encode its intervals.
pub(super) trait Address: Number + Hash + Into<u128> {
    /// How long an address is.
    const BITS: u32;

    /// Bytes of a list's entry.
    const LIST_ENTRY: u32;

    /// The lowest [`Self::BITS`] bits.
    fn truncate(bits: u128) -> Self;

    /// Writes prefix and mask of a list's entry.
    fn write_prefix(prefix: (Self, Self), blob: &mut Blob);

    /// Writes the lookup structure for `intervals`, whose rows (or blocks) are `rows`.
    fn encode(
        intervals: &[(Self, RowId)],
        rows: LaneRows,
        blob: &mut Blob,
        what: &str,
    ) -> AddrConfig;
}

impl Address for u32 {
    const BITS: u32 = 32;
    const LIST_ENTRY: u32 = LIST_ENTRY_V4;

    fn truncate(bits: u128) -> Self {
        bits as Self
    }

    fn write_prefix((prefix, mask): (Self, Self), blob: &mut Blob) {
        blob.u32(prefix);
        blob.u32(mask);
    }

    fn encode(
        intervals: &[(Self, RowId)],
        rows: LaneRows,
        blob: &mut Blob,
        what: &str,
    ) -> AddrConfig {
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
            tree::write(&starts, &values, false, blob, what, &mut config);
        } else {
            bucket::write_root(intervals, &rows, blob, what, &mut config);
        }
        config
    }
}

impl Address for u128 {
    const BITS: u32 = 128;
    const LIST_ENTRY: u32 = LIST_ENTRY_V6;

    fn truncate(bits: u128) -> Self {
        bits
    }

    fn write_prefix((prefix, mask): (Self, Self), blob: &mut Blob) {
        for word in [prefix >> 64, mask >> 64, prefix, mask] {
            blob.u64(word as u64);
        }
    }

    fn encode(
        intervals: &[(Self, RowId)],
        mut rows: LaneRows,
        blob: &mut Blob,
        what: &str,
    ) -> AddrConfig {
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
            starts.push(high);
            if chunk.len() == 1 && low_half(chunk[0].0) == 0 {
                values.extend(after);
            } else {
                let mut lows: Vec<(u64, u32)> = Vec::with_capacity(chunk.len() + 1);
                if low_half(chunk[0].0) != 0 {
                    lows.extend(before.map(|reference| (0, reference)));
                }
                lows.extend(
                    chunk
                        .iter()
                        .map(|&(start, row)| (low_half(start), rows.reference(row))),
                );
                values.push(bucket::write_low(&lows, blob) | LOW_BLOCK);
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
        if starts.len() <= SMALL_TREE {
            tree::write(&starts, &values, true, blob, what, &mut config);
        } else {
            branch::write(&starts, &values, blob, what, &mut config);
        }
        config
    }
}
