//! `iptables-save` and `ip6tables-save`: tables, chains and rules.
//!
//! May not import the writer's parts but through [`super::write`]. Invariant: every line of the
//! text is a rule that was followed, a rule in the list of what was left out, or an error with its
//! place.

mod content;
pub(super) mod matches;
pub(super) mod numbers;
mod rates;
mod read;
mod targets;

use super::flatten::flatten;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::ipset::Sets;
use super::local;
use super::options::Options;
use super::packets::{Dim, Family};
use super::ruleset::{Base, Condition, NOT_FILLED, Origin, Path, Rule, Ruleset, Verdict};
use super::words::Word;
use super::write::{Given, unseen, write};
use firewall_policy::range::RangeSet;
use read::{Raw, Saved, fault, read};
use std::collections::{BTreeMap, BTreeSet};

/// Reads one or both texts and carries them over.
pub(super) fn import(
    v4: Option<&str>,
    v6: Option<&str>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let mut saved: Vec<(Family, Saved)> = Vec::new();
    for (family, text) in [(Family::V4, v4), (Family::V6, v6)] {
        for (family, one) in text.map_or(Ok(Vec::new()), |text| read(text, family))? {
            if saved.iter().any(|(known, _)| *known == family) {
                return Err(fault(
                    (0, 0),
                    format!("there are rules of {} in both texts", family.name()),
                    "give the output of iptables-save first, and that of ip6tables-save as --ip6",
                ));
            }
            saved.push((family, one));
        }
    }
    saved.sort_by_key(|(family, _)| *family);
    let families: Vec<Family> = saved.iter().map(|(family, _)| *family).collect();
    let sets = match &options.ipset {
        Some(text) => Sets::read(text)?,
        None => Sets::default(),
    };
    let local = local::Addresses::read(&options.local)?;
    let mut interfaces = Interfaces::new(options.interface.as_deref());
    // The first round finds the interfaces that rules name.
    understand(&saved, &interfaces, &sets, &local);
    interfaces.settle();
    let ruleset = understand(&saved, &interfaces, &sets, &local);
    let mut flat = flatten(&ruleset)?;
    reasons(&saved, &ruleset, &mut flat);
    let named = sets.named();
    write(
        flat,
        &Given {
            from: match families[..] {
                [Family::V4] => "iptables-save",
                [Family::V6] => "ip6tables-save",
                _ => "iptables-save and ip6tables-save",
            },
            origins: &ruleset.origins,
            interfaces: &interfaces,
            families: &families,
            sets: &named,
            options,
            missing: "iptables-save, and with --ip6 ip6tables-save",
        },
    )
}

/// Base chains that packets pass which come in: table, chain, path, priority.
const BASES: [(&str, &str, Path, i64); 7] = [
    ("raw", "PREROUTING", Path::Prerouting, -300),
    ("mangle", "PREROUTING", Path::Prerouting, -150),
    ("mangle", "INPUT", Path::Input, -150),
    ("filter", "INPUT", Path::Input, 0),
    ("security", "INPUT", Path::Input, 50),
    ("mangle", "FORWARD", Path::Forward, -150),
    ("filter", "FORWARD", Path::Forward, 0),
];

fn key(family: Family, table: &str, chain: &str) -> String {
    format!("{} {table} {chain}", family.name())
}

fn place(raw: &Raw, both: bool) -> String {
    let start = if both && raw.family == Family::V6 {
        "ip6 "
    } else {
        ""
    };
    if raw.count() > 1 {
        format!("{start}lines {}-{}", raw.line, raw.last)
    } else {
        format!("{start}line {}", raw.line)
    }
}

/// Whether a family's rules decide about what is forwarded.
fn forwards(saved: &Saved) -> bool {
    let base = |table: &str| (table.to_owned(), "FORWARD".to_owned());
    ["filter", "mangle"].iter().any(|&table| {
        let of = |raw: &&Raw| raw.table == table && raw.chain == "FORWARD";
        saved.chains.get(&base(table)) == Some(&Some(false))
            || table == "filter" && saved.rules.iter().any(|raw| of(&raw))
    })
}

/// The chains that packets pass which come in.
fn bases(family: Family, saved: &Saved, local: &local::Addresses) -> Vec<Base> {
    let mut bases = Vec::new();
    for ((table, chain), policy) in &saved.chains {
        let base = BASES.iter().find(|base| base.0 == table && base.1 == chain);
        let Some(&(.., path, priority)) = base else {
            continue;
        };
        let mut scope = Condition::all(&[family]);
        if path == Path::Forward {
            if !local.is_known() && !forwards(saved) {
                continue;
            }
            scope.within(&local.beyond(), false);
        }
        bases.push(Base {
            chain: key(family, table, chain),
            families: vec![family],
            scope,
            accepts: policy.unwrap_or(true),
            path,
            priority,
        });
    }
    bases
}

