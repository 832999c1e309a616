//! What expressions of nft look at, as dimensions, and their values as sets.
//!
//! May not import the writer. Invariant: a value that is not understood is `None`, never a default.

use super::super::iptables::numbers;
use super::super::local;
use super::super::packets::{Dim, Family, Values, of_nft, state};
use super::super::values::station;
use firewall_common::field::Field;
use firewall_policy::fields::{self as policy, Place};
use firewall_policy::range::RangeSet;
use firewall_policy::vocabulary;
use serde_json::Value;

/// The left side of a comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Source or destination address of one family.
    Address(Dim, Family),
    /// Ports of one protocol, or of all that have any.
    Port(Dim, Option<u128>),
    Proto,
    /// The protocol in the header of IPv4.
    Protocol4,
    /// The first header behind IPv6's own.
    NextHeader,
    IcmpType(Family),
    IcmpCode(Family),
    /// TCP flags under a mask.
    Flags(u128),
    Interface,
    State,
    /// IPv4, IPv6.
    Nfproto,
    /// The same by the type of a frame, which may be another.
    EtherType,
    /// The source MAC address.
    Mac,
    /// A number, and the header in which it stands; without, whichever the packet has.
    Number(Field, Option<&'static Place>),
    /// What kind an address is to this host.
    AddressType(Dim),
    Concat(Vec<Left>),
    /// A policy cannot look at that.
    Unknown(String),
}

/// Understands the left side of a comparison, or the key of a map.
pub(super) fn left(expression: &Value) -> Left {
    if let Some(payload) = expression.get("payload") {
        return header(payload);
    }
    if let Some(meta) = expression.get("meta") {
        return match super::text(meta, "key") {
            "l4proto" => Left::Proto,
            "nfproto" | "protocol" => Left::Nfproto,
            "iif" | "iifname" => Left::Interface,
            "length" => Left::Number(Field::Length, None),
            key @ ("oif" | "oifname") => Left::Unknown(format!(
                "it is not known yet by which interface a packet leaves when it comes in ({key})"
            )),
            "mark" => Left::Unknown("packets have no marks on arrival (mark)".into()),
            key => unknown(&format!("meta {key}")),
        };
    }
    if let Some(ct) = expression.get("ct") {
        return match super::text(ct, "key") {
            "state" => Left::State,
            key => unknown(&format!("ct {key}")),
        };
    }
    if let Some(fib) = expression.get("fib") {
        let flags: Vec<&str> = match &fib["flags"] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            Value::String(one) => vec![one],
            _ => Vec::new(),
        };
        return match (super::text(fib, "result"), flags[..].first(), flags.len()) {
            ("type", Some(&"daddr"), 1) => Left::AddressType(Dim::Destination),
            ("type", Some(&"saddr"), 1) => Left::AddressType(Dim::Source),
            _ => Left::Unknown("routes are not looked up (fib)".into()),
        };
    }
    if let Some(list) = expression.get("concat").and_then(Value::as_array) {
        return Left::Concat(list.iter().map(left).collect());
    }
    if let Some([inner, mask]) = expression
        .get("&")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        && left(inner) == Left::Flags(0xff)
        && let Some(mask) = flag_bits(mask)
    {
        return Left::Flags(mask);
    }
    match expression
        .as_object()
        .and_then(|object| object.keys().next())
    {
        Some(key) => unknown(key),
        None => unknown(&expression.to_string()),
    }
}

