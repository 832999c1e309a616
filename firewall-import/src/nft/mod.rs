//! `nft -j list ruleset`: tables, chains, sets and rules as JSON (libnftables-json(5)).
//!
//! May not import the writer's parts but through [`super::write`]. Invariant: every rule of the
//! ruleset is followed, or in the list of what was left out.

mod content;
mod fields;
mod rates;
mod rule;
mod show;

use super::flatten::flatten;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::local;
use super::options::Options;
use super::packets::{Dim, Family};
use super::ruleset::{Base, Condition, Origin, Path, Rule, Ruleset, Verdict};
use super::write::{Given, NamedSet, unseen, write};
use firewall_policy::range::RangeSet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Base chains of an interface come before all others.
const INGRESS: i64 = -1 << 32;

/// The objects of a ruleset, by kind.
#[derive(Default)]
struct Listing<'a> {
    chains: Vec<&'a Value>,
    rules: Vec<&'a Value>,
    /// Sets and maps by table and name.
    sets: BTreeMap<String, &'a Value>,
    /// Tables that are switched off.
    dormant: BTreeSet<String>,
}

/// Reads a ruleset and carries it over.
pub(super) fn import(text: &str, options: &Options) -> Result<Imported, ImportError> {
    if let Some(error) = text_of_nft(text) {
        return Err(error);
    }
    let document: Value = serde_json::from_str(text).map_err(|error| ImportError {
        // Where nothing has been read yet, the reader says column 0.
        line: (error.line() as u32).max(1),
        column: (error.column() as u32).max(1),
        message: format!("this is not JSON: {error}"),
        help: "give the output of `nft -j list ruleset`".into(),
    })?;
    let listing = listing(&document)?;
    let local = local::Addresses::read(&options.local)?;
    let mut interfaces = Interfaces::new(options.interface.as_deref());
    // The first round finds the interfaces that rules name.
    understand(&listing, &interfaces, &local);
    interfaces.settle();
    let ruleset = understand(&listing, &interfaces, &local);
    let mut flat = flatten(&ruleset)?;
    let reasons = reasons(&listing, &ruleset);
    unseen(&mut flat, &ruleset.origins, |origin| {
        reasons.get(origin).cloned().flatten()
    });
    flat.left_out.extend(dropping_nat(&listing));
    let named = named(&listing);
    write(
        flat,
        &Given {
            from: "nft -j list ruleset",
            origins: &ruleset.origins,
            interfaces: &interfaces,
            families: &Family::BOTH,
            sets: &named,
            options,
            missing: "the whole ruleset",
        },
    )
}

/// A ruleset in nft's own language, which nft alone reads whole.
fn text_of_nft(text: &str) -> Option<ImportError> {
    const BEGINNINGS: [&str; 8] = [
        "table ", "flush ", "define ", "include ", "add ", "create ", "destroy ", "#!",
    ];
    let mut lines = text.lines().zip(1u32..);
    let (line, number) = lines.find(|(line, _)| {
        let line = line.trim();
        !line.is_empty() && (!line.starts_with('#') || line.starts_with("#!"))
    })?;
    BEGINNINGS
        .iter()
        .any(|start| line.trim_start().starts_with(start))
        .then(|| ImportError {
            line: number,
            column: 1,
            message: "this is a ruleset in nft's own language, not JSON".into(),
            help: "on the host that has these rules: `sudo nft -j list ruleset > ruleset.json`; \
                   elsewhere, without touching the rules there: `sudo unshare -n sh -c 'nft -f FILE \
                   && nft -j list ruleset' > ruleset.json`; then import ruleset.json"
                .into(),
        })
}

/// Text of a field.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The table that an object is in.
fn table(value: &Value) -> String {
    format!("{} {}", text(value, "family"), text(value, "table"))
}

fn listing(document: &Value) -> Result<Listing<'_>, ImportError> {
    let objects = document["nftables"].as_array().ok_or_else(|| ImportError {
        line: 1,
        column: 1,
        message: "this is not a ruleset of nft: there is no list `nftables`".into(),
        help: "give the output of `nft -j list ruleset`".into(),
    })?;
    let mut listing = Listing::default();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            listing.chains.push(chain);
        } else if let Some(table) = object.get("table") {
            let flags = match &table["flags"] {
                Value::Array(flags) => flags.clone(),
                one => vec![one.clone()],
            };
            if flags.iter().any(|flag| flag == "dormant") {
                let name = format!("{} {}", text(table, "family"), text(table, "name"));
                listing.dormant.insert(name);
            }
        } else if let Some(rule) = object.get("rule") {
            listing.rules.push(rule);
        } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            let name = format!("{} {}", table(set), text(set, "name"));
            listing.sets.insert(name, set);
        }
    }
    Ok(listing)
}

