//! `log:` in the loaded program: random policies whose events oracle, host and kernel agree about,
//! what an event says, rates to the packet, and writers on several processors beside a reader.
//!
//! `FIREWALL_CASES=N` says how many frames of random policies there are (default 6,000).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use crate::random::{Random, Style, headers, policy};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_common::log::{EVENTS, Ring, name_hash};
use firewall_common::region::Region;
use firewall_common::verdict::Action;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::host::{Memory, decide_after};
use firewall_policy::limit::Rate;
use firewall_policy::log::{Event, Reader};
use firewall_policy::oracle::evaluate;
use firewall_policy::packet_text::{self, PacketText};
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use firewall_tests::frames::{Frame, Ipv4, ethernet, udp};
use firewall_tests::keyed;
use firewall_tests::number;
use firewall_tests::policies::parse;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

/// More than ever comes.
const ALL: Rate = Rate {
    packets: 100_000_000,
    window: 1_000_000_000,
    burst: 200_000_000,
};

fn load(policy: &Policy) -> (Tables, Loaded) {
    let counters = policy.counters().len() as u32;
    let slots: Vec<u32> = (0..counters).collect();
    let tables = compile(policy, &slots).unwrap();
    let loaded = Loaded::load(&tables, counters, &[]).unwrap();
    (tables, loaded)
}

fn loaded(default: &str, rules: &str) -> (Policy, Loaded) {
    let text = format!("version: 1\ndefault: {default}\nrules:\n{rules}");
    let policy = parse(&text).unwrap();
    let (_, loaded) = load(&policy);
    (policy, loaded)
}

/// All events so far.
fn events(loaded: &Loaded) -> Vec<Event> {
    let ring = loaded.log().unwrap().unwrap();
    let mut reader = ring.reader(EVENTS);
    std::iter::from_fn(|| ring.next(&mut reader)).collect()
}

fn run(loaded: &Loaded, packets: &[&str]) {
    for text in packets {
        let packet = packet_text::parse(text).unwrap();
        loaded.run(&packet.frame(), 1, None).unwrap();
    }
}

/// An event without what differs from run to run.
fn comparable(event: &Event) -> Event {
    Event {
        time: 0,
        ..event.clone()
    }
}

#[test]
#[ignore = "needs root"]
fn oracle_host_and_kernel_write_the_same_events() {
    let cases = number("FIREWALL_CASES", 6_000).unwrap() as usize;
    let mut random = Random(7);
    let (mut done, mut written, mut nexts) = (0, 0, 0);
    while done < cases {
        let (seed, size) = (random.next(), 2 + random.below(150) as usize);
        let style = Style::random(&mut random, size);
        let mut policy = policy(seed, size, style);
        policy.essential = 0;
        policy.macs = keyed::stations();
        policy.default_log = (random.below(2) == 0).then_some(ALL);
        let mut passed = 16;
        for rule in &mut policy.rules {
            let goes_on = rule.action == Action::NEXT;
            if random.below(3) > 0 || goes_on && passed == 0 {
                continue;
            }
            passed -= usize::from(goes_on);
            rule.log = Some(ALL);
        }
        let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
        if policy.logs().next().is_none() || compile(&policy, &slots).is_err() {
            continue;
        }
        let (tables, loaded) = load(&policy);
        let ring = loaded.log().unwrap().unwrap();
        let memory = Memory::of(&tables);
        let (mut from_kernel, mut from_host) = (ring.reader(0), Reader::new(Ring::LOG, &|_| 0, 0));
        let keys = headers(&policy, seed, 200, 40);
        for (frame, mut key) in keys.iter().filter_map(keyed::frame) {
            key.fields[Field::Zone as usize] = 0;
            loaded.run(&frame, 1, None).unwrap();
            let _ = decide_after(&tables, &memory, &frame, 0);
            let words = memory.words(Region::Log);
            let word = |offset: u64| words.get((offset / 8) as usize).copied().unwrap_or(0);
            let host: Vec<Event> = std::iter::from_fn(|| from_host.next(&word)).collect();
            let kernel: Vec<Event> = std::iter::from_fn(|| ring.next(&mut from_kernel)).collect();
            let host: Vec<Event> = host.iter().map(comparable).collect();
            let kernel: Vec<Event> = kernel.iter().map(comparable).collect();
            let said = |events: &[Event]| -> Vec<(u64, Action)> {
                events.iter().map(|it| (it.rule, it.action)).collect()
            };
            let expected = oracle(&policy, &key);
            assert_eq!(said(&host), expected, "seed {seed:#x}: {key:?}");
            assert_eq!(kernel, host, "seed {seed:#x}: {key:?}");
            for event in &kernel {
                assert_eq!((event.key.src(), event.key.dst()), (key.src(), key.dst()));
            }
            written += kernel.len();
            let is_next = |event: &&Event| event.action == Action::NEXT;
            nexts += kernel.iter().filter(is_next).count();
            done += 1;
        }
    }
    println!("{done} frames, {written} events, {nexts} of them of rules that go on");
    assert!(written * 8 > done && nexts * 100 > done);
}

