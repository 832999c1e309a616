//! What the tables say of rules that ask for more than a match: a rate limit, a time at which they
//! end, a log. See [`crate::limits`] and [`crate::log`].

use super::Entry;
use crate::bits::as_word;

/// How many [`LimitEntry`]s the rules of a policy can have.
pub const LIMITS: usize = 1024;

/// How many of the rules that have such an entry and let it go on one packet can match: because of
/// `action: next` within a limit, `over: next` over it, or an end. The walk stops at each of them.
pub const LIMITS_PASSED: usize = 16;

/// One rate limit, or a time until which a rule matches, or both, in the tables: see
/// [`crate::limits`]. Times are nanoseconds with
/// [`crate::limits::FRACTION`] binary places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct LimitEntry {
    /// Time between two packets at the rate; of a limit of bytes the time of a byte, with
    /// [`BYTE_FRACTION`] more binary places.
    pub interval: u64,
    /// How much earlier than due a packet may come; of a limit of bytes the time of a whole burst.
    pub tolerance: u64,
    /// When the rule stops matching, in nanoseconds since the Unix epoch; all ones: never.
    pub until: u64,
    /// The bits of an IPv4 address by which buckets are told apart.
    pub v4_mask: u64,
    /// The upper 64 bits of an IPv6 address, likewise.
    pub v6_mask_hi: u64,
    /// Its lower 64 bits.
    pub v6_mask_lo: u64,
    /// Byte offset of the limit's buckets in [`crate::region::Region::Buckets`].
    pub base: u32,
    /// Bytes of its buckets: by address, a power of two.
    pub size: u32,
    /// What stands in the place of the rule's entry for a packet over the limit: a counter slot, the
    /// action `OVER` or `NEXT`, and this limit's number.
    pub over: Entry,
    /// One of [`limit_per`].
    pub per: u32,
    /// What else there is to say of it.
    pub flags: LimitFlags,
    /// How long a source over the limit is banned, in ticks of
    /// [`crate::live::Meta::TICK_SHIFT`]; 0: not at all.
    pub ban: u32,
    /// Length of the prefix that is banned with it.
    pub ban_lengths: BanLengths,
}
const _: () = assert!(size_of::<LimitEntry>() == LIMIT_ENTRY as usize);

/// Bytes of a [`LimitEntry`].
pub const LIMIT_ENTRY: u32 = 80;

/// Binary places that [`LimitEntry::interval`] has beside those of [`crate::limits::FRACTION`] in a limit
/// of bytes, where it is the time of one byte: enough for a hundred gigabits a second, and no packet's
/// time overflows down to a byte a second.
pub const BYTE_FRACTION: u32 = 10;

/// Values of [`LimitEntry::per`].
pub mod limit_per {
    /// One bucket.
    pub const RULE: u32 = 0;
    /// One for each interface.
    pub const INTERFACE: u32 = 1;
    /// One for each source prefix.
    pub const SOURCE: u32 = 2;
    /// One for each destination prefix.
    pub const DESTINATION: u32 = 3;
}

/// Marks of a limit, which condition on the packet's content its rule has (from bit 8 on its number, plus
/// 1), and which log: from bit 16 on the number of the [`LogEntry`], plus 1.
///
/// [`LogEntry`]: super::LogEntry
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct LimitFlags(u32);

impl LimitFlags {
    /// Only packets that may open a connection count.
    pub const NEW: Self = Self(1);
    /// There is no rate, only a time until which the rule matches, or a log.
    pub const NO_RATE: Self = Self(2);
    /// Bytes of IP packets count, not packets: see [`BYTE_FRACTION`].
    pub const BYTES: Self = Self(4);
    /// First bit of the condition's number.
    const CONTENT: u32 = 8;
    /// First bit of the log's number.
    const LOG: u32 = 16;

