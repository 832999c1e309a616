//! `action: reject` in the loaded program: what it sends back is, byte for byte, what the host build
//! makes and what the harness's oracle makes by the RFCs; how often it does is limited.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::abi::{broadcast, station};
use firewall_common::reason::Reason;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;
use firewall_tests::frames::{
    self, Frame, Ipv4, Sum, Taste, ethernet, ipv6, seal, tagged, tcp, udp,
};
use firewall_tests::number;
use firewall_tests::oracle;
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use std::collections::BTreeMap;

/// Frames for each policy, if `FIREWALL_FRAMES` does not ask for fewer.
const FRAMES: u64 = 6_000;

fn load(text: &str) -> (Policy, Tables, Loaded) {
    let policy = parse(&format!("version: 1\n{text}")).unwrap();
    let counters = policy.counters().len() as u32;
    let slots: Vec<u32> = (0..counters).collect();
    let tables = compile(&policy, &slots).unwrap();
    let loaded = Loaded::load(&tables, counters, &[]).unwrap();
    (policy, tables, loaded)
}

/// The station that the frames here are sent to, and the broadcast address of its network.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 4] = [192, 0, 2, 255];

/// As [`load`], with an answer for every packet that may have one; `known`: which frames are sent to
/// this host.
fn load_unlimited(text: &str, frags: u32, known: bool) -> (Policy, Tables, Loaded) {
    let policy = parse(&format!("version: 1\n{text}")).unwrap();
    let counters = policy.counters().len() as u32;
    let slots: Vec<u32> = (0..counters).collect();
    let mut tables = compile(&policy, &slots).unwrap().without_limits();
    tables.config.frags = frags;
    if known {
        tables.config.stations = 1;
        let own = OWN.iter().fold(0, |mac, &byte| mac << 8 | u64::from(byte));
        let to_all = u32::from_be_bytes(BROADCAST);
        tables.stations = vec![
            station(0, own),
            station(1, own + 9),
            broadcast(to_all.into()),
        ];
    }
    let loaded = Loaded::load(&tables, counters, &[]).unwrap();
    (policy, tables, loaded)
}

