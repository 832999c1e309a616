//! What differs outside of the rules' matches, in words: defaults, essential traffic, knobs, limits, logs,
//! what is exempt from bans, expiries. Never a line whose sides are equal.

use super::live;
use crate::content::Content;
use crate::limit::Rate;
use crate::prefixes::{prefixes, text};
use crate::range::RangeSet;
use crate::rule::{Mac, Match, Policy, Rule};
use crate::time;
use crate::vocabulary;
use firewall_common::abi::{PacketConfig, fragments, malformed, tunnels};
use firewall_common::field::Field;
use firewall_common::verdict::Verdict;

/// Differences outside of the rules, in words.
pub(super) fn of(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |what: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("{what}: {old} -> {new}"));
        }
    };
    let mode = |policy: &Policy| {
        if policy.audit {
            "audit (nothing is dropped)"
        } else {
            "enforce"
        }
    };
    line("mode", mode(old).to_owned(), mode(new).to_owned());
    line(
        "default (packets that no rule decides, and non-IP frames)",
        old.default_verdict.to_string(),
        new.default_verdict.to_string(),
    );
    lines.extend(essential(old, new));
    let mut line = |what: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("{what}: {old} -> {new}"));
        }
    };
    for (knob, old, new) in knobs(&old.packet, &new.packet) {
        line(knob, old, new);
    }
    let flows = |policy: &Policy| {
        let flows = policy.flows.map(|flows| flows.to_string());
        flows.unwrap_or_else(|| "(not named)".to_owned())
    };
    line("state.flows", flows(old), flows(new));
    line("interfaces", interfaces(old), interfaces(new));
    lines.extend(contents(old, new));
    lines.extend(limits(old, new));
    lines.extend(logs(old, new));
    lines.extend(live::settings(old, new));
    lines.extend(exempt(old, new));
    lines.extend(expiries(old, new));
    lines
}

/// The essential groups that are on in one policy alone, one line for each, or one for all of them.
fn essential(old: &Policy, new: &Policy) -> Vec<String> {
    let all = |policy: &Policy, on: bool| {
        vocabulary::ESSENTIAL
            .iter()
            .all(|&(_, bit)| (policy.essential & bit != 0) == on)
    };
    for on in [true, false] {
        if all(old, on) && all(new, !on) {
            return vec![format!(
                "essential (ARP, neighbour discovery, DHCP, ...): {on} -> {}",
                !on
            )];
        }
    }
    let on = |policy: &Policy, bit: u32| policy.essential & bit != 0;
    let changed = vocabulary::ESSENTIAL
        .iter()
        .filter(|&&(_, bit)| on(old, bit) != on(new, bit));
    changed
        .map(|&(name, bit)| format!("essential.{name}: {} -> {}", on(old, bit), on(new, bit)))
        .collect()
}

/// The knobs of `packet`, each with the old and the new word.
fn knobs(a: &PacketConfig, b: &PacketConfig) -> [(&'static str, String, String); 6] {
    let verdict = |number: u32| Verdict(number as u8).to_string();
    let word = |is_first: bool, first: &str, second: &str| {
        if is_first { first } else { second }.to_owned()
    };
    let malformed = |number: u32| word(number == malformed::RULES, "rules", "drop");
    let fragments = |number: u32| match number {
        fragments::DROP => "drop".to_owned(),
        fragments::FOLLOW_FIRST => "follow-first".to_owned(),
        _ => "pass".to_owned(),
    };
    let tunnels = |number: u32| word(number == tunnels::INNER, "inner", "outer");
    [
        (
            "packet.malformed",
            malformed(a.malformed),
            malformed(b.malformed),
        ),
        (
            "packet.fragments",
            fragments(a.fragments),
            fragments(b.fragments),
        ),
        (
            "packet.ip_options",
            verdict(a.drop_ip_options),
            verdict(b.drop_ip_options),
        ),
        (
            "packet.ipv6_ext_max",
            a.ipv6_ext_max.to_string(),
            b.ipv6_ext_max.to_string(),
        ),
        (
            "packet.vlan_depth",
            a.vlan_depth.to_string(),
            b.vlan_depth.to_string(),
        ),
        ("packet.tunnels", tunnels(a.tunnels), tunnels(b.tunnels)),
    ]
}

/// What no ban holds, where that differs: a ban drops without a rule.
fn exempt(old: &Policy, new: &Policy) -> Option<String> {
    const SHOWN: usize = 4;
    let words = |policy: &Policy| {
        let all: Vec<String> = prefixes(&policy.exempt)
            .take(SHOWN)
            .map(|it| text(&it))
            .collect();
        match prefixes(&policy.exempt).count() {
            0 => "none".to_owned(),
            count if count > SHOWN => format!("{}, ... ({count} prefixes)", all.join(", ")),
            _ => all.join(", "),
        }
    };
    let (was, becomes) = (words(old), words(new));
    (old.exempt != new.exempt).then(|| match was == becomes {
        true => format!("exempt from bans: {was} -> {becomes}, other ones"),
        false => format!("exempt from bans: {was} -> {becomes}"),
    })
}

/// Rules that expire at another time.
fn expiries(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in &new.rules {
        let before = old.rules.iter().find(|other| other.name == rule.name);
        let at = |rule: &Rule| {
            let moment = rule.expires.map(|expiry| time::print(expiry.at));
            moment.unwrap_or_else(|| "never".to_owned())
        };
        if let Some(before) = before.filter(|before| at(before) != at(rule)) {
            lines.push(format!(
                "rule `{}` expires: {} -> {}",
                rule.name,
                at(before),
                at(rule)
            ));
        }
    }
    lines
}

/// Rules that ask for a payload or options, where that is not the same in both. Packets count as without
/// everywhere else, so that regions say nothing of them.
fn contents(old: &Policy, new: &Policy) -> Vec<String> {
    let words = |policy: &Policy, name: &str| -> Option<String> {
        let mut rules = policy.rules.iter();
        let rule = rules.find(|rule| rule.name == name && rule.enabled)?;
        rule.matches.content?;
        Some(format!("{}, {}", rule.summary, rule.action))
    };
    let gone = old.rules.iter();
    let gone = gone.filter(|rule| new.rules.iter().all(|other| other.name != rule.name));
    let changed = new.rules.iter().chain(gone).filter_map(|rule| {
        let (was, becomes) = (words(old, &rule.name), words(new, &rule.name));
        let or_none = |words: &Option<String>| words.as_deref().unwrap_or("none").to_owned();
        (was != becomes).then(|| {
            format!(
                "rule `{}` for a payload or options: {} -> {}",
                rule.name,
                or_none(&was),
                or_none(&becomes)
            )
        })
    });
    changed.collect()
}

/// Rules with rate limits that are not the same in both. Packets count as within their limits
/// everywhere else, so that regions say nothing of them.
fn limits(old: &Policy, new: &Policy) -> Vec<String> {
    let limited = |rule: &&Rule| rule.enabled && (rule.limit.is_some() || rule.syn_protect);
    fn named<'p>(policy: &'p Policy, name: &str) -> Option<&'p Rule> {
        let mut rules = policy.rules.iter();
        rules.find(|rule| rule.name == name && rule.enabled)
    }
    let gone = old.rules.iter().filter(limited);
    let fresh = new.rules.iter().filter(limited);
    let fresh = fresh.filter(|rule| !named(old, &rule.name).as_ref().is_some_and(limited));
    let mut lines = Vec::new();
    for rule in gone.chain(fresh) {
        let (a, b) = (named(old, &rule.name), named(new, &rule.name));
        let (was, becomes) = (limit_words(a), limit_words(b));
        let name = &rule.name;
        if was != becomes {
            lines.push(format!("limit of rule `{name}`: {was} -> {becomes}"));
        }
        // What is limited, where it is under one limit in both.
        if let (Some(a), Some(b)) = (a, b)
            && was == becomes
            && in_full(old, a) != in_full(new, b)
        {
            let line = match a.summary == b.summary {
                true => format!("limit of rule `{name}` is for other addresses than before"),
                false => format!(
                    "limit of rule `{name}` is for other packets: {} -> {}",
                    a.summary, b.summary
                ),
            };
            lines.push(line);
        }
    }
    lines
}

