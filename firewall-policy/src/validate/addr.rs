//! Addresses: CIDR prefixes, single addresses, ranges `a-b`, of both families.
//!
//! A value is read to the family that it is written in; the other family is left empty, so that a
//! rule `from: 10.0.0.0/8` matches no IPv6 packet. Host bits in a prefix are an error.

use super::list_line;
use crate::diag::{codes, codes::Code, show};
use crate::range::RangeSet;
use crate::rule::AddrSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is wrong with an address, for a diagnostic at the caller's place.
pub(super) struct Fault {
    pub(super) code: &'static Code,
    pub(super) message: String,
    pub(super) help: String,
}

/// Ranges of both families while they are gathered.
#[derive(Default)]
pub(super) struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// Takes a prefix, an address or a range.
    pub(super) fn add(&mut self, text: &str) -> Result<(), Fault> {
        match parse(text)? {
            Parsed::V4(first, last) => self.v4.push((first, last)),
            Parsed::V6(first, last) => self.v6.push((first, last)),
        }
        Ok(())
    }

    /// Takes the lines at the beginning of `text` that hold an IPv4 address or prefix and nothing
    /// else, at most `limit` of them; how many lines and bytes those are. Other lines, wrong ones
    /// too, are left to [`Self::add`].
    pub(super) fn add_plain_lines(&mut self, text: &[u8], limit: u64) -> (u32, usize) {
        let (mut lines, mut bytes) = (0, 0);
        while u64::from(lines) < limit
            && let Some((first, last, length)) = list_line::plain_v4(&text[bytes..])
        {
            self.v4.push((first, last));
            lines += 1;
            bytes += length;
        }
        (lines, bytes)
    }

    /// Takes a whole set.
    pub(super) fn add_set(&mut self, set: &AddrSet) {
        self.v4.extend_from_slice(set.v4.ranges());
        self.v6.extend_from_slice(set.v6.ranges());
    }

    /// The set.
    pub(super) fn finish(self) -> AddrSet {
        AddrSet {
            v4: RangeSet::from_ranges(self.v4),
            v6: RangeSet::from_ranges(self.v6),
        }
    }

    /// How many entries have been taken.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

enum Parsed {
    V4(u32, u32),
    V6(u128, u128),
}

fn parse(text: &str) -> Result<Parsed, Fault> {
    if let Some((address, length)) = text.split_once('/') {
        return prefix(text, address, length);
    }
    if let Some((first, last)) = text.split_once('-') {
        return range(text, first.trim(), last.trim());
    }
    Ok(match address(text, text)? {
        IpAddr::V4(a) => Parsed::V4(a.into(), a.into()),
        IpAddr::V6(a) => Parsed::V6(a.into(), a.into()),
    })
}

fn prefix(text: &str, written: &str, length: &str) -> Result<Parsed, Fault> {
    let address = address(text, written)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (length == "0" || !length.starts_with('0'));
    let bits = length
        .parse::<u32>()
        .ok()
        .filter(|&bits| plain && bits <= longest);
    let Some(bits) = bits else {
        let help = match length.parse::<Ipv4Addr>().map(u32::from) {
            Ok(mask) if mask.leading_ones() + mask.trailing_zeros() == 32 => {
                format!(
                    "write the mask as a length: {written}/{}",
                    mask.leading_ones()
                )
            }
            _ => format!("write a number from 0 to {longest} behind the `/`"),
        };
        return Err(Fault {
            code: &codes::PREFIX_LENGTH,
            message: format!("`{}` is not a prefix length", show(length)),
            help,
        });
    };
    match address {
        IpAddr::V4(a) => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let first = u32::from(a) & !host;
            if first != u32::from(a) {
                return Err(host_bits(
                    text,
                    &Ipv4Addr::from(first).to_string(),
                    written,
                    bits,
                ));
            }
            Ok(Parsed::V4(first, first | host))
        }
        IpAddr::V6(a) => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let first = u128::from(a) & !host;
            if first != u128::from(a) {
                return Err(host_bits(
                    text,
                    &Ipv6Addr::from(first).to_string(),
                    written,
                    bits,
                ));
            }
            Ok(Parsed::V6(first, first | host))
        }
    }
}

fn host_bits(text: &str, network: &str, address: &str, bits: u32) -> Fault {
    Fault {
        code: &codes::HOST_BITS,
        message: format!("`{}` has host bits set", show(text)),
        help: format!(
            "the network is {network}/{bits}; the single address is {}",
            show(address)
        ),
    }
}

