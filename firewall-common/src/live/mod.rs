//! Sets of addresses that change while the programs run: the bans, and the sets that a policy declares
//! with `live: true`.
//!
//! ```text
//! lookup.rs   which sets an address is in                                   (program fw_xdp)
//! change.rs   adding and removing a prefix     (user space, and rules with a limit that ban)
//! ```
//!
//! All sets share one table of fixed size, the region [`Region::Live`]: a hash table of prefixes.
//! An address is looked up once for every prefix length that is in use, whatever sets use it; while
//! no length is, it costs one read.
//!
//! | bytes, of a region of `32 * s` | |
//! |---|---|
//! | 0 | `s` entries of three words: upper half of the prefix, lower half (IPv4: the upper 32 bits of the upper half), [`Meta`] |
//! | `24 * s` | for every entry a tag of 16 bits of its hash; 0: none. A bucket is eight of each |
//! | the last [`HEADER`] | see [`head`] |
//!
//! A prefix stands in one of two buckets, the emptier one (Azar, Broder, Karlin, Upfal: Balanced
//! allocations, STOC 1994). An entry never moves, and the table is kept five eighths full at most:
//! then the expected number of prefixes that find both of their buckets full is 7e-6 in the smallest
//! table and 1e-4 in the largest (by the differential equations of Mitzenmacher, The Power of Two
//! Choices in Randomized Load Balancing, 1996; at three quarters it would be 2 and 34). The tags of both buckets are compared four at a time, so what is in
//! no set costs two cache lines for each length, and no entry is read.
//!
//! Whoever changes something holds the table's lock. Readers do not: an entry's words are written
//! between two changes of its [`Meta`], which is 0 meanwhile, and a reader reads it twice.
//!
//! A set's whole content is replaced at once by its colour: entries of the other colour are added
//! beside the present ones, one word changes, and the former ones are removed
//! when no program is left that has read the word before.
//!
//! A change of the layout is a change of [`ABI_VERSION`](crate::abi::ABI_VERSION).
//!
//! May not import `classify` or `pipeline`. Invariant: a bit of a length is set while an entry of
//! that length is in the table.

mod change;
mod lookup;

pub use change::{Added, ban, get, put, recount, remove, sweep};
pub use lookup::{
    DESTINATION, PROTECTION, SOURCE, is_in_use, look_up, of_address, of_policy, protection_of,
    sets_of,
};

use crate::bits::as_word;
use crate::key::PacketKey;
use crate::machine::Machine;
use crate::region::Region;

/// Number of the set of what is banned.
pub const BANNED: u32 = 0;

/// Number of the set of addresses that this host needs and no rule bans: its own, its gateways and
/// resolvers. Neither this set nor the next one costs a packet anything before a ban is met: see
/// [`is_protected`].
pub const SPARED: u32 = IDS - 2;

/// Number of the set of what the policy exempts from every ban.
pub const EXEMPT: u32 = IDS - 1;

/// Whether a set's prefix lengths are kept apart from those that every packet is looked up by.
#[must_use]
#[inline(always)]
pub const fn is_protected(id: u64) -> bool {
    id >= SPARED as u64
}

/// How many sets the table tells apart, the banned included.
pub const IDS: u32 = 32;

pub use crate::abi::LIVE_SETS as SETS;

/// Bytes of the region for each entry: entry, tag, and room for the header.
pub const BYTES_PER_SLOT: u32 = 32;

/// Entries of the smallest table: what is used for bans alone.
pub const FEWEST: u32 = 1 << 18;

/// What can be banned at most: so bans take no room from live sets.
pub const BANS: u64 = entries_of(FEWEST as u64);

/// How many entries a table with so many slots is to have at most.
#[must_use]
pub const fn entries_of(slots: u64) -> u64 {
    slots / 8 * 5
}

/// Entries of the largest one.
pub const MOST: u32 = 1 << 22;

/// Entries of a bucket.
pub const WAYS: u64 = 8;

/// Bytes of an entry.
pub const ENTRY: u64 = 24;

/// Bytes at the end of the region.
pub const HEADER: u64 = 2048;

/// Offset of a word of the header: offsets wrap round at the region's size.
const fn header(word: u64) -> u64 {
    0u64.wrapping_sub(HEADER) + word * 8
}

/// Byte offsets of the words of the header.
pub mod head {
    use super::header;

