//! Live filters in the loaded program: random frames and filters about which host, kernel and a model
//! agree; frames of every reason; the rate to the packet; leases; what filters cost.
//!
//! `FIREWALL_CASES=N` says how many random frames there are (default 6,000).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::field::Field;
use firewall_common::live::Prefix;
use firewall_common::log::SeenBits;
use firewall_common::pipeline::NO_RULE;
use firewall_common::reason::Reason;
use firewall_common::region::Region;
use firewall_common::verdict::Action;
use firewall_common::watch::{ARMED, ETHERTYPE, RATE, SLOTS, at, claim, ring, word};
use firewall_engine::kernel::filters::{FilterTable, Held, MODEST_SLOTS, OWN_SLOTS, Taken};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::host::{Memory, decide_after};
use firewall_policy::log::{Event, Reader};
use firewall_policy::packet_text;
use firewall_policy::tables::Tables;
use firewall_policy::watch::{Filter, Wanted};
use firewall_tests::evasion::rows;
use firewall_tests::frames::{self, Taste};
use firewall_tests::number;
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use std::collections::HashSet;
use std::thread::scope;
use std::time::{Duration, Instant};

const POLICY: &str = "
version: 1
default: {in: drop}
packet: {fragments: follow-first}
rules:
  - {name: ssh, proto: tcp, port: 22, limit: {rate: 2/d, burst: 2}, action: pass}
  - {name: telnet, proto: tcp, port: 23, action: reject}
  - {name: dns, proto: udp, port: 53, action: pass}
  - {name: lab, from: [192.0.2.0/24, \"2001:db8::/32\"], proto: [tcp, udp], port: 1-1023, action: drop}
  - {name: lldp, ethertype: lldp, action: pass}
";

fn load(text: &str) -> (Tables, Loaded) {
    let policy = parse(text).unwrap();
    let counters = policy.counters().len() as u32;
    let slots: Vec<u32> = (0..counters).collect();
    let tables = compile(&policy, &slots).unwrap();
    let loaded = Loaded::load(&tables, counters, &[]).unwrap();
    (tables, loaded)
}

fn run(loaded: &Loaded, text: &str) {
    let packet = packet_text::parse(text).unwrap();
    loaded.run(&packet.frame(), 1, None).unwrap();
}

/// Arms a filter for the kernel.
fn watch(table: &FilterTable, filter: &Filter) -> Held {
    let held = table.take(None).unwrap();
    table.arm(held.slot, &filter.words());
    held
}

/// All events of a filter so far.
fn events(table: &FilterTable, held: &Held) -> Vec<Event> {
    let mut reader = FilterTable::reader(held.slot, table.counts(held.slot).first);
    std::iter::from_fn(|| table.next(&mut reader)).collect()
}

fn random_prefix(random: &mut Random, taste: &Taste) -> Prefix {
    if random.one_in(2) {
        let (address, length) = (random.pick(&taste.v4), random.below(33));
        Prefix::of(u64::from(address) << 32, 0, length, 0)
    } else {
        let (address, length) = (random.pick(&taste.v6), random.below(129));
        Prefix::of((address >> 64) as u64, address as u64, length, 1)
    }
}

/// A filter that names little, so that it matches often.
fn random_filter(random: &mut Random, taste: &Taste) -> Filter {
    fn maybe<T>(random: &mut Random, what: impl FnOnce(&mut Random) -> T) -> Option<Wanted<T>> {
        random.one_in(4).then(|| Wanted {
            not: random.one_in(3),
            what: what(random),
        })
    }
    let ports = |random: &mut Random| {
        let first = random.pick(&taste.ports);
        (first, first.saturating_add(random.pick(&[0, 0, 1, 1_000])))
    };
    let reasons = match random.below(3) {
        0 => [random.bits(), random.bits()],
        1 => [random.pick(&[0, u64::MAX]), u64::MAX],
        _ => [u64::MAX; 2],
    };
    Filter {
        reasons,
        from: maybe(random, |random| random_prefix(random, taste)),
        to: maybe(random, |random| random_prefix(random, taste)),
        port: maybe(random, ports),
        source_port: maybe(random, ports),
        destination_port: maybe(random, ports),
        protocol: maybe(random, |random| {
            random.pick(&[6, 17, 1, 58, 0x0806 | ETHERTYPE, 0x88cc | ETHERTYPE])
        }),
        rule: maybe(random, |random| {
            let slot = random.below(6) as u32;
            (slot, random.one_in(2).then(|| random.below(6) as u32))
        }),
        interface: maybe(random, |random| random.below(2) as u32),
    }
}

/// Whether an event is of a packet that a filter is for. With code of its own: by numbers of 128 bits.
fn fits(filter: &Filter, event: &Event) -> bool {
    fn ok<T>(wanted: Option<&Wanted<T>>, is: impl FnOnce(&T) -> bool) -> bool {
        wanted.is_none_or(|wanted| is(&wanted.what) != wanted.not)
    }
    let seen = event.seen.unwrap();
    let is_v6 = event.key.is_v6 != 0;
    let has_addresses = !event.is_frame && !seen.is_nameless();
    let inside = |wanted: &Option<Wanted<Prefix>>, address: u128| {
        let Some(Wanted { what: prefix, not }) = wanted else {
            return true;
        };
        let bits = if prefix.is_v6 == 0 { 32 } else { 128 };
        let first = match prefix.is_v6 {
            0 => u128::from(prefix.hi >> 32),
            _ => u128::from(prefix.hi) << 64 | u128::from(prefix.lo),
        };
        let left = bits - prefix.length;
        let last = first
            + if left == 128 {
                u128::MAX
            } else {
                (1 << left) - 1
            };
        let is_inside = (prefix.is_v6 != 0) == is_v6 && (first..=last).contains(&address);
        has_addresses && is_inside != *not
    };
    let port = |field: Field| event.field(field).filter(|_| !event.is_frame);
    let (source, destination) = (port(Field::SourcePort), port(Field::DestinationPort));
    let has = |ports: &(u16, u16), port: Option<u32>| {
        port.is_some_and(|port| (u32::from(ports.0)..=u32::from(ports.1)).contains(&port))
    };
    let protocol = match event.is_frame {
        true => event
            .field(Field::DestinationPort)
            .map(|kind| kind | ETHERTYPE),
        false => event.field(Field::Proto),
    };
    let rule = event.rule as u32;
    let passes = usize::from(event.action != Action::PASS);
    filter.reasons[passes] & 1 << seen.reason().0 != 0
        && inside(&filter.from, event.key.src())
        && inside(&filter.to, event.key.dst())
        && ok(filter.port.as_ref(), |it| {
            has(it, source) || has(it, destination)
        })
        && ok(filter.source_port.as_ref(), |it| has(it, source))
        && ok(filter.destination_port.as_ref(), |it| has(it, destination))
        && ok(filter.protocol.as_ref(), |it| protocol == Some(*it))
        && ok(filter.rule.as_ref(), |it| {
            rule == it.0 || Some(rule) == it.1
        })
        && ok(filter.interface.as_ref(), |it| {
            *it == u32::from(event.key.interface)
        })
}

/// An event without what differs from run to run, and from slot to slot.
fn comparable(event: &Event) -> Event {
    let seen = event.seen.unwrap();
    let same = SeenBits::new(seen.reason(), 0, seen.bytes());
    Event {
        number: 0,
        time: 0,
        seen: Some(if seen.is_nameless() {
            same.nameless()
        } else {
            same
        }),
        ..event.clone()
    }
}

#[test]
#[ignore = "needs root"]
fn model_host_and_kernel_agree_about_random_filters() {
    let cases = number("FIREWALL_CASES", 6_000).unwrap();
    let mut random = Random::new(11);
    let taste = Taste {
        v4: vec![0xc000_0209, 0xc633_6450, 0xcb00_7109],
        v6: vec![0x2001_0db8 << 96 | 9, 0x2001_0db8 << 96 | 80],
        ports: vec![22, 23, 53, 80, 8080, 4000],
    };
    let (tables, loaded) = load(POLICY);
    let (table, memory) = (loaded.filters().unwrap(), Memory::of(&tables));
    let set = |slot: u64, index: u64, value: u64| {
        memory.set(&tables, Region::Watch, word(slot, index), value);
    };
    let all = watch(&table, &Filter::ALL);
    let others: Vec<Held> = (1..SLOTS).map(|_| watch(&table, &Filter::ALL)).collect();
    memory.set(&tables, Region::Watch, ARMED, (1 << SLOTS) - 1);
    let mut readers: Vec<[Reader; 2]> = (0..SLOTS)
        .map(|slot| [FilterTable::reader(slot, 0), Reader::at(ring(slot), 0)])
        .collect();
    let (mut shown, mut reasons, mut nameless) = (0, HashSet::new(), 0);
    for case in 0..cases {
        let mut filters = vec![Filter::ALL];
        if case % 20 == 0 {
            filters.extend(others.iter().map(|_| random_filter(&mut random, &taste)));
        }
        for (held, filter) in [&all].into_iter().chain(&others).zip(&filters) {
            table.arm(held.slot, &filter.words());
            for (index, value) in filter.words().into_iter().enumerate().skip(1) {
                set(held.slot, index as u64, value);
            }
        }
        assert!(table.renew(all.secret).is_some());
        let frame = frames::random(&mut random, &taste);
        (0..SLOTS).for_each(|slot| {
            table.refill(slot);
            set(slot, at::DUE, 0);
            set(slot, at::CLAIM, claim(1, 1 << 20));
        });
        loaded.run(&frame, 1, None).unwrap();
        let _ = decide_after(&tables, &memory, &frame, 0);
        let words = memory.words(Region::Watch);
        let read = |offset: u64| words[(offset / 8) as usize];
        let found: Vec<[Vec<Event>; 2]> = readers
            .iter_mut()
            .map(|[kernel, host]| {
                let kernel = std::iter::from_fn(|| table.next(kernel));
                let kernel = kernel.map(|event| comparable(&event)).collect();
                let host = std::iter::from_fn(|| host.next(&read));
                [kernel, host.map(|event| comparable(&event)).collect()]
            })
            .collect();
        for [kernel, host] in &found {
            assert_eq!(kernel, host, "case {case}: {frame:02x?}");
        }
        let [event] = &found[0][0][..] else {
            panic!("case {case}: {found:?}");
        };
        assert_eq!(event.seen.unwrap().bytes() as usize, frame.len());
        reasons.insert(event.seen.unwrap().reason());
        nameless += usize::from(event.seen.unwrap().is_nameless());
        for (filter, found) in CURRENT.with_borrow_mut(|current| {
            if filters.len() > 1 {
                *current = filters[1..].to_vec();
            }
            current
                .clone()
                .into_iter()
                .zip(&found[1..])
                .collect::<Vec<_>>()
        }) {
            let expected = Vec::from_iter(fits(&filter, event).then(|| event.clone()));
            assert_eq!(found[0], expected, "case {case}: {filter:?} {frame:02x?}");
            shown += found[0].len();
        }
    }
    println!(
        "{cases} frames of {} reasons, {nameless} without addresses, {shown} of {} shown",
        reasons.len(),
        cases * 3
    );
    assert!(
        reasons.len() > 15
            && nameless > 0
            && shown as u64 * 8 > cases
            && (shown as u64) < cases * 2
    );
}

thread_local! {
    /// The filters in the other slots.
    static CURRENT: std::cell::RefCell<Vec<Filter>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
#[ignore = "needs root"]
fn every_frame_is_shown_with_its_reason() {
    let (tables, loaded) = load(POLICY);
    let table = loaded.filters().unwrap();
    let held = watch(&table, &Filter::ALL);
    let mut seen = HashSet::new();
    let mut frames: Vec<_> = rows().into_iter().map(|row| row.frame).collect();
    frames.extend(
        [
            "lldp",
            "arp 203.0.113.9 > 198.51.100.80",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn",
            "tcp 203.0.113.9:5000 > 198.51.100.80:23 syn",
        ]
        .map(|text| packet_text::parse(text).unwrap().frame()),
    );
    for frame in frames {
        let memory = Memory::of(&tables);
        table.refill(held.slot);
        let before = events(&table, &held).len();
        let counted = loaded.reasons(0);
        loaded.run(&frame, 1, None).unwrap();
        let now = events(&table, &held);
        assert_eq!(now.len(), before + 1, "{frame:02x?}");
        let event = now.last().unwrap();
        let reason = event.seen.unwrap().reason();
        // What is counted is what is shown.
        let verdict = usize::from(event.action != Action::PASS);
        let changed = loaded.reasons(0)[reason.0 as usize][verdict].packets;
        let was = counted[reason.0 as usize][verdict].packets;
        assert_eq!(changed, was + 1, "{reason}: {frame:02x?}");
        seen.insert(reason);
        drop(memory);
    }
    println!("{} reasons", seen.len());
    assert!(seen.iter().any(|reason| reason.is_reject()));
    for reason in [
        Reason::RULE,
        Reason::LIMIT,
        Reason::NO_MATCH,
        Reason::ARP,
        Reason::FRAG_TINY,
        Reason::TRUNCATED,
        Reason::BOGON,
        Reason::SOURCE_ROUTE,
    ] {
        assert!(seen.contains(&reason), "no frame of {reason}");
    }
}

#[test]
#[ignore = "needs root"]
fn banned_packets_are_shown() {
    let (_, loaded) = load(POLICY);
    let table = loaded.filters().unwrap();
    let drops = Filter {
        reasons: [0, 1 << Reason::BANNED.0],
        ..Filter::ALL
    };
    let held = watch(&table, &drops);
    let packet = "udp 203.0.113.9:5000 > 198.51.100.80:53";
    run(&loaded, packet);
    assert_eq!(events(&table, &held), []);
    let prefix = Prefix::of(0xcb00_7109 << 32, 0, 32, 0);
    loaded
        .live()
        .unwrap()
        .change(|writer| {
            let origin = firewall_engine::kernel::live::Origin::Command;
            writer.add(firewall_common::live::BANNED, &prefix, None, origin)
        })
        .unwrap();
    run(&loaded, packet);
    let [event] = &events(&table, &held)[..] else {
        panic!("not one event");
    };
    assert_eq!(event.seen.unwrap().reason(), Reason::BANNED);
    assert_eq!((event.key.src(), event.rule), (0xcb00_7109, NO_RULE.into()));
    assert_eq!(event.field(Field::DestinationPort), Some(53));
}

#[test]
#[ignore = "needs root"]
fn what_is_beyond_the_rate_is_counted_to_the_packet() {
    const THREADS: u64 = 4;
    const RUNS: u64 = 5_000;
    let (_, loaded) = load(POLICY);
    let table = loaded.filters().unwrap();
    let held = watch(&table, &Filter::ALL);
    let ends = watch(
        &table,
        &Filter {
            reasons: [0; 2],
            ..Filter::ALL
        },
    );
    let frame = packet_text::parse("udp 203.0.113.9:5000 > 198.51.100.80:53")
        .unwrap()
        .frame();
    let begin = Instant::now();
    let mut reader = FilterTable::reader(held.slot, table.counts(held.slot).first);
    let mut read = 0;
    scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..RUNS {
                        loaded.run(&frame, 1, None).unwrap();
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            read += std::iter::from_fn(|| table.next(&mut reader)).count() as u64;
        }
    });
    read += std::iter::from_fn(|| table.next(&mut reader)).count() as u64;
    let counts = table.counts(held.slot);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{counts:?} in {seconds:.2} s, {read} read, {} missed",
        reader.missed()
    );
    assert_eq!(counts.matched, THREADS * RUNS);
    assert_eq!(read + reader.missed() + counts.beyond, THREADS * RUNS);
    let most = RATE as f64 * (seconds + 1.0) + 1.0;
    assert!(read >= RATE && (counts.matched - counts.beyond) as f64 <= most);
    assert_eq!(table.counts(ends.slot).matched, 0);
}

