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

/// What the ends of a cable say to each other, and forgeries of it.
fn link(table: &mut Table) {
    let to = |last: u8| [1, 0x80, 0xc2, 0, 0, last];
    let mut add = |what: &str, to: [u8; 6], ethertype: u16, payload: &[u8], kind, exact| {
        let mut frame = ethernet(ethertype, payload);
        frame[..6].copy_from_slice(&to);
        let meaning = if exact {
            Meaning::link(kind)
        } else {
            Meaning::non_ip(kind)
        };
        table.add("E37", what.to_owned(), frame, meaning);
    };
    let start = [2, 1, 0, 0];
    let eapol = 0x888e;
    add("802.1X start", to(3), eapol, &start, 0x888e, true);
    let request = [2, 0, 0, 5, 1, 1, 0, 5, 1, 0, 0];
    let station = [2, 0, 0, 0, 0, 2];
    add(
        "802.1X request to this host",
        station,
        eapol,
        &request,
        0x888e,
        true,
    );
    add(
        "802.1X request cut short",
        station,
        eapol,
        // So much that no padding makes it whole.
        &[2, 0, 0xff, 0xff, 1, 1, 0, 5],
        0x888e,
        false,
    );
    add("802.1X to all", [255; 6], eapol, &start, 0x888e, false);
    let lacp = joined(&[&[1, 1, 1, 20], &[0; 106]]);
    add("LACP", to(2), 0x8809, &lacp, 0x8809, true);
    add("LACP to one host", station, 0x8809, &lacp, 0x8809, false);
    let unknown = joined(&[&[11], &lacp[1..]]);
    add(
        "Slow Protocols, subtype 11",
        to(2),
        0x8809,
        &unknown,
        0x8809,
        false,
    );
    let lldp = [2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 2, 7, 1, 6, 2, 0, 120, 0, 0];
    for group in [0, 3, 14] {
        add("LLDP", to(group), 0x88cc, &lldp, 0x88cc, true);
    }
    add(
        "LLDP to a group that bridges forward",
        to(0x21),
        0x88cc,
        &lldp,
        0x88cc,
        false,
    );
    let unnamed = [4, 2, 7, 1, 0, 0];
    add(
        "LLDP without its sender",
        to(14),
        0x88cc,
        &unnamed,
        0x88cc,
        false,
    );
    let bpdu = joined(&[&[0x42, 0x42, 3], &[0; 35]]);
    add("spanning tree", to(0), 38, &bpdu, 0x42, true);
    add("spanning tree to one host", station, 38, &bpdu, 0x42, false);
    let numbered = joined(&[&[0x42, 0x42, 0, 0], &[0; 35]]);
    add(
        "LLC of spanning tree, numbered",
        to(0),
        39,
        &numbered,
        0x42,
        false,
    );
}
