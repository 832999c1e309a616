//! The link layer in the language: `ethertype` and `mac`, from the text to the verdict, in the oracle, the
//! host build, explanations, lint and diff; and frames that are not IP as text.

use firewall_common::pipeline::NO_RULE;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::compile::compile;
use firewall_policy::diff::diff;
use firewall_policy::explain::{Explained, explain};
use firewall_policy::fmt::canonical;
use firewall_policy::host::{self, Memory};
use firewall_policy::lint::{Standing, lint};
use firewall_policy::oracle::evaluate_frame;
use firewall_policy::packet_text::{Kind, PacketText, parse};
use firewall_policy::rule::{FrameKey, Policy};
use firewall_policy::source::{NoFiles, read_policy};
use firewall_policy::tables::Tables;
use firewall_policy::vocabulary::{self, ETHERTYPES};

fn text(default: &str, rules: &str) -> String {
    format!(
        "version: 1\ninterfaces: [{{match: eth0, zone: lan}}]\ndefault: {default}\nrules:\n{rules}"
    )
}

fn policy(default: &str, rules: &str) -> (Policy, Tables) {
    let text = text(default, rules);
    let read = read_policy("link.yaml", &text, &NoFiles);
    let policy = read.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let policy = policy.policy;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let tables = compile(&policy, &slots).expect("it is small");
    (policy, tables)
}

fn codes(rules: &str) -> Vec<String> {
    match read_policy("link.yaml", &text("{in: pass}", rules), &NoFiles) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.list.iter().map(|e| e.code.to_string()).collect(),
    }
}

fn explained((policy, tables): &(Policy, Tables), packet: &str) -> Explained {
    let packet = parse(packet).unwrap_or_else(|error| panic!("{packet}: {error}"));
    let zone = firewall_policy::packet_text::zone_of(policy, &packet.ingress).expect("a zone");
    explain(
        policy,
        tables,
        &Memory::of(tables),
        &packet.frame(),
        zone,
        3,
    )
}

/// Verdict and rule of a packet.
fn judged(policy: &(Policy, Tables), packet: &str) -> (Verdict, Option<usize>) {
    let found = explained(policy, packet);
    (found.outcome.verdict, found.rule)
}

#[test]
fn every_word_matches_its_frames_and_no_others() {
    for &(word, number) in ETHERTYPES {
        let rule = format!("- {{name: a, ethertype: {word}, action: pass}}\n");
        let both = policy("{in: drop, essential: false}", &rule);
        for &(other, of_other) in ETHERTYPES {
            let packet = match other {
                // With addresses behind it, a text about ARP is about the packet in it.
                "arp" => "arp 192.0.2.1 > 192.0.2.2".to_owned(),
                other => other.to_owned(),
            };
            let wanted = if number == of_other {
                (Verdict::PASS, Some(0))
            } else {
                (Verdict::DROP, None)
            };
            assert_eq!(judged(&both, &packet), wanted, "{other} under {word}");
        }
        let tcp = "tcp 192.0.2.1 > 192.0.2.2:22";
        assert_eq!(judged(&both, tcp), (Verdict::DROP, None), "{word}");
    }
}

#[test]
fn numbers_ranges_and_negations_mean_what_they_say() {
    let both = policy(
        "{in: drop, essential: false}",
        "- {name: a, ethertype: [0x8800-0x88ff, \"!eapol\", 2114, 0x42], action: pass}\n",
    );
    for (packet, passes) in [
        ("ethertype 0x8800", true),
        ("ethertype 0x88ff", true),
        ("ethertype 0x8900", false),
        ("eapol", false),
        ("wol", true),
        ("stp", true),
        ("snap", false),
        ("ethertype 0x0600", false),
    ] {
        assert_eq!(judged(&both, packet).0 == Verdict::PASS, passes, "{packet}");
    }
    let any = policy(
        "{in: drop, essential: false}",
        "- {name: a, ethertype: any, action: pass}\n",
    );
    for packet in [
        "ethertype 0x100",
        "stp",
        "lldp",
        "ethertype 0xffff",
        "ethertype 0x0600",
    ] {
        assert_eq!(judged(&any, packet), (Verdict::PASS, Some(0)), "{packet}");
    }
    let but = policy(
        "{in: pass}",
        "- {name: a, ethertype: \"!lldp\", action: drop}\n",
    );
    assert_eq!(judged(&but, "lldp").1, None);
    assert_eq!(judged(&but, "slow").1, Some(0));
}

