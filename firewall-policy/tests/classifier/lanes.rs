//! How small fields are put together into lanes, and what is stored once: what no single answer
//! shows, but every packet pays for.

use crate::large::{compiled, decided, policy};
use firewall_common::abi::field_mode;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Match;

const TOO_MANY: &str = "the number of match fields with too many different values to be combined \
                        has 5, the limit is 4";

fn only(field: Field, set: RangeSet<u32>) -> Match {
    let mut matches = Match::any();
    matches.fields[field as usize] = set;
    matches
}

fn value(field: Field, value: u32) -> Match {
    only(field, RangeSet::of(value, value))
}

/// Some lanes of the IPv4 tables.
fn lanes(matches: &[Match]) -> u32 {
    let tables = compiled(&policy(matches.iter().cloned()));
    tables.config.v4.lanes
}

#[test]
fn there_are_no_more_lanes_than_needed() {
    let mut from = Match::any();
    from.src.v4 = RangeSet::of(1, 2);
    let mut both = from.clone();
    both.dst.v4 = RangeSet::of(1, 2);
    let (port, proto) = (value(Field::SourcePort, 5), value(Field::Proto, 6));
    // Without any, there is one to start from.
    assert_eq!(lanes(&[Match::any()]), 1);
    assert_eq!(lanes(std::slice::from_ref(&from)), 1);
    assert_eq!(lanes(std::slice::from_ref(&both)), 2);
    assert_eq!(lanes(std::slice::from_ref(&proto)), 1);
    assert_eq!(lanes(&[proto.clone(), port.clone()]), 1);
    assert_eq!(lanes(&[from, proto.clone()]), 2);
    assert_eq!(lanes(&[both, proto, port]), 3);
}

#[test]
fn fields_that_cannot_be_combined() {
    // Five fields with so many different values that each needs a lane of its own.
    let fields = [
        Field::SourcePort,
        Field::DestinationPort,
        Field::Icmp,
        Field::Vlan,
        Field::Length,
    ];
    let rule = |index: u32| {
        let mut matches = Match::any();
        for field in fields {
            let value = index % field.none();
            matches.fields[field as usize] = RangeSet::of(value, value);
        }
        matches
    };
    let mut policy = policy((0..5_000).map(rule));
    policy.rules[4_999].matches.src.v4 = RangeSet::of(7, 9);
    let tables = compiled(&policy);
    assert_eq!((tables.config.v4.lanes, tables.config.v6.lanes), (6, 5));
    for index in 0..5_000 {
        let mut key = PacketKey::empty(Family::V4);
        for field in fields {
            key.fields[field as usize] = index % field.none();
        }
        assert_eq!(decided(&tables, &key), (index < 4_999).then_some(index));
        key.src_lo = 8;
        assert_eq!(decided(&tables, &key), Some(index));
        // Each lane counts.
        for field in fields {
            let mut key = key;
            key.fields[field as usize] = field.none();
            assert_eq!(decided(&tables, &key), None);
        }
    }
    // With both addresses there is one lane too few.
    policy.rules[4_999].matches.dst.v4 = RangeSet::of(7, 9);
    let slots: Vec<u32> = (0..5_000).collect();
    let error = compile(&policy, &slots).expect_err("a lane too many");
    assert_eq!(error.to_string(), TOO_MANY);
    // Of fewer values some fields are combined, at the price of tables of a million pairs and more.
    policy.rules.drain(..3_800);
    for rule in &mut policy.rules {
        // Two values each, so that what two fields leave over is a set that no field alone has.
        for (field, distance) in fields.into_iter().zip(1..) {
            let set = &mut rule.matches.fields[field as usize];
            let (value, _) = set.ranges()[0];
            let other = (value + 2 * distance).min(field.none() - 1);
            *set = RangeSet::from_ranges(vec![(value, value), (other, other)]);
        }
    }
    let tables = compiled(&policy);
    assert!(tables.config.v4.lanes <= 6);
    for (rule, index) in (3_800..5_000).enumerate() {
        let mut key = PacketKey::empty(Family::V4);
        (key.src_lo, key.dst_lo) = (8, 8);
        for field in fields {
            key.fields[field as usize] = index % field.none();
        }
        assert_eq!(decided(&tables, &key), Some(rule as u32));
        key.fields[Field::DestinationPort as usize] -= 1;
        assert_eq!(decided(&tables, &key), None);
    }
}

