//! Hostile and essential packets through the loaded program (BPF_PROG_TEST_RUN): each ends as on
//! the host, and is counted once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_ctl::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_tests::evasion::{End, POLICY_A, POLICY_B, base4, base6, rows};
use firewall_tests::frames::Frame;
use firewall_tests::policies;

/// A frame with its name and its end.
type Case = (String, Frame, End);

/// Packets by reason code and verdict.
type Ledger = Vec<[u64; 2]>;

fn load(text: &str) -> Loaded {
    let policy = policies::parse(text).unwrap();
    let slots: Vec<u32> = (0..policy.rules.len() as u32).collect();
    let tables = compile(&policy, &slots).unwrap();
    Loaded::load(&tables, policy.rules.len() as u32, &[]).unwrap()
}

/// What is counted so far. No interface is listed, so all of it stands in slot 0.
fn counted(loaded: &Loaded) -> Ledger {
    let sums = loaded.counters();
    let (ours, others) = sums.reasons.split_at(Reason::CAPACITY);
    assert!(others.iter().flatten().all(|counter| counter.packets == 0));
    ours.iter()
        .map(|verdicts| verdicts.map(|counter| counter.packets))
        .collect()
}

/// What one more packet with each of these ends makes of `ledger`.
fn expected(mut ledger: Ledger, cases: &[Case]) -> Ledger {
    for (_, _, (verdict, reason)) in cases {
        ledger[usize::from(reason.0)][usize::from(verdict.0)] += 1;
    }
    ledger
}

/// Runs the cases, and finds those that do not end as they must. (Reading all counters takes
/// longer than a frame: they are read for many, and for halves of those where they are wrong.)
fn wrong(loaded: &Loaded, cases: &[Case]) -> Vec<String> {
    let want = expected(counted(loaded), cases);
    let mut good = true;
    for (_, frame, (verdict, _)) in cases {
        good &= loaded.run(frame, 1, None).unwrap().verdict == *verdict;
    }
    let got = counted(loaded);
    if good && got == want {
        return Vec::new();
    }
    if let [(name, frame, end)] = cases {
        let raised: Vec<(Reason, &[u64; 2])> = Reason::ALL
            .iter()
            .map(|&reason| (reason, &got[usize::from(reason.0)]))
            .filter(|(reason, counts)| **counts != want[usize::from(reason.0)])
            .collect();
        return vec![format!(
            "{name}: not {end:?}; other than expected: {raised:?}\n  {frame:02x?}"
        )];
    }
    let (first, second) = cases.split_at(cases.len() / 2);
    [wrong(loaded, first), wrong(loaded, second)].concat()
}

fn assert_ends(policy: &str, cases: &[Case]) {
    let wrong = wrong(&load(policy), cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn cases(name: &str, end: impl Fn(&firewall_tests::evasion::Row) -> End) -> Vec<Case> {
    rows()
        .into_iter()
        .map(|row| {
            let want = end(&row);
            (
                format!("{} {} under {name}", row.id, row.what),
                row.frame,
                want,
            )
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn every_packet_meets_its_end_in_the_kernel() {
    assert_ends(POLICY_A, &cases("A", |row| row.under_a));
    assert_ends(POLICY_B, &cases("B", |row| row.under_b));
}

#[test]
#[ignore = "needs root"]
fn a_cut_packet_never_passes_in_the_kernel() {
    let mut all = Vec::new();
    for (family, frame) in [("IPv4", base4(80)), ("IPv6", base6(80))] {
        for length in 14..frame.len() {
            all.push((
                format!("{length} of {} bytes, {family}", frame.len()),
                frame[..length].to_vec(),
                (Verdict::DROP, Reason::TRUNCATED),
            ));
        }
        let end = (Verdict::PASS, Reason::RULE);
        all.push((format!("the whole frame, {family}"), frame, end));
    }
    assert_ends(POLICY_A, &all);
}
