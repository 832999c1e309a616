//! Sources with a proven address: they have sent packets of an established TCP connection, which
//! requires that they receive this host's answers. Rules ban only such sources, so forged packets
//! cannot get another address banned.
//!
//! A small table of words in the region [`Region::Proof`], in sets of [`WAYS`]: 40 bits of a source's
//! hash, and when it was seen last. The entry not seen for longest is evicted. An evicted
//! source is not banned until it has proven its address again.
//!
//! May not import anything of the host or the kernel. Invariant: without a secret nobody can foresee
//! which sources share a set, or have one tag.

use crate::key::PacketKey;
use crate::machine::Machine;
use crate::region::Region;

/// Bytes of the region, where the policy bans.
pub const SIZE: u32 = 64 << 10;

/// Words of a set.
const WAYS: u64 = 4;

/// Bytes of a set.
const SET: u64 = WAYS * 8;

/// Bits of a word that hold the time, in ticks of [`crate::flows::TICK_SHIFT`], about a second.
const TICK_BITS: u32 = 24;

/// The bits of a word that hold the time.
const TICKS: u64 = (1 << TICK_BITS) - 1;

/// How long a proof counts, in ticks: about an hour.
const LASTS: u64 = 3_400;

/// Takes note of the source of a packet of an established TCP connection.
#[inline(always)]
pub fn note<M: Machine>(machine: &M, key: &PacketKey) {
    let (set, tag) = place(machine, key);
    let now = machine.ticks() & TICKS;
    let mut oldest = set;
    let mut oldest_age = 0;
    for way in 0..WAYS {
        let at = set + way * 8;
        let word = machine.read(Region::Proof, at);
        if word & !TICKS == tag {
            if word & TICKS != now {
                machine.write(Region::Proof, at, tag | now);
            }
            return;
        }
        let age = if word == 0 { TICKS + 1 } else { age(word, now) };
        if age >= oldest_age {
            (oldest, oldest_age) = (at, age);
        }
    }
    machine.write(Region::Proof, oldest, tag | now);
}

/// Whether the packet's source has proven itself, and not too long ago.
#[inline(always)]
pub fn is_proven<M: Machine>(machine: &M, key: &PacketKey) -> bool {
    let (set, tag) = place(machine, key);
    let now = machine.ticks() & TICKS;
    let mut is_proven = false;
    for way in 0..WAYS {
        let word = machine.read(Region::Proof, set + way * 8);
        is_proven |= word & !TICKS == tag && age(word, now) <= LASTS;
    }
    is_proven
}

/// How long ago, in ticks, a word was written.
#[inline(always)]
const fn age(word: u64, now: u64) -> u64 {
    now.wrapping_sub(word & TICKS) & TICKS
}

/// Byte offset of the source's set, and its tag, which is not 0.
#[inline(always)]
fn place<M: Machine>(machine: &M, key: &PacketKey) -> (u64, u64) {
    let hash = crate::limits::hash(machine, key.src_hi, key.src_lo, u64::from(key.is_v6));
    let sets = u64::from(machine.constant(|c| &c.proof_size)).wrapping_sub(SET);
    (hash & sets & !(SET - 1), (hash | 1 << 63) & !TICKS)
}
