//! `fragments: follow-first` in the loaded program (BPF_PROG_TEST_RUN keeps the table between runs):
//! the sequences of the evasion table, random sequences against host and oracle, time, spraying,
//! and processors that race.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::host::Memory;
use firewall_policy::tables::Tables;
use firewall_tests::evasion::{POLICY_FOLLOW, sequences};
use firewall_tests::frames::{Frame, udp};
use firewall_tests::fuzz::{Case, Datagrams, Piece, fragment, hex};
use firewall_tests::oracle::Seen;
use firewall_tests::policies::parse;
use firewall_tests::seed;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

fn case() -> Case {
    Case::new("follow-first", parse(POLICY_FOLLOW).unwrap()).unwrap()
}

fn load(tables: &Tables) -> Loaded {
    Loaded::load(tables, 2, &[]).unwrap()
}

fn passes(loaded: &Loaded, frame: &[u8]) -> bool {
    loaded.run(frame, 1, None).unwrap().verdict.name() == "pass"
}

/// Packets by reason, passed and dropped.
fn counted(loaded: &Loaded) -> Vec<[u64; 2]> {
    let sums = loaded.counters();
    sums.reasons[..Reason::CAPACITY]
        .iter()
        .map(|verdicts| verdicts.map(|counter| counter.packets))
        .collect()
}

/// One of two halves of a datagram to UDP port 53.
fn half(id: u32, second: bool) -> Frame {
    let bytes = if second { (80, 150) } else { (0, 80) };
    let piece = Piece {
        v6: true,
        host: 1,
        proto: 17,
        id,
        bytes,
        more: !second,
    };
    fragment(&udp(40_000, 53, &[7; 142]), &piece)
}

#[test]
#[ignore = "needs root"]
fn every_sequence_meets_its_ends_in_the_kernel() {
    let loaded = load(&case().tables);
    let mut wrong = Vec::new();
    for sequence in sequences() {
        loaded.forget_fragments().unwrap();
        for (step, (frame, (verdict, reason))) in sequence.steps.iter().enumerate() {
            let mut want = counted(&loaded);
            want[usize::from(reason.0)][usize::from(verdict.0)] += 1;
            let run = loaded.run(frame, 1, None).unwrap();
            if run.verdict != *verdict || counted(&loaded) != want {
                let (id, what) = (sequence.id, &sequence.what);
                wrong.push(format!(
                    "{id} {what}, step {step}: not {verdict:?} {reason}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs root"]
fn program_host_and_oracle_agree_on_sequences() {
    let case = case();
    let first = seed(100).unwrap();
    for turn in 0..2 {
        let loaded = load(&case.tables);
        let (fragments, mut seen) = (Memory::default(), Seen::default());
        let mut generator = Datagrams::new(first + turn);
        let mut want = counted(&loaded);
        let start = Instant::now();
        for number in 0..8_000 {
            // The kernel's clock runs; nothing here is as old as an entry may become.
            assert!(
                start.elapsed() < Duration::from_secs(25),
                "too slow to compare"
            );
            let frame = generator.frame();
            let judgement = case.oracle_after(&mut seen, &frame);
            assert_eq!(case.host_after(&fragments, &frame), judgement);
            assert_eq!(
                passes(&loaded, &frame),
                judgement.passes,
                "frame {number}, {judgement:?}: {}",
                hex(&frame)
            );
            let reason = Reason::ALL
                .iter()
                .find(|reason| reason.name() == judgement.reason)
                .unwrap();
            want[usize::from(reason.0)][usize::from(!judgement.passes)] += 1;
        }
        assert_eq!(counted(&loaded), want);
    }
}

#[test]
#[ignore = "needs root"]
fn a_datagram_is_forgotten_after_its_time_in_the_kernel() {
    let mut tables = case().tables;
    assert_eq!(tables.config.fragment_ms, 30_000);
    tables.config.fragment_ms = 400;
    let loaded = load(&tables);
    assert!(passes(&loaded, &half(7, false)));
    sleep(Duration::from_millis(500));
    assert!(!passes(&loaded, &half(7, true)));
    // The identification is free, and the same datagram in time passes.
    assert!(passes(&loaded, &half(7, false)));
    assert!(passes(&loaded, &half(7, true)));
}

#[test]
#[ignore = "needs root"]
fn a_full_table_gives_way_as_on_the_host() {
    let case = case();
    let loaded = load(&case.tables);
    let fragments = Memory::default();
    let sprayed: u32 = 24_000;
    for id in 0..sprayed {
        fragments.now.set(u64::from(id) + 1);
        assert!(case.host_after(&fragments, &half(id, false)).passes);
        assert!(passes(&loaded, &half(id, false)));
    }
    for id in (0..sprayed).rev().step_by(3) {
        let frame = half(id, true);
        assert_eq!(
            passes(&loaded, &frame),
            case.host_after(&fragments, &frame).passes,
            "identification {id}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn of_equal_fragments_on_several_processors_one_passes() {
    const THREADS: usize = 4;
    const DATAGRAMS: u32 = 500;
    let loaded = load(&case().tables);
    let barrier = Barrier::new(THREADS);
    let passed: Vec<AtomicU32> = (0..DATAGRAMS).map(|_| AtomicU32::new(0)).collect();
    scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (id, passed) in (0..).zip(&passed) {
                    barrier.wait();
                    if passes(&loaded, &half(id, false)) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let passed: Vec<u32> = passed.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    // None at all, if a processor was taken away in the middle: then the others found it busy.
    let busy = counted(&loaded)[usize::from(Reason::FRAG_BUSY.0)][1];
    println!("{busy} found the table busy");
    assert!(passed.iter().all(|&n| n <= 1), "{passed:?}");
    let none = passed.iter().filter(|&&n| n == 0).count() as u64;
    assert!(
        none <= busy,
        "{none} of {DATAGRAMS} without one, {busy} busy"
    );
    // No lock was left behind.
    loaded.run(&half(DATAGRAMS + 1, false), 1, None).unwrap();
    // What came twice is condemned. Only a datagram whose other copies all found the table busy came
    // once, and is whole with its rest.
    let whole = (0..DATAGRAMS).filter(|&id| passes(&loaded, &half(id, true)));
    let whole = whole.count() as u64;
    let copies = whole * (THREADS as u64 - 1);
    assert!(copies <= busy, "{whole} whole, {busy} busy");
    assert_eq!(counted(&loaded)[usize::from(Reason::FRAG_BUSY.0)][1], busy);
}
