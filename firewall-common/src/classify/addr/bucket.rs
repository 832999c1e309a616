//! Short sorted arrays of interval starts: the buckets of the IPv4 root, and low blocks.
//!
//! **Root**: DXR (Zec, Rizzo and Mikuc, CCR 2012). The upper 16 bits of an IPv4 address index `u32`
//! entries, and an entry names a bucket of starts as `u16` keys. Equal buckets are stored once.
//!
//! **Low block**: a head (`u32`), and the *ground* reference (`u32`). If one prefix is all there is,
//! the head says so, and how many low bits the prefix leaves free; its first address
//! (`u64`) and its reference (`u32`) follow, and the ground is for the rest. Otherwise the head is a
//! size code, and the starts by the lower half follow as `u64`.
//!
//! Buckets and such low blocks hold `n = (4 + m) << e` starts, the first of them 0, then `n` references. What is over is
//! padded with the last. So a search needs no lengths that are not powers of two: one probe decides
//! between the first and the last `4 << e`, and halving does the rest.

use super::{below, below_63, reference};
use crate::abi::{AddrConfig, Config, LowHead, RootEntry, SizeCode};
use crate::machine::Machine;

/// Halvings that the search of a low block makes at most: blocks have up to 7 << 22 starts.
const LOW_HALVINGS: u32 = 24;

/// The reference of the interval that holds the IPv4 address `key`.
#[inline(always)]
pub(super) fn search_root<M: Machine>(
    machine: &M,
    key: u64,
    pick: impl Fn(&Config) -> &AddrConfig + Copy,
) -> u32 {
    let root = machine.constant(|c| &pick(c).levels[0]);
    let entry = RootEntry::from_word(machine.table_u32(u64::from(root) + (key >> 16) * 4));
    let (bucket, code) = (entry.bucket(), entry.code());
    let position = position::<M, false>(machine, bucket, code, key & 0xffff);
    let wide = machine.constant(|c| &pick(c).wide) != 0;
    reference(machine, bucket + 2 * code.size(), position, wide)
}

/// The reference for the lower half `low` of an address, in the low block at byte offset `block`.
#[inline(always)]
pub(super) fn search_low<M: Machine>(machine: &M, block: u64, low: u64) -> u32 {
    let head = LowHead::from_word(machine.table_u32(block));
    let starts = block + 8;
    if head.is_prefix() {
        let beyond = (low ^ machine.table_u64(starts)) >> head.free();
        return machine.table_u32(if beyond == 0 { starts + 8 } else { block + 4 });
    }
    let position = position::<M, true>(machine, starts, head.code(), low);
    reference(machine, starts + 8 * head.code().size(), position, true)
}

/// The last position in a bucket whose start is at or below `key`. `LONG`: keys of 64 bits, else
/// of 16 bits.
#[inline(always)]
fn position<M: Machine, const LONG: bool>(
    machine: &M,
    bucket: u64,
    code: SizeCode,
    key: u64,
) -> u64 {
    let e = code.exponent();
    // 1 if the start at `position` is at or below the key.
    let reached = |position: u64| {
        if LONG {
            1 - below(key, machine.table_u64(bucket + position * 8))
        } else {
            below_63(u64::from(machine.table_u16(bucket + position * 2)), key + 1)
        }
    };
    // Opaque, or the compiler would make a jump of it, and the verifier two paths of every halving.
    let all = |is_reached: u64| machine.opaque(is_reached).wrapping_neg();
    let over = code.over();
    let mut position = over & all(reached(over));
    let mut half = 2u64 << e;
    for _ in 0..if LONG { LOW_HALVINGS } else { 16 } {
        if half == 0 {
            break;
        }
        position += half & all(reached(position + half));
        half >>= 1;
    }
    position
}
