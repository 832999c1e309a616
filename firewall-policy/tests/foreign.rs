//! What people write who come from iptables, nft, ufw, firewalld or Kubernetes: each is answered once,
//! with the line to write, and that line is valid.

mod support;

use firewall_common::field::Field;
use firewall_policy::source::read_policy;
use support::Fake;

/// A policy of one rule.
fn policy_of(rule: &str) -> String {
    format!(
        "version: 1\ninterfaces: [{{match: eth0, zone: wan}}]\ndefault: {{in: drop}}\nrules:\n- {{{rule}}}\n"
    )
}

/// The help of the one error in a text.
fn help(text: &str) -> Result<String, String> {
    let Err(errors) = read_policy("firewall.yaml", text, &Fake) else {
        return Err(format!("valid:\n{text}"));
    };
    let screen = errors.render(false);
    match errors.list.as_slice() {
        [error] => error.help.clone().ok_or(screen),
        _ => Err(format!("one mistake, one error:\n{screen}")),
    }
}

/// What is wrong with the answer to a wrong rule: its help names `write`, and the rule with that is
/// valid.
fn fault(wrong: &str, write: &str, right: &str) -> Option<String> {
    let help = match help(&policy_of(wrong)) {
        Ok(help) => help,
        Err(fault) => return Some(fault),
    };
    if !help.contains(write) {
        return Some(format!("{wrong}:\n{help}"));
    }
    let errors = read_policy("firewall.yaml", &policy_of(right), &Fake).err()?;
    Some(format!("{right}\n{}", errors.render(false)))
}