/// The address families whose packets a table sees; none for frames that are not IP.
fn families(value: &Value) -> Vec<Family> {
    match text(value, "family") {
        "ip" => vec![Family::V4],
        "ip6" => vec![Family::V6],
        "inet" | "netdev" => Family::BOTH.to_vec(),
        _ => Vec::new(),
    }
}

fn key(table: &str, chain: &str) -> String {
    format!("{table} {chain}")
}

/// What a chain is on the way of packets that come in.
fn path(chain: &Value) -> Option<(Path, i64)> {
    let priority = chain["prio"].as_i64().unwrap_or(0);
    match (text(chain, "type"), text(chain, "hook")) {
        // Some versions of nft do not say which device such a chain is for.
        ("filter", "ingress") if chain["dev"].is_null() => None,
        ("filter", "ingress") => Some((Path::Prerouting, INGRESS + priority)),
        ("filter", "prerouting") => Some((Path::Prerouting, priority)),
        ("filter", "input") => Some((Path::Input, priority)),
        ("filter", "forward") => Some((Path::Forward, priority)),
        _ => None,
    }
}

fn understand(listing: &Listing<'_>, interfaces: &Interfaces, local: &local::Addresses) -> Ruleset {
    let mut ruleset = Ruleset::default();
    // A family without any base chain is let through.
    ruleset.bases.push(Base {
        chain: String::new(),
        families: Family::BOTH.to_vec(),
        scope: Condition::all(&Family::BOTH),
        accepts: true,
        path: Path::Prerouting,
        priority: i64::MIN,
    });
    for chain in &listing.chains {
        let name = key(&table(chain), text(chain, "name"));
        ruleset.chains.entry(name.clone()).or_default();
        if is_dormant(listing, chain) {
            continue;
        }
        let base = base(chain, name, interfaces, local);
        let forwards = local.is_known() || text(chain, "policy") == "drop" || ruled(listing, chain);
        ruleset
            .bases
            .extend(base.filter(|base| forwards || base.path != Path::Forward));
    }
    let chains = chains(listing);
    let none = BTreeSet::new();
    let asked = asked(listing);
    let mut flat = Alike::default();
    for object in &listing.rules {
        let table = table(object);
        let origin = ruleset.origins.len();
        ruleset.origins.push(Origin {
            place: format!(
                "{table} {}, handle {}",
                text(object, "chain"),
                object["handle"].as_u64().unwrap_or(0)
            ),
            line: 0,
            text: show::rule(object),
            count: 1,
        });
        let reader = rule::Reader {
            families: families(object),
            table: &table,
            chains: chains.get(&table).unwrap_or(&none),
            sets: &listing.sets,
            asked: asked.get(&table).unwrap_or(&none),
            interfaces,
            local,
        };
        let comment = object["comment"].as_str().map(str::to_owned);
        let chain = key(&table, text(object, "chain"));
        let rules = ruleset.chains.entry(chain.clone()).or_default();
        for (condition, verdict) in reader.read(&object["expr"]) {
            let rule = Rule {
                origin,
                also: Vec::new(),
                condition,
                verdict: verdict.renamed(|chain| key(&table, chain)),
                comment: comment.clone(),
            };
            flat.push(&chain, rules, rule);
        }
    }
    flat.settle(&mut ruleset.chains);
    ruleset
}

/// By table: the names of its chains.
fn chains<'l>(listing: &Listing<'l>) -> BTreeMap<String, BTreeSet<&'l str>> {
    let mut chains: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for chain in &listing.chains {
        let of = chains.entry(table(chain)).or_default();
        of.insert(text(chain, "name"));
    }
    chains
}

/// By table: the sets that rules look into.
fn asked<'l>(listing: &Listing<'l>) -> BTreeMap<String, BTreeSet<&'l str>> {
    let mut asked: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for object in &listing.rules {
        let statements = object["expr"].as_array().map_or(&[][..], Vec::as_slice);
        for statement in statements {
            let names = [&statement["match"]["right"], &statement["vmap"]["data"]];
            let names = names.into_iter().filter_map(Value::as_str);
            let names: Vec<&str> = names.filter_map(|name| name.strip_prefix('@')).collect();
            if !names.is_empty() {
                asked.entry(table(object)).or_default().extend(names);
            }
        }
    }
    asked
}

