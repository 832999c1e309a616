//! Oddities of IPv6: lengths, extension headers, fragments (RFC 8200, RFC 5095, RFC 5722, RFC 6946,
//! RFC 7112).

use super::{Meaning, Table, address6, after6, base6, fragment6, joined, patched, syn};
use firewall_common::field::Field;
use firewall_common::parse::fragment;
use firewall_common::reason::Reason;

pub(super) fn headers(table: &mut Table) {
    let behind = |extensions| Meaning::v6(6).extensions(extensions);
    let what = "hop-by-hop and destination options";
    table.seen_through("E19", what, behind(2), |port| {
        after6(0, &joined(&[&extension(60), &extension(6), &syn(port)]))
    });
    for (kind, left) in [(0, 0), (0, 1), (2, 1), (3, 1), (4, 1), (4, 255), (253, 2)] {
        for port in [22, 80] {
            let frame = after6(43, &joined(&[&routing(6, kind, left), &syn(port)]));
            let what = format!("routing header type {kind}, {left} left");
            let meaning = behind(1).syn(port).but(Reason::SOURCE_ROUTE);
            table.add("E20", what, frame, meaning);
        }
    }
    for kind in [2, 3, 4, 253] {
        let what = format!("routing header type {kind}");
        table.seen_through("E20", &what, behind(1), |port| {
            after6(43, &joined(&[&routing(6, kind, 0), &syn(port)]))
        });
    }
    table.seen_through(
        "E21",
        "authentication header of 24 bytes",
        behind(1),
        |port| {
            let mut header = vec![6, 4];
            header.resize(24, 0);
            after6(51, &joined(&[&header, &syn(port)]))
        },
    );
    table.seen_through("E22", "chain of four", behind(4), |port| {
        let chain: [&[u8]; 5] = [
            &extension(60),
            &extension(43),
            &routing(60, 2, 0),
            &extension(6),
            &syn(port),
        ];
        after6(0, &joined(&chain))
    });
    let chain = |count: usize, port: u16| {
        let mut payload = extension(60).repeat(count - 1);
        payload.extend(extension(6));
        payload.extend(syn(port));
        after6(60, &payload)
    };
    for count in [7, 8, 9, 40] {
        let what = format!("{count} headers");
        table.seen_through("E22", &what, behind(count), |port| {
            chain(count as usize, port)
        });
    }
    table.seen_through("E22", "a header of 168 bytes", behind(1), |port| {
        let mut header = vec![6, 20];
        header.resize(168, 0);
        after6(60, &joined(&[&header, &syn(port)]))
    });
    for port in [22, 80] {
        let frame = after6(60, &joined(&[&extension(0), &extension(6), &syn(port)]));
        table.add(
            "E23",
            "hop-by-hop not first",
            frame,
            behind(2).syn(port).but(Reason::EXT_ORDER),
        );
        let none = patched(base6(port), 18, &[0, 0]);
        table.add(
            "E29",
            "payload length 0",
            none,
            Meaning::v6(6).only_addresses(Reason::JUMBOGRAM),
        );
        let past = patched(base6(port), 18, &u16::to_be_bytes(1400));
        table.add(
            "E29",
            "payload length past the frame",
            past,
            Meaning::v6(6).only_addresses(Reason::TRUNCATED),
        );
        let jumbo = [6, 0, 0xc2, 4, 0, 0, 0, 48];
        let frame = after6(0, &joined(&[&jumbo, &syn(port)]));
        let frame = patched(frame, 18, &[0, 0]);
        table.add(
            "E29",
            "jumbo payload option",
            frame,
            Meaning::v6(6).only_addresses(Reason::JUMBOGRAM),
        );
    }
}

pub(super) fn fragments(table: &mut Table) {
    let later_of = |proto| Meaning::v6(proto).extensions(1).fragment(fragment::LATER);
    let first_of = |proto, extensions| {
        Meaning::v6(proto)
            .extensions(extensions)
            .fragment(fragment::FIRST)
    };
    for (id, reserved) in [("E24", 0), ("E25", 4), ("E25", 255)] {
        let what = format!("atomic fragment, reserved {reserved}");
        table.seen_through(id, &what, Meaning::v6(6).extensions(1), |port| {
            let mut segment = syn(port);
            segment[6..8].copy_from_slice(&[0, 0x50]);
            after6(44, &joined(&[&fragment6(6, reserved, 0, false), &segment]))
        });
    }
    for port in [22, 80] {
        let tiny = joined(&[&fragment6(6, 0, 0, true), &syn(port)[..8]]);
        table.add(
            "E26",
            "first fragment, 8 bytes of TCP",
            after6(44, &tiny),
            first_of(6, 1).ports(40_000, port).broken(Reason::FRAG_TINY),
        );
        // RFC 7112: 16 bytes of options announced, 8 there.
        let cut = joined(&[&fragment6(60, 0, 0, true), &[6, 1, 1, 12, 0, 0, 0, 0]]);
        table.add(
            "E26",
            "first fragment cut in its options",
            after6(44, &cut),
            first_of(60, 2)
                .with(Field::Proto, Field::Proto.none())
                .broken(Reason::FRAG_TINY),
        );
        let options_only = joined(&[&fragment6(60, 0, 0, true), &extension(6)]);
        table.add(
            "E26",
            "first fragment without transport",
            after6(44, &options_only),
            first_of(6, 2).broken(Reason::FRAG_TINY),
        );
        let overlap = joined(&[&fragment6(6, 0, 8, false), &syn(port)[..24]]);
        table.add(
            "E27",
            "offset 8 rewrites the header",
            after6(44, &overlap),
            later_of(6).but(Reason::FRAG_OVERLAP),
        );
        let later = joined(&[&fragment6(6, 0, 1440, false), &syn(port)]);
        table.add(
            "E27",
            "later fragment that looks like TCP",
            after6(44, &later),
            later_of(6),
        );
        let later = joined(&[&fragment6(60, 0, 1440, false), &extension(6), &syn(port)]);
        table.add(
            "E27",
            "later fragment that looks like options",
            after6(44, &later),
            later_of(60),
        );
        for more in [false, true] {
            let twice = [
                &fragment6(44, 0, 0, more)[..],
                &fragment6(6, 0, 0, more),
                &syn(port),
            ];
            table.add(
                "E27",
                "two fragment headers",
                after6(44, &joined(&twice)),
                Meaning::anomaly(Reason::FRAG_HIDDEN).extensions(2),
            );
        }
    }
    let first = joined(&[&fragment6(60, 0, 0, true), &extension(6), &syn(22)]);
    table.add(
        "E27",
        "first fragment with options",
        after6(44, &first),
        Meaning::v6(6)
            .extensions(2)
            .syn(22)
            .fragment(fragment::FIRST),
    );
}

/// An extension header of 8 bytes: a PadN option.
pub(super) const fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// A routing header of 24 bytes.
pub(super) fn routing(next: u8, kind: u8, left: u8) -> Vec<u8> {
    let mut header = vec![next, 2, kind, left, 0, 0, 0, 0];
    header.extend(address6(7));
    header
}
