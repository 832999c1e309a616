//! `iptables-save` and `ip6tables-save`: tables, chains and rules.
//!
//! May not import the writer's parts but through [`super::write`]. Invariant: every line of the
//! text is a rule that was followed, a rule in the list of what was left out, or an error with its
//! place.

pub(super) mod matches;
pub(super) mod numbers;

use super::flatten::flatten;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::ipset::Sets;
use super::local;
use super::options::Options;
use super::packets::{Dim, Family};
use super::ruleset::{Base, Condition, Origin, Path, Rule, Ruleset};
use super::words::{self, Word};
use super::write::{Given, unseen, write};
use std::collections::{BTreeMap, BTreeSet};

/// A rule before its words are understood.
struct Raw {
    table: String,
    chain: String,
    line: u32,
    text: String,
    words: Vec<Word>,
    family: Family,
}

impl Raw {
    /// Whether it sends packets that come in elsewhere.
    fn redirects(&self) -> bool {
        let targets = ["DNAT", "REDIRECT", "NETMAP"];
        let pairs = self.words.windows(2);
        pairs
            .into_iter()
            .any(|pair| pair[0].text == "-j" && targets.contains(&pair[1].text.as_str()))
    }
}

/// Chains and rules of one text.
#[derive(Default)]
struct Saved {
    rules: Vec<Raw>,
    /// Table and chain to its policy; `None` for chains of users.
    chains: BTreeMap<(String, String), Option<bool>>,
}

/// Reads one or both texts and carries them over.
pub(super) fn import(
    v4: Option<&str>,
    v6: Option<&str>,
    options: &Options,
) -> Result<Imported, ImportError> {
    let texts = [(Family::V4, v4), (Family::V6, v6)];
    let mut saved = Vec::new();
    for (family, text) in texts {
        if let Some(text) = text {
            saved.push((family, read(text, family)?));
        }
    }
    let families: Vec<Family> = saved.iter().map(|(family, _)| *family).collect();
    let sets = match &options.ipset {
        Some(text) => Sets::read(text)?,
        None => Sets::default(),
    };
    let local = local::Addresses::read(&options.local)?;
    let mut interfaces = Interfaces::new(options.interface.as_deref());
    // The first round finds the interfaces that rules name.
    understand(&saved, &interfaces, &sets, &local)?;
    interfaces.settle();
    let ruleset = understand(&saved, &interfaces, &sets, &local)?;
    let mut flat = flatten(&ruleset)?;
    reasons(&saved, &ruleset, &mut flat, local.is_known());
    missing(&families, &mut flat.left_out);
    let named = [local.named(), sets.named()].concat();
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
        },
    )
}

/// Splits a text into rules by table and chain.
fn read(text: &str, family: Family) -> Result<Saved, ImportError> {
    let mut saved = Saved::default();
    let mut table: Option<(String, u32)> = None;
    for (line, number) in text.lines().zip(1u32..) {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if let Some(name) = content.strip_prefix('*') {
            if let Some((open, since)) = &table {
                return Err(fault(
                    (number, 1),
                    format!("the table `{open}` of line {since} has no COMMIT"),
                    "the text seems to be cut off: save the rules again",
                ));
            }
            table = Some((name.to_owned(), number));
            continue;
        }
        let Some((open, _)) = &table else {
            return Err(fault(
                (number, 1),
                "this is not the output of iptables-save: a table such as `*filter` comes first"
                    .into(),
                "give the output of `iptables-save` or `ip6tables-save`",
            ));
        };
        if content == "COMMIT" {
            table = None;
        } else if let Some(rest) = content.strip_prefix(':') {
            let (name, policy) = declared(rest, line, number)?;
            saved.chains.insert((open.clone(), name), policy);
        } else {
            let raw = appended(&saved, open, line, number, family)?;
            saved.rules.push(raw);
        }
    }
    match table {
        Some((open, since)) => Err(fault(
            (since, 1),
            format!("the table `{open}` has no COMMIT"),
            "the text seems to be cut off: save the rules again",
        )),
        None if saved.chains.is_empty() => Err(fault(
            (1, 1),
            "there is no table in this text".into(),
            "give the output of `iptables-save` or `ip6tables-save`",
        )),
        None => Ok(saved),
    }
}

/// `at` is line and column.
fn fault(at: (u32, u32), message: String, help: &str) -> ImportError {
    ImportError {
        line: at.0,
        column: at.1,
        message,
        help: help.into(),
    }
}

/// A chain as it is declared, behind the colon: its name, and what its policy accepts.
fn declared(rest: &str, line: &str, number: u32) -> Result<(String, Option<bool>), ImportError> {
    let mut parts = rest.split_whitespace();
    let (name, policy) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let policy = match policy {
        "ACCEPT" => Some(true),
        "DROP" => Some(false),
        "-" => None,
        other => {
            let column = 1 + line.find(other).unwrap_or(0) as u32;
            return Err(fault(
                (number, column),
                format!("`{other}` is not the policy of a chain"),
                "a chain has the policy ACCEPT, DROP or - (none)",
            ));
        }
    };
    Ok((name.to_owned(), policy))
}

