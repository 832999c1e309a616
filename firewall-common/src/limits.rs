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

mod entries;

pub(crate) use entries::At;

use crate::abi::{BYTE_FRACTION, Entry, LimitEntry, LimitFlags, limit_per};
use crate::calls::Calls;
use crate::field::Field;
use crate::key::PacketKey;
use crate::live;
use crate::machine::Machine;
use crate::parse::proto;
use crate::region::{Bucket, Region};

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

/// Attempts to change a bucket. Each one that fails means that another processor has passed a
/// packet meanwhile; whoever fails so often is over the limit.
const TRIES: u32 = 16;

/// Attempts to find or take a bucket of a set.
const SEARCHES: u32 = 2;

/// TCP flags that tell a packet that opens a connection.
const SYN_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// What the rate limit of a rule says of a packet: [`Entry::WITHIN`], or the entry that stands in the
/// place of the rule's.
#[inline(always)]
pub fn charge<M: Machine>(machine: &M, key: &PacketKey, rule: Entry) -> Entry {
    let bytes = key.field(Field::Length);
    pay(machine, find(machine, key, rule), rule, bytes)
}

/// Bans the source of a packet that is over a limit, if the limit says so. `rule` is what [`charge`]
/// said, which names the limit as the rule's entry does. Not a part of [`charge`], because the kernel's
/// stack has no room for it below the walk.
#[inline(always)]
pub fn ban<M: Calls>(machine: &M, key: &PacketKey, rule: Entry) {
    if machine.constant(|c| &c.has_ban) == 0 {
        return;
    }
    let limit = At::of(machine, rule);
    let ticks = limit.ban(machine);
    if ticks == 0 {
        return;
    }
    let length = limit.ban_lengths(machine).of(key.is_v6 != 0);
    live::ban(machine, key, u64::from(length), u64::from(ticks));
}

/// Whether the source of a packet over a limit may be banned: it has proven that the packet is its
/// own, and it is no neighbour by its link-local address, and none that the policy exempts. Whether the
/// ban would hold an address that this host needs, [`live::ban`] sees.
#[inline(always)]
pub fn may_ban<M: Calls>(machine: &M, key: &PacketKey) -> bool {
    // A segment can be established by a handshake that nobody has finished. Of everything else nobody has
    // to hear this host's answers: a made-up datagram to an open port is answered, and the next one
    // belongs to a conversation.
    let proven = key.field(Field::Proto) == proto::TCP && machine.is_proven(key);
    proven && !is_link_local(key) && machine.protection_of(key) & 1 << live::EXEMPT == 0
}

/// Whether the source lies in `fe80::/10`.
#[inline(always)]
const fn is_link_local(key: &PacketKey) -> bool {
    key.is_v6 != 0 && key.src_hi >> 54 == 0xfe80 >> 6
}

/// First half of [`charge`]: the packet's bucket.
#[inline(always)]
pub fn find<M: Machine>(machine: &M, key: &PacketKey, rule: Entry) -> Bucket {
    let limit = At::of(machine, rule);
    let flags = limit.flags(machine);
    let contents = machine.constant(|c| &c.contents);
    if contents != 0 && flags.content() & !u32::from(key.content) != 0 {
        return Bucket::MISSED;
    }
    if machine.constant(|c| &c.expires) != 0 && time(machine) >= limit.until(machine) {
        return Bucket::MISSED;
    }
    if (machine.constant(|c| &c.expires) | machine.constant(|c| &c.logs) | contents) != 0
        && flags.has(LimitFlags::NO_RATE)
    {
        return Bucket::EXEMPT;
    }
    if flags.has(LimitFlags::NEW) && !is_new(machine, key) {
        return Bucket::EXEMPT;
    }
    bucket(machine, key, limit)
}

/// Whether bytes count and not packets.
#[inline(always)]
fn counts_bytes<M: Machine>(machine: &M, limit: At<LimitEntry>) -> bool {
    machine.constant(|c| &c.has_bytes) != 0 && limit.flags(machine).has(LimitFlags::BYTES)
}