#[test]
fn zone_vlan_and_mac_narrow_a_frame() {
    let both = policy(
        "{in: drop, essential: false}",
        "- {name: seen, ethertype: any, action: next}\n\
         - {name: lan, ethertype: lldp, zone: lan, action: pass}\n\
         - {name: tagged, ethertype: [lldp, ptp], vlan: [10, 20-29], action: pass}\n\
         - {name: known, ethertype: any, mac: [02:00:00:00:00:05, 02-00-00-00-00-07], action: pass}\n",
    );
    for (packet, rule) in [
        ("lldp", None),
        ("lldp in zone lan", Some(1)),
        ("ptp in zone lan", None),
        ("ptp vlan 10", Some(2)),
        ("ptp vlan 29", Some(2)),
        ("ptp vlan 30", None),
        ("ptp vlan 30 vlan 10", None),
        ("ptp mac 02:00:00:00:00:05", Some(3)),
        ("stp 02:00:00:00:00:07 > 01:80:c2:00:00:00", Some(3)),
        ("stp mac 02:00:00:00:00:06", None),
    ] {
        let found = explained(&both, packet);
        assert_eq!(found.rule, rule, "{packet}");
        assert_eq!(found.counted, [0], "{packet}");
        // Of several tags the outermost is the frame's VLAN.
        let shown = packet.replace(" vlan 30 vlan 10", " vlan 30");
        let shown = parse(&shown).unwrap().to_string();
        assert_eq!(found.packet.unwrap().to_string(), shown);
    }
}

#[test]
fn a_mac_address_is_one_more_field_of_ip() {
    let both = policy(
        "{in: drop}",
        "- {name: printer, mac: 02:00:00:00:00:09, proto: tcp, port: 9100, action: pass}\n\
         - {name: banished, mac: [02:00:00:00:00:05, 02:00:00:00:00:01], action: drop}\n\
         - {name: rest, action: pass}\n",
    );
    let ends = "tcp 192.0.2.1 > 192.0.2.2:9100 syn";
    for (packet, rule) in [
        (format!("{ends} mac 02:00:00:00:00:09"), 0),
        (format!("{ends} mac 02:00:00:00:00:05"), 1),
        (ends.to_owned(), 1),
        (format!("{ends} mac 02:00:00:00:00:0a"), 2),
        (
            "icmpv6 2001:db8::1 > 2001:db8::2 mac 02:00:00:00:00:05".to_owned(),
            1,
        ),
        (
            "udp 192.0.2.1 > 192.0.2.2:53 mac 02:00:00:00:00:09".to_owned(),
            2,
        ),
    ] {
        assert_eq!(judged(&both, &packet).1, Some(rule), "{packet}");
    }
    let missed = explained(&both, &format!("{ends} mac 02:00:00:00:00:0a"));
    assert!(
        missed.near.iter().any(|near| near.field == "mac"),
        "{:?}",
        missed.near
    );
}