#[test]
#[ignore = "needs root"]
fn a_slot_whose_lease_has_ended_is_disarmed_and_taken() {
    let (_, loaded) = load(POLICY);
    let table = loaded.filters().unwrap();
    let held: Vec<Held> = (0..SLOTS).map(|_| watch(&table, &Filter::ALL)).collect();
    assert_eq!(table.take(None), Err(Taken::All));
    run(&loaded, "udp 203.0.113.9:5000 > 198.51.100.80:53");
    assert_eq!(table.armed(), SLOTS as u32);
    table.let_lapse(&held[2]);
    (0..256).for_each(|_| run(&loaded, "udp 203.0.113.9:5000 > 198.51.100.80:53"));
    assert_eq!(table.armed(), SLOTS as u32 - 1);
    let count = |held: &Held| events(&table, held).len();
    assert_eq!(
        held.iter().map(count).collect::<Vec<_>>(),
        [257, 257, 256, 257]
    );
    // Whoever comes back in time gets it back, and is told.
    let again = table.renew(held[2].secret).unwrap();
    assert!(again.lapsed && again.slot == held[2].slot);
    table.let_lapse(&held[2]);
    let other = watch(&table, &Filter::ALL);
    assert_eq!(other.slot, held[2].slot);
    assert!(table.renew(held[2].secret).is_none());
    table.release(&held[2]);
    assert!(
        table.take(None).is_err(),
        "only its holder gives a slot back"
    );
    table.release(&other);
    assert!(table.take(None).is_ok());
    // Those who may change nothing get half of them.
    held.iter().for_each(|held| table.release(held));
    // And none of them gets all of that.
    let all: Vec<_> = (0..SLOTS).map(|_| table.take(Some(1_000))).collect();
    let own = all.iter().filter(|it| it.is_ok()).count();
    assert_eq!(own as u64, OWN_SLOTS);
    assert_eq!(all.last(), Some(&Err(Taken::Own)));
    let others = (1_001..1_009).filter_map(|user| table.take(Some(user)).ok());
    assert_eq!(own as u64 + others.count() as u64, MODEST_SLOTS);
    assert_eq!(table.take(Some(1_009)), Err(Taken::Modest));
    assert!(table.take(None).is_ok());
}

