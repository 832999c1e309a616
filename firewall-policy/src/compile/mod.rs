//! From rules to tables: cuts every match field into classes, combines small fields into lanes,
//! and writes what [`firewall_common::classify`] walks.
//!
//! ```text
//! rules ─► sweep (intervals) ─► fields (lanes) ─► encode (rows) ─► Tables
//!             └── rows: equal sets of rules are stored once        └─ addr (lookup forms)
//! ```
//!
//! The result depends on the policy and the slots only. Nothing is ever cut off: a policy that is
//! too large is a [`LimitError`].

mod addr;
mod blob;
mod contents;
mod encode;
mod fields;
mod frames;
mod hash;
mod limits;
mod lists;
mod rows;
mod sweep;
mod worst;

use crate::prefixes::prefixes;
use crate::range::{Number, RangeSet};
use crate::rule::{AddrSet, Policy, Rule};
use crate::tables::{Tables, WorstPacket};
use addr::Address;
use blob::Blob;
use encode::{Encoder, Layout, NODE};
use firewall_common::abi::{
    ABI_VERSION, AddrConfig, Config, Entry, FRAGMENT_MS, FamilyConfig, essential_bit,
};
use firewall_common::classify::LANES;
use firewall_common::field::Field;
use firewall_common::flows::{self, ASKED_SIZE, FLOWS_SIZE, SYNS_SIZE, state_field};
use firewall_common::key::Family;
use firewall_common::live;
use firewall_common::parse::proto;
use firewall_common::verdict::{Action, Verdict};
use lists::{Listed, Side};
use rows::{RowId, Rows};

/// How many rules of one family a policy can have: three levels of 64.
pub const MAX_RULES: usize = 64 * 64 * 64;

/// How many bytes the tables can have.
pub const MAX_TABLES: usize = 256 << 20;

/// A limit that the policy exceeds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} has {needed}, the limit is {limit}")]
pub struct LimitError {
    /// What is too large.
    pub what: String,
    /// How many there are.
    pub needed: u64,
    /// How many there may be.
    pub limit: u64,
}

/// Compiles a policy. `slots[i]` is the slot of counter `i` of [`Policy::counters`]: of every rule,
/// and of what is over each limit.
///
/// # Errors
/// The limit that the policy exceeds; nothing is ever cut off silently.
pub fn compile(policy: &Policy, slots: &[u32]) -> Result<Tables, LimitError> {
    limit(
        "the list of rules, for the given counter slots,",
        policy.rules.len() + policy.limits().count() + policy.logs().count(),
        slots.len(),
    )?;
    let mut blob = Blob::new();
    let entries = entries(policy, slots);
    let mut worst = [Family::V4, Family::V6].map(|family| worst::rules(policy, family));
    let v4 = family(
        "ipv4",
        &FamilyRules::collect(policy, &entries, |set| &set.v4),
        &mut blob,
        &mut worst[0],
    )?;
    let v6 = family(
        "ipv6",
        &FamilyRules::collect(policy, &entries, |set| &set.v6),
        &mut blob,
        &mut worst[1],
    )?;
    let mut limits = Config::default();
    limits::write(policy, slots, &mut blob, &mut limits)?;
    frames::write(policy, &entries, &mut blob, &mut limits)?;
    contents::write(policy, &mut blob, &mut limits);
    let (bytes, report) = blob.finish()?;
    let looks_at = |field| {
        let mut rules = policy.rules.iter();
        u32::from(rules.any(|rule| rule.enabled && !rule.matches.is_any(field)))
    };
    let tracks = policy.tracks_connections();
    let asked = policy.essential & essential_bit::ASKED;
    let config = Config {
        flows: u32::from(tracks),
        related: u32::from(policy.tells_related()),
        asks_rules: u32::from(tracks && !policy.tells_related() && lets_udp_in(policy)),
        flows_size: match tracks {
            true => flows_size(policy),
            false if asked != 0 => ASKED_SIZE,
            false => 0,
        },
        syns_size: u32::from(tracks) * SYNS_SIZE,
        asked,
        exempt: u32::from(!policy.exempt.is_empty()),
        abi_version: ABI_VERSION,
        tables_size: bytes.len() as u32,
        default_verdict: u32::from(policy.default_verdict.0),
        audit: u32::from(policy.audit),
        essential: policy.essential,
        has_next: u32::from(goes_on(policy)),
        packet: policy.packet,
        fragment_ms: FRAGMENT_MS,
        live_size: live_size(policy)?,
        live_ids: live_ids(policy),
        live_source: looks_at(Field::SourceSets),
        live_destination: looks_at(Field::DestinationSets),
        v4,
        v6,
        ..limits
    };
    Ok(Tables {
        bytes,
        config,
        live: policy.live.iter().map(|set| set.content.clone()).collect(),
        exempt: policy.exempt.clone(),
        stations: Vec::new(),
        report,
        worst,
    })
}

