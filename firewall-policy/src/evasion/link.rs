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
    let mut add = |what: &str, ethertype: u16, payload: &[u8], meaning: u32| {
        let frame = ethernet(ethertype, payload);
        table.add("E37", what.to_owned(), frame, Meaning::non_ip(meaning));
    };
    add("PPPoE", 0x8864, &session, 0x8864);
    let label = joined(&[&[0, 0, 0x11, 64], &inner]);
    add("MPLS", 0x8847, &label, 0x8847);
    let snap = joined(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &inner]);
    add("802.3 with SNAP", snap.len() as u16, &snap, 0xaa);
    for length in [0x05dc, 0x05ff] {
        // The first byte of the IPv4 header is no service that anybody has.
        add(
            &format!("802.3 of length {length:04x}h"),
            length,
            &inner,
            0x45,
        );
    }
    add("EtherType 0600h", 0x0600, &inner, 0x0600);
    add("802.3 without LLC", 0, &[], 0x100);
    link(table);
}

/// A group address of the link.
const fn group(last: u8) -> [u8; 6] {
    [1, 0x80, 0xc2, 0, 0, last]
}

/// The station that is filtered.
const STATION: [u8; 6] = [2, 0, 0, 0, 0, 2];
const START: [u8; 4] = [2, 1, 0, 0];

/// A frame to `to`.
fn sent(
    table: &mut Table,
    what: &str,
    to: [u8; 6],
    (ethertype, payload): (u16, &[u8]),
    is: Meaning,
) {
    let mut frame = ethernet(ethertype, payload);
    frame[..6].copy_from_slice(&to);
    table.add("E37", what.to_owned(), frame, is);
}

fn lacp(subtype: u8) -> Vec<u8> {
    joined(&[&[subtype, 1, 1, 20], &[0; 106]])
}

/// What the ends of a cable say to each other.
fn link(table: &mut Table) {
    let eapol = Meaning::link(0x888e);
    sent(table, "802.1X start", group(3), (0x888e, &START), eapol);
    let request = [2, 0, 0, 5, 1, 1, 0, 5, 1, 0, 0];
    let what = "802.1X request to this host";
    sent(table, what, STATION, (0x888e, &request), eapol);
    let slow = Meaning::link(0x8809);
    sent(table, "LACP", group(2), (0x8809, &lacp(1)), slow);
    let lldp = [2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 2, 7, 1, 6, 2, 0, 120, 0, 0];
    for last in [0, 3, 14] {
        let is = Meaning::link(0x88cc);
        sent(table, "LLDP", group(last), (0x88cc, &lldp), is);
    }
    let bpdu = joined(&[&[0x42, 0x42, 3], &[0; 35]]);
    let is = Meaning::link(0x42);
    sent(table, "spanning tree", group(0), (38, &bpdu), is);
    forged(table, &lldp, &bpdu);
}

/// The same, as it does not come from the other end of a cable.
fn forged(table: &mut Table, lldp: &[u8], bpdu: &[u8]) {
    let eapol = Meaning::non_ip(0x888e);
    // So much that no padding makes it whole.
    let cut = [2, 0, 0xff, 0xff, 1, 1, 0, 5];
    sent(
        table,
        "802.1X request cut short",
        STATION,
        (0x888e, &cut),
        eapol,
    );
    sent(table, "802.1X to all", [255; 6], (0x888e, &START), eapol);
    let slow = Meaning::non_ip(0x8809);
    sent(table, "LACP to one host", STATION, (0x8809, &lacp(1)), slow);
    let what = "Slow Protocols, subtype 11";
    sent(table, what, group(2), (0x8809, &lacp(11)), slow);
    let is = Meaning::non_ip(0x88cc);
    let what = "LLDP to a group that bridges forward";
    sent(table, what, group(0x21), (0x88cc, lldp), is);
    let unnamed = [4, 2, 7, 1, 0, 0];
    sent(
        table,
        "LLDP without its sender",
        group(14),
        (0x88cc, &unnamed),
        is,
    );
    let is = Meaning::non_ip(0x42);
    sent(table, "spanning tree to one host", STATION, (38, bpdu), is);
    let numbered = joined(&[&[0x42, 0x42, 0, 0], &[0; 35]]);
    let what = "LLC of spanning tree, numbered";
    sent(table, what, group(0), (39, &numbered), is);
}