#[test]
#[ignore = "needs root; alone: it measures what a packet costs"]
fn a_filter_costs_nanoseconds() {
    const ROUNDS: usize = 41;
    const REPEAT: u32 = 200_000;
    let (_, loaded) = load(POLICY);
    let before = std::env::var_os("FIREWALL_BEFORE_OBJECT").map(|path| {
        let policy = parse(POLICY).unwrap();
        let counters = policy.counters().len() as u32;
        let slots: Vec<u32> = (0..counters).collect();
        let tables = compile(&policy, &slots).unwrap();
        let bytes = std::fs::read(path).unwrap();
        // Aligned to 8.
        let mut room = vec![0; bytes.len() + 8];
        let start = room.as_ptr().align_offset(8);
        room[start..start + bytes.len()].copy_from_slice(&bytes);
        let object = &room[start..start + bytes.len()];
        Loaded::load_object(object, &tables, counters, &[]).unwrap()
    });
    let table = loaded.filters().unwrap();
    let filter = Filter {
        from: Some(Wanted {
            what: Prefix::of(0xcb00_7107 << 32, 0, 32, 0),
            not: false,
        }),
        ..Filter::ALL
    };
    let frame = packet_text::parse("udp 203.0.113.9:5000 > 198.51.100.80:53")
        .unwrap()
        .frame();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (slots, times) in [None, Some(0), Some(1), Some(SLOTS)]
            .into_iter()
            .zip(&mut times)
        {
            let held: Vec<Held> = (0..slots.unwrap_or(0))
                .map(|_| watch(&table, &filter))
                .collect();
            let of = match (slots, &before) {
                (None, Some(before)) => before,
                _ => &loaded,
            };
            times.push(of.run(&frame, REPEAT, None).unwrap().duration);
            for held in &held {
                table.disarm(held.slot);
                table.release(held);
            }
        }
    }
    let [without, none, one, all] = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2].as_nanos() as u64
    });
    println!(
        "before {without} ns (if FIREWALL_BEFORE_OBJECT is set), no filter {none} ns, one {one} ns, {SLOTS} {all} ns"
    );
    assert!(one <= none + 30 && all <= none + 100, "{none} {one} {all}");
}
