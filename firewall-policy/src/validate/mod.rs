//! From the tree to [`Policy`]: the only way to make one, so every `Policy` is valid.
//!
//! Each part of the language has a file here. All readers take the shared [`shape::Cx`], report
//! what is wrong themselves and go on, so one run names every error. Nothing here does I/O but
//! through [`crate::source::Files`].

mod addr;
mod flags;
mod icmp;
mod interfaces;
mod lines;
mod list_line;
mod number;
mod packet;
mod proto;
mod rule;
mod set;
mod set_file;
mod shape;
mod sides;
mod summary;

use crate::ast::{Node, Value};
use crate::diag::{Sink, codes, show};
use crate::rule::{Policy, SetSize};
use crate::source::Files;
use set::Sets;
use shape::{Cx, Keys, Table};

const KEYS: Keys = Keys {
    of: "the policy",
    known: &[
        "version",
        "interfaces",
        "default",
        "packet",
        "sets",
        "rules",
    ],
    reserved: &["alerts", "notify", "tests", "services", "watch", "include"],
};

/// Reads the whole policy. The result counts only if the sink has no errors.
pub(crate) fn policy<'a>(
    root: &Node<'a>,
    sink: Sink<'a>,
    files: &'a dyn Files,
) -> (Option<(Policy, Vec<SetSize>)>, Sink<'a>) {
    let mut cx = Cx::new(sink, files);
    let policy = read(&mut cx, root);
    (policy, cx.sink)
}

fn read(cx: &mut Cx<'_>, root: &Node<'_>) -> Option<(Policy, Vec<SetSize>)> {
    let table = Table::read(cx, root, &KEYS)?;
    version(cx, &table);
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
    let mut sets = match table.get("sets") {
        Some(node) => Sets::read(cx, node),
        None => Sets::default(),
    };
    let rules = rule::read_all(cx, table.get("rules"), &mut sets, &zones);
    sets.warn_unused(cx);
    let default = default?;
    if drops && rules.iter().all(|rule| !rule.enabled) {
        let span = table
            .entry("rules")
            .or_else(|| table.entry("default"))
            .map_or(table.span(), |e| e.0);
        cx.sink
            .warning(&codes::NO_RULES, span, "no rule is in force, and the default drops")
            .help("everything but the essential traffic will be dropped; add a rule with `action: pass`");
    }
    let policy = Policy {
        interfaces,
        zones,
        default_verdict: default.verdict,
        essential: default.essential,
        packet,
        rules,
    };
    Some((policy, sets.sizes()))
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
