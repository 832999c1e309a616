//! Rate limits on the host build: against the oracle's token buckets over random sequences, on eight
//! threads at once, and a heavy source held while others spray.

use firewall_common::abi::Config;
use firewall_common::classify::{Hit, classify};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::machine::Machine;
use firewall_common::plain::Plain;
use firewall_common::region::Region;
use firewall_common::verdict::Action;
use firewall_policy::compile::compile;
use firewall_policy::host::{HostMachine, Memory};
use firewall_policy::oracle::{Allowances, evaluate_at};
use firewall_policy::policy_tests;
use firewall_policy::rule::Policy;
use firewall_policy::source::{Files, read_policy};
use firewall_policy::tables::Tables;
use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;

const SECOND: u64 = 1_000_000_000;

/// No files.
#[derive(Debug)]
struct NoFiles;

impl Files for NoFiles {
    fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Err(std::io::Error::other(path.to_owned()))
    }
}

fn read(rules: &str) -> (Policy, Tables) {
    let text = format!("version: 1\ndefault: {{in: drop}}\nrules:\n{rules}");
    let read = read_policy("limits.yaml", &text, &NoFiles).expect("a policy");
    let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
    let tables = compile(&read.policy, &slots).expect("within the limits");
    (read.policy, tables)
}

/// Numbers that are the same in every run (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}

fn v4(source: u32) -> PacketKey {
    let mut key = PacketKey::empty(Family::V4);
    key.src_lo = source.into();
    key.dst_lo = 0xcb00_7101;
    key.fields[Field::Proto as usize] = 17;
    key.fields[Field::DestinationPort as usize] = 53;
    key
}

fn packet(random: &mut Random) -> PacketKey {
    let mut key = if random.below(3) == 0 {
        let mut key = PacketKey::empty(Family::V6);
        // Differences in every part of the address that a limit looks at, or does not.
        key.src_hi = 0x2001_0db8_0000_0000 | random.below(2) << 8 | random.below(2);
        key.src_lo = random.below(2);
        key.dst_hi = 0x2001_0db8_ffff_0000;
        key.dst_lo = random.below(3);
        key
    } else {
        let mut key = v4(0xc612_0000 | (random.below(3) << 8 | random.below(3)) as u32);
        key.dst_lo += random.below(2);
        key
    };
    let tcp = random.below(2) == 0;
    key.fields[Field::Proto as usize] = if tcp { 6 } else { 17 };
    key.fields[Field::DestinationPort as usize] = [22, 53, 80][random.below(3) as usize];
    if tcp {
        key.fields[Field::TcpFlags as usize] = [2, 16, 18, 0xc2][random.below(4) as usize];
    }
    key.interface = random.below(3) as u8;
    key
}

/// What the host build says: counted slots, and the slot and action that decided.
fn host(tables: &Tables, memory: &Memory, key: &PacketKey) -> (Vec<u32>, Option<Hit>) {
    let counted = RefCell::new(Vec::new());
    let hit = classify(&HostMachine::with_memory(tables, &counted, memory), key);
    (counted.into_inner(), hit)
}

/// Rates whose packets are a whole number of nanoseconds apart, so that both sides are exact.
const RULES: &str = "\
- {name: all, limit: {rate: 1k/s, burst: 900, per: interface}, action: next}\n\
- {name: ssh, proto: tcp, port: 22, limit: {new: 6/30s, per: source}, action: pass}\n\
- {name: dst, limit: {rate: 100/s, burst: 3, per: destination}, over: next, action: pass}\n\
- {name: seen, action: next}\n\
- {name: net, proto: udp, limit: {rate: 50/s, burst: 1, per: source/24}, action: next}\n\
- {name: wide, proto: udp, limit: {rate: 20/s, per: source/16/48}, over: next, action: drop}\n\
- {name: rest, limit: {rate: 250/s, burst: 40}, action: pass}\n";

