//! What a text that cannot be read may stand for: whether a part of it looks like a value of its key, and
//! a value that people write in several words: `8000 to 8010`, `not 10.0.0.1`, `10.0.0.0 255.255.255.0`.
//!
//! May not report anything.

use super::lists::is_port;
use crate::fields::{self, Form};
use crate::rule::Mac;
use crate::vocabulary::{self, Table};
use crate::well_known_ports;
use std::net::Ipv4Addr;

/// What decides, and is no value of anything else.
pub(super) fn is_action(word: &str) -> bool {
    matches!(word, "pass" | "drop" | "next")
}

/// Whether a text looks like a value of a key.
pub(super) fn fits(key: &str, text: &str) -> bool {
    let text = text.strip_prefix('!').unwrap_or(text).trim_start();
    let named = |table: Table| {
        let mut words = table.iter();
        words.any(|(word, _)| word.eq_ignore_ascii_case(text))
    };
    let is_set = text.starts_with('@');
    let is_address = || super::entry(text).is_ok();
    match fields::by_key(key).map(|row| row.form) {
        Some(Form::Ports) => is_set || is_port(text) || well_known_ports::find(text).is_some(),
        Some(Form::Numbers(table)) => is_numeric(text) || named(table),
        Some(Form::Words(table)) => named(table),
        Some(Form::Macs) => Mac::parse(text).is_some(),
        Some(Form::Addresses) => is_set || is_address(),
        Some(Form::Icmp | Form::Flags) => false,
        Some(Form::Zones) => is_word(text),
        None => match key {
            "exempt" => is_set || is_address(),
            "elements" | "ports" => is_address() || is_port(text) || is_word(text),
            "set" | "clear" => named(vocabulary::FLAGS),
            "type" | "code" => is_numeric(text) || is_word(text),
            _ => is_word(text) || is_numeric(text),
        },
    }
}

/// Whether a text can be a name: one word, and none that joins or decides.
fn is_word(text: &str) -> bool {
    const JOINS: [&str; 5] = ["to", "not", "and", "or", "except"];
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !text.contains(char::is_whitespace)
        && !is_action(text)
        && !JOINS.contains(&text)
}

/// A number, decimal or hexadecimal, or a range of such.
fn is_numeric(text: &str) -> bool {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
        None => text.parse::<u32>().is_ok(),
    };
    match text.split_once('-') {
        Some((first, last)) => number(first) && (last.is_empty() || number(last)),
        None => number(text),
    }
}

/// One value that stands in several words.
pub(super) fn one(key: &str, text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let value = match words.as_slice() {
        ["not", value] if !value.starts_with('!') => format!("!{value}"),
        [first, "to", last] => format!("{first}-{last}"),
        [address, mask] => prefix(address, mask)?,
        _ => return None,
    };
    fits(key, &value).then_some(value)
}

/// An address and a netmask as a prefix.
fn prefix(address: &str, mask: &str) -> Option<String> {
    let address: Ipv4Addr = address.parse().ok()?;
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    let length = mask.leading_ones();
    let is_mask = length >= 8 && length + mask.trailing_zeros() == 32;
    let first = Ipv4Addr::from_bits(address.to_bits() & mask);
    is_mask.then(|| format!("{first}/{length}"))
}

#[cfg(test)]
mod tests {
    use super::{fits, one};

    #[test]
    fn what_looks_like_a_value_is_a_value_of_that_key() {
        for (key, yes, no) in [
            (
                "port",
                &["80", "8000-8010", "ssh", "@web", "!22"][..],
                &["to", "tcp", "drop"][..],
            ),
            (
                "from",
                &["10.0.0.1", "10.0.0.0/8", "@a", "!@b", "::1"],
                &["not", "wan", "443"],
            ),
            ("proto", &["tcp", "UDP", "47"], &["drop", "port"]),
            ("state", &["established", "new"], &["pass"]),
            ("icmp", &[], &["echo-request", "8"]),
            ("zone", &["wan", "lan-2"], &["drop", "not"]),
            ("ethertype", &["arp", "0x88f7"], &["drop"]),
        ] {
            for text in yes {
                assert!(fits(key, text), "{key}: {text}");
            }
            for text in no {
                assert!(!fits(key, text), "{key}: {text}");
            }
        }
    }

    #[test]
    fn a_value_in_several_words_is_one() {
        for (key, text, value) in [
            ("port", "8000 to 8010", Some("8000-8010")),
            ("from", "not 10.0.0.1", Some("!10.0.0.1")),
            ("from", "10.0.0.0 255.255.255.0", Some("10.0.0.0/24")),
            ("from", "10.0.0.7 255.255.255.0", Some("10.0.0.0/24")),
            ("from", "10.0.0.1 to 10.0.0.9", Some("10.0.0.1-10.0.0.9")),
            ("from", "10.0.0.1 10.0.0.2", None),
            ("from", "10.0.0.0 255.0.255.0", None),
            ("port", "tcp 80", None),
            ("port", "not tcp", None),
        ] {
            assert_eq!(one(key, text).as_deref(), value, "{key}: {text}");
        }
    }
}
