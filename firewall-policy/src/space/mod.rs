//! Sets of packets as boxes: the product of one set of values for each match field. What a rule
//! matches is a box for each address family; lint and diff calculate with them.
//!
//! ```text
//! a - b = the packets of a that differ from b first in field 1, in field 2, ... (disjoint boxes)
//! ```
//!
//! May not import `compile`, `host` or `oracle`. Invariant: everything here is exact; what grows
//! too large is given up by the caller's budget, never cut off.

pub(crate) mod reach;

use crate::fields::{self, Usual};
use crate::range::{Number, RangeSet};
use crate::rule::{AddrSet, Match};
use firewall_common::field::Field;
use firewall_common::field::state_field;
use firewall_common::key::{Family, PacketKey};
use std::rc::Rc;

/// A small field's values, shared among the boxes that have them.
pub(crate) type Values<T> = Rc<RangeSet<T>>;

/// An address as a number of one family.
pub(crate) trait Address: Number {
    /// The family.
    const FAMILY: Family;
    /// A source and a destination for examples (RFC 5737, RFC 3849).
    const EXAMPLE: (Self, Self);
    /// This family's half of a set.
    fn half(set: &AddrSet) -> &RangeSet<Self>;
    /// Writes addresses into a key.
    fn put(key: &mut PacketKey, src: Self, dst: Self);
    /// The addresses of a key.
    fn get(key: &PacketKey) -> (Self, Self);
    /// The number of values from `first` to `last`, less one, and the value so far behind `first`.
    fn offset(first: Self, last: Self, random: u128) -> Self;
}

impl Address for u32 {
    const FAMILY: Family = Family::V4;
    const EXAMPLE: (Self, Self) = (0xcb00_7109, 0xc633_6450);

    fn half(set: &AddrSet) -> &RangeSet<Self> {
        &set.v4
    }

    fn put(key: &mut PacketKey, src: Self, dst: Self) {
        (key.src_lo, key.dst_lo) = (src.into(), dst.into());
    }

    fn get(key: &PacketKey) -> (Self, Self) {
        (key.src_lo as Self, key.dst_lo as Self)
    }

    fn offset(first: Self, last: Self, random: u128) -> Self {
        let count = u128::from(last - first) + 1;
        first + (random % count) as Self
    }
}

impl Address for u128 {
    const FAMILY: Family = Family::V6;
    const EXAMPLE: (Self, Self) = (0x2001_0db8 << 96 | 9, 0x2001_0db8 << 96 | 1);

    fn half(set: &AddrSet) -> &RangeSet<Self> {
        &set.v6
    }

    fn put(key: &mut PacketKey, src: Self, dst: Self) {
        (key.src_hi, key.src_lo) = ((src >> 64) as u64, src as u64);
        (key.dst_hi, key.dst_lo) = ((dst >> 64) as u64, dst as u64);
    }

    fn get(key: &PacketKey) -> (Self, Self) {
        (key.src(), key.dst())
    }

    fn offset(first: Self, last: Self, random: u128) -> Self {
        match (last - first).checked_add(1) {
            Some(count) => first + random % count,
            None => random,
        }
    }
}

/// A product of sets, none of which is empty.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Space<T> {
    /// Source and destination addresses.
    pub(crate) addresses: [Values<T>; 2],
    /// Small fields by [`Field`] index.
    pub(crate) fields: [Values<u32>; Field::COUNT],
}

/// One field of one box less the same field of another.
fn minus<T: Number>(a: &RangeSet<T>, b: &RangeSet<T>) -> RangeSet<T> {
    a.intersection(&b.complement())
}

/// Whether every value of `a` is in `b`.
pub(crate) fn within<T: Number>(a: &RangeSet<T>, b: &RangeSet<T>) -> bool {
    let mut ranges = b.ranges().iter();
    let mut range = ranges.next();
    a.ranges().iter().all(|&(first, last)| {
        while range.is_some_and(|&(_, end)| end < first) {
            range = ranges.next();
        }
        range.is_some_and(|&(start, end)| start <= first && last <= end)
    })
}

/// Whether a value is in both sets.
pub(crate) fn meet<T: Number>(a: &RangeSet<T>, b: &RangeSet<T>) -> bool {
    let (mut a, mut b) = (a.ranges(), b.ranges());
    // A short set looks its values up in a long one.
    if a.len() > b.len() {
        (a, b) = (b, a);
    }
    if a.len() * 16 < b.len() {
        return a.iter().any(|&(first, last)| {
            let at = b.partition_point(|&(_, end)| end < first);
            b.get(at).is_some_and(|&(start, _)| start <= last)
        });
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].1 < b[j].0 {
            i += 1;
        } else if b[j].1 < a[i].0 {
            j += 1;
        } else {
            return true;
        }
    }
    false
}