/// A field of a header.
fn header(payload: &Value) -> Left {
    let (protocol, field) = (
        super::text(payload, "protocol"),
        super::text(payload, "field"),
    );
    let of_protocol = match protocol {
        "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    };
    match (protocol, field) {
        ("ip", "saddr") => Left::Address(Dim::Source, Family::V4),
        ("ip", "daddr") => Left::Address(Dim::Destination, Family::V4),
        ("ip6", "saddr") => Left::Address(Dim::Source, Family::V6),
        ("ip6", "daddr") => Left::Address(Dim::Destination, Family::V6),
        ("tcp" | "udp" | "sctp" | "th", "sport") => Left::Port(Dim::SourcePort, of_protocol),
        ("tcp" | "udp" | "sctp" | "th", "dport") => Left::Port(Dim::DestinationPort, of_protocol),
        ("tcp", "flags") => Left::Flags(0xff),
        ("ip", "protocol") => Left::Protocol4,
        ("ether", "type") => Left::EtherType,
        ("ether", "saddr") => Left::Mac,
        ("ip6", "nexthdr") => Left::NextHeader,
        ("icmp", "type") => Left::IcmpType(Family::V4),
        ("icmpv6", "type") => Left::IcmpType(Family::V6),
        ("icmp", "code") => Left::IcmpCode(Family::V4),
        ("icmpv6", "code") => Left::IcmpCode(Family::V6),
        ("", _) => unknown("raw bytes of a packet"),
        _ => match of_nft(protocol, field) {
            Some((row, place)) => Left::Number(row.field, Some(place)),
            None => unknown(&format!("{protocol} {field}")),
        },
    }
}

fn unknown(what: &str) -> Left {
    Left::Unknown(format!("a policy has nothing like `{what}`"))
}

/// An element without its timeout, counter or comment.
pub(super) fn plain(element: &Value) -> &Value {
    match element.get("elem") {
        Some(inner) if inner.get("val").is_some() => &inner["val"],
        _ => element,
    }
}

/// An address, a prefix or a range.
pub(super) fn address(value: &Value) -> Option<(Family, (u128, u128))> {
    if let Some(prefix) = value.get("prefix") {
        let (address, length) = (prefix["addr"].as_str()?, prefix["len"].as_u64()?);
        return local::range(&format!("{address}/{length}"));
    }
    if let Some([first, last]) = value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        return local::range(&format!("{}-{}", first.as_str()?, last.as_str()?));
    }
    local::range(value.as_str()?)
}

/// A number, a name, or a range of these.
pub(super) fn numbers(value: &Value, named: &dyn Fn(&str) -> Option<u128>) -> Option<(u128, u128)> {
    let one = |value: &Value| {
        let number = match value {
            Value::Number(number) => number.as_u64().map(u128::from),
            Value::String(text) => text.parse().ok().or_else(|| named(text)),
            _ => None,
        };
        // No field has more; so nothing overflows that is calculated from it.
        number.filter(|&number| number <= u32::MAX.into())
    };
    match value
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        Some([first, last]) => one(first).zip(one(last)),
        _ => one(value).map(|number| (number, number)),
    }
}

/// Flags: a word, a number, a list, or words joined by `|`.
pub(super) fn flag_bits(value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from).filter(|&bits| bits < 256),
        Value::String(word) => match word.as_str() {
            "ecn" => Some(64),
            word => vocabulary::number(vocabulary::FLAGS, word).map(u128::from),
        },
        Value::Array(list) => list
            .iter()
            .try_fold(0, |bits, one| Some(bits | flag_bits(one)?)),
        Value::Object(object) => flag_bits(object.get("|")?),
        _ => None,
    }
}

/// The types of ICMP messages by the names that nft has.
pub(super) fn icmp_type(word: &str, family: Family) -> Option<u128> {
    let v4 = family == Family::V4;
    let table = if v4 {
        vocabulary::ICMP_TYPES
    } else {
        vocabulary::ICMPV6_TYPES
    };
    if let Some(number) = vocabulary::number(table, word) {
        return Some(number.into());
    }
    Some(match (word, v4) {
        ("source-quench", true) => 4,
        ("info-request", true) => 15,
        ("info-reply", true) => 16,
        ("address-mask-request", true) => 17,
        ("address-mask-reply", true) => 18,
        ("mld-listener-query", false) => 130,
        ("mld-listener-report", false) => 131,
        ("mld-listener-done" | "mld-listener-reduction", false) => 132,
        ("nd-router-solicit", false) => 133,
        ("nd-router-advert", false) => 134,
        ("nd-neighbor-solicit", false) => 135,
        ("nd-neighbor-advert", false) => 136,
        ("nd-redirect", false) => 137,
        ("router-renumbering", false) => 138,
        ("ind-neighbor-solicit", false) => 141,
        ("ind-neighbor-advert", false) => 142,
        ("mld2-listener-report", false) => 143,
        _ => return None,
    })
}

