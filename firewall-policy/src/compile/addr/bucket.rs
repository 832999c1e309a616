//! Buckets of sorted starts: the IPv4 root's, and the low blocks of IPv6.

use super::super::blob::Blob;
use super::super::encode::LaneRows;
use super::super::hash::FastMap;
use super::super::rows::RowId;
use firewall_common::abi::{AddrConfig, LowHead, RootEntry, SizeCode, addr_form};

/// Writes a low block and returns its offset in units of 8 bytes. The first of `starts` is 0.
pub(super) fn write_low(starts: &[(u64, u32)], blob: &mut Blob) -> u32 {
    let offset = blob.align(8);
    if let Some((ground, first, free, reference)) = only_prefix(starts) {
        blob.put(LowHead::of_prefix(free));
        blob.u32(ground);
        blob.u64(first);
        blob.u32(reference);
        return (offset / 8) as u32;
    }
    let code = SizeCode::for_count(starts.len());
    let last = starts[starts.len() - 1];
    let padded = || {
        starts
            .iter()
            .copied()
            .chain(std::iter::repeat(last))
            .take(code.size() as usize)
    };
    blob.put(LowHead::of_starts(code));
    blob.u32(0);
    padded().for_each(|(start, _)| blob.u64(start));
    padded().for_each(|(_, reference)| blob.u32(reference));
    (offset / 8) as u32
}

/// If `starts` are one prefix and the same reference on both sides: that reference, the prefix's
/// first value, how many bits it leaves free, and its reference.
fn only_prefix(starts: &[(u64, u32)]) -> Option<(u32, u64, u32, u32)> {
    let (ground, first, last, reference) = match *starts {
        [(0, reference), (end, ground)] if end.is_power_of_two() => (ground, 0, end - 1, reference),
        [(0, ground), (first, reference)] => (ground, first, u64::MAX, reference),
        [(0, ground), (first, reference), (end, after)] if after == ground => {
            (ground, first, end - 1, reference)
        }
        _ => return None,
    };
    let free = (last - first).wrapping_add(1).trailing_zeros();
    let is_prefix = first.checked_add((1u64.checked_shl(free)?) - 1) == Some(last)
        && first & (last - first) == 0;
    is_prefix.then_some((ground, first, free, reference))
}

/// Writes a root by upper 16 bits and its buckets.
pub(super) fn write_root(
    intervals: &[(u32, RowId)],
    rows: &LaneRows,
    blob: &mut Blob,
    what: &str,
    config: &mut AddrConfig,
) {
    let wide = config.wide != 0;
    config.form = addr_form::ROOT;
    let mut entries: Vec<RootEntry> = Vec::with_capacity(1 << 16);
    let mut known: FastMap<Vec<(u16, u32)>, RootEntry> = FastMap::default();
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
                let code = SizeCode::for_count(bucket.len());
                let last = bucket[bucket.len() - 1];
                let padded = || {
                    bucket
                        .iter()
                        .copied()
                        .chain(std::iter::repeat(last))
                        .take(code.size() as usize)
                };
                padded().for_each(|(key, _)| blob.u16(key));
                padded().for_each(|(_, reference)| blob.reference(reference, wide));
                let entry = RootEntry::new(offset as u32, code);
                known.insert(bucket, entry);
                entry
            }
        };
        entries.push(entry);
    }
    blob.report(format!("{what}: buckets"), known.len(), start);
    let start = blob.align(64);
    config.levels[0] = start as u32;
    entries.iter().for_each(|&entry| blob.put(entry));
    blob.report(format!("{what}: root"), entries.len(), start);
}

#[cfg(test)]
mod tests {
    use super::only_prefix;

    #[test]
    fn a_low_block_with_one_prefix_is_recognised() {
        let top = 1 << 63;
        assert_eq!(only_prefix(&[(0, 1), (9, 2), (10, 1)]), Some((1, 9, 0, 2)));
        assert_eq!(only_prefix(&[(0, 1), (8, 2), (16, 1)]), Some((1, 8, 3, 2)));
        assert_eq!(only_prefix(&[(0, 2), (1, 1)]), Some((1, 0, 0, 2)));
        assert_eq!(only_prefix(&[(0, 2), (top, 1)]), Some((1, 0, 63, 2)));
        assert_eq!(
            only_prefix(&[(0, 1), (top + top / 2, 2)]),
            Some((1, top + top / 2, 62, 2))
        );
        assert_eq!(
            only_prefix(&[(0, 1), (u64::MAX, 2)]),
            Some((1, u64::MAX, 0, 2))
        );
        // Not a power of two, not aligned, another reference behind, more than one.
        assert_eq!(only_prefix(&[(0, 1), (8, 2), (11, 1)]), None);
        assert_eq!(only_prefix(&[(0, 1), (9, 2), (11, 1)]), None);
        assert_eq!(only_prefix(&[(0, 1), (9, 2), (10, 3)]), None);
        assert_eq!(only_prefix(&[(0, 1), (3, 2)]), None);
        assert_eq!(only_prefix(&[(0, 1), (9, 2), (10, 1), (11, 2)]), None);
    }
}
