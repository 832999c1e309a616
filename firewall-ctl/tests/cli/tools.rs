//! The verbs that explain policies, without root: `test`, and the tests inside a policy.

use super::{Folder, transcript};
use firewall_policy::packet_text::parse;

const ROUTER: &str = include_str!("../../../rules/router-bastion.yaml");

/// A folder with the router's policy.
fn router(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("router.yaml", ROUTER);
    folder
}

fn hex(text: &str) -> String {
    let frame = parse(text).unwrap().frame();
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A capture in the classic form, of what was `cut` off at 60 bytes.
fn pcap(packets: &[(&str, usize)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 60, 1] {
        file.extend(word.to_le_bytes());
    }
    for (text, times) in packets {
        let frame = parse(text).unwrap().frame();
        for _ in 0..*times {
            let kept = frame.len().min(60);
            for word in [0, 0, kept as u32, frame.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(&frame[..kept]);
        }
    }
    file
}

#[test]
fn a_packet_is_judged_and_explained() {
    let folder = router("test");
    let mut screens = String::new();
    for (words, exit) in [
        (
            &["tcp 203.0.113.9:5000 > 198.51.100.2:22 syn to @self in zone wan"][..],
            0,
        ),
        (
            &["tcp 192.0.2.77:5000 > 198.51.100.2:22 syn to @self in zone wan"],
            0,
        ),
        (
            &["tcp 203.0.113.9:5000 > 198.51.100.2:23 syn to @self on wan0"],
            0,
        ),
        (
            &[
                "udp 10.20.0.9:5000 > 10.20.0.1:161 to @self",
                "--zone",
                "lan",
            ],
            0,
        ),
        (
            &["tcp [2001:db8:20::9]:5000 > [2001:db8:20::1]:22 vlan 11 to @self in zone lan"],
            0,
        ),
        (
            &["icmp 192.0.2.1 > 198.51.100.2 destination-unreachable"],
            0,
        ),
        (&["arp 192.0.2.1 > 192.0.2.2"], 0),
        (&["tcp 192.0.2.1 > 198.51.100.2:22 none"], 0),
        (
            &[
                "tcp 192.0.2.1 > 198.51.100.2:22 in zone wan",
                "--expect",
                "drop",
            ],
            0,
        ),
        (
            &[
                "tcp 192.0.2.1 > 198.51.100.2:22 in zone wan",
                "--expect",
                "pass",
            ],
            1,
        ),
        (
            &[
                "tcp 203.0.113.9 > 198.51.100.2:22 in zone wan",
                "-o",
                "json",
            ],
            0,
        ),
        (
            &["tcp 192.0.2.77 > 198.51.100.2:22 from @partners to @self in zone wan"],
            0,
        ),
        (
            &["tcp 192.0.2.77 > 198.51.100.2:22 from @parners in zone wan"],
            3,
        ),
        (&["tcp 203.0.113.9 > 198.51.100.2:22 in zone dmz"], 3),
        (&["tcp 203.0.113.9 > 198.51.100.2:shh"], 3),
        (&["--hex", "02 00:00"], 3),
        (&["--hex", "0g"], 3),
        (&["--hex", "020"], 3),
    ] {
        let mut args = vec!["test", "-f", "router.yaml"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn a_rejected_packet_is_shown_with_its_answer() {
    let folder = Folder::new("test-reject");
    let policy = "version: 1\ndefault: drop\nrules:\n  \
                  - {name: closed, to: 198.51.100.0/24, action: reject}\n";
    let tests = "tests:\n  \
                 - {name: told, packet: \"tcp 192.0.2.1 > 198.51.100.2:23 syn\", expect: reject}\n  \
                 - {name: reset, packet: \"tcp 192.0.2.1 > 198.51.100.2:23 rst\", expect: reject}\n";
    folder.write("closed.yaml", policy);
    folder.write("tested.yaml", format!("{policy}{tests}"));
    let mut screens = transcript(&folder.0, &["check", "tested.yaml"]);
    for (words, exit) in [
        (&["tcp 192.0.2.1:5000 > 198.51.100.2:23 syn"][..], 0),
        (
            &["udp 192.0.2.1:5000 > 198.51.100.2:53", "--expect", "reject"],
            0,
        ),
        (&["udp 192.0.2.1:5000 > 198.51.100.2:53", "-o", "json"], 0),
        (
            &[
                "icmp 192.0.2.1 > 198.51.100.2 echo-reply",
                "--expect",
                "drop",
            ],
            0,
        ),
        (
            &[
                "tcp 192.0.2.1:5000 > 198.51.100.2:23 rst",
                "--expect",
                "reject",
            ],
            1,
        ),
    ] {
        let mut args = vec!["test", "-f", "closed.yaml"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn hex_says_the_same_as_text() {
    let folder = router("test-hex");
    let packet = "tcp 10.20.0.7:5000 > 198.51.100.80:443 syn";
    let digits = hex(packet);
    let answer = |words: &[&str]| {
        let mut args = vec!["test", "-f", "router.yaml", "--zone", "lan"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        text.split_once('\n').unwrap().1.to_owned()
    };
    let text = answer(&[packet]);
    assert!(text.contains("PASS  rule lan-out"), "{text}");
    assert_eq!(answer(&["--hex", &digits]), text);
}

#[test]
fn a_capture_gives_a_table_of_verdicts() {
    let folder = router("test-pcap");
    let packets = [
        ("icmp 203.0.113.9 > 198.51.100.2 length 400", 3),
        ("tcp 192.0.2.9:5000 > 198.51.100.2:22 syn", 7),
        ("udp 10.0.0.1:53 > 198.51.100.2:4000", 2),
        ("arp 192.0.2.1 > 198.51.100.2", 1),
        ("tcp 192.0.2.9:5000 > 198.51.100.2:22 none", 1),
    ];
    folder.write("incident.pcap", pcap(&packets));
    folder.write("cut.pcap", &pcap(&packets)[..200]);
    folder.write("not.pcap", b"GIF89a");
    let mut screens = String::new();
    for (file, more, exit) in [
        ("incident.pcap", &[][..], 0),
        ("incident.pcap", &["--expect", "drop", "-q"], 1),
        ("incident.pcap", &["-o", "json"], 0),
        ("cut.pcap", &[], 3),
        ("not.pcap", &[], 3),
        ("missing.pcap", &[], 3),
    ] {
        let mut args = vec!["test", "-f", "router.yaml", "--zone", "wan", "--pcap", file];
        args.extend(more);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn without_a_policy_in_force_the_file_is_asked_for() {
    let folder = Folder::new("test-none");
    let text = transcript(&folder.0, &["test", "udp 192.0.2.1 > 192.0.2.2:53"]);
    assert!(text.ends_with("--- exit 5\n"), "{text}");
    assert!(text.contains("-f FILE"), "{text}");
}

#[test]
fn tests_inside_a_policy_are_run_by_check() {
    let folder = Folder::new("policy-tests");
    let policy = "\
version: 1
interfaces: [{match: wan0, zone: wan}]
default: {in: drop}
rules:
  - {name: ssh, zone: wan, proto: tcp, port: ssh, from: 203.0.113.0/24, action: pass}
  - {name: web, proto: tcp, port: [80, 443], action: pass}
tests:
";
    let good = "  - {name: admins, packet: \"tcp 203.0.113.9 > 198.51.100.80:22 in zone wan\", expect: pass, by: ssh}
  - {name: others, packet: \"tcp 192.0.2.9 > 198.51.100.80:22 in zone wan\", expect: drop, by: no-match}
  - {name: arp, packet: arp 192.0.2.9 > 198.51.100.80, expect: pass}
";
    let bad =
        "  - {name: others, packet: \"tcp 192.0.2.9 > 198.51.100.80:22 on wan0\", expect: pass}
  - {name: web-closed, packet: \"tcp 192.0.2.9 > 198.51.100.80:443\", expect: drop}
  - name: by-whom
    packet: tcp 203.0.113.9 > 198.51.100.80:80
    expect: pass
    by: ssh
";
    let broken = "  - {name: a, packet: \"tcp 203.0.113.9 > 198.51.100.80:22 sin\", expect: pass}
  - {name: a, packet: \"tcp 203.0.113.9 > 198.51.100.80:22 in zone wna\", expect: dorp}
  - {name: c, packet: \"tcp 203.0.113.9 > 198.51.100.80:22\", expect: pass, by: shs}
  - {packet: [1], expect: pass, if: x}
";
    let mut screens = String::new();
    for (name, tests, exit) in [
        ("good.yaml", good, 0),
        ("bad.yaml", bad, 3),
        ("broken.yaml", broken, 3),
    ] {
        folder.write(name, format!("{policy}{tests}"));
        let text = transcript(&folder.0, &["check", name]);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn lint_names_both_places_and_is_exit_1() {
    let folder = router("lint");
    folder.write(
        "poor.yaml",
        "\
version: 1
default: {in: drop}
rules:
  - {name: block, from: 203.0.113.0/24, action: drop}
  - {name: admin, from: 203.0.113.9, proto: tcp, port: ssh, action: pass}
  - {name: web, proto: tcp, port: [80, 443], action: pass}
  - {name: https, proto: tcp, port: 443, action: pass}
  - {name: web-again, proto: tcp, port: [443, 80], action: pass}
  - {name: tiny, length: 0-19, action: drop}
  - {name: low, proto: udp, port: 1-99, action: drop}
  - {name: high, proto: udp, port: \"100-\", action: drop}
  - {name: dns, proto: udp, port: [53, 5353], action: pass}
",
    );
    let mut screens = String::new();
    for (words, exit) in [
        (&["poor.yaml"][..], 1),
        (&["router.yaml"], 0),
        (&["poor.yaml", "router.yaml", "-o", "json", "-q"], 1),
    ] {
        let mut args = vec!["check", "--lint"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn a_difference_is_told_in_packets_and_is_exit_8() {
    let folder = router("diff");
    folder.write(
        "old.yaml",
        "\
version: 1
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: [80, 443], action: pass}
  - {name: ping, proto: icmp, icmp: {type: echo-request}, action: pass}
",
    );
    folder.write(
        "new.yaml",
        "\
version: 1
default: {in: drop, essential: {dhcp: false}}
rules:
  - {name: block, from: [198.51.100.0/24, \"2001:db8:bad::/48\"], action: drop}
  - {name: https, proto: tcp, port: 443, action: pass}
  - {name: alt, proto: tcp, port: 8080, from: 203.0.113.0/24, action: pass}
  - {name: ping, proto: icmp, icmp: {type: echo-request}, action: pass}
",
    );
    folder.write(
        "same.yaml",
        "\
version: 1
default: {in: drop}
rules:
  - {name: ping, proto: icmp, icmp: {type: 8}, action: pass}
  - {name: http, proto: tcp, port: 80, action: pass}
  - {name: https, proto: tcp, port: 443, action: pass}
",
    );
    let mut screens = String::new();
    for (words, exit) in [
        (&["old.yaml", "new.yaml"][..], 8),
        (&["new.yaml", "old.yaml", "-o", "json"], 8),
        (&["old.yaml", "same.yaml"], 0),
        (&["old.yaml", "same.yaml", "-o", "json"], 0),
        (&["router.yaml", "router.yaml"], 0),
        (&["old.yaml"], 5),
        (&["old.yaml", "missing.yaml"], 3),
    ] {
        let mut args = vec!["diff"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

#[test]
fn the_canonical_form_is_printed_checked_and_written() {
    let folder = router("fmt");
    folder.write(
        "odd.yaml",
        "# Mine.\n\ndefault: drop\nversion: 1\nrules:\n- {action: pass, port: 22, proto: tcp, name: ssh} # in\n",
    );
    folder.write("bad.yaml", "version: 1\ndefault: dorp\n");
    let mut screens = String::new();
    for (words, exit) in [
        (&["odd.yaml"][..], 0),
        (&["odd.yaml", "--check"], 8),
        (&["odd.yaml", "--write"], 0),
        (&["odd.yaml", "--check"], 0),
        (&["odd.yaml", "--write"], 0),
        (&["router.yaml"], 0),
        (&["bad.yaml"], 3),
        (&["-", "--write"], 2),
    ] {
        let mut args = vec!["fmt"];
        args.extend(words);
        let text = transcript(&folder.0, &args);
        assert!(text.ends_with(&format!("--- exit {exit}\n")), "{text}");
        screens.push_str(&text);
    }
    insta::assert_snapshot!(screens);
}

const SAVED: &str = "\
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 1/min -j LOG
-A INPUT -p tcp -m multiport --dports 80,443 -m comment --comment \"the web\" -j ACCEPT
-A INPUT -p tcp -m tcp --dport 8080 -m string --string x --algo bm -j DROP
COMMIT
";

#[test]
fn rules_of_another_firewall_become_a_policy_and_a_list() {
    let folder = Folder::new("import");
    folder.write("v4.rules", SAVED);
    folder.write("none.rules", "hello\n");
    let mut screens = String::new();
    for (words, exit) in [
        (&["v4.rules"][..], 8),
        (&["v4.rules", "-q", "-O", "out.yaml"], 8),
        (&["v4.rules", "-O", "out.yaml"], 1),
        (&["v4.rules", "-i", "eth0", "-o", "json"], 8),
        (&["none.rules"], 3),
        (&["missing.rules"], 3),
        (&["v4.rules", "--local", "here"], 3),
        (&["-", "--ip6", "-"], 2),
    ] {
        let words = [&["import", "iptables"], words].concat();
        let screen = transcript(&folder.0, &words);
        assert!(screen.ends_with(&format!("--- exit {exit}\n")), "{screen}");
        screens.push_str(&screen);
    }
    insta::assert_snapshot!("import", screens);
    let written = std::fs::read_to_string(folder.0.join("out.yaml")).unwrap();
    assert!(written.contains("name: the-web"), "{written}");
    let checked = transcript(&folder.0, &["check", "out.yaml"]);
    assert!(checked.ends_with("--- exit 0\n"), "{checked}");
}

/// Comments in Latin-1, and what PowerShell writes: the same rules as in UTF-8.
#[test]
fn rules_in_other_encodings_are_the_same_rules() {
    let folder = Folder::new("encodings");
    let text = "*filter\r\n:INPUT DROP [0:0]\r\n-A INPUT -p tcp -m tcp --dport 80 -m comment --comment \
                Bürogäste -j ACCEPT\r\nCOMMIT\r\n";
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let utf16 = std::iter::once(0xfeff).chain(text.encode_utf16());
    let utf16: Vec<u8> = utf16.flat_map(u16::to_le_bytes).collect();
    folder.write("utf8.rules", format!("\u{feff}{text}"));
    folder.write("latin.rules", latin);
    folder.write("utf16.rules", utf16);
    let import = |name: &str| {
        let screen = transcript(&folder.0, &["import", "iptables", name]);
        screen.replace(name, "FILE")
    };
    let first = import("utf8.rules");
    assert!(first.contains("comment: \"Bürogäste\""), "{first}");
    assert_eq!(import("latin.rules"), first);
    assert_eq!(import("utf16.rules"), first);
}
