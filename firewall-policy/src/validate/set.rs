//! `sets:`: named lists of addresses or ports, written in place or in a file, and `@name` in rules.

use super::addr::{self, Ranges};
use super::lists::bare_set;
use super::number::{self, Domain, Names};
use super::set_file;
use super::shape::{self, Cx, Keys, Table, boolean, integer, scalar, text, word, wrong_kind};
use crate::ast::{Key, Node, Span, Value};
use crate::diag::{codes, show, suggest};
use crate::duration::parse_one_unit;
use crate::range::RangeSet;
use crate::rule::{AddrSet, BANNED, Elements, FixedSet, LONGEST_STAY, LiveSet, Mac, SELF, SetSize};
use firewall_common::live::SETS;

/// What a set holds.
#[derive(Debug)]
pub(super) enum Content {
    Cidr(AddrSet),
    Port(RangeSet<u32>),
    /// The number of a live set.
    Live(u32),
    /// Its definition has errors, which have been reported.
    Broken,
}

struct Set {
    name: String,
    span: Span,
    content: Content,
    /// Entries as written.
    entries: u64,
    used: bool,
}

/// All sets of a policy.
#[derive(Default)]
pub(super) struct Sets {
    list: Vec<Set>,
    bogons: Option<Content>,
    live: Vec<LiveSet>,
    host: Option<Content>,
    /// The MAC addresses that rules name, in the order in which they do.
    pub(super) macs: Vec<Mac>,
    /// The conditions on payload and options that rules name, likewise.
    pub(super) contents: Vec<crate::content::Content>,
    /// Whether IPv4 packets with options are dropped before the rules.
    pub(super) drops_options: bool,
    /// Whether malformed packets are.
    pub(super) drops_malformed: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Cidr,
    Port,
}

pub(super) const KEYS: Keys = Keys {
    of: "a set",
    known: &["type", "elements", "file", "max", "live", "timeout"],
    reserved: &["url"],
};

/// The one set that every policy has.
const BOGONS: &str = "builtin/bogons";

/// Entries that a set may have at most, whatever its `max`.
const MOST: u64 = 10_000_000;

/// Entries of a set without `max`.
const DEFAULT_MAX: u64 = 1_000_000;

/// Entries of a live set without `max`: it takes memory for all of them.
const LIVE_MAX: u64 = 65_536;

/// Addresses that a host has at most.
const HOST_MAX: u64 = 4_096;

impl Sets {
    /// Reads the section.
    pub(super) fn read(cx: &mut Cx<'_>, node: &Node<'_>) -> Self {
        let mut sets = Self::default();
        let Value::Map(map) = &node.value else {
            wrong_kind(cx, node, "`sets` is a mapping of names to sets")
                .help("write `sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}`");
            return sets;
        };
        for (key, node) in map {
            let sound = shape::name(cx, key.span, "a set", &key.text).is_some();
            let (content, entries) =
                read_one(cx, &mut sets.live, node, key).unwrap_or((Content::Broken, 0));
            let empty = match &content {
                Content::Cidr(set) => set.is_empty(),
                Content::Port(set) => set.is_empty(),
                // It may be filled while it is in force.
                Content::Live(_) | Content::Broken => false,
            };
            if empty && sound {
                cx.sink
                    .warning(&codes::EMPTY_SET, key.span, format!("the set `{}` is empty", key.text))
                    .help("rules that name it match nothing, and rules with `!` in front of it everything");
            }
            sets.list.push(Set {
                name: key.text.to_string(),
                span: key.span,
                content,
                entries,
                used: false,
            });
        }
        sets
    }