#[test]
fn a_rule_in_the_words_of_others_is_answered_with_the_line_to_write() {
    let mut faults = Vec::new();
    for (wrong, write, right) in [
        // A space is missing.
        (
            "name:web, proto: tcp, port: 80, action: pass",
            "`name: web`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: web, proto:tcp, port: 80, action: pass",
            "`proto: tcp`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: web, proto: tcp, port: 80, action:pass",
            "`action: pass`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        // Ports with their protocol.
        (
            "name: web, port: 80/tcp, action: pass",
            "`proto: tcp, port: 80`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: web, proto: tcp, port: 80/tcp, action: pass",
            "`proto: tcp, port: 80`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: dns, port: udp/53, action: pass",
            "`proto: udp, port: 53`",
            "name: dns, proto: udp, port: 53, action: pass",
        ),
        (
            "name: dns, port: [53/udp], action: pass",
            "`proto: udp, port: 53`",
            "name: dns, proto: udp, port: 53, action: pass",
        ),
        (
            "name: ssh, port: ssh/tcp, action: pass",
            "`proto: tcp, port: ssh`",
            "name: ssh, proto: tcp, port: ssh, action: pass",
        ),
        (
            "name: game, port: 80:90/tcp, action: pass",
            "`proto: tcp, port: 80-90`",
            "name: game, proto: tcp, port: 80-90, action: pass",
        ),
        (
            "name: web, port: 80, action: pass",
            "`proto: tcp, port: 80`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: web, proto: tcp, port: any, action: pass",
            "leave `port` out",
            "name: web, proto: tcp, action: pass",
        ),
        (
            "name: web, proto: tcp, port: 80:90, action: pass",
            "80-90",
            "name: web, proto: tcp, port: 80-90, action: pass",
        ),
        (
            "name: web, proto: tcp, port: \"80,443\", action: pass",
            "[80, 443]",
            "name: web, proto: tcp, port: [80, 443], action: pass",
        ),
        (
            "name: dccp, proto: dccp, port: 80, action: pass",
            "leave `port` out",
            "name: dccp, proto: dccp, action: pass",
        ),
        // Rates.
        (
            "name: web, limit: 6/30s, action: pass",
            "`limit: {rate: 6/30s, per: source}`",
            "name: web, limit: {rate: 6/30s, per: source}, action: pass",
        ),
        (
            "name: web, limit: 6/minute, action: pass",
            "`limit: {rate: 6/m, per: source}`",
            "name: web, limit: {rate: 6/m, per: source}, action: pass",
        ),
        (
            "name: web, limit: {rate: 10/second}, action: pass",
            "10/s",
            "name: web, limit: {rate: 10/s}, action: pass",
        ),
        (
            "name: web, limit: {rate: 100pps}, action: pass",
            "100/s",
            "name: web, limit: {rate: 100/s}, action: pass",
        ),
        (
            "name: web, rate: 50/s, action: pass",
            "`limit: {rate: 50/s, per: source}`",
            "name: web, limit: {rate: 50/s, per: source}, action: pass",
        ),
        (
            "name: web, limit: {new: 6/30s, per: ip}, action: pass",
            "`per: source`",
            "name: web, limit: {new: 6/30s, per: source}, action: pass",
        ),
        // ICMP.
        (
            "name: ping, proto: icmp, icmp: echo-request, action: pass",
            "`icmp: {type: echo-request}`",
            "name: ping, proto: icmp, icmp: {type: echo-request}, action: pass",
        ),
        (
            "name: ping, proto: icmpv6, icmp: echo, action: pass",
            "`icmp: {type: echo-request}`",
            "name: ping, proto: icmpv6, icmp: {type: echo-request}, action: pass",
        ),
        (
            "name: ping, icmp: echo-request, action: pass",
            "`proto: icmp, icmp: {type: echo-request}`",
            "name: ping, proto: icmp, icmp: {type: echo-request}, action: pass",
        ),
        (
            "name: ping, proto: icmp, type: echo-request, action: pass",
            "`icmp: {type: echo-request}`",
            "name: ping, proto: icmp, icmp: {type: echo-request}, action: pass",
        ),
        (
            "name: ping, proto: icmp, icmp: any, action: pass",
            "leave `icmp` out",
            "name: ping, proto: icmp, action: pass",
        ),
        // Protocols.
        (
            "name: web, proto: any, action: pass",
            "leave `proto` out",
            "name: web, action: pass",
        ),
        (
            "name: web, proto: all, action: pass",
            "leave `proto` out",
            "name: web, action: pass",
        ),
        (
            "name: web, proto: tcp/udp, action: pass",
            "`proto: [tcp, udp]`",
            "name: web, proto: [tcp, udp], action: pass",
        ),
        (
            "name: web, proto: \"tcp,udp\", action: pass",
            "`proto: [tcp, udp]`",
            "name: web, proto: [tcp, udp], action: pass",
        ),
        (
            "name: web, tcp: 80, action: pass",
            "`proto: tcp, port: 80`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "name: web, service: ssh, action: pass",
            "`proto: tcp, port: ssh`",
            "name: web, proto: tcp, port: ssh, action: pass",
        ),
        // States.
        (
            "name: replies, state: \"RELATED,ESTABLISHED\", action: pass",
            "`state: [established, related]`",
            "name: replies, state: [established, related], action: pass",
        ),
        (
            "name: replies, state: ESTABLISHED, action: pass",
            "`established`",
            "name: replies, state: established, action: pass",
        ),
        (
            "name: replies, ctstate: established, action: pass",
            "`state: established`",
            "name: replies, state: established, action: pass",
        ),
        (
            "name: replies, state: any, action: pass",
            "leave `state` out",
            "name: replies, action: pass",
        ),
        // Interfaces and directions.
        (
            "name: web, interface: eth0, action: pass",
            "`interfaces: [{match: eth0, zone: wan}]`",
            "name: web, zone: wan, action: pass",
        ),
        (
            "name: web, iifname: eth0, action: pass",
            "`zone: wan`",
            "name: web, zone: wan, action: pass",
        ),
        (
            "name: web, in_interface: eth0, action: pass",
            "`zone: wan`",
            "name: web, zone: wan, action: pass",
        ),
        (
            "name: web, oifname: eth1, action: pass",
            "`to: 192.0.2.0/24` with the addresses behind eth1",
            "name: web, to: 192.0.2.1, action: pass",
        ),
        (
            "name: web, direction: in, action: pass",
            "the rule without it",
            "name: web, action: pass",
        ),
        (
            "name: web, in: eth0, action: pass",
            "`interfaces: [{match: eth0, zone: wan}]`",
            "name: web, zone: wan, action: pass",
        ),
        (
            "name: web, out: eth1, action: pass",
            "`to: 192.0.2.0/24` with the addresses behind eth1",
            "name: web, to: 192.0.2.0/24, action: pass",
        ),
        // Lists without brackets: a mapping in braces takes the second value for a key.
        (
            "name: web, proto: tcp, port: 80,443, action: pass",
            "`port: [80, 443]`",
            "name: web, proto: tcp, port: [80, 443], action: pass",
        ),
        (
            "name: web, from: 10.0.0.1, 10.0.0.2, 2001:db8::1, action: pass",
            "`from: [10.0.0.1, 10.0.0.2, 2001:db8::1]`",
            "name: web, from: [10.0.0.1, 10.0.0.2, 2001:db8::1], action: pass",
        ),
        (
            "name: web, proto: tcp, udp, action: pass",
            "`proto: [tcp, udp]`",
            "name: web, proto: [tcp, udp], action: pass",
        ),
        (
            "name: web, proto: tcp, port: [80], 443, 8080-8090, action: pass",
            "`port: [80, 443, 8080-8090]`",
            "name: web, proto: tcp, port: [80, 443, 8080-8090], action: pass",
        ),
        (
            "name: web, state: established, related, action: pass",
            "`state: [established, related]`",
            "name: web, state: [established, related], action: pass",
        ),
        (
            "name: web, from: \"10.0.0.1, 10.0.0.2\", action: pass",
            "`from: [10.0.0.1, 10.0.0.2]`",
            "name: web, from: [10.0.0.1, 10.0.0.2], action: pass",
        ),
        (
            "name: web, from: 10.0.0.1 10.0.0.2, action: pass",
            "`from: [10.0.0.1, 10.0.0.2]`",
            "name: web, from: [10.0.0.1, 10.0.0.2], action: pass",
        ),
        (
            "name: web, from: \"@a, !@b\", action: pass",
            "`from: [\"@a\", \"!@b\"]`",
            "name: web, from: [10.0.0.1, 10.0.0.2], action: pass",
        ),
        // One value in several words, and what is none of its key's.
        (
            "name: web, proto: tcp, port: \"8000 to 8010\", action: pass",
            "`port: 8000-8010`",
            "name: web, proto: tcp, port: 8000-8010, action: pass",
        ),
        (
            "name: web, from: \"not 10.0.0.1\", action: pass",
            "`from: \"!10.0.0.1\"`",
            "name: web, from: \"!10.0.0.1\", action: pass",
        ),
        (
            "name: web, from: 10.0.0.0 255.255.255.0, action: pass",
            "`from: 10.0.0.0/24`",
            "name: web, from: 10.0.0.0/24, action: pass",
        ),
        (
            "name: web, proto: tcp, port: [22, \"80, 443\"], action: pass",
            "`port: [22, 80, 443]`",
            "name: web, proto: tcp, port: [22, 80, 443], action: pass",
        ),
        (
            "name: web, proto: tcp, port: 22, for, action: drop",
            "`key: value` for each key",
            "name: web, proto: tcp, port: 22, action: drop",
        ),
        (
            "name: web, proto: icmp, icmp: \"echo-request, echo-reply\", action: pass",
            "`icmp: {type: [echo-request, echo-reply]}`",
            "name: web, proto: icmp, icmp: {type: [echo-request, echo-reply]}, action: pass",
        ),
        (
            "name: web, priority: 10, action: pass",
            "the first rule that matches decides",
            "name: web, action: pass",
        ),
        // Verdicts and addresses.
        (
            "name: web, action: accept",
            "`pass`",
            "name: web, action: pass",
        ),
        (
            "name: web, action: deny",
            "`drop`",
            "name: web, action: drop",
        ),
        (
            "name: web, action: log",
            "`log: 10/s, action: next`",
            "name: web, log: 10/s, action: next",
        ),
        (
            "name: web, action: return",
            "`action: next`",
            "name: web, action: next",
        ),
        (
            "name: web, from: any, action: pass",
            "leave the key out",
            "name: web, action: pass",
        ),
        (
            "name: web, src: 192.0.2.1, action: pass",
            "`from: 192.0.2.1`",
            "name: web, from: 192.0.2.1, action: pass",
        ),
        (
            "name: web, saddr: 192.0.2.1, action: pass",
            "`from: 192.0.2.1`",
            "name: web, from: 192.0.2.1, action: pass",
        ),
        (
            "name: web, proto: tcp, dport: 80, action: pass",
            "`port: 80`",
            "name: web, proto: tcp, port: 80, action: pass",
        ),
        (
            "nmae: web, action: pass",
            "`name: web`",
            "name: web, action: pass",
        ),
        (
            "name: web, acton: pass",
            "`action: pass`",
            "name: web, action: pass",
        ),
        (
            "name: web, verdict: pass",
            "`action: pass`",
            "name: web, action: pass",
        ),
    ] {
        faults.extend(fault(wrong, write, right));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_policy_in_the_words_of_others_is_answered_with_the_line_to_write() {
    let mut faults = Vec::new();
    for (wrong, write) in [
        ("defualt: {in: drop}", "`default: {in: drop}`"),
        ("Default: {in: drop}", "`default: {in: drop}`"),
        ("default: {out: pass}", "`default: {in: drop}`"),
        ("default: {outgoing: allow}", "outgoing ones all pass"),
        ("default: {in: drop, out: pass}", "outgoing ones all pass"),
        ("default: {input: drop}", "`default: {in: drop}`"),
        ("default: {incoming: deny}", "`default: {in: drop}`"),
        ("default: {policy: accept}", "`default: {in: pass}`"),
        ("default: {forward: drop}", "`default: {in: drop}`"),
        ("default: deny", "`drop`"),
        ("default: {in: accept}", "`pass`"),
        ("policy: drop\ndefault: {in: drop}", "one of: version"),
        (
            "default: {in: drop}\ninterface: eth0",
            "`interfaces: [{match: eth0}]`",
        ),
        ("default: {in: drop}\ninterfaces: [eth0]", "`{match: eth0}`"),
        (
            "default: {in: drop}\ninterfaces: [{name: eth0}]",
            "`match: eth0`",
        ),
        (
            "default: {in: drop}\ninterfaces: [{device: eth0}]",
            "`match: eth0`",
        ),
        (
            "default: {in: drop}\nruls: [{name: a, action: pass}]",
            "`rules: [{name: a, action: pass}]`",
        ),
        ("default:{in: drop}", "a space behind the colon"),
        (
            "default: {in: drop}\nsets: {admins: [10.0.0.1, 10.1.0.0/16]}",
            "`admins: {type: cidr, elements: [10.0.0.1, 10.1.0.0/16]}`",
        ),
        (
            "default: {in: drop}\nsets: {admins: 10.0.0.1}",
            "`admins: {type: cidr, elements: [10.0.0.1]}`",
        ),
        (
            "default: {in: drop}\nsets: {web: [80, 8000-8010]}",
            "`web: {type: port, elements: [80, 8000-8010]}`",
        ),
        (
            "default: {in: drop}\nsets: {bad: blocklist.txt}",
            "`bad: {type: cidr, file: blocklist.txt}`",
        ),
        (
            "default: {in: drop}\ninterfaces:\n- match: eth0, eth1\n",
            "`match: [eth0, eth1]`",
        ),
        (
            "default: {in: drop}\ninterfaces: [{match: eth0, eth1}]",
            "`match: [eth0, eth1]`",
        ),
    ] {
        let text = format!("version: 1\n{wrong}\n");
        if wrong.starts_with("default:{") {
            // No YAML at all.
            let errors = read_policy("firewall.yaml", &text, &Fake).err();
            assert!(errors.is_some(), "{wrong}");
            continue;
        }
        match help(&text) {
            Ok(help) if help.contains(write) => {}
            Ok(help) => faults.push(format!("{wrong}:\n{help}")),
            Err(fault) => faults.push(fault),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_of_another_program_is_named_once() {
    let mut screens = String::new();
    for text in [
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {podSelector: {}}\n",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata:\n  name: a\nspec:\n  endpointSelector: {}\n",
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: apps/v1\nkind: Deployment\nspec: {}\n",
        "kind: ConfigMap\nmetadata: {name: a}\n",
        "services:\n  web: {image: nginx, ports: [\"80:80\"]}\n",
        "network:\n  version: 2\n  ethernets: {eth0: {dhcp4: true}}\n",
        "# Generated by iptables-save\n*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n",
        "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n",
        "-P INPUT DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT\n",
        "#!/bin/sh\niptables -A INPUT -p tcp --dport 22 -j ACCEPT\n",
        "#!/usr/sbin/nft -f\nflush ruleset\n",
        "table inet filter {\n  chain input { type filter hook input priority 0; }\n}\n",
        "{\"nftables\": [{\"metainfo\": {\"version\": \"1.0.6\"}}]}\n",
        "ufw allow 22/tcp\n",
        "### RULES ###\n\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<zone>\n</zone>\n",
    ] {
        let Err(errors) = read_policy("firewall.yaml", text, &Fake) else {
            panic!("valid:\n{text}");
        };
        assert_eq!(errors.list.len(), 1, "{}", errors.render(false));
        assert_eq!(errors.list[0].code, "FW0128", "{}", errors.render(false));
        let error = &errors.list[0];
        let first = text.lines().next().unwrap_or_default();
        let help = error.help.as_deref().unwrap_or_default();
        screens.push_str(&format!("{first}\n  {}\n  {help}\n", error.message));
    }
    insta::assert_snapshot!(screens);
}

/// Names and numbers that iptables, nft and ufw take: they mean here what they mean there.
#[test]
fn names_and_numbers_of_others_are_taken() {
    let values = |rule: &str, field: Field| {
        let text = policy_of(&format!("name: a, {rule}, action: pass"));
        match read_policy("firewall.yaml", &text, &Fake) {
            Ok(read) => read.policy.rules[0].matches.field(field).ranges().to_vec(),
            Err(errors) => panic!("{}", errors.render(false)),
        }
    };
    for (rule, field, expected) in [
        ("proto: ipv6-icmp", Field::Proto, (58, 58)),
        ("proto: icmp6", Field::Proto, (58, 58)),
        ("proto: ipencap", Field::Proto, (4, 4)),
        ("proto: l2tp", Field::Proto, (115, 115)),
        ("proto: etherip", Field::Proto, (97, 97)),
        ("proto: eigrp", Field::Proto, (88, 88)),
        ("proto: hip", Field::Proto, (139, 139)),
        ("proto: TCP", Field::Proto, (6, 6)),
        ("proto: 0x11", Field::Proto, (17, 17)),
        ("dscp: AF21", Field::Dscp, (18, 18)),
        ("dscp: CS1", Field::Dscp, (8, 8)),
        ("dscp: EF", Field::Dscp, (46, 46)),
        ("dscp: voice-admit", Field::Dscp, (44, 44)),
        ("dscp: be", Field::Dscp, (0, 0)),
        ("dscp: 0x2e", Field::Dscp, (46, 46)),
        ("proto: tcp, port: 0x50", Field::DestinationPort, (80, 80)),
        (
            "proto: tcp, port: 0x50-0x5A",
            Field::DestinationPort,
            (80, 90),
        ),
        (
            "proto: tcp, port: 0-65535",
            Field::DestinationPort,
            (1, 65_535),
        ),
        (
            "proto: tcp, port: 0-1023",
            Field::DestinationPort,
            (1, 1_023),
        ),
        (
            "proto: udp, source_port: 0-",
            Field::SourcePort,
            (1, 65_535),
        ),
        ("ttl: 0xff", Field::Ttl, (255, 255)),
        ("length: 0x100-", Field::Length, (256, 65_535)),
        ("vlan: 0x64", Field::Vlan, (100, 100)),
        (
            "proto: icmp, icmp: {type: source-quench}",
            Field::Icmp,
            (4 << 8, 4 << 8 | 255),
        ),
        (
            "proto: icmp, icmp: {type: ping}",
            Field::Icmp,
            (8 << 8, 8 << 8 | 255),
        ),
        (
            "proto: icmp, icmp: {type: 0x8}",
            Field::Icmp,
            (8 << 8, 8 << 8 | 255),
        ),
        (
            "proto: icmp, icmp: {type: destination-unreachable, code: host-prohibited}",
            Field::Icmp,
            (3 << 8 | 10, 3 << 8 | 10),
        ),
        (
            "proto: icmp, icmp: {type: destination-unreachable, code: frag-needed}",
            Field::Icmp,
            (3 << 8 | 4, 3 << 8 | 4),
        ),
        (
            "proto: icmpv6, icmp: {type: mld-listener-query}",
            Field::Icmp,
            (130 << 8, 130 << 8 | 255),
        ),
        (
            "proto: icmpv6, icmp: {type: mld2-listener-report}",
            Field::Icmp,
            (143 << 8, 143 << 8 | 255),
        ),
        (
            "proto: icmpv6, icmp: {type: nd-neighbor-solicit}",
            Field::Icmp,
            (135 << 8, 135 << 8 | 255),
        ),
        (
            "proto: icmpv6, icmp: {type: nd-router-advert}",
            Field::Icmp,
            (134 << 8, 134 << 8 | 255),
        ),
        (
            "proto: icmpv6, icmp: {type: destination-unreachable, code: reject-route}",
            Field::Icmp,
            (1 << 8 | 6, 1 << 8 | 6),
        ),
    ] {
        assert_eq!(values(rule, field), [expected], "{rule}");
    }
    // A code without a type is that code of every type.
    let codes = values("proto: icmp, icmp: {code: 3}", Field::Icmp);
    assert_eq!(codes.len(), 256);
    assert!(codes.iter().all(|&(a, b)| a == b && a & 255 == 3));
    // Port 0 alone, and numbers beyond the field, stay errors.
    for wrong in [
        "proto: tcp, port: 0",
        "proto: tcp, port: 0x10000",
        "dscp: 0x40",
        "proto: tcp, port: 0x",
        "proto: tcp, port: 0-0",
    ] {
        let text = policy_of(&format!("name: a, {wrong}, action: pass"));
        assert!(
            read_policy("firewall.yaml", &text, &Fake).is_err(),
            "{wrong}"
        );
    }
}
