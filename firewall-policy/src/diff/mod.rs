//! The difference of two policies as sets of packets: those newly passed and newly dropped, and
//! by which rules. Never a difference of lines: policies that mean the same have none.
//!
//! ```text
//! rules that only one of the two has ─► their boxes ─► taken apart by both lists of rules
//!                                                       └─► boxes with two verdicts ─► merged
//! ```
//!
//! A packet that matches no rule but common ones, in common order, has the same verdict in both;
//! so only the boxes of the others are looked at. Under `tunnels: inner` that holds of the outer
//! headers and of the inner ones alike. May not import `oracle` nor `host`: tests hold it
//! against them.

mod link;
mod live;
mod regions;
mod words;

use crate::limit::Rate;
use crate::packet_text::PacketText;
use crate::range::RangeSet;
use crate::rule::{FrameKey, Mac, Policy, Rule};
use crate::space::reach::{Carried, Doors};
use crate::space::{Space, random};
use crate::time;
use firewall_common::abi::{PacketConfig, essential_bit, fragments, malformed, tunnels};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::{Action, Verdict};
use regions::ChangedBox;

/// What differs.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Settings outside of the rules: `packet.fragments: pass -> drop`.
    pub settings: Vec<String>,
    /// Packets whose verdict the rules change, in the order of the new policy's rules. They reach
    /// the rules under both policies' settings.
    pub regions: Vec<Region>,
    /// False if the search was given up: there may be more regions.
    pub complete: bool,
    /// Zone names of both policies; the index is the zone number in the regions' packets.
    pub zones: Vec<String>,
}

/// Who decides, and how.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Decided {
    /// Pass or drop.
    pub verdict: Verdict,
    /// The rule, by its index in its policy; `None`: the default.
    pub rule: Option<usize>,
}

/// Packets that one rule decides about in the old policy and another in the new one.
#[derive(Clone, Debug)]
pub struct Region {
    /// By the old policy.
    pub was: Decided,
    /// By the new policy.
    pub becomes: Decided,
    /// The packets, in words: `tcp port 8080 from 203.0.113.0/24`.
    pub packets: String,
    /// One of them.
    pub example: PacketText,
    v4: Vec<Space<u32>>,
    v6: Vec<Space<u128>>,
    /// Frames that are not IP: see [`crate::rule::frame_rules`].
    frames: Vec<Space<u32>>,
}

impl Difference {
    /// Whether the two policies mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.regions.is_empty() && self.complete
    }
}

impl Region {
    /// Packets of the region, drawn at random from `seed`; none of a region of frames that are not IP.
    /// Zones count as in [`Difference::zones`].
    #[must_use]
    pub fn draw(&self, count: usize, seed: u64) -> Vec<PacketKey> {
        let mut random = random(seed);
        let (four, six) = (self.v4.len(), self.v6.len());
        let count = if four + six == 0 { 0 } else { count };
        (0..count)
            .map(|_| {
                let at = (random() % (four + six) as u128) as usize;
                match self.v4.get(at) {
                    Some(space) => space.sample(&mut random),
                    None => self.v6[at - four].sample(&mut random),
                }
            })
            .collect()
    }

    /// Whether the region is of frames that are not IP.
    #[must_use]
    pub fn is_of_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Whether a frame that is not IP is in the region.
    #[must_use]
    pub fn contains_frame(&self, frame: &FrameKey) -> bool {
        let key = link::as_packet(frame);
        self.frames.iter().any(|space| space.contains(&key))
    }

    /// Whether an IP packet is in the region.
    #[must_use]
    pub fn contains(&self, key: &PacketKey) -> bool {
        match key.family() {
            Family::V4 => self.v4.iter().any(|space| space.contains(key)),
            Family::V6 => self.v6.iter().any(|space| space.contains(key)),
        }
    }
}

