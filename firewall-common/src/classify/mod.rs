//! The classify walk: from a [`PacketKey`] to the first matching rule.
//!
//! The tables are aggregated bit vectors (Lakshman and Stiliadis, SIGCOMM 1998; Baboescu and
//! Varghese, SIGCOMM 2001) with small fields combined ahead of time (recursive flow classification,
//! Gupta and McKeown, SIGCOMM 1999). Every family has some *lanes*: source address, destination
//! address, and one or more runs of small fields. A packet's value in a lane leads to a *row*: the
//! set of rules that accept the value, rule `i` as bit `i`. The walk ANDs the rows of all lanes and
//! takes the lowest bit. A row is a tree of 64-way bit words:
//!
//! | levels | rules | row |
//! |---|---|---|
//! | 1 | 64 | one `u64` |
//! | 2 | 4,096 | a node: a `u64` with a bit for every leaf word that is not 0, then those words |
//! | 3 | 262,144 | a `u64` with a bit for every node that is not empty, then `u32` references to those nodes, in units of 8 bytes from the start of the tables |
//!
//! Equal rows of a lane and equal nodes of a family are stored once.
//!
//! Large policies keep most of their rules out of the rows: see [`lists`].
//!
//! Keeps these invariants: no recursion, no division, no slice that can panic, loops with constant
//! bounds, so that the BPF verifier accepts it.

mod addr;
mod lanes;
mod lists;
mod walk;

pub use lanes::LANES;
pub(crate) use walk::judged;

use crate::abi::{self, Config, Entry, FamilyConfig};
use crate::calls::Calls;
use crate::key::PacketKey;
use crate::machine::Machine;
use crate::verdict::Action;

/// The rule that decided: its [`Entry`], taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Counter slot of the rule, or of what is over its limit.
    pub slot: u32,
    /// What the rule does, or what becomes of what is over its limit.
    pub action: Action,
    /// The number of its limit; 0 if it has none.
    pub limit: u64,
}

/// The first rule with action pass or drop that matches `key`, if any. Counts every matching
/// `next` rule before it through [`Machine::count_rule`]; the deciding rule is counted by the
/// caller.
#[inline(always)]
pub fn classify<M: Calls>(machine: &M, key: &PacketKey) -> Option<Hit> {
    let found = machine.walk(key);
    (!found.is_none()).then_some(Hit {
        slot: found.slot(),
        action: found.action(),
        limit: found.limit(),
    })
}

/// The walk for an IPv4 packet: the entry of the rule that decided, or what its limit put in its place,
/// with the mark of what is found; or [`Entry::NONE`].
#[inline(always)]
pub fn walk_v4<M: Calls>(machine: &M, key: &PacketKey) -> Entry {
    walk::first_match::<M, V4>(machine, key)
}

/// As [`walk_v4`], for an IPv6 packet.
#[inline(always)]
pub fn walk_v6<M: Calls>(machine: &M, key: &PacketKey) -> Entry {
    walk::first_match::<M, V6>(machine, key)
}

/// Picks one family's constants, and its half of the key.
trait Family: Copy {
    /// Whether addresses have more than 64 bits.
    const LONG: bool;

    /// The family's constants.
    fn of(config: &Config) -> &FamilyConfig;

    /// The source address: what the first search looks at, and what is below it.
    fn src(key: &PacketKey) -> (u64, u64);

    /// The destination address, likewise.
    fn dst(key: &PacketKey) -> (u64, u64);

    /// Bytes of a list's entry.
    const LIST_ENTRY: u64;

    /// 0 if the prefix in the list's entry at byte `offset` contains `address`.
    fn outside<M: Machine>(machine: &M, offset: u64, address: (u64, u64)) -> u64;
}

/// IPv4.
#[derive(Clone, Copy)]
struct V4;

impl Family for V4 {
    const LONG: bool = false;

    #[inline(always)]
    fn of(config: &Config) -> &FamilyConfig {
        &config.v4
    }

    #[inline(always)]
    fn src(key: &PacketKey) -> (u64, u64) {
        (key.src_lo, 0)
    }

    #[inline(always)]
    fn dst(key: &PacketKey) -> (u64, u64) {
        (key.dst_lo, 0)
    }

    const LIST_ENTRY: u64 = abi::LIST_ENTRY_V4 as u64;

    #[inline(always)]
    fn outside<M: Machine>(machine: &M, offset: u64, (address, _): (u64, u64)) -> u64 {
        let prefix = machine.table_u64(offset);
        address & prefix >> 32 ^ prefix & 0xffff_ffff
    }
}

/// IPv6.
#[derive(Clone, Copy)]
struct V6;

impl Family for V6 {
    const LONG: bool = true;

    #[inline(always)]
    fn of(config: &Config) -> &FamilyConfig {
        &config.v6
    }

    #[inline(always)]
    fn src(key: &PacketKey) -> (u64, u64) {
        (key.src_hi, key.src_lo)
    }

    #[inline(always)]
    fn dst(key: &PacketKey) -> (u64, u64) {
        (key.dst_hi, key.dst_lo)
    }

    const LIST_ENTRY: u64 = abi::LIST_ENTRY_V6 as u64;

    #[inline(always)]
    fn outside<M: Machine>(machine: &M, offset: u64, (high, low): (u64, u64)) -> u64 {
        let word = |number: u64| machine.table_u64(offset + number * 8);
        high & word(1) ^ word(0) | low & word(3) ^ word(2)
    }
}

/// Byte offset of row `reference` of the lane whose rows start at `rows`.
#[inline(always)]
const fn row_offset(rows: u32, reference: u32) -> u64 {
    rows as u64 + reference as u64 * 8
}
