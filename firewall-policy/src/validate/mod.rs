//! From the tree to [`Policy`]: the only way to make one, so every `Policy` is valid.
//!
//! Each part of the language has a file here. All readers take the shared [`shape::Cx`], report
//! what is wrong themselves and go on, so one run names every error. Nothing here does I/O but
//! through [`crate::files::Files`].

mod addr;
mod expires;
mod files;
mod flags;
pub(crate) mod foreign;
mod icmp;
mod interfaces;
mod limit;
mod lines;
mod list_line;
mod lists;
mod log;
mod meant;
mod number;
mod packet;
mod proto;
mod rule;
mod services;
mod set;
mod set_file;
mod shape;
mod sides;
mod state;
mod summary;
mod tests_section;
mod worst;

use crate::ast::{Node, Value};
use crate::case::PolicyTest;
use crate::diag::{Sink, codes, show};
use crate::files::Files;
use crate::rule::{AddrSet, Elements, Policy, Rule, SetSize};
use set::Sets;
use shape::{Cx, Table};

pub(crate) use files::FILE;
pub(crate) use services::read as services;
pub use services::{Service, ServicePorts};
pub(crate) use shape::Keys;
pub(crate) use state::FLOWS;

const KEYS: Keys = Keys {
    of: "the policy",
    known: &[
        "version",
        "mode",
        "interfaces",
        "default",
        "packet",
        "state",
        "sets",
        "exempt",
        "rules",
        "tests",
    ],
    reserved: &["alerts", "notify", "services", "watch", "include"],
};

/// The keys of every kind of table in the language: see [`crate::schema`].
pub(crate) fn key_tables() -> [&'static Keys; 14] {
    [
        &KEYS,
        &FILE,
        &interfaces::KEYS,
        &packet::DEFAULT,
        &packet::ESSENTIAL_KEYS,
        &packet::PACKET,
        &state::KEYS,
        &set::KEYS,
        &rule::KEYS,
        &flags::KEYS,
        &limit::KEYS,
        &icmp::KEYS,
        &rule::PAYLOAD_KEYS,
        &tests_section::KEYS,
    ]
}

/// The addresses of one entry, as a set takes it: an address, a prefix or a range.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn entry(text: &str) -> Result<AddrSet, (String, String)> {
    let mut ranges = addr::Ranges::default();
    match ranges.add(text) {
        Ok(()) => Ok(ranges.finish()),
        Err(fault) => Err((fault.message, fault.help)),
    }
}

/// What a policy's text holds.
pub(crate) struct ReadPolicy {
    /// The policy.
    pub(crate) policy: Policy,
    /// Its tests.
    pub(crate) tests: Vec<PolicyTest>,
    /// How large its sets are.
    pub(crate) sets: Vec<SetSize>,
    /// What is in those that are not live, by name.
    pub(crate) elements: Vec<(String, Elements)>,
}

/// Reads the whole policy. The result counts only if the sink has no errors.
/// `roots` are the trees of the policy's files.
pub(crate) fn policy<'a>(
    roots: Vec<Node<'a>>,
    sink: Sink<'a>,
    files: &'a dyn Files,
) -> (Option<ReadPolicy>, Sink<'a>) {
    let mut cx = Cx::new(sink, files);
    let policy = files::merge(&mut cx, roots).and_then(|root| read(&mut cx, &root));
    (policy, cx.sink)
}

