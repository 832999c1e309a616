//! What the tables say of a log, and the word in which an event says what became of its packet: see
//! [`crate::log`].

use super::limits::{LIMIT_ENTRY, LimitEntry};
use crate::bits::as_word;
use crate::reason::Reason;
use crate::verdict::Action;
use core::mem::offset_of;

/// The log of a rule, or of the default, in the table of limits: the rate of its events, where a
/// [`LimitEntry`] has its own, and what they say of the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct LogEntry {
    /// As [`LimitEntry::interval`].
    pub interval: u64,
    /// As [`LimitEntry::tolerance`].
    pub tolerance: u64,
    /// As [`LimitEntry::until`]: all ones.
    pub until: u64,
    /// 0.
    pub unused: u64,
    /// The hash of the rule's name ([`crate::log::name_hash`]).
    pub name: u64,
    /// What each of its events says: the action under `mode: audit`.
    pub found: EventBits,
    /// As [`LimitEntry::base`]: one bucket.
    pub base: u32,
    /// As [`LimitEntry::size`].
    pub size: u32,
    /// Counter slot of what is not logged.
    pub unlogged: u32,
    /// 0.
    pub no_action: u32,
    /// 0: [`super::limit_per::RULE`].
    pub per: u32,
    /// The log's own number.
    pub flags: super::LimitFlags,
    /// 0, 0.
    pub no_ban: [u32; 2],
}
const _: () = assert!(
    size_of::<LogEntry>() == LIMIT_ENTRY as usize
        && offset_of!(LogEntry, interval) == offset_of!(LimitEntry, interval)
        && offset_of!(LogEntry, tolerance) == offset_of!(LimitEntry, tolerance)
        && offset_of!(LogEntry, until) == offset_of!(LimitEntry, until)
        && offset_of!(LogEntry, base) == offset_of!(LimitEntry, base)
        && offset_of!(LogEntry, per) == offset_of!(LimitEntry, per)
        && offset_of!(LogEntry, flags) == offset_of!(LimitEntry, flags)
);

/// What became of the packet of an event.
///
/// | bits | |
/// |---|---|
/// | 0-7 | [`Action`] of the rule, or of what is over its limit |
/// | 8-15 | under `mode: audit` of the rule: the action that it would have, plus 1 |
/// | 16 | the packet is over the rule's limit |
/// | 17 | `mode: audit` of the policy: the packet passes all the same |
/// | 18 | IPv6 |
/// | 19 | a frame that is not IP: MAC addresses stand in the place of the others, its EtherType in that of the destination port |
/// | 32-63 | counter slot of the interface |
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(transparent)]
pub struct EventBits(u64);

impl EventBits {
    /// First bit of the action under `mode: audit`.
    const AUDIT: u32 = 8;
    /// The packet is over the limit.
    const OVER: u64 = 1 << 16;
    /// The policy drops nothing.
    const PASSES: u64 = 1 << 17;
    /// The packet is IPv6.
    const V6: u64 = 1 << 18;
    /// The frame is not IP.
    const FRAME: u64 = 1 << 19;
    /// First bit of the interface.
    const INTERFACE: u32 = 32;

    /// What the events of a rule under `mode: audit` say, which would have this action.
    #[must_use]
    #[inline(always)]
    pub const fn audited(action: Action) -> Self {
        Self((action.0 as u64 + 1) << Self::AUDIT)
    }

    /// With the action, which was none.
    #[must_use]
    #[inline(always)]
    pub const fn with_action(self, action: Action) -> Self {
        Self(action.0 as u64 | self.0)
    }

    /// Of a packet that is over the limit.
    #[must_use]
    #[inline(always)]
    pub const fn over(self) -> Self {
        Self(self.0 | Self::OVER)
    }

    /// Of a packet that passes all the same.
    #[must_use]
    #[inline(always)]
    pub const fn passing(self) -> Self {
        Self(self.0 | Self::PASSES)
    }

    /// Of an IPv6 packet.
    #[must_use]
    #[inline(always)]
    pub const fn v6(self) -> Self {
        Self(self.0 | Self::V6)
    }

    /// Of a frame that is not IP.
    #[must_use]
    #[inline(always)]
    pub const fn frame(self) -> Self {
        Self(self.0 | Self::FRAME)
    }

    /// With the counter slot of the interface, which was none.
    #[must_use]
    #[inline(always)]
    pub const fn with_interface(self, slot: u32) -> Self {
        Self(self.0 | (slot as u64) << Self::INTERFACE)
    }

    /// The action of the rule, or of what is over its limit.
    #[must_use]
    pub const fn action(self) -> Action {
        Action(self.0 as u8)
    }

    /// The action that the rule would have, under its `mode: audit`.
    #[must_use]
    pub const fn audit(self) -> Option<Action> {
        match (self.0 >> Self::AUDIT) as u8 {
            0 => None,
            action => Some(Action(action - 1)),
        }
    }

