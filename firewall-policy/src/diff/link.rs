//! The link layer of two policies: one numbering of MAC addresses for both, and the frames that are not
//! IP of which they judge differently.

use super::{Decided, Difference, Region, family, words};
use crate::packet_text::PacketText;
use crate::range::RangeSet;
use crate::rule::{FrameKey, Mac, Policy, frame_rules};
use crate::space::reach::Doors;
use crate::space::{Space, typical};
use crate::{fields, vocabulary};
use firewall_common::abi::MACS;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use std::borrow::Cow;

/// Both policies with the same MAC addresses in the same order, or `None` if those are too many.
pub(super) fn aligned<'a>(
    old: &'a Policy,
    new: &'a Policy,
) -> Option<(Cow<'a, Policy>, Cow<'a, Policy>)> {
    if old.macs == new.macs {
        return Some((Cow::Borrowed(old), Cow::Borrowed(new)));
    }
    let mut all = old.macs.clone();
    for &mac in &new.macs {
        if !all.contains(&mac) {
            all.push(mac);
        }
    }
    (all.len() <= MACS).then(|| (numbered(old, &all), numbered(new, &all)))
}

/// The policy with its MAC addresses in the order of `all`, where they all are.
fn numbered<'a>(policy: &'a Policy, all: &[Mac]) -> Cow<'a, Policy> {
    let mut new = policy.clone();
    new.macs = all.to_vec();
    for rule in &mut new.rules {
        if rule.matches.is_any(Field::Mac) {
            continue;
        }
        let accepted = rule.matches.field(Field::Mac);
        let own = |mac: &Mac| policy.macs.iter().position(|own| own == mac);
        let is_accepted = |mac: &Mac| own(mac).is_some_and(|at| accepted.contains(at as u32));
        let numbers = (0..).zip(all).filter(|(_, mac)| is_accepted(mac));
        let ranges = numbers.map(|(number, _)| (number, number)).collect();
        rule.matches.fields[Field::Mac as usize] = RangeSet::from_ranges(ranges);
    }
    Cow::Owned(new)
}

/// A frame in the form in which [`frame_rules`] are rules.
pub(super) fn as_packet(frame: &FrameKey) -> PacketKey {
    let mut key = PacketKey::empty(Family::V4);
    key.fields[Field::DestinationPort as usize] = frame.ethertype;
    for field in FrameKey::FIELDS {
        key.fields[field as usize] = frame.field(field);
    }
    key
}

/// Frames that are not IP, and of which the two policies judge differently.
pub(super) fn regions(
    old: &Policy,
    new: &Policy,
    doors: &Doors,
    difference: &mut Difference,
) -> Vec<Region> {
    let as_packets = |policy: &Policy| Policy {
        rules: frame_rules(&policy.rules).unwrap_or_default(),
        ..policy.clone()
    };
    let sides = [old, new].map(as_packets);
    if sides.iter().all(|side| side.rules.is_empty()) {
        return Vec::new();
    }
    let doors = doors.frames();
    let found = family::<u32>(&sides[0], &sides[1], &doors, difference);
    let regions = found.into_iter().map(|found| {
        let key = typical(&found.parts);
        let frame = FrameKey {
            ethertype: key.field(Field::DestinationPort),
            vlan: key.field(Field::Vlan),
            zone: key.field(Field::Zone),
            mac: key.field(Field::Mac),
        };
        let (was, becomes): (Decided, Decided) = (found.was, found.becomes);
        Region {
            was,
            becomes,
            packets: in_words(&found.space, &doors, &difference.zones, &new.macs),
            example: example(&frame, &difference.zones, &new.macs),
            v4: Vec::new(),
            v6: Vec::new(),
            frames: found.parts,
        }
    });
    regions.collect()
}

fn example(frame: &FrameKey, zones: &[String], macs: &[Mac]) -> PacketText {
    let usual = PacketText::frame_of(frame.ethertype);
    let from = macs.get(frame.mac as usize).copied();
    PacketText {
        mac: from,
        kind: usual.kind,
        ..PacketText::of_frame(frame, (Mac(0), Mac(0)), zones)
    }
}

/// A box of frames: `ethertype lldp in zone lan`. `doors` are the frames that there are.
fn in_words(space: &Space<u32>, doors: &[Space<u32>], zones: &[String], macs: &[Mac]) -> String {
    let of_doors = |field: Field| {
        let all = doors.iter().map(|door| door.field(field));
        all.fold(RangeSet::empty(), |sum, values| sum.union(values))
    };
    let mut parts = Vec::new();
    for field in [Field::DestinationPort, Field::Zone, Field::Vlan, Field::Mac] {
        let possible = of_doors(field);
        let accepted = space.field(field).intersection(&possible);
        if accepted == possible {
            continue;
        }
        let row = fields::of(field);
        parts.push(match field {
            Field::DestinationPort => {
                let name = |value| vocabulary::ethertype(value);
                format!("ethertype {}", words::list(&accepted, field.none(), &name))
            }
            Field::Mac => format!("{} {}", row.word, words::mac_words(&accepted, macs)),
            _ => {
                let name = |value| row.show(value, zones);
                format!(
                    "{} {}",
                    row.word,
                    words::list(&accepted, field.none(), &name)
                )
            }
        });
    }
    if parts.is_empty() {
        "frames that are not IP".into()
    } else {
        parts.join(" ")
    }
}
