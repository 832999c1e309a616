//! `rules:`: from a table to a [`Rule`] with every field in its domain.

mod transport;

use self::transport::{Protos, expand, icmp_field, ports};
use super::number::{self, Domain, Names};
use super::set::Sets;
use super::shape::{self, Cx, Keys, Table, boolean, items, text, word, wrong_kind};
use super::{expires, flags, limit, log, proto, sides, summary, worst};
use crate::ast::{Node, Span, Value};
use crate::diag::{codes, show};
use crate::range::RangeSet;
use crate::rule::{AddrSet, Match, Rule};
use crate::vocabulary::DSCP;
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::verdict::Action;
use std::collections::HashMap;

pub(super) const KEYS: Keys = Keys {
    of: "a rule",
    known: &[
        "name",
        "action",
        "from",
        "to",
        "proto",
        "port",
        "source_port",
        "icmp",
        "flags",
        "state",
        "zone",
        "vlan",
        "dscp",
        "ttl",
        "length",
        "enabled",
        "comment",
        "owner",
        "reason",
        "expires",
        "mode",
        "to_port",
        "limit",
        "over",
        "syn_protect",
        "ban",
        "log",
    ],
    reserved: &["observe", "fragment", "fragments", "notify"],
};

/// One of [`STATES`], or a list of them.
fn states(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<RangeSet<u32>> {
    let mut ranges = Vec::new();
    let mut sound = true;
    for item in items(cx, node, "state")? {
        match word(cx, item, "state", STATES, &[]) {
            Some(state) => ranges.push((state, state)),
            None => sound = false,
        }
    }
    sound.then(|| RangeSet::from_ranges(ranges))
}

const ACTIONS: &[(&str, Action)] = &[
    ("pass", Action::PASS),
    ("drop", Action::DROP),
    ("reject", Action::REJECT),
    ("next", Action::NEXT),
];

pub(crate) const STATES: &[(&str, u32)] = &[
    ("established", state_field::ESTABLISHED),
    ("new", state_field::NEW),
    ("invalid", state_field::INVALID),
];

/// Small fields that need nothing but their own value.
const PLAIN: &[(Field, Domain<'static>)] = &[
    (
        Field::Vlan,
        Domain {
            key: "vlan",
            first: 1,
            last: 4_095,
            example: "a VLAN id (10) or a range (10-19)",
            names: Names::None,
        },
    ),
    (
        Field::Dscp,
        Domain {
            key: "dscp",
            first: 0,
            last: 63,
            example: "a code point (46) or its name (ef)",
            names: Names::Table(DSCP),
        },
    ),
    (
        Field::Ttl,
        Domain {
            key: "ttl",
            first: 0,
            last: 255,
            example: "a number of hops (255) or a range (0-5)",
            names: Names::None,
        },
    ),
    (
        Field::Length,
        Domain {
            key: "length",
            first: 0,
            last: 65_535,
            example: "a number of bytes (1500) or a range (0-64)",
            names: Names::None,
        },
    ),
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
    let (action, audit, mut limit) = (action?, audit?, limit.ok()?);
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
    if only(Field::Proto, u32::from(proto::TCP)) || only(Field::State, state_field::ESTABLISHED) {
        return Some(());
    }
    let span = table.entry("ban").map_or(table.span(), |(span, _)| span);
    cx.sink
        .error(
            &codes::FORGED_BAN,
            span,
            "`ban` for packets whose source can be forged",
        )
        .help(
            "remove `ban`: the `limit` drops the excess; or restrict the rule to `proto: tcp` or \
             `state: established`",
        );
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

/// All match fields; `None` after an error in one of them.
fn matches(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    sets: &mut Sets,
    zones: &[String],
) -> Option<Match> {
    let mut found = Match::any();
    let mut sound = true;
    let mut put = |field: Field, values: Option<RangeSet<u32>>| match values {
        Some(values) => found.fields[field as usize] = values,
        None => sound = false,
    };
    // `Err` after an error in `proto`, so that fields which depend on it stay silent.
    let protos = match table.get("proto") {
        None => Ok(None),
        Some(node) => number::read(cx, node, &proto::DOMAIN, sets)
            .map(Some)
            .ok_or(()),
    };
    match &protos {
        Ok(Some(protos)) => put(Field::Proto, Some(protos.clone())),
        Ok(None) => {}
        Err(()) => put(Field::Proto, None),
    }
    let protos = protos.map(|protos| protos.map(|set| expand(&set)));
    one_port(cx, table);
    for (key, field) in [
        ("port", Field::DestinationPort),
        ("to_port", Field::DestinationPort),
        ("source_port", Field::SourcePort),
    ] {
        if let Some((span, node)) = table.entry(key) {
            put(field, ports(cx, key, span, node, &protos, sets));
        }
    }
    if let Some((span, node)) = table.entry("icmp") {
        put(Field::Icmp, icmp_field(cx, span, node, &protos, sets));
    }
    if let Some((span, node)) = table.entry("flags") {
        put(Field::TcpFlags, tcp_flags(cx, span, node, &protos));
    }
    for (field, domain) in PLAIN {
        if let Some(node) = table.get(domain.key) {
            put(*field, number::read(cx, node, domain, sets));
        }
    }
    if let Some(node) = table.get("state") {
        put(Field::State, states(cx, node));
    }
    if let Some(node) = table.get("zone") {
        put(Field::Zone, number::read(cx, node, &in_zones(zones), sets));
    }
    for (key, field) in [("from", Field::SourceSets), ("to", Field::DestinationSets)] {
        let Some(node) = table.get(key) else {
            continue;
        };
        let Some(side) = sides::read(cx, key, node, sets) else {
            sound = false;
            continue;
        };
        if let Some(sets) = side.sets {
            found.fields[field as usize] = sets;
        }
        match field {
            Field::SourceSets => found.src = side.addresses,
            _ => found.dst = side.addresses,
        }
    }
    sound.then_some(found)
}

/// The domain of `zone`.
fn in_zones(zones: &[String]) -> Domain<'_> {
    Domain {
        key: "zone",
        first: 0,
        last: Field::Zone.none() - 1,
        example: "the name of a zone in `interfaces`",
        names: Names::Zones(zones),
    }
}

/// Refuses a rule that names its destination ports twice.
fn one_port(cx: &mut Cx<'_>, table: &Table<'_, '_>) {
    if let (Some((first, _)), Some((second, _))) = (table.entry("port"), table.entry("to_port")) {
        cx.sink
            .error(
                &codes::DUPLICATE_KEY,
                second,
                "`to_port` is another word for `port`",
            )
            .label("again here")
            .also(first, "first here")
            .help("keep one of them");
    }
}

/// `flags`, of a rule that matches TCP alone.
fn tcp_flags(
    cx: &mut Cx<'_>,
    span: Span,
    node: &Node<'_>,
    protos: &Protos,
) -> Option<RangeSet<u32>> {
    let values = flags::read(cx, node);
    let tcp = protos
        .as_ref()
        .is_ok_and(|p| p.as_deref() != Some(&[proto::TCP][..]));
    if tcp {
        cx.sink
            .error(
                &codes::FLAGS_NEED_TCP,
                span,
                "`flags` are TCP flags, and this rule matches other protocols too",
            )
            .help("add `proto: tcp`");
    }
    values.filter(|_| !tcp)
}

/// Reports a rule that no packet can match. Rules over empty sets are not meant: a block list may
/// be empty for now, which is a warning of its own.
fn can_match(cx: &mut Cx<'_>, table: &Table<'_, '_>, found: &Match) {
    let empty = |set: &AddrSet| set.v4.is_empty() && set.v6.is_empty();
    if empty(&found.src) || empty(&found.dst) {
        return;
    }
    let only = |number: u8| found.field(Field::Proto).ranges() == [(number.into(), number.into())];
    let v4 = !found.src.v4.is_empty() && !found.dst.v4.is_empty();
    let v6 = !found.src.v6.is_empty() && !found.dst.v6.is_empty();
    let name = table
        .get("name")
        .and_then(Node::scalar)
        .map_or(String::new(), show);
    let problem = if !v4 && !v6 {
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
