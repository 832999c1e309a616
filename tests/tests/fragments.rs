//! `fragments: follow-first` on the host: against the oracle over random sequences, and what the
//! table does when time passes, when it is full, and across zones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::host::{Memory, decide_after};
use firewall_tests::evasion::{POLICY_FOLLOW, sequences};
use firewall_tests::frames::{Frame, Ipv4, ethernet, udp};
use firewall_tests::fuzz::{Case, Datagrams, Piece, fragment, hex};
use firewall_tests::oracle::Seen;
use firewall_tests::policies::parse;
use firewall_tests::{number, seed};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn case() -> Case {
    Case::new("follow-first", parse(POLICY_FOLLOW).unwrap()).unwrap()
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
fn host_and_oracle_agree_on_sequences() {
    let frames = number("FIREWALL_FRAMES", 100_000).unwrap();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let first = seed(0).unwrap();
    for (turn, text) in [
        POLICY_FOLLOW.to_owned(),
        POLICY_FOLLOW.replace("drop", "pass").replace(
            "53",
            "53, action: next}\n  - {name: no, proto: udp, port: 53, from: 192.0.2.1",
        ),
    ]
    .iter()
    .enumerate()
    {
        let case = Case::new("follow-first", parse(text).unwrap()).unwrap();
        let (fragments, mut seen) = (Memory::default(), Seen::default());
        let mut generator = Datagrams::new(first + turn as u64);
        for number in 0..frames / 2 {
            // Every datagram lives through a few hundred frames.
            let now = 1 + number * SECOND / 20;
            fragments.now.set(now);
            seen.now = Duration::from_nanos(now);
            let frame = generator.frame();
            let want = case.oracle_after(&mut seen, &frame);
            let got = case.host_after(&fragments, &frame);
            assert_eq!(got, want, "frame {number}: {}", hex(&frame));
            *reasons.entry(want.reason).or_default() += 1;
        }
    }
    println!("{reasons:?}");
    for reason in [
        "rule",
        "fragment",
        "frag-orphan",
        "frag-clash",
        "frag-scattered",
    ] {
        assert!(
            reasons.get(reason).is_some_and(|&count| count > 5),
            "{reasons:?}"
        );
    }
}

#[test]
fn a_datagram_is_forgotten_after_its_time() {
    let case = case();
    for (wait, reason) in [(30 * SECOND - 1, "fragment"), (30 * SECOND, "frag-orphan")] {
        let fragments = Memory::default();
        assert_eq!(case.host_after(&fragments, &half(7, false)).reason, "rule");
        fragments.now.set(1 + wait);
        assert_eq!(case.host_after(&fragments, &half(7, true)).reason, reason);
    }
}

#[test]
fn a_full_table_forgets_the_oldest_and_nothing_else_changes() {
    let case = case();
    let fragments = Memory::default();
    let sprayed: u32 = 60_000;
    for id in 0..sprayed {
        fragments.now.set(u64::from(id) + 1);
        assert_eq!(case.host_after(&fragments, &half(id, false)).reason, "rule");
    }
    let follow = |ids: std::ops::Range<u32>| {
        ids.filter(|&id| case.host_after(&fragments, &half(id, true)).passes)
            .count()
    };
    // Of the newest nearly all are there, of the oldest hardly any.
    assert!(follow(sprayed - 1_000..sprayed) > 990);
    assert!(follow(0..1_000) < 50);
    let all = 1_000 + follow(1_000..sprayed - 1_000);
    assert!((10_000..=16_384).contains(&all), "{all} were remembered");
    // What came back from whole datagrams is free again.
    assert_eq!(case.host_after(&fragments, &half(1, false)).reason, "rule");
    assert_eq!(
        case.host_after(&fragments, &half(1, true)).reason,
        "fragment"
    );
}

#[test]
fn a_datagram_does_not_change_zones() {
    let case = case();
    let fragments = Memory::default();
    let run = |frame: Frame, zone| decide_after(&case.tables, &fragments, &frame, zone).outcome;
    assert_eq!(run(half(7, false), 1).reason, Reason::RULE);
    assert_eq!(run(half(7, true), 2).reason, Reason::FRAG_ORPHAN);
    assert_eq!(run(half(7, true), 1).reason, Reason::FRAGMENT);
}

/// In tunnels, datagrams meet the same ends as outside.
#[test]
fn fragments_in_tunnels_follow_their_first_fragment() {
    let text = POLICY_FOLLOW
        .replace("follow-first", "follow-first, tunnels: inner")
        .replace(
            "rules:\n",
            "rules:\n  - {name: tunnels, proto: [gre, 4, 41], action: pass}\n",
        );
    let case = Case::new("in tunnels", parse(&text).unwrap()).unwrap();
    for sequence in sequences() {
        let (fragments, mut seen) = (Memory::default(), Seen::default());
        for (step, (frame, (verdict, reason))) in sequence.steps.iter().enumerate() {
            // Behind the tags, if there are any: the tunnel does not carry them.
            let at = if frame[12] == 0x81 { 16 } else { 12 };
            let gre = [&[0, 0], &frame[at..]].concat();
            let tunnel = Ipv4::new([203, 0, 113, 1], [198, 51, 100, 80], 47).packet(&gre);
            let frame = ethernet(0x0800, &tunnel);
            let got = case.host_after(&fragments, &frame);
            let (id, what) = (sequence.id, &sequence.what);
            let wanted = (*verdict == Verdict::PASS, reason.name());
            assert_eq!((got.passes, got.reason), wanted, "{id} {what}, step {step}");
            assert_eq!(got, case.oracle_after(&mut seen, &frame), "{id} {what}");
        }
    }
}
