//! What a policy means: from text to the exact sets of values of each rule.

mod support;

use firewall_common::abi::{essential_bit, fragments, malformed};
use firewall_common::field::Field;
use firewall_common::reason::Reason;
use firewall_common::verdict::{Action, Verdict};
use firewall_policy::compile::compile;
use firewall_policy::diag::codes::Code;
use firewall_policy::limit::{Limit, Rate};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::{AddrSet, Mode, Policy, Rule};
use firewall_policy::source::read_policy;
use firewall_policy::{host, policy_tests};
use std::net::{Ipv4Addr, Ipv6Addr};
use support::Fake;

fn policy(text: &str) -> Policy {
    match read_policy("t.yaml", &Code::complete(text), &Fake) {
        Ok(read) => read.policy,
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

/// The only rule of `- {name: a, FIELDS, action: pass}`.
fn rule(fields: &str) -> Rule {
    policy(&format!("- {{name: a, {fields}, action: pass}}\n"))
        .rules
        .remove(0)
}

fn v4(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an IPv4 address").into()
}

fn v6(text: &str) -> u128 {
    text.parse::<Ipv6Addr>().expect("an IPv6 address").into()
}

#[test]
fn addresses_belong_to_the_family_that_they_are_written_in() {
    let set = rule("from: 10.0.0.0/8").matches.src;
    assert_eq!(set.v4.ranges(), [(v4("10.0.0.0"), v4("10.255.255.255"))]);
    assert!(set.v6.is_empty());
    let set = rule("to: \"2001:db8::/32\"").matches.dst;
    assert!(set.v4.is_empty());
    assert_eq!(
        set.v6.ranges(),
        [(
            v6("2001:db8::"),
            v6("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
        )]
    );
    let rule = rule("from: [192.0.2.1, \"2001:db8::1\", 192.0.2.2-192.0.2.9]");
    assert_eq!(
        rule.matches.src.v4.ranges(),
        [(v4("192.0.2.1"), v4("192.0.2.9"))]
    );
    assert_eq!(
        rule.matches.src.v6.ranges(),
        [(v6("2001:db8::1"), v6("2001:db8::1"))]
    );
    assert_eq!(rule.matches.dst, AddrSet::any());
}

#[test]
fn prefixes_of_every_length() {
    let set = rule("from: [0.0.0.0/0, \"::/0\"]").matches.src;
    assert_eq!(set, AddrSet::any());
    let set = rule("from: [192.0.2.1/32, \"::2/128\"]").matches.src;
    assert_eq!(set.v4.ranges(), [(v4("192.0.2.1"), v4("192.0.2.1"))]);
    assert_eq!(set.v6.ranges(), [(2, 2)]);
    let set = rule("from: 128.0.0.0/1").matches.src;
    assert_eq!(set.v4.ranges(), [(1 << 31, u32::MAX)]);
}

#[test]
fn negation_is_the_complement_over_both_families() {
    let set = rule("from: \"!10.0.0.0/8\"").matches.src;
    assert!(set.v6.is_full());
    assert!(!set.v4.contains(v4("10.1.2.3")) && set.v4.contains(v4("11.0.0.0")));
    let set = rule("from: [10.0.0.0/8, \"!10.1.0.0/16\"]").matches.src;
    assert!(set.v6.is_empty());
    assert!(set.v4.contains(v4("10.2.0.0")) && !set.v4.contains(v4("10.1.9.9")));
    let set = rule("from: [\"!10.0.0.0/8\", \"!2001:db8::/32\"]")
        .matches
        .src;
    assert!(!set.v4.contains(v4("10.0.0.0")) && set.v4.contains(v4("9.0.0.0")));
    assert!(!set.v6.contains(v6("2001:db8::")) && set.v6.contains(v6("2001:db9::")));
}

#[test]
fn sets_expand_in_place() {
    let policy = policy(
        "sets:\n  good: {type: cidr, file: sets.d/good.txt, elements: [10.0.0.0/8]}\n  \
         web: {type: port, elements: [http, 443, 8000-8010]}\nrules:\n\
         - {name: a, proto: tcp, from: \"@good\", port: [\"@web\", 22], action: pass}\n\
         - {name: b, proto: tcp, from: \"!@good\", port: \"!@web\", action: drop}\n",
    );
    let (a, b) = (&policy.rules[0].matches, &policy.rules[1].matches);
    assert_eq!(
        a.src.v4.ranges(),
        [
            (v4("10.0.0.0"), v4("10.255.255.255")),
            (v4("192.0.2.0"), v4("192.0.2.255")),
            (v4("198.51.100.7"), v4("198.51.100.7")),
            (v4("198.51.100.64"), v4("198.51.100.95")),
        ]
    );
    assert_eq!(b.src, a.src.complement());
    let ports = a.field(Field::DestinationPort);
    assert_eq!(
        ports.ranges(),
        [(22, 22), (80, 80), (443, 443), (8000, 8010)]
    );
    let others = b.field(Field::DestinationPort);
    assert!(!others.contains(443) && others.contains(22) && !others.contains(65_536));
}

#[test]
fn a_field_that_is_named_never_accepts_its_absence() {
    let all = [
        ("proto: tcp, port: \"1-\"", Field::DestinationPort),
        ("proto: tcp, source_port: \"!22\"", Field::SourcePort),
        ("proto: icmp, icmp: {type: 0-255}", Field::Icmp),
        ("proto: tcp, flags: {clear: [syn]}", Field::TcpFlags),
        ("vlan: \"!10\"", Field::Vlan),
        ("dscp: 0-63", Field::Dscp),
        ("ttl: \"0-\"", Field::Ttl),
        ("length: \"!1500\"", Field::Length),
        ("fragment: [whole, first, later]", Field::Fragment),
        ("mac: 02:00:00:00:00:01", Field::Mac),
        ("proto: \"!tcp\"", Field::Proto),
    ];
    for (fields, field) in all {
        let rule = rule(fields);
        assert!(
            !rule.matches.field(field).contains(field.none()),
            "{fields}"
        );
        assert!(!rule.matches.is_any(field), "{fields}");
        for other in Field::ALL {
            if other != field && other != Field::Proto {
                assert!(
                    rule.matches.is_any(other),
                    "{fields} leaves {other:?} alone"
                );
            }
        }
    }
}

#[test]
fn flags_expand_to_every_value_that_holds_both() {
    let rule = rule("proto: tcp, flags: {set: [syn], clear: [ack, rst]}");
    for value in 0..=256 {
        let holds = value < 256 && value & 2 != 0 && value & 20 == 0;
        assert_eq!(
            rule.matches.field(Field::TcpFlags).contains(value),
            holds,
            "{value}"
        );
    }
}

#[test]
fn icmp_is_type_and_code() {
    let values = |fields: &str| rule(fields).matches.field(Field::Icmp).clone();
    assert_eq!(
        values("proto: icmp, icmp: {type: echo-request}").ranges(),
        [(0x800, 0x8ff)]
    );
    assert_eq!(
        values("proto: icmpv6, icmp: {type: echo-request}").ranges(),
        [(0x8000, 0x80ff)]
    );
    assert_eq!(
        values("proto: icmp, icmp: {type: 3, code: [4, port-unreachable]}").ranges(),
        [(0x303, 0x304)]
    );
    assert_eq!(
        values("proto: icmp, icmp: [{type: [0, 8], code: 0}, {type: 11}]").ranges(),
        [(0, 0), (0x800, 0x800), (0xb00, 0xbff)]
    );
}

#[test]
fn names_stand_for_numbers() {
    let values = |fields: &str, field: Field| rule(fields).matches.field(field).ranges().to_vec();
    assert_eq!(
        values("proto: [tcp, udp, 132]", Field::Proto),
        [(6, 6), (17, 17), (132, 132)]
    );
    assert_eq!(values("dscp: [ef, cs0]", Field::Dscp), [(0, 0), (46, 46)]);
    assert_eq!(
        values("proto: [tcp, udp], to_port: dns", Field::DestinationPort),
        [(53, 53)]
    );
    assert_eq!(
        values("proto: udp, port: quic", Field::DestinationPort),
        [(443, 443)]
    );
}

#[test]
fn zones_are_numbered_in_file_order() {
    let policy = policy(
        "interfaces:\n- {match: eth9}\n- {match: wan0, zone: wan, mode: native}\n\
         - {match: [lan0, \"vlan*\"], zone: lan, mode: generic}\n- {match: wan1, zone: wan}\nrules:\n\
         - {name: a, zone: lan, action: pass}\n- {name: b, zone: \"!lan\", action: pass}\n",
    );
    assert_eq!(policy.zones, ["", "wan", "lan"]);
    let zones: Vec<u32> = policy.interfaces.iter().map(|i| i.zone).collect();
    assert_eq!(zones, [0, 1, 2, 1]);
    assert_eq!(policy.interfaces[1].mode, Mode::Native);
    assert_eq!(policy.interfaces[2].matches, ["lan0", "vlan*"]);
    assert_eq!(
        policy.rules[0].matches.field(Field::Zone).ranges(),
        [(2, 2)]
    );
    assert_eq!(
        policy.rules[1].matches.field(Field::Zone).ranges(),
        [(0, 1), (3, 254)]
    );
}

#[test]
fn defaults_follow_the_default_verdict() {
    let drop = policy("default: drop\n");
    assert_eq!(
        (drop.default_verdict, drop.essential),
        (Verdict::DROP, essential_bit::ALL)
    );
    assert_eq!(drop.packet.fragments, fragments::DROP);
    assert_eq!((drop.packet.drop_ip_options, drop.packet.malformed), (1, 1));
    assert_eq!((drop.packet.ipv6_ext_max, drop.packet.vlan_depth), (8, 4));
    let pass = policy("default: {in: pass}\n");
    assert_eq!((pass.default_verdict, pass.essential), (Verdict::PASS, 0));
    assert_eq!(pass.packet.fragments, fragments::PASS);
    assert_eq!((pass.packet.drop_ip_options, pass.packet.malformed), (0, 1));
    assert!(pass.interfaces.is_empty() && pass.zones == [""]);
    let mixed = policy("default: {in: drop, essential: {dhcp: false, multicast: false}}\n");
    assert_eq!(
        mixed.essential,
        essential_bit::ALL & !essential_bit::DHCP & !essential_bit::MULTICAST
    );
    let on = policy("default: {in: pass, essential: {arp: true}}\n");
    assert_eq!(on.essential, essential_bit::ARP);
    assert_eq!(
        policy("default: {in: pass, essential: true}\n").essential,
        essential_bit::ALL
    );
    let knobs = policy(
        "default: drop\npacket: {malformed: rules, fragments: pass, ip_options: pass, \
         ipv6_ext_max: 0, vlan_depth: 8, tunnels: outer}\n",
    );
    assert_eq!(
        (knobs.packet.malformed, knobs.packet.fragments),
        (malformed::RULES, fragments::PASS)
    );
    assert_eq!(
        (knobs.packet.drop_ip_options, knobs.packet.vlan_depth),
        (0, 8)
    );
    assert_eq!(knobs.packet.ipv6_ext_max, 0);
}

#[test]
fn rules_keep_what_people_wrote() {
    let policy = policy(
        "- name: a\n  comment: \"why: because\"\n  enabled: false\n  mode: enforce\n  action: next\n",
    );
    let rule = &policy.rules[0];
    assert_eq!(rule.comment.as_deref(), Some("why: because"));
    assert_eq!((rule.enabled, rule.action), (false, Action::NEXT));
    assert_eq!(
        (rule.place.file.as_str(), rule.place.line, rule.place.column),
        ("t.yaml", 4, 3)
    );
    assert_eq!(rule.summary, "any");
}

#[test]
fn protection_is_for_rules_that_pass_tcp() {
    let policy = policy(
        "- {name: a, proto: [tcp, udp], port: https, syn_protect: auto, action: pass}\n\
         - {name: b, proto: tcp, port: https, syn_protect: off, action: drop}\n\
         - {name: c, syn_protect: auto, mode: audit, action: pass}\n",
    );
    let protected: Vec<bool> = policy.rules.iter().map(|rule| rule.syn_protect).collect();
    assert_eq!(protected, [true, false, false]);
    assert!(policy.protects());
    assert_eq!(
        policy.rules[0].summary,
        "tcp,udp port https syn_protect auto"
    );
}

#[test]
fn a_limit_counts_packets_or_bytes() {
    let limit = |text: &str| {
        let rule = rule(&format!("limit: {{{text}}}"));
        let limit = rule.limit.expect("a limit");
        (limit.packets, limit.window, limit.burst, limit.bytes)
    };
    const SECOND: u64 = 1_000_000_000;
    for (text, expected) in [
        ("rate: 10Mbit/s", (1_250_000, SECOND, 2_500_000, true)),
        ("rate: 10mbit/s", (1_250_000, SECOND, 2_500_000, true)),
        (
            "rate: 1MB/s, burst: 64KiB",
            (1_000_000, SECOND, 65_536, true),
        ),
        // Room for the largest packet.
        ("rate: 8kbit/s", (1_000, SECOND, 65_536, true)),
        (
            "rate: 1GB/d",
            (1_000_000_000, 86_400 * SECOND, 1_000_000_000, true),
        ),
        ("rate: 10M/s", (10_000_000, SECOND, 20_000_000, false)),
    ] {
        assert_eq!(limit(text), expected, "{text}");
    }
    let shown = rule("limit: {rate: 10Mbit/s, per: source}")
        .limit
        .expect("a limit");
    assert_eq!(shown.to_string(), "10Mbit/s per source, burst 20Mbit");
}

#[test]
fn logs_have_a_rate_and_a_counter() {
    let text = Code::complete(
        "default: {in: drop, log: 6/30s}\nrules:\n- {name: a, log: 10/s, action: next}\n\
         - {name: b, limit: {rate: 1/s}, action: pass}\n",
    );
    let policy = read_policy("t.yaml", &text, &Fake).expect("valid").policy;
    let of = |packets, seconds: u64, burst| Rate {
        packets,
        window: seconds * 1_000_000_000,
        burst,
    };
    assert_eq!(policy.rules[0].log, Some(of(10, 1, 20)));
    assert_eq!(policy.default_log, Some(of(6, 30, 6)));
    assert_eq!(policy.rules[0].summary, "log 10/s");
    let counters = policy.counters();
    assert_eq!(counters, ["a", "b", "b/over", "a/unlogged", "/unlogged"]);
    let rules: Vec<_> = (0..5).map(|index| policy.rule_of_counter(index)).collect();
    assert_eq!(rules, [Some(0), Some(1), Some(1), None, None]);
}

#[test]
fn empty_sets_are_a_warning_and_match_nothing() {
    let text = Code::complete(
        "sets: {bad: {type: cidr, file: sets.d/empty.txt}}\nrules: [{name: a, from: \"@bad\", action: drop}]\n",
    );
    let read = read_policy("t.yaml", &text, &Fake).expect("valid");
    assert_eq!(read.warnings.list[0].code, "FW0202");
    assert_eq!(read.policy.rules[0].matches.src, AddrSet::none());
}

#[test]
fn a_rule_in_audit_mode_counts_and_goes_on() {
    let policy = policy(
        "rules:\n\
         - {name: a, mode: audit, action: drop}\n\
         - {name: b, mode: audit, limit: {rate: 10/s}, action: pass}\n\
         - {name: c, mode: enforce, owner: ops, reason: \"a, b\", action: pass}\n",
    );
    let [a, b, c] = &policy.rules[..] else {
        panic!("{policy:?}");
    };
    assert_eq!((a.action, a.audit), (Action::NEXT, Some(Action::DROP)));
    assert_eq!((b.action, b.audit), (Action::NEXT, Some(Action::PASS)));
    assert!(b.limit.as_ref().is_some_and(Limit::over_goes_on));
    assert_eq!((c.action, c.audit), (Action::PASS, None));
    assert_eq!(
        (c.owner.as_deref(), c.reason.as_deref()),
        (Some("ops"), Some("a, b"))
    );
    assert!(!policy.audit);
}

#[test]
fn a_policy_in_audit_mode_is_warned_about_and_tested_as_if_enforced() {
    let text = "version: 1\nmode: audit\ndefault: {in: drop}\nrules:\n\
                - {name: web, proto: tcp, port: 80, action: pass}\n\
                tests: [{name: ssh, packet: \"tcp 192.0.2.1 > 192.0.2.2:22 syn\", expect: drop}]\n";
    let read = read_policy("t.yaml", text, &Fake).expect("valid");
    assert!(read.policy.audit);
    assert_eq!(read.warnings.list[0].code, "FW0205");
    let tables = compile(&read.policy, &[0]).expect("small");
    assert!(policy_tests::failing(&read.tests, &read.policy, &tables).is_empty());
    // What happens in truth.
    let frame = read.tests[0].packet.frame();
    let outcome = host::decide(&tables, &frame, 0).outcome;
    assert_eq!(
        (outcome.verdict, outcome.reason),
        (Verdict::PASS, Reason::NO_MATCH)
    );
    assert!(read.policy.drops(Reason::NO_MATCH) && !read.policy.drops(Reason::ARP));
    let malformed = host::decide(&tables, &frame[..30], 0).outcome;
    assert_eq!(malformed.verdict, Verdict::PASS);
    assert!(read.policy.drops(malformed.reason), "{}", malformed.reason);
}

#[test]
fn bogons_leave_neighbour_discovery_alone() {
    let set = rule("from: \"@builtin/bogons\"").matches.src;
    for inside in [
        "10.1.2.3",
        "127.0.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        assert!(set.v4.contains(v4(inside)), "{inside}");
    }
    for outside in [
        "1.1.1.1",
        "9.255.255.255",
        "100.128.0.0",
        "172.32.0.0",
        "192.0.1.1",
    ] {
        assert!(!set.v4.contains(v4(outside)), "{outside}");
    }
    for inside in [
        "::1",
        "::ffff:1.2.3.4",
        "2001:db8::1",
        "fd00::1",
        "ff02::1",
        "fec0::1",
        // 6to4 of 10.0.0.1, 192.168.1.1, 127.0.0.1, 100.64.0.1, 172.31.0.1, 224.0.0.1.
        "2002:a00:1::1",
        "2002:c0a8:101::1",
        "2002:7f00:1::1",
        "2002:6440:1::1",
        "2002:ac1f:1::1",
        "2002:e000:1::1",
    ] {
        assert!(set.v6.contains(v6(inside)), "{inside}");
    }
    for outside in [
        "::",
        "fe80::1",
        "64:ff9b::1",
        "2001:4860:4860::8888",
        "2606:4700::1",
        // 6to4 of 8.8.8.8, 172.32.0.1, 192.167.0.1.
        "2002:808:808::1",
        "2002:ac20:1::1",
        "2002:c0a7:1::1",
    ] {
        assert!(!set.v6.contains(v6(outside)), "{outside}");
    }
    assert_ne!(set.v6, RangeSet::full());
}

#[test]
fn a_hundred_thousand_rules_read_in_seconds() {
    let rules: String = (0..100_000)
        .map(|n| {
            let (a, b, c) = (n >> 16 & 255, n >> 8 & 255, n & 255);
            format!(
                "- {{name: r{n}, proto: tcp, from: 10.{a}.{b}.{c}, port: {}, action: drop}}\n",
                n % 65_535 + 1
            )
        })
        .collect();
    let start = std::time::Instant::now();
    let policy = policy(&rules);
    assert_eq!(policy.rules.len(), 100_000);
    let took = start.elapsed();
    eprintln!("100,000 rules: {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}
