//! What the tables say of rules that ask for more than a match: a rate limit, a time at which they
//! end, a log. See [`crate::limits`] and [`crate::log`].

/// Set in [`RuleEntry::action`](super::RuleEntry::action) if the rule has an entry here.
pub const LIMITED: u32 = 1 << 8;

/// Where in [`RuleEntry::action`](super::RuleEntry::action) the number of the rule's [`LimitEntry`] stands.
pub const LIMIT_INDEX_SHIFT: u32 = 9;

/// How many such entries a policy can have.
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
    /// Time between two packets at the rate.
    pub interval: u64,
    /// How much earlier than due a packet may come.
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
    /// Counter slot of what is over the limit.
    pub over_slot: u32,
    /// What becomes of that: [`crate::verdict::Action`] `OVER` or `NEXT` as a number, and this limit's
    /// number from [`LIMIT_INDEX_SHIFT`] on.
    pub over_action: u32,
    /// One of [`limit_per`].
    pub per: u32,
    /// Bits of [`limit_flag`].
    pub flags: u32,
    /// How long a source over the limit is banned, in ticks of
    /// [`crate::live::Meta::TICK_SHIFT`]; 0: not at all.
    pub ban: u32,
    /// Length of the prefix that is banned with it: of IPv4, and 8 bits up of IPv6.
    pub ban_lengths: u32,
}
const _: () = assert!(size_of::<LimitEntry>() == LIMIT_ENTRY as usize);

/// Bytes of a [`LimitEntry`].
pub const LIMIT_ENTRY: u32 = 80;

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

/// Bits of [`LimitEntry::flags`].
pub mod limit_flag {
    /// Only packets that may open a connection count.
    pub const NEW: u32 = 1;
    /// There is no rate, only a time until which the rule matches.
    pub const NO_RATE: u32 = 2;
}

/// Where in [`LimitEntry::flags`] the number, plus 1, of the entry stands that belongs to the rule's
/// log: the rate of its events. That entry has the hash of the rule's name
/// ([`crate::log::name_hash`]) in `v6_mask_hi`, bits of [`crate::log::EventBits`] in `v6_mask_lo`, and in
/// `over_slot` the counter of what is not logged.
pub const LIMIT_LOG_SHIFT: u32 = 16;

/// Values of [`Config::has_limit`](super::Config::has_limit).
pub mod has_limit {
    /// No rule has a limit.
    pub const NO: u32 = 0;
    /// Some rule has one, none of them by interface.
    pub const YES: u32 = 1;
    /// Some limit is by interface.
    pub const BY_INTERFACE: u32 = 2;
}
