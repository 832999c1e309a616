//! Which sets an address is in.

use super::{HEADER, Meta, Prefix, SETS, WAYS, address, entry, head, meta_of, now, owner, tags};
use crate::bits::{index, lowest};
use crate::key::PacketKey;
use crate::machine::{Machine, Step};
use crate::region::Region;

/// Rounds that suffice: one for each length, each word of lengths, and each tag that is equal.
const ROUNDS: u32 = 129 + 3 + 129 * 16;

/// The lowest bit of each of four numbers in a word.
const LOW: u64 = 0x0001_0001_0001_0001;

/// The highest.
const HIGH: u64 = LOW << 15;

/// Whether any prefix of the packet's family is in the table.
#[inline(always)]
pub fn is_in_use<M: Machine>(machine: &M, key: &PacketKey) -> bool {
    let offset = if key.is_v6 != 0 { head::V6 } else { head::V4 };
    machine.read(Region::Live, offset) != 0
}

/// What [`look_up`] is asked: the sets of the source, those of the destination, and which of
/// [`SPARED`](super::SPARED) and [`EXEMPT`](super::EXEMPT) the source is in.
pub const SOURCE: u64 = 0;
/// See [`SOURCE`].
pub const DESTINATION: u64 = 1;
/// See [`SOURCE`].
pub const PROTECTION: u64 = 2;

/// The sets that the packet's source or destination is in: a bit for each number.
#[inline(always)]
pub fn sets_of<M: Machine>(machine: &M, key: &PacketKey, is_destination: bool) -> u64 {
    look_up(machine, key, u64::from(is_destination))
}

/// Which of the sets of protected addresses the packet's source is in: a bit for each number.
#[inline(always)]
pub fn protection_of<M: Machine>(machine: &M, key: &PacketKey) -> u64 {
    look_up(machine, key, PROTECTION)
}

/// One of the above, by number: one function for all, so that the kernel's verifier proves one.
#[inline(always)]
pub fn look_up<M: Machine>(machine: &M, key: &PacketKey, what: u64) -> u64 {
    let (hi, lo) = address(key, what == DESTINATION);
    let (v4, v6) = if what == PROTECTION {
        (head::PROTECTED_V4, head::PROTECTED_V6)
    } else {
        (head::V4, head::V6_LENGTHS)
    };
    search(machine, (hi, lo, u64::from(key.is_v6)), v4, v6)
}

/// As [`sets_of`], of any address, as [`Prefix`] has it.
#[inline(always)]
pub fn of_address<M: Machine>(machine: &M, hi: u64, lo: u64, is_v6: u64) -> u64 {
    search(machine, (hi, lo, is_v6), head::V4, head::V6_LENGTHS)
}

/// Searches by the lengths in the words at `v4` or, three of them, at `v6`.
#[inline(always)]
fn search<M: Machine>(machine: &M, (hi, lo, is_v6): (u64, u64, u64), v4: u64, v6: u64) -> u64 {
    let words = machine.forget(v6);
    let lengths = machine.read(Region::Live, if is_v6 != 0 { v6 } else { v4 });
    let zero = machine.opaque(0);
    let mut search = Lookup {
        machine: *machine,
        hi,
        lo,
        is_v6,
        colours: machine.read(Region::Live, head::COLOURS),
        words,
        lengths,
        base: zero,
        equal: zero,
        length: zero,
        first: zero,
        second: zero,
        found: zero,
    };
    machine.repeat(ROUNDS, &mut search);
    search.found
}

/// The packet's sets by the numbers that the policy gives them: a bit for each of its live sets.
#[inline(always)]
pub fn of_policy<M: Machine>(machine: &M, sets: u64) -> u32 {
    let mut mask = 0;
    macro_rules! sets {
        ($($number:literal)*) => { $(
            const { assert!($number < SETS) };
            let id = machine.constant(|c| &c.live_ids[$number]);
            if id != 0 {
                mask |= (sets >> id & 1) << $number;
            }
        )* };
    }
    sets!(0 1 2 3 4 5 6 7);
    mask as u32
}

/// Where the search stands.
struct Lookup<M> {
    machine: M,
    /// The address.
    hi: u64,
    lo: u64,
    is_v6: u64,
    /// The sets' colours, read once: one that changes in between would hide what it has replaced
    /// and, already looked at, what has come in its place.
    colours: u64,
    /// Byte offset of the words of lengths of IPv6.
    words: u64,
    /// Lengths not yet looked at, of the word that begins with length `base`.
    lengths: u64,
    base: u64,
    /// Tags of the present length that are equal, and not yet looked at: bit `16 * lane + word`.
    equal: u64,
    /// The present length, and its two buckets.
    length: u64,
    first: u64,
    second: u64,
    /// A bit for each set found.
    found: u64,
}

impl<M: Machine> Lookup<M> {
    /// Compares the tags of both buckets of the next length.
    #[inline(always)]
    fn next_length(&mut self) {
        let bit = lowest(self.lengths);
        self.lengths ^= bit;
        self.length = self.base + index(bit);
        let place = Prefix::of(self.hi, self.lo, self.length, self.is_v6).place(&self.machine);
        (self.first, self.second) = (place.first, place.second);
        let pattern = place.tag * LOW;
        let equal = |bucket: u64, half: u64| {
            let offset = tags(&self.machine, bucket, half);
            let differ = self.machine.read(Region::Live, offset) ^ pattern;
            // The highest bit of each number that is 0, and of some above it that are 1 (Warren,
            // Hacker's Delight, 6-1).
            differ.wrapping_sub(LOW) & !differ & HIGH
        };
        self.equal = equal(place.first, 0) >> 15
            | equal(place.first, 1) >> 14
            | equal(place.second, 0) >> 13
            | equal(place.second, 1) >> 12;
    }

    /// Looks at one entry whose tag is equal.
    #[inline(always)]
    fn next_entry(&mut self) {
        let bit = lowest(self.equal);
        self.equal ^= bit;
        let place = index(bit);
        let (word, lane) = (place & 3, place >> 4);
        let bucket = if word < 2 { self.first } else { self.second };
        let slot = bucket * WAYS + (word & 1) * 4 + lane;
        let read = |offset: u64| self.machine.read(Region::Live, offset);
        let meta = meta_of(&self.machine, slot);
        let prefix = Prefix::of(self.hi, self.lo, self.length, self.is_v6);
        if !meta.is_of(prefix.meta(meta.owner()))
            || read(entry(slot)) != prefix.hi
            || read(entry(slot) + 8) != prefix.lo
            || meta_of(&self.machine, slot) != meta
        {
            return;
        }
        let id = meta.id();
        let colour = self.colours >> id & 1;
        if meta.owner() != owner(id, colour) {
            return;
        }
        if meta.end() != Meta::FOREVER && meta.has_ended(now(&self.machine)) {
            return;
        }
        self.found |= 1 << id;
    }
}

impl<M: Machine> Step for Lookup<M> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [
            &mut self.lengths,
            &mut self.base,
            &mut self.equal,
            &mut self.length,
            &mut self.first,
            &mut self.second,
            &mut self.found,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.equal != 0 {
            self.next_entry();
        } else if self.lengths != 0 {
            self.next_length();
        } else {
            if self.is_v6 == 0 || self.base >= 128 {
                return false;
            }
            self.base += 64;
            let word = self.words.wrapping_add(self.base / 8);
            self.lengths = self.machine.read(Region::Live, word);
        }
        true
    }
}

const _: () = assert!(head::PROTECTED_V4 >= 0u64.wrapping_sub(HEADER));
