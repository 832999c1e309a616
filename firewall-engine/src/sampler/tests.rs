//! The sampler on made-up counters: rates, histories, and slots that change their rule.

use super::*;
use crate::engine::{Identity, InterfaceRecord, ObservedLink, RuleRecord, Selectors};
use crate::kernel::flows::Losses;
use firewall_policy::rule::Mode;

const SLOT: usize = 2;

fn rule(name: &str, slot: u32) -> RuleRecord {
    RuleRecord {
        name: name.to_owned(),
        slot,
        action: "pass".to_owned(),
        audit: None,
        comment: None,
        owner: None,
        reason: None,
        expires: None,
        runtime: false,
        summary: format!("match of {name}"),
        place: "web.yaml:4".to_owned(),
        enabled: true,
        unlogged: None,
        over: None,
    }
}

fn record(generation: u64, rules: Vec<RuleRecord>) -> Record {
    Record {
        abi_version: 1,
        generation,
        policy_path: "web.yaml".to_owned(),
        policy_text: String::new(),
        base: "/".into(),
        files: Vec::new(),
        sent: false,
        clock: None,
        sha256: "00".to_owned(),
        content_sha256: "11".to_owned(),
        fingerprint: String::new(),
        namespace: 0,
        applied: 1000.0,
        default: "drop".to_owned(),
        default_unlogged: None,
        audit: false,
        would_drop: Vec::new(),
        frags: false,
        selectors: Selectors::default(),
        state: "/".into(),
        tracks: false,
        matches_vlan: false,
        table_bytes: 4096,
        rules,
        stations: None,
        uppers: None,
        ban_lengths: Vec::new(),
        interfaces: vec![InterfaceRecord {
            name: "eth0".to_owned(),
            ifindex: 7,
            slot: SLOT as u32,
            zone: 0,
            zone_name: String::new(),
            mode: Mode::Native,
            fallback: None,
        }],
        live: Vec::new(),
    }
}

fn facts(record: Record) -> Facts {
    let link = ObservedLink {
        name: "eth0".to_owned(),
        ifindex: 7,
        link_id: 3,
        program_id: 11,
        limits: Vec::new(),
    };
    let observed = Observed {
        record,
        links: vec![link],
        warnings: vec!["a difference".to_owned()],
        is_whole: true,
        identity: Identity::default(),
        renewal: None,
    };
    Facts {
        observed: Some(Arc::new(observed)),
        ..Facts::default()
    }
}

fn zero(monotonic: f64) -> Counters {
    Counters {
        monotonic,
        reasons: vec![[Counter::default(); 2]; 64 * Reason::CAPACITY],
        ports: vec![[Counter::default(); 4]; 65_536],
        rules: vec![Counter::default(); 64],
        losses: None,
    }
}

fn counter(packets: u64) -> Counter {
    Counter {
        packets,
        bytes: packets * 100,
    }
}

#[test]
fn one_reading_gives_totals_and_no_rates() {
    let mut sampler = Sampler::new();
    let mut counters = zero(5.0);
    counters.ports[443][PASS] = counter(10);
    sampler.push(counters, &record(1, vec![]));
    let snapshot = sampler.snapshot(&facts(record(1, vec![])), 1234.0, 10);
    assert_eq!(snapshot.interval, 0.0);
    assert_eq!(
        snapshot.ports[0].pass.total,
        Count {
            packets: 10,
            bytes: 1000
        }
    );
    assert_eq!(snapshot.ports[0].pass.rate, Rate::default());
    assert!(snapshot.ports[0].history.is_empty());
}

#[test]
fn rates_use_the_time_that_really_passed() {
    let mut sampler = Sampler::new();
    let record = record(1, vec![rule("web", 5)]);
    sampler.push(zero(10.0), &record);
    let mut counters = zero(12.5);
    counters.ports[443][PASS] = counter(1000);
    counters.ports[53][2 + DROP] = counter(50);
    counters.rules[5] = counter(1000);
    counters.reasons[SLOT * Reason::CAPACITY + usize::from(Reason::RULE.0)][PASS] = counter(1000);
    counters.reasons[SLOT * Reason::CAPACITY + usize::from(Reason::NO_MATCH.0)][DROP] = counter(50);
    counters.reasons[usize::from(Reason::ARP.0)][PASS] = counter(3);
    sampler.push(counters, &record);

    let snapshot = sampler.snapshot(&facts(record), 0.0, 10);
    assert_eq!(snapshot.interval, 2.5);
    let first = &snapshot.ports[0];
    assert_eq!((first.proto.as_str(), first.port), ("tcp", 443));
    assert_eq!(
        first.pass.rate,
        Rate {
            pps: 400.0,
            bps: 320_000.0
        }
    );
    assert_eq!(first.history, [400]);
    let second = &snapshot.ports[1];
    assert_eq!((second.proto.as_str(), second.port), ("udp", 53));
    assert_eq!(second.drop.rate.pps, 20.0);
    assert_eq!(second.pass, Traffic::default());
    assert_eq!(snapshot.rules[0].hits.rate.pps, 400.0);
    let eth0 = &snapshot.status.interfaces[0];
    assert_eq!(
        (eth0.pass.total.packets, eth0.drop.total.packets),
        (1000, 50)
    );
    assert_eq!(snapshot.pass.total.packets, 1003, "slot 0 counts too");
    assert_eq!(
        snapshot
            .reasons
            .iter()
            .map(|r| (r.name.as_str(), r.is_drop()))
            .collect::<Vec<_>>(),
        [("rule", false), ("no-match", true), ("arp", false)]
    );
    assert_eq!(snapshot.status.warnings, ["a difference"]);
}

