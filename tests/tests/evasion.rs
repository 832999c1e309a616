//! Hostile and essential packets through the host build of parser and classifier.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::abi::CountedPort;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::compile::compile;
use firewall_policy::host;
use firewall_policy::tables::Tables;
use firewall_tests::evasion::{
    End, POLICY_A, POLICY_B, POLICY_FOLLOW, Row, base4, base6, rows, sequences,
};
use firewall_tests::policies;
use std::collections::BTreeSet;

fn tables(text: &str) -> Tables {
    let policy = policies::parse(text).unwrap();
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    compile(&policy, &slots).unwrap()
}

fn end(tables: &Tables, frame: &[u8]) -> End {
    let outcome = host::decide(tables, frame, 0).outcome;
    (outcome.verdict, outcome.reason)
}

#[test]
fn every_packet_meets_its_end() {
    let (a, b) = (tables(POLICY_A), tables(POLICY_B));
    let mut wrong = Vec::new();
    for row in rows() {
        for (policy, tables, want) in [("A", &a, row.under_a), ("B", &b, row.under_b)] {
            let got = end(tables, &row.frame);
            if got != want {
                wrong.push(format!(
                    "{} {} under {policy}: {got:?}, not {want:?}\n  {:02x?}",
                    row.id, row.what, row.frame
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Policies that turn every knob, besides those that are shipped.
const KNOBS: &[&str] = &[
    POLICY_A,
    POLICY_B,
    "version: 1\ndefault: {in: drop, essential: false}\nrules: []\n",
    "version: 1\ndefault: {in: pass}\npacket: {malformed: rules, fragments: drop}\nrules: []\n",
    "version: 1\ndefault: {in: drop}\npacket: {fragments: pass, ip_options: pass}\nrules:\n\
     \x20 - {name: a, proto: tcp, port: 80, action: pass}\n\
     \x20 - {name: b, vlan: 100, action: pass}\n\
     \x20 - {name: c, length: 0-80, proto: tcp, action: pass}\n",
    "version: 1\ndefault: {in: pass}\npacket: {tunnels: inner}\nrules:\n\
     \x20 - {name: a, proto: tcp, port: 22, length: 60-80, action: drop}\n",
    "version: 1\nmode: audit\ndefault: {in: drop, essential: false}\nrules: []\n",
    "version: 1\ndefault: {in: pass}\npacket: {vlan_depth: 0, ipv6_ext_max: 0}\nrules: []\n",
    "version: 1\ndefault: {in: pass}\npacket: {vlan_depth: 1, ipv6_ext_max: 1}\nrules: []\n",
    "version: 1\ndefault: {in: drop}\npacket: {vlan_depth: 8, ipv6_ext_max: 16}\nrules:\n\
     \x20 - {name: a, from: 192.0.2.0/24, action: pass}\n\
     \x20 - {name: b, from: \"2001:db8::/64\", ttl: 64, dscp: 0, action: pass}\n",
];

/// What the product expects of the frames on its users' machines is what these tests expect, and
/// what the program does under any policy.
#[test]
fn the_meaning_of_every_packet_tells_its_end() {
    for row in rows() {
        let ends = [(POLICY_A, row.under_a), (POLICY_B, row.under_b)];
        for (text, want) in ends {
            let policy = policies::parse(text).unwrap();
            assert_eq!(row.meaning.end(&policy, 0), want, "{} {}", row.id, row.what);
        }
    }
    let shipped = policies::shipped().unwrap();
    let knobs = KNOBS
        .iter()
        .map(|text| (text.to_string(), policies::parse(text).unwrap()));
    let mut wrong = Vec::new();
    for (name, policy) in shipped.into_iter().chain(knobs) {
        let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
        let tables = compile(&policy, &slots).unwrap();
        for zone in 0..policy.zones.len() as u32 {
            for row in rows() {
                let outcome = host::decide(&tables, &row.frame, zone).outcome;
                let (got, want) = (
                    (outcome.verdict, outcome.reason),
                    row.meaning.end(&policy, zone),
                );
                if got != want {
                    let (id, what) = (row.id, row.what);
                    wrong.push(format!("{id} {what} under {name}: {got:?}, not {want:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_sequence_of_fragments_meets_its_ends() {
    let tables = tables(POLICY_FOLLOW);
    let mut wrong = Vec::new();
    for sequence in sequences() {
        let fragments = host::Memory::default();
        for (step, (frame, want)) in sequence.steps.iter().enumerate() {
            let outcome = host::decide_after(&tables, &fragments, frame, 0).outcome;
            let got = (outcome.verdict, outcome.reason);
            if got != *want {
                let (id, what) = (sequence.id, &sequence.what);
                wrong.push(format!("{id} {what}, step {step}: {got:?}, not {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_is_reached() {
    let reached: BTreeSet<Reason> = rows()
        .iter()
        .flat_map(|row| [row.under_a.1, row.under_b.1])
        .chain(
            sequences()
                .iter()
                .flat_map(|sequence| &sequence.steps)
                .map(|(_, (_, reason))| *reason),
        )
        .collect();
    let missing: Vec<&Reason> = Reason::ALL
        .iter()
        .filter(|reason| !reached.contains(reason))
        // The two policies reject nothing and protect nothing.
        .filter(|reason| !reason.is_reject())
        .filter(|&&reason| ![Reason::SYN_COOKIE, Reason::SYN_FORGED].contains(&reason))
        .collect();
    // One needs a request that has left. No frame may reach the next one: it stands for a bug. The others
    // need a second processor, a rate limit, and a ban.
    assert_eq!(
        missing,
        [
            &Reason::DHCP,
            &Reason::INTERNAL,
            &Reason::FRAG_BUSY,
            &Reason::LIMIT,
            &Reason::BANNED
        ]
    );
}

#[test]
fn tunnels_are_looked_into_on_request() {
    let rules = "rules:\n\
                 - {name: tunnel, proto: [4, 41, gre], action: pass}\n\
                 - {name: vxlan, proto: udp, port: 4789, action: pass}\n\
                 - {name: web, proto: tcp, port: 80, action: pass}\n";
    let policy = |knob| {
        tables(&format!(
            "version: 1\ndefault: {{in: drop}}\npacket: {{tunnels: {knob}}}\n{rules}"
        ))
    };
    let (outer, inner) = (policy("outer"), policy("inner"));
    // Each kind of tunnel is in the table with a packet for port 22 inside, then for port 80.
    let tunnels: Vec<Row> = rows()
        .into_iter()
        .filter(|row| ["E33", "E43"].contains(&row.id))
        .collect();
    assert_eq!(tunnels.len(), 26);
    for row in &tunnels {
        let result = host::decide(&inner, &row.frame, 0);
        let is_web = result.outcome.port == CountedPort::tcp(80);
        let want = if is_web {
            (Verdict::PASS, Reason::RULE)
        } else {
            (Verdict::DROP, Reason::NO_MATCH)
        };
        assert_eq!(
            result.outcome.port,
            CountedPort::tcp(if is_web { 80 } else { 22 }),
            "{}",
            row.what
        );
        assert_eq!(
            (result.outcome.verdict, result.outcome.reason),
            want,
            "{}",
            row.what
        );
        // The tunnel's own rule, 0 or 1, has counted it.
        assert_eq!(result.counted.len(), 1, "{}", row.what);
        assert_eq!(
            end(&outer, &row.frame),
            (Verdict::PASS, Reason::RULE),
            "{}",
            row.what
        );
    }
    let web = CountedPort::tcp(80);
    let passed = |row: &&Row| host::decide(&inner, &row.frame, 0).outcome.port == web;
    assert_eq!(tunnels.iter().filter(passed).count(), 13);
}

#[test]
fn a_cut_packet_never_passes() {
    let tables = tables(POLICY_A);
    for frame in [base4(80), base6(80)] {
        for length in 14..frame.len() {
            assert_eq!(
                end(&tables, &frame[..length]),
                (Verdict::DROP, Reason::TRUNCATED),
                "{length} of {} bytes",
                frame.len()
            );
        }
        assert_eq!(end(&tables, &frame), (Verdict::PASS, Reason::RULE));
    }
}

/// Bytes of the frame up to the end of the packet in it: what is behind is padding. Of what keeps a link up
/// up to where nobody looks any more.
fn whole(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8] | [0x91, 0]) {
        at += 4;
    }
    let number = |at: usize| usize::from(frame[at]) << 8 | usize::from(frame[at + 1]);
    let payload = at + 2;
    match number(at) {
        0x0800 => payload + number(payload + 2),
        0x86dd => payload + 40 + number(payload + 4),
        0x0806 => payload + 28,
        0x888e => payload + 4 + number(payload + 2),
        0x8809 | 0x88cc | ..0x600 => payload + 4,
        other => panic!("EtherType {other:04x} passes"),
    }
}

#[test]
fn no_truncation_of_any_frame_passes() {
    let tables = tables(POLICY_A);
    let (mut cut, mut passing) = (0, 0);
    let mut wrong = Vec::new();
    for row in rows() {
        let passes = |frame: &[u8]| end(&tables, frame).0 == Verdict::PASS;
        let complete = if passes(&row.frame) {
            passing += 1;
            whole(&row.frame)
        } else {
            // Not even what is left of it.
            row.frame.len()
        };
        for length in 14..complete {
            cut += 1;
            if passes(&row.frame[..length]) {
                wrong.push(format!("{} {}: {length} bytes", row.id, row.what));
            }
        }
        // Padding is nobody's business.
        for length in complete..row.frame.len() {
            assert!(passes(&row.frame[..length]), "{} {}", row.id, row.what);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cut > 10_000 && passing > 40, "{cut} cuts, {passing} pass");
}