/// Whether some IP packet can go on behind a rule that it matches.
fn goes_on(policy: &Policy) -> bool {
    let is_of_ip = |rule: &&Rule| rule.enabled && !rule.matches.is_of_frames();
    let mut rules = policy.rules.iter().filter(is_of_ip);
    rules.any(|rule| !rule.always_decides())
}

/// Whether a UDP packet that belongs to nothing may pass, if not by a limit, and it is known by what
/// leaves whether its answer will: not where a rule looks at what only the answer itself says.
fn lets_udp_in(policy: &Policy) -> bool {
    let looks_further = |rule: &Rule| {
        rule.enabled
            && !rule.matches.is_of_frames()
            && rule.matches.field(Field::Proto).contains(proto::UDP)
            && Field::ALL
                .into_iter()
                .any(|field| !field.is_predicted() && !rule.matches.is_any(field))
    };
    if policy.rules.iter().any(looks_further) {
        return false;
    }
    let lets_in = |rule: &Rule| {
        rule.enabled
            && !rule.matches.is_of_frames()
            && rule.action == Action::PASS
            && rule.limit.is_none()
            && rule.matches.content.is_none()
            && rule.matches.field(Field::Proto).contains(proto::UDP)
            && rule.matches.field(Field::State).contains(state_field::NEW)
    };
    policy.default_verdict == Verdict::PASS || policy.rules.iter().any(lets_in)
}

/// Bytes of the table of live sets: room for bans, and for each set's `max` twice, because a set can
/// be replaced as a whole; five eighths of it full at most.
fn live_size(policy: &Policy) -> Result<u32, LimitError> {
    // What is exempt takes no room from bans, either.
    let exempt = prefixes(&policy.exempt).count() as u64;
    let sets: u64 = policy
        .live
        .iter()
        .map(|set| set.max.saturating_mul(2))
        .fold(exempt, u64::saturating_add);
    let slots = match sets {
        0 => u64::from(live::FEWEST),
        sets => sets
            .saturating_add(live::BANS)
            .saturating_mul(8)
            .div_ceil(5),
    };
    limit(
        "the table of live sets, with room to replace each as a whole,",
        usize::try_from(slots).unwrap_or(usize::MAX),
        live::MOST as usize,
    )?;
    Ok(slots.next_power_of_two() as u32 * live::BYTES_PER_SLOT)
}

/// Bytes of the table of flows: room for as many as the policy asks for, beside the first set of each
/// half, which has no flows.
fn flows_size(policy: &Policy) -> u32 {
    policy.flows.map_or(FLOWS_SIZE, flows::size_for)
}

/// The numbers of the live sets until the engine gives them others: in the policy's order.
fn live_ids(policy: &Policy) -> [u32; live::SETS] {
    std::array::from_fn(|i| {
        if i < policy.live.len() {
            i as u32 + 1
        } else {
            0
        }
    })
}

fn limit(what: &str, needed: usize, limit: usize) -> Result<(), LimitError> {
    if needed <= limit {
        return Ok(());
    }
    Err(LimitError {
        what: what.to_owned(),
        needed: needed as u64,
        limit: limit as u64,
    })
}

/// What the match of each rule leads to.
fn entries(policy: &Policy, slots: &[u32]) -> Vec<Entry> {
    let mut limits = 0;
    let rules = policy.rules.iter().zip(slots);
    rules
        .map(|(rule, &slot)| {
            let action = if rule.syn_protect && !policy.audit {
                Action::PROTECT
            } else {
                rule.action
            };
            let mut entry = Entry::new(slot, action);
            if rule.is_gated() {
                entry = entry.with_limit(limits).limited();
                limits += 1;
            }
            entry
        })
        .collect()
}