    /// The lock: 0 free, 1 taken by a program, 2 taken by a process, which holds the lock on the
    /// store, too.
    pub const LOCK: u64 = header(0);
    /// IPv4: a bit for each prefix length in use.
    pub const V4: u64 = header(1);
    /// IPv6: how many lengths are in use.
    pub const V6: u64 = header(2);
    /// IPv6: a bit for each length in use, in three words.
    pub const V6_LENGTHS: u64 = header(3);
    /// A bit for each set: its colour.
    pub const COLOURS: u64 = header(6);
    /// Counts the changes.
    pub const CHANGES: u64 = header(7);
    /// Counts what a rule wanted to ban and found no room for.
    pub const REFUSED: u64 = header(8);
    /// The lengths in use by [`SPARED`](super::SPARED) and [`EXEMPT`](super::EXEMPT), a bit for each:
    /// a word for IPv4, three for IPv6. Set as entries come, and never taken back: a length too many
    /// costs one search of what is banned.
    pub const PROTECTED_V4: u64 = header(9);
    /// IPv6, likewise.
    pub const PROTECTED_V6: u64 = header(10);
    /// How many entries of each length there are: 33 words for IPv4, 129 for IPv6.
    pub const COUNTS: u64 = header(16);
    /// How many entries each set has of each colour: 64 words.
    pub const OWNERS: u64 = header(16 + 33 + 129);
}
const _: () = assert!((16 + 33 + 129 + 64) * 8 <= HEADER);

/// A prefix of either family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix {
    /// Upper half of the address; of IPv4, the address in its upper 32 bits.
    pub hi: u64,
    /// Lower half; 0 for IPv4.
    pub lo: u64,
    /// Length: 0 to 32, or 0 to 128.
    pub length: u64,
    /// 1 for IPv6.
    pub is_v6: u64,
}

impl Prefix {
    /// The prefix of `length` bits that an address is in.
    #[must_use]
    #[inline(always)]
    pub const fn of(hi: u64, lo: u64, length: u64, is_v6: u64) -> Self {
        let (upper, lower) = if length < 64 {
            (!(u64::MAX >> length), 0)
        } else if length < 128 {
            (u64::MAX, !(u64::MAX >> (length - 64)))
        } else {
            (u64::MAX, u64::MAX)
        };
        Self {
            hi: hi & upper,
            lo: lo & lower,
            length,
            is_v6,
        }
    }

    /// Where the prefix's entry can be.
    #[inline(always)]
    fn place<M: Machine>(&self, machine: &M) -> Place {
        let seed = u64::from(machine.constant(|c| &c.live_seed[0]))
            | u64::from(machine.constant(|c| &c.live_seed[1])) << 32;
        let mut hash = seed ^ self.length << 1 ^ self.is_v6;
        for word in [self.hi, self.lo] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
            hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
            hash ^= hash >> 32;
        }
        let buckets = u64::from(machine.constant(|c| &c.live_size)) / BYTES_PER_BUCKET;
        Place {
            first: hash & (buckets - 1),
            second: hash >> 24 & (buckets - 1),
            tag: hash >> 48 | 1,
        }
    }

    /// The last word of its entry in a set, which ends at the beginning of time and has been added by a
    /// command.
    #[must_use]
    #[inline(always)]
    pub const fn meta(&self, owner: u64) -> Meta {
        Meta(
            self.length << Meta::LENGTH
                | owner << Meta::OWNER
                | self.is_v6 << Meta::V6
                | Meta::USED,
        )
    }
}

/// Bytes of the region for each bucket.
const BYTES_PER_BUCKET: u64 = BYTES_PER_SLOT as u64 * WAYS;

/// The two buckets of a prefix, by number, and its tag.
#[derive(Clone, Copy)]
struct Place {
    first: u64,
    second: u64,
    tag: u64,
}

/// The last word of an entry.
///
/// | bits | |
/// |---|---|
/// | 0 | in use |
/// | 1 | added by a rule |
/// | 2 | the policy names it: nobody but the policy removes it |
/// | 3 | IPv6 |
/// | 8-12 | the set's number |
/// | 13 | the set's colour |
/// | 16-23 | the prefix's length |
/// | 24-63 | the time at which it ends, in ticks of [`Meta::TICK_SHIFT`], or [`Meta::FOREVER`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Meta(u64);

