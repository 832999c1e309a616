//! One line of a published address list: where in it the address stands.
//!
//! docs/policy.md names the formats. What a line means never depends on other lines, save that
//! the first one may be a table's header. A line with more addresses than are taken is an error:
//! nothing is silently left out.

use super::addr::Fault;
use crate::diag::{codes, show};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

/// What a line holds: a prefix, an address or a range `a-b`, not yet read.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Entry<'l> {
    /// As [`super::addr::Ranges::add`] reads it.
    pub(super) text: Cow<'l, str>,
    /// The bytes of the line that it comes from.
    pub(super) at: Range<usize>,
}

/// A line that holds no entry and should: what is wrong, and the bytes to point at.
pub(super) type Wrong = (Range<usize>, Fault);

/// Reads a line without its end; `None` if there is no entry in it. `first`: only blank lines and
/// comments stand before it.
pub(super) fn read(line: &str, first: bool) -> Result<Option<Entry<'_>>, Wrong> {
    let start = line.len() - line.trim_start().len();
    let rest = line[start..].trim_end();
    if rest.starts_with('{') {
        return json(rest, start);
    }
    let words = || rest.split_ascii_whitespace();
    match words().next() {
        Some("create") if words().count() > 2 => return Ok(None),
        Some("add") => return ipset(line, start..start + rest.len()),
        _ => {}
    }
    let content = before_comment(rest).trim_end();
    let whole = start..start + content.len();
    if content.is_empty() {
        return Ok(None);
    }
    let separator = ['\t', ','].into_iter().find(|&c| content.contains(c));
    let Some(separator) = separator else {
        return Ok(Some(unquoted(content, start)));
    };
    let columns: Vec<&str> = content.split(separator).map(unquote).collect();
    let is_header = !columns[0].is_empty()
        && columns[0]
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || b" _-".contains(&b));
    if first && is_header {
        return Ok(None);
    }
    if let [from, to, length, ..] = columns[..]
        && separator == '\t'
        && let Some(text) = network(from, to, length)
    {
        return Ok(Some(Entry {
            text: text.into(),
            at: whole,
        }));
    }
    if let Some(second) = columns[1..].iter().find(|column| is_address(column)) {
        return Err((
            whole,
            Fault {
                code: &codes::ADDRESS,
                message: format!("a second address in the line, `{}`", show(second)),
                help: "a line holds one prefix, address or range; of columns, the first one is \
                       read and the others are no addresses"
                    .into(),
            },
        ));
    }
    let end = content.find(separator).unwrap_or(content.len());
    Ok(Some(unquoted(content[..end].trim_end(), start)))
}

/// Cuts a comment off: `#` and `;` anywhere, `//` at the beginning and behind blanks.
fn before_comment(text: &str) -> &str {
    let marks = text.find(['#', ';']);
    let slashes = text.match_indices("//").map(|(at, _)| at).find(|&at| {
        text[..at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    });
    let end = marks.into_iter().chain(slashes).min();
    &text[..end.unwrap_or(text.len())]
}

fn unquote(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
}

fn unquoted(text: &str, start: usize) -> Entry<'_> {
    Entry {
        text: unquote(text).into(),
        at: start..start + text.len(),
    }
}

fn is_address(text: &str) -> bool {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse::<IpAddr>().is_ok()
}

/// DShield's columns: first address, last address, prefix length. `None` if they do not say the
/// same.
fn network(from: &str, to: &str, length: &str) -> Option<String> {
    let (IpAddr::V4(first), IpAddr::V4(last)) = (from.parse().ok()?, to.parse().ok()?) else {
        return None;
    };
    let length: u32 = length.parse().ok().filter(|&length| length <= 32)?;
    let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    (u32::from(first) | hosts == u32::from(last)).then(|| format!("{first}/{length}"))
}

/// A JSON object a line, as Spamhaus publishes its lists.
fn json(text: &str, start: usize) -> Result<Option<Entry<'_>>, Wrong> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        cidr: Option<Cow<'a, str>>,
        #[serde(rename = "type", borrow)]
        kind: Option<Cow<'a, str>>,
    }
    let whole = start..start + text.len();
    let wrong = |message: String| {
        let help = "a JSON object holds one entry and its line: {\"cidr\": \"192.0.2.0/24\"}";
        let fault = Fault {
            code: &codes::ADDRESS,
            message,
            help: help.into(),
        };
        (whole.clone(), fault)
    };
    let object: Object<'_> = serde_json::from_str(text)
        .map_err(|error| wrong(format!("not a JSON object in one line: {error}")))?;
    match object {
        Object {
            cidr: Some(cidr), ..
        } => {
            // Where it is written with escapes, the whole object is the place.
            let at = text.find(&*cidr).filter(|_| !cidr.is_empty());
            let at = at.map_or(whole, |at| start + at..start + at + cidr.len());
            Ok(Some(Entry { text: cidr, at }))
        }
        // The list's last line: date, number of entries, copyright.
        Object {
            kind: Some(kind), ..
        } if kind == "metadata" => Ok(None),
        _ => Err(wrong("a JSON object without `cidr`".into())),
    }
}

