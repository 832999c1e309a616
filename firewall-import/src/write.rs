//! From the list of steps to the text of a policy, with comments that name where it comes from.
//!
//! May not import a reader. Invariant: the rules match what the steps say, for every packet that
//! comes to the rules under the `packet:` section that is written with them.

mod losses;
mod protocols;

pub(super) use self::losses::unseen;
use self::protocols::by_protocol;
use super::essential::{self, Groups};
use super::flatten::Flat;
use super::imported::{Effect, ImportError, Imported, LeftOut};
use super::interfaces::{Interfaces, is_bridge};
use super::join::{self, Joined, List};
use super::names::{self, Names};
use super::options::Options;
use super::packets::{Dim, Family, Packets, Values, less_all};
use super::ruleset::Origin;
use super::{states, values};
use firewall_common::verdict::Action;
use firewall_policy::content::{Content, Payload, option_words};
use firewall_policy::fields;
use firewall_policy::range::RangeSet;
use firewall_policy::text::is_unsafe;
use std::collections::BTreeSet;

/// Lists of addresses that are longer become a set.
const LONG_LIST: usize = 8;

/// Lines of a rule that its comment shows.
const SHOWN: usize = 4;

/// Rules that are searched for those that decide about a part of a later one.
const SEARCHED: usize = 1_500;

/// More parts than this are not followed.
const MOST_PARTS: usize = 128;

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
    /// What to give for a family that is not known.
    pub(super) missing: &'a str,
}

/// Writes the policy.
pub(super) fn write(flat: Flat, given: &Given<'_>) -> Result<Imported, ImportError> {
    let groups = essential::groups(&flat.steps, given.families);
    let mut left_out = flat.left_out;
    let answers = losses::answers_without_tracking(&flat.steps);
    let steps = states::map(
        states::joined(flat.steps),
        given.origins,
        given.options.language,
        &mut left_out,
    );
    losses::untracked(&steps, answers, &mut left_out);
    let steps = losses::possible(steps, given.origins, &mut left_out);
    let steps = losses::listed(steps, given.origins, &mut left_out);
    let mut essential = states::impossible();
    essential.extend(groups.neighbour.then(essential::neighbours));
    let list = join::join(&steps, given.families, &essential);
    losses::missing(given, list.default_passes, &mut left_out);
    losses::shared_rates(&list.steps, given.origins, &mut left_out);
    let others = Others::of(&list, given.interfaces);
    left_out.extend(others.left_out());
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
        impossible: states::impossible(),
        done: Vec::new(),
        in_own: false,
        rules: String::new(),
    };
    for joined in &list.steps {
        writer.step(joined);
    }
    let (rules, exact) = count(given.origins, &left_out);
    let mut imported = Imported {
        yaml: String::new(),
        left_out,
        rules,
        exact,
    };
    let text = writer.document(&list, groups, others, &imported);
    imported.yaml =
        firewall_policy::fmt::canonical("imported policy", &text).map_err(|_| ImportError {
            line: 0,
            column: 0,
            message: "the policy that was made is not YAML".into(),
            help: "this is a bug of the firewall: please report it with the rules".into(),
        })?;
    Ok(imported)
}

/// The rules of the original, and those of which nothing changed.
fn count(origins: &[Origin], left_out: &[LeftOut]) -> (usize, usize) {
    let changed = left_out.iter().filter(|entry| entry.effect != Effect::None);
    let changed: BTreeSet<&str> = changed.map(|entry| entry.place.as_str()).collect();
    let all = origins.iter().map(|origin| origin.count).sum();
    let exact = origins
        .iter()
        .filter(|origin| !changed.contains(origin.place.as_str()));
    (all, exact.map(|origin| origin.count).sum())
}

/// What becomes of interfaces that no rule names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// The original passes all that comes in there, or nothing is named.
    Open,
    /// They are filtered by the same rules.
    Filtered,
    /// Which of them are ports of a bridge that the original names is not known.
    DefaultRoute,
}

impl Others {
    fn of(list: &List, interfaces: &Interfaces) -> Self {
        let known = interfaces.known();
        let decides = |joined: &Joined| {
            let step = &joined.step;
            step.action != Action::PASS && step.packets.get(Dim::Interface).contains(0)
        };
        if known.is_empty() || list.default_passes && !list.steps.iter().any(decides) {
            Self::Open
        } else if known.iter().any(|name| is_bridge(name)) {
            Self::DefaultRoute
        } else {
            Self::Filtered
        }
    }

    fn left_out(self) -> Option<LeftOut> {
        (self == Self::DefaultRoute).then(|| LeftOut {
            place: "interfaces".into(),
            line: 0,
            text: "interfaces that no rule names".into(),
            reason:
                "which of them are ports of a bridge, behind which the original filters, is not \
                     known: but for those of the default routes they are not filtered; name them \
                     under `interfaces`"
                    .into(),
            effect: Effect::PassesMore,
            in_part: false,
        })
    }
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
    /// Packets that never come to a rule.
    impossible: Vec<Packets>,
    /// Those that the rules so far decide about.
    done: Vec<Packets>,
    /// The last rule is one that the original brings with itself.
    in_own: bool,
    rules: String,
}

