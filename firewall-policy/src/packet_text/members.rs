//! Packets from and to the sets of a policy: `from @admins` is an address of that set.
//!
//! A live set takes the address in ([`PacketText::earlier`]). Of a set that the policy fixes, the
//! packet takes an address: the one that is written, if it is in the set.

use super::PacketText;
use crate::range::RangeSet;
use crate::rule::{AddrSet, BANNED, Policy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a packet has no address in a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misplaced {
    /// The policy has no set of this name.
    Unknown(String),
    /// The set holds no address of the packet's family.
    Empty(String),
}

impl PacketText {
    /// The packet with addresses of the policy's sets that it names. Live sets stay named.
    ///
    /// # Errors
    /// A set that is not there, or from which no such packet can come.
    pub fn placed(&self, policy: &Policy) -> Result<Self, Misplaced> {
        let mut packet = self.clone();
        place(&mut packet.src, self.dst, &mut packet.from_sets, policy)?;
        place(&mut packet.dst, packet.src, &mut packet.to_sets, policy)?;
        Ok(packet)
    }
}

/// Puts one address into the fixed sets among `names`, all of them at once, and takes their names out. No
/// packet goes from an address to itself, so it is not the `other` one.
fn place(
    address: &mut IpAddr,
    other: IpAddr,
    names: &mut Vec<String>,
    policy: &Policy,
) -> Result<(), Misplaced> {
    let mut common: Option<AddrSet> = None;
    let mut last = None;
    let mut live = Vec::new();
    for name in names.drain(..) {
        if name == BANNED || policy.live_set(&name).is_some() {
            live.push(name);
            continue;
        }
        let Some(set) = policy.sets.iter().find(|set| set.name == name) else {
            return Err(Misplaced::Unknown(name));
        };
        let set = &set.addresses;
        common = Some(match common {
            None => set.clone(),
            Some(sum) => AddrSet {
                v4: sum.v4.intersection(&set.v4),
                v6: sum.v6.intersection(&set.v6),
            },
        });
        last = Some(name);
    }
    *names = live;
    let (Some(set), Some(name)) = (common, last) else {
        return Ok(());
    };
    let found: Option<IpAddr> = match (*address, other) {
        (IpAddr::V4(v4), IpAddr::V4(other)) => {
            member(&set.v4, v4.into(), other.into()).map(|n| Ipv4Addr::from(n).into())
        }
        (IpAddr::V6(v6), IpAddr::V6(other)) => {
            member(&set.v6, v6.into(), other.into()).map(|n| Ipv6Addr::from(n).into())
        }
        // A packet has two addresses of one family.
        _ => None,
    };
    *address = found.ok_or(Misplaced::Empty(name))?;
    Ok(())
}

/// What is written, if it is in the set; else a host of the set. The first address of a prefix is that
/// of the network.
fn member<T: crate::range::Number>(set: &RangeSet<T>, written: T, other: T) -> Option<T> {
    let fits = |address: &T| set.contains(*address) && *address != other;
    if fits(&written) {
        return Some(written);
    }
    // One address is the other end's: two ranges are enough.
    let hosts = |&(first, last): &(T, T)| {
        let second = first.next().filter(|&second| second < last);
        let third = second.and_then(T::next);
        [second, third, Some(first), Some(last)]
    };
    let ranges = set.ranges().iter().take(2);
    ranges.flat_map(hosts).flatten().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_behind_the_one_that_the_other_end_has() {
        let set = |ranges: &[(u32, u32)]| RangeSet::from_ranges(ranges.to_vec());
        let two = set(&[(10, 10), (20, 20)]);
        assert_eq!(member(&two, 5, 10), Some(20));
        assert_eq!(member(&two, 5, 20), Some(10));
        assert_eq!(member(&two, 20, 10), Some(20), "as it is written");
        assert_eq!(member(&set(&[(10, 10)]), 5, 10), None);
        assert_eq!(member(&set(&[(10, 11)]), 5, 10), Some(11));
        assert_eq!(member(&set(&[(0, 255)]), 999, 1), Some(2));
    }
}
