//! Oddities of the Ethernet header: VLAN tags, and what is not IP.

use super::{NON_IP, Table, anomaly, base4, base6, header4, joined, syn};
use crate::frames::{ethernet, tagged};
use firewall_common::reason::Reason;

pub(super) fn vlan(table: &mut Table) {
    let single: [(&'static str, &str, u16, u16); 2] = [
        ("E01", "one VLAN tag", 0x8100, 0x64),
        ("E02", "a priority tag", 0x8100, 0),
    ];
    for (id, what, ethertype, tci) in single {
        table.seen_through(id, what, |port| tagged(&base4(port), &[(ethertype, tci)]));
        table.seen_through(id, &format!("{what}, IPv6"), |port| {
            tagged(&base6(port), &[(ethertype, tci)])
        });
    }
    for outer in [0x88a8, 0x9100] {
        table.seen_through("E03", &format!("{outer:04x}h and 8100h tags"), |port| {
            tagged(&base4(port), &[(outer, 0x64), (0x8100, 0x65)])
        });
    }
    table.seen_through("E04", "three tags", |port| {
        tagged(&base4(port), &[(0x8100, 0x64); 3])
    });
    for port in [22, 80] {
        table.add(
            "E04",
            "five tags",
            tagged(&base4(port), &[(0x8100, 0x64); 5]),
            anomaly(Reason::VLAN_DEPTH),
        );
    }
    let mut cut = tagged(&base4(80), &[(0x8100, 0x64)]);
    cut.truncate(16);
    table.add("E05", "cut in the tag", cut, anomaly(Reason::TRUNCATED));
}

pub(super) fn other(table: &mut Table) {
    let inner = header4().packet(&syn(80));
    let session = joined(&[&[0x11, 0, 0, 1, 0, 62, 0, 0x21], &inner]);
    table.add("E37", "PPPoE", ethernet(0x8864, &session), NON_IP);
    let label = joined(&[&[0, 0, 0x11, 64], &inner]);
    table.add("E37", "MPLS", ethernet(0x8847, &label), NON_IP);
    let snap = joined(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &inner]);
    table.add(
        "E37",
        "802.3 with SNAP",
        ethernet(snap.len() as u16, &snap),
        NON_IP,
    );
    for ethertype in [0x05dc, 0x05ff, 0x0600] {
        let what = format!("EtherType {ethertype:04x}h");
        table.add("E37", what, ethernet(ethertype, &inner), NON_IP);
    }
}
