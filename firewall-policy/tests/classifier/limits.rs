//! Rate limits and what else rules ask beside their match: their entries in the tables to the bit,
//! and how the walk goes on behind a rule that asks. The rates themselves are compared with the
//! oracle in `tests/rate_limits.rs`.

use super::large;
use firewall_common::abi::{
    BanLengths, Entry, LIMIT_ENTRY, LimitEntry, LimitFlags, has_limit, limit_per,
};
use firewall_common::classify::{Hit, classify};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::host::{HostMachine, Memory};
use firewall_policy::limit::{Lengths, Limit, Per};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{Expiry, Match, Policy};
use firewall_policy::tables::Tables;
use std::cell::RefCell;

pub(super) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds have so many binary places in an entry.
const PLACES: u32 = 6;

pub(super) fn limit(packets: u64, burst: u64, per: Per) -> Limit {
    Limit {
        packets,
        window: SECOND,
        burst,
        per,
        new_only: false,
        bytes: false,
        over: Action::DROP,
        ban: None,
    }
}

/// A policy of rules that match everything, with these limits.
pub(super) fn limited(limits: Vec<Option<Limit>>) -> Policy {
    let mut policy = large::policy(limits.iter().map(|_| Match::any()));
    for (rule, limit) in policy.rules.iter_mut().zip(limits) {
        rule.limit = limit;
    }
    policy
}

/// Slots that cannot be taken for the numbers of rules or limits.
pub(super) fn slots(policy: &Policy) -> Vec<u32> {
    let count = policy.counters().len() as u32;
    (0..count).map(|counter| counter * 7 + 3).collect()
}

pub(super) fn compiled(policy: &Policy) -> Tables {
    compile(policy, &slots(policy)).expect("within the limits")
}

/// Entry `number` of the table of limits: a [`LimitEntry`], or a `LogEntry`.
pub(super) fn entry<T: bytemuck::AnyBitPattern>(tables: &Tables, number: u32) -> T {
    let start = (tables.config.limits + number * LIMIT_ENTRY) as usize;
    bytemuck::pod_read_unaligned(&tables.bytes[start..][..LIMIT_ENTRY as usize])
}

/// `count` packets at a rate, to the nearest unit.
pub(super) fn time(packets: u64, count: u64) -> u64 {
    let exact = (SECOND << PLACES) as f64 * count as f64 / packets as f64;
    exact.round() as u64
}

fn over(slot: u32, action: Action, number: u64) -> Entry {
    Entry::new(slot, action).with_limit(number)
}

#[test]
fn entries_say_what_the_rules_say() {
    let lengths = Lengths { v4: 24, v6: 48 };
    let long = Lengths { v4: 8, v6: 100 };
    let mut policy = limited(vec![
        Some(limit(1_000, 5, Per::Rule)),
        None,
        // A rate at which units have to be rounded, up and down.
        Some(limit(7, 4, Per::Interface)),
        Some(limit(20, 1, Per::Source(lengths))),
        Some(limit(7, 6, Per::Destination(long))),
        None,
        Some(limit(1, 1, Per::Source(Lengths::HOST))),
    ]);
    let of = |policy: &mut Policy, rule: usize, change: fn(&mut Limit)| {
        policy.rules[rule]
            .limit
            .as_mut()
            .into_iter()
            .for_each(change);
    };
    of(&mut policy, 2, |limit| limit.new_only = true);
    of(&mut policy, 3, |limit| limit.ban = Some(600));
    of(&mut policy, 4, |limit| limit.over = Action::NEXT);
    for rule in [5, 6] {
        let at = 1_000 + rule as u64;
        policy.rules[rule].expires = Some(Expiry { at, passed: false });
    }
    let (tables, slots) = (compiled(&policy), slots(&policy));
    let share = (4 << 20) / 4;
    let expected = LimitEntry {
        interval: time(1_000, 1),
        tolerance: time(1_000, 4),
        until: u64::MAX,
        v4_mask: 0,
        v6_mask_hi: 0,
        v6_mask_lo: 0,
        base: 0,
        size: 64,
        over: over(slots[7], Action::OVER, 0),
        per: limit_per::RULE,
        flags: LimitFlags::default(),
        ban: 0,
        ban_lengths: BanLengths::default(),
    };
    assert_eq!(entry::<LimitEntry>(&tables, 0), expected);
    let expected = LimitEntry {
        interval: time(7, 1),
        tolerance: time(7, 3),
        base: 64,
        size: 512,
        over: over(slots[8], Action::OVER, 1),
        per: limit_per::INTERFACE,
        flags: LimitFlags::NEW,
        ..expected
    };
    assert_eq!(entry::<LimitEntry>(&tables, 1), expected);
    let by_source = LimitEntry {
        interval: time(20, 1),
        tolerance: 0,
        v4_mask: 0xffff_ff00,
        v6_mask_hi: 0xffff_ffff_ffff_0000,
        base: 64 + 512,
        size: share,
        over: over(slots[9], Action::OVER, 2),
        per: limit_per::SOURCE,
        flags: LimitFlags::default(),
        // Ticks of 2^20 ns.
        ban: ((600 * SECOND) >> 20) as u32,
        ban_lengths: BanLengths::new(24, 48),
        ..expected
    };
    assert_eq!(entry::<LimitEntry>(&tables, 2), by_source);
    let expected = LimitEntry {
        interval: time(7, 1),
        tolerance: time(7, 5),
        v4_mask: 0xff00_0000,
        v6_mask_hi: u64::MAX,
        v6_mask_lo: 0xffff_ffff_f000_0000,
        base: 64 + 512 + share,
        over: over(slots[10], Action::NEXT, 3),
        per: limit_per::DESTINATION,
        ban: 0,
        ban_lengths: BanLengths::default(),
        ..by_source
    };
    assert_eq!(entry::<LimitEntry>(&tables, 3), expected);
    // A time alone has no bucket.
    let alone: LimitEntry = entry(&tables, 4);
    assert_eq!((alone.until, alone.size), (1_005 * SECOND, 0));
    assert_eq!(
        (alone.flags, alone.over.slot()),
        (LimitFlags::NO_RATE, u32::MAX)
    );
    let last: LimitEntry = entry(&tables, 5);
    assert_eq!((last.base, last.size), (64 + 512 + 2 * share, share));
    assert_eq!((last.until, last.over.slot()), (1_006 * SECOND, slots[11]));
    assert_eq!((last.v4_mask, last.v6_mask_hi), (0xffff_ffff, u64::MAX));
    assert_eq!(last.flags, LimitFlags::default());
    assert_eq!(last.ban_lengths, BanLengths::new(32, 64));

    let config = &tables.config;
    assert_eq!(config.has_limit, has_limit::BY_INTERFACE);
    assert_eq!((config.has_ban, config.expires, config.answers), (1, 1, 0));
    assert_eq!((config.answers_limit, config.buckets_size), (6, 4 << 20));
    let line = tables.report.iter().find(|line| line.what == "rate limits");
    let line = line.map(|line| (line.entries, line.bytes));
    assert_eq!(line, Some((6, 6 * LIMIT_ENTRY as usize)));
}

