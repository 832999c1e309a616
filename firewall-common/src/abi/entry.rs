//! What a match of a rule leads to, in one word: so it stands in the tables, and so it goes from the walk
//! to the verdict.

use crate::bits::as_word;
use crate::verdict::Action;

/// What a match of a rule leads to. In the tables entry number `i` of a family belongs to its rule `i`.
///
/// | bits | |
/// |---|---|
/// | 0-31 | counter slot in `fw_rules`: bound to the rule's name, not to its position |
/// | 32-39 | [`Action`] |
/// | 40 | the rule has a [`LimitEntry`](super::LimitEntry) |
/// | 41-56 | which one |
/// | 63 | found by the walk; never in the tables |
///
/// What is over a limit has a slot and an action of its own, which stand in the place of the rule's. A
/// limit that is no rule's, and a log that is no rule's, are named by an entry, too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// First bit of the action.
    const ACTION: u32 = 32;
    /// Set if the rule has a limit.
    const LIMITED: u64 = 1 << 40;
    /// First bit of the limit's number, and the bits of it.
    const LIMIT: u32 = 41;
    const LIMITS: u64 = 0xffff;
    /// Set by the walk.
    const FOUND: u64 = 1 << 63;

    /// No rule.
    pub const NONE: Self = Self(0);

    /// In the place of what is over a limit: the packet is within it. (No slot and action make this
    /// number.)
    pub const WITHIN: Self = Self(u64::MAX);

    /// What stands in the place of a limited rule for a packet that is only thought of.
    pub const OVER: Self = Self::new(0, Action::OVER);

    /// The action `next`, and no counter slot: the rule does not match any more.
    pub const GOES_ON: Self = Self::new(u32::MAX, Action::NEXT);

    /// A counter slot and an action.
    #[must_use]
    #[inline(always)]
    pub const fn new(slot: u32, action: Action) -> Self {
        Self(slot as u64 | (action.0 as u64) << Self::ACTION)
    }

    /// Names a limit, and nothing else.
    #[must_use]
    #[inline(always)]
    pub const fn of_limit(number: u64) -> Self {
        Self(number << Self::LIMIT)
    }

    /// With the number of a limit, which was 0.
    #[must_use]
    #[inline(always)]
    pub const fn with_limit(self, number: u64) -> Self {
        Self(self.0 | number << Self::LIMIT)
    }

    /// With the mark of a rule that has a limit.
    #[must_use]
    #[inline(always)]
    pub const fn limited(self) -> Self {
        Self(self.0 | Self::LIMITED)
    }

    /// With the mark of what the walk has found.
    #[must_use]
    #[inline(always)]
    pub const fn found(self) -> Self {
        Self(self.0 | Self::FOUND)
    }

    /// The counter slot.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// What the rule does, or what becomes of what is over its limit.
    #[must_use]
    #[inline(always)]
    pub const fn action(self) -> Action {
        Action((self.0 >> Self::ACTION) as u8)
    }

    /// Whether the rule has a limit.
    #[must_use]
    #[inline(always)]
    pub const fn is_limited(self) -> bool {
        self.0 & Self::LIMITED != 0
    }

    /// The number of the limit; 0 if there is none.
    #[must_use]
    #[inline(always)]
    pub const fn limit(self) -> u64 {
        self.0 >> Self::LIMIT & Self::LIMITS
    }

    /// Whether it is [`Entry::NONE`].
    #[must_use]
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }
}

as_word!(Entry: u64);

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: [u32; 5] = [0, 1, 0x8000_0000, u32::MAX - 1, u32::MAX];
    const LIMITS: [u64; 5] = [0, 1, 1_023, 0x7fff, 0xffff];

    /// No part reaches into another one, at the ends of each.
    #[test]
    fn every_part_comes_back() {
        for slot in SLOTS {
            for action in [0, 1, 5, 0x80, 0xff].map(Action) {
                let bare = Entry::new(slot, action);
                assert_eq!((bare.slot(), bare.action()), (slot, action));
                assert_eq!((bare.limit(), bare.is_limited()), (0, false));
                for limit in LIMITS {
                    let entry = bare.with_limit(limit);
                    let marked = [
                        entry,
                        entry.limited(),
                        entry.found(),
                        entry.limited().found(),
                    ];
                    for (number, entry) in marked.into_iter().enumerate() {
                        assert_eq!((entry.slot(), entry.action()), (slot, action));
                        assert_eq!(
                            (entry.limit(), entry.is_limited()),
                            (limit, number % 2 == 1)
                        );
                        assert_eq!(Entry::from_word(entry.word()), entry);
                        assert!(!entry.found().is_none());
                    }
                    assert_ne!(entry.limited(), entry);
                    assert_ne!(entry.found(), entry);
                }
            }
        }
    }

    #[test]
    fn a_limit_alone_has_neither_slot_nor_action() {
        for limit in LIMITS {
            let entry = Entry::of_limit(limit);
            assert_eq!((entry.slot(), entry.action()), (0, Action::PASS));
            assert_eq!((entry.limit(), entry.is_limited()), (limit, false));
            assert_eq!(entry, Entry::new(0, Action::PASS).with_limit(limit));
        }
    }

    #[test]
    fn the_layout_is_that_of_the_table() {
        let entry = Entry::new(0x89ab_cdef, Action::REJECT)
            .with_limit(0x123)
            .limited();
        assert_eq!(entry.word(), 0x2_4704_89ab_cdef);
        assert_eq!(entry.found().word(), 0x8002_4704_89ab_cdef);
        assert!(Entry::NONE.is_none() && Entry::default().is_none());
    }

    /// What is said in the place of an entry is none.
    #[test]
    fn what_stands_for_an_entry_is_none() {
        let most = Entry::new(u32::MAX, Action(0xff)).with_limit(0xffff);
        for entry in [most, most.limited(), most.found(), most.limited().found()] {
            assert_ne!(entry, Entry::WITHIN);
        }
        assert_eq!(Entry::OVER.action(), Action::OVER);
        assert_eq!(Entry::GOES_ON.action(), Action::NEXT);
        assert_eq!(Entry::GOES_ON.slot(), crate::pipeline::NO_RULE);
    }
}
