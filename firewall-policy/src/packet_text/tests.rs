//! Text to value to frame to what the parser finds: all of them say the same.

use super::{Ingress, Kind, PacketText, parse, read};
use crate::host::HostMachine;
use crate::tables::Tables;
use firewall_common::abi::Config;
use firewall_common::parse::{Packet, Parsed, fragment, parse as parse_frame};
use std::cell::RefCell;

/// What the parser finds in the frame of a packet.
fn found(packet: &PacketText) -> PacketText {
    let mut config = Config::default();
    (config.packet.vlan_depth, config.packet.ipv6_ext_max) = (4, 8);
    config.packet.fragments = firewall_common::abi::fragments::PASS;
    let tables = Tables {
        bytes: vec![0; 128],
        config,
        live: Vec::new(),
        exempt: crate::rule::AddrSet::none(),
        stations: Vec::new(),
        report: Vec::new(),
        worst: Default::default(),
    };
    let counted = RefCell::new(Vec::new());
    let mut parsed = Packet::EMPTY;
    let frame = packet.frame();
    let machine = HostMachine::new(&tables, &counted);
    let answer = parse_frame(&machine, &frame.as_slice(), &mut parsed);
    assert_eq!(answer, Parsed::Ip, "{packet}");
    PacketText::of_key(&parsed.key, &[])
}

#[test]
fn what_is_written_is_what_the_parser_finds() {
    for (text, full) in [
        (
            "tcp 203.0.113.9:5000 > 198.51.100.80:22",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn ttl 64 length 40",
        ),
        (
            "tcp 203.0.113.9 -> 198.51.100.80:ssh syn,ack ece ttl 3 length 1500 dscp ef vlan 7",
            "tcp 203.0.113.9:40000 > 198.51.100.80:22 syn+ack+ece vlan 7 dscp 46 ttl 3 length 1500",
        ),
        (
            "udp [2001:db8::1]:53 to [2001:db8::2]:4000",
            "udp [2001:db8::1]:53 > [2001:db8::2]:4000 ttl 64 length 48",
        ),
        (
            "sctp 203.0.113.9:1 > 198.51.100.80:2905",
            "sctp 203.0.113.9:1 > 198.51.100.80:2905 ttl 64 length 32",
        ),
        (
            "icmp 203.0.113.9 > 198.51.100.80",
            "icmp 203.0.113.9 > 198.51.100.80 echo-request ttl 64 length 28",
        ),
        (
            "icmp 203.0.113.9 > 198.51.100.80 destination-unreachable code 4",
            "icmp 203.0.113.9 > 198.51.100.80 destination-unreachable code 4 ttl 64 length 56",
        ),
        (
            "icmpv6 fe80::1 > fe80::2 neighbour-solicitation",
            "icmpv6 fe80::1 > fe80::2 neighbour-solicitation ttl 255 length 64",
        ),
        (
            "icmpv6 fe80::1 > ff02::1 type 130",
            "icmpv6 fe80::1 > ff02::1 mld-query ttl 1 length 72",
        ),
        (
            "gre 203.0.113.9 > 198.51.100.80 length 28",
            "gre 203.0.113.9 > 198.51.100.80 ttl 64 length 28",
        ),
        (
            "proto 200 2001:db8::1 > 2001:db8::2 dscp 63 ttl 0",
            "proto 200 2001:db8::1 > 2001:db8::2 dscp 63 ttl 0 length 48",
        ),
        (
            "proto 1 2001:db8::1 > 2001:db8::2",
            "proto 1 2001:db8::1 > 2001:db8::2 ttl 64 length 48",
        ),
        (
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 fragment first",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn fragment first ttl 64 length 44",
        ),
        (
            "udp 2001:db8::1 > 2001:db8::2 fragment later",
            "udp 2001:db8::1 > 2001:db8::2 fragment later ttl 64 length 56",
        ),
        (
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 options",
            "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn ttl 64 length 44",
        ),
    ] {
        let packet = parse(text).unwrap();
        assert_eq!(parse(&packet.to_string()).as_ref(), Ok(&packet), "{text}");
        assert_eq!(found(&packet).to_string(), full, "{text}");
    }
    let text = "udp 192.0.2.1:1 > 192.0.2.2:2 from @a from @b to @self options in zone wan";
    assert_eq!(parse(text).unwrap().to_string(), text);
    for wrong in ["from", "from a", "to @", "from @"] {
        let text = format!("udp 192.0.2.1:1 > 192.0.2.2:2 {wrong}");
        assert!(parse(&text).is_err(), "{text}");
    }
}

