//! The AND of all lanes' rows, from the top down, and the rules found in it.

use super::lanes::{self, LANES};
use super::{Family, Hit};
use crate::key::PacketKey;
use crate::machine::{Machine, Step};
use crate::verdict::Action;
use core::marker::PhantomData;

/// Set in [`Walk::found`] beside the rule's entry.
const FOUND: u64 = 1 << 63;

/// Rounds that suffice for every walk. A round takes up one node or handles up to 64 leaf words or
/// matching `next` rules; there are at most 64 nodes, 4,096 leaf words and 262,144 rules.
const ROUNDS: u32 = 8_192;

/// The first rule of family `F` that decides about `key`: its entry and [`FOUND`], or 0.
#[inline(always)]
pub(super) fn first_match<M: Machine, F: Family>(machine: &M, key: &PacketKey) -> u64 {
    if machine.constant(|c| &F::of(c).rules) == 0 {
        return 0;
    }
    let rows = lanes::rows::<M, F>(machine, key);
    let levels = machine.constant(|c| &F::of(c).levels);
    let mut both = u64::MAX;
    for lane in 0..LANES {
        if lanes::used::<M, F>(machine, lane) {
            both &= machine.table_u64(rows[lane]);
        }
    }
    if both == 0 {
        return 0;
    }
    let mut walk = Walk::<M, F> {
        machine: *machine,
        family: PhantomData,
        rows,
        nodes: rows,
        nodes_left: 0,
        leaves_left: 0,
        rules_left: 0,
        first_leaf: 0,
        first_rule: 0,
        found: 0,
    };
    match levels {
        1 => walk.rules_left = both,
        2 => walk.leaves_left = both,
        _ => walk.nodes_left = both,
    }
    // Nearly every packet is decided by its first round: only the others pay for the loop.
    if walk.step() && (levels > 2 || machine.constant(|c| &c.has_next) != 0) {
        machine.repeat(ROUNDS, &mut walk);
    }
    walk.found
}

/// What [`first_match`] found.
#[inline(always)]
pub(super) fn hit(found: u64) -> Option<Hit> {
    (found != 0).then_some(Hit {
        slot: found as u32,
        action: Action((found >> 32) as u8),
    })
}

/// Where the walk stands.
struct Walk<M, F> {
    machine: M,
    family: PhantomData<F>,
    /// Byte offsets of the lanes' rows.
    rows: [u64; LANES],
    /// Byte offsets of the lanes' present nodes.
    nodes: [u64; LANES],
    /// Nodes not yet visited (levels 3).
    nodes_left: u64,
    /// Leaf words of the present nodes not yet visited.
    leaves_left: u64,
    /// Matching rules of the present leaf word not yet looked at.
    rules_left: u64,
    /// Number of the present node's first leaf word.
    first_leaf: u64,
    /// Number of the present leaf word's first rule.
    first_rule: u64,
    /// The deciding rule's entry and [`FOUND`], or 0.
    found: u64,
}

impl<M: Machine, F: Family> Step for Walk<M, F> {
    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.rules_left | self.leaves_left == 0 {
            if self.nodes_left == 0 {
                return false;
            }
            self.enter_node();
        }
        for _ in 0..64 {
            if self.rules_left == 0 {
                if self.leaves_left == 0 {
                    break;
                }
                self.enter_leaf();
                if self.rules_left == 0 {
                    continue;
                }
            }
            let bit = lowest(self.rules_left);
            let rule = self.first_rule + index(bit);
            let entries = u64::from(self.machine.constant(|c| &F::of(c).entries));
            let entry = self.machine.table_u64(entries + rule * 8);
            if self.machine.constant(|c| &c.has_next) == 0 || (entry >> 32) as u8 != Action::NEXT.0
            {
                self.found = entry | FOUND;
                return false;
            }
            self.machine.count_rule(entry as u32);
            self.rules_left ^= bit;
        }
        true
    }
}

impl<M: Machine, F: Family> Walk<M, F> {
    /// Takes up the next node that every lane has.
    #[inline(always)]
    fn enter_node(&mut self) {
        let bit = lowest(self.nodes_left);
        self.nodes_left ^= bit;
        self.first_leaf = index(bit) * 64;
        let mut all = u64::MAX;
        for lane in 0..LANES {
            if lanes::used::<M, F>(&self.machine, lane) {
                let row = self.rows[lane];
                let children = self.machine.table_u64(row);
                let child = row + 8 + 4 * rank(children, bit);
                let node = u64::from(self.machine.table_u32(child)) * 8;
                self.nodes[lane] = node;
                all &= self.machine.table_u64(node);
            }
        }
        self.leaves_left = all;
    }

    /// Takes up the next leaf word that every lane has. Its AND can be 0.
    #[inline(always)]
    fn enter_leaf(&mut self) {
        let bit = lowest(self.leaves_left);
        self.leaves_left ^= bit;
        self.first_rule = (self.first_leaf + index(bit)) * 64;
        let mut all = u64::MAX;
        for lane in 0..LANES {
            if lanes::used::<M, F>(&self.machine, lane) {
                let node = self.nodes[lane];
                let leaves = self.machine.table_u64(node);
                all &= self.machine.table_u64(node + 8 + 8 * rank(leaves, bit));
            }
        }
        self.rules_left = all;
    }
}

/// The lowest set bit, alone. (Cleared by XOR: of `x & (x - 1)` the verifier keeps a shrinking
/// bound, so that it never sees two rounds as equal.)
#[inline(always)]
const fn lowest(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

/// The index of a bit.
#[inline(always)]
const fn index(bit: u64) -> u64 {
    bit.wrapping_sub(1).count_ones() as u64
}

/// How many of `bits` are below `bit`.
#[inline(always)]
const fn rank(bits: u64, bit: u64) -> u64 {
    (bits & bit.wrapping_sub(1)).count_ones() as u64
}
