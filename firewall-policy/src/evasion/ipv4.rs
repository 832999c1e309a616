//! Oddities of IPv4: lengths, options, fragments (RFC 791, RFC 1858, RFC 3128).

use super::frames::{Frame, ethernet};
use super::{MORE, Meaning, SYN, Table, base4, base6, header4, patched, syn};
use firewall_common::parse::fragment;
use firewall_common::reason::Reason;

pub(super) fn headers(table: &mut Table) {
    for nops in [4, 40] {
        let what = format!("{nops} bytes of no-operation");
        let options = vec![1; nops];
        table.seen_through("E06", &what, Meaning::v4(6).options(), |port| {
            options4(&options, port)
        });
    }
    for option in [131, 137] {
        let what = format!("source route, option {option}");
        let options = [option, 7, 4, 198, 51, 100, 7, 0];
        table.add(
            "E07",
            what,
            options4(&options, 22),
            Meaning::v4(6).options().syn(22).but(Reason::SOURCE_ROUTE),
        );
        let hidden = [1, 7, 3, 4, option, 3, 4, 0];
        let what = format!("option {option} behind others");
        table.add(
            "E07",
            what,
            options4(&hidden, 80),
            Meaning::v4(6).options().syn(80).but(Reason::SOURCE_ROUTE),
        );
    }
    let short = patched(patched(base4(22), 14, &[0x44]), 32, &[0, 80]);
    table.add(
        "E08",
        "header length 16",
        short,
        Meaning::v4(6)
            .to4([198, 51, 0, 80])
            .only_addresses(Reason::BAD_HEADER_LEN),
    );
    let by_version = Meaning::anomaly(Reason::BAD_VERSION);
    let no_header = Meaning::v4(6).only_addresses(Reason::BAD_HEADER_LEN);
    // The first option is longer than all of them.
    let no_options = Meaning::v4(6).options().broken(Reason::BAD_HEADER_LEN);
    let frames = [
        ("header length 0", base4(80), 0x40, no_header),
        (
            "header length past the options",
            base4(80),
            0x4f,
            no_options,
        ),
        ("version 6 in 0800h", base4(80), 0x65, by_version),
        ("version 4 in 86ddh", base6(80), 0x40, by_version),
    ];
    for (what, frame, first, meaning) in frames {
        table.add("E09", what, patched(frame, 14, &[first]), meaning);
    }
    let mut past = header4().packet(&[]);
    past[0] = 0x4f;
    let past = ethernet(0x0800, &past);
    table.add(
        "E09",
        "header longer than the packet",
        past,
        Meaning::v4(6).only_addresses(Reason::BAD_LENGTH),
    );
    for port in [22, 80] {
        let v4 = Meaning::v4(6);
        let ports = v4.ports(40_000, port);
        let lengths = [
            ("E10", 19, v4.only_addresses(Reason::BAD_LENGTH)),
            ("E10", 1400, v4.only_addresses(Reason::TRUNCATED)),
            ("E11", 20, v4.length(20).broken(Reason::TRUNCATED)),
            ("E11", 39, ports.length(39).broken(Reason::TRUNCATED)),
        ];
        for (id, length, meaning) in lengths {
            let frame = patched(base4(port), 16, &u16::to_be_bytes(length));
            table.add(id, format!("total length {length}"), frame, meaning);
        }
    }
}

pub(super) fn fragments(table: &mut Table) {
    for port in [22, 80] {
        for bytes in [8, 16] {
            let what = format!("first fragment with {bytes} bytes of TCP");
            let id = if bytes == 8 { "E12" } else { "E13" };
            let frame = fragment4(MORE, &syn(port)[..bytes]);
            let meaning = Meaning::v4(6).ports(40_000, port).fragment(fragment::FIRST);
            table.add(id, what, frame, meaning.broken(Reason::FRAG_TINY));
        }
    }
    let first = fragment4(MORE, &syn(22)[..24]);
    table.add(
        "E13",
        "first fragment with the whole header",
        first,
        Meaning::v4(6).syn(22).fragment(fragment::FIRST),
    );
    let like_ports = [0x9c, 0x40, 0, 0x50, 0, 0, 0, 0, 0x50, SYN, 4, 0, 0, 0, 0, 0];
    for field in [1, 1 | MORE] {
        let frame = fragment4(field, &like_ports);
        table.add(
            "E14",
            "offset 8 rewrites the header",
            frame,
            Meaning::v4(6)
                .fragment(fragment::LATER)
                .but(Reason::FRAG_OVERLAP),
        );
    }
    let whole = [&like_ports[..], &[0; 8]].concat();
    table.add(
        "E16",
        "later fragment that looks like port 80",
        fragment4(185, &whole),
        Meaning::v4(6).fragment(fragment::LATER),
    );
    let like_ssh = patched(whole.clone(), 2, &[0, 22]);
    table.add(
        "E16",
        "later fragment that looks like port 22",
        fragment4(185, &like_ssh),
        Meaning::v4(6).fragment(fragment::LATER),
    );
    for field in [8189, 0x1fff] {
        let frame = fragment4(field, &whole);
        table.add(
            "E17",
            "past 65,535 bytes",
            frame,
            Meaning::v4(6)
                .fragment(fragment::LATER)
                .but(Reason::FRAG_OVERSIZE),
        );
    }
}

/// An IPv4 packet with this payload, with these flags and offset.
fn fragment4(field: u16, payload: &[u8]) -> Frame {
    let mut header = header4();
    header.fragment = field;
    ethernet(0x0800, &header.packet(payload))
}

fn options4(options: &[u8], port: u16) -> Frame {
    let mut header = header4();
    header.options = options.to_vec();
    ethernet(0x0800, &header.packet(&syn(port)))
}
