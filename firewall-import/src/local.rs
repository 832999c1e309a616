//! This host's own addresses, as the caller gives them, and addresses in the forms that firewalls
//! write.
//!
//! May not import a reader. Invariant: without own addresses nothing is assumed about them.

use super::imported::ImportError;
use super::packets::{Dim, Family, Packets};
use firewall_policy::range::RangeSet;
use std::net::IpAddr;

/// Addresses that packets to this host have.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    own: [Vec<(u128, u128)>; 2],
    broadcast: Vec<(u128, u128)>,
}

/// 224.0.0.0/4.
const MULTICAST_V4: (u128, u128) = (0xe000_0000, 0xefff_ffff);
/// 255.255.255.255.
const EVERYBODY: (u128, u128) = (0xffff_ffff, 0xffff_ffff);
/// ff00::/8.
const MULTICAST_V6: (u128, u128) = (0xff << 120, u128::MAX);
/// 127.0.0.0/8.
const LOOPBACK_V4: (u128, u128) = (0x7f00_0000, 0x7fff_ffff);

impl Addresses {
    /// Takes `192.0.2.10`, or `192.0.2.10/24` with the length of its network.
    pub(super) fn read(texts: &[String]) -> Result<Self, ImportError> {
        let mut found = Self::default();
        for text in texts {
            let (address, length) = match text.split_once('/') {
                Some((address, length)) => (address, Some(length)),
                None => (text.as_str(), None),
            };
            let fault = || ImportError {
                line: 0,
                column: 0,
                message: format!("`{text}` is not an address of this host"),
                help: "write --local 192.0.2.10, or with the length of its network: \
                       --local 192.0.2.10/24"
                    .into(),
            };
            let address: IpAddr = address.parse().map_err(|_| fault())?;
            let (family, number, bits) = number(address);
            found.own[family as usize].push((number, number));
            if let Some(length) = length {
                let length: u32 = length.parse().map_err(|_| fault())?;
                if length > bits {
                    return Err(fault());
                }
                if family == Family::V4 && length < 31 {
                    let host = (1u128 << (bits - length)) - 1;
                    found.broadcast.push((number | host, number | host));
                }
            }
        }
        Ok(found)
    }

    /// Whether the caller gave any.
    pub(super) fn is_known(&self) -> bool {
        self.own.iter().any(|own| !own.is_empty())
    }

    /// Packets to others than this host: neither to an own address, nor to everybody, nor to a group.
    pub(super) fn beyond(&self) -> Vec<Packets> {
        let boxes = Family::BOTH.map(|family| {
            let (mut ranges, not_own) = if self.is_known() {
                (self.own[family as usize].clone(), Dim::ToSelf.full(family))
            } else {
                (Vec::new(), RangeSet::of(0, 0))
            };
            match family {
                Family::V4 => {
                    ranges.extend([MULTICAST_V4, EVERYBODY]);
                    ranges.extend(&self.broadcast);
                }
                Family::V6 => ranges.push(MULTICAST_V6),
            }
            let others = RangeSet::from_ranges(ranges).complement();
            let all = Packets::all(family).with(Dim::ToSelf, not_own);
            all.narrowed(Dim::Destination, &others)
        });
        boxes.into_iter().flatten().collect()
    }

    /// Packets from or to addresses of one type (`LOCAL`, `MULTICAST`, ...) in any case; `None` if
    /// that is not known.
    pub(super) fn of_type(&self, kind: &str, family: Family, to: bool) -> Option<Vec<Packets>> {
        let (dim, is_own) = if to {
            (Dim::Destination, Dim::ToSelf)
        } else {
            (Dim::Source, Dim::FromSelf)
        };
        let of = |ranges| Packets::all(family).narrowed(dim, &RangeSet::from_ranges(ranges));
        let multicast = match family {
            Family::V4 => MULTICAST_V4,
            Family::V6 => MULTICAST_V6,
        };
        let loopback = match family {
            Family::V4 => LOOPBACK_V4,
            Family::V6 => (1, 1),
        };
        let boxes = match (kind.to_ascii_lowercase().as_str(), family) {
            ("multicast", _) => of(vec![multicast]).into_iter().collect(),
            ("broadcast", Family::V6) => Vec::new(),
            ("broadcast", Family::V4) if self.is_known() => {
                let mut ranges = self.broadcast.clone();
                ranges.push(EVERYBODY);
                of(ranges).into_iter().collect()
            }
            ("local", _) if self.is_known() => {
                let mut ranges = self.own[family as usize].clone();
                ranges.push(loopback);
                of(ranges).into_iter().collect()
            }
            // Loopback addresses never come from a network.
            ("local", _) => vec![Packets::all(family).with(is_own, RangeSet::of(1, 1))],
            _ => return None,
        };
        Some(boxes)
    }
}

/// An address as a number, with the bits that its family has.
fn number(address: IpAddr) -> (Family, u128, u32) {
    match address {
        IpAddr::V4(address) => (Family::V4, u32::from(address).into(), 32),
        IpAddr::V6(address) => (Family::V6, address.into(), 128),
    }
}

/// An address, a prefix (with a length or a mask; bits behind it do not count), or a range `a-b`.
pub(super) fn range(text: &str) -> Option<(Family, (u128, u128))> {
    let text = text.trim();
    if let Some((first, last)) = text.split_once('-') {
        let (family, first, _) = number(first.trim().parse().ok()?);
        let (other, last, _) = number(last.trim().parse().ok()?);
        return (family == other && first <= last).then_some((family, (first, last)));
    }
    let Some((address, mask)) = text.split_once('/') else {
        let (family, address, _) = number(text.parse().ok()?);
        return Some((family, (address, address)));
    };
    let (family, address, bits) = number(address.parse().ok()?);
    let length = match mask.parse::<u32>() {
        Ok(length) => length,
        Err(_) => {
            let (same, mask, _) = number(mask.parse().ok()?);
            let unused = 128 - bits;
            let mask = mask << unused;
            // A mask with holes is no prefix.
            if same != family || mask.leading_ones() + mask.trailing_zeros() < 128 {
                return None;
            }
            mask.leading_ones().min(bits)
        }
    };
    if length > bits {
        return None;
    }
    let host = match bits - length {
        128 => u128::MAX,
        free => (1 << free) - 1,
    };
    Some((family, (address & !host, address | host)))
}

#[cfg(test)]
mod tests {
    use super::range;
    use crate::packets::Family;

    #[test]
    fn prefixes_come_with_lengths_and_with_masks() {
        let v4 = |a, b| Some((Family::V4, (a, b)));
        assert_eq!(range("10.0.0.0/8"), v4(0x0a00_0000, 0x0aff_ffff));
        assert_eq!(range("10.0.0.0/255.0.0.0"), v4(0x0a00_0000, 0x0aff_ffff));
        assert_eq!(range("0.0.0.0/0"), v4(0, 0xffff_ffff));
        assert_eq!(range("0.0.0.0/0.0.0.0"), v4(0, 0xffff_ffff));
        assert_eq!(range("192.0.2.1-192.0.2.3"), v4(0xc000_0201, 0xc000_0203));
        assert_eq!(range("10.0.0.0/255.0.255.0"), None);
        assert_eq!(range("10.0.0.0/33"), None);
        assert_eq!(range("::/0"), Some((Family::V6, (0, u128::MAX))));
        assert_eq!(range("example.net"), None);
    }
}
