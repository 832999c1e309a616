//! Adding and removing prefixes. The caller holds the table's lock, or has the table alone.

use super::{
    BANNED, BANS, ENTRY, IDS, Meta, Place, Prefix, SPARED, WAYS, address, colour, entry, head,
    is_protected, meta_of, now, owner, set_meta, slots, tags,
};
use crate::key::PacketKey;
use crate::machine::{Machine, Step};
use crate::region::Region;

/// What became of a prefix that was to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// It is in the set now, and was not.
    New,
    /// It was in the set; its end and origin are the new ones.
    Again,
    /// Both of its buckets are full.
    NoRoom,
}

/// No slot.
const NONE: u64 = u64::MAX;

/// Adds a prefix to a set: `meta` is [`Prefix::meta`] with an end and an origin.
#[inline(always)]
pub fn put<M: Machine>(machine: &M, prefix: &Prefix, meta: Meta) -> Added {
    let place = prefix.place(machine);
    let found = find(machine, prefix, meta, &place);
    put_at(machine, prefix, meta, (&place, &found))
}

/// As [`put`], where it was found to go.
#[inline(always)]
fn put_at<M: Machine>(
    machine: &M,
    prefix: &Prefix,
    meta: Meta,
    (place, found): (&Place, &Slots),
) -> Added {
    if found.same != NONE {
        set_meta(machine, found.same, meta);
        change(machine);
        return Added::Again;
    }
    let slot = machine.forget(if found.free_second > found.free_first {
        found.second
    } else {
        found.first
    });
    if slot == NONE {
        return Added::NoRoom;
    }
    // What has ended there gives way.
    let old = meta_of(machine, slot);
    if !old.is_free() {
        set_meta(machine, slot, Meta::FREE);
        count(machine, old, false);
    }
    machine.write(Region::Live, entry(slot), prefix.hi);
    machine.write(Region::Live, entry(slot) + 8, prefix.lo);
    set_meta(machine, slot, meta);
    set_tag(machine, slot, place.tag);
    count(machine, meta, true);
    change(machine);
    Added::New
}

/// What the entry of a prefix in a set says, or [`Meta::FREE`] if there is none; `meta` is its
/// [`Prefix::meta`].
pub fn get<M: Machine>(machine: &M, prefix: &Prefix, meta: Meta) -> Meta {
    let found = find(machine, prefix, meta, &prefix.place(machine));
    match found.same {
        NONE => Meta::FREE,
        slot => meta_of(machine, slot),
    }
}

/// Removes a prefix from a set; `meta` is its [`Prefix::meta`]. What its entry said, or [`Meta::FREE`] if
/// there was none.
pub fn remove<M: Machine>(machine: &M, prefix: &Prefix, meta: Meta) -> Meta {
    let found = find(machine, prefix, meta, &prefix.place(machine));
    if found.same == NONE {
        return Meta::FREE;
    }
    let old = meta_of(machine, found.same);
    free(machine, found.same);
    old
}

/// Removes every entry of which `goes` says so by its last word, and those that have ended. Gives
/// how many entries there are left.
pub fn sweep<M: Machine>(machine: &M, mut goes: impl FnMut(Meta) -> bool) -> u64 {
    let now = now(machine);
    let mut left = 0;
    for slot in 0..slots(machine) {
        let meta = meta_of(machine, slot);
        if meta.is_free() {
            continue;
        }
        if meta.has_ended(now) || goes(meta) {
            free(machine, slot);
        } else {
            left += 1;
        }
    }
    left
}

/// Makes the header and the tags what the entries say: for a table whose last writer did not finish.
pub fn recount<M: Machine>(machine: &M) {
    let mut counts = [0u64; 33 + 129];
    let mut owners = [0u64; 64];
    for slot in 0..slots(machine) {
        let meta = meta_of(machine, slot);
        if meta.is_free() {
            set_tag(machine, slot, 0);
            continue;
        }
        let prefix = Prefix {
            hi: machine.read(Region::Live, entry(slot)),
            lo: machine.read(Region::Live, entry(slot) + 8),
            length: meta.length(),
            is_v6: meta.is_v6(),
        };
        set_tag(machine, slot, prefix.place(machine).tag);
        if is_protected(meta.id()) {
            note_protected(machine, meta);
        } else if let Some(count) = counts.get_mut(counter(meta) as usize) {
            *count += 1;
        }
        owners[meta.owner() as usize] += 1;
    }
    for (number, &count) in owners.iter().enumerate() {
        machine.write(Region::Live, head::OWNERS + number as u64 * 8, count);
    }
    let mut words = [0u64; 4];
    for (number, &count) in counts.iter().enumerate() {
        machine.write(Region::Live, head::COUNTS + number as u64 * 8, count);
        let (word, bit) = match number.checked_sub(33) {
            None => (0, number),
            Some(length) => (1 + length / 64, length % 64),
        };
        words[word] |= u64::from(count != 0) << bit;
    }
    let v6: u32 = words[1..].iter().map(|word| word.count_ones()).sum();
    machine.write(Region::Live, head::V4, words[0]);
    for (number, &word) in words[1..].iter().enumerate() {
        machine.write(Region::Live, head::V6_LENGTHS + number as u64 * 8, word);
    }
    machine.write(Region::Live, head::V6, v6.into());
    change(machine);
}

