//! Sets of packets while rules of another firewall are carried over: boxes with one set of values
//! for each thing that such rules look at.
//!
//! They have one dimension more than a policy's rules (connection state in the words of the other
//! firewall), and a family each. Invariant: calculation is exact; a box is never empty.

use firewall_common::field::Field;
use firewall_policy::fields::{self, Header, NUMBER_FIELDS, NUMBERS, Place, Row};
use firewall_policy::range::RangeSet;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The address family of a box.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Its own header.
    pub(super) const fn header(self) -> Header {
        match self {
            Self::V4 => Header::Ipv4,
            Self::V6 => Header::Ipv6,
        }
    }

    /// `IPv4` or `IPv6`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// What rules look at. Ports, ICMP, flags, and numbers that not every packet of the family has, have
/// one value to spare for packets without them, as [`Field`] has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Dim {
    Source,
    Destination,
    Proto,
    DestinationPort,
    SourcePort,
    /// `type << 8 | code`.
    Icmp,
    Flags,
    /// Number of an interface in [`super::interfaces::Interfaces`].
    Interface,
    /// Whether the destination is an own address of this host: 0 or 1.
    ToSelf,
    /// The same of the source.
    FromSelf,
    /// The source MAC address, 48 bits.
    Mac,
    /// A number in a header: a field of [`fields::numbers`].
    Number(Field),
    /// One of [`state`].
    State,
}

impl Dim {
    pub(super) const ALL: [Self; BEFORE_NUMBERS.len() + NUMBERS + 1] = {
        let mut all = [Self::State; BEFORE_NUMBERS.len() + NUMBERS + 1];
        let mut at = 0;
        while at + 1 < all.len() {
            all[at] = if at < BEFORE_NUMBERS.len() {
                BEFORE_NUMBERS[at]
            } else {
                Self::Number(NUMBER_FIELDS[at - BEFORE_NUMBERS.len()])
            };
            at += 1;
        }
        all
    };

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize {
        Self::ALL.iter().position(|&dim| dim == self).unwrap_or(0)
    }

    /// Values run from 0 to this one.
    pub(super) fn last(self, family: Family) -> u128 {
        match self {
            Self::Source | Self::Destination => match family {
                Family::V4 => u128::from(u32::MAX),
                Family::V6 => u128::MAX,
            },
            Self::DestinationPort | Self::SourcePort | Self::Icmp => NONE,
            Self::Proto => 255,
            Self::Flags => 256,
            Self::Interface => 65_535,
            Self::ToSelf | Self::FromSelf => 1,
            Self::Mac => (1 << 48) - 1,
            Self::Number(field) => match fields::of(field) {
                row if row.is_in(family.header()) => row.range.1.into(),
                _ => field.none().into(),
            },
            Self::State => 4,
        }
    }

    /// What packets that have it can have there.
    pub(super) fn real(self, family: Family) -> Values {
        match self {
            Self::DestinationPort | Self::SourcePort => RangeSet::of(0, NONE - 1),
            Self::Number(field) => {
                let (first, last) = fields::of(field).range;
                RangeSet::of(first.into(), last.into())
            }
            _ => self.full(family),
        }
    }

    /// Every value.
    pub(super) fn full(self, family: Family) -> Values {
        RangeSet::of(0, self.last(family))
    }
}

/// Those before the numbers.
const BEFORE_NUMBERS: [Dim; 11] = [
    Dim::Source,
    Dim::Destination,
    Dim::Proto,
    Dim::DestinationPort,
    Dim::SourcePort,
    Dim::Icmp,
    Dim::Flags,
    Dim::Interface,
    Dim::ToSelf,
    Dim::FromSelf,
    Dim::Mac,
];

/// What nft calls the headers.
pub(super) const NFT_HEADERS: [(&str, Header); 3] = [
    ("ip", Header::Ipv4),
    ("ip6", Header::Ipv6),
    ("tcp", Header::Tcp),
];

/// The number that nft calls so, and where it stands.
pub(super) fn of_nft(header: &str, name: &str) -> Option<(&'static Row, &'static Place)> {
    let (_, header) = NFT_HEADERS.iter().find(|(known, _)| *known == header)?;
    fields::numbers().find_map(|row| {
        let mut places = row.places.iter();
        let place = places.find(|place| place.header == *header && place.nft == name)?;
        Some((row, place))
    })
}

/// Ports and ICMP: "the packet has none".
pub(super) const NONE: u128 = 65_536;

