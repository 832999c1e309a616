//! `interfaces:`: which interfaces the policy is for, how to attach, and their zones.

use super::shape::{self, Cx, Keys, Table, items, scalar, word, wrong_kind};
use crate::ast::{Node, Value};
use crate::diag::{codes, show};
use crate::rule::{Interface, Mode};
use firewall_common::field::Field;

pub(super) const KEYS: Keys = Keys {
    of: "an interface",
    known: &["match", "mode", "zone"],
    reserved: &["priority"],
};

/// The longest name that Linux allows (IFNAMSIZ less its end mark).
const LONGEST: usize = 15;

/// Reads the section: the entries, and the zone names, of which number 0 is "no zone".
pub(super) fn read(cx: &mut Cx<'_>, node: &Node<'_>) -> (Vec<Interface>, Vec<String>) {
    let mut zones = vec![String::new()];
    let Value::List(list) = &node.value else {
        wrong_kind(cx, node, "`interfaces` is a list")
            .help("write `interfaces: [{match: eth0}]`, or `{match: default-route}`");
        return (Vec::new(), zones);
    };
    let entries = list
        .iter()
        .filter_map(|node| one(cx, node, &mut zones))
        .collect();
    (entries, zones)
}

fn one(cx: &mut Cx<'_>, node: &Node<'_>, zones: &mut Vec<String>) -> Option<Interface> {
    if let Some(text) = node.scalar() {
        cx.sink
            .error(
                &codes::WRONG_KIND,
                node.span,
                "an interface is a mapping, not a single value",
            )
            .help(format!("write `{{match: {}}}`", show(text)));
        return None;
    }
    let table = Table::read(cx, node, &KEYS)?;
    let patterns = table.require(cx, "match", "`match: eth0`, a pattern or `default-route`");
    let matches = patterns.and_then(|node| {
        let mut sound = true;
        let mut names = Vec::new();
        for item in items(cx, node, "match")? {
            match pattern(cx, item) {
                Some(name) => names.push(name),
                None => sound = false,
            }
        }
        sound.then_some(names)
    });
    let modes = Mode::ALL.map(|mode| (mode.name(), mode));
    let mode = match table.get("mode") {
        Some(node) => word(cx, node, "mode", &modes, &["offload"]),
        None => Some(Mode::Auto),
    };
    let zone = match table.get("zone") {
        Some(node) => zone(cx, node, zones),
        None => Some(0),
    };
    Some(Interface {
        matches: matches?,
        mode: mode?,
        zone: zone?,
    })
}

fn pattern(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<String> {
    let expected = "`match` is an interface name, a pattern such as \"ens*\", or default-route";
    let text = scalar(cx, node, expected, "`match: eth0`")?;
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '[' | ']' | '!' | ',');
    let long = text != "default-route" && text.len() > LONGEST;
    if text.is_empty() || long || text == "." || text == ".." || !text.chars().all(fits) {
        cx.sink
            .error(
                &codes::INTERFACE_NAME,
                node.span,
                format!("`{}` is not an interface name or pattern", show(text)),
            )
            .help(format!(
                "a name has 1 to {LONGEST} characters; `*` stands for any, `?` for one; several are a list"
            ));
        return None;
    }
    Some(text.to_string())
}

fn zone(cx: &mut Cx<'_>, node: &Node<'_>, zones: &mut Vec<String>) -> Option<u32> {
    let text = scalar(cx, node, "`zone` is a name", "`zone: wan`")?;
    shape::name(cx, node.span, "a zone", text)?;
    if let Some(number) = zones.iter().position(|zone| zone == text) {
        return Some(number as u32);
    }
    if zones.len() as u32 >= Field::Zone.none() {
        cx.sink
            .error(&codes::TOO_MANY_ZONES, node.span, "more than 254 zones")
            .help("let interfaces that are treated alike share a zone");
        return None;
    }
    zones.push(text.to_string());
    Some(zones.len() as u32 - 1)
}