/// Rule and action of the events that a packet leads to.
fn oracle(policy: &Policy, key: &PacketKey) -> Vec<(u64, Action)> {
    let result = evaluate(policy, key);
    let rules = result.counted.iter().chain(&result.decided);
    let mut events: Vec<(u64, Action)> = rules
        .map(|&rule| &policy.rules[rule])
        .filter(|rule| rule.log.is_some())
        .map(|rule| (name_hash(&rule.name), rule.action))
        .collect();
    // The rest of a datagram passes without the default's word.
    let later = firewall_common::parse::fragment::LATER;
    let is_later = key.field(Field::Fragment) == later;
    if result.decided.is_none() && policy.default_log.is_some() && !is_later {
        let passes = policy.default_verdict.name() == "pass";
        let action = if passes { Action::PASS } else { Action::DROP };
        events.push((name_hash(""), action));
    }
    events
}

#[test]
#[ignore = "needs root"]
fn an_event_says_what_became_of_which_packet() {
    let (_, loaded) = loaded(
        "{in: drop, log: 9/s}",
        "- {name: seen, proto: tcp, log: 9/s, action: next}\n\
         - {name: ssh, proto: tcp, port: 22, mode: audit, log: 9/s, action: reject}\n\
         - {name: dns, proto: udp, port: 53, limit: {rate: 1/d}, log: 9/s, action: pass}\n\
         - {name: quiet, proto: udp, port: 123, action: pass}\n",
    );
    let packets = [
        "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn length 60",
        "udp [2001:db8::9]:40000 > [2001:db8::80]:53 vlan 10 length 100",
        "udp [2001:db8::9]:40000 > [2001:db8::80]:53 length 101",
        "udp 203.0.113.9:123 > 198.51.100.80:123 length 76",
        "icmp 203.0.113.9 > 198.51.100.80 echo-request length 84",
    ];
    run(&loaded, &packets);
    let events = events(&loaded);
    let of = |event: &Event| {
        let names = ["seen", "ssh", "dns", "quiet", ""];
        let name = names.iter().find(|name| name_hash(name) == event.rule);
        let text = PacketText::of_key(&event.key, &[]).to_string();
        (*name.unwrap(), event.action, event.audit, event.over, text)
    };
    let found: Vec<_> = events.iter().map(of).collect();
    let expected = [
        ("seen", Action::NEXT, None, false, packets[0]),
        ("ssh", Action::NEXT, Some(Action::REJECT), false, packets[0]),
        ("", Action::DROP, None, false, packets[0]),
        ("dns", Action::PASS, None, false, packets[1]),
        ("dns", Action::OVER, None, true, packets[2]),
        ("", Action::DROP, None, false, packets[4]),
    ];
    let expected = expected
        .map(|(name, action, audit, over, packet)| (name, action, audit, over, packet.to_owned()));
    assert_eq!(found, expected);
    assert!(events.windows(2).all(|two| two[0].time <= two[1].time));
    assert!(events.iter().all(|event| !event.passes));
}