/// The words as conditions and verdicts.
fn understand(
    saved: &[(Family, Saved)],
    interfaces: &Interfaces,
    sets: &Sets,
    local: &local::Addresses,
) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let both = saved.len() > 1;
    for (family, saved) in saved {
        for (table, chain) in saved.chains.keys() {
            ruleset
                .chains
                .entry(key(*family, table, chain))
                .or_default();
        }
        ruleset.bases.extend(bases(*family, saved, local));
        let reader = matches::Reader {
            family: *family,
            interfaces,
            sets,
            local,
        };
        for (number, raw) in saved.rules.iter().enumerate() {
            let origin = ruleset.origins.len();
            let count = raw.count();
            ruleset.origins.push(Origin {
                place: place(raw, both),
                line: raw.line,
                text: if count > 1 {
                    format!("{} (and {} more like it)", raw.text, count - 1)
                } else {
                    raw.text.clone()
                },
                count,
            });
            let chains = |name: &str| {
                saved
                    .chains
                    .contains_key(&(raw.table.clone(), name.to_owned()))
            };
            let mut understood = reader.rule(&without_source(raw), &chains);
            if count > 1 {
                let sources = RangeSet::from_ranges(raw.sources.clone());
                understood.condition.narrow(Dim::Source, &sources);
            }
            if let Some(list) = &understood.recent
                && understood.condition.rate.is_some()
            {
                remembered(&mut understood.condition, &saved.rules, number, list);
            }
            if let Some(set) = fills(raw).filter(|set| saved.rules.iter().any(|of| asks(of, set))) {
                let reason = format!("{NOT_FILLED} {set}");
                understood.condition.aside(&reason, Effect::Differs);
                understood.verdict = Verdict::Continue(None);
            }
            let verdict = understood
                .verdict
                .renamed(|chain| key(*family, &raw.table, chain));
            let chain = ruleset.chains.entry(key(*family, &raw.table, &raw.chain));
            chain.or_default().push(Rule {
                origin,
                also: Vec::new(),
                condition: understood.condition,
                verdict,
                comment: understood.comment,
            });
        }
    }
    ruleset
}

/// The set into which a rule puts addresses, or from which it takes them.
fn fills(raw: &Raw) -> Option<&str> {
    behind(raw, |option| matches!(option, "--add-set" | "--del-set")).next()
}

/// Whether a rule looks into a set.
fn asks(raw: &Raw, set: &str) -> bool {
    behind(raw, |option| option == "--match-set").any(|name| name == set)
}

/// The words behind some options.
fn behind(raw: &Raw, option: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
    let pairs = raw.words.windows(2);
    pairs
        .filter(move |pair| option(&pair[0].text))
        .map(|pair| pair[1].text.as_str())
}

/// The words of a rule; without its source, where it has several.
fn without_source(raw: &Raw) -> std::borrow::Cow<'_, [Word]> {
    let at = raw.words.iter().position(|word| word.text == "-s");
    match at.filter(|_| raw.count() > 1) {
        None => (&raw.words[..]).into(),
        Some(at) => [&raw.words[..at], &raw.words[at + 2..]].concat().into(),
    }
}

/// Makes the rate of a rule that looks into a list of `-m recent` exact: what puts sources into the
/// list must see the same packets, and counts the packet itself if it comes first.
fn remembered(condition: &mut Condition, rules: &[Raw], number: usize, list: &str) {
    let raw = &rules[number];
    let puts = |other: &&Raw| {
        let words = &other.words;
        let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
        let named = (0..words.len()).any(|at| text(at) == "--name" && text(at + 1) == list);
        let has = |option: &str| words.iter().any(|word| word.text == option);
        let same = (&other.table, &other.chain) == (&raw.table, &raw.chain);
        same && (named || list == "DEFAULT" && !has("--name")) && has("--set")
    };
    let before = rules[..number].iter().rev().find(puts);
    let after = rules[number + 1..].iter().find(puts);
    let alike = |other: &Raw| traffic(other) == traffic(raw);
    match (before, after) {
        (Some(other), _) if alike(other) => {
            if let Some(rate) = &mut condition.rate {
                rate.packets -= 1;
                rate.burst -= 1;
            }
            if condition
                .rate
                .as_ref()
                .is_some_and(|rate| rate.packets == 0)
            {
                condition.unsure("the first packet of a source is over this rate already");
            }
        }
        (None, Some(other)) if alike(other) => {}
        _ => condition.unsure(&format!(
            "no rule of the same packets puts sources into the list {list} (-m recent)"
        )),
    }
}

/// The words of a rule that say which packets it is for.
fn traffic(raw: &Raw) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    let (mut skips, mut recent) = (0, false);
    for word in &raw.words {
        let text = word.text.as_str();
        if skips > 0 {
            skips -= 1;
            recent |= text == "recent";
            continue;
        }
        if let Some(values) = rates::values("recent", text).filter(|_| recent) {
            skips = values;
        } else if matches!(text, "-m" | "-j" | "-g" | "--comment") {
            skips = 1;
        } else {
            words.push(text);
        }
    }
    words
}

