//! The host build of the product against the oracle, frame by frame: evasion frames and all their
//! truncations, kept frames, and fuzzing.
//!
//! `FIREWALL_FRAMES=10000000 cargo test --release -p firewall-tests --test frames` is the long run.

use firewall_tests::evasion::rows;
use firewall_tests::fuzz::{Case, Generator, corpus, policies};
use firewall_tests::{number, seed};
use std::collections::BTreeMap;
use std::thread;

/// Fuzzed frames, if `FIREWALL_FRAMES` says nothing.
const FRAMES: u64 = 2_000_000;

/// Disagreements that are shown.
const SHOWN: usize = 10;

fn assert_agreement(cases: &[Case], frames: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let mut wrong = Vec::new();
    for (name, frame) in frames {
        for case in cases {
            if let Some(message) = case.disagreement(&frame) {
                wrong.push(format!("{name} {message}"));
            }
        }
    }
    wrong.truncate(SHOWN);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_oracle_says_what_the_table_says() {
    let cases = policies().unwrap();
    let mut wrong = Vec::new();
    for row in rows() {
        for (case, (verdict, reason)) in cases.iter().zip([row.under_a, row.under_b]) {
            let got = case.oracle(&row.frame);
            let want = (verdict.name() == "pass", reason.name());
            if (got.passes, got.reason) != want {
                wrong.push(format!(
                    "{} {} under {}: {got:?}, not {want:?}",
                    row.id, row.what, case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn host_and_oracle_agree_on_evasion_frames_and_their_truncations() {
    let frames = rows().into_iter().flat_map(|row| {
        (14..=row.frame.len()).map(move |length| {
            let name = format!("{} {}, {length} bytes", row.id, row.what);
            (name, row.frame[..length].to_vec())
        })
    });
    assert_agreement(&policies().unwrap(), frames);
}

#[test]
fn host_and_oracle_agree_on_kept_frames() {
    assert_agreement(&policies().unwrap(), corpus().unwrap());
}

#[test]
fn host_and_oracle_agree_on_fuzzed_frames() {
    let frames = number("FIREWALL_FRAMES", FRAMES).unwrap();
    let first = seed(0).unwrap();
    let cases = policies().unwrap();
    let workers = thread::available_parallelism().map_or(1, usize::from) as u64;
    let results: Vec<(BTreeMap<&str, u64>, Vec<String>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                let cases = &cases;
                scope.spawn(move || fuzz(cases, first + worker, frames.div_ceil(workers)))
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (seen, disagreements) in results {
        for (reason, count) in seen {
            *reasons.entry(reason).or_default() += count;
        }
        wrong.extend(disagreements);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{frames} frames, no disagreement: {reasons:?}");
    // All but `internal` and what needs frames before it (`frag-clash`, `frag-scattered`,
    // `frag-busy`, `limit`, `reject-limit`, `dhcp`), a command (`banned`) or sockets (`syn-cookie`,
    // `syn-forged`), or the generator does not reach what it should.
    let all = firewall_common::reason::Reason::ALL.len() - 10;
    assert!(frames < 100_000 || reasons.len() == all, "{reasons:?}");
}

/// Each frame under A, B and one other policy. Counts how often each reason was the oracle's.
fn fuzz(cases: &[Case], seed: u64, frames: u64) -> (BTreeMap<&'static str, u64>, Vec<String>) {
    let mut generator = Generator::new(seed);
    let mut reasons = BTreeMap::new();
    let mut wrong = Vec::new();
    for number in 0..frames {
        let frame = generator.frame();
        let other = 2 + (number % (cases.len() as u64 - 2)) as usize;
        for case in [&cases[0], &cases[1], &cases[other]] {
            let judgement = case.oracle(&frame);
            if judgement != case.host(&frame) {
                wrong.extend(case.disagreement(&frame));
            }
            *reasons.entry(judgement.reason).or_default() += 1;
        }
        if wrong.len() >= SHOWN {
            break;
        }
    }
    (reasons, wrong)
}
