//! The loaded program against host build and oracle, frame by frame (BPF_PROG_TEST_RUN): evasion
//! frames, kept frames and fuzzing, under every policy of the fuzzer. Verdict by frame; reasons by
//! the counters, which are read for many frames at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_engine::kernel::program::Loaded;
use firewall_tests::evasion::rows;
use firewall_tests::frames::Frame;
use firewall_tests::fuzz::{Case, Generator, corpus, hex, minimise, policies};
use firewall_tests::{number, seed};
use std::collections::BTreeMap;

/// Fuzzed frames over all policies, if `FIREWALL_FRAMES` says nothing.
const FRAMES: u64 = 200_000;

/// Frames between two looks at the counters.
const BATCH: usize = 1_000;

/// Packets by reason and verdict (1: passed).
type Ledger = BTreeMap<(&'static str, usize), u64>;

/// What is counted so far. No interface is listed, so all of it stands in slot 0.
fn counted(loaded: &Loaded) -> Ledger {
    let sums = loaded.counters();
    let mut ledger = Ledger::new();
    for &reason in Reason::ALL {
        let [passed, dropped] = sums.reasons[usize::from(reason.0)];
        for (passes, counter) in [(1, passed), (0, dropped)] {
            if counter.packets != 0 {
                ledger.insert((reason.name(), passes), counter.packets);
            }
        }
    }
    ledger
}

/// Runs the frames, and compares verdicts, and counts in all.
fn agree(loaded: &Loaded, case: &Case, frames: &[Frame]) -> bool {
    let mut want = counted(loaded);
    let mut good = true;
    for frame in frames {
        if case.follows_fragments() {
            // Each frame by itself here; sequences have a test of their own.
            loaded.forget_fragments().unwrap();
        }
        let judgement = case.oracle(frame);
        good &= judgement == case.host(frame);
        let passed = loaded.run(frame, 1, None).unwrap().verdict.name() == "pass";
        good &= passed == judgement.passes;
        *want
            .entry((judgement.reason, usize::from(judgement.passes)))
            .or_default() += 1;
    }
    good && counted(loaded) == want
}

/// The frames about which the program and the oracle disagree, a few of them, made small.
fn disagreements(loaded: &Loaded, case: &Case, frames: &[Frame]) -> Vec<String> {
    if agree(loaded, case, frames) {
        return Vec::new();
    }
    if let [frame] = frames {
        let small = minimise(frame, |frame| !agree(loaded, case, &[frame.to_vec()]));
        let before = counted(loaded);
        let verdict = loaded.run(&small, 1, None).unwrap().verdict;
        let mut after = counted(loaded);
        after.retain(|key, count| before.get(key) != Some(count));
        return vec![format!(
            "under {}:\n  oracle  {:?}\n  host    {:?}\n  program {verdict}, counted in {:?}\n  \
             frame   {}",
            case.name,
            case.oracle(&small),
            case.host(&small),
            after.keys(),
            hex(&small)
        )];
    }
    let (first, second) = frames.split_at(frames.len() / 2);
    let mut found = disagreements(loaded, case, first);
    if found.len() < 3 {
        found.extend(disagreements(loaded, case, second));
    }
    found
}

fn load(case: &Case) -> Loaded {
    Loaded::load(&case.tables, case.policy.rules.len() as u32, &[])
        .unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

#[test]
#[ignore = "needs root"]
fn program_host_and_oracle_agree() {
    let cases = policies().unwrap();
    let kept: Vec<Frame> = rows()
        .into_iter()
        .map(|row| row.frame)
        .chain(corpus().unwrap().into_iter().map(|(_, frame)| frame))
        .collect();
    let frames = number("FIREWALL_FRAMES", FRAMES)
        .unwrap()
        .div_ceil(cases.len() as u64);
    let first = seed(1000).unwrap();
    for (turn, case) in cases.iter().enumerate() {
        let loaded = load(case);
        let mut generator = Generator::new(first + turn as u64);
        let fuzzed: Vec<Frame> = (0..frames).map(|_| generator.frame()).collect();
        for batch in std::iter::once(&kept[..]).chain(fuzzed.chunks(BATCH)) {
            let wrong = disagreements(&loaded, case, batch);
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}
