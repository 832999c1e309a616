//! Hostile and essential packets through the loaded program (BPF_PROG_TEST_RUN): each ends as on
//! the host, and is counted once, with all its bytes; in one buffer, and in several wherever the
//! first one ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::tables::Tables;
use firewall_tests::evasion::{End, POLICY_A, POLICY_B, base4, base6, rows};
use firewall_tests::frames::{Frame, ethernet, ipv6, tagged, tcp};
use firewall_tests::policies;

/// A frame with its name and its end.
#[derive(Clone)]
struct Case {
    name: String,
    frame: Frame,
    /// Bytes in the first buffer; `None`: all of them.
    first: Option<u32>,
    end: End,
}

impl Case {
    fn new(name: String, frame: Frame, end: End) -> Self {
        Self {
            name,
            frame,
            first: None,
            end,
        }
    }

    fn cut(&self, first: usize) -> Self {
        Self {
            name: format!("{}, {first} bytes in the first buffer", self.name),
            first: Some(first as u32),
            ..self.clone()
        }
    }

    fn run(&self, loaded: &Loaded) -> Verdict {
        let run = match self.first {
            None => loaded.run(&self.frame, 1, None),
            Some(first) => loaded.run_in_buffers(&self.frame, first),
        };
        run.unwrap().verdict
    }
}

/// Packets and bytes by reason code and verdict.
type Ledger = Vec<[(u64, u64); 2]>;

fn tables(text: &str) -> Tables {
    let policy = policies::parse(text).unwrap();
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    compile(&policy, &slots).unwrap()
}

fn load(text: &str) -> Loaded {
    Loaded::load(&tables(text), 1, &[]).unwrap()
}

/// As [`load`], for frames in several buffers.
fn load_for_buffers(text: &str) -> Loaded {
    let mut tables = tables(text);
    tables.config.frags = 1;
    Loaded::load(&tables, 1, &[]).unwrap()
}

/// What is counted so far. No interface is listed, so all of it stands in slot 0.
fn counted(loaded: &Loaded) -> Ledger {
    let sums = loaded.counters();
    let (ours, others) = sums.reasons.split_at(Reason::CAPACITY);
    assert!(others.iter().flatten().all(|counter| counter.packets == 0));
    ours.iter()
        .map(|verdicts| verdicts.map(|counter| (counter.packets, counter.bytes)))
        .collect()
}

/// What one more packet with each of these ends makes of `ledger`.
fn expected(mut ledger: Ledger, cases: &[Case]) -> Ledger {
    for Case { frame, end, .. } in cases {
        let (verdict, reason) = *end;
        let (packets, bytes) = &mut ledger[usize::from(reason.0)][usize::from(verdict.0)];
        *packets += 1;
        *bytes += frame.len() as u64;
    }
    ledger
}

