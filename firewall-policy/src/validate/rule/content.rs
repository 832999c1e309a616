//! `options` and `payload`: what a rule asks of a packet beside the fields.

use super::super::proto;
use super::super::set::Sets;
use super::super::shape::{Cx, Keys, Table, integer, items, scalar, word, wrong_kind};
use super::transport::Protos;
use crate::ast::Node;
use crate::content::{Content, LAST_OFFSET, Payload};
use crate::diag::{codes, show};
use crate::vocabulary::OPTIONS;
use firewall_common::abi::{CONTENTS, option_bit};
use firewall_common::content::PAYLOAD;

pub(in super::super) const KEYS: Keys = Keys {
    of: "`payload`",
    known: &["offset", "bytes", "text"],
    reserved: &[],
};

const EXAMPLE: &str =
    "write `payload: {offset: 0, bytes: \"ff ff ff ff\"}`, or `text` in place of `bytes`";

/// The number of a rule's condition; `Ok(None)` if it has none, `Err` after an error.
pub(super) fn read(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    protos: &Protos,
    sets: &mut Sets,
) -> Result<Option<u32>, ()> {
    let options = match table.entry("options") {
        None => Ok(0),
        Some((_, node)) => options(cx, node, sets).ok_or(()),
    };
    let payload = match table.entry("payload") {
        None => Ok(None),
        Some((span, node)) => {
            let fits = needs_payload(cx, span, protos);
            payload(cx, node).filter(|_| fits).map(Some).ok_or(())
        }
    };
    let (options, payload) = (options?, payload?);
    if options == 0 && payload.is_none() {
        return Ok(None);
    }
    let content = Content { options, payload };
    let known = sets.contents.iter().position(|known| *known == content);
    let number = known.unwrap_or(sets.contents.len());
    if number == CONTENTS {
        let entry = table.entry("payload").or_else(|| table.entry("options"));
        let span = entry.map_or(table.span(), |(span, _)| span);
        cx.sink
            .error(
                &codes::CONTENT,
                span,
                format!("more than {CONTENTS} different conditions on `payload` and `options`"),
            )
            .help("rules with the same `payload` and `options` share one: match more by ports and `length`");
        return Err(());
    }
    if known.is_none() {
        sets.contents.push(content);
    }
    Ok(Some(number as u32))
}

/// The words of `options`, as bits.
fn options(cx: &mut Cx<'_>, node: &Node<'_>, sets: &Sets) -> Option<u32> {
    let mut bits = Some(0);
    for item in items(cx, node, "options")? {
        match word(cx, item, "option", OPTIONS, &[]) {
            Some(bit) => bits = bits.map(|bits| bits | bit),
            None => bits = None,
        }
    }
    let bits = bits?;
    let is_among = |dropped: u32| bits & !dropped == 0;
    let (message, help) = if sets.drops_malformed && is_among(option_bit::SOURCE_ROUTE) {
        (
            "packets with a source route are malformed, and dropped before the rules",
            "write `packet: {malformed: rules}` to have rules judge them; without such a rule they drop",
        )
    } else if sets.drops_options
        && is_among(option_bit::SOURCE_ROUTE | option_bit::RECORD_ROUTE | option_bit::TIMESTAMP)
    {
        (
            "packets with these options are dropped before the rules",
            "write `packet: {ip_options: pass}`: with a default of drop they do not come to the rules",
        )
    } else {
        return Some(bits);
    };
    cx.sink
        .error(&codes::CONTENT, node.span, message)
        .help(help);
    None
}

/// Refuses what has no payload that is looked at.
fn needs_payload(cx: &mut Cx<'_>, span: crate::ast::Span, protos: &Protos) -> bool {
    let Ok(protos) = protos else { return false };
    let has = |protos: &Vec<u8>| {
        !protos.is_empty() && protos.iter().all(|p| matches!(*p, proto::TCP | 17))
    };
    if protos.as_ref().is_some_and(has) {
        return true;
    }
    cx.sink
        .error(
            &codes::CONTENT,
            span,
            "`payload` needs `proto: tcp`, `proto: udp`, or both",
        )
        .help("it is what follows the header of TCP or UDP: add `proto: udp`");
    false
}

fn payload(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Payload> {
    if node.scalar().is_some() {
        wrong_kind(cx, node, "`payload` is a mapping").help(EXAMPLE);
        return None;
    }
    let table = Table::read(cx, node, &KEYS)?;
    let offset = match table.get("offset") {
        None => Some(0),
        Some(node) => integer(cx, node, "offset", 0, u64::from(LAST_OFFSET)).map(|at| at as u32),
    };
    let bytes = match (table.get("bytes"), table.entry("text")) {
        (Some(_), Some((span, _))) => {
            cx.sink
                .error(&codes::CONTENT, span, "`text` beside `bytes`")
                .help("keep one: they say the same in two ways");
            None
        }
        (Some(node), None) => bytes(cx, node),
        (None, Some((_, node))) => text(cx, node),
        (None, None) => {
            cx.sink
                .error(&codes::CONTENT, table.span(), "`payload` names no bytes")
                .help(EXAMPLE);
            None
        }
    };
    Some(Payload {
        offset: offset?,
        bytes: bytes?,
    })
}

/// `ff ff ?? 54`.
fn bytes(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Vec<Option<u8>>> {
    let example = "`bytes: \"ff ff ff ff\"`";
    let text = scalar(cx, node, "`bytes` are hexadecimal", example)?;
    match Payload::parse(text) {
        Some(bytes) => enough(cx, node, bytes),
        None => {
            cx.sink
                .error(
                    &codes::CONTENT,
                    node.span,
                    format!("`{}` are not bytes in hexadecimal", show(text)),
                )
                .help("write two digits a byte, `??` for any byte: `bytes: \"ff ff ?? 54\"`");
            None
        }
    }
}

fn text(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Vec<Option<u8>>> {
    let text = scalar(cx, node, "`text` is what stands there", "`text: TSource`")?;
    enough(cx, node, text.bytes().map(Some).collect())
}

/// 1 to 16 bytes, of which one at least counts.
fn enough(cx: &mut Cx<'_>, node: &Node<'_>, bytes: Vec<Option<u8>>) -> Option<Vec<Option<u8>>> {
    let (message, help) = if bytes.len() > PAYLOAD as usize {
        (
            format!("{} bytes are more than {PAYLOAD}", bytes.len()),
            "name the first 16, or those that tell this payload from others",
        )
    } else if bytes.iter().all(Option::is_none) {
        (
            "no byte that would tell one payload from another".to_owned(),
            "name one byte at least; for any payload of a size write `length`",
        )
    } else {
        return Some(bytes);
    };
    cx.sink
        .error(&codes::CONTENT, node.span, message)
        .help(help);
    None
}
