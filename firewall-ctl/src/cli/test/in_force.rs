//! What live sets and bans hold of a packet's addresses, asked of the firewall, for a packet that is
//! tried on the policy in force.

use firewall_api::failure::Failure;
use firewall_api::firewall::Firewall;
use firewall_api::sets::{BANNED, SetRequest};
use firewall_common::key::{Family, PacketKey};
use firewall_common::live::Prefix;
use firewall_policy::entry::parse;
use firewall_policy::packet_text::Earlier;
use firewall_policy::rule::Policy;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Adds to `earlier` what holds the source and the destination of a packet.
pub(super) fn add(
    earlier: &mut Earlier,
    key: &PacketKey,
    policy: &Policy,
    firewall: &dyn Firewall,
) -> Result<(), Failure> {
    let source = address(key, (key.src_hi, key.src_lo));
    let destination = address(key, (key.dst_hi, key.dst_lo));
    earlier.banned.extend(holding(firewall, BANNED, source)?);
    let known = firewall.sets()?;
    for (number, set) in policy.live.iter().enumerate() {
        if !known.sets.iter().any(|known| *known.name == *set.name) {
            continue;
        }
        for address in [source, destination] {
            let members = holding(firewall, &set.name, address)?.into_iter();
            earlier
                .members
                .extend(members.map(|prefix| (number, prefix)));
        }
    }
    Ok(())
}

/// The entries of a set that hold an address.
fn holding(firewall: &dyn Firewall, set: &str, address: IpAddr) -> Result<Vec<Prefix>, Failure> {
    let request = SetRequest {
        holding: Some(address),
        ..SetRequest::default()
    };
    let held = firewall.set(set, &request)?;
    // An entry is printed as it is read.
    let prefixes = held.entries.iter().filter_map(|it| parse(&it.prefix).ok());
    Ok(prefixes.flatten().collect())
}

/// An address of a packet.
fn address(key: &PacketKey, (high, low): (u64, u64)) -> IpAddr {
    match key.family() {
        Family::V4 => Ipv4Addr::from_bits(low as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
    }
}