/// `add SET ENTRY options...`, as `ipset save` writes it.
fn ipset(line: &str, at: Range<usize>) -> Result<Option<Entry<'_>>, Wrong> {
    let mut words = line[at.clone()].split_ascii_whitespace();
    let (_, Some(_), Some(entry)) = (words.next(), words.next(), words.next()) else {
        return Err((
            at,
            Fault {
                code: &codes::ADDRESS,
                message: "`add` without an entry".into(),
                help: "a line of `ipset save` reads `add SET 192.0.2.0/24`".into(),
            },
        ));
    };
    // An exception to the set. Comments are in quotes.
    let options: String = line[at.clone()].split('"').step_by(2).collect();
    if options
        .split_ascii_whitespace()
        .any(|word| word == "nomatch")
    {
        return Err((
            at,
            Fault {
                code: &codes::SET_ELEMENT,
                message: format!("`{}` is an exception (`nomatch`)", show(entry)),
                help:
                    "put exceptions into a set of their own: `from: [\"@list\", \"!@exceptions\"]`"
                        .into(),
            },
        ));
    }
    // The words are slices of the line, so their place is their distance.
    let start = entry.as_ptr() as usize - line.as_ptr() as usize;
    Ok(Some(Entry {
        text: entry.into(),
        at: start..start + entry.len(),
    }))
}

/// Reads an IPv4 address or prefix that fills a line by itself, as most lines of long lists are:
/// first and last address, and the bytes with the line's end. `None` for everything else, errors
/// included.
#[inline]
pub(super) fn plain_v4(bytes: &[u8]) -> Option<(u32, u32, usize)> {
    let mut at = 0;
    let mut address = 0;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (number, digits) = number(&bytes[at..])?;
        if number > 255 {
            return None;
        }
        address = address << 8 | number;
        at += digits;
    }
    let mut hosts = 0;
    if bytes.get(at) == Some(&b'/') {
        let (length, digits) = number(&bytes[at + 1..])?;
        if length > 32 {
            return None;
        }
        at += 1 + digits;
        hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    }
    if bytes.get(at) == Some(&b'\r') {
        at += 1;
    }
    let whole = bytes.get(at) == Some(&b'\n') && address & hosts == 0;
    whole.then_some((address, address | hosts, at + 1))
}

/// One to three digits without leading zeros: the number, and how many there are.
#[inline]
fn number(bytes: &[u8]) -> Option<(u32, usize)> {
    let digit = |at: usize| {
        bytes
            .get(at)
            .map(|byte| u32::from(byte.wrapping_sub(b'0')))
            .filter(|&digit| digit < 10)
    };
    let first = digit(0)?;
    match (digit(1), digit(2)) {
        (None, _) => Some((first, 1)),
        _ if first == 0 => None,
        (Some(second), None) => Some((first * 10 + second, 2)),
        (Some(second), Some(third)) => Some((first * 100 + second * 10 + third, 3)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::addr::Ranges;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_one(
            line in prop_oneof![
                "[0-9.]{1,16}",
                "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?\r?",
                "(0|[1-9][0-9]?|1[0-9]{2}|2[0-5]{2})(\\.(0|[1-9][0-9]?|1[0-9]{2})){3}(/[0-9]{1,3})?\r?",
                "(0|64|128|192)\\.(0|128)\\.0\\.0/[0-9]{1,2}",
            ]
        ) {
            let mut ranges = Ranges::default();
            let long = ranges.add(line.trim_end()).is_ok().then(|| {
                let set = ranges.finish();
                let (first, last) = set.v4.ranges()[0];
                (first, last, line.len() + 1)
            });
            prop_assert_eq!(plain_v4(format!("{line}\n").as_bytes()), long);
            prop_assert_eq!(plain_v4(line.as_bytes()), None, "a line that may go on");
        }

        #[test]
        fn no_line_is_too_odd(line in "\\PC{0,40}", words in "[ad{}\"/#;,\t.:0-9 -]{0,40}") {
            for line in [&line, &words, &format!("add {words}"), &format!("{{{words}")] {
                match read(line, true) {
                    Ok(Some(entry)) => prop_assert!(line.get(entry.at).is_some()),
                    Ok(None) => {}
                    Err((at, _)) => prop_assert!(line.get(at).is_some()),
                }
            }
        }
    }
}
