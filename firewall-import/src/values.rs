//! Sets of values as the policy language writes them.
//!
//! May not import a reader. Invariant: what is written reads as the same set, within the values
//! that packets of the rule's protocol have.

use super::packets::{Family, Values};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Mac;
use firewall_policy::text::is_unsafe;
use firewall_policy::vocabulary;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A value or a list in YAML's flow form, from elements that need no more quotes than these give.
pub(super) fn list(elements: &[String]) -> String {
    match elements {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    }
}

/// Text in double quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_unsafe(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// MAC addresses that a rule of a policy can list; `None` if they are too many, or all others than some.
pub(super) fn stations(values: &Values) -> Option<Vec<String>> {
    /// As many as one reads.
    const MOST: u128 = 256;
    let count: u128 = values.ranges().iter().map(|&(a, b)| b - a + 1).sum();
    let each = values.ranges().iter().flat_map(|&(a, b)| a..=b);
    (count <= MOST).then(|| each.map(|mac| Mac(mac as u64).to_string()).collect())
}

/// The MAC address of a station, which can be the source of a frame.
pub(super) fn station(text: &str) -> Option<Values> {
    let mac = Mac::parse(text).filter(|mac| !mac.is_group() && mac.0 != 0)?;
    Some(RangeSet::of(mac.0.into(), mac.0.into()))
}

/// Numbers of a field whose values run from `first` to `last`: as they are, or as what is missing,
/// whichever is shorter. `None` if none is missing.
pub(super) fn numbers(
    values: &Values,
    first: u128,
    last: u128,
    name: impl Fn(u128) -> Option<&'static str>,
) -> Option<String> {
    let domain = RangeSet::of(first, last);
    let values = values.intersection(&domain);
    let missing = values.complement().intersection(&domain);
    if missing.is_empty() {
        return None;
    }
    let (set, negated) = if missing.ranges().len() < values.ranges().len() {
        (&missing, true)
    } else {
        (&values, false)
    };
    let mut texts = Vec::new();
    for &(a, b) in set.ranges() {
        // A few values with names read better by their names.
        if b - a < 4 && (a..=b).all(|value| name(value).is_some()) {
            texts.extend((a..=b).filter_map(&name).map(str::to_owned));
        } else if a == b {
            texts.push(a.to_string());
        } else {
            texts.push(format!("{a}-{b}"));
        }
    }
    let elements = texts.into_iter().map(|text| {
        if negated {
            quoted(&format!("!{text}"))
        } else {
            text
        }
    });
    Some(list(&elements.collect::<Vec<_>>()))
}

/// Protocols by name.
pub(super) fn protocols(values: &Values) -> Option<String> {
    numbers(values, 0, 255, |number| word(vocabulary::PROTOCOLS, number))
}

/// The first word that stands for a number.
pub(super) fn word(table: vocabulary::Table, number: u128) -> Option<&'static str> {
    vocabulary::name(table, u32::try_from(number).ok()?)
}

/// One range of addresses: a prefix, an address, or `a-b`.
pub(super) fn address(family: Family, (first, last): (u128, u128)) -> String {
    let show = |address: u128| match family {
        Family::V4 => Ipv4Addr::from(address as u32).to_string(),
        Family::V6 => Ipv6Addr::from(address).to_string(),
    };
    let bits = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    if first == last {
        return show(first);
    }
    let host = first ^ last;
    let prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
    if prefix {
        format!("{}/{}", show(first), bits - (128 - host.leading_zeros()))
    } else {
        format!("{}-{}", show(first), show(last))
    }
}

/// The ranges of a set as elements, in quotes where YAML needs them.
pub(super) fn addresses(family: Family, values: &Values, sign: &str) -> Vec<String> {
    let elements = values.ranges().iter();
    elements
        .map(|&range| {
            let text = format!("{sign}{}", address(family, range));
            if text.contains(':') || !sign.is_empty() {
                quoted(&text)
            } else {
                text
            }
        })
        .collect()
}

/// All addresses of a family.
pub(super) fn everywhere(family: Family) -> String {
    match family {
        Family::V4 => "0.0.0.0/0".into(),
        Family::V6 => quoted("::/0"),
    }
}

