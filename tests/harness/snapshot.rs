//! Numbers out of a snapshot, as `firewall-ctl stats -o json` prints it.

use serde_json::Value;

/// Packets and bytes that met `verdict` for a reason; 0 for one that is not listed.
#[must_use]
pub fn reason(snapshot: &Value, name: &str, verdict: &str) -> (u64, u64) {
    let is_it = |view: &&Value| view["name"] == name && view["verdict"] == verdict;
    total(entry(snapshot, "reasons", is_it).map(|view| &view["hits"]))
}

/// Packets and bytes that met `verdict` on a port of `proto`; 0 for one that is not listed.
#[must_use]
pub fn port(snapshot: &Value, proto: &str, port: u16, verdict: &str) -> (u64, u64) {
    let is_it = |view: &&Value| view["proto"] == proto && view["port"] == port;
    total(entry(snapshot, "ports", is_it).map(|view| &view[verdict]))
}

/// Packets and bytes that a rule matched.
///
/// # Panics
/// If the policy has no such rule.
#[must_use]
pub fn rule(snapshot: &Value, name: &str) -> (u64, u64) {
    let found = entry(snapshot, "rules", |view| view["name"] == name);
    assert!(found.is_some(), "no rule {name}");
    total(found.map(|view| &view["hits"]))
}

fn entry<'a>(
    snapshot: &'a Value,
    list: &str,
    is_it: impl FnMut(&&Value) -> bool,
) -> Option<&'a Value> {
    snapshot[list].as_array()?.iter().find(is_it)
}

fn total(counts: Option<&Value>) -> (u64, u64) {
    let of = |unit: &str| {
        let counts = counts?;
        counts["total"][unit].as_u64()
    };
    (of("packets").unwrap_or(0), of("bytes").unwrap_or(0))
}