/// The rules that can match one family's packets, field by field, in policy order.
struct FamilyRules<'a, T> {
    src: Vec<&'a RangeSet<T>>,
    dst: Vec<&'a RangeSet<T>>,
    fields: [Vec<&'a RangeSet<u32>>; Field::COUNT],
    entries: Vec<Entry>,
}

impl<'a, T: Number> FamilyRules<'a, T> {
    fn collect(
        policy: &'a Policy,
        entries: &[Entry],
        half: impl Fn(&'a AddrSet) -> &'a RangeSet<T>,
    ) -> Self {
        let mut rules = Self {
            src: Vec::new(),
            dst: Vec::new(),
            fields: Default::default(),
            entries: Vec::new(),
        };
        for (rule, &entry) in policy.rules.iter().zip(entries) {
            let Rule {
                enabled, matches, ..
            } = rule;
            let (src, dst) = (half(&matches.src), half(&matches.dst));
            let never =
                src.is_empty() || dst.is_empty() || matches.fields.iter().any(RangeSet::is_empty);
            if !enabled || never {
                continue;
            }
            rules.src.push(src);
            rules.dst.push(dst);
            for (sets, set) in rules.fields.iter_mut().zip(&matches.fields) {
                sets.push(set);
            }
            rules.entries.push(entry);
        }
        rules
    }

    /// Some of the rules, by number, to be kept in rows.
    fn some(&self, numbers: &[u32]) -> Self {
        fn pick<V: Copy>(numbers: &[u32], list: &[V]) -> Vec<V> {
            numbers.iter().map(|&i| list[i as usize]).collect()
        }
        Self {
            src: pick(numbers, &self.src),
            dst: pick(numbers, &self.dst),
            fields: self.fields.each_ref().map(|sets| pick(numbers, sets)),
            entries: pick(numbers, &self.entries),
        }
    }
}

/// Compiles one family's classifier.
fn family<T: Address>(
    name: &str,
    rules: &FamilyRules<'_, T>,
    blob: &mut Blob,
    worst: &mut WorstPacket,
) -> Result<FamilyConfig, LimitError> {
    let count = rules.entries.len();
    if count == 0 {
        return Ok(FamilyConfig::default());
    }
    limit(
        &format!("the policy's list of {name} rules"),
        count,
        MAX_RULES,
    )?;

    let listed = lists::divide(rules);
    let everything = std::array::from_fn(|i| RangeSet::of(0, Field::ALL[i].none()));
    let (in_rows, layout) = match &listed {
        Some(listed) => in_rows(rules, &listed.rest, &listed.profiles, &everything),
        None => (rules.some(&[]), Layout::of_rules(count)),
    };
    let in_rows = if listed.is_some() { &in_rows } else { rules };

    let mut rows = Rows::new((layout.rules + layout.profiles) * 64);
    let [src_lists, dst_lists] = listed.as_ref().map_or([None; 2], Listed::sides);
    let src = intervals(&in_rows.src, src_lists.is_some(), &mut rows)?;
    rows.check_written()?;
    let dst = intervals(&in_rows.dst, dst_lists.is_some(), &mut rows)?;
    rows.check_written()?;
    // Without any lane there would be no row to start from.
    let addresses = usize::from(src.is_some()) + usize::from(dst.is_some());
    let lanes = fields::plan(in_rows, &mut rows, addresses == 0, LANES - addresses)?;

    let levels = levels(in_rows.src.len());
    let entries = blob.align(64);
    rules.entries.iter().for_each(|&entry| blob.put(entry));
    blob.report(format!("{name} rules"), count, entries);
    let mut config = FamilyConfig {
        rules: count as u32,
        listed: u32::from(listed.is_some()),
        entries: entries as u32,
        levels,
        lanes: (addresses + lanes.len()) as u32,
        ..FamilyConfig::default()
    };
    if let Some(listed) = &listed {
        config.order = write_order(name, &listed.rest, blob);
    }
    let mut lookups = AddressLanes {
        name,
        entries: &rules.entries,
        encoder: Encoder::new(&rows, levels, layout),
        reads: worst::Reads::default(),
    };
    config.src = lookups.write(src, src_lists, "source address", blob);
    config.dst = lookups.write(dst, dst_lists, "destination address", blob);
    let AddressLanes {
        mut encoder, reads, ..
    } = lookups;
    for lane in lanes {
        lane.write(blob, &mut encoder, name, &mut config.fields);
    }
    let asks = rules.entries.iter().any(|entry| entry.is_limited());
    reads.finish(&mut config, encoder.fewest, asks, worst);
    Ok(config)
}

/// Writes the numbers of the rules that are bits of rows, and returns where.
fn write_order(name: &str, rest: &[u32], blob: &mut Blob) -> u32 {
    let order = blob.align(64);
    rest.iter().for_each(|&number| blob.u32(number));
    blob.report(format!("{name} rules in rows"), rest.len(), order);
    order as u32
}

/// Writes a family's lookups of addresses, and adds up what they read.
struct AddressLanes<'r> {
    name: &'r str,
    entries: &'r [Entry],
    encoder: Encoder<'r>,
    reads: worst::Reads,
}

