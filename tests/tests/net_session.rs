//! Which packets a session needs, and where they come in: tunnels, neighbours, addresses that no card has,
//! forwarded ports, limits. And whose session it is at a terminal that its SSH server has left.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said};
use firewall_tests::netns::Pair;
use std::fs;
use std::net::{TcpListener, TcpStream};

const REFUSED: i32 = 7;

/// What a refusal says.
fn refused(ctl: &Ctl<'_>, words: &[&str]) -> String {
    let output = ctl.run(words).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(REFUSED), "{words:?}: {text}");
    assert!(text.contains("--i-know"), "{words:?}: {text}");
    text
}

fn bans(ctl: &Ctl<'_>) -> u64 {
    ctl.json(&["bans"]).unwrap()["count"].as_u64().unwrap()
}

/// A policy of these rules on wan0 that drops all else.
fn policy_of(ctl: &Ctl<'_>, name: &str, rules: &str) -> String {
    let text = format!(
        "version: 1\ninterfaces: [{{match: wan0}}]\ndefault: {{in: drop}}\nrules:\n{rules}"
    );
    written(ctl, name, &text)
}

fn written(ctl: &Ctl<'_>, name: &str, text: &str) -> String {
    let path = ctl.folder().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const SSH: &str = "- {name: ssh, proto: tcp, port: 22, action: pass}\n";

#[test]
#[ignore = "needs root"]
fn a_session_through_a_tunnel_is_cut_by_what_drops_the_tunnel() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    for words in [
        "link add vx0 type vxlan id 7 local 192.0.2.80 remote 192.0.2.9 dstport 4789 dev wan0",
        "addr add 10.8.0.1/24 dev vx0",
        "link set vx0 up",
    ] {
        pair.inside.ip(words).unwrap();
    }
    let tunnel = "- {name: tunnel, proto: udp, port: 4789, from: 192.0.2.9, action: pass}\n";
    let shut = policy_of(&ctl, "shut.yaml", SSH);
    let open = policy_of(&ctl, "open.yaml", tunnel);
    ctl.set("SSH_CONNECTION", "10.8.0.9 50000 10.8.0.1 22");
    let text = refused(&ctl, &["load", "-f", &shut]);
    assert!(
        text.contains("192.0.2.80:4789, which carries it,"),
        "{text}"
    );
    ctl.ok(&["load", "-f", &open]).unwrap();
    refused(&ctl, &["load", "-f", &shut]);
    // Its other end is as good as the peer.
    for entry in ["192.0.2.9", "192.0.2.0/28", "10.8.0.9"] {
        refused(&ctl, &["ban", entry]);
    }
    ctl.ok(&["ban", "192.0.2.200"]).unwrap();
    // Where the policy looks into tunnels, what is inside counts as well.
    let inner = |rules: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: wan0}}]\npacket: {{tunnels: inner}}\n\
             default: {{in: drop}}\nrules:\n{rules}"
        )
    };
    let blind = written(&ctl, "blind.yaml", &inner(tunnel));
    let text = refused(&ctl, &["load", "-f", &blind]);
    assert!(text.contains("no rule (no-match"), "{text}");
    let both = written(&ctl, "both.yaml", &inner(&format!("{tunnel}{SSH}")));
    ctl.ok(&["load", "-f", &both]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_carries_a_tunnel_of_a_program_is_not_known_and_nothing_it_may_need_is_taken_away() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    for words in [
        "tuntap add dev tun0 mode tun",
        "addr add 10.9.0.1/24 dev tun0",
        "link set tun0 up",
    ] {
        pair.inside.ip(words).unwrap();
    }
    let vpn = "- {name: vpn, proto: udp, port: 1194, action: pass}\n";
    let narrow = policy_of(&ctl, "narrow.yaml", vpn);
    let wide = policy_of(&ctl, "wide.yaml", &format!("{vpn}{SSH}"));
    ctl.set("SSH_CONNECTION", "10.9.0.9 50000 10.9.0.1 22");
    let text = refused(&ctl, &["load", "-f", &narrow]);
    assert!(text.contains("it comes through tun0"), "{text}");
    ctl.ok(&["load", "-f", &narrow, "--i-know"]).unwrap();
    ctl.ok(&["load", "-f", &wide]).unwrap();
    refused(&ctl, &["load", "-f", &narrow]);
    refused(&ctl, &["ban", "192.0.2.200"]);
    ctl.ok(&["ban", "192.0.2.200", "--i-know"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    // Where the tunnel alone is filtered, its own packets alone count.
    let alone = |rules: &str| {
        format!("version: 1\ninterfaces: [{{match: tun0}}]\ndefault: {{in: drop}}\nrules:\n{rules}")
    };
    let shut = written(&ctl, "shut.yaml", &alone(vpn));
    let open = written(&ctl, "open.yaml", &alone(SSH));
    ctl.ok(&["load", "-f", &open]).unwrap();
    ctl.ok(&["ban", "192.0.2.200"]).unwrap();
    let text = refused(&ctl, &["load", "-f", &shut]);
    assert!(text.contains("10.9.0.1:22 syn is dropped by"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn without_arp_and_neighbour_discovery_no_session_lasts() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let with = |essential: &str, rules: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: wan0}}]\n\
             default: {{in: drop, essential: {essential}}}\nrules:\n{SSH}{rules}"
        )
    };
    let v4 = "192.0.2.9 50000 192.0.2.80 22";
    let v6 = "2001:db8::9 50000 2001:db8::80 22";
    for (session, group, other, rule) in [
        (
            v4,
            "arp",
            "neighbour",
            "- {name: arp, ethertype: arp, action: pass}\n",
        ),
        (
            v6,
            "neighbour",
            "arp",
            "- {name: ask, proto: icmpv6, icmp: {type: 135}, action: pass}\n\
             - {name: say, proto: icmpv6, icmp: {type: 136}, action: pass}\n",
        ),
    ] {
        ctl.set("SSH_CONNECTION", session);
        let off = |group: &str| format!("{{{group}: false}}");
        let shut = written(&ctl, "shut.yaml", &with(&off(group), ""));
        let text = refused(&ctl, &["load", "-f", &shut]);
        assert!(
            text.contains("by which the next host finds this one"),
            "{text}"
        );
        for (essential, rules) in [
            ("true".to_owned(), ""),
            (off(other), ""),
            (off(group), rule),
        ] {
            let open = written(&ctl, "open.yaml", &with(&essential, rules));
            ctl.ok(&["load", "-f", &open]).unwrap();
        }
        refused(&ctl, &["load", "-f", &shut]);
        ctl.ok(&["unload", "--all"]).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_that_has_a_label_or_lies_on_no_card_is_reached_all_the_same() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    for words in [
        "addr add 192.0.2.81/24 dev wan0 label wan0:1",
        "addr add 198.51.100.80/32 dev lo",
    ] {
        pair.inside.ip(words).unwrap();
    }
    let shut = policy_of(
        &ctl,
        "shut.yaml",
        "- {name: web, proto: tcp, port: 80, action: pass}\n",
    );
    let open = policy_of(&ctl, "open.yaml", SSH);
    for own in ["192.0.2.81", "198.51.100.80"] {
        ctl.set("SSH_CONNECTION", format!("192.0.2.9 50000 {own} 22"));
        refused(&ctl, &["load", "-f", &shut]);
        ctl.ok(&["load", "-f", &open]).unwrap();
        refused(&ctl, &["load", "-f", &shut]);
        ctl.ok(&["unload", "--all"]).unwrap();
    }
    // Answers leave by another way than the address lies on: it may come in by any.
    for words in [
        "link add mgmt0 type veth peer name mgmt1",
        "link set mgmt0 up",
        "link set mgmt1 up",
        "route add 203.0.113.0/24 dev mgmt0",
    ] {
        pair.inside.ip(words).unwrap();
    }
    ctl.set("SSH_CONNECTION", "203.0.113.5 50000 198.51.100.80 22");
    let text = refused(&ctl, &["load", "-f", &shut]);
    assert!(text.contains("where it comes in by wan0"), "{text}");
    // From this host to itself nothing comes in by a card.
    ctl.set("SSH_CONNECTION", "192.0.2.80 50000 192.0.2.80 22");
    ctl.ok(&["load", "-f", &shut]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_session_to_a_port_that_is_forwarded_is_judged_as_it_comes_in() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let rules = "table ip nat {\n chain in {\n  type nat hook prerouting priority -100;\n  \
                 tcp dport 2222 redirect to :22;\n }\n}\n";
    pair.inside.nft(rules).unwrap();
    let listener = pair
        .inside
        .run(|| TcpListener::bind("192.0.2.80:22"))
        .unwrap();
    let client = pair
        .outside
        .run(|| TcpStream::connect("192.0.2.80:2222"))
        .unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(server.local_addr().unwrap().port(), 22);
    ctl.set(
        "SSH_CONNECTION",
        format!("{} {} 192.0.2.80 22", peer.ip(), peer.port()),
    );
    let behind = policy_of(&ctl, "behind.yaml", SSH);
    let before = policy_of(
        &ctl,
        "before.yaml",
        "- {name: ssh, proto: tcp, port: 2222, action: pass}\n",
    );
    let text = refused(&ctl, &["load", "-f", &behind]);
    assert!(text.contains("192.0.2.80:2222 syn is dropped by"), "{text}");
    ctl.ok(&["load", "-f", &before]).unwrap();
    drop((server, client));
}

#[test]
#[ignore = "needs root"]
fn a_limit_that_would_strangle_the_session_is_refused() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let open = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nrules:\n";
    let policy = ctl.policy(&format!("{open}{SSH}")).unwrap();
    ctl.start(&policy).unwrap();
    ctl.set("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.80 22");
    for rate in ["1/60s", "5/s"] {
        let text = refused(&ctl, &["allow", "22/tcp", "rate", rate]);
        assert!(text.contains("the limit of the rule"), "{text}");
        assert!(text.contains("at 20 packets a second"), "{text}");
    }
    ctl.ok(&["allow", "22/tcp", "rate", "1k/s"]).unwrap();
    ctl.ok(&["limit", "ssh"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_link_local_session_comes_in_where_its_address_is() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    for words in [
        "link add mgmt0 type veth peer name mgmt1",
        "link set mgmt0 up",
        "link set mgmt1 up",
        "addr add fe80::81/64 dev mgmt0 nodad",
        "addr add fe80::80/64 dev wan0 nodad",
    ] {
        pair.inside.ip(words).unwrap();
    }
    let on = |interface: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: {interface}}}]\ndefault: {{in: drop}}\nrules:\n\
             - {{name: web, proto: tcp, port: 80, action: pass}}\n"
        )
    };
    let wan = written(&ctl, "wan.yaml", &on("wan0"));
    let mgmt = written(&ctl, "mgmt.yaml", &on("mgmt0"));
    for (session, cut, other) in [
        ("fe80::9%wan0 50000 fe80::80%wan0 22", &wan, &mgmt),
        ("fe80::9%mgmt0 50000 fe80::81%mgmt0 22", &mgmt, &wan),
    ] {
        ctl.set("SSH_CONNECTION", session);
        let text = refused(&ctl, &["load", "-f", cut]);
        assert!(text.contains(":22 syn is dropped by"), "{text}");
        ctl.ok(&["load", "-f", other]).unwrap();
        ctl.ok(&["unload", "--all"]).unwrap();
    }
    // To an address of another interface, nobody knows from which link.
    ctl.set("SSH_CONNECTION", "fe80::9%mgmt0 50000 2001:db8::80 22");
    for policy in [&wan, &mgmt] {
        refused(&ctl, &["load", "-f", policy]);
    }
}

/// zellij and dtach hold terminals that their SSH server has left.
#[test]
#[ignore = "needs root"]
fn at_a_terminal_whose_login_is_over_nobody_knows_which_session_it_is() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let open = policy_of(&ctl, "open.yaml", SSH);
    ctl.ok(&["load", "-f", &open]).unwrap();
    ctl.set("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.80 22");
    ctl.ok(&["ban", "192.0.2.200"]).unwrap();
    let terminal = ["sh", "-c", "exec script -qec \"$*\" /dev/null", "sh"];
    let output = ctl.run_under(&terminal, &["ban", "192.0.2.201"]).unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{output:?}");
    assert_eq!(bans(&ctl), 1);
    let known = ["ban", "192.0.2.201", "--i-know"];
    let output = ctl.run_under(&terminal, &known).unwrap();
    assert!(output.status.success(), "{output:?}");
}