#[test]
fn oracle_and_host_agree_on_sequences() {
    let (policy, tables) = read(RULES);
    let rules = policy.rules.len();
    let over = |rule: usize| {
        let before = policy.rules[..rule].iter();
        (rules + before.filter(|rule| rule.limit.is_some()).count()) as u32
    };
    let mut ends = [[0; 2]; 8];
    for seed in 0..20 {
        let mut random = Random(seed);
        let (memory, mut allowances) = (Memory::default(), Allowances::default());
        let mut now = SECOND;
        // From many in a millisecond to few in a second.
        let pause = [20_000, 400_000, 5_000_000, 300_000_000][seed as usize % 4];
        for number in 0..3_000 {
            now += random.below(pause);
            memory.now.set(now);
            let key = packet(&mut random);
            let (want, dropped) = evaluate_at(&policy, &key, now, &mut allowances);
            let (counted, hit) = host(&tables, &memory, &key);
            let decided = want.decided.map(|rule| match dropped {
                true => (over(rule), Action::OVER),
                false => (rule as u32, policy.rules[rule].action),
            });
            assert_eq!(
                hit.map(|hit| (hit.slot, hit.action)),
                decided,
                "seed {seed}, packet {number}: {key:?}"
            );
            // What is over a limit and goes on is counted in a slot that the oracle does not name.
            let within: Vec<usize> = counted
                .iter()
                .map(|&slot| slot as usize)
                .filter(|&slot| slot < rules)
                .collect();
            assert_eq!(within, want.counted, "seed {seed}, packet {number}");
            let end = want.decided.unwrap_or(7);
            ends[end][usize::from(dropped)] += 1;
        }
    }
    // Every end was met: each limit was within and over.
    let never = |&(rule, dropped): &(usize, usize)| ends[rule][dropped] == 0;
    let wanted = [
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
        (4, 1),
        (5, 0),
        (6, 0),
        (6, 1),
    ];
    assert_eq!(wanted.iter().find(|end| never(end)), None, "{ends:?}");
}

/// Rates whose bytes are a whole number of nanoseconds apart, beside one of packets.
const BYTES: &str = "\
- {name: all, limit: {rate: 64kB/s, burst: 3kB, per: interface}, over: next, action: next}\n\
- {name: some, proto: udp, limit: {rate: 8kB/s, burst: 1500B, per: source/24}, over: next, action: pass}\n\
- {name: tcp, proto: tcp, limit: {rate: 240kB/m, burst: 2kB, per: destination}, action: pass}\n\
- {name: rest, limit: {rate: 100/s, burst: 4}, action: pass}\n";

#[test]
fn oracle_and_host_agree_on_bytes() {
    let (policy, tables) = read(BYTES);
    assert_eq!(tables.config.has_bytes, 1);
    let rules = policy.rules.len() as u32;
    let mut ends = [[0; 2]; 5];
    for seed in 0..20 {
        let mut random = Random(seed);
        let (memory, mut allowances) = (Memory::default(), Allowances::default());
        let mut now = SECOND;
        let pause = [20_000, 2_000_000, 20_000_000, 300_000_000][seed as usize % 4];
        for number in 0..3_000 {
            now += random.below(pause);
            memory.now.set(now);
            let mut key = packet(&mut random);
            let length = match random.below(8) {
                // Larger than a burst, and of unknown length.
                0 => 60_000 + random.below(5_537),
                _ => 20 + random.below(1_481),
            };
            key.fields[Field::Length as usize] = length as u32;
            let (want, dropped) = evaluate_at(&policy, &key, now, &mut allowances);
            let (_, hit) = host(&tables, &memory, &key);
            let decided = want.decided.map(|rule| match dropped {
                true => (rules + rule as u32, Action::OVER),
                false => (rule as u32, policy.rules[rule].action),
            });
            let got = hit.map(|hit| (hit.slot, hit.action));
            assert_eq!(got, decided, "seed {seed}, packet {number}: {key:?}");
            ends[want.decided.unwrap_or(4)][usize::from(dropped)] += 1;
        }
    }
    // `some` within; `tcp` and `rest` both ways.
    let met = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)];
    assert!(
        met.iter().all(|&(rule, over)| ends[rule][over] != 0),
        "{ends:?}"
    );
}

