//! What a rule asks of a packet beside the fields: options of its IP header, and bytes of its payload.
//!
//! May not import anything but the vocabulary. Invariant: of `validate` only come payloads of 1 to 16
//! bytes, of which one is not any byte.

use crate::vocabulary::{self, OPTIONS};
use std::fmt;

/// The largest offset of a payload's bytes.
pub const LAST_OFFSET: u32 = 4_095;

/// One condition. A policy has each once; rules name them by number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Content {
    /// Bits of [`firewall_common::abi::option_bit`], one of which the packet must have; 0: whatever it
    /// has.
    pub options: u32,
    /// Bytes that must stand in the payload.
    pub payload: Option<Payload>,
}

/// Bytes behind the header of TCP or UDP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Payload {
    /// Where they begin, from the start of the payload.
    pub offset: u32,
    /// What they are; `None`: any byte.
    pub bytes: Vec<Option<u8>>,
}

impl Payload {
    /// Bytes in hexadecimal with blanks between them or not, `??` for any: `ff ff ?? 54`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Vec<Option<u8>>> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let digits: Vec<u8> = digits.bytes().filter(|&byte| byte != b' ').collect();
        let pairs = digits.chunks(2).map(|pair| match *pair {
            [b'?', b'?'] => Some(None),
            [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let text = String::from_utf8(vec![a, b]).ok()?;
                Some(Some(u8::from_str_radix(&text, 16).ok()?))
            }
            _ => None,
        });
        pairs.collect()
    }

    /// Whether a payload has them.
    #[must_use]
    pub fn is_in(&self, payload: &[u8]) -> bool {
        let there = payload.get(self.offset as usize..).unwrap_or_default();
        self.bytes.len() <= there.len()
            && self
                .bytes
                .iter()
                .zip(there)
                .all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == *byte))
    }
}

/// As [`Payload::parse`] reads it, and where: `ff ff ?? 54`, `ff ff at 4`.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.bytes.iter().enumerate() {
            let space = if number == 0 { "" } else { " " };
            match byte {
                Some(byte) => write!(f, "{space}{byte:02x}")?,
                None => write!(f, "{space}??")?,
            }
        }
        match self.offset {
            0 => Ok(()),
            offset => write!(f, " at {offset}"),
        }
    }
}

/// `options router-alert, payload ff ff at 4`.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = Vec::new();
        if self.options != 0 {
            words.push(format!("options {}", option_words(self.options)));
        }
        words.extend(self.payload.iter().map(|it| format!("payload {it}")));
        f.write_str(&words.join(", "))
    }
}

/// Options as words: `router-alert,timestamp`.
#[must_use]
pub fn option_words(options: u32) -> String {
    let named = OPTIONS.iter().filter(|&&(_, bit)| options & bit != 0);
    let words: Vec<&str> = named.map(|&(word, _)| word).collect();
    words.join(",")
}

/// The bit of a word.
#[must_use]
pub fn option(word: &str) -> Option<u32> {
    vocabulary::number(OPTIONS, word)
}

#[cfg(test)]
mod tests {
    use super::Payload;

    #[test]
    fn bytes_are_read_and_written_alike() {
        for (text, bytes) in [
            ("ff", vec![Some(255)]),
            ("FF00", vec![Some(255), Some(0)]),
            ("0x54 53", vec![Some(0x54), Some(0x53)]),
            ("?? 1a", vec![None, Some(0x1a)]),
        ] {
            assert_eq!(Payload::parse(text), Some(bytes.clone()), "{text}");
            let payload = Payload { offset: 0, bytes };
            assert_eq!(Payload::parse(&payload.to_string()), Some(payload.bytes));
        }
        for wrong in ["f", "fff", "xx", "?", "f?", "ff,00", "-1"] {
            assert_eq!(Payload::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Payload::parse(""), Some(Vec::new()));
    }

    #[test]
    fn they_stand_at_their_place_and_nowhere_else() {
        let wanted = Payload {
            offset: 1,
            bytes: vec![Some(2), None, Some(4)],
        };
        assert!(wanted.is_in(&[1, 2, 3, 4]));
        assert!(wanted.is_in(&[0, 2, 0, 4, 5]));
        for not in [&[2, 3, 4][..], &[1, 2, 3], &[1, 2, 3, 5], &[], &[1]] {
            assert!(!wanted.is_in(not), "{not:?}");
        }
        assert_eq!(wanted.to_string(), "02 ?? 04 at 1");
    }
}
