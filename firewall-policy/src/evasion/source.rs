//! Addresses that no packet from a network can have.

use super::frames::{Frame, Ipv4, ethernet, ipv6};
use super::{DST4, Meaning, SRC4, Table, address6, syn};
use firewall_common::reason::Reason;

pub(super) fn bogons(table: &mut Table) {
    let sources4 = [
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255; 4],
        [0, 0, 0, 1],
        DST4,
    ];
    for source in sources4 {
        let what = format!("from {}", std::net::Ipv4Addr::from(source));
        table.add(
            "E34",
            what,
            with_source4(source, DST4),
            Meaning::v4(6).syn(80).from4(source).but(Reason::BOGON),
        );
    }
    let loopback = with_source4(SRC4, [127, 0, 0, 1]);
    table.add(
        "E34",
        "to 127.0.0.1",
        loopback,
        Meaning::v4(6)
            .syn(80)
            .to4([127, 0, 0, 1])
            .but(Reason::BOGON),
    );
    let mut mapped = [0; 16];
    mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    let mut own = [0; 16];
    own[15] = 1;
    let mut group = [0; 16];
    (group[0], group[1], group[15]) = (0xff, 2, 1);
    for source in [own, group, mapped, [0; 16], address6(2)] {
        let what = format!("from {}", std::net::Ipv6Addr::from(source));
        table.add(
            "E34",
            what,
            with_source6(source, address6(2)),
            Meaning::v6(6).syn(80).from6(source).but(Reason::BOGON),
        );
    }
    for destination in [own, mapped] {
        let what = format!("to {}", std::net::Ipv6Addr::from(destination));
        table.add(
            "E34",
            what,
            with_source6(address6(1), destination),
            Meaning::v6(6).syn(80).to6(destination).but(Reason::BOGON),
        );
    }
    let echo = ipv6([0; 16], address6(2), 58, 64, &[128, 0, 0, 0, 0, 1, 0, 1]);
    table.add(
        "E34",
        "echo request from ::",
        ethernet(0x86dd, &echo),
        Meaning::v6(58)
            .from6([0; 16])
            .icmp(128, 0)
            .but(Reason::BOGON),
    );
}

fn with_source4(src: [u8; 4], dst: [u8; 4]) -> Frame {
    ethernet(0x0800, &Ipv4::new(src, dst, 6).packet(&syn(80)))
}

fn with_source6(src: [u8; 16], dst: [u8; 16]) -> Frame {
    ethernet(0x86dd, &ipv6(src, dst, 6, 64, &syn(80)))
}
