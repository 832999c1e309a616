//! `rules:`: from a table to a [`Rule`] with every field in its domain.

mod content;
mod link;
mod matches;
mod transport;

use self::matches::matches;
use super::set::Sets;
use super::shape::{self, Cx, Keys, Table, boolean, text, word, wrong_kind};
use super::{expires, limit, log, proto, summary, worst};
use crate::ast::{Node, Span, Value};
use crate::diag::{codes, show};
use crate::fields;
use crate::rule::{AddrSet, Match, Rule};
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::parse::fragment;
use firewall_common::verdict::Action;
use std::collections::HashMap;

pub(super) const KEYS: Keys = Keys {
    of: "a rule",
    known: &KNOWN,
    reserved: &["observe", "fragments", "notify", "ipsec"],
};

pub(super) use self::content::KEYS as PAYLOAD_KEYS;

/// What a rule needs, what it matches, and what else it can say.
const KNOWN: [&str; NEEDED.len() + fields::KEYS.len() + MORE.len()] = {
    let mut known = [""; NEEDED.len() + fields::KEYS.len() + MORE.len()];
    let mut at = 0;
    while at < known.len() {
        let (behind_needed, of_fields) = (at.wrapping_sub(NEEDED.len()), fields::KEYS.len());
        known[at] = if at < NEEDED.len() {
            NEEDED[at]
        } else if behind_needed < of_fields {
            fields::KEYS[behind_needed]
        } else {
            MORE[behind_needed - of_fields]
        };
        at += 1;
    }
    known
};

const NEEDED: [&str; 2] = ["name", "action"];

const MORE: [&str; 14] = [
    link::ETHERTYPE,
    "options",
    "payload",
    "enabled",
    "comment",
    "owner",
    "reason",
    "expires",
    "mode",
    "limit",
    "over",
    "syn_protect",
    "ban",
    "log",
];

const ACTIONS: &[(&str, Action)] = &[
    ("pass", Action::PASS),
    ("drop", Action::DROP),
    ("reject", Action::REJECT),
    ("next", Action::NEXT),
];

/// Reads the section. Rules with errors are left out; the errors have been reported.
pub(super) fn read_all(
    cx: &mut Cx<'_>,
    node: Option<&Node<'_>>,
    sets: &mut Sets,
    zones: &[String],
) -> Vec<Rule> {
    let Some(node) = node else { return Vec::new() };
    let Value::List(list) = &node.value else {
        wrong_kind(cx, node, "`rules` is a list").help(
            "write `- {name: web, proto: tcp, port: 80, action: pass}`, one rule after another",
        );
        return Vec::new();
    };
    let mut names: HashMap<String, Span> = HashMap::with_capacity(list.len());
    let mut rules = Vec::with_capacity(list.len());
    let mut spans = Vec::with_capacity(list.len());
    for node in list {
        if let Some(rule) = read(cx, node, sets, zones, &mut names) {
            rules.push(rule);
            spans.push(node.span);
        }
    }
    worst::check(cx, &rules, &spans);
    rules
}

fn read(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    sets: &mut Sets,
    zones: &[String],
    names: &mut HashMap<String, Span>,
) -> Option<Rule> {
    let table = Table::read(cx, node, &KEYS)?;
    let name = name(cx, &table, names);
    let action = table
        .require(
            cx,
            "action",
            "`action: pass`, `action: drop`, `action: reject` or `action: next`",
        )
        .and_then(|node| word(cx, node, "action", ACTIONS, &[]));
    let [comment, owner, reason] = ["comment", "owner", "reason"].map(|key| {
        let node = table.get(key)?;
        text(cx, node, key).map(String::from)
    });
    let enabled = table
        .get("enabled")
        .map_or(Some(true), |node| boolean(cx, node, "enabled"));
    let audit = super::mode(cx, &table);
    let limit = limit::read(cx, &table, action);
    let syn_protect = syn_protect(cx, &table);
    let expires = expires::read(cx, &table);
    let log = log::read(cx, &table);
    let matches = matches(cx, &table, sets, zones);
    let matches = matches?;
    can_match(cx, &table, &matches);
    let syn_protect = syn_protect?;
    if syn_protect {
        can_protect(cx, &table, &matches, action)?;
    }
    let limit = limit.ok()?;
    if matches.is_of_frames() && !link::can_do(cx, &table, action, limit.as_ref()) {
        return None;
    }
    let (action, audit, mut limit) = (action?, audit?, limit);
    if limit.as_ref().is_some_and(|limit| limit.ban.is_some()) {
        can_ban(cx, &table, &matches)?;
    }
    let (enabled, mut expires, log) = (enabled?, expires.ok()?, log.ok()?);
    if let Some(expiry) = &mut expires {
        expiry.passed &= enabled;
    }
    if let Some(limit) = limit.as_mut().filter(|_| audit) {
        limit.over = Action::NEXT;
    }
    Some(Rule {
        name: name?,
        place: cx.sink.place(table.span()),
        enabled: enabled && !expires.is_some_and(|expiry| expiry.passed),
        expires,
        comment,
        owner,
        reason,
        summary: summary::line(&table),
        matches,
        action: if audit { Action::NEXT } else { action },
        audit: audit.then_some(action),
        limit,
        log,
        // What only counts answers nobody.
        syn_protect: syn_protect && !audit,
    })
}

