//! What no single answer shows: how large the tables are and how deep, that references are short,
//! and what the program's constants say about live sets and states.

use super::large::{compiled, policy};
use firewall_common::field::Field;
use firewall_common::flows::{FLOWS_SIZE, SET, WAYS};
use firewall_common::live;
use firewall_policy::compile::compile;
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, LiveSet, Match};
use firewall_policy::tables::Tables;

fn from(v4: RangeSet<u32>, v6: RangeSet<u128>) -> Match {
    Match {
        src: AddrSet { v4, v6 },
        ..Match::any()
    }
}

fn from_v6(ranges: Vec<(u128, u128)>) -> Tables {
    let set = RangeSet::from_ranges(ranges);
    compiled(&policy([from(RangeSet::empty(), set)].into_iter()))
}

/// Bytes of one part of the tables.
fn bytes(tables: &Tables, what: &str) -> usize {
    let line = tables.report.iter().find(|line| line.what == what);
    line.expect("in the report").bytes
}

#[test]
fn a_prefix_takes_one_key_of_a_leaf() {
    let every_third = |base: u128| {
        (0..6_000).map(move |i: u128| {
            let first = base | ((i * 3) << 80);
            (first, first | ((1 << 80) - 1))
        })
    };
    let crowd = from_v6(every_third(0x2001 << 112).collect());
    // Six intervals, more or less, below each of 2,048 entries: a line of 64 bytes for most of them.
    let trees = bytes(&crowd, "ipv6 source address: trees");
    assert!(trees < 64 * 2_300, "{trees}");
    let crowds = [0x2001, 0x3001, 0xfd00].map(|base| every_third(base << 112));
    let crowds = from_v6(crowds.into_iter().flatten().collect());
    // The window is laid where it makes the most of the three crowds.
    let trees = bytes(&crowds, "ipv6 source address: trees");
    assert!((600_000..750_000).contains(&trees), "{trees}");
}

#[test]
fn one_prefix_in_a_network_takes_no_array() {
    // The first and the last of a network, and some in the middle: head, ground, start, reference.
    let prefixes: [(u128, u32); 4] = [(0, 8), (0, 63), (3 << 62, 62), (5 << 20, 20)];
    let networks = prefixes.iter().zip(1..).map(|(&(first, free), network)| {
        let first = ((network * 2) << 64) | first;
        (first, first | ((1 << free) - 1))
    });
    let tables = from_v6(networks.collect());
    let blocks = bytes(&tables, "ipv6 source address: low blocks");
    assert_eq!(blocks, 24 + 24 + 24 + 20);
}

#[test]
fn trees_are_no_deeper_than_they_have_to_be() {
    for (ranges, depth) in [(1, 1), (4, 1), (5, 2), (36, 2), (37, 3), (40, 3)] {
        let set = |i: u32| (i * 4 + 1, i * 4 + 2);
        let set = RangeSet::from_ranges((0..ranges).map(set).collect());
        let tables = compiled(&policy([from(set, RangeSet::empty())].into_iter()));
        assert_eq!(tables.config.v4.src.depth, depth, "{ranges}");
    }
}

/// What stands far behind in the tables is numbered from where it begins.
#[test]
fn references_do_not_grow_with_what_stands_before() {
    let set = (0..150_000u32).map(|i| (i.wrapping_mul(0x9e37_79b1), i.wrapping_mul(0x9e37_79b1)));
    let mut rules = vec![from(
        RangeSet::from_ranges(set.collect()),
        RangeSet::empty(),
    )];
    rules[0].fields[Field::Proto as usize] = RangeSet::of(6, 6);
    rules.extend((0..2_100u128).map(|i| {
        let network = (i << 64, i << 64 | u128::from(u64::MAX));
        from(RangeSet::empty(), RangeSet::of(network.0, network.1))
    }));
    let tables = compiled(&policy(rules.into_iter()));
    let (v4, v6) = (&tables.config.v4, &tables.config.v6);
    let proto = &v4.fields[Field::Proto as usize];
    assert!(proto.rows > 1 << 19 && v6.src.rows > 1 << 19);
    assert_eq!((proto.wide, v6.src.lists, v6.src.wide), (0, 1, 0));
}

#[test]
fn live_sets_can_be_replaced_as_a_whole() {
    let mut policy = policy([Match::any()].into_iter());
    let config = compiled(&policy).config;
    assert_eq!(config.live_size, live::FEWEST * live::BYTES_PER_SLOT);
    assert_eq!(config.live_ids, [0; live::SETS]);
    policy.live = [300_000, 7]
        .map(|max| LiveSet {
            name: format!("s{max}"),
            max,
            timeout: None,
            content: AddrSet::any(),
        })
        .into();
    let config = compiled(&policy).config;
    // Twice 300,007 entries and the bans, in five eighths of a power of two.
    let entries = 600_014 + live::BANS;
    let slots = u64::from(config.live_size / live::BYTES_PER_SLOT);
    assert!(slots.is_power_of_two() && slots * 5 / 8 >= entries);
    assert!(slots / 2 * 5 / 8 < entries);
    assert_eq!(config.live_ids[..3], [1, 2, 0]);
    policy.live[0].max = live::MOST.into();
    assert!(compile(&policy, &[0]).is_err());
}

#[test]
fn states_and_sets_are_looked_up_only_for_rules_that_ask() {
    let asks = |field: Field| {
        let mut matches = Match::any();
        matches.fields[field as usize] = RangeSet::of(1, 1);
        let mut policy = policy([Match::any(), matches].into_iter());
        let [on, off] = [true, false].map(|enabled| {
            policy.rules[1].enabled = enabled;
            let config = compiled(&policy).config;
            let sets = (config.live_source, config.live_destination);
            (config.flows, config.flows_size, sets)
        });
        assert_eq!(off, (0, 0, (0, 0)), "{field:?}");
        on
    };
    assert_eq!(asks(Field::State), (1, FLOWS_SIZE, (0, 0)));
    assert_eq!(asks(Field::SourceSets), (0, 0, (1, 0)));
    assert_eq!(asks(Field::DestinationSets), (0, 0, (0, 1)));
    assert_eq!(asks(Field::Proto), (0, 0, (0, 0)));
}

#[test]
fn the_table_of_flows_has_room_for_as_many_as_are_asked_for() {
    let mut matches = Match::any();
    matches.fields[Field::State as usize] = RangeSet::of(1, 1);
    let mut policy = policy([matches].into_iter());
    for flows in [1_024, 1_332, 1_333, 172_020, 172_021, 1_000_000, 4_194_304] {
        policy.flows = Some(flows);
        let size = compiled(&policy).config.flows_size;
        assert!(size.is_power_of_two(), "{flows}");
        // The first set of each half has no flows.
        let room = |size: u32| (size / SET - 2) * WAYS / 4 * 3;
        assert!(room(size) >= flows && room(size / 2) < flows, "{flows}");
    }
    policy.flows = Some(172_020);
    assert_eq!(compiled(&policy).config.flows_size, FLOWS_SIZE);
}
