//! Memory that the program keeps from packet to packet, in regions: which there are, how large
//! each one is. Every region is a map of its own, of words of eight bytes; offsets wrap round at its
//! size.
//!
//! A region is used through [`crate::machine::Machine`] in the program, and through memory-mapped
//! words in user space, by one protocol: whoever changes what more than one word says holds the
//! lock that belongs to them; whoever reads without it checks what was read.
//!
//! May not import anything of the host or the kernel. Invariant: a region's size is a constant of
//! the generation and a power of two, so an offset is masked and never compared.

use crate::abi::{Config, FRAGMENTS_SIZE, WATCH_SIZE};
use crate::bits::as_word;

/// One region. Known when the code is compiled, wherever it is used: each one has an address of its
/// own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Region {
    /// Datagrams whose first fragment has passed: [`crate::fragments`]. Of a generation alone.
    Fragments = 0,
    /// Connections that this host has opened or accepted. Handed on from generation to generation.
    Flows = 1,
    /// How much each rate limit has left. Handed on.
    Buckets = 2,
    /// What is banned, and live sets: [`crate::live`]. Handed on.
    Live = 3,
    /// Events of rules with `log`: [`crate::log`]. Handed on.
    Log = 4,
    /// Sources that have proven themselves: [`crate::proof`]. Handed on.
    Proof = 5,
    /// When SYNs have left: [`crate::flows`]. Handed on.
    Syns = 6,
    /// Live filters, and the events of what they match: [`crate::watch`]. Handed on.
    Watch = 7,
}

/// Bytes of a region that no policy uses. Nothing reaches it; a map cannot be smaller.
pub const UNUSED_SIZE: u32 = 8;

/// Bytes behind a region that is handed on, for user space alone: what must live as long as the
/// region's content. The first two words of 4 bytes are the secret with which its hashes begin, which the
/// engine copies into the constants of each generation.
pub const REGION_HEADER: u32 = 64;

impl Region {
    /// How many regions there are.
    pub const COUNT: usize = 8;

    /// All regions, in index order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Fragments,
        Self::Flows,
        Self::Buckets,
        Self::Live,
        Self::Log,
        Self::Proof,
        Self::Syns,
        Self::Watch,
    ];

    /// Name of its map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fragments => "fw_fragments",
            Self::Flows => "fw_flows",
            Self::Buckets => "fw_buckets",
            Self::Live => "fw_live",
            Self::Log => "fw_log",
            Self::Proof => "fw_proof",
            Self::Syns => "fw_syns",
            Self::Watch => "fw_watch",
        }
    }

    /// Whether it outlives its generation.
    #[must_use]
    pub const fn is_handed_on(self) -> bool {
        !matches!(self, Self::Fragments)
    }

    /// Its size in bytes under a policy, as the constants say it: a power of two. The sizes of
    /// fragments and of live filters do not depend on the policy; where none are followed nothing reaches
    /// the first.
    #[must_use]
    #[inline(always)]
    pub const fn size(self, config: &Config) -> &u32 {
        match self {
            Self::Fragments => &FRAGMENTS_SIZE,
            Self::Flows => &config.flows_size,
            Self::Buckets => &config.buckets_size,
            Self::Live => &config.live_size,
            Self::Log => &config.log_size,
            Self::Proof => &config.proof_size,
            Self::Syns => &config.syns_size,
            Self::Watch => &WATCH_SIZE,
        }
    }
}

/// Where the bucket of a rate limit is, in [`Region::Buckets`], that a packet is taken from. Or why there
/// is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Bucket(u64);

impl Bucket {
    /// No bucket could be had.
    pub const NOWHERE: Self = Self(u64::MAX);

    /// The limit does not count the packet.
    pub const EXEMPT: Self = Self(u64::MAX - 1);

    /// The rule does not match: its time has come, or the packet has not the content that it asks for.
    pub const MISSED: Self = Self(u64::MAX - 2);

    /// The bucket whose time stands at this byte offset of the region.
    #[must_use]
    #[inline(always)]
    pub const fn at(due: u64) -> Self {
        Self(due)
    }

    /// Byte offset of the time at which its next packet is due.
    #[must_use]
    #[inline(always)]
    pub const fn due(self) -> u64 {
        self.0
    }
}

as_word!(Bucket: u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_where_it_was_and_no_reason_is_one() {
        let reasons = [Bucket::NOWHERE, Bucket::EXEMPT, Bucket::MISSED];
        for due in [0, 8, 1 << 31, u64::from(u32::MAX) - 7] {
            let bucket = Bucket::from_word(Bucket::at(due).word());
            assert_eq!(bucket.due(), due);
            assert!(!reasons.contains(&bucket));
        }
        for (number, reason) in reasons.into_iter().enumerate() {
            assert_eq!(Bucket::from_word(reason.word()), reason);
            assert!(!reasons[..number].contains(&reason));
        }
    }
}
