//! Rate limits: the rate up to which a rule's action applies.
//!
//! The generic cell rate algorithm in its virtual scheduling form (ATM Forum, Traffic Management
//! 4.0, 4.4.2; ITU-T I.371, annex A): a bucket is one number, the time at which the next packet is
//! due if all come at the rate. A packet may come early by the tolerance, which is what the burst
//! allows. That number changes by compare-and-exchange, so a limit is exact on any number of
//! processors without a lock, and a packet over the limit only reads.
//!
//! A limit by rule or by interface has one bucket for each. A limit by address has a table of fixed
//! size: sets of [`WAYS`] buckets, each under the tag of its prefix. A prefix without a bucket takes
//! the one that is due first. If that is due already it is worth as much as a new one. If it is not,
//! the prefix takes over what is due with it: nobody gains by pushing others out, and a source that
//! sends much is due late and stays. So spraying addresses costs neither memory nor the limit.
//!
//! May not import anything of the host or the kernel. A change of the layout is a change of
//! [`ABI_VERSION`](crate::abi::ABI_VERSION). Invariant: of the packets that a bucket has
//! seen in any time `t`, at most `burst + rate * t` were within the limit, unless the prefix's
//! bucket went to another one that was due earlier.

use crate::abi::{LIMIT_ENTRY, LIMIT_INDEX_SHIFT, limit_flag, limit_per};
use crate::calls::Calls;
use crate::field::Field;
use crate::key::PacketKey;
use crate::live;
use crate::machine::Machine;
use crate::parse::proto;
use crate::region::Region;
use crate::verdict::Action;

/// Buckets of a set, each a tag and a time: one cache line.
pub const WAYS: u64 = 4;

/// Bytes of a set.
pub const SET: u64 = WAYS * BUCKET;

/// Bytes of a bucket in a set.
const BUCKET: u64 = 16;

/// Offset of a bucket's time behind its tag.
const DUE: u64 = 8;

/// Times are nanoseconds with so many binary places: enough for nine years of uptime, and exact to
/// a thousandth for a hundred million packets a second.
pub const FRACTION: u32 = 6;

/// What [`charge`] returns for a packet within the limit. No slot and action of what is over a limit
/// make this number.
pub const WITHIN: u64 = u64::MAX;

/// Attempts to change a bucket. Each one that fails means that another processor has passed a
/// packet meanwhile; whoever fails so often is over the limit.
const TRIES: u32 = 16;

/// Attempts to find or take a bucket of a set.
const SEARCHES: u32 = 2;

/// TCP flags that tell a packet that opens a connection.
const SYN_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// Byte offsets in a limit's entry ([`crate::abi::LimitEntry`]).
pub(crate) mod at {
    use crate::abi::LimitEntry;
    use core::mem::offset_of;

    pub(crate) const INTERVAL: u64 = offset_of!(LimitEntry, interval) as u64;
    pub(crate) const TOLERANCE: u64 = offset_of!(LimitEntry, tolerance) as u64;
    pub(crate) const UNTIL: u64 = offset_of!(LimitEntry, until) as u64;
    pub(crate) const V4_MASK: u64 = offset_of!(LimitEntry, v4_mask) as u64;
    pub(crate) const V6_MASK_HI: u64 = offset_of!(LimitEntry, v6_mask_hi) as u64;
    pub(crate) const V6_MASK_LO: u64 = offset_of!(LimitEntry, v6_mask_lo) as u64;
    pub(crate) const BASE: u64 = offset_of!(LimitEntry, base) as u64;
    pub(crate) const SIZE: u64 = offset_of!(LimitEntry, size) as u64;
    pub(crate) const OVER: u64 = offset_of!(LimitEntry, over_slot) as u64;
    pub(crate) const PER: u64 = offset_of!(LimitEntry, per) as u64;
    pub(crate) const FLAGS: u64 = offset_of!(LimitEntry, flags) as u64;
    pub(crate) const BAN: u64 = offset_of!(LimitEntry, ban) as u64;
    pub(crate) const BAN_LENGTHS: u64 = offset_of!(LimitEntry, ban_lengths) as u64;
}

/// What the rate limit of a rule, whose table entry is `rule`, says of a packet: [`WITHIN`], or the
/// counter slot and action that stand in for those of the rule.
#[inline(always)]
pub fn charge<M: Machine>(machine: &M, key: &PacketKey, rule: u64) -> u64 {
    pay(machine, find(machine, key, rule), rule)
}

