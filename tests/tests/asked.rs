//! Essential traffic that must be asked for: the host build against the oracle, which keeps a book of
//! what has left.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::abi::essential_bit;
use firewall_policy::host::{Memory, record};
use firewall_tests::fuzz::{Case, Moment, hex, moment};
use firewall_tests::oracle::Seen;
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use firewall_tests::{number, seed};
use std::collections::BTreeMap;

const PLAIN: &str = "version: 1\ndefault: {in: drop}\nrules: []\n";
const TRACKS: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
    - {name: replies, state: established, proto: [tcp, udp], action: pass}\n";
const SERVES: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
    - {name: replies, state: established, proto: [tcp, udp], action: pass}\n  \
    - {name: dns, proto: udp, port: 53, state: new, action: pass}\n";

fn case(text: &str) -> Case {
    Case::new(text, parse(text).unwrap()).unwrap()
}

#[test]
fn host_and_oracle_agree_on_what_has_been_asked_for() {
    let moments = number("FIREWALL_CASES", 20_000).unwrap();
    for (turn, text) in [PLAIN, TRACKS, SERVES].into_iter().enumerate() {
        let case = case(text);
        let mut random = Random::new(seed(7).unwrap() + turn as u64);
        let mut reasons: BTreeMap<(&str, bool), u64> = BTreeMap::new();
        // From nothing, over and over.
        for _ in 0..moments / 200 {
            let (mut seen, memory) = (Seen::default(), Memory::of(&case.tables));
            for _ in 0..200 {
                match moment(&mut random, &mut seen.asked, text != PLAIN) {
                    Moment::Leaves(frame) => record(&case.tables, &memory, &frame),
                    Moment::Comes(frame) => {
                        let wanted = case.oracle_after(&mut seen, &frame);
                        let got = case.host_after(&memory, &frame);
                        assert_eq!(got, wanted, "{text}{}", hex(&frame));
                        *reasons.entry((got.reason, got.passes)).or_default() += 1;
                    }
                }
            }
        }
        for reason in ["dhcp", "icmp-error"] {
            assert!(reasons[&(reason, true)] > 500, "{text} {reasons:?}");
        }
        assert!(reasons[&("no-match", false)] > 500, "{text} {reasons:?}");
    }
}

/// Where nothing takes note of what leaves, the form decides.
#[test]
fn where_nobody_takes_note_the_form_decides() {
    let mut case = case(PLAIN);
    case.tables.config.asked = 0;
    let mut random = Random::new(8);
    let mut seen = Seen::default();
    let memory = Memory::of(&case.tables);
    for _ in 0..2_000 {
        match moment(&mut random, &mut seen.asked, false) {
            Moment::Leaves(frame) => {
                record(&case.tables, &memory, &frame);
                assert_eq!(memory, Memory::of(&case.tables));
            }
            Moment::Comes(frame) => {
                let reason = case.host_after(&memory, &frame).reason;
                assert!(["dhcp", "icmp-error"].contains(&reason), "{reason}");
            }
        }
    }
}

/// A policy that has the groups off pays nothing, nor for one of them alone what the other takes.
#[test]
fn what_is_off_costs_nothing() {
    let of = |essential: &str| {
        let text =
            format!("version: 1\ndefault: {{in: drop, essential: {{{essential}}}}}\nrules: []\n");
        case(&text).tables.config
    };
    let none = of("dhcp: false, icmp_error: false");
    assert_eq!(
        [none.asked, none.flows_size, none.buckets_size, none.limits],
        [0; 4]
    );
    let dhcp = of("icmp_error: false");
    assert_eq!(dhcp.asked, essential_bit::DHCP);
    let errors = of("dhcp: false");
    assert_eq!(errors.asked, essential_bit::ICMP_ERROR);
    assert!(errors.flows_size > 0 && errors.flows == 0);
}

/// At one moment, so many of each and no more; the rest is the rules' to judge.
#[test]
fn each_has_a_limit_of_its_own() {
    let mut case = case(PLAIN);
    // A case has none; there is no other limit.
    case.tables.config.asked_limit = 1;
    let mut random = Random::new(9);
    let mut seen = Seen::default();
    let memory = Memory::of(&case.tables);
    memory.now.set(1_000_000_000);
    let mut passed: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..20_000 {
        match moment(&mut random, &mut seen.asked, false) {
            Moment::Leaves(frame) => record(&case.tables, &memory, &frame),
            Moment::Comes(frame) => {
                let judged = case.host_after(&memory, &frame);
                *passed.entry(judged.reason).or_default() += 1;
            }
        }
    }
    // Errors about pings that have been sent, and about what nobody can tell.
    assert_eq!([passed["dhcp"], passed["icmp-error"]], [100, 200 + 200]);
}
