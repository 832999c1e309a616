//! What a host cannot do without: it passes in its exact form, and forgeries of it do not.

use super::frames::{Frame, Ipv4, ethernet, ipv6, udp};
use super::{DST4, Meaning, SRC4, Table, address6, after6, fragment6, joined, syn};
use firewall_common::reason::Reason;

pub(super) fn neighbours(table: &mut Table) {
    for kind in 133..=137 {
        let message = discovery(kind, 40);
        let what = format!("ICMPv6 type {kind}");
        table.add(
            "E36",
            format!("{what}, hop limit 254"),
            icmp6(254, &message),
            message6(kind, 254).but(Reason::ND_SPOOF),
        );
        let frame = joined(&[&fragment6(58, 0, 0, false), &message]);
        let frame = ethernet(0x86dd, &ipv6(address6(1), address6(2), 44, 255, &frame));
        table.add(
            "E36",
            format!("{what} in a fragment"),
            frame,
            message6(kind, 255)
                .from6(address6(1))
                .extensions(1)
                .but(Reason::ND_SPOOF),
        );
    }
}

/// A neighbour discovery message of `length` bytes.
fn discovery(kind: u8, length: usize) -> Vec<u8> {
    let mut message = vec![kind, 0];
    message.resize(length, 0);
    message
}

/// The address `fe80::last`.
const fn link_local(last: u8) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

/// An ICMPv6 message from a link-local address.
fn icmp6(hop_limit: u8, message: &[u8]) -> Frame {
    let (source, to) = (link_local(1), address6(2));
    ethernet(0x86dd, &ipv6(source, to, 58, hop_limit, message))
}

/// What [`icmp6`] makes.
fn message6(kind: u8, hop_limit: u8) -> Meaning {
    Meaning::v6(58)
        .from6(link_local(1))
        .icmp(kind, 0)
        .ttl(hop_limit)
}

pub(super) fn essentials(table: &mut Table) {
    for operation in [1, 2] {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
        arp.resize(28, 1);
        let what = format!("ARP, operation {operation}");
        table.add("E38", &*what, ethernet(0x0806, &arp), Meaning::ARP);
        // As it comes from the wire, at the least frame length.
        arp.resize(46, 0);
        table.add("E38", what, ethernet(0x0806, &arp), Meaning::ARP);
    }
    for (kind, length) in [(133, 16), (134, 16), (135, 32), (136, 32)] {
        let what = format!("neighbour discovery, type {kind}");
        let frame = icmp6(255, &discovery(kind, length));
        let meaning = message6(kind, 255).essential(Reason::NEIGHBOUR);
        table.add("E38", what, frame, meaning);
    }
    // Duplicate address detection asks from ::.
    let solicitation = ipv6([0; 16], address6(2), 58, 255, &discovery(135, 24));
    let frame = ethernet(0x86dd, &solicitation);
    table.add(
        "E38",
        "duplicate address detection",
        frame,
        message6(135, 255)
            .from6([0; 16])
            .essential(Reason::NEIGHBOUR),
    );
    for (kind, length) in [(130, 24), (131, 24), (143, 28)] {
        let what = format!("multicast listener, type {kind}");
        // RFC 2710: behind a hop-by-hop header with a router alert, from a link-local address.
        let near = link_local(1);
        let alerted = |source, hop_limit, options: &[u8]| {
            let message = joined(&[&[58, 0], options, &discovery(kind, length)[..]]);
            ethernet(0x86dd, &ipv6(source, address6(2), 0, hop_limit, &message))
        };
        let meaning = message6(kind, 1).extensions(1);
        let exact = meaning.essential(Reason::MULTICAST);
        for options in [[5, 2, 0, 0, 1, 0], [5, 2, 0, 0, 0, 0], [1, 0, 5, 2, 0, 0]] {
            table.add("E38", &*what, alerted(near, 1, &options), exact);
        }
        if kind != 130 {
            let nowhere = alerted([0; 16], 1, &[5, 2, 0, 0, 1, 0]);
            table.add("E38", &*what, nowhere, exact.from6([0; 16]));
        }
        // M16: from any source, and without it, it is what everything else is.
        for (forgery, frame, meaning) in [
            (
                "without router alert",
                icmp6(1, &discovery(kind, length)),
                message6(kind, 1),
            ),
            (
                "from another network",
                alerted(address6(1), 1, &[5, 2, 0, 0, 1, 0]),
                meaning.from6(address6(1)),
            ),
            (
                "hop limit 64",
                alerted(near, 64, &[5, 2, 0, 0, 1, 0]),
                meaning.ttl(64),
            ),
            (
                "alert of RSVP",
                alerted(near, 1, &[5, 2, 0, 1, 1, 0]),
                meaning,
            ),
            ("no alert", alerted(near, 1, &[1, 4, 0, 0, 0, 0]), meaning),
        ] {
            table.add("E38", format!("{what}, {forgery}"), frame, meaning);
        }
    }
    groups(table);
    errors(table);
    // Nobody has asked for them.
    let offer4 = Ipv4::new([192, 0, 2, 67], [255; 4], 17).packet(&udp(67, 68, &[0; 240]));
    table.add(
        "E38",
        "DHCP offer",
        ethernet(0x0800, &offer4),
        Meaning::v4(17)
            .from4([192, 0, 2, 67])
            .to4([255; 4])
            .ports(67, 68),
    );
    // To a link-local address, from wherever.
    let advertise =
        |from, port, to| ethernet(0x86dd, &ipv6(from, to, 17, 64, &udp(port, 546, &[0; 40])));
    for (from, port) in [
        (link_local(1), 547),
        (address6(1), 547),
        (address6(1), 40_000),
    ] {
        let meaning = Meaning::v6(17)
            .from6(from)
            .to6(link_local(2))
            .ports(port, 546);
        let frame = advertise(from, port, link_local(2));
        table.add("E38", "DHCPv6 advertise", frame, meaning);
    }
    // S14: from another network.
    table.add(
        "E38",
        "DHCPv6 to a global address",
        advertise(address6(1), 547, address6(2)),
        Meaning::v6(17).ports(547, 546),
    );
}

