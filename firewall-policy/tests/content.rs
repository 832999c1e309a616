//! `payload` and `options`: from the text of a rule to the verdict about frames, in the host build, the
//! oracle, explanations, lint and diff; and both in packets as text.

use firewall_common::abi::option_bit;
use firewall_common::verdict::Verdict;
use firewall_policy::compile::compile;
use firewall_policy::content::{Content, Payload};
use firewall_policy::diff::diff;
use firewall_policy::explain::{Explained, explain};
use firewall_policy::fmt::canonical;
use firewall_policy::host::{self, Memory};
use firewall_policy::lint::{Standing, lint};
use firewall_policy::oracle;
use firewall_policy::packet_text::parse;
use firewall_policy::rule::Policy;
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;
use firewall_policy::vocabulary::OPTIONS;

const OPEN: &str = "{malformed: rules, ip_options: pass, fragments: pass, tunnels: inner}";

fn text(packet: &str, rules: &str) -> String {
    format!(
        "version: 1\ndefault: {{in: drop, essential: false}}\npacket: {packet}\nrules:\n{rules}"
    )
}

fn policy(rules: &str) -> (Policy, Tables) {
    let read = read_policy("content.yaml", &text(OPEN, rules), &NoFiles);
    let policy = read.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let policy = policy.policy;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(&policy, &slots).expect("it is small");
    (policy, tables)
}

fn explained((policy, tables): &(Policy, Tables), packet: &str) -> Explained {
    let packet = parse(packet).unwrap_or_else(|error| panic!("{packet}: {error}"));
    explain(policy, tables, &Memory::of(tables), &packet.frame(), 0, 3)
}

/// The rule that decides about a packet, by its index.
fn decided(both: &(Policy, Tables), packet: &str) -> Option<usize> {
    explained(both, packet).rule
}

#[test]
fn conditions_are_kept_once_and_rules_name_them() {
    let (policy, tables) = policy(
        "- {name: a, proto: udp, payload: {offset: 4, bytes: \"ff ?? 00\"}, action: drop}\n",
    );
    let content = Content {
        options: 0,
        payload: Some(Payload {
            offset: 4,
            bytes: vec![Some(255), None, Some(0)],
        }),
    };
    assert_eq!(policy.contents, [content]);
    assert_eq!(policy.rules[0].matches.content, Some(0));
    assert_eq!(tables.config.contents, 1);

    let (policy, _) = self::policy(
        "- {name: a, proto: udp, payload: {bytes: 5453}, action: drop}\n\
         - {name: b, options: [timestamp, ah], action: next}\n\
         - {name: c, proto: tcp, payload: {offset: 0, text: TS}, action: pass}\n\
         - {name: d, options: [ah, timestamp], proto: tcp, payload: {text: TS}, action: pass}\n\
         - {name: e, proto: tcp, action: pass}\n",
    );
    let numbers: Vec<_> = policy
        .rules
        .iter()
        .map(|rule| rule.matches.content)
        .collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(0), Some(2), None]);
    let wanted = option_bit::TIMESTAMP | option_bit::AUTHENTICATION;
    let options: Vec<u32> = policy.contents.iter().map(|it| it.options).collect();
    assert_eq!(options, [0, wanted, wanted]);
    assert_eq!(
        policy.rules[3].summary,
        "tcp options ah,timestamp payload \"TS\""
    );
}

#[test]
fn a_payload_is_met_by_its_bytes_at_their_place_alone() {
    let both = policy(
        "- {name: query, proto: udp, port: 27015, payload: {bytes: \"ff ff ff ff ?? 53\"}, action: pass}\n\
         - {name: deep, proto: [tcp, udp], payload: {offset: 6, text: ab}, action: pass}\n\
         - {name: long, proto: tcp, payload: {text: 0123456789abcdef}, action: pass}\n\
         - {name: rest, proto: udp, action: drop}\n",
    );
    for (packet, rule) in [
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 payload ffffffff0053",
            Some(0),
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 payload ffffffffff5300",
            Some(0),
        ),
        (
            "udp [2001:db8::1]:9 > [2001:db8::2]:27015 payload ffffffff5453",
            Some(0),
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 payload ffffffff0054",
            Some(3),
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 payload ffffffff00",
            Some(3),
        ),
        ("udp 192.0.2.1 > 192.0.2.2:27015", Some(3)),
        (
            "udp 192.0.2.1 > 192.0.2.2:27016 payload ffffffff0053",
            Some(3),
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:9 payload 0000000000006162",
            Some(1),
        ),
        (
            "tcp 192.0.2.1 > 192.0.2.2:9 ack payload 000000000000616200",
            Some(1),
        ),
        (
            "tcp 192.0.2.1 > 192.0.2.2:9 ack payload 0000000000616200",
            None,
        ),
        (
            "tcp 192.0.2.1 > 192.0.2.2:9 ack payload 30313233343536373839616263646566",
            Some(2),
        ),
        (
            "tcp 192.0.2.1 > 192.0.2.2:9 ack payload 303132333435363738396162636465",
            None,
        ),
        (
            "tcp 192.0.2.1 > 192.0.2.2:9 ack payload 30313233343536373839616263646567",
            None,
        ),
        // The rest of a datagram has no such thing; its beginning has.
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 payload ffffffff0053 fragment first",
            Some(0),
        ),
        ("udp 192.0.2.1 > 192.0.2.2 fragment later", Some(3)),
        ("icmp 192.0.2.1 > 192.0.2.2", None),
        // Behind options of both headers.
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 options timestamp payload ffffffff0053",
            Some(0),
        ),
        (
            "udp [2001:db8::1]:9 > [2001:db8::2]:27015 options hop-by-hop,ah payload ffffffff0053",
            Some(0),
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:27015 vlan 7 payload ffffffff0053",
            Some(0),
        ),
    ] {
        assert_eq!(decided(&both, packet), rule, "{packet}");
    }
}