/// The codes of ICMP messages by the names that nft has.
pub(super) fn icmp_code(word: &str, family: Family) -> Option<u128> {
    Some(match (word, family) {
        ("net-unreachable", Family::V4) | ("no-route", Family::V6) => 0,
        ("host-unreachable", Family::V4) | ("admin-prohibited", Family::V6) => 1,
        ("prot-unreachable", Family::V4) => 2,
        ("port-unreachable", Family::V4) | ("addr-unreachable", Family::V6) => 3,
        ("frag-needed", Family::V4) | ("port-unreachable", Family::V6) => 4,
        ("net-prohibited", Family::V4) => 9,
        ("host-prohibited", Family::V4) => 10,
        ("admin-prohibited", Family::V4) => 13,
        ("policy-fail", Family::V6) => 5,
        ("reject-route", Family::V6) => 6,
        _ => return None,
    })
}

/// The states of a word, or of the bits that `nft -nn` shows.
fn states(value: &Value) -> Option<Vec<u128>> {
    const BITS: [(u64, u128); 5] = [
        (1, state::INVALID),
        (2, state::ESTABLISHED),
        (4, state::RELATED),
        (8, state::NEW),
        (64, state::UNTRACKED),
    ];
    if let Some(word) = value.as_str() {
        return state::number(word).map(|state| vec![state]);
    }
    let bits = value.as_u64().filter(|bits| *bits > 0)?;
    let known = BITS.iter().fold(0, |all, (bit, _)| all | bit);
    let of = BITS.iter().filter(|(bit, _)| bits & bit != 0);
    (bits & !known == 0).then(|| of.map(|&(_, state)| state).collect())
}

/// The values of a field of numbers; addresses, flags, states and interfaces are not among them.
pub(super) fn values(left: &Left, value: &Value) -> Option<(Dim, Values)> {
    let range = |named: &dyn Fn(&str) -> Option<u128>| {
        numbers(value, named).map(|(first, last)| RangeSet::of(first, last))
    };
    Some(match left {
        Left::Port(dim, _) => {
            let service = |word: &str| numbers::ports(word)?.ranges().first().map(|r| r.0);
            (*dim, range(&service)?)
        }
        Left::Proto | Left::Protocol4 | Left::NextHeader => {
            (Dim::Proto, range(&numbers::protocol)?)
        }
        Left::Number(field, place) => {
            let named = |word: &str| match field {
                Field::Dscp => numbers::dscp(word),
                _ => vocabulary::number(policy::of(*field).names(), word).map(u128::from),
            };
            let less = place.map_or(0, |place| u128::from(place.less));
            let (first, last) = numbers(value, &named)?;
            (Dim::Number(*field), RangeSet::of(first + less, last + less))
        }
        Left::IcmpType(family) => {
            let (first, last) = numbers(value, &|word| icmp_type(word, *family))?;
            (Dim::Icmp, RangeSet::of(first << 8, last << 8 | 255))
        }
        Left::IcmpCode(family) => {
            let (first, last) = numbers(value, &|word| icmp_code(word, *family))?;
            let of_type = |kind: u128| (kind << 8 | first, kind << 8 | last);
            let all = (0..256).map(of_type).collect();
            (Dim::Icmp, RangeSet::from_ranges(all))
        }
        Left::Mac => (Dim::Mac, station(value.as_str()?)?),
        Left::State => {
            let words: Vec<&Value> = match value {
                Value::Array(list) => list.iter().collect(),
                one => vec![one],
            };
            let states: Option<Vec<Vec<u128>>> = words.into_iter().map(states).collect();
            let ranges = states?.into_iter().flatten().map(|number| (number, number));
            (Dim::State, RangeSet::from_ranges(ranges.collect()))
        }
        _ => return None,
    })
}