/// At a hundred gigabits a second too, and of a packet of any length.
#[test]
fn a_rate_of_bytes_holds_over_time() {
    for (rate, bytes_a_second) in [
        ("100Gbit/s", 12_500_000_000),
        ("1MB/s", 1_000_000),
        ("8bit/s", 1),
    ] {
        let (_, tables) = read(&format!(
            "- {{name: a, limit: {{rate: {rate}, burst: 64KiB}}, action: pass}}\n"
        ));
        for length in [40, 1_500, 65_535] {
            let memory = Memory::default();
            let mut key = v4(1);
            key.fields[Field::Length as usize] = length;
            // As many packets as come in the time of a hundred bursts, twice as many as fit.
            let time = 100 * 65_536 * SECOND / bytes_a_second;
            let count = 2 * (100 * 65_536 / u64::from(length)).max(100);
            let mut passed = 0;
            for number in 0..count {
                let passed_by = u128::from(time) * u128::from(number) / u128::from(count);
                memory.now.set(SECOND + passed_by as u64);
                passed += u64::from(
                    host(&tables, &memory, &key)
                        .1
                        .is_some_and(|hit| hit.slot == 0),
                );
            }
            let (bytes, allowed) = (passed * u64::from(length), 101 * 65_536);
            assert!(
                bytes <= allowed + 65_536 / 100,
                "{rate}, {length}: {bytes} of {allowed}"
            );
            // A bucket of one packet loses what comes in while it is full: two of three packets
            // wait where they come a nanosecond early.
            let least = if length == 65_535 {
                allowed * 2 / 3
            } else {
                allowed
            };
            assert!(
                bytes + 2 * 65_536 >= least,
                "{rate}, {length}: {bytes} of {allowed}"
            );
        }
    }
}

#[test]
fn a_heavy_source_is_held_while_others_spray() {
    const RATE: u64 = 1_000;
    let (_, tables) = read(
        "- {name: dns, proto: udp, limit: {rate: 1k/s, burst: 100, per: source}, action: pass}\n",
    );
    let cases = std::env::var("FIREWALL_CASES").ok();
    // In less than a tenth of a second, chance would decide.
    let sprayed: u64 = cases.map_or(1_000_000, |text| text.parse().expect("a number"));
    let sprayed = sprayed.max(100_000);
    let memory = Memory::default();
    let heavy = v4(0x0a00_0001);
    let (mut heavy_passed, mut size) = (0, 0);
    let start = SECOND;
    // A million other sources a second; the heavy one sends ten times its rate among them.
    for number in 0..sprayed {
        memory.now.set(start + number * 1_000);
        host(&tables, &memory, &v4(0x2000_0000 + number as u32));
        if number % 100 == 0 {
            let passes = host(&tables, &memory, &heavy)
                .1
                .is_some_and(|hit| hit.slot == 0);
            heavy_passed += u64::from(passes);
        }
        if number == 1_000 {
            size = memory.words(Region::Buckets).len();
        }
    }
    let allowed = 100 + RATE * sprayed / 1_000_000;
    println!("{heavy_passed} of {allowed} of the heavy source's packets");
    assert!(
        heavy_passed * 100 <= allowed * 105,
        "{heavy_passed} of {allowed}"
    );
    assert!(
        heavy_passed * 100 >= allowed * 95,
        "{heavy_passed} of {allowed}"
    );
    assert_eq!(memory.words(Region::Buckets).len(), size);
}

/// Memory that threads share, as processors do. The tables are the host's.
#[derive(Clone, Copy)]
struct Shared<'a> {
    host: HostMachine<'a>,
    words: &'a [AtomicU64],
    clock: &'a AtomicU64,
}

impl Shared<'_> {
    fn word(&self, region: Region, offset: u64) -> &AtomicU64 {
        assert_eq!(region, Region::Buckets);
        &self.words[(offset as usize / 8) & (self.words.len() - 1)]
    }
}

impl Plain for Shared<'_> {}

impl Machine for Shared<'_> {
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        self.host.constant(pick)
    }
    fn table_u16(&self, offset: u64) -> u32 {
        self.host.table_u16(offset)
    }
    fn table_u32(&self, offset: u64) -> u32 {
        self.host.table_u32(offset)
    }
    fn table_u64(&self, offset: u64) -> u64 {
        self.host.table_u64(offset)
    }
    fn opaque(&self, value: u64) -> u64 {
        value
    }
    fn forget(&self, value: u64) -> u64 {
        value
    }
    fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }
    fn read(&self, region: Region, offset: u64) -> u64 {
        self.word(region, offset).load(Ordering::Acquire)
    }
    fn write(&self, region: Region, offset: u64, word: u64) {
        self.word(region, offset).store(word, Ordering::Release);
    }
    fn exchange_if(&self, region: Region, offset: u64, old: u64, new: u64) -> bool {
        self.word(region, offset)
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
    fn unlock(&self, region: Region, offset: u64) {
        self.write(region, offset, 0);
    }
    fn count_rule(&self, slot: u32) {
        self.host.count_rule(slot);
    }

    fn quiet(&self) -> Self {
        Self {
            host: self.host.quiet(),
            ..*self
        }
    }
}