/// What stands behind the datagram, and behind the packet, belongs to neither.
#[test]
fn padding_is_no_payload() {
    let both =
        policy("- {name: a, proto: udp, payload: {offset: 2, bytes: \"ab\"}, action: pass}\n");
    let frame = parse("udp 192.0.2.1 > 192.0.2.2:9 payload 0000ab")
        .expect("a packet")
        .frame();
    let passes = |frame: &[u8]| host::decide(&both.1, frame, 0).outcome.verdict == Verdict::PASS;
    assert!(passes(&frame));
    // A datagram one byte shorter than the packet says.
    let mut short = frame.clone();
    short[14 + 20 + 5] = 10;
    assert!(!passes(&short));
    // A packet one byte shorter than the frame.
    let mut cut = frame.clone();
    cut[14 + 3] -= 1;
    cut[14 + 20 + 5] = 10;
    assert!(!passes(&cut));
    let mut padded = frame;
    padded.extend([0; 20]);
    assert!(passes(&padded));
}

#[test]
fn every_option_is_met_by_itself_and_by_any() {
    for &(word, bit) in OPTIONS {
        let both = policy(&format!("- {{name: a, options: {word}, action: pass}}\n"));
        for &(other, of_other) in OPTIONS {
            for ends in [
                "192.0.2.1 > 192.0.2.2:9",
                "[2001:db8::1]:9 > [2001:db8::2]:9",
            ] {
                let packet = format!("tcp {ends} options {other}");
                let Ok(read) = parse(&packet) else { continue };
                let has = read.options.expect("it says so");
                // A source route of IPv6 is a routing header.
                let has = has
                    | match of_other == option_bit::SOURCE_ROUTE && ends.starts_with('[') {
                        true => option_bit::ROUTING,
                        false => 0,
                    };
                // Of IPv6 those without a name of their own are destination options.
                let has = match of_other == option_bit::ANY && ends.starts_with('[') {
                    true => has | option_bit::DESTINATION,
                    false => has,
                };
                let rule = (has & bit != 0).then_some(0);
                let found = host::decide(&both.1, &read.frame(), 0).outcome.rule;
                assert_eq!(
                    (found != firewall_common::pipeline::NO_RULE).then_some(0),
                    rule,
                    "{packet} under {word}"
                );
            }
        }
        assert_eq!(decided(&both, "tcp 192.0.2.1 > 192.0.2.2:9"), None);
    }
}

#[test]
fn a_packet_without_goes_on_behind_the_rule() {
    let both = policy(
        "- {name: seen, proto: udp, payload: {bytes: ff}, log: 1/s, action: next}\n\
         - {name: some, proto: udp, payload: {bytes: ff}, limit: {rate: 1/d, burst: 1}, action: pass}\n\
         - {name: audit, proto: udp, payload: {bytes: ff}, mode: audit, action: drop}\n\
         - {name: rest, proto: udp, action: pass}\n",
    );
    let memory = Memory::of(&both.1);
    memory.now.set(1_000_000_000);
    let judge = |payload: &str| {
        let packet = format!("udp 192.0.2.1 > 192.0.2.2:9 payload {payload}");
        let frame = parse(&packet).expect("a packet").frame();
        let judged = host::decide_after(&both.1, &memory, &frame, 0);
        (judged.counted, judged.outcome.rule)
    };
    assert_eq!(judge("fe"), (vec![], 3));
    assert_eq!(judge("ff"), (vec![0], 1));
    // Over the limit: the second packet of the day. `some/over` is the first counter behind the rules.
    assert_eq!(judge("ff").1, 4);
    // Those without have taken nothing from the limit, and go on.
    assert_eq!(judge("00"), (vec![], 3));
}