const ALERT: [u8; 4] = [148, 4, 0, 0];
const ALL_HOSTS: [u8; 4] = [224, 0, 0, 1];
const QUERY: [u8; 8] = [0x11, 100, 0xee, 0x9b, 0, 0, 0, 0];

/// A packet with options.
fn with_options(proto: u8, ttl: u8, options: &[u8], to: [u8; 4], message: &[u8]) -> Frame {
    let mut header = Ipv4::new(SRC4, to, proto);
    (header.ttl, header.options) = (ttl, options.to_vec());
    ethernet(0x0800, &header.packet(message))
}

/// IGMP and RSVP carry the router alert option wherever they go: they pass a policy that drops options.
fn groups(table: &mut Table) {
    let packet = with_options;
    let (all, query) = (ALL_HOSTS, QUERY);
    let igmp = Meaning::v4(2).to4(all).ttl(1);
    let rows = [
        (
            "IGMP query",
            packet(2, 1, &ALERT, all, &query),
            igmp.essential(Reason::IGMP),
        ),
        (
            "IGMP query, alert behind no operations",
            packet(2, 1, &[1, 1, 1, 1, 148, 4, 0, 0], all, &query),
            igmp.essential(Reason::IGMP),
        ),
        (
            "IGMP query without alert",
            packet(2, 1, &[], all, &query),
            igmp,
        ),
        (
            "IGMP query, TTL 2",
            packet(2, 2, &ALERT, all, &query),
            igmp.ttl(2),
        ),
        (
            "IGMP query to one host",
            packet(2, 1, &ALERT, DST4, &query),
            igmp.to4(DST4),
        ),
        (
            "IGMP report",
            packet(2, 1, &ALERT, all, &[0x16, 0, 0, 0, 224, 0, 0, 5]),
            igmp.essential(Reason::IGMP),
        ),
        (
            "IGMP report of version 3",
            packet(2, 1, &ALERT, [224, 0, 0, 22], &[0x22, 0, 0, 0, 0, 0, 0, 0]),
            igmp.to4([224, 0, 0, 22]).essential(Reason::IGMP),
        ),
        (
            "IGMP leave",
            packet(2, 1, &ALERT, [224, 0, 0, 2], &[0x17, 0, 0, 0, 239, 1, 2, 3]),
            igmp.to4([224, 0, 0, 2]).essential(Reason::IGMP),
        ),
        (
            "IGMP of DVMRP",
            packet(2, 1, &ALERT, all, &[0x13, 0, 0, 0, 0, 0, 0, 0]),
            igmp,
        ),
    ];
    for (what, frame, meaning) in rows {
        table.add("E38", what, frame, meaning);
    }
    alerts(table);
}

/// Router alerts that are not those of IGMP, and what else asks for one.
fn alerts(table: &mut Table) {
    let packet = with_options;
    let (all, query) = (ALL_HOSTS, QUERY);
    let igmp = Meaning::v4(2).to4(all).ttl(1);
    let rows = [
        (
            "IGMP query with a time stamp",
            packet(2, 1, &[148, 4, 0, 0, 68, 4, 5, 0], all, &query),
            igmp.options(),
        ),
        (
            "IGMP query, alert of another value",
            packet(2, 1, &[148, 4, 0, 1], all, &query),
            igmp.options(),
        ),
        (
            "RSVP with router alert",
            packet(46, 64, &ALERT, DST4, &[0x10, 1, 0, 0, 64, 0, 0, 8]),
            Meaning::v4(46),
        ),
        (
            "TCP with router alert",
            packet(6, 64, &ALERT, DST4, &syn(22)),
            Meaning::v4(6).syn(22).options(),
        ),
    ];
    for (what, frame, meaning) in rows {
        table.add("E38", what, frame, meaning);
    }
}

