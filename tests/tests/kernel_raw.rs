//! The variant of the programs for interfaces without a link header (WireGuard, tun, PPP, IP tunnels), run by
//! the kernel: oracle, host and program agree on packets, and on what belongs to a connection.
//!
//! `FIREWALL_CASES=N` says how many packets, `FIREWALL_SEED=N` picks other ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::flows::now;
use firewall_engine::kernel::program::Loaded;
use firewall_tests::evasion::rows;
use firewall_tests::frames::Frame;
use firewall_tests::fuzz::{Case, Connections, Event, Generator, hex, policies};
use firewall_tests::oracle::flows::Flows;
use firewall_tests::policies::parse;
use firewall_tests::raw;
use firewall_tests::{number, seed};

/// Packets over all policies, if `FIREWALL_CASES` says nothing.
const CASES: u64 = 20_000;

/// Bytes of the shortest frame that the kernel takes a test run of.
const SHORTEST: usize = 14;

fn load(case: &Case) -> Loaded {
    Loaded::load(&case.tables, case.policy.rules.len().max(1) as u32, &[])
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// What is counted of a reason, by verdict. No interface is listed: it stands in slot 0.
fn counted(loaded: &Loaded, reason: &str) -> [u64; 2] {
    let reason = Reason::ALL.iter().find(|it| it.name() == reason).unwrap();
    loaded.reasons(0)[usize::from(reason.0)].map(|counter| counter.packets)
}

#[test]
#[ignore = "needs root"]
fn raw_packets_meet_the_same_end_for_oracle_host_and_program() {
    let cases = policies().unwrap();
    let each = number("FIREWALL_CASES", CASES)
        .unwrap()
        .div_ceil(cases.len() as u64);
    let first = seed(77).unwrap();
    for (turn, case) in cases.iter().enumerate() {
        let raw = raw::case(case).unwrap();
        let loaded = load(&raw);
        let mut generator = Generator::new(first + turn as u64);
        let fuzzed = (0..each).map(|_| generator.frame());
        let frames = rows().into_iter().map(|row| row.frame).chain(fuzzed);
        let packets = frames.map(|frame| {
            let skipped = |frame: Frame| frame.get(14..).unwrap_or_default().to_vec();
            raw::bare(&frame).unwrap_or_else(|| skipped(frame))
        });
        for packet in packets.filter(|packet| packet.len() >= SHORTEST) {
            if case.follows_fragments() {
                loaded.forget_fragments().unwrap();
            }
            let want = raw::oracle(&raw, &packet);
            let context = || format!("{}: {want:?} {}", raw.name, hex(&packet));
            assert_eq!(raw.host(&packet), want, "host, {}", context());
            let before = counted(&loaded, want.reason);
            let run = loaded.run(&packet, 1, None).unwrap();
            assert_eq!(run.verdict == Verdict::PASS, want.passes, "{}", context());
            assert!(!run.answers, "{}", context());
            let mut after = counted(&loaded, want.reason);
            after[usize::from(run.verdict.0)] -= 1;
            assert_eq!(after, before, "{}", context());
        }
    }
}

#[test]
#[ignore = "needs root"]
fn raw_connections_are_told_from_strangers_by_both_programs() {
    let policy = "version: 1\ndefault: {in: drop, essential: false}\nrules:\n\
                  \x20 - {name: replies, state: established, action: pass}\n";
    let case = Case::new("state", parse(policy).unwrap()).unwrap();
    let case = raw::case(&case).unwrap();
    let loaded = load(&case);
    let table = loaded.flows().unwrap().unwrap();
    let mut last = now();
    let mut flows = Flows::default();
    flows.now = 1;
    let mut traffic = Connections::new(seed(9).unwrap(), 6);
    let mut passed = 0;
    for step in 0..20_000 {
        // The programs' clock runs, the model's stands still.
        let time = now();
        if time != last {
            table.age(-(time as i64 - last as i64));
            last = time;
        }
        match traffic.event(&flows) {
            Event::Wait(ticks) => {
                flows.now += ticks;
                table.age(ticks as i64);
            }
            Event::Out(packet, frame) => {
                flows.sends(&packet);
                loaded.send(&raw::bare(&frame).unwrap(), 1).unwrap();
            }
            Event::In(packet, _) if flows.is_unclear(&packet) => {}
            Event::In(packet, frame) => {
                let belongs = flows.receives(&packet);
                let frame = raw::bare(&frame).unwrap();
                let verdict = loaded.run(&frame, 1, None).unwrap().verdict;
                assert_eq!(verdict == Verdict::PASS, belongs, "step {step}: {packet:?}");
                passed += u32::from(belongs);
            }
        }
    }
    assert_eq!(table.list().len(), flows.len());
    assert!(passed > 500, "{passed}");
}