    /// The set of `@name`; reports an unknown one.
    pub(super) fn find(&mut self, cx: &mut Cx<'_>, span: Span, name: &str) -> Option<&Content> {
        if name == SELF {
            return self.host(cx, span);
        }
        if name == BOGONS {
            return Some(
                self.bogons
                    .get_or_insert_with(|| Content::Cidr(addr::bogons())),
            );
        }
        if let Some(builtin) = name.strip_prefix("builtin/") {
            cx.sink
                .error(
                    &codes::UNKNOWN_BUILTIN,
                    span,
                    format!("unknown built-in set `@builtin/{}`", show(builtin)),
                )
                .help("built-in sets: @builtin/bogons");
            return None;
        }
        if let Some(at) = self.list.iter().position(|set| set.name == name) {
            self.list[at].used = true;
            return Some(&self.list[at].content);
        }
        let known: Vec<&str> = self.list.iter().map(|set| set.name.as_str()).collect();
        let error = cx.sink.error(
            &codes::UNKNOWN_SET,
            span,
            format!("set `{}` is not defined", show(name)),
        );
        if known.is_empty() {
            error.help(format!(
                "define it: `sets: {{{}: {{type: cidr, elements: [...]}}}}`",
                show(name)
            ));
        } else {
            let near = suggest::nearest(name, known.iter().copied());
            let near = near.map_or(String::new(), |near| {
                format!("did you mean `@{}`? ", show(near))
            });
            error.help(format!("{near}defined sets: {}", suggest::listed(&known)));
        }
        None
    }

    /// `@self`: the host's own addresses, which the daemon keeps up to date.
    fn host(&mut self, cx: &mut Cx<'_>, span: Span) -> Option<&Content> {
        if self.host.is_none() {
            let set = LiveSet {
                name: SELF.into(),
                max: HOST_MAX,
                timeout: None,
                content: AddrSet::none(),
            };
            let number = add_live(cx, &mut self.live, span, set)?;
            self.host = Some(Content::Live(number));
        }
        self.host.as_ref()
    }

    /// The live sets, in the order of their numbers, and the fixed sets of addresses.
    pub(super) fn into_parts(self) -> (Vec<LiveSet>, Vec<FixedSet>) {
        let bogons = (BOGONS.to_owned(), Content::Cidr(addr::bogons()));
        let fixed = self.list.into_iter().map(|set| (set.name, set.content));
        let fixed = fixed
            .chain([bogons])
            .filter_map(|(name, content)| match content {
                Content::Cidr(addresses) => Some(FixedSet { name, addresses }),
                _ => None,
            });
        (self.live, fixed.collect())
    }

    /// How large each set is.
    pub(super) fn sizes(&self) -> Vec<SetSize> {
        let size = |set: &Set| SetSize {
            name: set.name.clone(),
            entries: set.entries,
            ranges: match &set.content {
                Content::Cidr(ranges) => ranges.len() as u64,
                Content::Port(ranges) => ranges.ranges().len() as u64,
                Content::Live(number) => self.live[*number as usize].content.len() as u64,
                Content::Broken => 0,
            },
        };
        self.list.iter().map(size).collect()
    }

    /// What is in those that are not live, by name; they share their ranges with the rules.
    pub(super) fn elements(&self) -> Vec<(String, Elements)> {
        let elements = |set: &Set| {
            let elements = match &set.content {
                Content::Cidr(addresses) => Elements::Addresses(addresses.clone()),
                Content::Port(ports) => Elements::Ports(ports.clone()),
                Content::Live(_) | Content::Broken => return None,
            };
            Some((set.name.clone(), elements))
        };
        self.list.iter().filter_map(elements).collect()
    }

    /// Warns about sets that no rule names.
    pub(super) fn warn_unused(&self, cx: &mut Cx<'_>) {
        let unused = |set: &&Set| !set.used && !matches!(set.content, Content::Live(_));
        for set in self.list.iter().filter(unused) {
            cx.sink
                .warning(
                    &codes::UNUSED_SET,
                    set.span,
                    format!("no rule uses the set `{}`", set.name),
                )
                .help(format!(
                    "use it with `from: \"@{}\"`, or remove it",
                    set.name
                ));
        }
    }
}

