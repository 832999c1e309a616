//! Frames of interfaces without a link header (WireGuard, tun, PPP, IP tunnels) through the host build: each
//! ends as with an Ethernet header before it, whatever the packet's own bytes spell where that would be.
//!
//! `FIREWALL_FRAMES=N` says how many frames are fuzzed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::host::{self, Memory, decide_after, record};
use firewall_tests::evasion::{POLICY_A, POLICY_B, rows};
use firewall_tests::frames::{ipv6, tcp};
use firewall_tests::fuzz::{Case, Connections, Event, Generator, corpus, hex, policies};
use firewall_tests::oracle::flows::Flows;
use firewall_tests::policies::parse;
use firewall_tests::raw;
use firewall_tests::{number, seed};

fn assert_agreement(frames: &[Vec<u8>]) {
    let mut wrong = Vec::new();
    for case in policies().unwrap() {
        let raw = raw::case(&case).unwrap();
        for frame in frames {
            let (want, got) = (raw::oracle(&raw, frame), raw.host(frame));
            if want != got {
                wrong.push(format!(
                    "under {}:\n  oracle {want:?}\n  host   {got:?}\n  frame  {}",
                    case.name,
                    hex(frame)
                ));
            }
        }
    }
    wrong.truncate(10);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_packet_meets_the_end_that_it_has_behind_a_header() {
    let mut compared = 0;
    for text in [POLICY_A, POLICY_B] {
        let case = Case::new("raw", parse(text).unwrap()).unwrap();
        let raw = raw::case(&case).unwrap();
        for row in rows() {
            let Some(packet) = raw::bare(&row.frame) else {
                continue;
            };
            let want = if text == POLICY_A {
                row.under_a
            } else {
                row.under_b
            };
            // What a header said of the packet, which nobody says here.
            let said = [Reason::VLAN_DEPTH, Reason::BAD_VERSION];
            if said.contains(&want.1) || packet.is_empty() {
                continue;
            }
            let outcome = host::decide(&raw.tables, &packet, 0).outcome;
            let (id, what) = (row.id, &row.what);
            assert_eq!((outcome.verdict, outcome.reason), want, "{id} {what}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn host_and_oracle_agree_on_evasion_frames_and_their_truncations() {
    let whole = rows().into_iter().filter_map(|row| raw::bare(&row.frame));
    let frames: Vec<Vec<u8>> = whole
        .flat_map(|packet| (0..=packet.len()).map(move |length| packet[..length].to_vec()))
        .collect();
    assert_agreement(&frames);
}

#[test]
fn host_and_oracle_agree_on_kept_and_fuzzed_frames() {
    let mut generator = Generator::new(seed(31).unwrap());
    let fuzzed = (0..number("FIREWALL_FRAMES", 20_000).unwrap()).map(|_| generator.frame());
    let kept = corpus().unwrap().into_iter().map(|(_, frame)| frame);
    // What is no IP behind its header is bytes, too.
    let frames: Vec<Vec<u8>> = kept
        .chain(fuzzed)
        .map(|frame| {
            raw::bare(&frame).unwrap_or_else(|| frame.get(14..).unwrap_or(&frame).to_vec())
        })
        .collect();
    assert_agreement(&frames);
}

/// An address whose bytes are an IPv4 header's, where one stands behind an Ethernet header: the words of
/// type and header length, protocol and port fall into the source address of IPv6.
#[test]
fn an_address_that_spells_a_header_spells_none() {
    let policy = "version: 1\ndefault: {in: drop}\nrules:\n\
                  \x20 - {name: esp, proto: esp, action: pass}\n";
    let case = Case::new("esp", parse(policy).unwrap()).unwrap();
    let raw = raw::case(&case).unwrap();
    let mut from = [0; 16];
    from[..12].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 8, 0, 0x45, 0, 0, 0x28, 0, 0]);
    from[14..].copy_from_slice(&[0x40, 0x32]);
    let mut to = from;
    to[5] = 1;
    let packet = ipv6(from, to, 6, 64, &tcp(40_000, 22, 2, &[]));
    assert_eq!(
        host::decide(&case.tables, &packet, 0).outcome.verdict,
        Verdict::PASS,
        "read as Ethernet it is let in, or this shows nothing"
    );
    let outcome = host::decide(&raw.tables, &packet, 0).outcome;
    assert_eq!(
        (outcome.verdict, outcome.reason),
        (Verdict::DROP, Reason::NO_MATCH)
    );
}

#[test]
fn connections_are_told_from_strangers() {
    let policy = "version: 1\ndefault: {in: drop, essential: false}\nrules:\n\
                  \x20 - {name: replies, state: established, action: pass}\n";
    let case = Case::new("state", parse(policy).unwrap()).unwrap();
    let case = raw::case(&case).unwrap();
    let (memory, mut flows) = (Memory::default(), Flows::default());
    flows.now = 1;
    let mut traffic = Connections::new(5, 6);
    let mut passed = 0;
    for step in 0..20_000 {
        memory.now.set(flows.now << 30);
        match traffic.event(&flows) {
            Event::Wait(ticks) => flows.now += ticks,
            Event::Out(packet, frame) => {
                flows.sends(&packet);
                record(&case.tables, &memory, &raw::bare(&frame).unwrap());
            }
            Event::In(packet, _) if flows.is_unclear(&packet) => {}
            Event::In(packet, frame) => {
                let belongs = flows.receives(&packet);
                let frame = raw::bare(&frame).unwrap();
                let outcome = decide_after(&case.tables, &memory, &frame, 0).outcome;
                assert_eq!(outcome.verdict == Verdict::PASS, belongs, "step {step}");
                passed += u32::from(belongs);
            }
        }
    }
    assert!(passed > 500, "{passed}");
}