#[test]
#[ignore = "needs root"]
fn what_is_beyond_the_rate_is_counted() {
    let (policy, loaded) = loaded(
        "{in: drop, log: 1/d}",
        "- {name: a, proto: udp, port: 53, log: 3/d, action: next}\n\
         - {name: b, proto: udp, port: 53, limit: {rate: 1/d, burst: 4}, log: 6/d, action: pass}\n",
    );
    run(&loaded, &["udp 203.0.113.9:4000 > 198.51.100.80:53"; 10]);
    let counters = policy.counters();
    assert_eq!(
        counters[2..],
        ["b/over", "a/unlogged", "b/unlogged", "/unlogged"]
    );
    run(&loaded, &["udp 203.0.113.9:4000 > 198.51.100.80:54"; 5]);
    let counted: Vec<u64> = (0..counters.len() as u32)
        .map(|slot| loaded.rule_counter(slot).unwrap().packets)
        .collect();
    assert_eq!(counted, [10, 4, 6, 7, 4, 4]);
    let events = events(&loaded);
    let of = |name: &str| {
        events
            .iter()
            .filter(|it| it.rule == name_hash(name))
            .count()
    };
    assert_eq!([of("a"), of("b"), of("")], [3, 6, 1]);
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_logs_nothing_has_no_ring() {
    let (_, loaded) = loaded("{in: drop}", "- {name: a, action: pass}\n");
    assert!(loaded.log().unwrap().is_none());
}

#[test]
#[ignore = "needs root"]
fn no_event_is_torn_or_taken_twice() {
    const THREADS: u64 = 4;
    const RUNS: u64 = 30_000;
    let (policy, loaded) = loaded("{in: drop, log: 100M/s}", "  []\n");
    assert_eq!(policy.counters(), ["/unlogged"]);
    let frame = |thread: u64, run: u64| -> Frame {
        // Both ends say the same, so that halves of two events can be told.
        let number = (thread << 20 | run) as u32;
        let [from, to] = [10, 20].map(|net: u32| (net << 24 | number).to_be_bytes());
        let packet = Ipv4::new(from, to, 17).packet(&udp(thread as u16 + 1, 9, &[]));
        ethernet(0x0800, &packet)
    };
    let ring = loaded.log().unwrap().unwrap();
    let ended = AtomicBool::new(false);
    let (mut seen, mut before) = (HashSet::new(), None);
    let mut reader = ring.reader(EVENTS);
    scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let loaded = &loaded;
                scope.spawn(move || {
                    for run in 0..RUNS {
                        loaded.run(&frame(thread, run), 1, None).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            writers.into_iter().for_each(|it| it.join().unwrap());
            ended.store(true, Ordering::Release);
        });
        loop {
            let last = ended.load(Ordering::Acquire);
            while let Some(event) = ring.next(&mut reader) {
                let number = event.key.src() & 0xff_ffff;
                assert_eq!(number, event.key.dst() & 0xff_ffff);
                let thread = number >> 20;
                let port = event.field(Field::SourcePort).unwrap();
                assert_eq!(u128::from(port), thread + 1);
                assert!(seen.insert(number), "twice: {event:?}");
                assert!(before < Some(event.number));
                before = Some(event.number);
            }
            if last {
                break;
            }
        }
    });
    let unlogged = loaded.rule_counter(0).unwrap().packets;
    let missed = reader.missed();
    println!("{} read, {missed} missed, {unlogged} given up", seen.len());
    assert_eq!(seen.len() as u64 + missed + unlogged, THREADS * RUNS);
}