#[test]
fn a_policy_full_of_stations_finds_each() {
    // Of all makers, below and above the half.
    let first = ["00", "02", "7e", "80", "b8", "fe"];
    let mac = |number: u32| {
        let (maker, rest) = (first[number as usize % 6], number / 6);
        format!("{maker}:00:5e:{:02x}:{:02x}:00", rest % 251, rest / 251)
    };
    let mut rules = String::new();
    for number in 0..1_024 {
        rules.push_str(&format!(
            "- {{name: r{number}, mac: {}, action: drop}}\n",
            mac(number)
        ));
    }
    let both = policy("{in: pass}", &rules);
    for number in 0..1_024 {
        let packet = format!("udp 192.0.2.1 > 192.0.2.2:53 mac {}", mac(number));
        assert_eq!(judged(&both, &packet).1, Some(number as usize));
    }
    for stranger in [
        "00:00:00:00:00:01",
        "02:00:5e:00:00:01",
        "fe:ff:ff:ff:ff:fe",
        "ff:ff:ff:ff:ff:ff",
    ] {
        let packet = format!("udp 192.0.2.1 > 192.0.2.2:53 mac {stranger}");
        assert_eq!(judged(&both, &packet).1, None, "{stranger}");
    }
    rules.push_str("- {name: more, mac: 02:aa:00:00:00:00, action: drop}\n");
    assert_eq!(codes(&rules), ["FW0169"]);
}

/// However many there are.
#[test]
fn stations_of_every_maker_are_found() {
    let all = [
        "02:00:00:00:00:01",
        "b8:27:eb:00:00:01",
        "dc:a6:32:00:00:07",
        "fe:00:00:00:00:02",
    ];
    for count in 1..=all.len() {
        let rules = all[..count].iter().enumerate();
        let rules = rules.map(|(n, mac)| format!("- {{name: r{n}, mac: {mac}, action: drop}}\n"));
        let both = policy("{in: pass}", &rules.collect::<String>());
        for (number, mac) in all.iter().enumerate() {
            let packet = format!("udp 192.0.2.1 > 192.0.2.2:53 mac {mac}");
            let wanted = (number < count).then_some(number);
            assert_eq!(judged(&both, &packet).1, wanted, "{mac} of {count}");
        }
        for stranger in [
            "00:00:00:00:00:00",
            "b8:27:eb:00:00:00",
            "fe:ff:ff:ff:ff:ff",
        ] {
            let packet = format!("udp 192.0.2.1 > 192.0.2.2:53 mac {stranger}");
            assert_eq!(judged(&both, &packet).1, None, "{stranger} of {count}");
        }
    }
}