/// Second half: takes the packet, of so many bytes, from the bucket. A function of its own, because the kernel's stack
/// has no room for both at once.
#[inline(always)]
pub fn pay<M: Machine>(machine: &M, bucket: Bucket, rule: Entry, bytes: u32) -> Entry {
    if bucket == Bucket::EXEMPT {
        return Entry::WITHIN;
    }
    if bucket == Bucket::MISSED {
        return Entry::GOES_ON;
    }
    let limit = At::of(machine, rule);
    if bucket != Bucket::NOWHERE && takes_its_due(machine, bucket, limit, bytes) {
        return Entry::WITHIN;
    }
    limit.over(machine)
}

/// Takes a packet or its bytes from a bucket, if it has as much left.
#[inline(always)]
fn takes_its_due<M: Machine>(
    machine: &M,
    bucket: Bucket,
    limit: At<LimitEntry>,
    bytes: u32,
) -> bool {
    if !counts_bytes(machine, limit) {
        return takes(machine, bucket, limit);
    }
    let now = machine.now() << FRACTION;
    // No field is larger than 65,536, and a byte's time is below 2^46. Rounded up: never more than the rate.
    let exact = limit.interval(machine) * u64::from(bytes & 0x1_ffff);
    let cost = (exact + (1 << BYTE_FRACTION) - 1) >> BYTE_FRACTION;
    let tolerance = limit.tolerance(machine);
    cost <= tolerance && moves(machine, bucket, now, (cost, tolerance - cost))
}

/// The bucket of a limit that has one for all packets.
#[inline(always)]
pub(crate) fn only_bucket<M: Machine>(machine: &M, limit: At<LimitEntry>) -> Bucket {
    Bucket::at(limit.base(machine))
}

/// Nanoseconds since the Unix epoch, by the clock as it stood when the program was loaded: setting it
/// later moves nothing.
#[inline(always)]
fn time<M: Machine>(machine: &M) -> u64 {
    let offset = u64::from(machine.constant(|c| &c.clock[0]))
        | u64::from(machine.constant(|c| &c.clock[1])) << 32;
    machine.now().wrapping_add(offset)
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

/// Takes one packet from a bucket of a limit, if it has one left.
#[inline(always)]
pub(crate) fn takes<M: Machine>(machine: &M, bucket: Bucket, limit: At<LimitEntry>) -> bool {
    let now = machine.now() << FRACTION;
    let interval = limit.interval(machine);
    let tolerance = limit.tolerance(machine);
    moves(machine, bucket, now, (interval, tolerance))
}

/// Moves the time at which a bucket's next packet is due by `interval`, if that is not further ahead than
/// `tolerance`.
#[inline(always)]
fn moves<M: Machine>(
    machine: &M,
    bucket: Bucket,
    now: u64,
    (interval, tolerance): (u64, u64),
) -> bool {
    let due = bucket.due();
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

/// The packet's bucket, or [`Bucket::NOWHERE`].
#[inline(always)]
fn bucket<M: Machine>(machine: &M, key: &PacketKey, limit: At<LimitEntry>) -> Bucket {
    let base = limit.base(machine);
    let per = limit.per(machine);
    if per == limit_per::RULE {
        return Bucket::at(base);
    }
    if per == limit_per::INTERFACE {
        return Bucket::at(base + 8 * (u64::from(key.interface) & 63));
    }
    let (mut hi, mut lo) = if per == limit_per::SOURCE {
        (key.src_hi, key.src_lo)
    } else {
        (key.dst_hi, key.dst_lo)
    };
    if key.is_v6 != 0 {
        hi &= limit.v6_mask_hi(machine);
        lo &= limit.v6_mask_lo(machine);
    } else {
        lo &= limit.v4_mask(machine);
    }
    let hash = hash(machine, hi, lo, u64::from(key.is_v6));
    let sets = limit.size(machine) - SET;
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
fn in_set<M: Machine>(machine: &M, set: u64, tag: u64) -> Bucket {
    for _ in 0..SEARCHES {
        let mut first = set;
        let mut first_due = u64::MAX;
        for way in 0..WAYS {
            let at = set + way * BUCKET;
            if machine.read(Region::Buckets, at) == tag {
                return Bucket::at(at + DUE);
            }
            let due = machine.read(Region::Buckets, at + DUE);
            if due < first_due {
                (first, first_due) = (at, due);
            }
        }
        // Whose it is by now: between the two reads another processor may have taken it.
        let old = machine.read(Region::Buckets, first);
        if machine.exchange_if(Region::Buckets, first, old, tag) {
            return Bucket::at(first + DUE);
        }
    }
    Bucket::NOWHERE
}