/// Runs the cases, and finds those that do not end as they must. (Reading all counters takes
/// longer than a frame: they are read for many, and for halves of those where they are wrong.)
fn wrong(loaded: &Loaded, cases: &[Case]) -> Vec<String> {
    let want = expected(counted(loaded), cases);
    let mut good = true;
    for case in cases {
        good &= case.run(loaded) == case.end.0;
    }
    let got = counted(loaded);
    if good && got == want {
        return Vec::new();
    }
    if let [
        Case {
            name, frame, end, ..
        },
    ] = cases
    {
        let raised: Vec<(Reason, &[(u64, u64); 2])> = Reason::ALL
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
    assert_ends_in(&load(policy), cases);
}

fn assert_ends_in(loaded: &Loaded, cases: &[Case]) {
    let wrong = wrong(loaded, cases);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn cases(name: &str, end: impl Fn(&firewall_tests::evasion::Row) -> End) -> Vec<Case> {
    rows()
        .into_iter()
        .map(|row| {
            let want = end(&row);
            Case::new(
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
            all.push(Case::new(
                format!("{length} of {} bytes, {family}", frame.len()),
                frame[..length].to_vec(),
                (Verdict::DROP, Reason::TRUNCATED),
            ));
        }
        let end = (Verdict::PASS, Reason::RULE);
        all.push(Case::new(format!("the whole frame, {family}"), frame, end));
    }
    assert_ends(POLICY_A, &all);
}

/// Bytes of a jumbo frame.
const JUMBO: usize = 9000;

/// Whether this kernel makes test frames with a first buffer as short as one wants (since 6.18).
/// Others fill the first buffer.
fn cuts_anywhere(loaded: &Loaded) -> bool {
    loaded.run_in_buffers(&base4(80), 40).is_ok()
}

#[test]
#[ignore = "needs root"]
fn every_packet_meets_its_end_wherever_its_first_buffer_ends() {
    for (name, policy) in [("A", POLICY_A), ("B", POLICY_B)] {
        let loaded = load_for_buffers(policy);
        let whole = cases(name, |row| {
            if name == "A" {
                row.under_a
            } else {
                row.under_b
            }
        });
        assert_ends_in(&loaded, &whole);
        if !cuts_anywhere(&loaded) {
            continue;
        }
        let cut: Vec<Case> = whole
            .iter()
            .flat_map(|case| (14..case.frame.len()).map(|first| case.cut(first)))
            .collect();
        assert_ends_in(&loaded, &cut);
        // The frames are cut indeed: a program that is not made for it does not see the rest.
        let first_only = load(policy).run_in_buffers(&base4(80), 40).unwrap();
        assert_eq!(first_only.verdict, Verdict::DROP);
    }
}

#[test]
#[ignore = "needs root"]
fn padding_to_a_jumbo_frame_changes_nothing_but_the_length() {
    for (name, policy) in [("A", POLICY_A), ("B", POLICY_B)] {
        let loaded = load_for_buffers(policy);
        let tables = tables(policy);
        let mut all: Vec<Case> = cases(name, |row| row.under_a);
        for case in &mut all {
            // What is cut short is so no longer: the host build says what it is now.
            case.frame.resize(JUMBO, 0);
            let outcome = host::decide(&tables, &case.frame, 0).outcome;
            case.end = (outcome.verdict, outcome.reason);
        }
        assert_ends_in(&loaded, &all);
        if cuts_anywhere(&loaded) {
            let cut: Vec<Case> = all
                .iter()
                .flat_map(|case| (14..100).step_by(3).map(|first| case.cut(first)))
                .collect();
            assert_ends_in(&loaded, &cut);
        }
    }
}

/// On every kernel: TCP headers on either side of where the first buffer is full, and across.
#[test]
#[ignore = "needs root"]
fn headers_across_full_buffers_are_seen() {
    let mut all = Vec::new();
    // A first buffer is a page less the room around it: 3,520 bytes, give or take.
    for units in 3300 / 8..3700 / 8 {
        for tags in 0..2 {
            for (port, end) in [
                (80, (Verdict::PASS, Reason::RULE)),
                (22, (Verdict::DROP, Reason::NO_MATCH)),
            ] {
                let options = |next: u8, units: usize| {
                    let mut header = vec![next, (units - 1) as u8];
                    header.resize(units * 8, 0);
                    header
                };
                let segment = tcp(40_000, port, 2, &[0; 4000]);
                let payload = [options(60, 256), options(6, units - 256), segment].concat();
                let (mut from, mut to) = ([0x20; 16], [0x20; 16]);
                (from[15], to[15]) = (1, 2);
                let packet = ipv6(from, to, 60, 64, &payload);
                let frame = tagged(&ethernet(0x86dd, &packet), &[(0x8100, 5)][..tags]);
                let name = format!("{} bytes of options, {tags} tags, port {port}", units * 8);
                all.push(Case::new(name, frame, end));
            }
        }
    }
    assert_ends_in(&load_for_buffers(POLICY_A), &all);
}