#[test]
fn a_burst_is_exact_on_eight_threads() {
    const THREADS: usize = 8;
    const BURST: u64 = 50_000;
    for per in ["rule", "source"] {
        let (_, tables) = read(&format!(
            "- {{name: dns, proto: udp, limit: {{rate: 1/s, burst: {BURST}, per: {per}}}, \
             action: pass}}\n"
        ));
        let size = tables.config.buckets_size as usize / 8;
        let words: Vec<AtomicU64> = (0..size).map(|_| AtomicU64::new(0)).collect();
        let clock = AtomicU64::new(SECOND);
        let (barrier, passed) = (Barrier::new(THREADS), AtomicU64::new(0));
        scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let counted = RefCell::new(Vec::new());
                    let machine = Shared {
                        host: HostMachine::new(&tables, &counted),
                        words: &words,
                        clock: &clock,
                    };
                    barrier.wait();
                    for _ in 0..BURST / 4 {
                        let within = classify(&machine, &v4(1)).is_some_and(|hit| hit.slot == 0);
                        passed.fetch_add(u64::from(within), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), BURST, "per {per}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let rules = |count: usize, action: &str| -> String {
        let rule = |n| format!("- {{name: r{n}, limit: {{rate: 1/s}}, action: {action}}}\n");
        (0..count).map(rule).collect()
    };
    let compiled = |rules: &str| {
        let text = format!("version: 1\ndefault: {{in: drop}}\nrules:\n{rules}");
        let policy = match read_policy("limits.yaml", &text, &NoFiles) {
            Ok(read) => read.policy,
            Err(refused) => {
                return Err(refused.list[0].code.to_owned());
            }
        };
        let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
        match compile(&policy, &slots) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{} of {}", error.needed, error.limit)),
        }
    };
    assert_eq!(compiled(&rules(16, "next")), Ok(()));
    assert_eq!(compiled(&rules(17, "next")), Err("FW0179".to_owned()));
    // A limit and a log are two things to ask.
    let logged = |count| rules(count, "next, log: 1/s");
    assert_eq!(compiled(&logged(8)), Ok(()));
    assert_eq!(compiled(&logged(9)), Err("FW0179".to_owned()));
    assert_eq!(compiled(&rules(1_024, "pass")), Ok(()));
    assert_eq!(
        compiled(&rules(1_025, "pass")),
        Err("1025 of 1024".to_owned())
    );
}

/// Rules that match until a time, with and without a rate, as the oracle has them; the program's
/// clock and the time since the epoch are some days apart.
#[test]
fn rules_stop_matching_when_their_time_has_come() {
    let (policy, tables) = read(
        "- {name: a, proto: udp, expires: 1970-01-01T00:01:40Z, action: drop}\n\
         - {name: b, proto: udp, expires: 1970-01-01T00:01:20Z, limit: {rate: 1/s, burst: 3}, over: next, action: pass}\n\
         - {name: c, proto: udp, expires: 1970-01-01T00:03:20Z, mode: audit, action: drop}\n\
         - {name: d, proto: udp, limit: {rate: 1/s, burst: 2}, action: pass}\n",
    );
    const APART: u64 = 50 * SECOND;
    let mut tables = tables;
    tables.config.clock = [APART as u32, (APART >> 32) as u32];
    let (memory, mut allowances) = (Memory::default(), Allowances::default());
    let mut random = Random(5);
    let (mut time, mut seen) = (60 * SECOND, [0; 4]);
    while time < 220 * SECOND {
        time += random.below(SECOND);
        memory.now.set(time - APART);
        let key = v4(random.below(3) as u32);
        let (expected, over) = evaluate_at(&policy, &key, time, &mut allowances);
        let counted = RefCell::new(Vec::new());
        let machine = HostMachine::with_memory(&tables, &counted, &memory);
        let hit = classify(&machine, &key);
        let rule = hit.map(|hit| policy.rule_of_counter(hit.slot as usize));
        assert_eq!(rule.flatten(), expected.decided, "at {time}");
        assert_eq!(
            hit.is_some_and(|hit| hit.action == Action::OVER),
            over,
            "at {time}"
        );
        let counted: Vec<usize> = counted
            .into_inner()
            .into_iter()
            .map(|slot| slot as usize)
            .collect();
        let rules: Vec<usize> = counted.into_iter().filter(|&slot| slot < 4).collect();
        assert_eq!(rules, expected.counted, "at {time}");
        expected.decided.inspect(|&rule| seen[rule] += 1);
    }
    // Rule a until 100 s, then d; b has expired before a, and is never seen; c only counts.
    assert!(
        seen[0] > 50 && seen[1] == 0 && seen[2] == 0 && seen[3] > 100,
        "{seen:?}"
    );
}

