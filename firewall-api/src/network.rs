//! Networks as text, written as in a policy: `203.0.113.0/24`, `2001:db8::1`.

use core::net::IpAddr;
use firewall_common::live::Prefix;
use firewall_policy::entry::parse;
use firewall_policy::prefixes::{prefix_v4, prefix_v6};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A network, one address, or a range of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    /// As it was written.
    text: String,
    prefixes: Vec<Prefix>,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let prefixes = parse(text).map_err(|(message, help)| format!("{message}; {help}"))?;
        let text = text.to_owned();
        Ok(Self { text, prefixes })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.text
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Network {
    /// The one prefix that it is; `None` of a range that is several.
    #[must_use]
    pub fn prefix(&self) -> Option<&Prefix> {
        match &*self.prefixes {
            [prefix] => Some(prefix),
            _ => None,
        }
    }

    /// Whether it has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V4(address) => prefix_v4(address.into(), 32),
            IpAddr::V6(address) => prefix_v6(address.into(), 128),
        };
        self.prefixes
            .iter()
            .any(|prefix| contains(prefix, &address))
    }
}

/// An address as a prefix.
#[must_use]
pub fn prefix_of(address: IpAddr) -> Prefix {
    match address.to_canonical() {
        IpAddr::V4(address) => prefix_v4(address.into(), 32),
        IpAddr::V6(address) => prefix_v6(address.into(), 128),
    }
}

/// Whether a prefix contains another one, or is it.
#[must_use]
pub fn contains(outer: &Prefix, inner: &Prefix) -> bool {
    outer.is_v6 == inner.is_v6
        && outer.length <= inner.length
        && Prefix::of(inner.hi, inner.lo, outer.length, inner.is_v6) == *outer
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn networks() {
        let net = |text: &str| text.parse::<Network>();
        let contains =
            |text: &str, address: &str| net(text).unwrap().contains(address.parse().unwrap());
        assert!(contains("203.0.113.0/24", "203.0.113.255"));
        assert!(!contains("203.0.113.0/24", "203.0.112.255"));
        assert!(contains("0.0.0.0/0", "203.0.112.255"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::1", "2001:db8::2"));
        assert!(contains("192.0.2.7-192.0.2.9", "192.0.2.8"));
        assert!(!contains("192.0.2.7-192.0.2.9", "192.0.2.10"));
        for wrong in ["", "1.2.3", "1.2.3.4/33", "2001:db8::/129", "::/x"] {
            assert!(net(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn host_bits_have_two_readings() {
        for (text, readings) in [
            ("10.20.0.9/16", ["10.20.0.0/16", "10.20.0.9"]),
            ("2001:db8::9/32", ["2001:db8::/32", "2001:db8::9"]),
        ] {
            let said = text.parse::<Network>().unwrap_err();
            for reading in readings {
                assert!(said.contains(reading), "{said}");
            }
        }
    }
}