/// A set of TCP flags as `(set, clear)` masks whose union it is: the flags are split one by one
/// where it matters.
pub(super) fn flag_masks(values: &Values) -> Vec<(u128, u128)> {
    fn split(values: &Values, bit: u32, set: u128, clear: u128, out: &mut Vec<(u128, u128)>) {
        let fits = |value: &u128| value & set == set && value & clear == 0;
        let inside = (0..256u128).filter(fits);
        let (mut some, mut all) = (false, true);
        for value in inside {
            let has = values.contains(value);
            some |= has;
            all &= has;
        }
        if all {
            out.push((set, clear));
        } else if some {
            let one = 1u128 << bit;
            let differs = (0..256u128)
                .filter(fits)
                .any(|value| values.contains(value) != values.contains(value ^ one));
            if differs {
                split(values, bit + 1, set | one, clear, out);
                split(values, bit + 1, set, clear | one, out);
            } else {
                split(values, bit + 1, set, clear, out);
            }
        }
    }
    let mut masks = Vec::new();
    split(values, 0, 0, 0, &mut masks);
    masks
}

/// `{set: [...], clear: [...]}`.
pub(super) fn flags(set: u128, clear: u128) -> String {
    let names = |mask: u128| {
        let named = vocabulary::FLAGS.iter();
        let named = named.filter(|&&(_, bit)| mask & u128::from(bit) != 0);
        named.map(|&(name, _)| name).collect::<Vec<_>>().join(", ")
    };
    match (set, clear) {
        (0, clear) => format!("{{clear: [{}]}}", names(clear)),
        (set, 0) => format!("{{set: [{}]}}", names(set)),
        (set, clear) => format!("{{set: [{}], clear: [{}]}}", names(set), names(clear)),
    }
}

/// `{type, code}` entries of ICMP values.
pub(super) fn icmp(family: Family, values: &Values) -> String {
    let table = match family {
        Family::V4 => vocabulary::ICMP_TYPES,
        Family::V6 => vocabulary::ICMPV6_TYPES,
    };
    let mut whole = Vec::new();
    let mut entries = Vec::new();
    for kind in 0..256u128 {
        let codes = values.intersection(&RangeSet::of(kind << 8, kind << 8 | 255));
        if codes.is_empty() {
            continue;
        }
        let name = word(table, kind).map_or_else(|| kind.to_string(), str::to_owned);
        let codes: Vec<(u128, u128)> = codes
            .ranges()
            .iter()
            .map(|&(a, b)| (a & 255, b & 255))
            .collect();
        if codes == [(0, 255)] {
            whole.push((kind, kind));
        } else {
            let codes = RangeSet::from_ranges(codes);
            let codes = numbers(&codes, 0, 255, |_| None).unwrap_or_default();
            entries.push(format!("{{type: {name}, code: {codes}}}"));
        }
    }
    if !whole.is_empty() {
        let whole = RangeSet::from_ranges(whole);
        let types = numbers(&whole, 0, 255, |kind| word(table, kind)).unwrap_or_default();
        entries.insert(0, format!("{{type: {types}}}"));
    }
    list(&entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_apart_into_masks() {
        let of = |wanted: &dyn Fn(u128) -> bool| {
            let values = (0..256).filter(|&value| wanted(value));
            RangeSet::from_ranges(values.map(|value| (value, value)).collect())
        };
        let syn = of(&|value| value & 0x17 == 2);
        assert_eq!(flag_masks(&syn), [(2, 0x15)]);
        let rest = flag_masks(&syn.complement());
        for value in 0..256u128 {
            let hit = rest
                .iter()
                .filter(|(set, clear)| value & set == *set && value & clear == 0)
                .count();
            assert_eq!(hit, usize::from(value & 0x17 != 2), "{value}");
        }
    }

    #[test]
    fn addresses_are_prefixes_where_they_can_be() {
        let v4 = |a, b| address(Family::V4, (a, b));
        assert_eq!(v4(0x0a00_0000, 0x0aff_ffff), "10.0.0.0/8");
        assert_eq!(v4(0, 0xffff_ffff), "0.0.0.0/0");
        assert_eq!(v4(1, 2), "0.0.0.1-0.0.0.2");
        assert_eq!(address(Family::V6, (0, u128::MAX)), "::/0");
        assert_eq!(
            address(Family::V6, (1 << 64, (1 << 65) - 1)),
            "0:0:0:1::/64"
        );
    }
}
