//! `state: established`: random traffic of a host before the host build and a model of the table
//! that shares no code with it (`tests/harness/oracle/flows.rs`).
//!
//! `FIREWALL_CASES=N` says how many packets, `FIREWALL_SEED=N` picks other ones.

use firewall_common::verdict::Verdict;
use firewall_policy::host::{Memory, decide_after, record};
use firewall_tests::fuzz::{Case, Connections, Event, hex};
use firewall_tests::number;
use firewall_tests::oracle::flows::Flows;
use firewall_tests::policies::parse;

const POLICY: &str = "\
version: 1
default: {in: drop, essential: false}
rules:
  - {name: replies, state: established, action: pass}
";

#[test]
fn host_and_model_agree_on_random_traffic() {
    let case = Case::new("state", parse(POLICY).unwrap()).unwrap();
    let (memory, mut flows) = (Memory::default(), Flows::default());
    flows.now = 1;
    let mut traffic = Connections::new(number("FIREWALL_SEED", 1).unwrap(), 6);
    let (mut passed, mut dropped) = (0, 0);
    for step in 0..number("FIREWALL_CASES", 60_000).unwrap() {
        memory.now.set(flows.now << 30);
        match traffic.event(&flows) {
            Event::Wait(ticks) => flows.now += ticks,
            Event::Out(packet, frame) => {
                flows.sends(&packet);
                record(&case.tables, &memory, &frame);
            }
            Event::In(packet, frame) => {
                let before = flows.get(&packet).copied();
                let belongs = flows.receives(&packet);
                let outcome = decide_after(&case.tables, &memory, &frame, 0).outcome;
                assert_eq!(
                    outcome.verdict == Verdict::PASS,
                    belongs,
                    "step {step}: {packet:?} {before:?} {outcome:?} {}",
                    hex(&frame)
                );
                if belongs {
                    passed += 1;
                } else {
                    dropped += 1;
                }
            }
        }
    }
    // The traffic is of both kinds, or it shows nothing.
    assert!(
        passed * 20 > dropped && dropped > passed,
        "{passed} {dropped}"
    );
}