/// No more is combined than has to be: a large table costs cache misses.
#[test]
fn as_little_is_combined_as_will_do() {
    let fields = [
        (Field::SourcePort, 900),
        (Field::DestinationPort, 900),
        (Field::Icmp, 3_000),
        (Field::Vlan, 3_000),
        (Field::Length, 3_000),
    ];
    let rule = |index: u32| {
        let mut matches = Match::any();
        for ((field, values), distance) in fields.into_iter().zip(1..) {
            let value = index % values;
            let other = value + 2 * distance;
            matches.fields[field as usize] =
                RangeSet::from_ranges(vec![(value, value), (other, other)]);
        }
        (matches.src.v4, matches.dst.v4) = (RangeSet::of(1, 1), RangeSet::of(2, 2));
        matches
    };
    // The ports share one of the four lanes beside the addresses.
    let tables = compiled(&policy((0..3_000).map(rule)));
    assert_eq!(tables.config.v4.lanes, 6);
    let classes = |field: Field| tables.config.v4.fields[field as usize].mode;
    assert_eq!(classes(Field::DestinationPort), field_mode::JOIN);
    assert_eq!(classes(Field::Icmp), field_mode::START);
}

/// Ports by both of their bytes, one for TCP and one for UDP: nearly every port is a class of its
/// own, but together with the protocol there are few. Three other fields and the addresses take up
/// so many lanes that it has to be combined. `ports` of them are named.
pub(crate) fn ports_by_byte(ports: u32) -> firewall_policy::rule::Policy {
    let byte = |proto: u32, accepts: &dyn Fn(u32) -> bool| {
        let numbers = (0..ports).filter(|&port| accepts(port));
        let set = RangeSet::from_ranges(numbers.map(|port| (port, port)).collect());
        let mut matches = only(Field::DestinationPort, set);
        matches.fields[Field::Proto as usize] = RangeSet::of(proto, proto);
        matches
    };
    let high = (0..256).map(|byte_value| byte(6, &move |port| port >> 8 == byte_value));
    let low = (0..256).map(|byte_value| byte(17, &move |port| port & 255 == byte_value));
    let many = (0..5_000).map(|index| {
        let mut matches = Match::any();
        for field in [Field::Icmp, Field::Vlan, Field::Length] {
            let value = index % field.none();
            matches.fields[field as usize] = RangeSet::of(value, value);
        }
        (matches.src.v4, matches.dst.v4) = (RangeSet::of(1, 1), RangeSet::of(2, 2));
        matches
    });
    policy(high.chain(low).chain(many))
}

#[test]
fn a_field_with_too_many_classes_is_not_combined() {
    // 65,536 ports and "no port": one class too many for 16 bits.
    let policy = ports_by_byte(65_536);
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let error = compile(&policy, &slots).expect_err("too many classes");
    assert_eq!(error.to_string(), TOO_MANY);

    // The last port is named by no rule, as is "no port": one class less, and that fits.
    let tables = compiled(&ports_by_byte(65_535));
    assert_eq!(tables.config.v4.lanes, 6);
    for port in 0..=65_536 {
        let mut key = PacketKey::empty(Family::V4);
        key.fields[Field::DestinationPort as usize] = port;
        for (proto, rule) in [(6, port >> 8), (17, 256 + (port & 255)), (1, 512)] {
            key.fields[Field::Proto as usize] = proto;
            let expected = (port < 65_535 && rule < 512).then_some(rule);
            assert_eq!(decided(&tables, &key), expected, "{proto} {port}");
        }
    }
}