impl Writer<'_> {
    /// One step as one rule, or as several where its protocols have different fields.
    fn step(&mut self, joined: &Joined) {
        let step = &joined.step;
        let twin = |part: &Packets| {
            let other = joined.other.as_ref()?;
            let side = |dim| other.get(dim).clone();
            let twin = part.of_v6().with(Dim::Source, side(Dim::Source));
            Some(twin.with(Dim::Destination, side(Dim::Destination)))
        };
        let mut parts = by_protocol(&step.packets);
        if parts.len() > 1 {
            parts.retain(|part| self.comes(part) || twin(part).is_some_and(|it| self.comes(&it)));
        }
        if step.is_plain() && self.done.len() < SEARCHED {
            self.done.extend(parts.iter().cloned());
            self.done.extend(parts.iter().filter_map(twin));
        }
        let name = names::of(step);
        let own = step.origins.first().filter(|_| step.chain == join::OWN);
        if let (Some(&origin), false) = (own, self.in_own) {
            self.rules
                .push_str(&comment(&self.given.origins[origin].place));
        }
        self.in_own = own.is_some();
        let origins: &[usize] = if own.is_some() { &[] } else { &step.origins };
        for origin in origins.iter().take(SHOWN) {
            let origin = &self.given.origins[*origin];
            self.rules
                .push_str(&comment(&format!("{}: {}", origin.place, origin.text)));
        }
        if origins.len() > SHOWN {
            let more = origins.len() - SHOWN;
            self.rules.push_str(&comment(&format!("and {more} more")));
        }
        if step.origins.is_empty() {
            self.rules.push_str(&comment("the policy of the chain"));
        }
        for part in parts {
            let name = self.names.take(&name);
            let fields = self.fields(&part, twin(&part).as_ref());
            let action = step.action.name();
            let limit = step.limit.as_ref().map_or(String::new(), |(rate, over)| {
                let v6 = part.family == Family::V6 || joined.other.is_some();
                let over = match *over {
                    Action::DROP => String::new(),
                    over => format!("over: {}, ", over.name()),
                };
                format!("limit: {{{}}}, {over}", rate.yaml(v6))
            });
            let content = step.content.as_ref().map_or(String::new(), content);
            let words = step.comment.as_ref().map_or(String::new(), |comment| {
                format!("comment: {}, ", values::quoted(comment))
            });
            self.rules.push_str(&format!(
                "  - {{name: {name}, {words}{fields}{content}{limit}action: {action}}}\n"
            ));
        }
    }

    /// Whether a packet of these comes to a rule behind those so far.
    fn comes(&self, part: &Packets) -> bool {
        let mut left = less_all(vec![part.clone()], &self.impossible);
        for before in &self.done {
            if left.is_empty() || left.len() > MOST_PARTS {
                break;
            }
            left = less_all(left, std::slice::from_ref(before));
        }
        !left.is_empty()
    }

    /// The match fields of a rule, each with a comma behind it.
    /// `twin`: the packets of IPv6 that the rule is for, too.
    fn fields(&mut self, part: &Packets, twin: Option<&Packets>) -> String {
        let mut out = String::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                out.push_str(&format!("{key}: {value}, "));
            }
        };
        let none = |_| None;
        if !part.is_any(Dim::State) {
            put("state", Some(state_words(part.get(Dim::State))));
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
        if !part.is_any(Dim::Mac) {
            put(
                "mac",
                values::stations(part.get(Dim::Mac)).map(|it| values::list(&it)),
            );
        }
        put("zone", self.zone(part.get(Dim::Interface)));
        let of_family = [(1, Family::V4), (58, Family::V6)]
            .iter()
            .any(|&(proto, family)| {
                family == part.family && part.get(Dim::Proto).ranges() == [(proto, proto)]
            });
        // An own address is one of either family.
        let names =
            |dim, own| !part.is_any(dim) && (part.is_any(own) || !part.get(own).contains(1));
        let (source, own) = (part.is_any(Dim::Source), part.is_any(Dim::FromSelf));
        let any = !names(Dim::Source, Dim::FromSelf) && !names(Dim::Destination, Dim::ToSelf);
        if any && twin.is_none() && !of_family {
            let key = if source && own { "from" } else { "to" };
            put(key, Some(values::everywhere(part.family)));
        }
        for (key, dim, own) in [
            ("from", Dim::Source, Dim::FromSelf),
            ("to", Dim::Destination, Dim::ToSelf),
        ] {
            let value = self.end((dim, own), part, twin);
            if let Some(value) = value {
                out.push_str(&format!("{key}: {value}, "));
            }
        }
        out
    }

    /// `from` or `to` of a rule for the packets of both families; `None` for all.
    fn end(
        &mut self,
        (dim, own): (Dim, Dim),
        part: &Packets,
        twin: Option<&Packets>,
    ) -> Option<String> {
        let beyond = twin.and_then(Packets::goes_beyond);
        let named = twin.filter(|twin| part.is_any(own) && !part.is_any(dim) && !twin.is_any(dim));
        match (dim, part.goes_beyond(), beyond, named) {
            (Dim::Destination, Some(v4), Some(v6), _) => {
                let mut elements = vec![values::quoted("!@self")];
                elements.extend(values::addresses(Family::V4, &v4, "!"));
                elements.extend(values::addresses(Family::V6, &v6, "!"));
                Some(values::list(&elements))
            }
            (.., Some(twin)) => {
                let sides = [part, twin].map(|part| self.side(part.family, part.get(dim)));
                let bare = sides.map(|side| {
                    let side = side.trim_start_matches('[').trim_end_matches(']');
                    side.to_owned()
                });
                Some(values::list(&bare))
            }
            _ => self.addresses(part, dim, own),
        }
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

    /// One side of a rule; `None` for all addresses.
    fn addresses(&mut self, part: &Packets, dim: Dim, own: Dim) -> Option<String> {
        let (set, family) = (part.get(dim), part.family);
        if part.is_any(own) {
            return (!part.is_any(dim)).then(|| self.side(family, set));
        }
        let everything = RangeSet::of(0, dim.last(family));
        let missing = set.complement().intersection(&everything);
        // An own address: without those that the set does not have.
        let is_own = part.get(own).contains(1);
        let elements = match (is_own, part.is_any(dim)) {
            (true, true) => return Some(values::quoted("@self")),
            (false, true) => return Some(values::quoted("!@self")),
            (true, false) => {
                let mut elements = vec![values::quoted("@self")];
                match self.named(family, &missing) {
                    Some(name) => elements.push(values::quoted(&format!("!@{name}"))),
                    None => elements.extend(values::addresses(family, &missing, "!")),
                }
                elements
            }
            (false, false) if missing.ranges().len() <= set.ranges().len().min(LONG_LIST) => {
                let mut elements = vec![values::everywhere(family), values::quoted("!@self")];
                elements.extend(values::addresses(family, &missing, "!"));
                elements
            }
            (false, false) => {
                let list = self.side(family, set);
                let list = list.trim_start_matches('[').trim_end_matches(']');
                vec![list.to_owned(), values::quoted("!@self")]
            }
        };
        Some(values::list(&elements))
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

    fn document(&self, list: &List, groups: Groups, others: Others, done: &Imported) -> String {
        let given = self.given;
        let mut out = format!(
            "# Generated by `firewall-ctl import` from {}. Every rule names its origin.\n",
            given.from
        );
        out.push_str(
            "# Rules that could not be converted are listed at the end: read them before use.\n",
        );
        out.push_str("version: 1\n");
        out.push_str(&self.interfaces(others));
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
        if !done.left_out.is_empty() {
            out.push_str("\n# Not carried over exactly:\n");
            out.push_str(&losses::list(&done.left_out));
        }
        out.push_str(&format!("\n# {}.\n", done.summary()));
        out
    }

    fn interfaces(&self, others: Others) -> String {
        if let Some(only) = self.given.interfaces.only() {
            return format!("interfaces: [{{match: {}}}]\n", values::quoted(only));
        }
        let known = self.given.interfaces.known();
        if known.is_empty() {
            return String::new();
        }
        let mut out = String::from(match others {
            Others::Open => "# Those that the rules name; on others everything passes.\n",
            Others::Filtered => {
                "# Those that the rules name, and all others, ports of bridges included.\n"
            }
            Others::DefaultRoute => {
                "# Those that the rules name, and those of the default routes. Others are not \
                 filtered until they stand here.\n"
            }
        });
        out.push_str("interfaces:\n");
        for (pattern, zone) in known.iter().zip(&self.zones) {
            out.push_str(&format!(
                "  - {{match: {}, zone: {zone}}}\n",
                values::quoted(pattern)
            ));
        }
        out.push_str(match others {
            Others::Open => "",
            Others::Filtered => "  - {match: \"*\"}\n",
            Others::DefaultRoute => "  - {match: default-route}\n",
        });
        out
    }
}

/// `options: [...], payload: {...}, `.
fn content(content: &Content) -> String {
    let mut out = String::new();
    if content.options != 0 {
        out.push_str(&format!("options: [{}], ", option_words(content.options)));
    }
    if let Some(payload) = &content.payload {
        let at = match payload.offset {
            0 => String::new(),
            offset => format!("offset: {offset}, "),
        };
        let bare = Payload {
            offset: 0,
            bytes: payload.bytes.clone(),
        };
        out.push_str(&format!("payload: {{{at}bytes: \"{bare}\"}}, "));
    }
    out
}

/// The words of the language for states.
fn state_words(of: &Values) -> String {
    let words = states::words();
    let words = words
        .iter()
        .filter(|(_, set)| !set.intersection(of).is_empty());
    let words: Vec<String> = words.map(|(word, _)| (*word).to_owned()).collect();
    values::list(&words)
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