/// What a rule matches, with the stations and the content that the policy has under its numbers there.
fn in_full(policy: &Policy, rule: &Rule) -> (Match, Vec<Mac>, Option<Content>) {
    let mut matches = rule.matches.clone();
    let content = matches.content.take();
    let content = content.and_then(|number| policy.contents.get(number as usize));
    let mut stations = Vec::new();
    if !matches.is_any(Field::Mac) {
        let numbered = (0..).zip(&policy.macs);
        let mine = numbered.filter(|&(number, _)| matches.field(Field::Mac).contains(number));
        stations.extend(mine.map(|(_, &mac)| mac));
        stations.sort_unstable();
        matches.fields[Field::Mac as usize] = RangeSet::empty();
    }
    (matches, stations, content.cloned())
}

/// A rule's limit and what it does with packets, in words; `none` without a rule or a limit.
fn limit_words(rule: Option<&Rule>) -> String {
    let Some(rule) = rule else {
        return "none".to_owned();
    };
    let mut words: Vec<String> = Vec::new();
    words.extend(rule.limit.as_ref().map(ToString::to_string));
    words.extend(rule.syn_protect.then(|| "syn_protect: auto".to_owned()));
    if words.is_empty() {
        return "none".to_owned();
    }
    words.push(rule.action.to_string());
    words.join(", ")
}

/// What is logged, where that differs: by rule, and of the default.
fn logs(old: &Policy, new: &Policy) -> Vec<String> {
    let rate = |policy: &Policy, name: &str| {
        let rule = policy.rules.iter().find(|rule| rule.name == name);
        rule.filter(|rule| rule.enabled).and_then(|rule| rule.log)
    };
    let words = |rate: Option<Rate>| rate.map_or("none".to_owned(), |rate| rate.to_string());
    let line = |what: String, a: Option<Rate>, b: Option<Rate>| {
        (a != b).then(|| format!("log of {what}: {} -> {}", words(a), words(b)))
    };
    let gone = old.rules.iter();
    let gone = gone.filter(|rule| new.rules.iter().all(|other| other.name != rule.name));
    let rules = new.rules.iter().chain(gone).filter_map(|rule| {
        let (a, b) = (rate(old, &rule.name), rate(new, &rule.name));
        line(format!("rule `{}`", rule.name), a, b)
    });
    let default = line("the default".to_owned(), old.default_log, new.default_log);
    rules.chain(default).collect()
}

/// The interfaces in one line.
fn interfaces(policy: &Policy) -> String {
    let list: Vec<String> = policy
        .interfaces
        .iter()
        .map(|interface| {
            let mut text = interface.matches.join(",");
            if interface.zone != 0 {
                text.push_str(&format!(" in {}", policy.zones[interface.zone as usize]));
            }
            text
        })
        .collect();
    if list.is_empty() {
        "(not named)".into()
    } else {
        list.join("; ")
    }
}