/// `syn_protect`; `None` after an error.
fn syn_protect(cx: &mut Cx<'_>, table: &Table<'_, '_>) -> Option<bool> {
    match table.get("syn_protect") {
        None => Some(false),
        Some(node) => word(
            cx,
            node,
            "syn_protect",
            &[("auto", true), ("off", false)],
            &["on"],
        ),
    }
}

/// Reports a ban for packets that anybody can send in anybody's name.
fn can_ban(cx: &mut Cx<'_>, table: &Table<'_, '_>, found: &Match) -> Option<()> {
    let only = |field: Field, value: u32| {
        let values = found.field(field).ranges();
        values.iter().all(|&range| range == (value, value))
    };
    let tcp = u32::from(proto::TCP);
    let protos = found.field(Field::Proto);
    if only(Field::Proto, tcp)
        || only(Field::State, state_field::ESTABLISHED) && protos.contains(tcp)
    {
        return Some(());
    }
    let span = table.entry("ban").map_or(table.span(), |(span, _)| span);
    cx.sink
        .error(
            &codes::FORGED_BAN,
            span,
            "`ban` for packets whose source can be forged",
        )
        .help("remove `ban`: the `limit` drops the excess; or restrict the rule to `proto: tcp`");
    None
}

/// Reports protection of what opens no connection.
fn can_protect(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    found: &Match,
    action: Option<Action>,
) -> Option<()> {
    let tcp = found.field(Field::Proto).contains(u32::from(proto::TCP));
    if tcp && action.is_none_or(|action| action == Action::PASS) {
        return Some(());
    }
    let span = table
        .entry("syn_protect")
        .map_or(table.span(), |(span, _)| span);
    cx.sink
        .error(
            &codes::SYN_PROTECT,
            span,
            "`syn_protect` in a rule that opens no TCP port",
        )
        .help("write it in the rule that passes the port: `proto: tcp, port: https, action: pass`");
    None
}

fn name(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    names: &mut HashMap<String, Span>,
) -> Option<String> {
    let node = table.require(cx, "name", "`name: web`: counters and listings go by it")?;
    let text = text(cx, node, "name")?;
    shape::name(cx, node.span, "a rule", text)?;
    if let Some(&first) = names.get(text) {
        cx.sink
            .error(
                &codes::DUPLICATE_NAME,
                node.span,
                format!("two rules have the name `{text}`"),
            )
            .label("again here")
            .also(first, "first here")
            .help(format!("write another name, such as `{text}-2`"));
        return None;
    }
    names.insert(text.to_string(), node.span);
    Some(text.to_string())
}

/// Why no packet can match a rule about later fragments that asks for what only the first one has.
fn is_of_no_fragment(found: &Match) -> Option<(&'static str, &'static str, &'static str)> {
    let is_later = found.field(Field::Fragment).ranges() == [(fragment::LATER, fragment::LATER)];
    let of_transport = [
        Field::SourcePort,
        Field::DestinationPort,
        Field::Icmp,
        Field::TcpFlags,
    ];
    let asks = of_transport.into_iter().any(|field| !found.is_any(field));
    (is_later && asks).then_some((
        "fragment",
        "later fragments have neither ports nor flags nor ICMP types",
        "match them by addresses and `proto`, or write `fragment: first`",
    ))
}