impl Meta {
    /// Set in every entry.
    const USED: u64 = 1;
    const BY_RULE: u64 = 2;
    const BY_POLICY: u64 = 4;
    /// Bit that tells IPv6 from IPv4.
    const V6: u32 = 3;
    const OWNER: u32 = 8;
    const LENGTH: u32 = 16;
    const END: u32 = 24;
    /// What tells entries of one address apart: [`Prefix::meta`].
    const IDENTITY: u64 = 0xff_ff00 | 1 << Self::V6 | Self::USED;

    /// The entry is free.
    pub const FREE: Self = Self(0);

    /// A tick is 2^20 nanoseconds, about a millisecond.
    pub const TICK_SHIFT: u32 = 20;

    /// The time of what never ends.
    pub const FOREVER: u64 = (1 << 40) - 1;

    /// Whether the entry is free.
    #[must_use]
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 == Self::FREE.0
    }

    /// Added by a rule.
    #[must_use]
    #[inline(always)]
    pub const fn by_rule(self) -> Self {
        Self(self.0 | Self::BY_RULE)
    }

    /// Whether a rule has added it.
    #[must_use]
    pub const fn is_by_rule(self) -> bool {
        self.0 & Self::BY_RULE != 0
    }

    /// Named by the policy.
    #[must_use]
    pub const fn by_policy(self) -> Self {
        Self(self.0 | Self::BY_POLICY)
    }

    /// Whether the policy names it: nobody but the policy removes it.
    #[must_use]
    pub const fn is_by_policy(self) -> bool {
        self.0 & Self::BY_POLICY != 0
    }

    /// The set's number, and its colour 5 bits up: see [`owner`].
    #[must_use]
    #[inline(always)]
    pub const fn owner(self) -> u64 {
        self.0 >> Self::OWNER & 0x3f
    }

    /// The set's number.
    #[must_use]
    #[inline(always)]
    pub const fn id(self) -> u64 {
        self.0 >> Self::OWNER & 0x1f
    }

    /// The prefix's length.
    #[must_use]
    #[inline(always)]
    pub const fn length(self) -> u64 {
        self.0 >> Self::LENGTH & 0xff
    }

    /// Whether it is one of IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn is_v6(self) -> u64 {
        self.0 >> Self::V6 & 1
    }

    /// When it ends, in ticks.
    #[must_use]
    #[inline(always)]
    pub const fn end(self) -> u64 {
        self.0 >> Self::END
    }

    /// With another end.
    #[must_use]
    #[inline(always)]
    pub const fn with_end(self, ticks: u64) -> Self {
        Self(self.0 & ((1 << Self::END) - 1) | ticks << Self::END)
    }

    /// Whether it has ended, at `now` in ticks.
    #[must_use]
    #[inline(always)]
    pub const fn has_ended(self, now: u64) -> bool {
        self.end() != Self::FOREVER && self.end() <= now
    }

    /// What tells it from the other entries of its address, and nothing else.
    #[inline(always)]
    const fn identity(self) -> Self {
        Self(self.0 & Self::IDENTITY)
    }

    /// Whether both are of one set, colour, length and family.
    #[inline(always)]
    const fn is_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::IDENTITY == 0
    }
}

/// A set's number with its colour, as entries have it.
#[must_use]
#[inline(always)]
pub const fn owner(id: u64, colour: u64) -> u64 {
    id | colour << 5
}

/// The colour that a set has now.
#[must_use]
#[inline(always)]
pub fn colour<M: Machine>(machine: &M, id: u64) -> u64 {
    machine.read(Region::Live, head::COLOURS) >> id & 1
}

/// Byte offset of an entry.
#[inline(always)]
const fn entry(slot: u64) -> u64 {
    slot * ENTRY
}

/// Byte offset of an entry's last word.
#[must_use]
#[inline(always)]
pub const fn meta_at(slot: u64) -> u64 {
    entry(slot) + 16
}

/// The last word of an entry, as it is now.
#[inline(always)]
fn meta_of<M: Machine>(machine: &M, slot: u64) -> Meta {
    Meta(machine.read(Region::Live, meta_at(slot)))
}

/// Sets it.
#[inline(always)]
fn set_meta<M: Machine>(machine: &M, slot: u64, meta: Meta) {
    machine.write(Region::Live, meta_at(slot), meta.0);
}