#[test]
fn a_counter_that_went_backwards_has_rate_zero() {
    let mut sampler = Sampler::new();
    let record = record(1, vec![rule("web", 5)]);
    let mut counters = zero(1.0);
    counters.ports[80][PASS] = counter(1_000_000);
    counters.ports[81][PASS] = counter(1_000_000);
    counters.rules[5] = counter(1_000_000);
    sampler.push(counters, &record);
    let mut rebuilt = zero(2.0);
    rebuilt.ports[80][PASS] = counter(7);
    rebuilt.ports[81][PASS] = counter(1_000_007);
    rebuilt.rules[5] = counter(7);
    sampler.push(rebuilt, &record);
    let snapshot = sampler.snapshot(&facts(record), 0.0, 10);
    let port = |number: u16| snapshot.ports.iter().find(|p| p.port == number).unwrap();
    assert_eq!(port(80).pass.rate, Rate::default());
    assert_eq!(port(80).pass.total.packets, 7);
    assert_eq!(port(81).pass.rate.pps, 7.0);
    assert_eq!(snapshot.rules[0].hits.rate, Rate::default());
}

#[test]
fn a_clock_that_stands_still_gives_no_rate() {
    let mut sampler = Sampler::new();
    let record = record(1, vec![]);
    sampler.push(zero(1.0), &record);
    let mut counters = zero(1.0);
    counters.ports[80][PASS] = counter(5);
    sampler.push(counters, &record);
    let snapshot = sampler.snapshot(&facts(record), 0.0, 10);
    assert_eq!(
        (snapshot.interval, snapshot.ports[0].pass.rate.pps),
        (0.0, 0.0)
    );
}

#[test]
fn a_slot_that_changed_hands_does_not_lend_its_past() {
    let mut sampler = Sampler::new();
    let old = record(1, vec![rule("web", 5), rule("ssh", 6)]);
    sampler.push(zero(1.0), &old);
    let mut counters = zero(2.0);
    counters.rules[5] = counter(100);
    counters.rules[6] = counter(10);
    sampler.push(counters, &old);

    // Slot 5 now belongs to a new rule; `ssh` moved up in the policy and kept its slot.
    let new = record(2, vec![rule("ssh", 6), rule("dns", 5)]);
    let between = sampler.snapshot(&facts(new.clone()), 0.0, 10);
    assert_eq!(
        between.rules[1].hits,
        Traffic::default(),
        "dns has not been read yet"
    );
    assert_eq!(between.rules[0].hits.total.packets, 10);

    let mut counters = zero(3.0);
    counters.rules[5] = counter(150);
    counters.rules[6] = counter(30);
    sampler.push(counters, &new);
    let snapshot = sampler.snapshot(&facts(new), 0.0, 10);
    assert_eq!(snapshot.rules[0].history, [10, 20]);
    assert_eq!(snapshot.rules[0].hits.rate.pps, 20.0);
    assert_eq!(snapshot.rules[1].name, "dns");
    assert_eq!(snapshot.rules[1].hits.rate.pps, 0.0);
    assert!(snapshot.rules[1].history.is_empty());
}

#[test]
fn ports_beyond_the_limit_are_summed_up() {
    let mut sampler = Sampler::new();
    let record = record(1, vec![]);
    sampler.push(zero(1.0), &record);
    let mut counters = zero(2.0);
    for port in 1..=100u64 {
        counters.ports[port as usize][DROP] = counter(port);
    }
    sampler.push(counters, &record);
    let snapshot = sampler.snapshot(&facts(record), 0.0, 2);
    let listed: Vec<u16> = snapshot.ports.iter().map(|port| port.port).collect();
    assert_eq!(listed, [100, 99]);
    assert_eq!(snapshot.other_ports.count, 98);
    assert_eq!(snapshot.other_ports.drop.total.packets, 98 * 99 / 2);
    assert_eq!(snapshot.other_ports.drop.rate.pps, 4851.0);
}

#[test]
fn nothing_loaded_is_a_valid_snapshot() {
    let mut sampler = Sampler::new();
    sampler.push(zero(1.0), &record(1, vec![]));
    sampler.clear();
    let snapshot = sampler.snapshot(&Facts::default(), 0.0, 10);
    assert_eq!(snapshot.status.generation, None);
    assert!(snapshot.ports.is_empty() && snapshot.rules.is_empty());
}

#[test]
fn flows_without_room_are_news_for_a_minute() {
    let mut sampler = Sampler::new();
    let mut push = |seconds: f64, losses: Option<[u64; 2]>| {
        let mut counters = zero(seconds);
        counters.losses = losses.map(|full| full.map(|full| Losses { full, evicted: 7 }));
        let record = record(1, Vec::new());
        sampler.push(counters, &record);
        sampler.snapshot(&facts(record), 0.0, 0).flows
    };
    // What was there before anybody looked may be old.
    let flows = push(1.0, Some([0, 5])).unwrap();
    assert_eq!((flows.tcp.full, flows.other.full), (0, 5));
    assert_eq!((flows.other.evicted, flows.growing), (7, false));
    assert!(!push(2.0, Some([0, 5])).unwrap().growing);
    assert!(push(3.0, Some([0, 6])).unwrap().growing);
    assert!(push(62.0, Some([0, 6])).unwrap().growing);
    assert!(!push(63.5, Some([0, 6])).unwrap().growing);
    // Another table begins anew.
    assert!(!push(64.0, Some([0, 0])).unwrap().growing);
    assert!(push(65.0, None).is_none());
}
