//! Address to row. Two forms, both for arbitrary ranges: the address space is cut into intervals
//! with equal rows, and the lookup finds the last interval that starts at or before the address.
//!
//! **Tree** (`addr_form::TREE`): a static B+-tree without pointers over the starts of all intervals
//! but the first, 8 keys of `u64` a node, which is one cache line (Khuong and Morin, "Array layouts
//! for comparison-based searching", JEA 2017). Child `r` of node `i` is node `9 i + r` of the next
//! level; position `p` among the keys of the last level is interval `p`. An IPv6 interval start
//! counts by its upper 64 bits. If ranges begin or end inside one such value, its reference has bit
//! 31 set and names a *low block*, which is searched by the lower 64 bits.
//!
//! **Root** (`addr_form::ROOT`), IPv4 only: DXR (Zec, Rizzo and Mikuc, CCR 2012). The upper 16 bits
//! index `u32` entries, and an entry names a bucket of interval starts as `u16` keys. Equal buckets
//! are stored once.
//!
//! Buckets and low blocks hold `n = (4 + m) << e` starts, the first of them 0, then `n` references.
//! What is over is padded with the last. So a search needs no lengths that are not powers of two:
//! one probe decides between the first and the last `4 << e`, and halving does the rest.
//!
//! Comparisons are arithmetic, not branches: their outcomes are random, and a branch predicted
//! wrongly costs more than a whole node.

use super::row_offset;
use crate::abi::{AddrConfig, Config, TREE_LEVELS, addr_form};
use crate::machine::Machine;

/// Marks a reference to a low block.
pub(super) const LOW_BLOCK: u32 = 1 << 31;

/// Halvings that the search of a low block makes at most: blocks have up to 7 << 22 starts.
const LOW_HALVINGS: u32 = 24;

/// Byte offset of the row of address (`key`, `low`). `long`: keys use all 64 bits.
#[inline(always)]
pub(super) fn row<M: Machine>(
    machine: &M,
    (key, low): (u64, u64),
    long: bool,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u64 {
    let rows = machine.constant(|c| &pick(c).rows);
    let wide = machine.constant(|c| &pick(c).wide) != 0;
    if !long && machine.constant(|c| &pick(c).form) == addr_form::ROOT {
        let root = machine.constant(|c| &pick(c).levels[0]);
        let entry = machine.table_u32(u64::from(root) + (key >> 16) * 4);
        let bucket = u64::from(entry >> 7) * 8;
        let position = bucket_search::<M, false>(machine, bucket, entry, key & 0xffff);
        let values = bucket + 2 * bucket_size(entry);
        return row_offset(rows, reference(machine, values, position, wide));
    }
    let position = tree_search(machine, key, long, pick);
    let values = u64::from(machine.constant(|c| &pick(c).values));
    let found = reference(machine, values, position, wide);
    if !long || machine.constant(|c| &pick(c).has_low) == 0 || found & LOW_BLOCK == 0 {
        return row_offset(rows, found);
    }
    let header = u64::from(found ^ LOW_BLOCK) * 8;
    let entry = machine.table_u32(header);
    let block = header + 8;
    let position = bucket_search::<M, true>(machine, block, entry, low);
    let values = block + 8 * bucket_size(entry);
    row_offset(rows, reference(machine, values, position, wide))
}

/// Entry `position` of an array of references.
#[inline(always)]
fn reference<M: Machine>(machine: &M, values: u64, position: u64, wide: bool) -> u32 {
    if wide {
        machine.table_u32(values + position * 4)
    } else {
        machine.table_u16(values + position * 2)
    }
}

/// How many keys are at or below `key`.
#[inline(always)]
fn tree_search<M: Machine>(
    machine: &M,
    key: u64,
    long: bool,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u64 {
    let depth = machine.constant(|c| &pick(c).depth);
    let mut node = 0;
    for level in 0..TREE_LEVELS as u32 - 1 {
        if level + 1 >= depth {
            break;
        }
        let offset = u64::from(machine.constant(|c| &pick(c).levels[level as usize & 7]));
        let keys = machine.table_line(offset + node * 64);
        // Upper levels of long keys hold the upper 63 bits. Where they cannot tell a key from the
        // first one of a child, the child is entered at its position 0: the same position.
        let above = if long { (key >> 1) + 1 } else { key + 1 };
        let mut rank = 0;
        for k in keys {
            rank += below_63(k, above);
        }
        node = node * 9 + rank;
    }
    let leaf = depth.wrapping_sub(1) as usize & 7;
    let offset = u64::from(machine.constant(|c| &pick(c).levels[leaf]));
    let keys = machine.table_line(offset + node * 64);
    let mut rank = 0;
    for k in keys {
        rank += if long {
            1 - below(key, k)
        } else {
            below_63(k, key + 1)
        };
    }
    node * 8 + rank
}

/// How many starts a bucket holds, padding included: `(4 + m) << e`.
#[inline(always)]
fn bucket_size(entry: u32) -> u64 {
    u64::from(4 + (entry & 3)) << (entry >> 2 & 31)
}

/// The last position in a bucket whose start is at or below `key`. `LONG`: keys of 64 bits, else
/// of 16 bits.
#[inline(always)]
fn bucket_search<M: Machine, const LONG: bool>(
    machine: &M,
    bucket: u64,
    entry: u32,
    key: u64,
) -> u64 {
    let e = entry >> 2 & 31;
    // 1 if the start at `position` is at or below the key.
    let reached = |position: u64| {
        if LONG {
            1 - below(key, machine.table_u64(bucket + position * 8))
        } else {
            below_63(u64::from(machine.table_u16(bucket + position * 2)), key + 1)
        }
    };
    let over = u64::from(entry & 3) << e;
    let mut position = over & reached(over).wrapping_neg();
    let mut half = 2u64 << e;
    for _ in 0..if LONG { LOW_HALVINGS } else { 16 } {
        if half == 0 {
            break;
        }
        position += half & reached(position + half).wrapping_neg();
        half >>= 1;
    }
    position
}

/// 1 if `a < b`, for numbers up to 2^63.
#[inline(always)]
const fn below_63(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b) >> 63
}

/// 1 if `a < b` (Warren, Hacker's Delight, 2-12).
#[inline(always)]
const fn below(a: u64, b: u64) -> u64 {
    ((!a & b) | ((!a | b) & a.wrapping_sub(b))) >> 63
}
