//! Address to row. Three forms, all for arbitrary ranges: the address space is cut into intervals
//! with equal rows, and the lookup finds the last interval that starts at or before the address.
//!
//! | form | for | file |
//! |---|---|---|
//! | `addr_form::TREE` | few intervals, both families | [`tree`] |
//! | `addr_form::ROOT` | many intervals, IPv4 | [`bucket`] |
//! | `addr_form::BRANCH` | many intervals, IPv6 | [`branch`] |
//!
//! An IPv6 interval start counts by its upper 64 bits. If ranges begin or end inside one such
//! value, its reference has bit 31 set and names a *low block* ([`bucket`]), which is searched by
//! the lower 64 bits.
//!
//! Comparisons are arithmetic, not branches: their outcomes are random, and a branch predicted
//! wrongly costs more than a whole node.

mod branch;
mod bucket;
mod tree;

use super::row_offset;
use crate::abi::{AddrConfig, Config, LOW_BLOCK, addr_form};
use crate::machine::Machine;

/// Byte offset of the row of address (`key`, `low`). `long`: keys use all 64 bits.
#[inline(always)]
pub(super) fn row<M: Machine>(
    machine: &M,
    (key, low): (u64, u64),
    long: bool,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u64 {
    let rows = machine.constant(|c| &pick(c).rows);
    let form = machine.constant(|c| &pick(c).form);
    let found = if long && form == addr_form::BRANCH {
        branch::search(machine, key, pick)
    } else if !long && form == addr_form::ROOT {
        bucket::search_root(machine, key, pick)
    } else {
        tree::search(machine, key, long, pick)
    };
    if long && machine.constant(|c| &pick(c).has_low) != 0 && found & LOW_BLOCK != 0 {
        let block = u64::from(found ^ LOW_BLOCK) * 8;
        return row_offset(rows, bucket::search_low(machine, block, low));
    }
    row_offset(rows, found)
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
