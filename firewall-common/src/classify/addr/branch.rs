//! Many IPv6 intervals: a root by some upper bits, and below each entry a B+-tree whose leaves hold
//! keys and references together. Most addresses cost two or three cache lines, wherever in the
//! address space the prefixes crowd.
//!
//! The root is indexed by `(key - base) >> shift`, held within the root: the compiler picks the
//! window in which the starts spread best, and whatever lies outside belongs to the first or the
//! last entry. An entry is `line << 4 | depth`: a line is 64 bytes of the tables, and `depth` nodes
//! stand above the leaf.
//!
//! | line | bytes |
//! |---|---|
//! | node | 7 keys of `u64`, the `u32` number of its first child's line (children are neighbours) |
//! | leaf | 6 references of `u32`, 5 keys of `u64` |
//!
//! As many keys as are at or below the address say which child. In a leaf they say which reference:
//! the first one is the *ground*, and the others belong to a key each. A set is mostly prefixes with
//! gaps between, so a reference carries a length: it holds for `2^length` addresses from its key on,
//! or up to the next key if that is nearer; and then the ground holds again. So a prefix takes one
//! key and not two.
//!
//! What is over in a line is padded with `u64::MAX` and what holds there. `u64::MAX` itself can thus
//! lead to children that a node does not have: in the tree of its entry each node has eight, the
//! last one copied.

use super::below;
use crate::abi::{AddrConfig, BRANCH_LEVELS, BranchEntry, BranchReference, Config};
use crate::machine::Machine;

/// The reference of the interval that holds `key`.
#[inline(always)]
pub(super) fn search<M: Machine>(
    machine: &M,
    key: u64,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u32 {
    let base = u64::from(machine.constant(|c| &pick(c).base_high)) << 32
        | u64::from(machine.constant(|c| &pick(c).base_low));
    let shift = machine.constant(|c| &pick(c).shift);
    let last = u64::from(machine.constant(|c| &pick(c).last));
    let root = u64::from(machine.constant(|c| &pick(c).levels[0]));
    let index = (key.saturating_sub(base) >> (shift & 63)).min(last);
    let entry = BranchEntry::from_word(machine.table_u32(root + index * 4));
    let (mut line, mut depth) = (entry.line(), entry.depth());
    for _ in 0..BRANCH_LEVELS {
        if depth == 0 {
            break;
        }
        depth -= 1;
        let node = machine.table_line(line * 64);
        let mut rank = 0;
        for &start in &node[..7] {
            rank += reached(key, start);
        }
        line = u64::from(node[7] as u32) + rank;
    }
    let at = line * 64;
    let leaf = machine.table_line(at);
    let mut rank = 0;
    for &start in &leaf[3..] {
        rank += reached(key, start);
    }
    // Rank 0 reads two references as a key; the choice is between the ground and the ground.
    let start = machine.table_u64(at + 16 + rank * 8);
    let found = u64::from(machine.table_u32(at + rank * 4));
    let ground = leaf[0] & 0xffff_ffff;
    let length = BranchReference::from_word(found as u32).length();
    let beyond = key.wrapping_sub(start) >> length;
    let is_beyond = (beyond | beyond.wrapping_neg()) >> 63;
    let chosen = found ^ ((found ^ ground) & is_beyond.wrapping_neg());
    BranchReference::from_word(chosen as u32).reference()
}

/// 1 if the interval that begins at `start` has begun at `key`.
#[inline(always)]
const fn reached(key: u64, start: u64) -> u64 {
    1 - below(key, start)
}