/// Random rules, random frames: the oracle's rules are those of the host build.
#[test]
fn oracle_and_host_name_the_same_rules() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let kinds = [0x42, 0xaa, 0x600, 0x8863, 0x8809, 0x88cc, 0xffff];
    for _ in 0..60 {
        let mut rules = String::new();
        for number in 0..=below(12) {
            let from = kinds[below(7) as usize];
            let to = kinds[below(7) as usize].max(from);
            let kind = match (below(3), from < 0x600 && to >= 0x600) {
                (0, false) => format!("0x{from:x}-0x{to:x}"),
                (1, _) => format!("\"!0x{from:x}\""),
                _ => format!("0x{from:x}"),
            };
            let mut more = String::new();
            if below(3) == 0 {
                more.push_str(", vlan: [10, 20-30]");
            }
            if below(3) == 0 {
                more.push_str(", zone: lan");
            }
            if below(3) == 0 {
                more.push_str(", mac: [02:00:00:00:00:05, 02:00:00:00:00:01]");
            }
            let action = ["pass", "drop", "next"][below(3) as usize];
            rules.push_str(&format!(
                "- {{name: r{number}, ethertype: {kind}{more}, action: {action}}}\n"
            ));
        }
        let (policy, tables) = policy("{in: drop, essential: false}", &rules);
        for _ in 0..200 {
            let ethertype = kinds[below(7) as usize];
            let mut packet = PacketText::frame_of(ethertype);
            let vlan = [None, Some(10), Some(25), Some(40)][below(4) as usize];
            packet.vlans.extend(vlan);
            let macs = [1u64, 5, 7].map(|last| firewall_policy::rule::Mac(0x0200_0000_0000 + last));
            let mac = macs[below(3) as usize];
            packet.mac = Some(mac);
            let zone = below(2) as u32;
            let number = policy.macs.iter().position(|known| *known == mac);
            let key = FrameKey {
                ethertype,
                vlan: vlan.map_or(4_096, u32::from),
                zone,
                mac: number.map_or(1_024, |number| number as u32),
            };
            let wanted = evaluate_frame(&policy, &key);
            let found = host::decide(&tables, &packet.frame(), zone);
            let rule = (found.outcome.rule != NO_RULE).then_some(found.outcome.rule as usize);
            let counted: Vec<usize> = found.counted.iter().map(|&slot| slot as usize).collect();
            assert_eq!(
                (counted, rule),
                (wanted.counted, wanted.decided),
                "{packet}\n{rules}"
            );
        }
    }
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    for (rules, code) in [
        ("- {name: a, ethertype: ipv4, action: drop}\n", "FW0168"),
        ("- {name: a, ethertype: 0x86dd, action: drop}\n", "FW0168"),
        ("- {name: a, ethertype: 0x8100, action: drop}\n", "FW0168"),
        ("- {name: a, ethertype: 1500, action: drop}\n", "FW0168"),
        (
            "- {name: a, ethertype: lldp, proto: tcp, action: drop}\n",
            "FW0168",
        ),
        (
            "- {name: a, ethertype: lldp, from: 192.0.2.1, action: drop}\n",
            "FW0168",
        ),
        (
            "- {name: a, ethertype: lldp, state: new, action: drop}\n",
            "FW0168",
        ),
        (
            "- {name: a, ethertype: lldp, ttl: 1, action: drop}\n",
            "FW0168",
        ),
        ("- {name: a, ethertype: lldp, action: reject}\n", "FW0168"),
        (
            "- {name: a, ethertype: lldp, limit: {rate: 1/s, per: source}, action: pass}\n",
            "FW0168",
        ),
        ("- {name: a, ethertype: lldpp, action: drop}\n", "FW0118"),
        ("- {name: a, ethertype: 0x10000, action: drop}\n", "FW0120"),
        (
            "- {name: a, ethertype: 0x88ff-0x8800, action: drop}\n",
            "FW0153",
        ),
        (
            "- {name: a, ethertype: [lldp, \"!lldp\"], action: drop}\n",
            "FW0167",
        ),
        ("- {name: a, mac: 02:00:00:00:00, action: drop}\n", "FW0169"),
        (
            "- {name: a, mac: ff:ff:ff:ff:ff:ff, action: drop}\n",
            "FW0169",
        ),
        (
            "- {name: a, mac: 00:00:00:00:00:00, action: drop}\n",
            "FW0169",
        ),
        (
            "- {name: a, mac: \"!02:00:00:00:00:01\", action: drop}\n",
            "FW0169",
        ),
        (
            "- {name: a, proto: [sctp, esp], state: established, action: pass}\n",
            "FW0170",
        ),
        (
            "- {name: a, proto: tcp, port: 22, fragment: later, action: pass}\n",
            "FW0170",
        ),
        (
            "- {name: a, proto: gre, state: invalid, action: pass}\n",
            "FW0170",
        ),
    ] {
        assert_eq!(codes(rules), [code], "{rules}");
    }
}