/// Bans the source of a packet that is over a limit, if the limit says so. `rule` is what [`charge`]
/// said, which names the limit as a rule's entry does. Not a part of [`charge`], because the kernel's
/// stack has no room for it below the walk.
#[inline(always)]
pub fn ban<M: Calls>(machine: &M, key: &PacketKey, rule: u64) {
    if machine.constant(|c| &c.has_ban) == 0 {
        return;
    }
    let limit = entry(machine, rule);
    let ticks = machine.table_u32(limit + at::BAN);
    if ticks == 0 {
        return;
    }
    let lengths = machine.table_u32(limit + at::BAN_LENGTHS);
    let length = if key.is_v6 != 0 {
        lengths >> 8
    } else {
        lengths
    };
    live::ban(machine, key, u64::from(length & 0xff), u64::from(ticks));
}

/// Whether the source of a packet over a limit may be banned: it has proven that the packet is its
/// own, and it is no neighbour by its link-local address, and none that the policy exempts. Whether the
/// ban would hold an address that this host needs, [`live::ban`] sees.
#[inline(always)]
pub fn may_ban<M: Calls>(machine: &M, key: &PacketKey) -> bool {
    let proven = match key.field(Field::Proto) {
        // A segment can be established by a handshake that nobody has finished.
        proto::TCP => machine.is_proven(key),
        proto::UDP => key.field(Field::State) == crate::flows::state_field::ESTABLISHED,
        // An ICMP error comes from any router, and says what it quotes.
        _ => false,
    };
    proven && !is_link_local(key) && machine.protection_of(key) & 1 << live::EXEMPT == 0
}

/// Whether the source lies in `fe80::/10`.
#[inline(always)]
const fn is_link_local(key: &PacketKey) -> bool {
    key.is_v6 != 0 && key.src_hi >> 54 == 0xfe80 >> 6
}

/// First half of [`charge`]: the packet's bucket, or [`EXEMPT`], [`EXPIRED`] or [`NOWHERE`].
#[inline(always)]
pub fn find<M: Machine>(machine: &M, key: &PacketKey, rule: u64) -> u64 {
    let limit = entry(machine, rule);
    let flags = machine.table_u32(limit + at::FLAGS);
    if machine.constant(|c| &c.expires) != 0
        && time(machine) >= machine.table_u64(limit + at::UNTIL)
    {
        return EXPIRED;
    }
    if (machine.constant(|c| &c.expires) | machine.constant(|c| &c.logs)) != 0
        && flags & limit_flag::NO_RATE != 0
    {
        return EXEMPT;
    }
    if flags & limit_flag::NEW != 0 && !is_new(machine, key) {
        return EXEMPT;
    }
    bucket(machine, key, limit)
}

/// Second half: takes the packet from the bucket. A function of its own, because the kernel's stack
/// has no room for both at once.
#[inline(always)]
pub fn pay<M: Machine>(machine: &M, bucket: u64, rule: u64) -> u64 {
    if bucket == EXEMPT {
        return WITHIN;
    }
    if bucket == EXPIRED {
        return GOES_ON;
    }
    let limit = entry(machine, rule);
    if bucket != NOWHERE && takes(machine, bucket, limit) {
        return WITHIN;
    }
    // Slot and action stand side by side, like those of a rule.
    machine.table_u64(limit + at::OVER)
}

/// The bucket of a limit that has one for all packets.
#[inline(always)]
pub(crate) fn only_bucket<M: Machine>(machine: &M, rule: u64) -> u64 {
    u64::from(machine.table_u32(entry(machine, rule) + at::BASE))
}

/// Nanoseconds since the Unix epoch, by the clock as it stood when the program was loaded: setting it
/// later moves nothing.
#[inline(always)]
fn time<M: Machine>(machine: &M) -> u64 {
    let offset = u64::from(machine.constant(|c| &c.clock[0]))
        | u64::from(machine.constant(|c| &c.clock[1])) << 32;
    machine.now().wrapping_add(offset)
}

/// Byte offset of a rule's limit in the tables.
#[inline(always)]
pub(crate) fn entry<M: Machine>(machine: &M, rule: u64) -> u64 {
    numbered(machine, rule >> (32 + LIMIT_INDEX_SHIFT) & 0xffff)
}

/// Byte offset of limit `number` in the tables.
#[inline(always)]
pub(crate) fn numbered<M: Machine>(machine: &M, number: u64) -> u64 {
    u64::from(machine.constant(|c| &c.limits)) + number * u64::from(LIMIT_ENTRY)
}

