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

/// An ICMPv6 message from a link-local address.
fn icmp6(hop_limit: u8, message: &[u8]) -> Frame {
    let mut source = [0; 16];
    (source[0], source[1], source[15]) = (0xfe, 0x80, 1);
    ethernet(0x86dd, &ipv6(source, address6(2), 58, hop_limit, message))
}

/// What [`icmp6`] makes.
fn message6(kind: u8, hop_limit: u8) -> Meaning {
    let mut source = [0; 16];
    (source[0], source[1], source[15]) = (0xfe, 0x80, 1);
    Meaning::v6(58).from6(source).icmp(kind, 0).ttl(hop_limit)
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
        let report = icmp6(1, &discovery(kind, length));
        let meaning = message6(kind, 1).essential(Reason::MULTICAST);
        table.add("E38", &*what, report, meaning);
        // RFC 2710: behind a hop-by-hop header with a router alert.
        let alert = joined(&[&[58, 0, 5, 2, 0, 0, 1, 0], &discovery(kind, length)[..]]);
        let report = ethernet(0x86dd, &ipv6(address6(1), address6(2), 0, 1, &alert));
        let meaning = meaning.from6(address6(1)).extensions(1);
        table.add("E38", what, report, meaning);
    }
    errors(table);
    let offer4 = Ipv4::new([192, 0, 2, 67], [255; 4], 17).packet(&udp(67, 68, &[0; 240]));
    table.add(
        "E38",
        "DHCP offer",
        ethernet(0x0800, &offer4),
        Meaning::v4(17)
            .from4([192, 0, 2, 67])
            .to4([255; 4])
            .ports(67, 68)
            .essential(Reason::DHCP),
    );
    let advertise = after6(17, &udp(547, 546, &[0; 40]));
    table.add(
        "E38",
        "DHCPv6 advertise",
        advertise,
        Meaning::v6(17).ports(547, 546).essential(Reason::DHCP),
    );
}

/// ICMP errors about a packet that this host sent, and forgeries of them.
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
    let ours4 = Ipv4::new(DST4, SRC4, 6).packet(&syn(443));
    let ours6 = ipv6(address6(2), address6(1), 6, 64, &syn(443));
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