/// What becomes different when `new` takes the place of `old`.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Difference {
    let found = link::aligned(old, new).and_then(|(old, new)| {
        let (old, new) = live::aligned(&old, &new)?;
        Some(of_aligned(&old, &new))
    });
    Difference {
        settings: settings(old, new),
        ..found.unwrap_or_default()
    }
}

/// As [`diff`], of policies with the same live sets in the same order; without settings.
fn of_aligned(old: &Policy, new: &Policy) -> Difference {
    let mut zones = old.zones.clone();
    for zone in &new.zones {
        if !zones.contains(zone) {
            zones.push(zone.clone());
        }
    }
    let doors = Doors::of_both(old, new, zones.len() as u32);
    let mut difference = Difference {
        complete: true,
        zones,
        ..Difference::default()
    };
    let v4 = family::<u32>(old, new, &doors.boxes(), &mut difference);
    let v6 = family::<u128>(old, new, &doors.boxes(), &mut difference);
    let mut regions: Vec<Region> = Vec::new();
    for found in v4 {
        let key = found.parts[0].typical();
        regions.push(Region {
            was: found.was,
            becomes: found.becomes,
            packets: found.words,
            example: example(&key, &difference, &new.macs),
            v4: found.parts,
            v6: Vec::new(),
            frames: Vec::new(),
        });
    }
    for found in v6 {
        // What is said in the same words of both families is one region.
        let twin = regions.iter_mut().find(|region| {
            region.v6.is_empty()
                && (&region.was, &region.becomes, &region.packets)
                    == (&found.was, &found.becomes, &found.words)
        });
        if let Some(region) = twin {
            region.v6 = found.parts;
            continue;
        }
        let key = found.parts[0].typical();
        regions.push(Region {
            was: found.was,
            becomes: found.becomes,
            packets: found.words,
            example: example(&key, &difference, &new.macs),
            v4: Vec::new(),
            v6: found.parts,
            frames: Vec::new(),
        });
    }
    for region in &mut regions {
        // Where addresses are named, they tell the family.
        if region.v4.is_empty() != region.v6.is_empty()
            && !region.packets.contains("from ")
            && !region.packets.contains("to ")
        {
            let family = if region.v6.is_empty() { "IPv4" } else { "IPv6" };
            region.packets = format!("{family} {}", region.packets);
        }
    }
    regions.extend(link::regions(old, new, &doors, &mut difference));
    let end = |rule: Option<usize>| rule.unwrap_or(usize::MAX);
    regions.sort_by_key(|region| (end(region.becomes.rule), end(region.was.rule)));
    difference.regions = regions;
    difference
}

/// A packet as text, with zones and MAC addresses by their common numbers.
fn example(key: &PacketKey, difference: &Difference, macs: &[Mac]) -> PacketText {
    PacketText {
        mac: macs.get(key.field(Field::Mac) as usize).copied(),
        ..PacketText::of_key(key, &difference.zones)
    }
}

fn family<T: Carried + std::hash::Hash>(
    old: &Policy,
    new: &Policy,
    doors: &[Space<T>],
    difference: &mut Difference,
) -> Vec<ChangedBox<T>> {
    let zones = &difference.zones;
    let side = |policy: &Policy| regions::Side {
        rules: policy
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.enabled)
            .filter_map(|(index, rule)| {
                regions::Deciding::of(index, rule, zone_map(policy, zones, rule))
            })
            .collect(),
        default: policy.default_verdict,
    };
    let sets: Vec<String> = old.live.iter().map(|set| set.name.clone()).collect();
    let (found, complete) = regions::find(&side(old), &side(new), doors);
    difference.complete &= complete;
    let mut found = regions::merge(found);
    for region in &mut found {
        region.words = words::of(&region.space, doors, zones, (&sets, &new.macs));
        region.parts = doors
            .iter()
            .filter_map(|door| region.space.and(door))
            .collect();
    }
    found
}

