//! The AND of all lanes' rows, from the top down, and the rules found in it.

use super::Family;
use super::lanes::{self, LANES};
use crate::key::PacketKey;
use crate::machine::{Machine, Step};
use crate::verdict::Action;

/// Set in [`Walk::found`] beside the rule's entry.
pub(super) const FOUND: u64 = 1 << 63;

/// Rounds that suffice for every walk. A round takes up one node or handles up to 64 leaf words or
/// matching `next` rules; there are at most 64 nodes, 4,096 leaf words and 262,144 rules.
const ROUNDS: u32 = 8_192;

/// Where the walk stands. One for both families: what depends on the family is a number here.
pub(super) struct Walk<M> {
    machine: M,
    /// Byte offset of the rules' entries.
    entries: u64,
    /// How many lanes there are.
    lanes: u64,
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

impl<M: Machine> Walk<M> {
    /// A walk through no rules.
    #[inline(always)]
    pub(super) fn nowhere(machine: &M) -> Self {
        Self {
            machine: *machine,
            entries: 0,
            lanes: 0,
            rows: [0; LANES],
            nodes: [0; LANES],
            nodes_left: 0,
            leaves_left: 0,
            rules_left: 0,
            first_leaf: 0,
            first_rule: 0,
            found: 0,
        }
    }

    /// Stands before the first of the rules of family `F` that may match `key`.
    #[inline(always)]
    pub(super) fn enter<F: Family>(&mut self, key: &PacketKey) {
        let machine = self.machine;
        if machine.constant(|c| &F::of(c).rules) == 0 {
            return;
        }
        self.entries = u64::from(machine.constant(|c| &F::of(c).entries));
        self.lanes = u64::from(machine.constant(|c| &F::of(c).lanes));
        self.rows = lanes::rows::<M, F>(&machine, key);
        let all = self.and(|walk, lane| walk.machine.table_u64(walk.rows[lane]));
        match machine.constant(|c| &F::of(c).levels) {
            1 => self.rules_left = all,
            2 => {
                self.nodes = self.rows;
                self.leaves_left = all;
            }
            _ => self.nodes_left = all,
        }
    }

    /// Goes to the deciding rule, and counts the `next` rules on the way. Its entry and [`FOUND`],
    /// or 0.
    #[inline(always)]
    pub(super) fn decide(mut self) -> u64 {
        // Nearly every packet is decided by its first round: only the others pay for the loop.
        if self.step() {
            let machine = self.machine;
            machine.repeat(ROUNDS, &mut self);
        }
        self.found
    }

    /// The AND of `word` over all lanes.
    #[inline(always)]
    fn and(&mut self, mut word: impl FnMut(&mut Self, usize) -> u64) -> u64 {
        let mut all = word(self, 0);
        macro_rules! lanes {
            ($($lane:literal)*) => { $(
                const { assert!($lane < LANES) };
                if $lane < self.lanes {
                    all &= word(self, $lane);
                }
            )* };
        }
        lanes!(1 2 3 4 5);
        all
    }

    /// Takes up the next node that every lane has.
    #[inline(always)]
    fn enter_node(&mut self) {
        let bit = lowest(self.nodes_left);
        self.nodes_left ^= bit;
        self.first_leaf = index(bit) * 64;
        self.leaves_left = self.and(|walk, lane| {
            let row = walk.rows[lane];
            let child = row + 8 + 4 * rank(walk.machine.table_u64(row), bit);
            let node = u64::from(walk.machine.table_u32(child)) * 8;
            walk.nodes[lane] = node;
            walk.machine.table_u64(node)
        });
    }

    /// Takes up the next leaf word that every lane has. Its AND can be 0.
    #[inline(always)]
    fn enter_leaf(&mut self) {
        let bit = lowest(self.leaves_left);
        self.leaves_left ^= bit;
        self.first_rule = (self.first_leaf + index(bit)) * 64;
        self.rules_left = self.and(|walk, lane| {
            let node = walk.nodes[lane];
            let leaf = rank(walk.machine.table_u64(node), bit);
            walk.machine.table_u64(node + 8 + 8 * leaf)
        });
    }
}

impl<M: Machine> Step for Walk<M> {
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
            let entry = self.machine.table_u64(self.entries + rule * 8);
            if self.machine.constant(|c| &c.has_next) == 0 || (entry >> 32) as u8 != Action::NEXT.0
            {
                self.found = entry | FOUND;
                return false;
            }
            self.machine.count_rule(entry as u32);
            self.rules_left ^= bit;
        }
        self.rules_left | self.leaves_left | self.nodes_left != 0
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