/// Connection state in the words of Netfilter.
pub(super) mod state {
    pub(crate) const NEW: u128 = 0;
    pub(crate) const ESTABLISHED: u128 = 1;
    pub(crate) const RELATED: u128 = 2;
    pub(crate) const INVALID: u128 = 3;
    pub(crate) const UNTRACKED: u128 = 4;

    /// The number of a word, in any case.
    pub(crate) fn number(word: &str) -> Option<u128> {
        Some(match word.to_ascii_lowercase().as_str() {
            "new" => NEW,
            "established" => ESTABLISHED,
            "related" => RELATED,
            "invalid" => INVALID,
            "untracked" => UNTRACKED,
            _ => return None,
        })
    }
}

/// The values of one dimension.
pub(super) type Values = RangeSet<u128>;

/// A box that is not empty.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Packets {
    pub(super) family: Family,
    sets: [Values; Dim::ALL.len()],
}

impl Packets {
    /// Every packet of a family.
    pub(super) fn all(family: Family) -> Self {
        static ALL: [OnceLock<Packets>; 2] = [OnceLock::new(), OnceLock::new()];
        let make = || Self {
            family,
            sets: Dim::ALL.map(|dim| dim.full(family)),
        };
        ALL[family as usize].get_or_init(make).clone()
    }

    pub(super) fn get(&self, dim: Dim) -> &Values {
        &self.sets[dim.index()]
    }

    /// Whether every value of the dimension is accepted.
    pub(super) fn is_any(&self, dim: Dim) -> bool {
        self.get(dim).ranges() == [(0, dim.last(self.family))]
    }

    /// Whether it is every packet of its family.
    pub(super) fn is_all(&self) -> bool {
        Dim::ALL.into_iter().all(|dim| self.is_any(dim))
    }

    /// This box with one dimension narrowed to `values`; `None` if nothing is left.
    pub(super) fn narrowed(&self, dim: Dim, values: &Values) -> Option<Self> {
        let mine = self.get(dim);
        let both = mine.intersection(values);
        (!both.is_empty()).then(|| self.with(dim, both))
    }

    /// This box with one dimension replaced. The caller sees to it that it is not empty.
    pub(super) fn with(&self, dim: Dim, values: Values) -> Self {
        let mut changed = self.clone();
        changed.sets[dim.index()] = values;
        changed
    }

    /// The packets of both.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        if !self.meets(other) {
            return None;
        }
        let mut found = self.clone();
        for dim in Dim::ALL {
            if !other.is_any(dim) {
                found = found.narrowed(dim, other.get(dim))?;
            }
        }
        Some(found)
    }

    /// Whether a packet is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.family == other.family
            && self.sets.iter().zip(&other.sets).all(|(mine, theirs)| {
                let (mine, theirs) = (mine.ranges(), theirs.ranges());
                match (mine, theirs) {
                    (&[(a, b)], &[(c, d)]) => a <= d && c <= b,
                    _ => mine.iter().any(|&(first, last)| {
                        let after = theirs.partition_point(|&(start, _)| start <= last);
                        after > 0 && theirs[after - 1].1 >= first
                    }),
                }
            })
    }

    /// The packets of this box that are not in `other`, as disjoint boxes.
    pub(super) fn less(&self, other: &Self) -> Vec<Self> {
        if !self.meets(other) {
            return vec![self.clone()];
        }
        let (mut parts, mut shared) = (Vec::new(), self.clone());
        for dim in Dim::ALL {
            if other.is_any(dim) {
                continue;
            }
            let theirs = other.get(dim);
            if let Some(part) = shared.narrowed(dim, &theirs.complement()) {
                parts.push(part);
            }
            let inside = shared.get(dim).intersection(theirs);
            shared = shared.with(dim, inside);
        }
        parts
    }

    /// Whether every packet of `other` is in this box.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.family == other.family
            && Dim::ALL.into_iter().all(|dim| {
                self.is_any(dim)
                    || self.get(dim) == other.get(dim)
                    || &self.get(dim).intersection(other.get(dim)) == other.get(dim)
            })
    }

    /// The one dimension in which two boxes of a family differ; `None` if there are none or more.
    pub(super) fn differ_in(&self, other: &Self) -> Option<Dim> {
        let mut differing = Dim::ALL
            .into_iter()
            .filter(|&dim| self.get(dim) != other.get(dim));
        let first = differing.next().filter(|_| self.family == other.family)?;
        differing.next().is_none().then_some(first)
    }

    /// The same of IPv6, addresses aside: those of all.
    pub(super) fn of_v6(&self) -> Self {
        let mut other = Self::all(Family::V6);
        for dim in Dim::ALL {
            if !matches!(dim, Dim::Source | Dim::Destination) && !self.is_any(dim) {
                other = other.with(dim, self.get(dim).clone());
            }
        }
        other
    }

    /// Whether the two say the same of their families, addresses aside; false if one names
    /// addresses, but for the few that forwarded packets do not go to.
    pub(super) fn twin(&self, other: &Self) -> bool {
        self.family != other.family
            && Dim::ALL.into_iter().all(|dim| match dim {
                Dim::Source => self.is_any(dim) && other.is_any(dim),
                Dim::Destination => {
                    self.is_any(dim) && other.is_any(dim)
                        || self.goes_beyond().is_some() && other.goes_beyond().is_some()
                }
                _ => self.get(dim) == other.get(dim),
            })
    }

    /// Whether the two say the same, addresses aside, and name addresses on the same sides.
    pub(super) fn twin_by_sides(&self, other: &Self) -> bool {
        self.family != other.family
            && Dim::ALL.into_iter().all(|dim| match dim {
                Dim::Source | Dim::Destination => self.is_any(dim) == other.is_any(dim),
                _ => self.get(dim) == other.get(dim),
            })
    }

    /// Of packets to all but this host and a few other addresses, those addresses.
    pub(super) fn goes_beyond(&self) -> Option<Values> {
        const FEW: usize = 8;
        let missing = self.get(Dim::Destination).complement();
        let missing = missing.intersection(&Dim::Destination.full(self.family));
        let not_own = *self.get(Dim::ToSelf) == RangeSet::of(0, 0);
        (not_own && (1..=FEW).contains(&missing.ranges().len())).then_some(missing)
    }
}