/// Why no packet comes to the rules that were not followed.
fn reasons(saved: &[(Family, Saved)], ruleset: &Ruleset, flat: &mut super::flatten::Flat) {
    let raws: Vec<&Raw> = saved.iter().flat_map(|(_, saved)| &saved.rules).collect();
    // Chains by the base chain from which they are reached.
    let mut roots: BTreeMap<(Family, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (family, saved) in saved {
        for ((table, chain), policy) in &saved.chains {
            if policy.is_some() {
                reach(*family, saved, table, chain, chain, &mut roots);
            }
        }
    }
    unseen(flat, &ruleset.origins, |origin| {
        let raw = raws.get(origin)?;
        let roots = roots.get(&(raw.family, &*raw.table, &*raw.chain));
        let from = |name: &str| roots.is_some_and(|roots| roots.contains(name));
        Some(match raw.table.as_str() {
            "nat" if raw.redirects() && (roots.is_none() || from("PREROUTING")) => (
                "the policy sees the address and port that a packet comes with, the original's \
                 other rules those that it is sent on to"
                    .into(),
                Effect::Differs,
            ),
            "nat" => (
                "a policy rewrites no addresses, and this does not affect incoming packets".into(),
                Effect::None,
            ),
            _ if roots.is_none() => (
                format!("no rule leads to the chain `{}`", raw.chain),
                Effect::None,
            ),
            _ if from("INPUT") || from("PREROUTING") => (
                "rules before this one decide about all packets".into(),
                Effect::None,
            ),
            _ if from("FORWARD") => (
                "rules before this one decide about all packets".into(),
                Effect::None,
            ),
            _ => (
                "only packets that come in are filtered".into(),
                Effect::None,
            ),
        })
    });
    flat.left_out.extend(dropping_nat(saved));
    flat.left_out.extend(saved.iter().filter_map(|(family, _)| {
        let here = ruleset
            .bases
            .iter()
            .any(|base| base.path == Path::Forward && base.families.contains(family));
        (!here).then(|| LeftOut {
            place: format!("{} chain FORWARD", family.name()),
            line: 0,
            text: "accepts without a rule".into(),
            reason: "this host is not taken for a router: if it forwards packets, the rules for \
                     the host judge them too (--local ADDRESS tells them apart)"
                .into(),
            effect: Effect::None,
            in_part: false,
        })
    }));
}

/// Chains of the table nat that drop what no rule accepts.
fn dropping_nat(saved: &[(Family, Saved)]) -> impl Iterator<Item = LeftOut> {
    saved.iter().flat_map(|(family, saved)| {
        let drops = saved.chains.iter().filter(|((table, chain), policy)| {
            table == "nat"
                && matches!(chain.as_str(), "PREROUTING" | "INPUT")
                && **policy == Some(false)
        });
        drops.map(|((_, chain), _)| LeftOut {
            place: format!("{} table nat, chain {chain}", family.name()),
            line: 0,
            text: "policy DROP".into(),
            reason: "what the table nat drops is not followed: drop it in the table filter".into(),
            effect: Effect::PassesMore,
            in_part: false,
        })
    })
}

fn reach<'s>(
    family: Family,
    saved: &'s Saved,
    table: &'s str,
    chain: &'s str,
    root: &'s str,
    roots: &mut BTreeMap<(Family, &'s str, &'s str), BTreeSet<&'s str>>,
) {
    if !roots
        .entry((family, table, chain))
        .or_default()
        .insert(root)
    {
        return;
    }
    let rules = saved.rules.iter();
    for raw in rules.filter(|raw| raw.table == table && raw.chain == chain) {
        let targets = raw
            .words
            .windows(2)
            .filter(|pair| matches!(pair[0].text.as_str(), "-j" | "-g" | "--jump" | "--goto"));
        for target in targets {
            let name = target[1].text.as_str();
            let known = saved.chains.keys();
            if let Some((_, name)) = known.into_iter().find(|(t, c)| t == table && c == name) {
                reach(family, saved, table, name, root, roots);
            }
        }
    }
}

/// What an interface comes to for a rule: narrows the condition, and says what is lost.
fn narrow_interface(condition: &mut Condition, interfaces: &Interfaces, name: &str, negated: bool) {
    let pattern = name
        .strip_suffix('+')
        .map_or_else(|| name.to_owned(), |start| format!("{start}*"));
    let meaning = interfaces.named(&pattern, negated);
    if let Some(why) = meaning.detached {
        condition.unsure(&format!("a policy is not attached to {name}, {why}"));
        return;
    }
    condition.narrow(Dim::Interface, &meaning.values);
}