#[test]
fn the_packet_inside_a_tunnel_has_a_payload_of_its_own() {
    let both = policy(
        "- {name: tunnel, proto: ipip, action: pass}\n\
         - {name: a, proto: udp, payload: {bytes: ab}, action: pass}\n",
    );
    let passes = |payload: &str| {
        let inner = parse(&format!("udp 192.0.2.1 > 192.0.2.2:9 payload {payload}"));
        let inner = inner.expect("a packet").frame()[14..].to_vec();
        let mut outer = parse("ipip 198.51.100.1 > 198.51.100.2")
            .expect("a packet")
            .frame();
        outer.truncate(34);
        outer[16..18].copy_from_slice(&(20 + inner.len() as u16).to_be_bytes());
        outer.extend(inner);
        host::decide(&both.1, &outer, 0).outcome.verdict == Verdict::PASS
    };
    assert!(passes("ab") && !passes("ac"));
}

#[test]
fn explanations_name_what_is_missing() {
    let both = policy(
        "- {name: query, proto: udp, port: 9, payload: {offset: 1, bytes: \"ab ??\"}, action: pass}\n\
         - {name: alert, proto: udp, port: 9, options: router-alert, action: pass}\n",
    );
    let near = explained(&both, "udp 192.0.2.1 > 192.0.2.2:9").near;
    let near: Vec<(usize, &str, &str)> = near
        .iter()
        .map(|near| (near.rule, near.field, near.found.as_str()))
        .collect();
    assert_eq!(
        near,
        [
            (0, "payload", "no payload ab ?? at 1"),
            (1, "options", "no options router-alert"),
        ]
    );
    let of_port = explained(&both, "udp 192.0.2.1 > 192.0.2.2:8 options router-alert").near;
    assert_eq!((of_port.len(), of_port[0].field), (1, "port"));
}

#[test]
fn the_oracle_goes_by_the_bits_of_a_key() {
    let (policy, tables) = policy(
        "- {name: a, proto: udp, payload: {bytes: ab}, action: pass}\n\
         - {name: b, proto: udp, options: any, action: next}\n",
    );
    let frame = parse("udp 192.0.2.1 > 192.0.2.2:9")
        .expect("a packet")
        .frame();
    let mut key = firewall_policy::explain::key_of(&tables, &frame, 0).expect("a packet");
    for (bits, rule, counted) in [(0, None, vec![]), (1, Some(0), vec![]), (2, None, vec![1])] {
        key.content = bits;
        let found = oracle::evaluate(&policy, &key);
        assert_eq!((found.decided, found.counted), (rule, counted));
        let hit = host::lookup(&tables, &key).hit;
        assert_eq!(hit.map(|hit| hit.slot as usize), rule);
    }
}

#[test]
fn lint_takes_no_rule_for_covered_by_a_part_of_its_packets() {
    let rules = "- {name: some, proto: udp, payload: {bytes: ab}, action: drop}\n\
                 - {name: all, proto: udp, action: pass}\n\
                 - {name: none, proto: udp, port: 9, payload: {bytes: ac}, action: drop}\n";
    let (policy, tables) = policy(rules);
    let found = lint("content.yaml", &text(OPEN, rules), &policy, &tables);
    assert!(matches!(found.standings[1], Standing::Reached(_)));
    assert!(
        matches!(found.standings[2], Standing::Covered(_)),
        "{:?}",
        found.standings[2]
    );
}

#[test]
fn diff_names_rules_for_a_payload_and_takes_packets_as_without() {
    let of = |rules: &str| policy(rules).0;
    let before = of("- {name: all, proto: udp, port: 9, action: pass}\n");
    let rule = |bytes: &str| {
        format!(
            "- {{name: some, proto: udp, port: 9, payload: {{bytes: {bytes}}}, action: drop}}\n\
             - {{name: all, proto: udp, port: 9, action: pass}}\n"
        )
    };
    let found = diff(&before, &of(&rule("ab")));
    assert!(found.regions.is_empty());
    assert_eq!(
        found.settings,
        ["rule `some` for a payload or options: none -> udp port 9 payload ab, drop"]
    );
    let found = diff(&of(&rule("ab")), &of(&rule("ac")));
    assert_eq!(
        found.settings,
        [
            "rule `some` for a payload or options: udp port 9 payload ab, drop -> udp port 9 payload ac, drop"
        ]
    );
    assert!(diff(&of(&rule("ab")), &of(&rule("ab"))).is_empty());
    // The same by other numbers, beside a limit.
    let limited = "- {name: a, proto: udp, payload: {bytes: ab}, mac: 02:00:00:00:00:01, limit: {rate: 5/s}, action: pass}\n";
    let other = "- {name: first, enabled: false, proto: udp, payload: {bytes: ac}, mac: 02:00:00:00:00:02, action: pass}\n";
    let found = diff(&of(limited), &of(&format!("{other}{limited}")));
    assert!(found.settings.is_empty(), "{:?}", found.settings);
}