/// A set, and how many entries it is written with.
fn read_one(
    cx: &mut Cx<'_>,
    live_sets: &mut Vec<LiveSet>,
    node: &Node<'_>,
    key: &Key<'_>,
) -> Option<(Content, u64)> {
    let name: &str = &key.text;
    if bare_set(&mut cx.sink, node, name) {
        return None;
    }
    let table = Table::read(cx, node, &KEYS)?;
    let kind = table
        .require(cx, "type", "`type: cidr` or `type: port`")
        .and_then(|node| {
            word(
                cx,
                node,
                "type",
                &[("cidr", Kind::Cidr), ("port", Kind::Port)],
                &[],
            )
        });
    let max = match table.get("max") {
        Some(node) => integer(cx, node, "max", 1, MOST),
        None => Some(DEFAULT_MAX),
    };
    let is_live = match table.get("live") {
        Some(node) => boolean(cx, node, "live")?,
        None => false,
    };
    if name == SELF {
        no_live_set(
            cx,
            key.span,
            "`self` is the name of the host's own addresses",
        )
        .help("choose another name");
        return None;
    }
    if is_live && name == BANNED {
        no_live_set(cx, key.span, "`banned` is reserved for the set of bans")
            .help("choose another name: banned packets are dropped before any rule is evaluated");
        return None;
    }
    if is_live {
        return live(cx, live_sets, &table, key, kind?, max?);
    }
    if let Some((span, _)) = table.entry("timeout") {
        no_live_set(cx, span, "`timeout` without `live: true`")
            .help("add `live: true`: entries of other sets stand in the policy and do not end");
        return None;
    }
    if table.get("elements").is_none() && table.get("file").is_none() {
        cx.sink
            .error(
                &codes::SET_WITHOUT_ELEMENTS,
                table.span(),
                format!("the set `{}` has no elements", show(name)),
            )
            .help("add `elements: [...]` or `file: PATH`; an empty set is `elements: []`");
        return None;
    }
    let (kind, max) = (kind?, max?);
    match kind {
        Kind::Cidr => cidr(cx, &table, name, max).map(|(set, n)| (Content::Cidr(set), n)),
        Kind::Port => port(cx, &table, name, max).map(|(set, n)| (Content::Port(set), n)),
    }
}

fn cidr(cx: &mut Cx<'_>, table: &Table<'_, '_>, name: &str, max: u64) -> Option<(AddrSet, u64)> {
    let mut ranges = Ranges::default();
    let mut sound = true;
    for item in table.get("elements").map_or(&[][..], Node::items) {
        let Some(text) = element(
            cx,
            item,
            "an address or prefix",
            "an address such as 10.0.0.0/8",
        ) else {
            sound = false;
            continue;
        };
        if let Err(fault) = ranges.add(text) {
            cx.sink
                .error(fault.code, item.span, fault.message)
                .help(fault.help);
            sound = false;
        }
    }
    if let Some(node) = table.get("file") {
        let path = text(cx, node, "file")?;
        let limit = max.saturating_sub(ranges.len() as u64);
        sound &= set_file::read(cx, node.span, path, limit, &mut ranges);
    }
    let entries = ranges.len();
    sound &= fits(cx, table, name, entries, max);
    let set = sound.then(|| ranges.finish())?;
    cx.keep_ranges(table.span(), set.len())
        .then_some((set, entries as u64))
}

