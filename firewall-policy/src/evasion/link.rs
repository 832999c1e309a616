//! Oddities of the Ethernet header: VLAN tags, and what is not IP.

use super::frames::{ethernet, tagged};
use super::{Meaning, Table, base4, base6, header4, joined, syn};
use firewall_common::reason::Reason;

pub(super) fn vlan(table: &mut Table) {
    let single: [(&'static str, &str, u16, u16); 2] = [
        ("E01", "one VLAN tag", 0x8100, 0x64),
        ("E02", "a priority tag", 0x8100, 0),
    ];
    for (id, what, ethertype, tci) in single {
        let [v4, v6] = [Meaning::v4(6), Meaning::v6(6)].map(|meaning| match tci {
            0 => meaning.tags(1),
            vlan => meaning.tags(1).vlan(vlan.into()),
        });
        table.seen_through(id, what, v4, |port| {
            tagged(&base4(port), &[(ethertype, tci)])
        });
        table.seen_through(id, &format!("{what}, IPv6"), v6, |port| {
            tagged(&base6(port), &[(ethertype, tci)])
        });
    }
    for outer in [0x88a8, 0x9100] {
        let two = Meaning::v4(6).tags(2).vlan(0x64);
        table.seen_through(
            "E03",
            &format!("{outer:04x}h and 8100h tags"),
            two,
            |port| tagged(&base4(port), &[(outer, 0x64), (0x8100, 0x65)]),
        );
    }
    for (what, tags) in [("three tags", 3), ("five tags", 5), ("nine tags", 9)] {
        let meaning = Meaning::v4(6).tags(tags).vlan(0x64);
        table.seen_through("E04", what, meaning, |port| {
            tagged(&base4(port), &vec![(0x8100, 0x64); tags as usize])
        });
    }
    let mut cut = tagged(&base4(80), &[(0x8100, 0x64)]);
    cut.truncate(16);
    table.add(
        "E05",
        "cut in the tag",
        cut,
        Meaning::anomaly(Reason::TRUNCATED).tags(1),
    );
}

pub(super) fn other(table: &mut Table) {
    let inner = header4().packet(&syn(80));
    let session = joined(&[&[0x11, 0, 0, 1, 0, 62, 0, 0x21], &inner]);
    table.add("E37", "PPPoE", ethernet(0x8864, &session), Meaning::NON_IP);
    let label = joined(&[&[0, 0, 0x11, 64], &inner]);
    table.add("E37", "MPLS", ethernet(0x8847, &label), Meaning::NON_IP);
    let snap = joined(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &inner]);
    table.add(
        "E37",
        "802.3 with SNAP",
        ethernet(snap.len() as u16, &snap),
        Meaning::NON_IP,
    );
    for ethertype in [0x05dc, 0x05ff, 0x0600] {
        let what = format!("EtherType {ethertype:04x}h");
        table.add("E37", what, ethernet(ethertype, &inner), Meaning::NON_IP);
    }
}