/// The packets of every box that are in none of `others`.
pub(super) fn less_all(boxes: Vec<Packets>, others: &[Packets]) -> Vec<Packets> {
    others.iter().fold(boxes, |left, other| {
        left.iter().flat_map(|part| part.less(other)).collect()
    })
}

/// The same packets in fewer boxes: those that differ in one dimension alone become one. The boxes
/// must be disjoint or of one meaning; their order does not count.
pub(super) fn folded(mut boxes: Vec<Packets>) -> Vec<Packets> {
    let mut before = usize::MAX;
    while boxes.len() > 1 && boxes.len() < before {
        before = boxes.len();
        for dim in Dim::ALL {
            if boxes
                .windows(2)
                .all(|pair| pair[0].get(dim) == pair[1].get(dim))
            {
                continue;
            }
            // By everything else; in the order of the first of each.
            let mut places: HashMap<Packets, usize> = HashMap::new();
            let mut groups: Vec<(Packets, Vec<(u128, u128)>)> = Vec::new();
            for part in boxes {
                let ranges = part.get(dim).ranges().to_vec();
                let rest = part.with(dim, dim.full(part.family));
                let place = *places.entry(rest.clone()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some((_, known)) => known.extend(ranges),
                    None => groups.push((rest, ranges)),
                }
            }
            boxes = groups
                .into_iter()
                .map(|(rest, ranges)| rest.with(dim, RangeSet::from_ranges(ranges)))
                .collect();
        }
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(dim: Dim, first: u128, last: u128) -> Packets {
        Packets::all(Family::V4)
            .narrowed(dim, &RangeSet::of(first, last))
            .expect("not empty")
    }

    #[test]
    fn a_difference_and_what_is_shared_make_the_whole() {
        let tcp = narrow(Dim::Proto, 6, 6);
        let ssh = tcp
            .narrowed(Dim::DestinationPort, &RangeSet::of(22, 22))
            .expect("not empty");
        let rest = Packets::all(Family::V4).less(&ssh);
        assert_eq!(rest.len(), 2);
        assert!(rest.iter().all(|part| part.and(&ssh).is_none()));
        assert!(
            less_all(
                vec![Packets::all(Family::V4)],
                &[rest, vec![ssh.clone()]].concat()
            )
            .is_empty()
        );
        assert!(tcp.holds(&ssh) && !ssh.holds(&tcp));
        assert_eq!(tcp.differ_in(&ssh), Some(Dim::DestinationPort));
    }

    #[test]
    fn families_do_not_meet() {
        let (v4, v6) = (Packets::all(Family::V4), Packets::all(Family::V6));
        assert!(v4.and(&v6).is_none() && v4.twin(&v6) && !v4.twin(&v4));
        assert_eq!(v4.less(&v6), vec![v4.clone()]);
        assert!(v4.less(&v4).is_empty());
    }
}
