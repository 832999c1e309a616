//! Lint against the oracle: a rule that is called superfluous changes no verdict when it is taken
//! out, on packets aimed at it; a rule that is not has a packet that it decides.
//!
//! `FIREWALL_PROOF_PACKETS` is how many packets are aimed in all; a few by default.

use super::{Lint, Standing, lint};
use crate::compile::compile;
use crate::oracle;
use crate::rule::Policy;
use crate::source::{NoFiles, read_policy};
use crate::space::{Space, random};
use firewall_common::key::PacketKey;
use std::time::Instant;

/// A random policy of rules that often overlap.
fn policy(seed: u64, rules: usize) -> String {
    let mut random = random(seed);
    let mut below = move |end: u128| (random() % end) as usize;
    let mut text = String::from(
        "version: 1\ninterfaces: [{match: a, zone: wan}, {match: b, zone: lan}]\n\
         default: {in: drop}\npacket: {fragments: pass}\nrules:\n",
    );
    for number in 0..rules {
        let mut words = Vec::new();
        let networks = [
            "10.0.0.0/8",
            "10.0.0.0/9",
            "10.128.0.0/9",
            "10.1.0.0/16",
            "10.1.2.3",
            "\"2001:db8::/32\"",
            "\"2001:db8:1::/48\"",
            "192.0.2.0/24",
            "\"!10.0.0.0/8\"",
        ];
        for side in ["from", "to"] {
            if below(3) == 0 {
                let (a, b) = (networks[below(9)], networks[below(8)]);
                words.push(match below(2) {
                    0 => format!("{side}: {a}"),
                    _ => format!("{side}: [{a}, {b}]"),
                });
            }
        }
        match below(4) {
            0 => words.push("proto: icmp, icmp: {type: [0, 8]}".into()),
            1 => {
                let proto = ["tcp", "udp", "[tcp, udp]"][below(3)];
                let port = ["22", "1-1023", "1024-65535", "\"!22\"", "[22, 80]", "80"][below(6)];
                words.push(format!("proto: {proto}, port: {port}"));
            }
            2 if below(2) == 0 => {
                words.push("proto: tcp, flags: {set: [syn], clear: [ack]}".into());
            }
            _ => {}
        }
        if below(4) == 0 {
            words.push(format!("zone: {}", ["wan", "lan", "\"!wan\""][below(3)]));
        }
        if below(8) == 0 {
            words.push(format!(
                "length: {}",
                ["0-19", "0-100", "101-65535"][below(3)]
            ));
        }
        let action = ["pass", "drop", "drop", "next"][below(4)];
        words.push(format!("action: {action}"));
        text.push_str(&format!("- {{name: r{number}, {}}}\n", words.join(", ")));
    }
    text
}

/// The policy of a text, and what lint says. `None` for texts that are no policy: some rules
/// contradict themselves.
fn linted(text: &str) -> Option<(Policy, Lint)> {
    let policy = read_policy("random.yaml", text, &NoFiles).ok()?.policy;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(&policy, &slots).unwrap();
    let lint = lint("random.yaml", text, &policy, &tables);
    Some((policy, lint))
}

fn without(policy: &Policy, rule: usize) -> Policy {
    let mut rest = policy.clone();
    rest.rules.remove(rule);
    rest
}

/// The verdict, and the names of the rules behind it.
fn verdict(policy: &Policy, key: &PacketKey) -> Option<String> {
    let decided = oracle::evaluate(policy, key).decided?;
    Some(policy.rules[decided].name.clone())
}

