//! `ethertype` and `mac`: what a rule says of the link layer.

use super::super::set::Sets;
use super::super::shape::{Cx, Table, items, scalar};
use crate::ast::{Node, Span};
use crate::diag::{codes, show, suggest};
use crate::fields::{self, ROWS};
use crate::limit::{Limit, Per};
use crate::range::RangeSet;
use crate::rule::{FrameKey, Mac};
use crate::vocabulary::ETHERTYPES;
use firewall_common::abi::MACS;
use firewall_common::verdict::Action;

/// The key, which is no match field of IP packets.
pub(super) const ETHERTYPE: &str = "ethertype";

/// The word for all of them.
const ANY: &str = "any";

const LAST: u32 = 0xffff;

/// Numbers between those of LLC and the EtherTypes: lengths.
const LENGTHS: std::ops::Range<u32> = 0x100..0x600;

/// The EtherTypes of a rule; `Ok(None)` if it names none, `Err` after an error.
pub(super) fn ethertypes(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
) -> Result<Option<RangeSet<u32>>, ()> {
    let Some((_, node)) = table.entry(ETHERTYPE) else {
        return Ok(None);
    };
    let mut sound = is_alone(cx, table);
    let (mut taken, mut away) = (Vec::new(), Vec::new());
    let mut positive = false;
    for item in items(cx, node, ETHERTYPE).ok_or(())? {
        let example = "`ethertype: lldp`, `ethertype: 0x88cc`";
        let Some(text) = scalar(cx, item, "`ethertype` is a word or a number", example) else {
            sound = false;
            continue;
        };
        let (negated, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        positive |= !negated;
        match range(cx, item.span, text) {
            Some(range) if negated => away.push(range),
            Some(range) => taken.push(range),
            None => sound = false,
        }
    }
    if !sound {
        return Err(());
    }
    if !positive {
        taken.push((0, LAST));
    }
    let left = RangeSet::from_ranges(taken).intersection(&RangeSet::from_ranges(away).complement());
    if left.is_empty() {
        cx.sink
            .error(
                &codes::NOTHING_LEFT,
                node.span,
                "`ethertype` matches nothing",
            )
            .help("the elements with `!` take away everything that the others name");
        return Err(());
    }
    Ok(Some(left))
}

/// One element without its `!`: a word, a number, or a range of numbers.
fn range(cx: &mut Cx<'_>, span: Span, text: &str) -> Option<(u32, u32)> {
    if text == ANY {
        return Some((0, LAST));
    }
    if let Some(&(_, number)) = ETHERTYPES.iter().find(|(word, _)| *word == text) {
        return Some((number, number));
    }
    if let Some(help) = has_a_key(text) {
        return refuse(
            cx,
            span,
            format!("`ethertype: {}` is no frame that rules see so", show(text)),
            help,
        );
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        let words = ETHERTYPES.iter().map(|&(word, _)| word).chain([ANY]);
        let help = match suggest::nearest(text, words) {
            Some(near) => format!("did you mean `{near}`? a number always works: 0x88cc"),
            None => {
                "write a word such as eapol, slow, lldp, stp, ptp, or the number: 0x88cc".into()
            }
        };
        cx.sink
            .error(
                &codes::UNKNOWN_VALUE,
                span,
                format!("unknown ethertype `{}`", show(text)),
            )
            .help(help);
        return None;
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (
        number(cx, span, first.trim())?,
        number(cx, span, last.trim())?,
    );
    if first > last {
        cx.sink
            .error(
                &codes::REVERSED_RANGE,
                span,
                format!("the range `{}` ends before it starts", show(text)),
            )
            .help(format!("write 0x{last:04x}-0x{first:04x}"));
        return None;
    }
    Some((first, last))
}

/// What to write in place of a type that the parser reads on behind.
fn has_a_key(text: &str) -> Option<&'static str> {
    let number = parsed(text);
    let is = |words: &[&str], numbers: &[u32]| {
        words.contains(&text) || number.is_some_and(|number| numbers.contains(&number))
    };
    if is(&["ip", "ipv4", "ipv6"], &[0x0800, 0x86dd]) {
        return Some(
            "leave it out: rules without `ethertype` are about IP, `from: 0.0.0.0/0` and `from: \"::/0\"` about one of the two",
        );
    }
    is(
        &["vlan", "8021q", "8021ad", "qinq"],
        &[0x8100, 0x88a8, 0x9100],
    )
    .then_some(
        "tags are taken off first: write `vlan: 10`, and `ethertype` is that of what is in the tag",
    )
}

fn parsed(text: &str) -> Option<u32> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

fn number(cx: &mut Cx<'_>, span: Span, text: &str) -> Option<u32> {
    match parsed(text) {
        Some(number) if LENGTHS.contains(&number) => refuse(
            cx,
            span,
            format!(
                "{} is the length of an LLC frame, not an EtherType",
                show(text)
            ),
            "EtherTypes are 0x0600 to 0xffff; LLC frames have their service access point, 0x00 to 0xff",
        ),
        Some(number) if number <= LAST => Some(number),
        _ => {
            cx.sink
                .error(
                    &codes::NUMBER,
                    span,
                    format!("`{}` is not a number for `ethertype`", show(text)),
                )
                .help("write it as IANA does: 0x88cc");
            None
        }
    }
}

fn refuse<T>(
    cx: &mut Cx<'_>,
    span: Span,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Option<T> {
    cx.sink.error(&codes::ETHERTYPE, span, message).help(help);
    None
}

/// Refuses what frames that are not IP do not have.
fn is_alone(cx: &mut Cx<'_>, table: &Table<'_, '_>) -> bool {
    let mut sound = true;
    let rows = ROWS
        .iter()
        .filter(|row| !FrameKey::FIELDS.contains(&row.field));
    let keys = rows.flat_map(|row| row.keys).copied();
    for key in keys.chain(["options", "payload", "syn_protect", "ban"]) {
        if let Some((span, _)) = table.entry(key) {
            sound = false;
            refuse::<()>(
                cx,
                span,
                format!("`{key}` beside `ethertype`: frames that are not IP have no such thing"),
                "keep `zone`, `vlan` and `mac`, and write a rule of its own for IP packets",
            );
        }
    }
    sound
}

/// Refuses what a rule about frames that are not IP cannot do; false after an error.
pub(super) fn can_do(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    action: Option<Action>,
    limit: Option<&Limit>,
) -> bool {
    let over = limit.map(|limit| limit.over);
    let by_address = |limit: &&Limit| matches!(limit.per, Per::Source(_) | Per::Destination(_));
    let (key, message, help) = if action == Some(Action::REJECT) {
        (
            "action",
            "`reject` beside `ethertype`",
            "write `action: drop`: only IP has answers",
        )
    } else if over == Some(Action::REJECT) {
        (
            "over",
            "`over: reject` beside `ethertype`",
            "write `over: drop`: only IP has answers",
        )
    } else if limit.is_some_and(|limit| limit.new_only) {
        (
            "limit",
            "`limit: {new}` beside `ethertype`",
            "write `rate`: such frames open no connection",
        )
    } else if limit.is_some_and(|limit| limit.bytes) {
        (
            "limit",
            "a limit of bytes beside `ethertype`",
            "write packets, `rate: 200/s`: the length of a packet is that of IP",
        )
    } else if limit.filter(by_address).is_some() {
        (
            "limit",
            "a limit by IP address beside `ethertype`",
            "write `per: interface` or `per: rule`, or a rule for each `mac`",
        )
    } else {
        return true;
    };
    let span = table.entry(key).map_or(table.span(), |(span, _)| span);
    refuse::<()>(cx, span, message, help);
    false
}

/// The numbers of a rule's MAC addresses, by which the policy knows them.
pub(super) fn macs(cx: &mut Cx<'_>, node: &Node<'_>, sets: &mut Sets) -> Option<RangeSet<u32>> {
    let row = fields::of(firewall_common::field::Field::Mac);
    let mut numbers = Vec::new();
    let mut sound = true;
    for item in items(cx, node, "mac")? {
        let example = "`mac: 02:00:00:00:00:01`";
        let Some(text) = scalar(cx, item, "`mac` is a MAC address, or a list", example) else {
            sound = false;
            continue;
        };
        match mac(text) {
            Err((message, help)) => {
                cx.sink.error(&codes::MAC, item.span, message).help(help);
                sound = false;
            }
            Ok(mac) => {
                let known = sets.macs.iter().position(|&known| known == mac);
                let number = known.unwrap_or(sets.macs.len());
                if number == MACS {
                    let message = format!("more than {MACS} MAC addresses");
                    let help = "match stations by the addresses of IP that they have";
                    cx.sink.error(&codes::MAC, item.span, message).help(help);
                    return None;
                }
                if known.is_none() {
                    sets.macs.push(mac);
                }
                numbers.push((number as u32, number as u32));
            }
        }
    }
    debug_assert_eq!(row.range.1 as usize, MACS - 1);
    sound.then(|| RangeSet::from_ranges(numbers))
}

/// The MAC address of a sender, or what is wrong with it and what to do.
fn mac(text: &str) -> Result<Mac, (String, &'static str)> {
    if text.starts_with(['!', '@']) {
        return Err((
            format!("`mac` takes addresses alone, not `{}`", show(text)),
            "list them; for all others write a rule without `mac` behind this one",
        ));
    }
    let mac = Mac::parse(text).ok_or_else(|| {
        (
            format!("`{}` is not a MAC address", show(text)),
            "write six bytes: 02:00:00:00:00:01",
        )
    })?;
    if mac.is_group() || mac.0 == 0 {
        return Err((
            format!("{mac} is never the source of a frame"),
            "write the address of one station: the lowest bit of its first byte is 0",
        ));
    }
    Ok(mac)
}