    /// Whether the frame is not IP.
    #[must_use]
    pub const fn is_frame(self) -> bool {
        self.0 & Self::FRAME != 0
    }

    /// Whether the packet is over the rule's limit.
    #[must_use]
    pub const fn is_over(self) -> bool {
        self.0 & Self::OVER != 0
    }

    /// Whether the packet passes all the same, because the policy is under `mode: audit`.
    #[must_use]
    pub const fn passes(self) -> bool {
        self.0 & Self::PASSES != 0
    }

    /// Whether the packet is IPv6.
    #[must_use]
    pub const fn is_v6(self) -> bool {
        self.0 & Self::V6 != 0
    }

    /// Counter slot of the interface.
    #[must_use]
    pub const fn interface(self) -> u32 {
        (self.0 >> Self::INTERFACE) as u32
    }
}

as_word!(EventBits: u64);

/// What an event of a live filter says beside [`EventBits`].
///
/// | bits | |
/// |---|---|
/// | 0-7 | [`Reason`] of the verdict |
/// | 8-15 | the filter's slot, plus 1; 0 in an event of a rule |
/// | 16 | the addresses of the packet are not known |
/// | 32-63 | bytes of the frame |
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub struct SeenBits(u64);

impl SeenBits {
    /// First bit of the slot.
    const SLOT: u32 = 8;
    /// There are no addresses.
    const NAMELESS: u64 = 1 << 16;
    /// First bit of the frame's length.
    const BYTES: u32 = 32;

    /// Of a frame of so many bytes that the filter in a slot has matched.
    #[must_use]
    #[inline(always)]
    pub const fn new(reason: Reason, slot: u64, bytes: u32) -> Self {
        Self(reason.0 as u64 | (slot + 1) << Self::SLOT | (bytes as u64) << Self::BYTES)
    }

    /// Of a frame in which no addresses were found.
    #[must_use]
    #[inline(always)]
    pub const fn nameless(self) -> Self {
        Self(self.0 | Self::NAMELESS)
    }

    /// The reason of the verdict.
    #[must_use]
    pub const fn reason(self) -> Reason {
        Reason(self.0 as u8)
    }

    /// The filter's slot; `None` in an event of a rule.
    #[must_use]
    pub const fn slot(self) -> Option<u64> {
        (self.0 >> Self::SLOT & 0xff).checked_sub(1)
    }

    /// Whether the addresses are not known.
    #[must_use]
    pub const fn is_nameless(self) -> bool {
        self.0 & Self::NAMELESS != 0
    }

    /// Bytes of the frame.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        (self.0 >> Self::BYTES) as u32
    }
}

as_word!(SeenBits: u64);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mark alone and with all others, at the ends of each number.
    #[test]
    fn every_part_comes_back() {
        let audits = [None, Some(0), Some(5), Some(0x7f), Some(0xfe)];
        for marks in 0..8 {
            for audit in audits.map(|audit| audit.map(Action)) {
                for action in [0, 5, 0xff].map(Action) {
                    for slot in [0, 1, 63, u32::MAX] {
                        let mut found = audit.map_or(EventBits::default(), EventBits::audited);
                        found = found.with_action(action).with_interface(slot);
                        if marks & 1 != 0 {
                            found = found.over();
                        }
                        if marks & 2 != 0 {
                            found = found.passing();
                        }
                        if marks & 4 != 0 {
                            found = found.v6();
                        }
                        let found = EventBits::from_word(found.word());
                        assert_eq!((found.action(), found.audit()), (action, audit));
                        assert_eq!(found.interface(), slot);
                        assert_eq!(found.is_over(), marks & 1 != 0);
                        assert_eq!(found.passes(), marks & 2 != 0);
                        assert_eq!(found.is_v6(), marks & 4 != 0);
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_seen_comes_back() {
        assert_eq!(SeenBits::from_word(0).slot(), None);
        for reason in Reason::ALL {
            for slot in 0..4 {
                for bytes in [0, 14, u32::MAX] {
                    let plain = SeenBits::new(*reason, slot, bytes);
                    for (seen, is_nameless) in [(plain, false), (plain.nameless(), true)] {
                        let seen = SeenBits::from_word(seen.word());
                        assert_eq!((seen.reason(), seen.slot()), (*reason, Some(slot)));
                        assert_eq!((seen.bytes(), seen.is_nameless()), (bytes, is_nameless));
                    }
                }
            }
        }
    }

    #[test]
    fn the_layout_is_that_of_the_ring() {
        let found = EventBits::audited(Action::DROP).with_action(Action::NEXT);
        assert_eq!(found.word(), 0x202);
        let found = found.over().passing().v6().with_interface(7);
        assert_eq!(found.word(), 7 << 32 | 7 << 16 | 0x202);
    }
}