/// Why no packet can match a rule that asks for a state which its protocols never have; warns where that
/// is true of some of them.
fn never_has_state(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    found: &Match,
) -> Option<(&'static str, &'static str, &'static str)> {
    const TRACKED: [u32; 4] = [1, 6, 17, 58];
    const HELP: &str = "only TCP, UDP, ICMP and ICMPv6 have connections here: leave `state` out, and name \
                        the other end by `from`";
    if found.field(Field::State).contains(state_field::NEW) || found.is_any(Field::Proto) {
        return None;
    }
    let protos = found.field(Field::Proto);
    let only_related = [(state_field::RELATED, state_field::RELATED)];
    if found.field(Field::State).ranges() == only_related && !protos.contains(17) {
        return Some((
            "state",
            "only UDP is `related`",
            "write `state: established`: ICMP errors about a connection belong to it, and so does all of TCP",
        ));
    }
    if !TRACKED.iter().any(|&proto| protos.contains(proto)) {
        return Some(("state", "packets of its protocol are always `new`", HELP));
    }
    // Of `!udp` and ranges nobody means each.
    let named = |&&(first, last): &&(u32, u32)| first == last && !TRACKED.contains(&first);
    let names: Vec<&str> = protos
        .ranges()
        .iter()
        .filter(named)
        .map(|&(proto, _)| proto::name(proto as u8))
        .collect();
    if let (false, Some((span, _))) = (names.is_empty(), table.entry("state")) {
        cx.sink
            .warning(
                &codes::STATELESS_PROTO,
                span,
                format!("packets of {} never have this state", names.join(", ")),
            )
            .help("they are always `new`: write a rule of their own, without `state`");
    }
    None
}

/// Whether one of the keys names a set.
fn names_a_set(table: &Table<'_, '_>, keys: &[&str]) -> bool {
    let is_set = |node: &Node<'_>| {
        let text = node.scalar().unwrap_or_default();
        text.trim_start_matches(['!', ' ']).starts_with('@')
    };
    let nodes = keys.iter().filter_map(|key| table.get(key));
    nodes.flat_map(Node::items).any(is_set)
}

/// Reports a rule that no packet can match. Rules over empty sets are not meant: a block list may
/// be empty for now, which is a warning of its own; nor over sets that hold one family only.
fn can_match(cx: &mut Cx<'_>, table: &Table<'_, '_>, found: &Match) {
    let empty = |set: &AddrSet| set.v4.is_empty() && set.v6.is_empty();
    if empty(&found.src) || empty(&found.dst) {
        return;
    }
    let by_set = names_a_set(table, &["from", "to"]);
    let only = |number: u8| found.field(Field::Proto).ranges() == [(number.into(), number.into())];
    let v4 = !found.src.v4.is_empty() && !found.dst.v4.is_empty();
    let v6 = !found.src.v6.is_empty() && !found.dst.v6.is_empty();
    let name = table
        .get("name")
        .and_then(Node::scalar)
        .map_or(String::new(), show);
    let problem = if by_set {
        None
    } else if !v4 && !v6 {
        Some((
            "from",
            "`from` and `to` are of different address families",
            "write `from` and `to` of one family",
        ))
    } else if only(proto::ICMPV6) && !v6 {
        Some((
            "proto",
            "ICMPv6 does not run over IPv4",
            "write `proto: icmp`, or IPv6 addresses",
        ))
    } else if only(proto::ICMP) && !v4 {
        Some((
            "proto",
            "ICMP does not run over IPv6",
            "write `proto: icmpv6`, or IPv4 addresses",
        ))
    } else {
        None
    };
    let problem = problem
        .or_else(|| is_of_no_fragment(found))
        .or_else(|| never_has_state(cx, table, found));
    if let Some((key, why, help)) = problem {
        let span = table.entry(key).map_or(table.span(), |(span, _)| span);
        cx.sink
            .error(
                &codes::NEVER_MATCHES,
                span,
                format!("no packet can match the rule `{name}`: {why}"),
            )
            .help(help);
    }
}