/// What cannot be met is an error that says why.
#[test]
fn what_no_packet_has_is_refused() {
    let errors = |packet: &str, rule: &str| -> Vec<String> {
        let text = text(packet, &format!("- {{name: a, {rule}, action: drop}}\n"));
        match read_policy("content.yaml", &text, &NoFiles) {
            Ok(_) => Vec::new(),
            Err(errors) => errors
                .list
                .iter()
                .map(|error| error.code.to_string())
                .collect(),
        }
    };
    for rule in [
        "payload: {bytes: ff}",
        "proto: icmp, payload: {bytes: ff}",
        "proto: [udp, sctp], payload: {bytes: ff}",
        "proto: udp, payload: {bytes: ff f}",
        "proto: udp, payload: {bytes: \"??\"}",
        "proto: udp, payload: {bytes: \"\"}",
        "proto: udp, payload: {text: 0123456789abcdefg}",
        "proto: udp, payload: {text: ab, bytes: ff}",
        "proto: udp, payload: {offset: 1}",
    ] {
        assert_eq!(errors(OPEN, rule), ["FW0178"], "{rule}");
    }
    assert_eq!(
        errors(OPEN, "proto: udp, payload: {offset: 4096, bytes: ff}").len(),
        1
    );
    assert_eq!(errors(OPEN, "options: stamps").len(), 1);
    assert_eq!(errors(OPEN, "ethertype: lldp, options: any"), ["FW0168"]);
    // What `packet` drops does not come to the rules.
    for (packet, rule, fits) in [
        ("{ip_options: drop}", "options: timestamp", false),
        (
            "{ip_options: drop}",
            "options: [timestamp, hop-by-hop]",
            true,
        ),
        ("{ip_options: drop}", "options: router-alert", true),
        ("{ip_options: pass}", "options: source-route", false),
        ("{ip_options: pass}", "options: [source-route, any]", true),
        ("{malformed: rules}", "options: source-route", false),
        (OPEN, "options: source-route", true),
    ] {
        let expected: &[&str] = if fits { &[] } else { &["FW0178"] };
        assert_eq!(errors(packet, rule), expected, "{packet} {rule}");
    }
    let many: String = (0..17)
        .map(|number| {
            format!(
                "- {{name: a{number}, proto: udp, port: {}, payload: {{bytes: \"{number:02x}\"}}, action: drop}}\n",
                number + 1
            )
        })
        .collect();
    let text = text(OPEN, &many);
    let found = read_policy("content.yaml", &text, &NoFiles).expect_err("one too many");
    assert_eq!(found.list[0].code, "FW0178");
}

#[test]
fn texts_keep_what_they_say() {
    let text = "version: 1\n\ndefault: {in: pass}\n\nrules:\n  - {name: a, proto: udp, port: 9, options: any, payload: {offset: 4, bytes: \"ff 00\"}, action: drop}\n";
    assert_eq!(canonical("a.yaml", text).expect("YAML"), text);
    let mixed = text.replace(
        "{offset: 4, bytes: \"ff 00\"}",
        "{bytes: \"ff 00\", offset: 4}",
    );
    assert_eq!(canonical("a.yaml", &mixed).expect("YAML"), text);
    for packet in [
        "udp 192.0.2.1:9 > 192.0.2.2:9 payload 00ff10",
        "tcp 192.0.2.1:9 > 192.0.2.2:9 syn options router-alert,timestamp",
        "tcp 192.0.2.1:9 > 192.0.2.2:9 syn options vlan 7",
        "tcp [2001:db8::1]:9 > [2001:db8::2]:9 syn options hop-by-hop,ah payload 00",
    ] {
        let read = parse(packet).expect(packet);
        assert_eq!(read.to_string(), packet);
    }
    for wrong in [
        "icmp 192.0.2.1 > 192.0.2.2 payload 00",
        "udp 192.0.2.1:9 > 192.0.2.2:9 payload 0",
        "udp 192.0.2.1:9 > 192.0.2.2:9 payload",
        "udp 192.0.2.1:9 > 192.0.2.2:9 options ah",
        "udp [2001:db8::1]:9 > [2001:db8::2]:9 options timestamp",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
