//! What is in a set, and what of it holds an address or a port. Live sets come from the kernel; the others
//! from the policy in force, as its files were read.
//!
//! Pure.

use crate::engine::{contains, prefix_of};
use firewall_api::sets::{EntryView, SetRequest};
use firewall_common::live::Prefix;
use firewall_policy::prefixes::{prefixes, text};
use firewall_policy::rule::Elements;

/// How many entries a set that is not live has.
pub(super) fn count(elements: &Elements) -> u64 {
    match elements {
        Elements::Addresses(addresses) => prefixes(addresses).count() as u64,
        Elements::Ports(ports) => ports.ranges().len() as u64,
    }
}

/// The entries of a set that is not live, of which the policy is the owner, and the one that is nearest to
/// what was asked for, if none holds it.
pub(super) fn of(elements: &Elements, request: &SetRequest) -> (Vec<EntryView>, Option<String>) {
    let view = |prefix: String| EntryView {
        prefix,
        by: "policy".to_owned(),
        left: None,
    };
    match elements {
        Elements::Addresses(addresses) => {
            let all: Vec<Prefix> = prefixes(addresses).collect();
            let held = holding(&all, request);
            let near = nearest(&all, &held, request);
            let views = held.iter().map(|prefix| view(text(prefix)));
            (views.collect(), near)
        }
        Elements::Ports(ports) => {
            let words = |&(first, last): &(u32, u32)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let Some(port) = request.port.map(u32::from) else {
                let none = request.holding.is_some();
                let all = ports.ranges().iter().filter(|_| !none);
                return (all.map(|range| view(words(range))).collect(), None);
            };
            let ranges = ports.ranges();
            let held = ranges
                .iter()
                .find(|range| range.0 <= port && port <= range.1);
            let far =
                |range: &&(u32, u32)| range.0.saturating_sub(port) + port.saturating_sub(range.1);
            let near = ranges.iter().min_by_key(far).filter(|_| held.is_none());
            (
                held.map(|range| view(words(range))).into_iter().collect(),
                near.map(words),
            )
        }
    }
}

/// Those prefixes that hold the address that is asked for, the widest first; all, if none is.
pub(super) fn holding(all: &[Prefix], request: &SetRequest) -> Vec<Prefix> {
    let Some(address) = request.holding else {
        // No address is a port.
        return all
            .iter()
            .filter(|_| request.port.is_none())
            .copied()
            .collect();
    };
    let held = prefix_of(address);
    let mut found: Vec<Prefix> = all
        .iter()
        .copied()
        .filter(|it| contains(it, &held))
        .collect();
    found.sort_unstable_by_key(|prefix| prefix.length);
    found
}

/// The prefix nearest to the address that is asked for and that none holds.
pub(super) fn nearest(all: &[Prefix], held: &[Prefix], request: &SetRequest) -> Option<String> {
    let address = request.holding.filter(|_| held.is_empty()).map(prefix_of)?;
    let of_family = all.iter().filter(|it| it.is_v6 == address.is_v6);
    of_family.min_by_key(|it| distance(it, &address)).map(text)
}

/// How many addresses lie between a prefix and an address outside of it.
fn distance(prefix: &Prefix, address: &Prefix) -> u128 {
    let value = |prefix: &Prefix| match prefix.is_v6 {
        0 => u128::from(prefix.hi >> 32),
        _ => u128::from(prefix.hi) << 64 | u128::from(prefix.lo),
    };
    let bits = if prefix.is_v6 == 0 { 32 } else { 128 };
    let free = bits - prefix.length as u32;
    let last = value(prefix) | 1u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    let address = value(address);
    value(prefix).saturating_sub(address) + address.saturating_sub(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::range::RangeSet;
    use firewall_policy::source::{NoFiles, read_policy};

    fn elements(written: &str) -> Elements {
        let text = format!(
            "version: 1\ndefault: {{in: drop}}\nsets: {{s: {{type: cidr, elements: [{written}]}}}}\n"
        );
        let read = read_policy("p", &text, &NoFiles).unwrap_or_else(|e| panic!("{e:?}"));
        read.elements[0].1.clone()
    }

    fn asked(elements: &Elements, address: &str) -> (Vec<String>, Option<String>) {
        let request = SetRequest {
            holding: Some(address.parse().unwrap()),
            ..SetRequest::default()
        };
        let (found, near) = of(elements, &request);
        (found.into_iter().map(|entry| entry.prefix).collect(), near)
    }

    #[test]
    fn what_holds_an_address_is_found_or_what_is_nearest_to_it() {
        let set = elements("192.0.2.0/24, 198.51.100.7, \"2001:db8::/32\"");
        assert_eq!(count(&set), 3);
        let nothing = Vec::<String>::new();
        assert_eq!(
            asked(&set, "192.0.2.9"),
            (vec!["192.0.2.0/24".to_owned()], None)
        );
        assert_eq!(asked(&set, "::ffff:192.0.2.9").0, ["192.0.2.0/24"]);
        for (address, near) in [
            ("192.0.3.0", "192.0.2.0/24"),
            ("192.0.1.255", "192.0.2.0/24"),
            ("198.51.100.6", "198.51.100.7"),
            ("255.255.255.255", "198.51.100.7"),
            ("0.0.0.0", "192.0.2.0/24"),
            ("2001:db9::1", "2001:db8::/32"),
            ("::1", "2001:db8::/32"),
        ] {
            assert_eq!(
                asked(&set, address),
                (nothing.clone(), Some(near.to_owned())),
                "{address}"
            );
        }
        let four = elements("192.0.2.0/24");
        assert_eq!(asked(&four, "2001:db8::1"), (nothing, None));
        let whole = of(&set, &SetRequest::default());
        assert_eq!((whole.0.len(), whole.1), (3, None));
    }

    #[test]
    fn ports_are_asked_for_by_number() {
        let ports = Elements::Ports(RangeSet::from_ranges(vec![(80, 80), (5000, 5010)]));
        assert_eq!(count(&ports), 2);
        let asked = |port| {
            let request = SetRequest {
                port: Some(port),
                ..SetRequest::default()
            };
            let (found, near) = of(&ports, &request);
            (found.first().map(|it| it.prefix.clone()), near)
        };
        assert_eq!(asked(5003), (Some("5000-5010".to_owned()), None));
        assert_eq!(asked(81), (None, Some("80".to_owned())));
        assert_eq!(asked(4000), (None, Some("5000-5010".to_owned())));
        let address = SetRequest {
            holding: Some("192.0.2.1".parse().unwrap()),
            ..SetRequest::default()
        };
        assert!(of(&ports, &address).0.is_empty());
    }
}
