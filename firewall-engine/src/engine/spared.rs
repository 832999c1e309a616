//! The addresses that this host needs, and that no rule bans: its own, its gateways, its resolvers,
//! and those of its links. Read when a policy is put in force.
//!
//! A rule bans a whole prefix where its limit is by one. So that no such prefix holds an address from
//! here, each address stands in the set with every length that the policy bans by.

use super::guard::prefix_of;
use crate::kernel::{KernelError, host};
use firewall_common::live::Prefix;
use firewall_policy::limit::{Lengths, Per};
use firewall_policy::prefixes::prefix_v6;
use firewall_policy::rule::Policy;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

/// `fe80::/10`: neighbours, routers among them.
const LINK_LOCAL: (u128, u32) = (0xfe80 << 112, 10);

/// What the rules of a policy must not ban; nothing if they ban nobody.
pub(super) fn prefixes(policy: &Policy) -> Result<HashSet<Prefix>, KernelError> {
    let lengths: Vec<Lengths> = policy
        .bans()
        .filter_map(|limit| match limit.per {
            Per::Source(lengths) => Some(lengths),
            _ => None,
        })
        .collect();
    if lengths.is_empty() {
        return Ok(HashSet::new());
    }
    let mut addresses: BTreeSet<IpAddr> = host::own_addresses()?.into_iter().collect();
    addresses.extend(host::gateways()?);
    addresses.extend(host::resolvers());
    Ok(widened(&addresses, &lengths))
}

/// The addresses, with all lengths.
fn widened(addresses: &BTreeSet<IpAddr>, lengths: &[Lengths]) -> HashSet<Prefix> {
    let wide = addresses.iter().flat_map(|&address| {
        let address = prefix_of(address);
        lengths.iter().map(move |lengths| {
            let length = if address.is_v6 == 0 {
                lengths.v4
            } else {
                lengths.v6
            };
            Prefix::of(address.hi, address.lo, length.into(), address.is_v6)
        })
    });
    let (first, length) = LINK_LOCAL;
    wide.chain([prefix_v6(first, length)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::prefixes::text;

    #[test]
    fn no_prefix_that_a_rule_bans_holds_an_address_of_this_host() {
        let addresses = ["192.0.2.80", "2001:db8::80", "::ffff:198.51.100.1"];
        let addresses = addresses
            .iter()
            .map(|it| it.parse().expect("an address"))
            .collect();
        let lengths = [Lengths { v4: 24, v6: 56 }, Lengths { v4: 32, v6: 128 }];
        let mut found: Vec<String> = widened(&addresses, &lengths).iter().map(text).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "192.0.2.0/24",
                "192.0.2.80",
                "198.51.100.0/24",
                "198.51.100.1",
                "2001:db8::/56",
                "2001:db8::80",
                "fe80::/10"
            ]
        );
    }
}
