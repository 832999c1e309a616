//! From the list of steps to the text of a policy, with comments that name where it comes from.
//!
//! May not import a reader. Invariant: the rules match what the steps say, for every packet that
//! comes to the rules under the `packet:` section that is written with them.

mod protocols;

use self::protocols::by_protocol;
use super::essential::{self, Groups};
use super::flatten::{Flat, Step};
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::Interfaces;
use super::join::{self, Joined, List};
use super::names::{self, Names};
use super::options::Options;
use super::packets::{Dim, Family, Packets, Values};
use super::ruleset::Origin;
use super::{states, values};
use firewall_common::verdict::Action;
use firewall_policy::fields;
use firewall_policy::range::RangeSet;
use firewall_policy::text::is_unsafe;
use std::collections::BTreeSet;

/// Lists of addresses that are longer become a set.
const LONG_LIST: usize = 8;

/// Lines of a rule that its comment shows.
const SHOWN: usize = 4;

/// Longest comment line.
const LONGEST: usize = 240;

/// A list of addresses that has a name in the original.
#[derive(Clone, Debug)]
pub(super) struct NamedSet {
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) values: Values,
}

/// What the writer is given beside the list.
pub(super) struct Given<'a> {
    /// `iptables-save`, for the first line.
    pub(super) from: &'a str,
    pub(super) origins: &'a [Origin],
    pub(super) interfaces: &'a Interfaces,
    /// Families of which the rules are known.
    pub(super) families: &'a [Family],
    pub(super) sets: &'a [NamedSet],
    pub(super) options: &'a Options,
}

/// Writes the policy.
pub(super) fn write(flat: Flat, given: &Given<'_>) -> Result<Imported, ImportError> {
    let groups = essential::groups(&flat.steps, given.families);
    let mut left_out = flat.left_out;
    let steps = states::map(
        flat.steps,
        given.origins,
        given.options.language,
        &mut left_out,
    );
    let steps = possible(steps, given.origins, &mut left_out);
    let list = join::join(&steps, given.families);
    let carried = list.steps.iter().flat_map(|joined| &joined.step.origins);
    let carried: BTreeSet<&str> = carried
        .map(|&origin| given.origins[origin].place.as_str())
        .collect();
    for entry in &mut left_out {
        entry.in_part = carried.contains(entry.place.as_str());
    }
    // As they stand in the texts; what is about a text as a whole comes last.
    left_out.sort_by_key(|entry| (entry.line == 0, entry.place.starts_with("ip6"), entry.line));
    let mut writer = Writer {
        given,
        names: Names::default(),
        set_names: Names::default(),
        sets: Vec::new(),
        zones: zones(given.interfaces),
        rules: String::new(),
    };
    for joined in &list.steps {
        writer.step(joined);
    }
    let text = writer.document(&list, groups, &left_out);
    let yaml =
        firewall_policy::fmt::canonical("imported policy", &text).map_err(|_| ImportError {
            line: 0,
            column: 0,
            message: "the policy that was made is not YAML".into(),
            help: "this is a bug of the firewall: please report it with the rules".into(),
        })?;
    Ok(Imported { yaml, left_out })
}

/// Without steps for the other family's ICMP alone, which a policy refuses as never matching. What
/// comes from a rule that has no other step is in the list of what was left out.
fn possible(steps: Vec<Step>, origins: &[Origin], left_out: &mut Vec<LeftOut>) -> Vec<Step> {
    let foreign = |step: &Step| {
        let icmp = match step.packets.family {
            Family::V4 => 58,
            Family::V6 => 1,
        };
        step.packets.get(Dim::Proto).ranges() == [(icmp, icmp)]
    };
    let (impossible, steps): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(foreign);
    let kept: BTreeSet<usize> = steps
        .iter()
        .flat_map(|step| &step.origins)
        .copied()
        .collect();
    let mut noted = BTreeSet::new();
    for step in impossible {
        for origin in step.origins {
            if kept.contains(&origin) || !noted.insert(origin) {
                continue;
            }
            let at = &origins[origin];
            left_out.push(LeftOut {
                place: at.place.clone(),
                line: at.line,
                text: at.text.clone(),
                reason: match step.packets.family {
                    Family::V4 => "ICMPv6 does not run over IPv4",
                    Family::V6 => "ICMP for IPv4 does not run over IPv6",
                }
                .into(),
                effect: if step.action == Action::PASS {
                    Effect::PassesLess
                } else {
                    Effect::PassesMore
                },
                in_part: false,
            });
        }
    }
    steps
}

/// A zone for each interface, in the order of their numbers.
fn zones(interfaces: &Interfaces) -> Vec<String> {
    let mut names = Names::default();
    let known = interfaces.known().iter();
    known.map(|pattern| names.take(pattern)).collect()
}

struct Writer<'a> {
    given: &'a Given<'a>,
    names: Names,
    set_names: Names,
    /// Names and ranges of the sets that rules use.
    sets: Vec<(String, Family, Values)>,
    zones: Vec<String>,
    rules: String,
}