/// Bans the packet's source for `ticks`, if the lock is free; if it is not, the next packet will. Not
/// if exactly this prefix stands among the spared: each address that this host needs does so once for
/// every length that rules ban by, so the prefix holds one of them. (A longer prefix beside it is
/// banned.)
#[inline(always)]
pub fn ban<M: Machine>(machine: &M, key: &PacketKey, length: u64, ticks: u64) {
    if !machine.try_lock(Region::Live, head::LOCK) {
        return;
    }
    let (hi, lo) = address(key, false);
    let prefix = Prefix::of(hi, lo, length, u64::from(key.is_v6));
    // Which way it was cut to its length is of no matter from here on.
    let prefix = Prefix {
        hi: machine.forget(prefix.hi),
        lo: machine.forget(prefix.lo),
        length: machine.forget(prefix.length),
        is_v6: machine.forget(prefix.is_v6),
    };
    let id = u64::from(BANNED);
    let owner = owner(id, colour(machine, id));
    let meta = prefix.meta(owner).by_rule();
    let meta = meta.with_end(now(machine) + ticks);
    let banned = machine.read(Region::Live, head::OWNERS + owner * 8);
    let place = prefix.place(machine);
    let found = find(machine, &prefix, meta, &place);
    if !found.is_spared
        && (banned >= BANS || put_at(machine, &prefix, meta, (&place, &found)) == Added::NoRoom)
    {
        let refused = machine.read(Region::Live, head::REFUSED);
        machine.write(Region::Live, head::REFUSED, refused + 1);
    }
    machine.unlock(Region::Live, head::LOCK);
}
const _: () = assert!(BANNED < IDS);

/// Frees an entry.
fn free<M: Machine>(machine: &M, slot: u64) {
    let meta = meta_of(machine, slot);
    set_meta(machine, slot, Meta::FREE);
    set_tag(machine, slot, 0);
    count(machine, meta, false);
    change(machine);
}

/// Counts a change.
#[inline(always)]
fn change<M: Machine>(machine: &M) {
    let changes = machine.read(Region::Live, head::CHANGES);
    machine.write(Region::Live, head::CHANGES, changes + 1);
}

#[inline(always)]
fn set_tag<M: Machine>(machine: &M, slot: u64, tag: u64) {
    let offset = tags(machine, slot / WAYS, (slot / 4) & 1);
    let shift = (slot & 3) * 16;
    let others = machine.read(Region::Live, offset) & !(0xffff << shift);
    machine.write(Region::Live, offset, others | tag << shift);
}

/// The number of an entry's length among [`head::COUNTS`].
#[inline(always)]
const fn counter(meta: Meta) -> u64 {
    meta.length() + meta.is_v6() * 33
}

/// One more, or one less. (The table's counts are right: see [`recount`].)
#[inline(always)]
const fn step(count: u64, is_in: bool) -> u64 {
    if is_in {
        count.wrapping_add(1)
    } else {
        count.wrapping_sub(1)
    }
}

/// Counts an entry of this length in or out, and says so to readers if it is the first or the last.
#[inline(always)]
fn count<M: Machine>(machine: &M, meta: Meta, is_in: bool) {
    let of_owner = head::OWNERS + meta.owner() * 8;
    let owned = machine.read(Region::Live, of_owner);
    machine.write(Region::Live, of_owner, step(owned, is_in));
    if is_protected(meta.id()) {
        if is_in {
            note_protected(machine, meta);
        }
        return;
    }
    let at = head::COUNTS + counter(meta) * 8;
    let before = machine.read(Region::Live, at);
    let after = step(before, is_in);
    machine.write(Region::Live, at, after);
    if (before == 0) == (after == 0) {
        return;
    }
    let length = meta.length();
    let word = if meta.is_v6() == 0 {
        head::V4
    } else {
        let used = machine.read(Region::Live, head::V6);
        machine.write(Region::Live, head::V6, step(used, is_in));
        head::V6_LENGTHS + length / 64 * 8
    };
    let lengths = machine.read(Region::Live, word);
    let bit = 1 << (length & 63);
    let lengths = if is_in { lengths | bit } else { lengths & !bit };
    machine.write(Region::Live, word, lengths);
}