/// `values` rules for a source port each and as many for a destination port: together the two ports
/// have (`values` + 1)^2 classes.
fn two_ports(values: u32) -> Vec<Match> {
    let rules = |field| (1..=values).map(move |port| value(field, port));
    rules(Field::SourcePort)
        .chain(rules(Field::DestinationPort))
        .collect()
}

#[test]
fn a_lane_with_too_many_classes_is_not_made() {
    // As many classes as 16 bits number.
    let tables = compiled(&policy(two_ports(255).into_iter()));
    assert_eq!((tables.config.v4.lanes, tables.config.v6.lanes), (1, 1));
    let mut key = PacketKey::empty(Family::V6);
    for port in 0..=300 {
        key.fields[Field::SourcePort as usize] = 301 - port;
        key.fields[Field::DestinationPort as usize] = port;
        let source = (1..=255).contains(&(301 - port)).then_some(300 - port);
        let destination = (1..=255).contains(&port).then(|| 254 + port);
        assert_eq!(decided(&tables, &key), source.or(destination), "{port}");
    }
    // More of them, where there are too few lanes to keep the ports apart.
    let others = ports_by_byte(0).rules.into_iter().skip(512);
    let others = others.map(|rule| rule.matches);
    let policy = policy(two_ports(300).into_iter().chain(others));
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let error = compile(&policy, &slots).expect_err("too many classes");
    assert_eq!(error.to_string(), TOO_MANY);
}

#[test]
fn references_are_as_short_as_they_can_be() {
    let mut from = value(Field::Proto, 6);
    from.src.v4 = RangeSet::of(1, 2);
    from.src.v6 = RangeSet::of(1 << 64, (2 << 64) - 1);
    let config = compiled(&policy([from].into_iter())).config;
    let proto = Field::Proto as usize;
    assert_eq!((config.v4.src.wide, config.v4.fields[proto].wide), (0, 0));
    assert_eq!((config.v6.src.wide, config.v6.fields[proto].wide), (0, 0));
}

#[test]
fn equal_nodes_and_rows_are_stored_once() {
    // Even and odd rules, by the lowest bit of the port: two rows of two nodes each.
    let tables = compiled(&policy((0..4_224).map(|rule| {
        let ports = (0..100).filter(|port| port % 2 == rule % 2);
        only(
            Field::DestinationPort,
            RangeSet::from_ranges(ports.map(|port| (port, port)).collect()),
        )
    })));
    let line = |what: &str| {
        let line = tables.report.iter().find(|line| line.what == what);
        line.map(|line| (line.entries, line.bytes))
    };
    let (full, short) = (8 + 64 * 8, 8 + 2 * 8);
    assert_eq!(line("ipv4 port: nodes"), Some((4, 2 * full + 2 * short)));
    // And an empty row, for other ports.
    assert_eq!(line("ipv4 port: rows"), Some((3, 2 * (8 + 2 * 4) + 8)));
}

#[test]
fn what_two_fields_leave_is_known_from_a_third() {
    // The protocol with the port, and the source address by itself, tell even rules from odd ones.
    let tables = compiled(&policy((0..4_224).map(|rule| {
        let odd = rule % 2;
        let mut matches = value(Field::DestinationPort, 80 + odd);
        let protocols = if odd == 0 {
            vec![(6, 6)]
        } else {
            vec![(6, 6), (17, 17)]
        };
        matches.fields[Field::Proto as usize] = RangeSet::from_ranges(protocols);
        matches.src.v4 = RangeSet::of(odd, odd);
        matches
    })));
    let nodes = |what: &str| {
        let what = format!("ipv4 {what}: nodes");
        let line = tables.report.iter().find(|line| line.what == what);
        line.map(|line| line.entries)
    };
    assert_eq!(nodes("source address"), Some(4));
    assert_eq!(nodes("proto + port"), Some(0));
}
