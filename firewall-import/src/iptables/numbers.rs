//! Numbers and their names as iptables writes them.
//!
//! May not import the writer. Invariant: a word that is not known is `None`, never a default.

use super::super::packets::{Family, Values};
use firewall_policy::range::RangeSet;
use firewall_policy::vocabulary;
use firewall_policy::well_known_ports;

/// A protocol by number or by the name of `/etc/protocols`.
pub(crate) fn protocol(text: &str) -> Option<u128> {
    let text = text.to_ascii_lowercase();
    let known = match text.as_str() {
        "ipv6-icmp" | "icmp6" => Some(58),
        "ipencap" => Some(4),
        "ospfigp" => Some(89),
        "ipcomp" => Some(108),
        "mh" | "mobility-header" => Some(135),
        other => vocabulary::number(vocabulary::PROTOCOLS, other).map(u128::from),
    };
    known.or_else(|| text.parse().ok().filter(|&number: &u128| number < 256))
}

/// `22`, `1024:`, `:1023`, `6000:6010`, and lists of these.
pub(crate) fn ports(text: &str) -> Option<Values> {
    let ranges: Option<Vec<(u128, u128)>> = text
        .split(',')
        .map(|part| match part.split_once([':', '-']) {
            // A name may have a dash of its own.
            _ if well_known_ports::find(part).is_some() => port(part).map(|port| (port, port)),
            Some((first, last)) => {
                let first = if first.is_empty() {
                    Some(0)
                } else {
                    port(first)
                };
                let last = if last.is_empty() {
                    Some(65_535)
                } else {
                    port(last)
                };
                first.zip(last)
            }
            None => port(part).map(|port| (port, port)),
        })
        .collect();
    ranges.map(RangeSet::from_ranges)
}

fn port(text: &str) -> Option<u128> {
    match text.parse::<u16>() {
        Ok(port) => Some(port.into()),
        Err(_) => well_known_ports::find(text).map(|(port, _)| port.into()),
    }
}

/// `a:b` with either end left out, or one value.
pub(crate) fn span(text: &str, separator: char, last: u128) -> Option<Values> {
    let number = |text: &str| text.parse::<u128>().ok().filter(|&value| value <= last);
    match text.split_once(separator) {
        None => number(text).map(|value| RangeSet::of(value, value)),
        Some((first, end)) => {
            let first = if first.is_empty() {
                Some(0)
            } else {
                number(first)
            };
            let end = if end.is_empty() {
                Some(last)
            } else {
                number(end)
            };
            first.zip(end).map(|(first, end)| RangeSet::of(first, end))
        }
    }
}

/// `FIN,SYN,RST,ACK`, `ALL`, `NONE`.
pub(crate) fn flag_mask(text: &str) -> Option<u128> {
    match text {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        names => names.split(',').try_fold(0, |mask, name| {
            let bit = vocabulary::number(vocabulary::FLAGS, &name.to_ascii_lowercase())?;
            Some(mask | u128::from(bit))
        }),
    }
}

/// The flag bytes of which the bits of `mask` are those of `set`.
pub(crate) fn flags(mask: u128, set: u128) -> Values {
    let values = (0..256).filter(|value| value & mask == set & mask);
    RangeSet::from_ranges(values.map(|value| (value, value)).collect())
}

/// A type, `type/code`, or a name.
pub(crate) fn icmp(text: &str, family: Family) -> Option<Values> {
    let whole = |kind: u128| RangeSet::of(kind << 8, kind << 8 | 255);
    let one = |kind: u128, code: u128| RangeSet::of(kind << 8 | code, kind << 8 | code);
    if let Some((kind, code)) = text.split_once('/') {
        let (kind, code): (u8, u8) = (kind.parse().ok()?, code.parse().ok()?);
        return Some(one(kind.into(), code.into()));
    }
    if let Ok(kind) = text.parse::<u8>() {
        return Some(whole(kind.into()));
    }
    let table = match family {
        Family::V4 => vocabulary::ICMP_TYPES,
        Family::V6 => vocabulary::ICMPV6_TYPES,
    };
    if let Some(kind) = vocabulary::number(table, text) {
        return Some(whole(kind.into()));
    }
    let v4 = family == Family::V4;
    Some(match text {
        "ping" | "echo-request" if v4 => whole(8),
        "pong" | "echo-reply" if v4 => whole(0),
        "ttl-exceeded" | "time-exceeded" => whole(if v4 { 11 } else { 3 }),
        "ttl-zero-during-transit" => one(if v4 { 11 } else { 3 }, 0),
        "ttl-zero-during-reassembly" => one(if v4 { 11 } else { 3 }, 1),
        "source-quench" if v4 => whole(4),
        "address-mask-request" if v4 => whole(17),
        "address-mask-reply" if v4 => whole(18),
        "network-unreachable" if v4 => one(3, 0),
        "host-unreachable" if v4 => one(3, 1),
        "protocol-unreachable" if v4 => one(3, 2),
        "port-unreachable" if v4 => one(3, 3),
        "fragmentation-needed" if v4 => one(3, 4),
        "communication-prohibited" if v4 => one(3, 13),
        "no-route" if !v4 => one(1, 0),
        "communication-prohibited" => one(1, 1),
        "address-unreachable" if !v4 => one(1, 3),
        "port-unreachable" => one(1, 4),
        _ => return None,
    })
}

/// A code point: a number in any base, or the name of a class.
pub(crate) fn dscp(text: &str) -> Option<u128> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => lower.parse().ok(),
    };
    number
        .filter(|&code| code < 64)
        .or_else(|| match lower.as_str() {
            "be" => Some(0),
            word => vocabulary::number(vocabulary::DSCP, word).map(u128::from),
        })
}

/// Why a rule with an extension is not exact.
pub(crate) fn unknown(module: &str) -> String {
    let what = match module {
        "limit" | "hashlimit" => "rates are not converted; write a `limit` by hand",
        "connlimit" => "connections are not counted",
        "recent" => "sources are not remembered; write a `limit` with `per: source` by hand",
        "string" | "bpf" | "u32" => "packet contents are not matched",
        "owner" | "cgroup" => "the receiving process is not known on arrival",
        "mac" => "write it by hand: `mac: 02:00:00:00:00:01` in the rule",
        "mark" | "connmark" => "packets have no marks on arrival",
        "pkttype" => "the packet type is not matched",
        "physdev" => "bridge ports are not distinguished",
        "rpfilter" => "reverse-path lookups are not made",
        "time" => "a policy does not match the time of day",
        "statistic" => "a policy does not match at random",
        "policy" => "IPsec state is not known on arrival",
        "geoip" => "countries are not known; use a set of prefixes",
        _ => "",
    };
    if what.is_empty() {
        format!("a policy has nothing like `-m {module}`")
    } else {
        format!("{what} (-m {module})")
    }
}