#[test]
fn what_keeps_the_link_up_is_essential_and_can_be_a_rules() {
    let essential = policy(
        "{in: drop}",
        "- {name: a, proto: tcp, port: 22, action: pass}\n",
    );
    for packet in ["eapol", "slow", "lldp", "stp"] {
        let found = explained(&essential, packet).outcome;
        assert_eq!(
            (found.verdict, found.reason),
            (Verdict::PASS, Reason::LINK),
            "{packet}"
        );
        // A tag makes it one of a VLAN; a priority is no VLAN.
        let tagged = explained(&essential, &format!("{packet} vlan 10")).outcome;
        assert_eq!(
            (tagged.verdict, tagged.reason),
            (Verdict::DROP, Reason::NON_IP)
        );
        let priority = explained(&essential, &format!("{packet} vlan 0")).outcome;
        assert_eq!(priority.reason, Reason::LINK);
    }
    let rule = "- {name: a, ethertype: [eapol, slow, lldp, stp, arp], action: pass}\n";
    let off = policy("{in: drop, essential: {link: false, arp: false}}", rule);
    for packet in ["eapol", "slow", "lldp", "stp", "arp 192.0.2.1 > 192.0.2.2"] {
        assert_eq!(judged(&off, packet), (Verdict::PASS, Some(0)), "{packet}");
    }
    let igmp = explained(&essential, "igmp 192.0.2.1 > 224.0.0.1").outcome;
    assert_eq!((igmp.verdict, igmp.reason), (Verdict::PASS, Reason::IGMP));
    let rule = "- {name: a, proto: igmp, action: pass}\n";
    let off = policy("{in: drop, essential: {igmp: false}}", rule);
    for packet in ["igmp 192.0.2.1 > 224.0.0.1", "igmp 192.0.2.9 > 239.1.2.3"] {
        assert_eq!(judged(&off, packet), (Verdict::PASS, Some(0)), "{packet}");
    }
}

#[test]
fn limits_logs_and_ends_work_on_frames() {
    let (policy, tables) = policy(
        "{in: pass}",
        "- {name: few, ethertype: lldp, limit: {rate: 1/h, burst: 2}, log: 1/s, action: next}\n\
         - {name: old, ethertype: lldp, expires: 2001-01-01, action: drop}\n\
         - {name: rest, ethertype: any, action: pass}\n",
    );
    let memory = Memory::of(&tables);
    let frame = parse("lldp").unwrap().frame();
    let ends: Vec<Reason> = (0..4)
        .map(|_| {
            host::decide_after(&tables, &memory, &frame, 0)
                .outcome
                .reason
        })
        .collect();
    assert_eq!(
        ends,
        [Reason::RULE, Reason::RULE, Reason::LIMIT, Reason::LIMIT]
    );
    assert_eq!(policy.rules.len(), 3);
}

#[test]
fn lint_sees_what_covers_what() {
    let rules = "- {name: all, ethertype: 0x8800-0x88ff, action: pass}\n\
                 - {name: one, ethertype: lldp, vlan: 10, action: pass}\n\
                 - {name: ip, from: 192.0.2.0/24, action: drop}\n\
                 - {name: other, ethertype: [lldp, wol], action: drop}\n\
                 - {name: last, ethertype: wol, mac: 02:00:00:00:00:01, action: drop}\n";
    let text = text("{in: pass}", rules);
    let (policy, tables) = policy("{in: pass}", rules);
    let found = lint("link.yaml", &text, &policy, &tables);
    let standings: Vec<bool> = found
        .standings
        .iter()
        .map(|standing| matches!(standing, Standing::Reached(_)))
        .collect();
    assert_eq!(standings, [true, false, true, true, false]);
}

#[test]
fn diff_names_frames_and_stations() {
    let of = |rules: &str| policy("{in: drop}", rules).0;
    let old = of("- {name: a, ethertype: [lldp, ptp], action: pass}\n\
                  - {name: b, mac: [02:00:00:00:00:01, 02:00:00:00:00:02], proto: udp, action: pass}\n");
    let new = of(
        "- {name: b, mac: [02:00:00:00:00:02, 02:00:00:00:00:03], proto: udp, action: pass}\n\
                  - {name: a, ethertype: ptp, action: pass}\n",
    );
    let difference = diff(&old, &new);
    assert!(difference.complete);
    let lines: Vec<String> = difference
        .regions
        .iter()
        .map(|region| {
            let (was, is) = (region.was.verdict, region.becomes.verdict);
            format!("{was} -> {is}: {} ({})", region.packets, region.example)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "drop -> pass: udp mac 02:00:00:00:00:03 (udp 203.0.113.9:40000 > 198.51.100.80:22 mac 02:00:00:00:00:03)",
            "pass -> drop: ethertype lldp (lldp 02:00:00:00:00:01 > 01:80:c2:00:00:0e)",
            "pass -> drop: udp mac 02:00:00:00:00:01 (udp 203.0.113.9:40000 > 198.51.100.80:22 mac 02:00:00:00:00:01)",
        ]
    );
    assert!(diff(&new, &new).is_empty());
}