/// Rules behind each other that differ in their source alone, on their way to being one.
#[derive(Default)]
struct Alike {
    /// By chain: the sources of its last rule, where that stands for several.
    sources: HashMap<String, Vec<(u128, u128)>>,
}

impl Alike {
    fn push(&mut self, chain: &str, rules: &mut Vec<Rule>, rule: Rule) {
        if let Some(last) = rules.last_mut()
            && last.origin != rule.origin
            && matches!(
                rule.verdict,
                Verdict::Accept | Verdict::Drop | Verdict::Reject
            )
            && last.verdict == rule.verdict
            && last.comment == rule.comment
            && [&last.condition, &rule.condition]
                .iter()
                .all(|one| one.is_plain())
            && let ([one], [other]) = (&last.condition.boxes[..], &rule.condition.boxes[..])
            && !other.is_any(Dim::Source)
            && one.with(Dim::Source, other.get(Dim::Source).clone()) == *other
        {
            let begun = one.get(Dim::Source).ranges();
            let sources = self.sources.entry(chain.to_owned());
            let sources = sources.or_insert_with(|| begun.to_vec());
            sources.extend(other.get(Dim::Source).ranges());
            last.also.push(rule.origin);
            return;
        }
        self.close(chain, rules);
        rules.push(rule);
    }

    fn close(&mut self, chain: &str, rules: &mut [Rule]) {
        if let (Some(sources), Some(last)) = (self.sources.remove(chain), rules.last_mut())
            && let [one] = &mut last.condition.boxes[..]
        {
            *one = one.with(Dim::Source, RangeSet::from_ranges(sources));
        }
    }

    fn settle(mut self, chains: &mut HashMap<String, Vec<Rule>>) {
        let open: Vec<String> = self.sources.keys().cloned().collect();
        for chain in open {
            if let Some(rules) = chains.get_mut(&chain) {
                self.close(&chain, rules);
            }
        }
    }
}

/// Whether any rule is in a chain.
fn ruled(listing: &Listing<'_>, chain: &Value) -> bool {
    listing
        .rules
        .iter()
        .any(|object| table(object) == table(chain) && text(object, "chain") == text(chain, "name"))
}

/// Whether the table of a chain is switched off.
fn is_dormant(listing: &Listing<'_>, chain: &Value) -> bool {
    listing.dormant.contains(&table(chain))
}

