//! Sets of addresses as prefixes: the fewest that cover exactly the same addresses.
//!
//! Invariant: the prefixes of a set do not overlap, and none of two could be one.

use crate::range::{Number, RangeSet};
use crate::rule::AddrSet;
use firewall_common::live::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefixes of a set, IPv4 first, each family in the order of its addresses.
pub fn prefixes(set: &AddrSet) -> impl Iterator<Item = Prefix> + '_ {
    let v4 = ranges(&set.v4, 32);
    let v6 = ranges(&set.v6, 128);
    let v4 = v4.map(|(first, length)| prefix_v4(first as u32, length));
    v4.chain(v6.map(|(first, length)| prefix_v6(first, length)))
}

/// A prefix as people write it; the length is left out of a single address.
#[must_use]
pub fn text(prefix: &Prefix) -> String {
    let (address, longest): (IpAddr, u64) = if prefix.is_v6 == 0 {
        (Ipv4Addr::from_bits((prefix.hi >> 32) as u32).into(), 32)
    } else {
        let bits = u128::from(prefix.hi) << 64 | u128::from(prefix.lo);
        (Ipv6Addr::from_bits(bits).into(), 128)
    };
    if prefix.length == longest {
        address.to_string()
    } else {
        format!("{address}/{}", prefix.length)
    }
}

/// An IPv4 prefix.
#[must_use]
pub fn prefix_v4(first: u32, length: u32) -> Prefix {
    Prefix {
        hi: u64::from(first) << 32,
        lo: 0,
        length: length.into(),
        is_v6: 0,
    }
}

/// An IPv6 prefix.
#[must_use]
pub fn prefix_v6(first: u128, length: u32) -> Prefix {
    Prefix {
        hi: (first >> 64) as u64,
        lo: first as u64,
        length: length.into(),
        is_v6: 1,
    }
}

/// First address and length of every prefix of a set of addresses with `bits` bits.
fn ranges<T: Number + Into<u128>>(
    set: &RangeSet<T>,
    bits: u32,
) -> impl Iterator<Item = (u128, u32)> + '_ {
    set.ranges()
        .iter()
        .flat_map(move |&(first, last)| range(first.into(), last.into(), bits))
}

/// The largest prefix that begins with the first address and does not reach past the last one, then
/// the same for the rest.
fn range(first: u128, last: u128, bits: u32) -> impl Iterator<Item = (u128, u32)> {
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let first = next?;
        // How many of the lowest bits are free: 0 at the first address, and inside the range.
        let mut free = first.trailing_zeros().min(bits);
        let end = |free: u32| first | 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        while end(free) > last {
            free -= 1;
        }
        next = (end(free) < last).then(|| end(free) + 1);
        Some((first, bits - free))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_cut_into_the_fewest_prefixes() {
        let cut = |first: u32, last: u32| {
            let set = AddrSet {
                v4: RangeSet::of(first, last),
                v6: RangeSet::empty(),
            };
            prefixes(&set)
                .map(|p| ((p.hi >> 32) as u32, p.length as u32))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0, u32::MAX), [(0, 0)]);
        assert_eq!(cut(7, 7), [(7, 32)]);
        assert_eq!(cut(1, 6), [(1, 32), (2, 31), (4, 31), (6, 32)]);
        let everything = AddrSet::any();
        let lengths: Vec<u64> = prefixes(&everything).map(|p| p.length).collect();
        assert_eq!(lengths, [0, 0], "one of each family");
    }

    proptest! {
        #[test]
        fn prefixes_cover_the_range_and_nothing_else(a in any::<u128>(), b in any::<u128>()) {
            let (first, last) = (a.min(b), a.max(b));
            let mut next = Some(first);
            for (start, length) in range(first, last, 128) {
                prop_assert_eq!(Some(start), next);
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                prop_assert_eq!(start & host, 0);
                next = (start | host).checked_add(1);
            }
            prop_assert_eq!(next, last.checked_add(1));
        }
    }
}