#[test]
fn the_canonical_form_keeps_them() {
    let text = "version: 1\ndefault: {in: pass}\nrules:\n- {action: drop, mac: 02:00:00:00:00:01, vlan: 10, ethertype: 0x88cc, name: a}\n";
    let written = canonical("link.yaml", text).unwrap();
    assert!(
        written.contains(
            "{name: a, ethertype: 0x88cc, vlan: 10, mac: 02:00:00:00:00:01, action: drop}"
        ),
        "{written}"
    );
    read_policy("link.yaml", &written, &NoFiles).unwrap();
}

/// What such frames look like on the wire, as far as their standards say.
#[test]
fn frames_as_text_are_those_of_their_standards() {
    for &(word, number) in ETHERTYPES {
        if word == "arp" {
            continue;
        }
        let packet = parse(word).unwrap();
        let frame = packet.frame();
        assert!(frame.len() >= 60, "{word}");
        assert_eq!(
            parse(&packet.to_string()).unwrap(),
            PacketText {
                mac: Some(firewall_policy::rule::Mac(0x0200_0000_0001)),
                ..packet.clone()
            }
        );
        let Kind::Frame { ethertype, to } = packet.kind else {
            panic!("{word} is not IP");
        };
        assert_eq!(ethertype, number);
        assert_eq!(frame[..6], to.bytes());
        let kind = u32::from(u16::from_be_bytes([frame[12], frame[13]]));
        if number < 0x100 {
            assert!(kind < 0x600 && u32::from(frame[14]) == number, "{word}");
        } else {
            assert_eq!(kind, number, "{word}");
        }
        assert!(!vocabulary::ethertype(number).is_empty());
    }
    let lacp = parse("slow").unwrap().frame();
    assert_eq!(lacp[..6], [1, 0x80, 0xc2, 0, 0, 2]);
    assert_eq!((lacp.len(), &lacp[14..18]), (124, &[1, 1, 1, 20][..]));
    let stp = parse("stp").unwrap().frame();
    assert_eq!((&stp[12..17], stp.len()), (&[0, 38, 0x42, 0x42, 3][..], 60));
    let igmp = parse("igmp 192.0.2.1 > 224.0.0.1").unwrap().frame();
    // Header of 24 bytes, one hop, a router alert, a general query (RFC 2236).
    assert_eq!((igmp[14], igmp[22]), (0x46, 1));
    assert_eq!(igmp[34..38], [148, 4, 0, 0]);
    assert_eq!((igmp[38], igmp.len()), (0x11, 46));
    let vrrp = parse("vrrp 192.0.2.1 > 224.0.0.18").unwrap().frame();
    assert_eq!(vrrp[22], 255);
    let dhcp = parse("udp 0.0.0.0 > 255.255.255.255:67").unwrap().frame();
    assert_eq!(dhcp[34..38], [0, 68, 0, 67]);
    assert_eq!(dhcp[42 + 236..42 + 240], [99, 130, 83, 99]);
    let mdns = parse("udp 192.0.2.1 > 224.0.0.251:mdns").unwrap().frame();
    assert_eq!((mdns[22], &mdns[34..36]), (255, &5353u16.to_be_bytes()[..]));
}