/// Buckets live on when the policy changes, as long as they mean the same.
#[test]
fn the_layout_tells_other_buckets_apart() {
    let layout = |packets, per| {
        let tables = compiled(&limited(vec![Some(limit(packets, 1, per))]));
        tables.config.buckets_layout
    };
    let source = |v4| Per::Source(Lengths { v4, v6: 64 });
    assert_eq!(layout(5, source(24)), layout(6, source(24)));
    let layouts = [
        layout(5, source(24)),
        layout(5, source(25)),
        layout(5, Per::Rule),
        layout(5, Per::Interface),
        layout(5, Per::Destination(Lengths { v4: 24, v6: 64 })),
    ];
    for (i, layout) in layouts.iter().enumerate() {
        assert_ne!(*layout, 0);
        assert!(!layouts[..i].contains(layout), "{layouts:?}");
    }
}

#[test]
fn nothing_is_asked_where_no_rule_asks() {
    let config = compiled(&limited(vec![None])).config;
    assert_eq!((config.limits, config.has_limit), (0, has_limit::NO));
    assert_eq!((config.buckets_size, config.buckets_layout), (0, 0));
    assert_eq!((config.answers, config.syn_protect), (0, 0));
    let mut policy = limited(vec![Some(limit(1, 1, Per::Rule)), None]);
    let config = compiled(&policy).config;
    assert_eq!((config.has_limit, config.expires), (has_limit::YES, 0));
    assert_eq!((config.has_ban, config.buckets_size), (0, 64));
    // A rule that is switched off does not expire.
    policy.rules[1].expires = Some(Expiry {
        at: 9,
        passed: false,
    });
    policy.rules[1].enabled = false;
    assert_eq!(compiled(&policy).config.expires, 0);
}

#[test]
fn answers_have_limits_of_their_own() {
    let mut policy = limited(vec![None, None]);
    policy.rules[1].action = Action::REJECT;
    for before in [0, 1] {
        let tables = compiled(&policy);
        let config = &tables.config;
        assert_eq!((config.answers, config.answers_limit), (1, before));
        let each: LimitEntry = entry(&tables, before);
        assert_eq!(each.interval, time(100, 1));
        assert_eq!(each.tolerance, time(100, 49));
        assert_eq!((each.per, each.size), (limit_per::SOURCE, 64 << 10));
        let all: LimitEntry = entry(&tables, before + 1);
        assert_eq!(all.interval, time(1_000, 1));
        assert_eq!(all.tolerance, time(1_000, 199));
        assert_eq!((all.base, all.size), (before * 64 + (64 << 10), 64));
        assert_eq!(config.buckets_size, 128 << 10);
        let line = tables.report.iter().find(|line| line.what == "rate limits");
        assert_eq!(line.map(|line| line.entries), Some(before as usize + 2));
        policy.rules[0].limit = Some(limit(1, 1, Per::Rule));
    }
}