/// Byte offset of the tags of the first or last four entries of a bucket.
#[inline(always)]
fn tags<M: Machine>(machine: &M, bucket: u64, half: u64) -> u64 {
    let size = u64::from(machine.constant(|c| &c.live_size));
    size - size / 4 + bucket * (WAYS * 2) + half * 8
}

/// The time, in ticks.
#[inline(always)]
fn now<M: Machine>(machine: &M) -> u64 {
    machine.now() >> Meta::TICK_SHIFT
}

/// An entry, read without the lock: the prefix and its last word, or `None` if the entry is free or
/// somebody was about to change it.
#[must_use]
pub fn read<M: Machine>(machine: &M, slot: u64) -> Option<(Prefix, Meta)> {
    let meta = meta_of(machine, slot);
    let hi = machine.read(Region::Live, entry(slot));
    let lo = machine.read(Region::Live, entry(slot) + 8);
    let same = meta_of(machine, slot) == meta;
    (!meta.is_free() && same).then_some((
        Prefix {
            hi,
            lo,
            length: meta.length(),
            is_v6: meta.is_v6(),
        },
        meta,
    ))
}

/// How many entries a table of these constants has.
#[must_use]
pub fn slots<M: Machine>(machine: &M) -> u64 {
    u64::from(machine.constant(|c| &c.live_size)) / u64::from(BYTES_PER_SLOT)
}

/// One of a packet's addresses, as [`Prefix`] has it.
#[inline(always)]
const fn address(key: &PacketKey, is_destination: bool) -> (u64, u64) {
    let (hi, lo) = if is_destination {
        (key.dst_hi, key.dst_lo)
    } else {
        (key.src_hi, key.src_lo)
    };
    if key.is_v6 != 0 {
        (hi, lo)
    } else {
        (lo << 32, 0)
    }
}

as_word!(Meta: u64);

#[cfg(test)]
mod tests {
    use super::*;

    /// No part reaches into another one, at the ends of each.
    #[test]
    fn every_part_of_a_meta_comes_back() {
        for (length, is_v6) in [(0, 0), (32, 0), (0, 1), (64, 1), (128, 1)] {
            for id in [0, 1, 30, 31] {
                for colour in [0, 1] {
                    for end in [0, 1, Meta::FOREVER - 1, Meta::FOREVER] {
                        let bare = Prefix::of(0, 0, length, is_v6).meta(owner(id, colour));
                        let origins = [bare, bare.by_rule(), bare.by_policy()];
                        for (origin, bare) in origins.into_iter().enumerate() {
                            let before = bare.with_end(Meta::FOREVER ^ end);
                            let meta = Meta::from_word(before.with_end(end).word());
                            assert_eq!((meta.length(), meta.is_v6()), (length, is_v6));
                            assert_eq!((meta.id(), meta.owner()), (id, owner(id, colour)));
                            assert_eq!(meta.end(), end);
                            assert_eq!(meta.is_by_rule(), origin == 1);
                            assert_eq!(meta.is_by_policy(), origin == 2);
                            assert!(!meta.is_free() && meta.is_of(bare) && meta.is_of(before));
                        }
                    }
                }
            }
        }
        assert!(Meta::FREE.is_free());
    }

    #[test]
    fn what_is_another_entry_is_told_apart() {
        let meta = Prefix::of(0, 0, 24, 0).meta(owner(3, 0));
        for (length, is_v6, id, colour) in
            [(25, 0, 3, 0), (24, 1, 3, 0), (24, 0, 4, 0), (24, 0, 3, 1)]
        {
            let other = Prefix::of(0, 0, length, is_v6).meta(owner(id, colour));
            assert!(!meta.is_of(other), "{length} {is_v6} {id} {colour}");
        }
        assert!(!meta.is_of(Meta::FREE));
    }

    #[test]
    fn an_end_has_come_when_its_tick_has() {
        let meta = Prefix::of(0, 0, 32, 0).meta(0);
        assert!(meta.with_end(7).has_ended(7) && !meta.with_end(8).has_ended(7));
        let last = Meta::FOREVER - 1;
        assert!(meta.with_end(last).has_ended(last) && !meta.with_end(last).has_ended(last - 1));
        assert!(!meta.with_end(Meta::FOREVER).has_ended(u64::MAX));
    }
}