/// Frames of all kinds, and of those that are answered more than the random ones have.
fn frame(random: &mut Random) -> Frame {
    if random.one_in(2) {
        return frames::random(random, &Taste::default());
    }
    let data: Vec<u8> = (0..random.below(90)).map(|_| random.byte()).collect();
    let (proto, mut payload) = match random.below(4) {
        0 | 1 => {
            let flags = random.pick(&[0x02, 0x10, 0x18, 0x11, 0x12, 0xc2, 0x14, 0x04]);
            let mut segment = tcp(
                random.bits() as u16 | 1,
                random.bits() as u16 | 1,
                flags,
                &data,
            );
            segment[4..12].fill_with(|| random.byte());
            (6, segment)
        }
        2 => (
            17,
            udp(random.bits() as u16, random.bits() as u16 | 1, &data),
        ),
        _ if random.one_in(2) => (1, [&[8, 0, 0, 0, 0, 1, 0, 1][..], &data].concat()),
        _ => (253, data),
    };
    let sum = random.pick(&[Sum::Right, Sum::Right, Sum::Right, Sum::Bare, Sum::Wrong]);
    let to = random.pick(&[[192, 0, 2, 80], [192, 0, 2, 80], BROADCAST]);
    let tags: Vec<(u16, u16)> = (0..random.below(4))
        .map(|_| (random.pick(&[0x8100, 0x88a8]), random.bits() as u16))
        .collect();
    let mut frame = if random.one_in(2) {
        let mut header = Ipv4::new([198, 18, random.byte(), 1], to, proto);
        header.options = vec![1; random.pick(&[0, 0, 4, 40])];
        if proto != 253 {
            seal(&mut payload, proto, &header.src, &header.dst, sum);
        }
        ethernet(0x0800, &header.packet(&payload))
    } else {
        let mut source = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        source[8..].fill_with(|| random.byte());
        let mut destination = source;
        destination[4] = 9;
        let proto = if proto == 1 { 58 } else { proto };
        if proto != 253 {
            if proto == 58 {
                payload[0] = 128;
            }
            seal(&mut payload, proto, &source, &destination, sum);
        }
        let extensions = random.pick(&[0u8, 0, 0, 1, 4, 5]);
        let mut bytes = Vec::new();
        for left in (0..extensions).rev() {
            // Destination options, filled up.
            bytes.extend([if left == 0 { proto } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes.extend(payload);
        let next = if extensions == 0 { proto } else { 60 };
        ethernet(0x86dd, &ipv6(source, destination, next, 64, &bytes))
    };
    if random.one_in(8) {
        frame[5] ^= 1;
    }
    let mut frame = tagged(&frame, &tags);
    if random.one_in(4) {
        frame.resize(frame.len().max(60), 0);
    }
    frame
}

const EVERYTHING: &str = "\
default: {in: drop}
packet: {fragments: pass, ip_options: pass, malformed: rules}
rules:
  - {name: next, action: next}
  - {name: all, action: reject}
";

const IN_TUNNELS: &str = "\
default: {in: pass}
packet: {tunnels: inner, fragments: follow-first}
rules:
  - {name: closed, proto: [tcp, udp], action: reject}
";

#[test]
#[ignore = "needs root"]
fn kernel_host_and_oracle_answer_alike() {
    for (text, frags, known) in [
        (EVERYTHING, 0, true),
        (EVERYTHING, 1, false),
        (IN_TUNNELS, 0, true),
    ] {
        let (policy, tables, loaded) = load_unlimited(text, frags, known);
        let mut random = Random::new(5);
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let (memory, mut oracle_memory) = (host::Memory::default(), oracle::Seen::default());
        for _ in 0..number("FIREWALL_FRAMES", FRAMES).unwrap().min(FRAMES) {
            let frame = frame(&mut random);
            let context = || format!("frags {frags}, {frame:02x?}");
            let mut wanted = oracle::judge_after(&policy, &mut oracle_memory, &frame, 0);
            if known
                && wanted
                    .answer
                    .as_ref()
                    .is_some_and(|answer| !is_for_us(&frame, answer))
            {
                (wanted.answer, wanted.reason) = (None, "reject-silent");
            }
            let host = host::decide_after(&tables, &memory, &frame, 0).outcome;
            assert_eq!(host.reason.name(), wanted.reason, "{}", context());
            let answer = host
                .is_answered()
                .then(|| host::answer(&tables, &frame))
                .flatten();
            assert_eq!(answer, wanted.answer, "{}", context());
            let before = loaded.reasons(0)[usize::from(host.reason.0)];
            let (run, left) = loaded.run_and_read(&frame, None).unwrap();
            assert_eq!(
                (run.verdict, run.answers),
                (host.verdict, host.is_answered()),
                "{}",
                context()
            );
            assert_eq!(
                left,
                answer.unwrap_or_else(|| frame.clone()),
                "{}",
                context()
            );
            let after = loaded.reasons(0)[usize::from(host.reason.0)];
            let verdict = usize::from(host.verdict.0);
            assert_eq!(
                after[verdict].packets,
                before[verdict].packets + 1,
                "{}",
                context()
            );
            assert_eq!(
                after[verdict].bytes - before[verdict].bytes,
                frame.len() as u64,
                "what came in is counted: {}",
                context()
            );
            *seen.entry(wanted.reason).or_default() += 1;
        }
        println!("frags {frags}: {seen:?}");
        assert!(
            seen["reject"] > 500 && seen["reject-silent"] > 100,
            "{seen:?}"
        );
    }
}

/// Whether a frame with this answer was sent to this host.
fn is_for_us(frame: &[u8], answer: &[u8]) -> bool {
    // An answer comes from where the frame went to, and this address is in no other place of one.
    frame[..6] == OWN && !answer[14..].windows(4).any(|address| address == BROADCAST)
}

/// A datagram to a closed port from 198.18.0.0/15.
fn datagram(source: u32) -> Frame {
    let source = (0xc612_0000 | source & 0x1_ffff).to_be_bytes();
    let packet = Ipv4::new(source, [192, 0, 2, 80], 17).packet(&udp(40_000, 9, &[7; 200]));
    ethernet(0x0800, &packet)
}

#[test]
#[ignore = "needs root"]
fn answers_are_limited_by_source_and_in_all() {
    let (_, _, loaded) = load("default: {in: pass}\nrules: [{name: all, action: reject}]\n");
    let answered = |source: u32| u64::from(loaded.run(&datagram(source), 1, None).unwrap().answers);
    let started = std::time::Instant::now();
    let one: u64 = (0..400).map(|_| answered(1)).sum();
    let most = 50.0 + 100.0 * started.elapsed().as_secs_f64() + 1.0;
    assert!(
        (50.0..=most).contains(&(one as f64)),
        "{one} of 400 to one source"
    );
    let many: u64 = (0..4_000).map(|source| answered(source + 2)).sum();
    let most = 200.0 + 1_000.0 * started.elapsed().as_secs_f64() + 1.0;
    assert!(
        (150.0..=most).contains(&((one + many) as f64)),
        "{many} of 4,000"
    );
    let reasons = loaded.counters().reasons;
    let of = |reason: Reason| reasons[usize::from(reason.0)][1].packets;
    assert_eq!(of(Reason::REJECT), one + many);
    assert_eq!(of(Reason::REJECT_LIMIT), 4_400 - one - many);
    assert_eq!(loaded.rule_counter(0).unwrap().packets, 4_400);
}

#[test]
#[ignore = "needs root"]
fn over_a_limit_reject_answers_too() {
    let (_, _, loaded) = load(
        "default: {in: drop}\n\
         rules: [{name: dns, proto: udp, limit: {rate: 1/d, burst: 2}, over: reject, action: pass}]\n",
    );
    let runs: Vec<_> = (0..4)
        .map(|_| loaded.run(&datagram(1), 1, None).unwrap())
        .map(|run| (run.verdict.name(), run.answers))
        .collect();
    let (pass, reject) = (("pass", false), ("drop", true));
    assert_eq!(runs, [pass, pass, reject, reject]);
    let counted = [0, 1].map(|slot| loaded.rule_counter(slot).unwrap().packets);
    assert_eq!(counted, [2, 2]);
}