/// Both fields, without copying one that is inside the other.
fn both<T: Number>(a: &Values<T>, b: &Values<T>) -> Option<Values<T>> {
    if Rc::ptr_eq(a, b) || within(a, b) {
        return Some(Rc::clone(a));
    }
    if within(b, a) {
        return Some(Rc::clone(b));
    }
    let found = a.intersection(b);
    (!found.is_empty()).then(|| Rc::new(found))
}

impl<T: Address> Space<T> {
    /// What the match accepts in this family; `None` for nothing.
    pub(crate) fn of(matches: &Match) -> Option<Self> {
        let side = |set: &AddrSet| Rc::new(T::half(set).clone());
        let space = Self {
            addresses: [side(&matches.src), side(&matches.dst)],
            fields: std::array::from_fn(|field| Rc::new(matches.fields[field].clone())),
        };
        let empty = space.addresses.iter().any(|set| set.is_empty())
            || space.fields.iter().any(|set| set.is_empty());
        (!empty).then_some(space)
    }

    /// Every packet of the family, and every value that no packet has.
    pub(crate) fn everything() -> Self {
        let any = Rc::new(RangeSet::full());
        Self {
            addresses: [Rc::clone(&any), any],
            fields: Field::ALL.map(|field| Rc::new(RangeSet::of(0, field.none()))),
        }
    }

    /// One field's values.
    pub(crate) fn field(&self, field: Field) -> &RangeSet<u32> {
        &self.fields[field as usize]
    }

    /// This box with other values in a field.
    #[must_use]
    pub(crate) fn with(mut self, field: Field, values: RangeSet<u32>) -> Self {
        self.fields[field as usize] = Rc::new(values);
        self
    }

