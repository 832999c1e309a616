//! `tests:`: packets and their expected verdicts. Read here, run by [`crate::policy_tests`].

use super::shape::{Cx, Keys, Table, name, scalar, text, word, wrong_kind};
use crate::ast::{Node, Span, Value};
use crate::case::{By, Expect, PolicyTest};
use crate::diag::{codes, show, suggest};
use crate::packet_text::{self, Misplaced, PacketText, zone_of};
use crate::rule::{Policy, SELF};
use firewall_common::reason::Reason;
use std::collections::HashMap;

pub(super) const KEYS: Keys = Keys {
    of: "a test",
    known: &["name", "packet", "expect", "by"],
    reserved: &[],
};

const VERDICTS: &[(&str, Expect)] = &[
    ("pass", Expect::Pass),
    ("drop", Expect::Drop),
    ("reject", Expect::Reject),
];

/// Reads the section of a policy that is complete but for it.
pub(super) fn read(cx: &mut Cx<'_>, node: &Node<'_>, policy: &Policy) -> Vec<PolicyTest> {
    let Value::List(list) = &node.value else {
        wrong_kind(cx, node, "`tests` is a list").help(
            "write `- {name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass}`",
        );
        return Vec::new();
    };
    let rules: HashMap<&str, usize> = policy
        .rules
        .iter()
        .enumerate()
        .map(|(index, rule)| (rule.name.as_str(), index))
        .collect();
    let mut names: HashMap<String, Span> = HashMap::new();
    list.iter()
        .filter_map(|node| one(cx, node, policy, &rules, &mut names))
        .collect()
}

fn one(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    policy: &Policy,
    rules: &HashMap<&str, usize>,
    names: &mut HashMap<String, Span>,
) -> Option<PolicyTest> {
    let table = Table::read(cx, node, &KEYS)?;
    let test_name = table
        .require(cx, "name", "`name: ssh-from-outside`")
        .and_then(|node| unique_name(cx, node, names));
    let packet = table
        .require(
            cx,
            "packet",
            "`packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\"`",
        )
        .and_then(|node| packet(cx, node, policy));
    let expect = table
        .require(cx, "expect", "`expect: pass` or `expect: drop`")
        .and_then(|node| Some((word(cx, node, "expect", VERDICTS, &[])?, node.span)));
    let by = match table.get("by") {
        Some(node) => Some(by(cx, node, rules)?),
        None => None,
    };
    let ((packet, zone), (expect, span)) = (packet?, expect?);
    Some(PolicyTest {
        name: test_name?,
        place: cx.sink.place(table.span()),
        packet,
        zone,
        expect,
        by,
        span,
    })
}

fn unique_name(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    names: &mut HashMap<String, Span>,
) -> Option<String> {
    let text = text(cx, node, "name")?;
    name(cx, node.span, "a test", text)?;
    if let Some(&first) = names.get(text) {
        cx.sink
            .error(
                &codes::DUPLICATE_NAME,
                node.span,
                format!("two tests have the name `{text}`"),
            )
            .label("again here")
            .also(first, "first here")
            .help(format!("write another name, such as `{text}-2`"));
        return None;
    }
    names.insert(text.to_owned(), node.span);
    Some(text.to_owned())
}

/// The packet, and the number of the zone that it comes in from.
fn packet(cx: &mut Cx<'_>, node: &Node<'_>, policy: &Policy) -> Option<(PacketText, u32)> {
    let example = "`packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\"`";
    let text = scalar(cx, node, "`packet` is a packet as text", example)?;
    let packet = match packet_text::parse(text) {
        Ok(packet) => packet,
        Err(error) => {
            // The place inside the text is known where it stands there as it is.
            let quote = cx.sink.slice(node.span);
            let span = match quote.find(text) {
                Some(skip) if !quote.contains('\n') => {
                    node.span
                        .part(quote, skip + error.at.start, skip + error.at.end)
                }
                _ => node.span,
            };
            cx.sink
                .error(&codes::PACKET_TEXT, span, error.message)
                .help(error.help);
            return None;
        }
    };
    let packet = placed(cx, node, &packet, policy)?;
    match zone_of(policy, &packet.ingress) {
        Ok(zone) => Some((packet, zone)),
        Err(message) => {
            cx.sink
                .error(&codes::UNKNOWN_ZONE, node.span, message)
                .help("write `in zone NAME` with a zone of `interfaces`, or leave it out");
            None
        }
    }
}

/// The packet with addresses of the sets that it names. A set that holds none of its family sends no
/// such packet: the test says nothing, and is left out with a warning.
fn placed(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    packet: &PacketText,
    policy: &Policy,
) -> Option<PacketText> {
    match packet.placed(policy) {
        Ok(packet) => return Some(packet),
        Err(Misplaced::Unknown(name)) => {
            let fixed = policy.sets.iter().map(|set| set.name.as_str());
            let live = policy.live.iter().map(|set| set.name.as_str());
            let known: Vec<&str> = fixed.chain(live).collect();
            let help = match suggest::nearest(&name, known.iter().copied()) {
                Some(near) => format!("did you mean `@{}`?", show(near)),
                None if name == SELF => {
                    "no rule names `@self`, so no packet needs to: leave it out".to_owned()
                }
                None => format!("sets: @{}", suggest::listed(&known).replace(", ", ", @")),
            };
            cx.sink
                .error(
                    &codes::PACKET_TEXT,
                    node.span,
                    format!(
                        "`@{}` is not a set of addresses in this policy",
                        show(&name)
                    ),
                )
                .help(help);
        }
        Err(Misplaced::Empty(name)) => {
            let family = if packet.dst.is_ipv4() { "IPv4" } else { "IPv6" };
            cx.sink
                .warning(
                    &codes::TEST_OF_NOBODY,
                    node.span,
                    format!(
                        "the test is skipped: `@{}` holds no {family} address",
                        show(&name)
                    ),
                )
                .help(format!(
                    "add one to the set, or write the test's addresses in {}",
                    if packet.dst.is_ipv4() { "IPv6" } else { "IPv4" }
                ));
        }
    }
    None
}

/// A rule's name, or a reason's.
fn by(cx: &mut Cx<'_>, node: &Node<'_>, rules: &HashMap<&str, usize>) -> Option<By> {
    let text = scalar(
        cx,
        node,
        "`by` is the name of a rule or a reason",
        "`by: ssh`",
    )?;
    if let Some(&rule) = rules.get(text) {
        return Some(By::Rule(rule));
    }
    let reasons = || Reason::ALL.iter().copied().filter(|&r| r != Reason::RULE);
    if let Some(reason) = reasons().find(|reason| reason.name() == text) {
        return Some(By::Reason(reason));
    }
    let mut known: Vec<&str> = rules.keys().copied().collect();
    known.extend(reasons().map(|reason| -> &str { reason.name() }));
    let help = match suggest::nearest(text, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the name of a rule, or a reason such as no-match".into(),
    };
    cx.sink
        .error(
            &codes::TEST_BY,
            node.span,
            format!("no rule and no reason is called `{}`", show(text)),
        )
        .help(help);
    None
}