/// Whether the packet is one of those that a limit on what is new counts.
#[inline(always)]
fn is_new<M: Machine>(machine: &M, key: &PacketKey) -> bool {
    if key.field(Field::Proto) == proto::TCP {
        return key.field(Field::TcpFlags) & SYN_ACK == SYN;
    }
    machine.constant(|c| &c.flows) == 0
        || key.field(Field::State) != crate::flows::state_field::ESTABLISHED
}

/// Takes one packet from the bucket whose time stands at byte `due`, if it has one left.
#[inline(always)]
pub(crate) fn takes<M: Machine>(machine: &M, due: u64, limit: u64) -> bool {
    let now = machine.now() << FRACTION;
    let interval = machine.table_u64(limit + at::INTERVAL);
    let tolerance = machine.table_u64(limit + at::TOLERANCE);
    for _ in 0..TRIES {
        let old = machine.read(Region::Buckets, due);
        if old > now + tolerance {
            return false;
        }
        let start = if old > now { old } else { now };
        if machine.exchange_if(Region::Buckets, due, old, start + interval) {
            return true;
        }
    }
    false
}

/// No byte offset in the region: no bucket could be had.
pub const NOWHERE: u64 = u64::MAX;

/// No byte offset in the region: the limit does not count the packet.
pub const EXEMPT: u64 = u64::MAX - 1;

/// No byte offset in the region: the rule's time has come.
pub const EXPIRED: u64 = u64::MAX - 2;

/// What stands in place of a limited rule for a packet that is only thought of.
pub const OVER: u64 = (Action::OVER.0 as u64) << 32;

/// The action `next`, and no counter slot: the rule does not match any more.
pub(crate) const GOES_ON: u64 = (Action::NEXT.0 as u64) << 32 | 0xffff_ffff;

/// Byte offset of the time of the packet's bucket, or [`NOWHERE`].
#[inline(always)]
fn bucket<M: Machine>(machine: &M, key: &PacketKey, limit: u64) -> u64 {
    let base = u64::from(machine.table_u32(limit + at::BASE));
    let per = machine.table_u32(limit + at::PER);
    if per == limit_per::RULE {
        return base;
    }
    if per == limit_per::INTERFACE {
        return base + 8 * (u64::from(key.interface) & 63);
    }
    let (mut hi, mut lo) = if per == limit_per::SOURCE {
        (key.src_hi, key.src_lo)
    } else {
        (key.dst_hi, key.dst_lo)
    };
    if key.is_v6 != 0 {
        hi &= machine.table_u64(limit + at::V6_MASK_HI);
        lo &= machine.table_u64(limit + at::V6_MASK_LO);
    } else {
        lo &= machine.table_u64(limit + at::V4_MASK);
    }
    let hash = hash(machine, hi, lo, u64::from(key.is_v6));
    let sets = u64::from(machine.table_u32(limit + at::SIZE)) - SET;
    in_set(machine, base + (hash >> 16 & sets), hash | 1)
}

/// A number that is another one for every prefix, as far as 64 bits go, and that nobody outside can
/// foresee: multiplication and shift for each word, from a secret.
#[inline(always)]
pub(crate) fn hash<M: Machine>(machine: &M, hi: u64, lo: u64, family: u64) -> u64 {
    let seed = u64::from(machine.constant(|c| &c.buckets_seed[0]))
        | u64::from(machine.constant(|c| &c.buckets_seed[1])) << 32;
    let mut hash = seed;
    for word in [hi, lo ^ family << 63] {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
    }
    hash
}

/// Finds the bucket with a tag in a set, or takes the one that is due first.
#[inline(always)]
fn in_set<M: Machine>(machine: &M, set: u64, tag: u64) -> u64 {
    for _ in 0..SEARCHES {
        let mut first = set;
        let mut first_due = u64::MAX;
        for way in 0..WAYS {
            let at = set + way * BUCKET;
            if machine.read(Region::Buckets, at) == tag {
                return at + DUE;
            }
            let due = machine.read(Region::Buckets, at + DUE);
            if due < first_due {
                (first, first_due) = (at, due);
            }
        }
        // Whose it is by now: between the two reads another processor may have taken it.
        let old = machine.read(Region::Buckets, first);
        if machine.exchange_if(Region::Buckets, first, old, tag) {
            return first + DUE;
        }
    }
    NOWHERE
}