#[test]
fn findings_are_proved_by_the_oracle() {
    let wanted: u64 = std::env::var("FIREWALL_PROOF_PACKETS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let (mut aimed, mut covered, mut reached, mut never, mut seed) = (0, 0, 0, 0, 0);
    while aimed < wanted || covered < 20 || never < 3 {
        seed += 1;
        let Some((policy, lint)) = linted(&policy(seed, 12)) else {
            continue;
        };
        for (rule, standing) in lint.standings.iter().enumerate() {
            match standing {
                Standing::Reached(key) => {
                    reached += 1;
                    let found = oracle::evaluate(&policy, key);
                    assert!(
                        found.decided == Some(rule) || found.counted.contains(&rule),
                        "seed {seed}, rule {rule}: {key:?}"
                    );
                }
                Standing::Covered(by) => {
                    covered += 1;
                    assert!(by.iter().all(|&other| other < rule), "seed {seed}");
                    aimed += aim_at_doors(&policy, rule, 2_000, seed);
                }
                Standing::Never => never += 1,
                Standing::Disabled | Standing::Undecided => panic!("seed {seed}, rule {rule}"),
            }
        }
        assert!(seed < 100_000, "{covered} covered, {never} never");
    }
    assert!(reached > covered, "{reached} reached, {covered} covered");
    eprintln!(
        "{seed} policies, {reached} reached, {covered} covered, {never} never, {aimed} packets"
    );
}

/// Takes the rule out, and draws packets of it that reach the rules: nothing may change for them.
/// Gives how many were drawn.
fn aim_at_doors(policy: &Policy, rule: usize, packets: u64, seed: u64) -> u64 {
    fn family<T: crate::space::reach::Carried>(
        policy: &Policy,
        rule: usize,
        packets: u64,
        seed: u64,
    ) -> u64 {
        let Some(space) = Space::<T>::of(&policy.rules[rule].matches) else {
            return 0;
        };
        let rest = without(policy, rule);
        let mut random = random(seed);
        let doors = super::Doors::of(policy).boxes::<T>();
        let parts: Vec<Space<T>> = doors.iter().filter_map(|door| space.and(door)).collect();
        let mut aimed = 0;
        for part in parts.iter().cycle().take(if parts.is_empty() {
            0
        } else {
            packets as usize
        }) {
            let key = part.sample(&mut random);
            assert_eq!(
                verdict(policy, &key),
                verdict(&rest, &key),
                "seed {seed}, rule {rule}: {key:?}"
            );
            aimed += 1;
        }
        aimed
    }
    family::<u32>(policy, rule, packets, seed) + family::<u128>(policy, rule, packets, seed)
}

#[test]
fn ten_thousand_rules_take_two_seconds() {
    let mut text = String::from("version: 1\ndefault: {in: drop}\nrules:\n");
    let mut random = random(7);
    let mut below = move |end: u128| random() % end;
    for number in 0..10_000 {
        let (a, b, c) = (below(224), below(256), below(256));
        let port = below(2_000) + 1;
        let bits = 8 + below(3) * 8;
        let host = match bits {
            8 => format!("{}.0.0.0/8", a.max(1)),
            16 => format!("{}.{b}.0.0/16", a.max(1)),
            _ => format!("{}.{b}.{c}.0/24", a.max(1)),
        };
        let match_ = match below(4) {
            0 => format!("from: {host}"),
            1 => format!(
                "from: {host}, proto: tcp, port: {port}-{}",
                port + below(500)
            ),
            2 => format!("from: {host}, proto: udp, port: {port}"),
            _ => format!("to: {host}, proto: tcp, port: {port}"),
        };
        let action = ["pass", "drop", "next"][below(3) as usize];
        text.push_str(&format!(
            "- {{name: r{number}, {match_}, action: {action}}}\n"
        ));
    }
    let policy = read_policy("large.yaml", &text, &NoFiles).unwrap().policy;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(&policy, &slots).unwrap();
    let start = Instant::now();
    let found = lint("large.yaml", &text, &policy, &tables);
    let took = start.elapsed();
    let count =
        |wanted: fn(&Standing) -> bool| found.standings.iter().filter(|s| wanted(s)).count();
    let covered = count(|s| matches!(s, Standing::Covered(_)));
    let undecided = count(|s| matches!(s, Standing::Undecided));
    eprintln!("lint of 10,000 rules: {took:?}, {covered} covered, {undecided} undecided");
    assert!(covered > 500 && undecided == 0, "{covered} {undecided}");
    assert!(took.as_secs() < 10, "{took:?}");
    for (rule, standing) in found.standings.iter().enumerate().step_by(97) {
        match standing {
            Standing::Reached(key) => {
                let answer = oracle::evaluate(&policy, key);
                assert!(answer.decided == Some(rule) || answer.counted.contains(&rule));
            }
            Standing::Covered(_) => {
                aim_at_doors(&policy, rule, 3, rule as u64);
            }
            _ => {}
        }
    }
}

/// What lint finds in these rules, under a default of drop: codes, each with its advice.
fn found(rules: &[&str]) -> Vec<(&'static str, String)> {
    let rules: String = rules.iter().map(|rule| format!("- {{{rule}}}\n")).collect();
    let (_, lint) = linted(&format!(
        "version: 1\ninterfaces: [{{match: a, zone: wan}}, {{match: b, zone: lan}}]\n\
         default: {{in: drop}}\nrules:\n{rules}"
    ))
    .expect("a policy");
    let findings = lint.findings.list.into_iter();
    let findings = findings.map(|it| (it.code, it.help.unwrap_or_default()));
    findings.filter(|(code, _)| *code != "FW0216").collect()
}

const OPENS: &str = "name: ssh, proto: tcp, port: 22, state: new, action: pass";

#[test]
fn a_rule_for_new_packets_whose_connections_cannot_go_on_is_named() {
    let lost = |rules: &[&str]| found(rules).iter().any(|(code, _)| *code == "FW0218");
    for others in [
        "name: a, state: established, proto: udp, action: pass",
        "name: a, state: established, from: 192.0.2.1, to: 192.0.2.2, zone: lan, action: next",
        "name: a, state: established, proto: tcp, port: 80, action: pass",
        "name: a, state: established, action: drop",
        "name: a, state: invalid, action: pass",
    ] {
        assert!(lost(&[others, OPENS]), "{others}");
        assert!(lost(&[OPENS, others]), "{others}");
    }
    let in_wan = OPENS.replace("port", "zone: wan, port");
    let in_lan = "name: a, state: established, zone: lan, action: pass";
    assert!(lost(&[&in_wan, in_lan]) && !lost(&[&in_wan.replace("wan", "lan"), in_lan]));
    for replies in [
        "name: a, state: established, action: pass",
        "name: a, proto: tcp, flags: {set: [ack]}, action: pass",
    ] {
        assert!(
            !lost(&[replies, OPENS]) && !lost(&[OPENS, replies]),
            "{replies}"
        );
    }
    for sound in [
        OPENS.replace("state: new", "state: [new, established]"),
        OPENS.replace("state: new, ", ""),
        OPENS.replace("tcp, port: 22", "udp, port: 53"),
        OPENS.replace("pass", "drop"),
    ] {
        assert!(!lost(&[&sound]), "{sound}");
    }
    assert!(!lost(&["name: a, state: established, action: pass", OPENS]));
}

#[test]
fn a_rule_for_new_packets_that_are_invalid_is_told_the_word() {
    for rule in [
        "proto: tcp, flags: {clear: [syn]}, state: new, action: drop",
        "proto: tcp, flags: {set: [syn, ack]}, state: new, action: pass",
        "proto: icmp, icmp: {type: echo-reply}, state: new, action: pass",
    ] {
        let findings = found(&[&format!("name: a, {rule}")]);
        let (code, help) = &findings[0];
        assert_eq!(*code, "FW0213", "{rule}");
        assert!(help.contains("write `state: invalid`"), "{rule}: {help}");
        let better = rule.replace("new", "invalid");
        assert!(found(&[&format!("name: a, {better}")]).is_empty(), "{rule}");
    }
}