impl Writer<'_> {
    /// One step as one rule, or as several where its protocols have different fields.
    fn step(&mut self, joined: &Joined) {
        let step = &joined.step;
        let parts = by_protocol(&step.packets);
        let name = names::of(step);
        for origin in step.origins.iter().take(SHOWN) {
            let origin = &self.given.origins[*origin];
            self.rules
                .push_str(&comment(&format!("{}: {}", origin.place, origin.text)));
        }
        if step.origins.len() > SHOWN {
            let more = step.origins.len() - SHOWN;
            self.rules.push_str(&comment(&format!("and {more} more")));
        }
        if step.origins.is_empty() {
            self.rules.push_str(&comment("the policy of the chain"));
        }
        for part in parts {
            let name = self.names.take(&name);
            let fields = self.fields(&part, joined.both);
            let action = step.action.name();
            let words = step.comment.as_ref().map_or(String::new(), |comment| {
                format!("comment: {}, ", values::quoted(comment))
            });
            self.rules.push_str(&format!(
                "  - {{name: {name}, {words}{fields}action: {action}}}\n"
            ));
        }
    }

    /// The match fields of a rule, each with a comma behind it.
    fn fields(&mut self, part: &Packets, both: bool) -> String {
        let mut out = String::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                out.push_str(&format!("{key}: {value}, "));
            }
        };
        let none = |_| None;
        if !part.is_any(Dim::State) {
            let new = part.get(Dim::State) == &states::new();
            put(
                "state",
                Some(if new { "[invalid, new]" } else { "established" }.into()),
            );
        }
        put("proto", values::protocols(part.get(Dim::Proto)));
        for (key, dim) in [
            ("port", Dim::DestinationPort),
            ("source_port", Dim::SourcePort),
        ] {
            if !part.is_any(dim) {
                put(key, values::numbers(part.get(dim), 1, 65_535, none));
            }
        }
        if !part.is_any(Dim::Icmp) {
            put("icmp", Some(values::icmp(part.family, part.get(Dim::Icmp))));
        }
        if !part.is_any(Dim::Flags)
            && let [(set, clear)] = values::flag_masks(part.get(Dim::Flags))[..]
        {
            put("flags", Some(values::flags(set, clear)));
        }
        for row in fields::numbers() {
            let ((first, last), values) = (row.range, part.get(Dim::Number(row.field)));
            let text = values::numbers(values, first.into(), last.into(), none);
            put(row.field.name(), text);
        }
        put("zone", self.zone(part.get(Dim::Interface)));
        let of_family = [(1, Family::V4), (58, Family::V6)]
            .iter()
            .any(|&(proto, family)| {
                family == part.family && part.get(Dim::Proto).ranges() == [(proto, proto)]
            });
        let any = part.is_any(Dim::Source) && part.is_any(Dim::Destination);
        if any && !both && !of_family {
            put("from", Some(values::everywhere(part.family)));
        }
        for (key, dim) in [("from", Dim::Source), ("to", Dim::Destination)] {
            if !part.is_any(dim) {
                let value = self.side(part.family, part.get(dim));
                out.push_str(&format!("{key}: {value}, "));
            }
        }
        out
    }

    /// Zones of interfaces; `None` for all.
    fn zone(&self, numbers: &Values) -> Option<String> {
        let known = RangeSet::of(0, self.zones.len() as u128);
        let missing = numbers.complement().intersection(&known);
        if missing.is_empty() {
            return None;
        }
        let name = |number: u128, sign: &str| {
            let zone = usize::try_from(number).ok()?.checked_sub(1)?;
            let zone = self.zones.get(zone)?;
            Some(if sign.is_empty() {
                zone.clone()
            } else {
                values::quoted(&format!("{sign}{zone}"))
            })
        };
        let (set, sign) = if numbers.contains(0) {
            (missing, "!")
        } else {
            (numbers.intersection(&known), "")
        };
        let names = set.ranges().iter().flat_map(|&(a, b)| a..=b);
        let names: Vec<String> = names.filter_map(|number| name(number, sign)).collect();
        Some(values::list(&names))
    }

    /// Addresses of one side, which are not all: a list, or a set.
    fn side(&mut self, family: Family, set: &Values) -> String {
        let everything = RangeSet::of(0, Dim::Source.last(family));
        let missing = set.complement().intersection(&everything);
        if let Some(name) = self.named(family, set) {
            return values::quoted(&format!("@{name}"));
        }
        if let Some(name) = self.named(family, &missing) {
            let all = values::everywhere(family);
            return format!("[{all}, {}]", values::quoted(&format!("!@{name}")));
        }
        if set.ranges().len().min(missing.ranges().len()) > LONG_LIST {
            let name = self.set_names.take("addresses");
            self.sets.push((name.clone(), family, set.clone()));
            return values::quoted(&format!("@{name}"));
        }
        if missing.ranges().len() < set.ranges().len() {
            let mut elements = vec![values::everywhere(family)];
            elements.extend(values::addresses(family, &missing, "!"));
            return values::list(&elements);
        }
        values::list(&values::addresses(family, set, ""))
    }

    /// The name of a set that the policy has or that the original had.
    fn named(&mut self, family: Family, set: &Values) -> Option<String> {
        let known = self
            .sets
            .iter()
            .find(|(_, of, known)| *of == family && known == set);
        if let Some((name, ..)) = known {
            return Some(name.clone());
        }
        let given = self.given.sets.iter();
        let original = given
            .clone()
            .find(|named| named.family == family && &named.values == set)?;
        let name = self.set_names.take(&original.name);
        self.sets.push((name.clone(), family, set.clone()));
        Some(name)
    }

    fn document(&self, list: &List, groups: Groups, left_out: &[LeftOut]) -> String {
        let given = self.given;
        let mut out = format!(
            "# Generated by `firewall-ctl import` from {}. Every rule names its origin.\n",
            given.from
        );
        out.push_str(
            "# Rules that could not be converted are listed at the end: read them before use.\n",
        );
        out.push_str("version: 1\n");
        out.push_str(&self.interfaces());
        if list.default_passes {
            out.push_str("default: {in: pass}\n");
            out.push_str("packet: {fragments: follow-first}\n");
        } else {
            let off: Vec<&str> = [
                ("neighbour: false", groups.neighbour),
                ("multicast: false", groups.multicast),
                ("icmp_error: false", groups.icmp_error),
                ("igmp: false", groups.igmp),
            ]
            .into_iter()
            .filter(|&(_, on)| !on)
            .map(|(text, _)| text)
            .collect();
            if off.is_empty() {
                out.push_str("default: {in: drop}\n");
            } else {
                out.push_str("# The original drops the groups that are off here.\n");
                out.push_str(&format!(
                    "default: {{in: drop, essential: {{{}}}}}\n",
                    off.join(", ")
                ));
            }
            out.push_str("# The original sees reassembled datagrams and ignores IP options.\n");
            out.push_str("packet: {fragments: follow-first, ip_options: pass}\n");
        }
        if !self.sets.is_empty() {
            out.push_str("sets:\n");
        }
        for (name, family, set) in &self.sets {
            let elements = values::addresses(*family, set, "");
            out.push_str(&format!(
                "  {name}: {{type: cidr, elements: [{}]}}\n",
                elements.join(", ")
            ));
        }
        if !self.rules.is_empty() {
            out.push_str("rules:\n");
            out.push_str(&self.rules);
        }
        if !left_out.is_empty() {
            out.push_str("\n# Not carried over exactly:\n");
        }
        for (reason, entries) in by_reason(left_out) {
            out.push_str(&comment(&format!("- {reason}:")));
            for entry in entries {
                out.push_str(&comment(&format!("    {}: {}", entry.place, entry.text)));
            }
        }
        out
    }

    fn interfaces(&self) -> String {
        if let Some(only) = self.given.interfaces.only() {
            return format!("interfaces: [{{match: {}}}]\n", values::quoted(only));
        }
        let known = self.given.interfaces.known();
        if known.is_empty() {
            return String::new();
        }
        let mut out = String::from(
            "# Those that the rules name. Others are not filtered until they stand here.\n\
             interfaces:\n",
        );
        for (pattern, zone) in known.iter().zip(&self.zones) {
            out.push_str(&format!(
                "  - {{match: {}, zone: {zone}}}\n",
                values::quoted(pattern)
            ));
        }
        out
    }
}

/// Entries of one reason together, in the order of the first of each.
fn by_reason(left_out: &[LeftOut]) -> Vec<(String, Vec<&LeftOut>)> {
    let mut groups: Vec<(String, Vec<&LeftOut>)> = Vec::new();
    for entry in left_out {
        let reason = format!("{} ({})", entry.reason, entry.effect.words());
        match groups.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((reason, vec![entry])),
        }
    }
    groups
}

/// A comment line.
fn comment(text: &str) -> String {
    let mut line = String::from("# ");
    line.extend(
        text.chars()
            .map(|c| if is_unsafe(c) { ' ' } else { c })
            .take(LONGEST),
    );
    line.push('\n');
    line
}

/// The rules that a list of unseen rules stands for, with one reason each.
pub(super) fn unseen(
    flat: &mut Flat,
    origins: &[Origin],
    reason: impl Fn(usize) -> Option<(String, Effect)>,
) {
    for origin in std::mem::take(&mut flat.unseen) {
        if let Some((reason, effect)) = reason(origin) {
            let at = &origins[origin];
            flat.left_out.push(LeftOut {
                place: at.place.clone(),
                line: at.line,
                text: at.text.clone(),
                reason,
                effect,
                in_part: false,
            });
        }
    }
}
