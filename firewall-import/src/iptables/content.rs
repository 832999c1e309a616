//! `-m u32`: numbers in a packet, where they stand behind the header of TCP or UDP.
//!
//! May not import the writer. Invariant: what a policy cannot say to the bit is none.

use super::super::packets::Dim;
use super::super::ruleset::Condition;
use firewall_policy::content::{Content, LAST_OFFSET, Payload};

/// The way over the IP header, by its own length: `0>>22&0x3C@`.
const OVER_IP: &str = "0>>22&60@";

/// The way over the header of TCP behind it.
const OVER_TCP: &str = "12>>26&60@";

/// `0>>22&0x3C@8=0xFFFFFFFF`: four bytes of a UDP payload; of TCP, `0>>22&0x3C@12>>26&0x3C@0=...`.
pub(super) fn u32_match(condition: &mut Condition, text: &str) -> Option<()> {
    let text = decimal(text)?;
    let rest = text.strip_prefix(OVER_IP)?;
    let is_of = |proto: u128| {
        let mut boxes = condition.boxes.iter();
        boxes.all(|part| part.get(Dim::Proto).ranges() == [(proto, proto)])
    };
    let (rest, header) = match rest.strip_prefix(OVER_TCP) {
        Some(rest) if is_of(6) => (rest, 0),
        None if is_of(17) => (rest, 8),
        _ => return None,
    };
    let (place, value) = rest.split_once('=')?;
    let (at, mask) = match place.split_once('&') {
        Some((at, mask)) => (at, number(mask)?),
        None => (place, u32::MAX),
    };
    let (value, offset) = (number(value)?, number(at)?.checked_sub(header)?);
    let bytes = value.to_be_bytes().into_iter().zip(mask.to_be_bytes());
    let bytes = bytes.map(|(value, mask)| match mask {
        0xff => Some(Some(value)),
        0 if value == 0 => Some(None),
        _ => None,
    });
    let bytes: Vec<Option<u8>> = bytes.collect::<Option<_>>()?;
    if offset > LAST_OFFSET || bytes.iter().all(Option::is_none) {
        return None;
    }
    condition.content(Content {
        options: 0,
        payload: Some(Payload { offset, bytes }),
    });
    Some(())
}

/// The same text with decimal numbers and no blanks: iptables-save writes all of them in hexadecimal.
fn decimal(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_alphanumeric() != is_number)
            .unwrap_or(rest.len());
        let (token, behind) = rest.split_at(end.max(first.len_utf8()));
        if is_number {
            let hex = token
                .strip_prefix("0x")
                .or_else(|| token.strip_prefix("0X"));
            let number = match hex {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => token.parse().ok()?,
            };
            out.push_str(&number.to_string());
        } else {
            out.extend(token.chars().filter(|c| !c.is_whitespace()));
        }
        rest = behind;
    }
    Some(out)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_written_in_one_way() {
        for (text, same) in [
            ("0>>22&0x3C@8=0xFFFFFFFF", "0>>22&60@8=4294967295"),
            ("0x0>>0x16&0x3c@ 0x8 = 0x1:0x2", "0>>22&60@8=1:2"),
            ("", ""),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(same));
        }
        for wrong in ["0xg", "99999999999", "08x"] {
            assert_eq!(decimal(wrong), None, "{wrong}");
        }
    }
}
