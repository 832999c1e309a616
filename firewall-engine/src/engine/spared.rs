//! Addresses that rules never ban because this host depends on them: its own, its gateways, its
//! resolvers. Read when a policy is applied, and refreshed by the daemon. (Link-local addresses of
//! neighbours are never banned either: the program checks that.)
//!
//! A limit per prefix bans a whole prefix. To keep such prefixes free of these addresses, each address
//! is in the set with every length that the policy bans by; the program looks up exactly the prefix
//! that it is about to ban.

use super::guard::prefix_of;
use crate::kernel::{KernelError, host};
use firewall_common::live::Prefix;
use firewall_policy::limit::Per;
use firewall_policy::rule::Policy;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

/// Prefix lengths that a rule bans by: of IPv4, and of IPv6.
pub(super) type Lengths = (u32, u32);

/// The lengths that the rules of a policy ban by; none if they ban nobody.
pub(super) fn lengths(policy: &Policy) -> Vec<Lengths> {
    let by_source = policy.bans().filter_map(|limit| match limit.per {
        Per::Source(lengths) => Some((lengths.v4, lengths.v6)),
        _ => None,
    });
    let lengths: BTreeSet<Lengths> = by_source.collect();
    lengths.into_iter().collect()
}

/// What rules that ban by these lengths must not ban.
pub(super) fn prefixes(lengths: &[Lengths]) -> Result<HashSet<Prefix>, KernelError> {
    if lengths.is_empty() {
        return Ok(HashSet::new());
    }
    let mut addresses: BTreeSet<IpAddr> = host::own_addresses()?.into_iter().collect();
    addresses.extend(host::gateways()?);
    addresses.extend(host::resolvers());
    Ok(widened(&addresses, lengths))
}

/// The addresses, with all lengths.
fn widened(addresses: &BTreeSet<IpAddr>, lengths: &[Lengths]) -> HashSet<Prefix> {
    let wide = addresses.iter().flat_map(|&address| {
        let address = prefix_of(address);
        lengths.iter().map(move |&(v4, v6)| {
            let length = if address.is_v6 == 0 { v4 } else { v6 };
            Prefix::of(address.hi, address.lo, length.into(), address.is_v6)
        })
    });
    wide.collect()
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
        let lengths = [(24, 56), (32, 128)];
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
                "2001:db8::80"
            ]
        );
    }
}