/// Sets the bit of the length of an entry of a protected set.
#[inline(always)]
fn note_protected<M: Machine>(machine: &M, meta: Meta) {
    let length = meta.length();
    let word = if meta.is_v6() == 0 {
        head::PROTECTED_V4
    } else {
        head::PROTECTED_V6 + length / 64 * 8
    };
    let lengths = machine.read(Region::Live, word);
    machine.write(Region::Live, word, lengths | 1 << (length & 63));
}

/// What stands in a prefix's two buckets.
struct Slots {
    /// Its own entry, or [`NONE`].
    same: u64,
    /// An entry of each bucket that is free, or has ended, or [`NONE`]; and how many those are.
    first: u64,
    second: u64,
    free_first: u64,
    free_second: u64,
    /// It stands among the spared, too. (Not known where its own entry was found before.)
    is_spared: bool,
}

#[inline(always)]
fn find<M: Machine>(machine: &M, prefix: &Prefix, meta: Meta, place: &Place) -> Slots {
    let zero = machine.opaque(0);
    let mut search = SlotSearch {
        machine: *machine,
        prefix,
        identity: meta.identity(),
        now: now(machine),
        first: place.first * WAYS,
        second: place.second * WAYS,
        round: zero,
        same: zero,
        free: [zero; 2],
        frees: [zero; 2],
        spared: zero,
    };
    machine.repeat(2 * WAYS as u32, &mut search);
    Slots {
        is_spared: search.spared != 0,
        same: search.same.wrapping_sub(1),
        first: search.free[0].wrapping_sub(1),
        second: search.free[1].wrapping_sub(1),
        free_first: search.frees[0],
        free_second: search.frees[1],
    }
}

/// The search of [`find`]. Slots are one more than they are, 0 for none.
struct SlotSearch<'a, M> {
    machine: M,
    prefix: &'a Prefix,
    identity: Meta,
    now: u64,
    first: u64,
    second: u64,
    round: u64,
    same: u64,
    free: [u64; 2],
    frees: [u64; 2],
    spared: u64,
}

impl<M> SlotSearch<'_, M> {
    /// Whether an entry is of the same length and family as the prefix.
    #[inline(always)]
    const fn has_length(&self, meta: Meta) -> bool {
        meta.length() == self.identity.length() && meta.is_v6() == self.identity.is_v6()
    }
}

impl<M: Machine> Step for SlotSearch<'_, M> {
    #[inline(always)]
    fn forget(&mut self) {
        let [free_first, free_second] = &mut self.free;
        let [first, second] = &mut self.frees;
        for number in [
            &mut self.round,
            &mut self.same,
            &mut self.spared,
            free_first,
            free_second,
            first,
            second,
        ] {
            *number = self.machine.forget(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let way = self.round & (WAYS - 1);
        let in_second = self.round >= WAYS;
        // What a round has found out about one number would make a path of every combination.
        self.round = self.machine.forget(self.round + 1);
        let slot = way + if in_second { self.second } else { self.first };
        let meta = meta_of(&self.machine, slot);
        if meta.is_free() || meta.has_ended(self.now) {
            let (free, frees) = if in_second {
                (&mut self.free[1], &mut self.frees[1])
            } else {
                (&mut self.free[0], &mut self.frees[0])
            };
            *free = self.machine.forget(slot + 1);
            *frees = self.machine.forget(*frees + 1);
        }
        let is_own = meta.identity() == self.identity;
        if (is_own || meta.id() == u64::from(SPARED) && self.has_length(meta))
            && self.machine.read(Region::Live, entry(slot)) == self.prefix.hi
            && self.machine.read(Region::Live, entry(slot) + 8) == self.prefix.lo
        {
            if is_own {
                self.same = slot + 1;
                return false;
            }
            self.spared = 1;
        }
        true
    }
}

const _: () = assert!(ENTRY == 3 * 8);