/// The zones that a rule accepts, by their numbers in `zones`. A zone that the policy does not have
/// is no zone to it.
fn zone_map(policy: &Policy, zones: &[String], rule: &Rule) -> RangeSet<u32> {
    let accepted = rule.matches.field(Field::Zone);
    if rule.matches.is_any(Field::Zone) {
        return accepted.clone();
    }
    let ranges = zones.iter().enumerate().filter_map(|(number, name)| {
        let own = policy.zones.iter().position(|zone| zone == name);
        accepted
            .contains(own.unwrap_or(0) as u32)
            .then_some((number as u32, number as u32))
    });
    RangeSet::from_ranges(ranges.collect())
}

/// Differences outside of the rules, in words.
fn settings(old: &Policy, new: &Policy) -> Vec<String> {
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
    for (name, bit) in [
        ("arp", essential_bit::ARP),
        ("neighbour", essential_bit::NEIGHBOUR),
        ("multicast", essential_bit::MULTICAST),
        ("icmp_error", essential_bit::ICMP_ERROR),
        ("dhcp", essential_bit::DHCP),
        ("link", essential_bit::LINK),
        ("igmp", essential_bit::IGMP),
    ] {
        let on = |policy: &Policy| (policy.essential & bit != 0).to_string();
        line(&format!("essential.{name}"), on(old), on(new));
    }
    for (knob, old, new) in knobs(&old.packet, &new.packet) {
        line(knob, old, new);
    }
    let flows = |policy: &Policy| {
        let flows = policy.flows.map(|flows| flows.to_string());
        flows.unwrap_or_else(|| "(not named)".to_owned())
    };
    line("state.flows", flows(old), flows(new));
    line("interfaces", interfaces(old), interfaces(new));
    lines.extend(limits(old, new));
    lines.extend(logs(old, new));
    lines.extend(live::settings(old, new));
    lines.extend(expiries(old, new));
    lines
}

/// The knobs of `packet`, each with the old and the new word.
fn knobs(a: &PacketConfig, b: &PacketConfig) -> [(&'static str, String, String); 6] {
    let verdict = |number: u32| Verdict(number as u8).to_string();
    let word = |is_first: bool, first: &str, second: &str| {
        if is_first { first } else { second }.to_owned()
    };
    let malformed = |number: u32| word(number == malformed::RULES, "rules", "drop");
    let fragments = |number: u32| word(number == fragments::DROP, "drop", "pass");
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

/// Rules with rate limits that are not the same in both. Packets count as within their limits
/// everywhere else, so that regions say nothing of them.
fn limits(old: &Policy, new: &Policy) -> Vec<String> {
    let limited = |rule: &&Rule| rule.enabled && (rule.limit.is_some() || rule.syn_protect);
    let named = |policy: &'_ Policy, name: &str| {
        let found = policy.rules.iter().filter(limited).find(|r| r.name == name);
        found.cloned()
    };
    let words = |rule: &Option<Rule>| match rule {
        None => "none".to_owned(),
        Some(rule) => {
            let over = match rule.limit.as_ref().map(|limit| limit.over) {
                Some(Action::NEXT) => ", over: next",
                Some(Action::REJECT) => ", over: reject",
                _ => "",
            };
            let protect = if rule.syn_protect {
                ", syn_protect: auto"
            } else {
                ""
            };
            format!("{}, {}{over}{protect}", rule.summary, rule.action)
        }
    };
    let meaning = |rule: &Rule| {
        let matches = rule.matches.clone();
        (rule.limit.clone(), rule.syn_protect, matches, rule.action)
    };
    let gone = old.rules.iter().filter(limited);
    let fresh = new.rules.iter().filter(limited);
    let fresh = fresh.filter(|rule| named(old, &rule.name).is_none());
    gone.chain(fresh)
        .map(|rule| (&rule.name, named(old, &rule.name), named(new, &rule.name)))
        .filter(|(_, a, b)| a.as_ref().map(meaning) != b.as_ref().map(meaning))
        .map(|(name, a, b)| format!("limit of rule `{name}`: {} -> {}", words(&a), words(&b)))
        .collect()
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

#[cfg(test)]
mod tests;