#[test]
fn cookies_have_lines_of_their_own() {
    let mut policy = limited(vec![None, None]);
    policy.rules[0].syn_protect = true;
    policy.rules[0].action = Action::PASS;
    for before in [0, 64] {
        let tables = compiled(&policy);
        let config = &tables.config;
        assert_eq!(config.audit, 0);
        assert_eq!((config.syn_protect, config.syn_seen), (1, before));
        assert_eq!(config.buckets_size, (before + 512).next_power_of_two());
        assert_ne!(config.buckets_layout, 0);
        let hit = hits(&tables, &[PacketKey::empty(Family::V4)])[0].1;
        assert_eq!(hit.map(|hit| hit.action), Some(Action::PROTECT));
        policy.rules[1].limit = Some(limit(1, 1, Per::Rule));
    }
    // Under `mode: audit` nobody is answered.
    policy.audit = true;
    let tables = compiled(&policy);
    assert_eq!((tables.config.audit, tables.config.syn_protect), (1, 0));
    let hit = hits(&tables, &[PacketKey::empty(Family::V4)])[0].1;
    assert_eq!(hit.map(|hit| hit.action), Some(Action::PASS));
}

/// What is counted, and what decides, packet by packet.
fn hits(tables: &Tables, keys: &[PacketKey]) -> Vec<(Vec<u32>, Option<Hit>)> {
    let memory = Memory::default();
    memory.now.set(SECOND);
    let judge = |key| {
        let counted = RefCell::new(Vec::new());
        let hit = classify(&HostMachine::with_memory(tables, &counted, &memory), key);
        (counted.into_inner(), hit)
    };
    keys.iter().map(judge).collect()
}

pub(super) fn to_port(port: u32) -> PacketKey {
    let mut key = PacketKey::empty(Family::V4);
    key.fields[Field::DestinationPort as usize] = port;
    key
}

pub(super) fn about_port(port: u32) -> Match {
    let mut matches = Match::any();
    matches.fields[Field::DestinationPort as usize] = RangeSet::of(port, port);
    matches
}

/// One leaf and no `next` rule: the walk has a short way for that.
#[test]
fn a_limit_in_a_single_leaf() {
    let mut policy = large::policy([1, 2, 3].map(about_port).into_iter());
    for rule in [0, 1] {
        policy.rules[rule].limit = Some(limit(1, 1, Per::Rule));
    }
    policy.rules[1].action = Action::PASS;
    let tables = compiled(&policy);
    let slots = slots(&policy);
    let found = hits(&tables, &[2, 2, 3, 4].map(to_port));
    let hit = |slot, action, limit| {
        (
            Vec::new(),
            Some(Hit {
                slot,
                action,
                limit,
            }),
        )
    };
    // The rule's limit is the second one.
    assert_eq!(found[0], hit(slots[1], Action::PASS, 1));
    assert_eq!(found[1], hit(slots[4], Action::OVER, 1));
    assert_eq!(found[2], hit(slots[2], Action::DROP, 0));
    assert_eq!(found[3], (Vec::new(), None));
}

/// Behind a limit the walk goes on with what is left of the leaf, the node and the row; here the
/// same bits are left of two of them.
#[test]
fn the_walk_goes_on_behind_a_limit() {
    for (second, last) in [(1, 64), (64, 64), (1, 4_096), (64, 4_096)] {
        let mut policy = large::policy((0..=last).map(|rule| {
            if [0, second, last].contains(&rule) {
                Match::any()
            } else {
                about_port(rule as u32)
            }
        }));
        policy.rules[0].limit = Some(limit(1, 2, Per::Rule));
        policy.rules[0].action = Action::NEXT;
        let (tables, slots) = (compiled(&policy), slots(&policy));
        let found = hits(&tables, &[to_port(0); 3]);
        for (counted, hit) in &found[..2] {
            assert_eq!(*counted, [slots[0]], "{second} {last}");
            let slot = hit.map(|hit| hit.slot);
            assert_eq!(slot, Some(slots[second]), "{second} {last}");
        }
        let over = found[2].1.map(|hit| (hit.slot, hit.action));
        assert_eq!(over, Some((slots[last + 1], Action::OVER)));
    }
}

#[test]
fn what_is_over_a_limit_has_a_slot_too() {
    let policy = limited(vec![Some(limit(1, 1, Per::Rule)), None]);
    let error = compile(&policy, &[5, 6]).expect_err("a slot is missing");
    assert_eq!((error.needed, error.limit), (3, 2));
}
