//! Oddities of transport headers, packets that end in them, and packets in packets.

use super::frames::{Frame, Ipv4, ethernet, ipv6, udp};
use super::ipv6::routing;
use super::{
    DST4, Meaning, SRC4, Table, address6, after6, base4, base6, header4, joined, patched, syn,
};
use firewall_common::field::Field;
use firewall_common::key::Family;
use firewall_common::reason::Reason;

pub(super) fn truncated(table: &mut Table) {
    for ethertype in [0x0800, 0x86dd] {
        let frame = ethernet(ethertype, &[]);
        table.add(
            "E30",
            "nothing behind the EtherType",
            frame,
            Meaning::anomaly(Reason::TRUNCATED),
        );
    }
    for (what, mut frame, keep) in [
        ("IPv4 cut at 19", base4(80), 33),
        ("IPv6 cut at 39", base6(80), 53),
    ] {
        frame.truncate(keep);
        table.add("E30", what, frame, Meaning::anomaly(Reason::TRUNCATED));
    }
    for keep in [0, 4, 19] {
        let what = format!("TCP cut at {keep}");
        let seen = |meaning: Meaning| match keep {
            0 => meaning.broken(Reason::TRUNCATED),
            _ => meaning.ports(40_000, 80).broken(Reason::TRUNCATED),
        };
        let v4 = ethernet(0x0800, &header4().packet(&syn(80)[..keep]));
        table.add("E30", &*what, v4, seen(Meaning::v4(6)));
        if keep > 0 {
            let v6 = after6(6, &syn(80)[..keep]);
            table.add("E30", what, v6, seen(Meaning::v6(6)));
        }
    }
}

/// A SYN to port 80 over both families.
fn sane() -> [(Frame, Meaning); 2] {
    [
        (base4(80), Meaning::v4(6).syn(80)),
        (base6(80), Meaning::v6(6).syn(80)),
    ]
}

pub(super) fn transport(table: &mut Table) {
    for (what, byte) in [
        ("data offset 4", 0x40),
        ("data offset 0", 0),
        ("data offset past the packet", 0xf0),
    ] {
        for (base, meaning) in sane() {
            let at = base.len() - 40 + 12;
            table.add(
                "E31",
                what,
                patched(base, at, &[byte]),
                meaning.broken(Reason::BAD_HEADER_LEN),
            );
        }
    }
    for flags in [0, 0x29, 0x03, 0x06, 0x3f, 0x01] {
        for (base, meaning) in sane() {
            let at = base.len() - 40 + 13;
            let what = format!("TCP flags {flags:02x}h");
            table.add(
                "E32",
                what,
                patched(base, at, &[flags]),
                meaning
                    .with(Field::TcpFlags, flags.into())
                    .broken(Reason::TCP_FLAGS),
            );
        }
    }
    for (at, source, destination) in [(34, 0, 80), (36, 40_000, 0)] {
        table.add(
            "E32",
            "TCP port 0",
            patched(base4(80), at, &[0, 0]),
            Meaning::v4(6)
                .syn(80)
                .ports(source, destination)
                .broken(Reason::PORT_ZERO),
        );
    }
    let datagram = |length: u16| {
        let mut datagram = udp(40_000, 53, &[0; 20]);
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        ethernet(0x0800, &Ipv4::new(SRC4, DST4, 17).packet(&datagram))
    };
    for length in [0, 7, 29] {
        let what = format!("UDP length {length}");
        table.add(
            "E35",
            what,
            datagram(length),
            Meaning::v4(17).ports(40_000, 53).broken(Reason::BAD_LENGTH),
        );
    }
    let zero = ethernet(
        0x0800,
        &Ipv4::new(SRC4, DST4, 17).packet(&udp(40_000, 0, &[])),
    );
    table.add(
        "E32",
        "UDP port 0",
        zero,
        Meaning::v4(17).ports(40_000, 0).broken(Reason::PORT_ZERO),
    );
}

pub(super) fn tunnels(table: &mut Table) {
    for port in [22, 80] {
        let inner4 = header4().packet(&syn(port));
        let inner6 = ipv6(address6(1), address6(2), 6, 64, &syn(port));
        let in4 =
            |proto, payload: &[u8]| ethernet(0x0800, &Ipv4::new(SRC4, DST4, proto).packet(payload));
        table.add(
            "E33",
            "IP in IP",
            in4(4, &inner4),
            Meaning::v4(4).carrying(Family::V4, port),
        );
        table.add(
            "E33",
            "IPv6 in IPv4",
            in4(41, &inner6),
            Meaning::v4(41).carrying(Family::V6, port),
        );
        table.add(
            "E33",
            "IPv4 in IPv6",
            after6(4, &inner4),
            Meaning::v6(4).carrying(Family::V4, port),
        );
        table.add(
            "E33",
            "IPv6 in IPv6",
            after6(41, &inner6),
            Meaning::v6(41).carrying(Family::V6, port),
        );
        table.add(
            "E33",
            "GRE",
            in4(47, &joined(&[&[0, 0, 8, 0], &inner4])),
            Meaning::v4(47).carrying(Family::V4, port),
        );
        // WCCP, in both versions; over IPv6 Linux skips the four bytes always.
        for (what, redirect) in [("", &[][..]), (" with its header", &[0x20, 1, 2, 3])] {
            table.add(
                "E33",
                format!("GRE of WCCP{what}"),
                in4(47, &joined(&[&[0, 0, 0x88, 0x3e], redirect, &inner4])),
                Meaning::v4(47).carrying(Family::V4, port),
            );
        }
        table.add(
            "E33",
            "GRE of WCCP over IPv6",
            after6(
                47,
                &joined(&[&[0, 0, 0x88, 0x3e], &[0x20, 1, 2, 3], &inner6]),
            ),
            Meaning::v6(47).carrying(Family::V6, port),
        );
        // Linux unpacks these without a device, where segments are allowed.
        for kind in [3, 4] {
            table.add(
                "E43",
                format!("IPv6 in IPv6 behind a routing header of type {kind}"),
                after6(43, &joined(&[&routing(41, kind, 0), &inner6])),
                Meaning::v6(41).extensions(1).carrying(Family::V6, port),
            );
            table.add(
                "E43",
                format!("IPv4 in IPv6 behind a routing header of type {kind}"),
                after6(43, &joined(&[&routing(4, kind, 0), &inner4])),
                Meaning::v6(4).extensions(1).carrying(Family::V4, port),
            );
        }
        let vxlan = joined(&[&[8, 0, 0, 0, 0, 0, 1, 0], &base4(port)]);
        let meaning = Meaning::v4(17)
            .ports(40_000, 4789)
            .carrying(Family::V4, port);
        table.add("E33", "VXLAN", in4(17, &udp(40_000, 4789, &vxlan)), meaning);
    }
}