    /// Whether a packet is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let fields = self.fields.iter().zip(&other.fields);
        let addresses = self.addresses.iter().zip(&other.addresses);
        fields
            .into_iter()
            .all(|(a, b)| Rc::ptr_eq(a, b) || meet(a, b))
            && addresses
                .into_iter()
                .all(|(a, b)| Rc::ptr_eq(a, b) || meet(a, b))
    }

    /// In how many fields `other` leaves values of this box out; 0 if it holds the whole box.
    pub(crate) fn misfits(&self, other: &Self) -> usize {
        let fields = self.fields.iter().zip(&other.fields);
        let addresses = self.addresses.iter().zip(&other.addresses);
        fields
            .filter(|(a, b)| !Rc::ptr_eq(a, b) && !within(a, b))
            .count()
            + addresses
                .filter(|(a, b)| !Rc::ptr_eq(a, b) && !within(a, b))
                .count()
    }

    /// The packets of both.
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let mut found = self.clone();
        for (mine, theirs) in found.fields.iter_mut().zip(&other.fields) {
            *mine = both(mine, theirs)?;
        }
        for (mine, theirs) in found.addresses.iter_mut().zip(&other.addresses) {
            *mine = both(mine, theirs)?;
        }
        Some(found)
    }

    /// The packets of this box that are not in `other`, as disjoint boxes.
    pub(crate) fn less(&self, other: &Self) -> Vec<Self> {
        let mut parts = Vec::new();
        // What this box and `other` share in the fields so far.
        let mut shared = self.clone();
        for i in 0..Field::COUNT {
            let (mine, theirs) = (&self.fields[i], &other.fields[i]);
            if Rc::ptr_eq(mine, theirs) || within(mine, theirs) {
                continue;
            }
            let outside = minus(mine, theirs);
            let mut part = shared.clone();
            part.fields[i] = Rc::new(outside);
            parts.push(part);
            match both(mine, theirs) {
                Some(inside) => shared.fields[i] = inside,
                // Nothing is shared: the parts so far are cut from a box that stays whole.
                None => return vec![self.clone()],
            }
        }
        for i in 0..2 {
            let (mine, theirs) = (&self.addresses[i], &other.addresses[i]);
            if Rc::ptr_eq(mine, theirs) || within(mine, theirs) {
                continue;
            }
            let outside = minus(mine, theirs);
            let mut part = shared.clone();
            part.addresses[i] = Rc::new(outside);
            parts.push(part);
            match both(mine, theirs) {
                Some(inside) => shared.addresses[i] = inside,
                None => return vec![self.clone()],
            }
        }
        parts
    }

    /// Whether a packet, which must be of this family, is in the box.
    pub(crate) fn contains(&self, key: &PacketKey) -> bool {
        let fields = self.fields.iter().zip(&key.fields);
        let mut fields = fields.map(|(values, &value)| values.contains(value));
        let (src, dst) = T::get(key);
        fields.all(|accepted| accepted)
            && self.addresses[0].contains(src)
            && self.addresses[1].contains(dst)
    }

    /// A packet of the box as a network would send one, as far as the box allows it, and how many of its
    /// values are such ones.
    pub(crate) fn typical(&self) -> (PacketKey, usize) {
        let mut key = PacketKey::empty(T::FAMILY);
        let mut usual = 0;
        for field in Field::ALL {
            let wishes: &[u32] = match (field, fields::of(field).usual) {
                (Field::Icmp, _) if T::FAMILY == Family::V4 => &[8 << 8, 3 << 8 | 4, 0],
                (Field::Icmp, _) => &[128 << 8, 2 << 8, 129 << 8],
                // The beginning of a connection, its answer, what goes on with it, its ends.
                (Field::TcpFlags, _) => &[0x02, 0x12, 0x10, 0x18, 0x11, 0x14, 0x04],
                (Field::State, _) => &[state_field::NEW, state_field::ESTABLISHED],
                (Field::DestinationPort, _) => &[22, 443, 80, 53, 40_000, 8_080],
                (_, Usual::Is(value) | Usual::Near(value)) => &[value],
            };
            let values = self.field(field);
            let wish = wishes.iter().copied().find(|&wish| values.contains(wish));
            usual += usize::from(wish.is_some());
            key.fields[field as usize] = wish.unwrap_or_else(|| nearest(values, wishes[0]));
        }
        let (src, dst) = T::EXAMPLE;
        let [sources, destinations] = &self.addresses;
        T::put(&mut key, host(sources, src), host(destinations, dst));
        (key, usual)
    }

    /// A packet of the box, chosen by `random`, which gives the next random number: the ends of
    /// ranges as often as what is between them.
    pub(crate) fn sample(&self, random: &mut impl FnMut() -> u128) -> PacketKey {
        let mut key = PacketKey::empty(T::FAMILY);
        for (value, values) in key.fields.iter_mut().zip(&self.fields) {
            *value = pick(values, random);
        }
        let [src, dst] = &self.addresses;
        T::put(&mut key, pick(src, random), pick(dst, random));
        key
    }
}

/// The most typical packet of several boxes that are not empty.
pub(crate) fn typical<T: Address>(boxes: &[Space<T>]) -> PacketKey {
    let typical = boxes.iter().map(Space::typical);
    // Of equal ones the first.
    let best = typical.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or_else(|| PacketKey::empty(T::FAMILY), |(key, _)| key)
}

/// An address of a host in the set: the wish if it is in the set. The first address of a prefix is that of
/// the network.
fn host<T: Number>(values: &RangeSet<T>, wish: T) -> T {
    if values.contains(wish) {
        return wish;
    }
    let Some(&(first, last)) = values.ranges().first() else {
        return wish;
    };
    match first.next() {
        Some(second) if second < last => second,
        _ => first,
    }
}

/// A value if it is in the set, or else the first one of the set.
fn nearest<T: Number>(values: &RangeSet<T>, wish: T) -> T {
    if values.contains(wish) {
        return wish;
    }
    values.ranges().first().map_or(wish, |&(first, _)| first)
}

/// One value of a set that is not empty.
fn pick<T: Sampled>(values: &RangeSet<T>, random: &mut impl FnMut() -> u128) -> T {
    let ranges = values.ranges();
    let (first, last) = ranges[(random() % ranges.len() as u128) as usize];
    match random() % 4 {
        0 => first,
        1 => last,
        _ => T::between(first, last, random()),
    }
}

/// A number that can be drawn at random.
trait Sampled: Number {
    fn between(first: Self, last: Self, random: u128) -> Self;
}

impl<T: Address> Sampled for T {
    fn between(first: Self, last: Self, random: u128) -> Self {
        T::offset(first, last, random)
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), two numbers at a time.
pub(crate) fn random(seed: u64) -> impl FnMut() -> u128 {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    move || u128::from(next()) << 64 | u128::from(next())
}