/// A chain as a base chain, if packets that come in pass it.
fn base(
    chain: &Value,
    name: String,
    interfaces: &Interfaces,
    local: &local::Addresses,
) -> Option<Base> {
    let families = families(chain);
    let (path, priority) = path(chain).filter(|_| !families.is_empty())?;
    let mut scope = Condition::all(&families);
    if path == Path::Forward {
        scope.within(&local.beyond(), false);
    }
    let devices: Vec<&str> = match &chain["dev"] {
        Value::String(device) => vec![device],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !devices.is_empty() {
        let all = devices.iter().fold(RangeSet::empty(), |all, device| {
            all.union(&interfaces.named(device, false).values)
        });
        scope.narrow(Dim::Interface, &all);
    }
    Some(Base {
        chain: name,
        families,
        scope,
        accepts: text(chain, "policy") != "drop",
        path,
        priority,
    })
}

/// Why no packet that comes in comes to each rule, if none does.
fn reasons(listing: &Listing<'_>, ruleset: &Ruleset) -> Vec<Option<(String, Effect)>> {
    let bases: Vec<(String, &Value)> = listing
        .chains
        .iter()
        .filter(|chain| !chain["hook"].is_null())
        .map(|chain| (key(&table(chain), text(chain, "name")), *chain))
        .collect();
    let roots = roots(&bases, ruleset);
    let reason = |object: &&Value| {
        let chain = key(&table(object), text(object, "chain"));
        let roots = roots.get(chain.as_str())?;
        let chains: Vec<&Value> = roots.iter().map(|&root| bases[root].1).collect();
        let has = |key: &str, value: &str| chains.iter().any(|chain| text(chain, key) == value);
        let comes_in = chains.iter().any(|chain| is_nat_of_incoming(chain));
        let redirects = object["expr"].as_array().is_some_and(|list| {
            list.iter()
                .any(|one| one.get("dnat").is_some() || one.get("redirect").is_some())
        });
        Some(if is_dormant(listing, object) {
            ("the table is dormant".into(), Effect::None)
        } else if families(object).is_empty() {
            (
                "rules of bridges and about ARP are not converted; write `ethertype: arp` or `mac` in a rule by hand"
                    .into(),
                Effect::None,
            )
        } else if comes_in && redirects {
            (
                "the policy sees the address and port that a packet comes with, the original's \
                 other rules those that it is sent on to"
                    .into(),
                Effect::Differs,
            )
        } else if comes_in && drops(object) {
            (DROPS_IN_NAT.into(), Effect::PassesMore)
        } else if has("type", "nat") {
            (
                "a policy rewrites no addresses, and this does not affect incoming packets".into(),
                Effect::None,
            )
        } else if chains.iter().any(|chain| path(chain).is_some()) {
            (
                "rules before this one decide about all packets".into(),
                Effect::None,
            )
        } else if has("hook", "ingress") {
            (
                "this version of nft does not say which device the chain is for".into(),
                Effect::Differs,
            )
        } else {
            (
                "only packets that come in are filtered".into(),
                Effect::None,
            )
        })
    };
    let nowhere = ("no rule leads to this chain".to_owned(), Effect::None);
    listing
        .rules
        .iter()
        .map(|object| Some(reason(object).unwrap_or_else(|| nowhere.clone())))
        .collect()
}

const DROPS_IN_NAT: &str =
    "what a chain of type nat drops is not followed: drop it in a chain of type filter";

/// Whether a rule drops, or rejects.
fn drops(object: &Value) -> bool {
    let decides = |one: &Value| {
        one.get("drop").is_some()
            || one.get("reject").is_some()
            || one
                .get("vmap")
                .is_some_and(|map| map.to_string().contains("\"drop\""))
    };
    object["expr"]
        .as_array()
        .is_some_and(|list| list.iter().any(decides))
}

/// Whether a base chain is of type nat, and sees what comes in.
fn is_nat_of_incoming(chain: &Value) -> bool {
    text(chain, "type") == "nat" && matches!(text(chain, "hook"), "prerouting" | "input")
}

/// Chains of type nat that drop what no rule accepts.
fn dropping_nat(listing: &Listing<'_>) -> Vec<LeftOut> {
    let chains = listing.chains.iter().filter(|chain| {
        is_nat_of_incoming(chain) && text(chain, "policy") == "drop" && !is_dormant(listing, chain)
    });
    let entry = |chain: &&Value| LeftOut {
        place: key(&table(chain), text(chain, "name")),
        line: 0,
        text: "policy drop".into(),
        reason: DROPS_IN_NAT.into(),
        effect: Effect::PassesMore,
        in_part: false,
    };
    chains.map(entry).collect()
}

/// The base chains from which each chain is reached, by their numbers.
fn roots<'r>(
    bases: &'r [(String, &Value)],
    ruleset: &'r Ruleset,
) -> BTreeMap<&'r str, BTreeSet<usize>> {
    let mut roots: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (number, (name, _)) in bases.iter().enumerate() {
        let mut open: Vec<&str> = vec![name];
        while let Some(name) = open.pop() {
            if roots.entry(name).or_default().insert(number)
                && let Some(rules) = ruleset.chains.get(name)
            {
                open.extend(rules.iter().filter_map(|rule| rule.verdict.target()));
            }
        }
    }
    roots
}

/// Sets of addresses alone, for their names.
fn named(listing: &Listing<'_>) -> Vec<NamedSet> {
    let sets = listing.sets.values().filter_map(|set| {
        let family = match set["type"].as_str()? {
            "ipv4_addr" => Family::V4,
            "ipv6_addr" => Family::V6,
            _ => return None,
        };
        let elements = set["elem"].as_array()?.iter();
        let ranges: Option<Vec<(u128, u128)>> = elements
            .map(|element| fields::address(fields::plain(element)))
            .map(|found| {
                found
                    .filter(|(of, _)| *of == family)
                    .map(|(_, range)| range)
            })
            .collect();
        let values = RangeSet::from_ranges(ranges?);
        (values.ranges().len() > 1).then(|| NamedSet {
            name: text(set, "name").to_owned(),
            family,
            values,
        })
    });
    sets.collect()
}