fn range(text: &str, first: &str, last: &str) -> Result<Parsed, Fault> {
    let reversed = || Fault {
        code: &codes::REVERSED_RANGE,
        message: format!("the range `{}` ends before it starts", show(text)),
        help: format!("write {}-{}", show(last), show(first)),
    };
    match (address(text, first)?, address(text, last)?) {
        (IpAddr::V4(a), IpAddr::V4(b)) if a <= b => Ok(Parsed::V4(a.into(), b.into())),
        (IpAddr::V6(a), IpAddr::V6(b)) if a <= b => Ok(Parsed::V6(a.into(), b.into())),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Err(reversed()),
        _ => Err(Fault {
            code: &codes::MIXED_RANGE,
            message: format!(
                "the range `{}` starts in one address family and ends in the other",
                show(text)
            ),
            help: "write one range for IPv4 and one for IPv6".into(),
        }),
    }
}

fn address(whole: &str, text: &str) -> Result<IpAddr, Fault> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(a)) if a.to_ipv4_mapped().is_some() => {
            let inner = a
                .to_ipv4_mapped()
                .map(|v4| v4.to_string())
                .unwrap_or_default();
            Err(Fault {
                code: &codes::MAPPED_ADDRESS,
                message: format!(
                    "`{}` is an IPv4-mapped address, which no packet on a wire carries",
                    show(text)
                ),
                help: format!("write the IPv4 address: {inner}"),
            })
        }
        Ok(address) => Ok(address),
        Err(_) => Err(Fault {
            code: &codes::ADDRESS,
            message: format!("`{}` is not an address", show(whole)),
            help: address_help(text),
        }),
    }
}

/// The likeliest thing that was meant.
fn address_help(text: &str) -> String {
    if text == "any" || text == "all" || text == "*" {
        return "leave the key out to match every address".into();
    }
    if let Some((address, zone)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return format!(
            "write it without the interface: {address} (`{}` goes into `zone`)",
            show(zone)
        );
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numeric = parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if numeric && parts.len() == 4 {
        if let Some(large) = parts
            .iter()
            .find(|part| part.parse::<u64>().map_or(true, |n| n > 255))
        {
            return format!(
                "each part of an IPv4 address is 0 to 255, not {}",
                show(large)
            );
        }
        let plain: Vec<String> = parts
            .iter()
            .map(|part| part.parse::<u64>().unwrap_or(0).to_string())
            .collect();
        return format!("write it without leading zeros: {}", plain.join("."));
    }
    if numeric && parts.len() < 4 {
        return "an IPv4 address has four parts: 10.0.0.0/8, not 10/8".into();
    }
    if text.split(':').count() == 6 && text.split(':').all(|part| part.len() == 2) {
        return "this is a MAC address: write it as `mac`".into();
    }
    if text.contains([',', ' ']) {
        return "several values are a list: [10.0.0.0/8, 192.0.2.1]".into();
    }
    if text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':') {
        return "host names are not looked up; write an address, or a prefix such as 10.0.0.0/8"
            .into();
    }
    "write an address (192.0.2.1, \"2001:db8::1\"), a prefix (10.0.0.0/8), a range \
     (192.0.2.1-192.0.2.9) or \"@set\""
        .into()
}

/// Source addresses that no packet from the public internet may carry (RFC 6890 and the IANA
/// special-purpose registries), 6to4 of such IPv4 addresses among them (RFC 3964). Left out, because hosts need them: link-local fe80::/10 and `::`
/// (neighbour discovery), and NAT64's 64:ff9b::/96.
pub(super) fn bogons() -> AddrSet {
    const LIST: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::1",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        // 6to4: 2002 and the IPv4 address.
        "2002::/24",
        "2002:a00::/24",
        "2002:6440::/26",
        "2002:7f00::/24",
        "2002:a9fe::/32",
        "2002:ac10::/28",
        "2002:c000::/40",
        "2002:c000:200::/40",
        "2002:c0a8::/32",
        "2002:c612::/31",
        "2002:c633:6400::/40",
        "2002:cb00:7100::/40",
        "2002:e000::/19",
        "2001:2::/48",
        "2001:10::/28",
        "2001:db8::/32",
        "3ffe::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
        "ff00::/8",
    ];
    let mut ranges = Ranges::default();
    for entry in LIST {
        let taken = ranges.add(entry);
        debug_assert!(taken.is_ok(), "{entry} is a prefix");
    }
    // IPv4-mapped addresses, which `add` refuses in policies.
    ranges.v6.push((0xffff_0000_0000, 0xffff_ffff_ffff));
    let mut set = ranges.finish();
    set.v6 = set.v6.intersection(&RangeSet::of(0, 0).complement());
    set
}