impl AddressLanes<'_> {
    /// The lookup of one address, if a rule looks at it; with its lists, if it has some.
    fn write<T: Address>(
        &mut self,
        intervals: Option<Vec<(T, RowId)>>,
        lists: Option<&Side<T>>,
        what: &str,
        blob: &mut Blob,
    ) -> AddrConfig {
        let Some(intervals) = intervals else {
            return AddrConfig::default();
        };
        let what = format!("{} {what}", self.name);
        let used = intervals.iter().map(|&(_, row)| row);
        let rows = self.encoder.lane(blob, &what, used, false);
        let Some(lists) = lists else {
            let config = T::encode(&intervals, rows, blob, &what);
            self.reads.address(&config, intervals.len(), blob);
            return config;
        };
        let (intervals, blocks) = lists.write(&intervals, &rows, self.entries, blob, &what);
        let config = AddrConfig {
            lists: 1,
            ..T::encode(&intervals, blocks, blob, &what)
        };
        self.reads.address(&config, intervals.len(), blob);
        self.reads.list::<T>(lists.longest());
        config
    }
}

/// How many levels the rows of so many rules have.
const fn levels(rules: usize) -> u32 {
    match rules {
        0..=64 => 1,
        65..=4_096 => 2,
        _ => 3,
    }
}

impl Layout {
    /// `rules` rules and nothing else.
    fn of_rules(rules: usize) -> Self {
        Self {
            rules: rules.div_ceil(64).max(1),
            profiles: 0,
        }
    }
}

/// What the rows are about if some rules are in lists: the others, by number, and behind them the
/// profiles, of each a rule that has it. Between the two, up to the end of a word (of a node, if
/// there is more than one), is room that no address row reaches.
fn in_rows<'a, T: Number>(
    rules: &FamilyRules<'a, T>,
    rest: &[u32],
    profiles: &[u32],
    everything: &'a [RangeSet<u32>; Field::COUNT],
) -> (FamilyRules<'a, T>, Layout) {
    let mut some = rules.some(rest);
    let mut words = Layout::of_rules(rest.len()).rules;
    if words > NODE {
        words = words.next_multiple_of(NODE);
    }
    for ((sets, all), everything) in some.fields.iter_mut().zip(&rules.fields).zip(everything) {
        sets.resize(words * 64, everything);
        sets.extend(profiles.iter().map(|&rule| all[rule as usize]));
    }
    let layout = Layout {
        rules: words,
        profiles: profiles.len().div_ceil(64),
    };
    (some, layout)
}

/// The intervals of an address field, if any rule looks at it, or if it is `needed`.
fn intervals<T: Number + std::hash::Hash>(
    sets: &[&RangeSet<T>],
    needed: bool,
    rows: &mut Rows,
) -> Result<Option<Vec<(T, RowId)>>, LimitError> {
    let looked_at = needed || sets.iter().any(|set| !set.is_full());
    looked_at.then(|| sweep::intervals(sets, rows)).transpose()
}
