//! Bans and live sets in the loaded program: the same answers as the host build and a list, bans by
//! rules, expiry, replacement under load, 100,000 bans at once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::live::{Added, BANNED, BANS, Prefix};
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::live::{LiveTable, Origin};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::prefixes::{prefix_v4, prefix_v6};
use firewall_tests::frames::{Frame, Ipv4, ethernet, ipv6, tcp, udp};
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use firewall_tests::{patience, processor_time};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Two live sets, named by source and by destination.
const POLICY: &str = "
version: 1
default: {in: pass}
packet: {malformed: rules}
sets:
  friends: {type: cidr, live: true}
  closed: {type: cidr, live: true, elements: [203.0.113.66, \"2001:db8:66::/48\"]}
rules:
- {name: friends, from: \"@friends\", to: \"!@closed\", action: pass}
- {name: strangers, from: \"!@friends\", to: \"@closed\", action: drop}
- {name: both, from: [\"@friends\", \"!@closed\"], to: \"@closed\", action: drop}
";

/// Numbers of the sets, in the policy's order.
const FRIENDS: u32 = 1;
const CLOSED: u32 = 2;

fn load(text: &str) -> Loaded {
    let policy = parse(text).unwrap();
    let counters = policy.counters().len() as u32;
    let slots: Vec<u32> = (0..counters).collect();
    Loaded::load(&compile(&policy, &slots).unwrap(), counters, &[]).unwrap()
}

fn v4(source: u32, destination: u32) -> Frame {
    let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
    ethernet(
        0x0800,
        &Ipv4::new(source, destination, 17).packet(&udp(40_000, 53, &[7; 22])),
    )
}

fn v6(source: u128, destination: u128) -> Frame {
    let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
    ethernet(
        0x86dd,
        &ipv6(source, destination, 17, 64, &udp(40_000, 53, &[7; 22])),
    )
}

/// Flags of a segment, its sequence number, and what it acknowledges.
type Numbers = (u8, u32, u32);

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A segment in the middle of a connection that [`connect`] has opened.
const SAYS: Numbers = (ACK, 5_000, 1_000);

/// A segment from port 40,000 to port 53.
fn segment((flags, sequence, acknowledged): Numbers) -> Vec<u8> {
    let mut segment = tcp(40_000, 53, flags, &[]);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    segment
}

fn segment_v4(source: u32, destination: u32, numbers: Numbers) -> Frame {
    let packet = Ipv4::new(source.to_be_bytes(), destination.to_be_bytes(), 6);
    ethernet(0x0800, &packet.packet(&segment(numbers)))
}

fn segment_v6(source: u128, destination: u128, numbers: Numbers) -> Frame {
    let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
    ethernet(0x86dd, &ipv6(source, destination, 6, 64, &segment(numbers)))
}

/// Opens a connection from here. `comes` makes what the other side sends.
fn connect(loaded: &Loaded, comes: impl Fn(Numbers) -> Frame) {
    let leaves = |numbers| loaded.send(&answered(&comes(numbers)), 1).unwrap();
    leaves((SYN, 999, 0));
    loaded
        .run(&comes((SYN | ACK, 4_999, 1_000)), 1, None)
        .unwrap();
    leaves((ACK, 1_000, 5_000));
}

/// The datagram that a frame answers: addresses and ports the other way round, which leaves every
/// checksum as it is.
fn answered(frame: &[u8]) -> Frame {
    let mut other = frame.to_vec();
    let (addresses, length) = if frame[12] == 8 { (26, 4) } else { (22, 16) };
    for (at, length) in [(addresses, length), (addresses + 2 * length, 2)] {
        for i in at..at + length {
            other.swap(i, i + length);
        }
    }
    other
}

fn passes(loaded: &Loaded, frame: &[u8]) -> bool {
    loaded.run(frame, 1, None).unwrap().verdict == Verdict::PASS
}

fn ban(table: &LiveTable, prefix: Prefix, time: Option<Duration>) -> Added {
    table
        .change(|writer| writer.add(BANNED, &prefix, time, Origin::Command))
        .unwrap()
}

/// What a list of prefixes says of an address.
fn contains(set: &HashMap<(u32, Prefix), ()>, id: u32, address: &Prefix) -> bool {
    let bits = |prefix: &Prefix| u128::from(prefix.hi) << 64 | u128::from(prefix.lo);
    set.keys().any(|(owner, prefix)| {
        let differ = bits(prefix) ^ bits(address);
        *owner == id
            && prefix.is_v6 == address.is_v6
            && u64::from(differ.leading_zeros()) >= prefix.length
    })
}

/// A prefix near others.
fn prefix(random: &mut Random, is_v6: bool) -> Prefix {
    let lengths = if is_v6 {
        [128, 127, 64, 48, 33, 0]
    } else {
        [32, 31, 30, 24, 9, 0]
    };
    let length = random.pick(&lengths);
    near(random, is_v6, length)
}

/// A prefix of this length, one of few.
fn near(random: &mut Random, is_v6: bool, length: u64) -> Prefix {
    if is_v6 {
        let address = 0x2001_0db8_0066u128 << 80 | u128::from(random.below(4)) << 64;
        let address = address + u128::from(random.below(4));
        Prefix::of((address >> 64) as u64, address as u64, length, 1)
    } else {
        let address = 0xcb00_7140 + random.below(8);
        Prefix::of(address << 32, 0, length, 0)
    }
}

#[test]
#[ignore = "needs root"]
fn the_program_finds_what_a_list_finds() {
    let loaded = load(POLICY);
    let table = loaded.live().unwrap();
    let mut random = Random::new(26);
    let mut list: HashMap<(u32, Prefix), ()> = HashMap::new();
    list.insert((CLOSED, prefix_v4(0xcb00_7142, 32)), ());
    list.insert((CLOSED, prefix_v6(0x2001_0db8_0066 << 80, 48)), ());
    for round in 0..3_000 {
        let is_v6 = random.below(2) == 1;
        let id = [BANNED, FRIENDS, CLOSED][random.below(3) as usize];
        let entry = prefix(&mut random, is_v6);
        // Few entries, so that addresses are in some sets and not in others.
        if list.len() > 8 || !list.is_empty() && random.below(3) == 0 {
            let any = *list.keys().min().unwrap();
            let removed = table.change(|writer| writer.remove(any.0, &any.1)).unwrap();
            assert!(removed, "round {round}: {any:?}");
            list.remove(&any);
        } else if entry.length > 0 || random.below(8) == 0 {
            let added = table
                .change(|writer| writer.add(id, &entry, None, Origin::Command))
                .unwrap();
            let known = list.insert((id, entry), ()).is_some();
            let wanted = if known { Added::Again } else { Added::New };
            assert_eq!(added, wanted, "round {round}");
        }
        let mut host = || near(&mut random, is_v6, if is_v6 { 128 } else { 32 });
        let (source, destination) = (host(), host());
        if (source.hi, source.lo) == (destination.hi, destination.lo) {
            continue;
        }
        let frame = if is_v6 {
            let address = |p: Prefix| u128::from(p.hi) << 64 | u128::from(p.lo);
            v6(address(source), address(destination))
        } else {
            v4((source.hi >> 32) as u32, (destination.hi >> 32) as u32)
        };
        let banned = contains(&list, BANNED, &source);
        let friend = contains(&list, FRIENDS, &source);
        let foe = contains(&list, CLOSED, &source);
        let closed = contains(&list, CLOSED, &destination);
        let rule = match (friend, closed) {
            _ if banned => None,
            (true, false) => Some(0),
            (false, true) => Some(1),
            (true, true) if !foe => Some(2),
            _ => None,
        };
        let wanted = !banned && !matches!(rule, Some(1 | 2));
        let at = usize::from(Reason::BANNED.0);
        let counted = || {
            let rules = [0, 1, 2].map(|slot| loaded.rule_counter(slot).unwrap().packets);
            (rules, loaded.reasons(0)[at][1].packets)
        };
        let before = counted();
        assert_eq!(
            passes(&loaded, &frame),
            wanted,
            "round {round}: {source:?} {destination:?}"
        );
        let after = counted();
        for slot in 0..3 {
            let grown = after.0[slot] > before.0[slot];
            assert_eq!(grown, rule == Some(slot), "round {round}: rule {slot}");
        }
        assert_eq!(after.1 > before.1, banned, "round {round}: reason");
    }
}

#[test]
#[ignore = "needs root"]
fn a_hundred_thousand_bans_are_enforced_and_end_in_time() {
    let loaded = load("version: 1\ndefault: {in: pass}\n");
    let table = loaded.live().unwrap();
    let addresses: Vec<u32> = (0..100_000).map(|n| 0x0b00_0000 + n * 7).collect();
    let probe = |n: u32| v4(0x0b00_0000 + n * 7, 0xcb00_7101);
    assert!(passes(&loaded, &probe(99_999)));
    // Longer than it takes to add them where others are at work too.
    let time = patience(Duration::from_secs(4));
    let (start, busy) = (Instant::now(), processor_time());
    let full = table
        .change(|writer| {
            addresses
                .iter()
                .filter(|&&address| {
                    let prefix = prefix_v4(address, 32);
                    writer.add(BANNED, &prefix, Some(time), Origin::Command) == Added::NoRoom
                })
                .count()
        })
        .unwrap();
    let (added, busy) = (start.elapsed(), processor_time() - busy);
    assert_eq!(full, 0);
    println!("100,000 bans in {added:?}, of which {busy:?} on a processor");
    assert!(busy < patience(Duration::from_secs(1)), "{busy:?}");
    for n in [0, 1, 4_711, 50_000, 99_999] {
        assert!(!passes(&loaded, &probe(n)), "{n}");
    }
    assert!(passes(&loaded, &v4(0x0b00_0001, 0xcb00_7101)), "not banned");
    // The first and the last one end within a second of their time, not before it.
    for (n, begin) in [(0, start), (99_999, start + added)] {
        while begin.elapsed() + Duration::from_millis(20) < time {
            assert!(
                !passes(&loaded, &probe(n)),
                "{n} ended too early: {:?}",
                begin.elapsed()
            );
            sleep(Duration::from_millis(10));
        }
        while !passes(&loaded, &probe(n)) {
            assert!(
                begin.elapsed() < time + Duration::from_secs(1),
                "{n} did not end"
            );
            sleep(Duration::from_millis(5));
        }
        println!("ban {n} ended after {:?}", begin.elapsed());
    }
    // Their room is free again.
    table.change(|writer| writer.sweep(|_| false)).unwrap();
    assert_eq!(table.count(BANNED), 0);
}

/// Whoever sends datagrams in the name of somebody who is answered shows nothing: a made-up question to an
/// open port is answered, and the next one belongs to the conversation.
#[test]
#[ignore = "needs root"]
fn datagrams_ban_nobody() {
    let loaded = load(
        "version: 1\ndefault: {in: pass}\nrules:\n\
         - {name: all, state: established, limit: {rate: 1/d, burst: 3, per: source}, ban: 1h, \
            action: pass}\n",
    );
    let table = loaded.live().unwrap();
    let frames = [
        v4(0xc633_6409, 0xcb00_7101),
        v6(0x2001_0db8_0001 << 80 | 9, 0x2001_0db8 << 96 | 1),
    ];
    for frame in frames {
        for _ in 0..20 {
            loaded.run(&frame, 1, None).unwrap();
            loaded.send(&answered(&frame), 1).unwrap();
        }
        assert!(!passes(&loaded, &frame), "over the limit");
    }
    assert_eq!(table.list(), []);
}

#[test]
#[ignore = "needs root"]
fn a_rule_bans_who_is_over_its_limit() {
    let loaded = load(
        "version: 1\ndefault: {in: pass}\nrules:\n\
         - {name: web, proto: tcp, source_port: 40000, state: established, \
            limit: {rate: 1/d, burst: 3, per: source/24}, ban: 1s, action: pass}\n",
    );
    let table = loaded.live().unwrap();
    let v4 = |source: u32| move |numbers| segment_v4(source, 0xcb00_7101, numbers);
    let v6 = |numbers| segment_v6(0x2001_0db8_0001 << 80 | 9, 0x2001_0db8 << 96 | 1, numbers);
    let (heavy, other) = (v4(0xc633_6409)(SAYS), v4(0xc633_6509)(SAYS));
    let (neighbour, six) = (v4(0xc633_6477)(SAYS), v6(SAYS));
    // Nobody is banned who has not been spoken to.
    for _ in 0..20 {
        assert!(passes(&loaded, &heavy));
    }
    assert_eq!(table.list(), []);
    for source in [0xc633_6409, 0xc633_6477, 0xc633_6509] {
        connect(&loaded, v4(source));
    }
    connect(&loaded, v6);
    loaded.forget_limits().unwrap();
    let before = loaded.counters().rules[0].packets;
    for n in 0..3 {
        assert!(passes(&loaded, &heavy), "{n}");
    }
    assert_eq!(table.list(), []);
    assert!(!passes(&loaded, &heavy), "over the limit");
    let bans = table.list();
    assert_eq!(bans.len(), 1);
    assert_eq!(bans[0].prefix, prefix_v4(0xc633_6400, 24));
    assert_eq!(bans[0].origin, Origin::Rule);
    assert!(bans[0].left.unwrap() <= Duration::from_millis(1_010));
    assert!(!passes(&loaded, &neighbour), "the whole /24 is banned");
    assert!(passes(&loaded, &other));
    let counted = loaded.counters();
    let of = |reason: Reason| counted.reasons[usize::from(reason.0)].map(|c| c.packets);
    assert_eq!((of(Reason::LIMIT), of(Reason::BANNED)), ([0, 1], [0, 1]));
    assert_eq!(
        counted.rules[0].packets - before,
        4,
        "3 from one /24, 1 from another"
    );
    for _ in 0..4 {
        passes(&loaded, &six);
    }
    let six = table.list().into_iter().find(|ban| ban.prefix.is_v6 == 1);
    assert_eq!(six.unwrap().prefix, prefix_v6(0x2001_0db8_0001 << 80, 56));
    sleep(Duration::from_millis(1_050));
    loaded.forget_limits().unwrap();
    assert!(passes(&loaded, &heavy), "the ban has ended");
}

#[test]
#[ignore = "needs root"]
fn a_set_is_replaced_at_once_and_a_broken_off_change_is_mended() {
    let loaded = load("version: 1\ndefault: {in: pass}\n");
    let table = loaded.live().unwrap();
    let always = prefix_v4(0xc633_6401, 32);
    let sometimes = prefix_v4(0xc633_6402, 32);
    let filler: Vec<Prefix> = (0..500).map(|n| prefix_v4(0x0c00_0000 + n, 32)).collect();
    let with: Vec<Prefix> = [always, sometimes]
        .into_iter()
        .chain(filler.clone())
        .collect();
    let without: Vec<Prefix> = [always].into_iter().chain(filler).collect();
    let replace = |list: &[Prefix]| {
        let entries = list.iter().map(|prefix| (prefix, None, Origin::Command));
        assert!(
            table
                .change(|writer| writer.replace(BANNED, entries))
                .unwrap()
        );
    };
    replace(&with);
    let done = AtomicBool::new(false);
    let (rounds, looks) = scope(|scope| {
        let looking = scope.spawn(|| {
            let frame = v4(0xc633_6401, 0xcb00_7101);
            let mut looks = 0u32;
            while !done.load(Ordering::Relaxed) {
                // The mean of many runs in one call shows no single one: the counter does.
                loaded.run(&frame, 1_000, None).unwrap();
                looks += 1_000;
            }
            looks
        });
        let start = Instant::now();
        let mut rounds = 0;
        while start.elapsed() < patience(Duration::from_millis(1_500)) {
            replace(&without);
            replace(&with);
            rounds += 2;
        }
        done.store(true, Ordering::Relaxed);
        (rounds, looking.join().unwrap())
    });
    let passed: u64 = loaded.counters().reasons[usize::from(Reason::NO_MATCH.0)][0].packets;
    println!("{looks} packets of a banned source in {rounds} replacements, {passed} passed");
    assert!(rounds >= 4 && looks >= 4_000);
    assert_eq!(passed, 0);

    // One that dies with the lock in its hand leaves a table that the next one puts in order.
    let broken = catch_unwind(AssertUnwindSafe(|| {
        table.change(|writer| {
            let _ = writer.add(BANNED, &prefix_v4(0xc633_6403, 32), None, Origin::Command);
            panic!("on purpose");
        })
    }));
    assert!(broken.is_err());
    assert_eq!(ban(&table, prefix_v4(0xc633_6404, 32), None), Added::New);
    assert!(!passes(&loaded, &v4(0xc633_6404, 0xcb00_7101)));
    assert_eq!(table.count(BANNED) as usize, table.list().len());
}

#[test]
#[ignore = "needs root"]
fn bans_beyond_the_most_are_refused_and_change_nothing() {
    let loaded = load("version: 1\ndefault: {in: pass}\n");
    let table = loaded.live().unwrap();
    let full = table
        .change(|writer| {
            (0..BANS as u32)
                .map(|n| prefix_v4(0x0b00_0000 + n, 32))
                .filter(|prefix| writer.add(BANNED, prefix, None, Origin::Command) != Added::New)
                .count()
        })
        .unwrap();
    assert_eq!((full, table.count(BANNED)), (0, BANS));
    assert!(!passes(
        &loaded,
        &v4(0x0b00_0000 + BANS as u32 - 1, 0xcb00_7101)
    ));
    assert!(passes(&loaded, &v4(0x0b00_0000 + BANS as u32, 0xcb00_7101)));
}