/// A rule of the table `open`.
fn appended(
    saved: &Saved,
    open: &str,
    line: &str,
    number: u32,
    family: Family,
) -> Result<Raw, ImportError> {
    let mut all = words::split(line, number)?;
    // Counters in front: `[12:3456] -A ...`.
    if all.first().is_some_and(|word| word.text.starts_with('[')) {
        all.remove(0);
    }
    let is_append = all
        .first()
        .is_some_and(|word| matches!(word.text.as_str(), "-A" | "--append"));
    let Some(chain) = all.get(1).filter(|_| is_append) else {
        return Err(fault(
            (number, all.first().map_or(1, |word| word.column)),
            "neither a chain (`:INPUT ...`) nor a rule (`-A INPUT ...`)".into(),
            "give the output of `iptables-save` as it is",
        ));
    };
    let chain = chain.text.clone();
    if !saved.chains.contains_key(&(open.to_owned(), chain.clone())) {
        return Err(fault(
            (number, all[1].column),
            format!("the chain `{chain}` is not in the table `{open}`"),
            "chains are declared before their rules, as `:NAME - [0:0]`",
        ));
    }
    Ok(Raw {
        table: open.to_owned(),
        chain,
        line: number,
        text: line.trim().to_owned(),
        words: all.split_off(2),
        family,
    })
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
    match (both, raw.family) {
        (true, Family::V6) => format!("ip6 line {}", raw.line),
        _ => format!("line {}", raw.line),
    }
}

/// The words as conditions and verdicts.
fn understand(
    saved: &[(Family, Saved)],
    interfaces: &Interfaces,
    sets: &Sets,
    local: &local::Addresses,
) -> Result<Ruleset, ImportError> {
    let mut ruleset = Ruleset::default();
    let both = saved.len() > 1;
    for (family, saved) in saved {
        for ((table, chain), policy) in &saved.chains {
            let base = BASES.iter().find(|base| base.0 == table && base.1 == chain);
            let name = key(*family, table, chain);
            ruleset.chains.entry(name.clone()).or_default();
            let Some(&(.., path, priority)) = base else {
                continue;
            };
            if path == Path::Forward && !local.is_known() {
                continue;
            }
            let mut scope = Condition::all(&[*family]);
            if local.is_known() && path != Path::Prerouting {
                scope.within(&local.boxes(), path == Path::Forward);
            }
            ruleset.bases.push(Base {
                chain: name,
                families: vec![*family],
                scope,
                accepts: policy.unwrap_or(true),
                path,
                priority,
            });
        }
        for raw in &saved.rules {
            let origin = ruleset.origins.len();
            ruleset.origins.push(Origin {
                place: place(raw, both),
                line: raw.line,
                text: raw.text.clone(),
            });
            let chains = |name: &str| {
                saved
                    .chains
                    .contains_key(&(raw.table.clone(), name.to_owned()))
            };
            let reader = matches::Reader {
                family: *family,
                interfaces,
                sets,
                local,
            };
            let understood = reader.rule(&raw.words, raw.line, &chains)?;
            let verdict = understood
                .verdict
                .renamed(|chain| key(*family, &raw.table, chain));
            let chain = ruleset.chains.entry(key(*family, &raw.table, &raw.chain));
            chain.or_default().push(Rule {
                origin,
                condition: understood.condition,
                verdict,
                comment: understood.comment,
            });
        }
    }
    Ok(ruleset)
}

/// Why no packet comes to the rules that were not followed.
fn reasons(
    saved: &[(Family, Saved)],
    ruleset: &Ruleset,
    flat: &mut super::flatten::Flat,
    local: bool,
) {
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
            "nat" if raw.redirects() => (
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
            _ if from("FORWARD") && !local => (
                "forwarded packets are not told apart without this host's addresses (--local): \
                 they are judged by what is for the host"
                    .into(),
                Effect::Differs,
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
    if !local {
        flat.left_out
            .extend(saved.iter().filter_map(dropped_forwards));
    }
}

/// Of a family the policy of the chain of forwarded packets, if it drops.
fn dropped_forwards((family, saved): &(Family, Saved)) -> Option<LeftOut> {
    let chain = ("filter".to_owned(), "FORWARD".to_owned());
    (saved.chains.get(&chain) == Some(&Some(false))).then(|| LeftOut {
        place: format!("{} chain FORWARD", family.name()),
        line: 0,
        text: ":FORWARD DROP".into(),
        reason: "forwarded packets are not told apart without this host's addresses (--local): \
                 they are judged by what is for the host"
            .into(),
        effect: Effect::Differs,
        in_part: false,
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

/// A family whose rules were not given.
fn missing(families: &[Family], left_out: &mut Vec<LeftOut>) {
    for family in Family::BOTH {
        if !families.contains(&family) {
            let (program, option) = match family {
                Family::V4 => ("iptables-save", "FILE"),
                Family::V6 => ("ip6tables-save", "--ip6 FILE"),
            };
            left_out.push(LeftOut {
                place: family.name().into(),
                line: 0,
                text: format!("no {program} was given"),
                reason: format!(
                    "nothing is known of {}: it gets the default; add {option}",
                    family.name()
                ),
                effect: Effect::Differs,
                in_part: false,
            });
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
        let reason = format!("a policy is not attached to {name}, {why}");
        condition.aside(&reason, Effect::None);
    }
    condition.narrow(Dim::Interface, &meaning.values);
}