#[test]
fn checksums_are_right() {
    let sum = super::frame::checksum;
    let packet = parse("udp 203.0.113.9:53 > 198.51.100.80:4000 length 1001").unwrap();
    let frame = packet.frame();
    assert_eq!(sum(&[&frame[14..34]]), [0, 0], "IPv4 header");
    let pseudo = [&frame[26..34], &[0, 17], &981u16.to_be_bytes()].concat();
    assert_eq!(sum(&[&pseudo, &frame[34..]]), [0, 0], "UDP");
    let packet = parse("icmpv6 2001:db8::1 > 2001:db8::2 packet-too-big").unwrap();
    let frame = packet.frame();
    let length = (frame.len() - 54) as u32;
    let pseudo = [&frame[22..54], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
    assert_eq!(sum(&[&pseudo, &frame[54..]]), [0, 0], "ICMPv6");
}

#[test]
fn where_it_comes_in() {
    for (text, ingress) in [
        ("in zone wan", Ingress::Zone("wan".into())),
        ("in wan", Ingress::Zone("wan".into())),
        ("zone wan", Ingress::Zone("wan".into())),
        ("on eth0", Ingress::Interface("eth0".into())),
    ] {
        let packet = parse(&format!("icmp 192.0.2.1 > 192.0.2.2 {text}")).unwrap();
        assert_eq!(packet.ingress, ingress);
        assert_eq!(parse(&packet.to_string()), Ok(packet));
    }
    let arp = parse("arp 192.0.2.1 > 192.0.2.2").unwrap();
    assert_eq!((arp.kind, arp.fragment), (Kind::Arp, fragment::WHOLE));
    assert_eq!(arp.frame().len(), 42);
    assert_eq!(parse(&arp.to_string()), Ok(arp));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let mut screens = String::new();
    for text in [
        "",
        "tpc 192.0.2.1 > 192.0.2.2:22",
        "quux",
        "proto 300 192.0.2.1 > 192.0.2.2",
        "tcp 192.0.2.1",
        "tcp 192.0.2.1 192.0.2.2:22",
        "tcp 192.0.2.1 > 192.0.2.2",
        "tcp 192.0.2.256:1 > 192.0.2.2:22",
        "tcp 192.0.2.1:x > 192.0.2.2:22",
        "tcp 192.0.2.1:99999 > 192.0.2.2:22",
        "tcp 192.0.2.1 > 192.0.2.2:shh",
        "udp 2001:db8::1:53 > [2001:db8::2]:53 x",
        "udp 2001:db8:1:2:3:4:5:6:53 > [2001:db8::2]:53",
        "udp [2001:db8::1 > [2001:db8::2]:53",
        "udp 192.0.2.1:1 > [2001:db8::2]:53",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 sin",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 syn ttl",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 ttl 256",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 length 39",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 type 8",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 fragment third",
        "tcp 192.0.2.1:1 > 192.0.2.2:22 fragment later",
        "icmp 192.0.2.1:1 > 192.0.2.2",
        "icmp 2001:db8::1 > 2001:db8::2",
        "icmpv6 192.0.2.1 > 192.0.2.2",
        "icmp 192.0.2.1 > 192.0.2.2 echo-requst",
        "arp 2001:db8::1 > 2001:db8::2",
        "udp 192.0.2.1:1 > 192.0.2.2:53 \u{1b}[2J",
    ] {
        let errors = read(text).expect_err(text);
        screens.push_str(&errors.render(false));
        screens.push('\n');
    }
    insta::assert_snapshot!(screens);
}