/// A set with `live: true`. Its elements in the policy are optional.
fn live(
    cx: &mut Cx<'_>,
    live: &mut Vec<LiveSet>,
    table: &Table<'_, '_>,
    key: &Key<'_>,
    kind: Kind,
    max: u64,
) -> Option<(Content, u64)> {
    if kind == Kind::Port {
        no_live_set(cx, key.span, "a set of ports cannot be live")
            .help("`live: true` goes with `type: cidr`");
        return None;
    }
    let timeout = match table.get("timeout") {
        None => None,
        Some(node) => {
            let expected = "`timeout` is a time such as 10m, 1h or 7d";
            let text = scalar(cx, node, expected, "`timeout: 1h`")?;
            let time = parse_one_unit(text).map(|time| time.as_secs());
            let Some(seconds) = time.filter(|seconds| (1..=LONGEST_STAY).contains(seconds)) else {
                no_live_set(cx, node.span, &format!("`{}` is not a time", show(text)))
                    .help("write 30s, 10m, 1h or 7d; at most 365d");
                return None;
            };
            Some(seconds)
        }
    };
    let max = if table.get("max").is_some() {
        max
    } else {
        LIVE_MAX
    };
    let (content, entries) = cidr(cx, table, &key.text, max)?;
    let number = add_live(
        cx,
        live,
        key.span,
        LiveSet {
            name: key.text.to_string(),
            max,
            timeout,
            content,
        },
    )?;
    Some((Content::Live(number), entries))
}

fn add_live(cx: &mut Cx<'_>, live: &mut Vec<LiveSet>, span: Span, set: LiveSet) -> Option<u32> {
    if live.len() == SETS {
        no_live_set(
            cx,
            span,
            &format!("more than {SETS} live sets, `@self` included"),
        )
        .help("sets that do not change need no `live: true`");
        return None;
    }
    live.push(set);
    Some(live.len() as u32 - 1)
}

fn no_live_set<'c>(cx: &'c mut Cx<'_>, span: Span, why: &str) -> &'c mut crate::diag::Diagnostic {
    cx.sink.error(&codes::LIVE_SET, span, why)
}

fn port(
    cx: &mut Cx<'_>,
    table: &Table<'_, '_>,
    name: &str,
    max: u64,
) -> Option<(RangeSet<u32>, u64)> {
    let domain = Domain {
        key: "port",
        first: 1,
        last: 65_535,
        example: "a port (443), a range (8000-8010) or a service name (https)",
        names: Names::Services(None),
    };
    let mut ranges = Vec::new();
    let mut sound = true;
    if let Some((key, _)) = table.entry("file") {
        cx.sink
            .error(
                &codes::SET_FILE_TYPE,
                key,
                "a set of ports cannot come from a file",
            )
            .help("write `elements: [53, 123]`");
        sound = false;
    }
    for item in table.get("elements").map_or(&[][..], Node::items) {
        let read = element(cx, item, "a port", domain.example)
            .and_then(|text| number::element(cx, item.span, text, &domain, &mut Sets::default()));
        match read {
            Some(more) => ranges.extend(more),
            None => sound = false,
        }
    }
    let entries = ranges.len();
    sound &= fits(cx, table, name, entries, max);
    sound.then(|| (RangeSet::from_ranges(ranges), entries as u64))
}

/// An element's text; sets hold no sets and no negations.
fn element<'n>(cx: &mut Cx<'_>, item: &'n Node<'_>, what: &str, example: &str) -> Option<&'n str> {
    let text = scalar(cx, item, &format!("an element is {what}"), example)?;
    if text.starts_with(['@', '!']) {
        cx.sink
            .error(
                &codes::SET_ELEMENT,
                item.span,
                format!("`{}` cannot stand in a set", show(text)),
            )
            .help("a set holds plain values; combine sets in the rule: `from: [\"@a\", \"@b\", \"!@c\"]`");
        return None;
    }
    Some(text)
}

fn fits(cx: &mut Cx<'_>, table: &Table<'_, '_>, name: &str, count: usize, max: u64) -> bool {
    if count as u64 <= max {
        return true;
    }
    let span = table
        .get("elements")
        .or_else(|| table.get("file"))
        .map_or(table.span(), |n| n.span);
    cx.sink
        .error(
            &codes::SET_FULL,
            span,
            format!(
                "the set `{}` has more than {max} entries, its `max`",
                show(name)
            ),
        )
        .help(format!("raise `max` (at most {MOST}), or shorten the list"));
    false
}