fn read(cx: &mut Cx<'_>, root: &Node<'_>) -> Option<ReadPolicy> {
    refuse_other_things(cx, root)?;
    let table = Table::read(cx, root, &KEYS)?;
    version(cx, &table);
    let audit = mode(cx, &table);
    let (interfaces, zones) = match table.get("interfaces") {
        Some(node) => interfaces::read(cx, node),
        None => (Vec::new(), vec![String::new()]),
    };
    let default = table
        .require(
            cx,
            "default",
            "`default: {in: drop}` or `default: {in: pass}`",
        )
        .and_then(|node| packet::default(cx, node));
    let drops = default.is_none_or(|d| d.verdict == firewall_common::verdict::Verdict::DROP);
    let packet = packet::knobs(cx, table.get("packet"), drops);
    let flows = table.get("state").and_then(|node| state::read(cx, node));
    let mut sets = match table.get("sets") {
        Some(node) => Sets::read(cx, node),
        None => Sets::default(),
    };
    sets.drops_options = packet.drop_ip_options != 0;
    sets.drops_malformed = packet.malformed != firewall_common::abi::malformed::RULES;
    let rules = rule::read_all(cx, table.get("rules"), &mut sets, &zones);
    let exempt = table.get("exempt").map_or(Some(AddrSet::none()), |node| {
        sides::fixed(cx, "exempt", node, &mut sets)
    });
    sets.warn_unused(cx);
    state::warn_unused(cx, &table, &rules);
    let default = default?;
    packet::warn_of_lost(cx, &default, &rules);
    warn_of_extremes(cx, &table, drops, &rules, audit);
    let (sizes, elements) = (sets.sizes(), sets.elements());
    let macs = std::mem::take(&mut sets.macs);
    let contents = std::mem::take(&mut sets.contents);
    let (live, fixed) = sets.into_parts();
    let policy = Policy {
        audit: audit?,
        interfaces,
        zones,
        default_verdict: default.verdict,
        default_log: default.log,
        essential: default.essential,
        packet,
        flows,
        rules,
        live,
        sets: fixed,
        exempt: exempt?,
        macs,
        contents,
    };
    let tests = match table.get("tests") {
        Some(node) => tests_section::read(cx, node, &policy),
        None => Vec::new(),
    };
    Some(ReadPolicy {
        policy,
        tests,
        sets: sizes,
        elements,
    })
}

/// An object of something else, such as Kubernetes, is named as what it is.
fn refuse_other_things(cx: &mut Cx<'_>, root: &Node<'_>) -> Option<()> {
    let Value::Map(map) = &root.value else {
        return Some(());
    };
    let keys: Vec<&str> = map.iter().map(|(key, _)| &*key.text).collect();
    let value = |wanted: &str| {
        let (_, node) = map.iter().find(|(key, _)| key.text == wanted)?;
        node.scalar()
    };
    let (Some(other), Some((key, _))) = (foreign::object(&keys, value), map.first()) else {
        return Some(());
    };
    cx.sink
        .error(
            &codes::NOT_A_POLICY,
            key.span,
            format!("this is {}, not a policy", other.what),
        )
        .help(other.help);
    None
}

/// Warns of a policy that drops everything, and of one that drops nothing.
fn warn_of_extremes(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    drops: bool,
    rules: &[Rule],
    audit: Option<bool>,
) {
    if drops && rules.iter().all(|rule| !rule.enabled) {
        let span = table
            .entry("rules")
            .or_else(|| table.entry("default"))
            .map_or(table.span(), |e| e.0);
        cx.sink
            .warning(
                &codes::NO_RULES,
                span,
                "no rule is active, and the default drops",
            )
            .help(
                "everything but essential traffic will be dropped; add a rule with `action: pass`",
            );
    }
    if audit == Some(true) {
        let span = table.entry("mode").map_or(table.span(), |e| e.0);
        cx.sink
            .warning(
                &codes::AUDIT,
                span,
                "nothing will be dropped: the policy is in audit mode",
            )
            .help(
                "`status` and `get reasons` show what it would drop; remove `mode: audit` to \
                 enforce it",
            );
    }
}

/// `mode` of the policy or of a rule: whether it is in audit mode.
fn mode(cx: &mut Cx<'_>, table: &Table<'_, '_>) -> Option<bool> {
    table.get("mode").map_or(Some(false), |node| {
        shape::word(
            cx,
            node,
            "mode",
            &[("enforce", false), ("audit", true)],
            &[],
        )
    })
}

/// `version: 1`.
fn version(cx: &mut Cx<'_>, table: &Table<'_, '_>) {
    let Some(node) = table.require(cx, "version", "`version: 1` as the first line") else {
        return;
    };
    let plain = matches!(node.value, Value::Scalar { plain: true, .. });
    match node.scalar() {
        Some("1") if plain => {}
        Some(other) => {
            cx.sink
                .error(
                    &codes::VERSION,
                    node.span,
                    format!("policy version `{}` is not known", show(other)),
                )
                .help("this program reads `version: 1`, a number without quotes");
        }
        None => {
            shape::wrong_kind(cx, node, "`version` is a number").help("write `version: 1`");
        }
    }
}
