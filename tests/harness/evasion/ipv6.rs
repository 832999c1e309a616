//! Oddities of IPv6: lengths, extension headers, fragments (RFC 8200, RFC 5095, RFC 5722, RFC 6946,
//! RFC 7112).

use super::{
    FIRST_FRAGMENT_SSH, FRAGMENT, Table, address6, after6, anomaly, base6, fragment6, joined,
    patched, syn,
};
use firewall_common::reason::Reason;

pub(super) fn headers(table: &mut Table) {
    table.seen_through("E19", "hop-by-hop and destination options", |port| {
        after6(0, &joined(&[&extension(60), &extension(6), &syn(port)]))
    });
    for left in [0, 1] {
        for port in [22, 80] {
            let frame = after6(43, &joined(&[&routing(6, 0, left), &syn(port)]));
            let what = format!("routing header type 0, {left} left");
            table.add("E20", what, frame, anomaly(Reason::SOURCE_ROUTE));
        }
    }
    for (kind, left) in [(2, 1), (4, 0)] {
        table.seen_through("E20", &format!("routing header type {kind}"), |port| {
            after6(43, &joined(&[&routing(6, kind, left), &syn(port)]))
        });
    }
    table.seen_through("E21", "authentication header of 24 bytes", |port| {
        let mut header = vec![6, 4];
        header.resize(24, 0);
        after6(51, &joined(&[&header, &syn(port)]))
    });
    table.seen_through("E22", "chain of four", |port| {
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
    for count in [7, 8] {
        table.seen_through("E22", &format!("{count} headers"), |port| {
            chain(count, port)
        });
    }
    for (count, port) in [(9, 22), (9, 80), (40, 80)] {
        let what = format!("{count} headers");
        table.add("E22", what, chain(count, port), anomaly(Reason::EXT_CHAIN));
    }
    table.seen_through("E22", "a header of 168 bytes", |port| {
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
            anomaly(Reason::EXT_ORDER),
        );
        let none = patched(base6(port), 18, &[0, 0]);
        table.add("E29", "payload length 0", none, anomaly(Reason::JUMBOGRAM));
        let past = patched(base6(port), 18, &u16::to_be_bytes(1400));
        table.add(
            "E29",
            "payload length past the frame",
            past,
            anomaly(Reason::TRUNCATED),
        );
        let jumbo = [6, 0, 0xc2, 4, 0, 0, 0, 48];
        let frame = after6(0, &joined(&[&jumbo, &syn(port)]));
        let frame = patched(frame, 18, &[0, 0]);
        table.add(
            "E29",
            "jumbo payload option",
            frame,
            anomaly(Reason::JUMBOGRAM),
        );
    }
}

pub(super) fn fragments(table: &mut Table) {
    for (id, reserved) in [("E24", 0), ("E25", 4), ("E25", 255)] {
        let what = format!("atomic fragment, reserved {reserved}");
        table.seen_through(id, &what, |port| {
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
            anomaly(Reason::FRAG_TINY),
        );
        // RFC 7112: 16 bytes of options announced, 8 there.
        let cut = joined(&[&fragment6(60, 0, 0, true), &[6, 1, 1, 12, 0, 0, 0, 0]]);
        table.add(
            "E26",
            "first fragment cut in its options",
            after6(44, &cut),
            anomaly(Reason::FRAG_TINY),
        );
        let options_only = joined(&[&fragment6(60, 0, 0, true), &extension(6)]);
        table.add(
            "E26",
            "first fragment without transport",
            after6(44, &options_only),
            anomaly(Reason::FRAG_TINY),
        );
        let overlap = joined(&[&fragment6(6, 0, 8, false), &syn(port)[..24]]);
        table.add(
            "E27",
            "offset 8 rewrites the header",
            after6(44, &overlap),
            anomaly(Reason::FRAG_OVERLAP),
        );
        let later = joined(&[&fragment6(6, 0, 1440, false), &syn(port)]);
        table.add(
            "E27",
            "later fragment that looks like TCP",
            after6(44, &later),
            FRAGMENT,
        );
        let later = joined(&[&fragment6(60, 0, 1440, false), &extension(6), &syn(port)]);
        table.add(
            "E27",
            "later fragment that looks like options",
            after6(44, &later),
            FRAGMENT,
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
                anomaly(Reason::EXT_ORDER),
            );
        }
    }
    let first = joined(&[&fragment6(60, 0, 0, true), &extension(6), &syn(22)]);
    table.add(
        "E27",
        "first fragment with options",
        after6(44, &first),
        FIRST_FRAGMENT_SSH,
    );
}

/// An extension header of 8 bytes: a PadN option.
const fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

/// A routing header of 24 bytes.
fn routing(next: u8, kind: u8, left: u8) -> Vec<u8> {
    let mut header = vec![next, 2, kind, left, 0, 0, 0, 0];
    header.extend(address6(7));
    header
}
