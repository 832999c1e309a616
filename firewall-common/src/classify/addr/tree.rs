//! A static B+-tree without pointers over the starts of all intervals but the first, 8 keys of
//! `u64` a node, which is one cache line (Khuong and Morin, "Array layouts for comparison-based
//! searching", JEA 2017). Child `r` of node `i` is node `9 i + r` of the next level; position `p`
//! among the keys of the last level is interval `p`. References stand in an array of their own.

use super::{below, below_63, reference};
use crate::abi::{AddrConfig, Config, TREE_LEVELS};
use crate::machine::Machine;

/// The reference of the interval that holds `key`.
#[inline(always)]
pub(super) fn search<M: Machine>(
    machine: &M,
    key: u64,
    long: bool,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u32 {
    let position = position(machine, key, long, pick);
    let values = u64::from(machine.constant(|c| &pick(c).values));
    let wide = machine.constant(|c| &pick(c).wide) != 0;
    reference(machine, values, position, wide)
}

/// How many keys are at or below `key`.
#[inline(always)]
fn position<M: Machine>(
    machine: &M,
    key: u64,
    long: bool,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u64 {
    let depth = machine.constant(|c| &pick(c).depth);
    let mut node = 0;
    // One by one, because the place of each level is a constant of the generation then.
    macro_rules! levels {
        ($($level:literal)*) => { $(
            const { assert!($level < TREE_LEVELS) };
            if $level < depth {
                let offset = u64::from(machine.constant(|c| &pick(c).levels[$level]));
                node = child(machine, key, long, offset, node);
            }
        )* };
    }
    levels!(7 6 5 4 3 2 1);
    let offset = u64::from(machine.constant(|c| &pick(c).levels[0]));
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

/// The child to go on with at `node` of the level at byte `offset`.
#[inline(always)]
fn child<M: Machine>(machine: &M, key: u64, long: bool, offset: u64, node: u64) -> u64 {
    let keys = machine.table_line(offset + node * 64);
    // Upper levels of long keys hold the upper 63 bits. Where they cannot tell a key from the
    // first one of a child, the child is entered at its position 0: the same position.
    let above = if long { (key >> 1) + 1 } else { key + 1 };
    let mut rank = 0;
    for k in keys {
        rank += below_63(k, above);
    }
    node * 9 + rank
}
