//! The static B+-tree: [`firewall_common::classify`]'s form for few intervals.

use super::super::blob::Blob;
use firewall_common::abi::{AddrConfig, TREE_LEVELS, addr_form};

/// Writes a static B+-tree over `starts`, the first of which is 0 and not among the keys.
pub(super) fn write(
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
    // In the order in which they are read.
    for (offset, level) in config.levels.iter_mut().zip(&levels).rev() {
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