    /// These flags, and others.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With the number of the rule's log, where there was none.
    #[must_use]
    pub const fn with_log(self, number: u32) -> Self {
        Self(self.0 | (number + 1) << Self::LOG)
    }

    /// With the number of the rule's condition on the packet's content, where there was none.
    #[must_use]
    pub const fn with_content(self, number: u32) -> Self {
        Self(self.0 | (number + 1) << Self::CONTENT)
    }

    /// The bit of the rule's condition in [`crate::key::PacketKey::content`]; 0 if it has none.
    #[must_use]
    #[inline(always)]
    pub const fn content(self) -> u32 {
        // One place up, and down again: none has no bit then.
        (1 << (self.0 >> Self::CONTENT & 0x1f)) >> 1
    }

    /// Whether one of the marks is set that are in `marks`.
    #[must_use]
    #[inline(always)]
    pub const fn has(self, marks: Self) -> bool {
        self.0 & marks.0 != 0
    }

    /// The number of the rule's log, if it has one.
    #[must_use]
    #[inline(always)]
    pub const fn log(self) -> Option<u32> {
        match self.0 >> Self::LOG {
            0 => None,
            number => Some(number - 1),
        }
    }
}

/// How long the prefix is that a limit bans: of IPv4, and from bit 8 on of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct BanLengths(u32);

impl BanLengths {
    /// First bit of the length of IPv6.
    const V6: u32 = 8;

    /// Of IPv4, 0 to 32, and of IPv6, 0 to 128.
    #[must_use]
    pub const fn new(v4: u32, v6: u32) -> Self {
        Self(v4 | v6 << Self::V6)
    }

    /// The length for one family.
    #[must_use]
    #[inline(always)]
    pub const fn of(self, is_v6: bool) -> u32 {
        let lengths = if is_v6 { self.0 >> Self::V6 } else { self.0 };
        lengths & 0xff
    }
}

/// Values of [`Config::has_limit`](super::Config::has_limit).
pub mod has_limit {
    /// No rule has a limit.
    pub const NO: u32 = 0;
    /// Some rule has one, none of them by interface.
    pub const YES: u32 = 1;
    /// Some limit is by interface.
    pub const BY_INTERFACE: u32 = 2;
}

as_word!(LimitFlags: u32, BanLengths: u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_number_of_a_log_come_back() {
        let (new, no_rate) = (LimitFlags::NEW, LimitFlags::NO_RATE);
        for marks in [LimitFlags::default(), new, no_rate, new.and(no_rate)] {
            assert_eq!(marks.log(), None);
            for number in [0, 1, LIMITS as u32, 0xfffe] {
                let flags = LimitFlags::from_word(marks.with_log(number).0);
                assert_eq!(flags.log(), Some(number));
                assert_eq!(flags.has(new), marks.has(new));
                assert_eq!(flags.has(no_rate), marks.has(no_rate));
            }
        }
        for marks in [LimitFlags::default(), new.and(no_rate).with_log(0x7ffe)] {
            assert_eq!(marks.content(), 0);
            for number in 0..crate::abi::CONTENTS as u32 {
                let flags = marks.with_content(number);
                assert_eq!(flags.content(), 1 << number);
                assert_eq!((flags.log(), flags.has(new)), (marks.log(), marks.has(new)));
            }
        }
        assert!(new.has(new) && !new.has(no_rate) && new.and(no_rate).has(new));
        assert_eq!(no_rate.with_log(4), LimitFlags::from_word(5 << 16 | 2));
    }

    #[test]
    fn lengths_of_both_families_come_back() {
        for v4 in [0, 1, 24, 32] {
            for v6 in [0, 1, 64, 127, 128] {
                let lengths = BanLengths::from_word(BanLengths::new(v4, v6).0);
                assert_eq!((lengths.of(false), lengths.of(true)), (v4, v6));
            }
        }
        assert_eq!(BanLengths::new(24, 48), BanLengths::from_word(48 << 8 | 24));
    }
}