/// ICMP errors about a packet that this host may have sent, of a protocol that the kernel behind judges
/// (ESP); and forgeries of them.
fn errors(table: &mut Table) {
    let error4 = |kind, inner: &[u8]| {
        let message = joined(&[&[kind, 4, 0, 0, 0, 0, 5, 0xdc], inner]);
        ethernet(0x0800, &Ipv4::new(SRC4, DST4, 1).packet(&message))
    };
    let error6 = |kind, inner: &[u8]| {
        let message = joined(&[&[kind, 0, 0, 0, 0, 0, 5, 0], inner]);
        after6(58, &message)
    };
    let about4 = |kind| Meaning::v4(1).icmp(kind, 4);
    let about6 = |kind| Meaning::v6(58).icmp(kind, 0);
    let ours4 = Ipv4::new(DST4, SRC4, 50).packet(&syn(443));
    let ours6 = ipv6(address6(2), address6(1), 50, 64, &syn(443));
    for kind in [3, 11, 12] {
        let what = format!("ICMP type {kind}");
        table.add(
            "E38",
            what,
            error4(kind, &ours4[..28]),
            about4(kind).essential(Reason::ICMP_ERROR),
        );
    }
    for kind in 1..=4 {
        let what = format!("ICMPv6 type {kind}");
        table.add(
            "E38",
            what,
            error6(kind, &ours6),
            about6(kind).essential(Reason::ICMP_ERROR),
        );
    }
    table.add(
        "E35",
        "ICMP error cut short",
        error4(3, &ours4[..20]),
        about4(3),
    );
    table.add(
        "E35",
        "ICMPv6 error cut short",
        error6(2, &ours6[..40]),
        about6(2),
    );
    // S14: the kernel believes it without a socket, and sets the path's MTU.
    for (what, kind4, kind6) in [("an echo reply", 0, 129), ("an error", 3, 1)] {
        let inner4 = Ipv4::new(DST4, SRC4, 1).packet(&[kind4, 0, 0, 0, 0, 1, 0, 1]);
        let inner6 = ipv6(
            address6(2),
            address6(1),
            58,
            64,
            &[kind6, 0, 0, 0, 0, 1, 0, 1],
        );
        table.add(
            "E35",
            format!("ICMP error about {what}"),
            error4(3, &inner4),
            about4(3),
        );
        table.add(
            "E35",
            format!("ICMPv6 error about {what}"),
            error6(2, &inner6),
            about6(2),
        );
        for (next, header) in [
            (44, [58, 0, 0, 1, 0, 0, 0, 1]),
            (60, [58, 0, 1, 4, 0, 0, 0, 0]),
        ] {
            let hidden = joined(&[&header, &[kind6, 0, 0, 0, 0, 1, 0, 1]]);
            let inner6 = ipv6(address6(2), address6(1), next, 64, &hidden);
            table.add(
                "E35",
                format!("ICMPv6 error about {what} behind header {next}"),
                error6(2, &inner6),
                about6(2),
            );
        }
    }
    let echo4 = Ipv4::new(DST4, SRC4, 1).packet(&[8, 0, 0, 0, 0, 1, 0, 1]);
    let echo6 = ipv6(
        address6(2),
        address6(1),
        58,
        64,
        &[128, 0, 0, 0, 0, 1, 0, 1],
    );
    let fragment = joined(&[&fragment6(17, 0, 1448, true), &[0; 8]]);
    let fragment = ipv6(address6(2), address6(1), 44, 64, &fragment);
    table.add(
        "E38",
        "ICMPv6 error about a later fragment",
        error6(2, &fragment),
        about6(2).essential(Reason::ICMP_ERROR),
    );
    // Nobody has sent one.
    table.add(
        "E38",
        "ICMPv6 error about an echo request",
        error6(2, &echo6),
        about6(2),
    );
    table.add(
        "E38",
        "ICMP error about an echo request",
        error4(3, &echo4),
        about4(3),
    );
    let theirs4 = Ipv4::new([203, 0, 113, 1], SRC4, 6).packet(&syn(443));
    let theirs6 = ipv6(address6(3), address6(1), 6, 64, &syn(443));
    table.add(
        "E35",
        "ICMP error about another host",
        error4(3, &theirs4),
        about4(3),
    );
    table.add(
        "E35",
        "ICMPv6 error about another host",
        error6(2, &theirs6),
        about6(2),
    );
}
