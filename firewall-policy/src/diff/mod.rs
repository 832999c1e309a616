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

mod fallen;
mod link;
mod live;
mod regions;
mod settings;
mod words;

use crate::packet_text::PacketText;
use crate::range::RangeSet;
use crate::rule::{FrameKey, Policy, Rule};
use crate::space::reach::{Carried, Doors};
use crate::space::{Space, random, typical};
use firewall_common::field::{Field, state_field};
use firewall_common::key::{Family, PacketKey};
use firewall_common::parse::flag;
use firewall_common::verdict::Verdict;
use regions::ChangedBox;
use std::borrow::Cow;
use words::Words;

/// TCP ports by which hosts are managed: SSH, RDP, Kubernetes, Cockpit, Webmin and Proxmox, VNC.
const MANAGEMENT: [u32; 7] = [22, 3389, 6443, 9090, 10_000, 8_006, 5_900];

pub use fallen::{Fallen, Side, fallen, names_sources};

/// What differs.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Settings outside of the rules: `packet.fragments: pass -> drop`.
    pub settings: Vec<String>,
    /// Packets whose verdict the rules change: those by which hosts are managed first, then in the order of
    /// the new policy's rules. They reach the rules under both policies' settings.
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

    /// Whether connections by which hosts are managed are among the packets.
    fn is_of_management(&self) -> bool {
        fn holds<T>(space: &Space<T>, port: u32) -> bool
        where
            T: crate::space::Address,
        {
            space.field(Field::DestinationPort).contains(port)
                && space.field(Field::Proto).contains(6)
                && space.field(Field::TcpFlags).contains(flag::SYN)
        }
        MANAGEMENT.iter().any(|&port| {
            self.v4.iter().any(|space| holds(space, port))
                || self.v6.iter().any(|space| holds(space, port))
        })
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
        let tell = (old.tells_related(), new.tells_related());
        let old = telling(old, tell == (false, true));
        let new = telling(new, tell == (true, false));
        Some(of_aligned(&old, &new))
    });
    Difference {
        settings: settings::of(old, new),
        ..found.unwrap_or_default()
    }
}

/// The policy, or if it does not tell what is related from what is new, and the other one does, the same in
/// that one's terms: its `new` holds both.
fn telling(policy: Cow<'_, Policy>, translates: bool) -> Cow<'_, Policy> {
    if !translates {
        return policy;
    }
    let mut policy = policy.into_owned();
    for rule in &mut policy.rules {
        let states = &mut rule.matches.fields[Field::State as usize];
        if states.contains(state_field::NEW) {
            *states = states.union(&RangeSet::of(state_field::RELATED, state_field::RELATED));
        }
    }
    Cow::Owned(policy)
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
    let mut regions = of_both_families(v4, v6, &difference, new);
    regions.extend(link::regions(old, new, &doors, &mut difference));
    let end = |rule: Option<usize>| rule.unwrap_or(usize::MAX);
    regions.sort_by_key(|region| {
        (
            !region.is_of_management(),
            end(region.becomes.rule),
            end(region.was.rule),
        )
    });
    difference.regions = regions;
    difference
}

/// The regions of both families: what differs in addresses only is one region.
fn of_both_families(
    v4: Vec<ChangedBox<u32>>,
    v6: Vec<ChangedBox<u128>>,
    difference: &Difference,
    new: &Policy,
) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    let mut skeletons: Vec<Words> = Vec::new();
    for found in v4 {
        regions.push(Region {
            was: found.was,
            becomes: found.becomes,
            packets: found.words.to_string(),
            example: example(&typical(&found.parts), difference, new),
            v4: found.parts,
            v6: Vec::new(),
            frames: Vec::new(),
        });
        skeletons.push(found.words);
    }
    for found in v6 {
        let twin = regions
            .iter_mut()
            .zip(&mut skeletons)
            .find(|(region, words)| {
                region.v6.is_empty()
                    && (&region.was, &region.becomes) == (&found.was, &found.becomes)
                    && words.folds_with(&found.words)
            });
        if let Some((region, words)) = twin {
            words.fold(&found.words);
            region.packets = words.to_string();
            region.v6 = found.parts;
            continue;
        }
        regions.push(Region {
            was: found.was,
            becomes: found.becomes,
            packets: found.words.to_string(),
            example: example(&typical(&found.parts), difference, new),
            v4: Vec::new(),
            v6: found.parts,
            frames: Vec::new(),
        });
        skeletons.push(found.words);
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
    regions
}

/// A packet as text, with zones, MAC addresses and live sets by their common numbers: without the sets that it
/// is in, `test` would judge another packet.
fn example(key: &PacketKey, difference: &Difference, new: &Policy) -> PacketText {
    let sets = |field: Field| -> Vec<String> {
        let mask = key.field(field);
        let live = new.live.iter().enumerate();
        let is_in = live.filter(|(at, _)| mask >> at & 1 == 1);
        is_in.map(|(_, set)| set.name.clone()).collect()
    };
    let packet = PacketText {
        mac: new.macs.get(key.field(Field::Mac) as usize).copied(),
        from_sets: sets(Field::SourceSets),
        to_sets: sets(Field::DestinationSets),
        ..PacketText::of_key(key, &difference.zones)
    };
    packet.without_usual()
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

#[cfg(test)]
mod tests;