#[test]
fn what_has_expired_when_it_is_read_is_not_in_the_tables() {
    struct Later;
    impl Files for Later {
        fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
            NoFiles.open(path)
        }
        fn now(&self) -> u64 {
            86_400
        }
    }
    let text = |expires: &str| {
        // Essential traffic that must be asked for has limits of its own.
        format!(
            "version: 1\ndefault: {{in: drop, essential: {{dhcp: false, icmp_error: false}}}}\nrules:\n\
             - {{name: a, {expires}action: pass}}\n"
        )
    };
    let read = |expires: &str| read_policy("t.yaml", &text(expires), &Later).expect("a policy");
    let gone = read("expires: 1970-01-02, ");
    assert!(!gone.policy.rules[0].enabled);
    assert!(
        gone.warnings
            .list
            .iter()
            .any(|warning| warning.code == "FW0206")
    );
    let slots = [0];
    let tables = compile(&gone.policy, &slots).expect("small");
    assert_eq!((tables.config.v4.rules, tables.config.expires), (0, 0));
    let kept = read("expires: 1970-01-02T00:00:01Z, ");
    let tables = compile(&kept.policy, &slots).expect("small");
    assert_eq!((tables.config.v4.rules, tables.config.expires), (1, 1));
    assert_eq!(tables.config.buckets_size, 0);
    let plain = compile(&read("").policy, &slots).expect("small");
    assert_eq!((plain.config.expires, plain.config.has_next), (0, 0));
}

/// Time alone refuses no policy: what was loaded yesterday loads today, and a machine that starts
/// after the moment is not without a filter.
#[test]
fn a_test_of_what_has_expired_is_left_out_with_a_warning() {
    struct At(u64);
    impl Files for At {
        fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
            NoFiles.open(path)
        }
        fn now(&self) -> u64 {
            self.0
        }
    }
    let text = "version: 1\ndefault: {in: drop}\nrules:\n\
         - {name: party, proto: udp, port: 53, expires: 1970-01-02, action: pass}\n\
         - {name: off, enabled: false, proto: udp, port: 54, expires: 1970-01-02, action: pass}\n\
         tests:\n\
         - {name: guests, packet: 'udp 192.0.2.1 > 192.0.2.2:53', expect: pass, by: party}\n\
         - {name: nobody, packet: 'udp 192.0.2.1 > 192.0.2.2:54', expect: drop}\n\
         - {name: wrong, packet: 'udp 192.0.2.1 > 192.0.2.2:54', expect: pass}\n";
    let left = |now: u64| {
        let read = read_policy("t.yaml", text, &At(now)).expect("a policy");
        let read = policy_tests::in_time("t.yaml", text, read);
        let names: Vec<String> = read.tests.into_iter().map(|test| test.name).collect();
        let warnings = read.warnings.list;
        let about_tests = warnings.iter().filter(|w| w.message.contains("the test"));
        (names, about_tests.count())
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(left(86_399), (names(&["guests", "nobody", "wrong"]), 0));
    // A rule that is switched off excuses nothing.
    assert_eq!(left(86_400), (names(&["nobody", "wrong"]), 1));
}
