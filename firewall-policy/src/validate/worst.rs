//! Refuses policies in which one packet costs too much: see [`crate::worst`].

use super::shape::Cx;
use crate::ast::Span;
use crate::diag::codes;
use crate::rule::{Rule, frame_rules};
use crate::worst::{self, Kind};
use firewall_common::key::Family;

/// Reports it if one packet can match too many rules that let it go on. `spans` are the places of
/// the rules.
pub(super) fn check(cx: &mut Cx<'_>, rules: &[Rule], spans: &[Span]) {
    let frames = frame_rules(rules);
    for kind in Kind::ALL {
        let most = kind.most();
        let of_frames = frames
            .as_ref()
            .map(|rules| worst::passed(rules, Family::V4, kind, most));
        let found = [Family::V4, Family::V6]
            .map(|family| worst::passed(rules, family, kind, most))
            .into_iter()
            .chain(of_frames)
            .max_by_key(|found| found.most)
            .filter(|found| found.most > most);
        let Some(found) = found else { continue };
        let several: Vec<&Rule> = found.rules.iter().map(|&number| &rules[number]).collect();
        let Some((first, second, keys)) = worst::nearest(&several) else {
            continue;
        };
        let what = match kind {
            Kind::Passed => "let it go on to the next rules",
            Kind::Asked => {
                "let it go on with a `limit`, a `log`, an `expires`, a `payload` or `options`"
            }
        };
        let can = if found.exact { "matches" } else { "may match" };
        let names = [first, second].map(|number| several[number].name.as_str());
        let at = [first, second].map(|number| spans.get(found.rules[number]).copied());
        let [Some(at_first), Some(at_second)] = at else {
            continue;
        };
        cx.sink
            .error(
                &codes::WORST_PACKET,
                at_second,
                format!(
                    "a packet {can} {} rules that {what}; {most} may",
                    found.rules.len()
                ),
            )
            .also(at_first, "most similar to this one")
            .help(help(names, &keys));
        // What is too many of one kind is too many of both.
        return;
    }
}

/// What to do about two rules that differ in `keys`.
fn help([first, second]: [&str; 2], keys: &[&str]) -> String {
    let two = format!("`{first}` and `{second}`");
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.as_slice() {
        [] => format!("{two} match the same packets: remove one of them"),
        [key] => format!(
            "make one rule of {two}, which differ in {key} alone: with both lists under {key}; and so \
             with others"
        ),
        [keys @ .., last] => format!(
            "{two} are nearest alike, they differ in {} and {last}: make one rule of them, and of others, \
             or let a rule pass or drop such packets",
            keys.join(", ")
        ),
    }
}
