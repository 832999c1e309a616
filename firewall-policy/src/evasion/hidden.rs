//! E41: fragment headers behind other headers. A host that puts fragments together before it looks at
//! headers (Linux with connection tracking) then takes what follows for what the first of those headers
//! says, and not the fragment header. So bytes that are UDP to port 53 arrive as UDP to port 161.

use super::frames::{Frame, Ipv4, ethernet, ipv6, udp};
use super::ipv6::{extension, routing};
use super::{DST4, Meaning, SRC4, Table, address6, after6, fragment6, joined, syn};
use firewall_common::reason::Reason;

const HIDDEN: Meaning = Meaning::anomaly(Reason::FRAG_HIDDEN);

/// What stands in front of the fragment header: what it is, the first header's number, how many
/// headers, and their bytes.
type Cover = (String, u8, u32, Vec<u8>);

fn covers() -> Vec<Cover> {
    let authentication = {
        let mut header = vec![44, 4];
        header.resize(24, 0);
        header
    };
    let options = extension(44);
    let mut covers = vec![
        ("destination options".to_owned(), 60, 1, options.to_vec()),
        (
            "destination options twice".to_owned(),
            60,
            2,
            joined(&[&extension(60), &options]),
        ),
        (
            "hop-by-hop and destination options".to_owned(),
            0,
            2,
            joined(&[&extension(60), &options]),
        ),
        (
            "hop-by-hop options and a routing header".to_owned(),
            0,
            2,
            joined(&[&extension(43), &routing(44, 4, 0)]),
        ),
        (
            "an authentication header".to_owned(),
            51,
            1,
            authentication.clone(),
        ),
        (
            "hop-by-hop options and an authentication header".to_owned(),
            0,
            2,
            joined(&[&extension(51), &authentication]),
        ),
        (
            "an atomic fragment".to_owned(),
            44,
            1,
            fragment6(44, 0, 0, false),
        ),
        (
            "a first fragment".to_owned(),
            44,
            1,
            fragment6(44, 0, 0, true),
        ),
    ];
    for kind in [2, 3, 4, 253] {
        let what = format!("a routing header of type {kind}");
        covers.push((what, 43, 1, routing(44, kind, 0)));
    }
    covers
}

pub(super) fn fragments(table: &mut Table) {
    let pieces = [
        ("an atomic fragment", 0, false),
        ("a first fragment", 0, true),
        ("a later fragment", 1440, true),
        ("a last fragment", 1440, false),
    ];
    for (cover, first, count, headers) in covers() {
        for (piece, offset, more) in pieces {
            for port in [22, 80] {
                let packet = [
                    &headers[..],
                    &fragment6(6, 0, offset, more),
                    // A multiple of 8, as every fragment but the last has to have.
                    &syn(port),
                ];
                let frame = after6(first, &joined(&packet));
                let meaning = HIDDEN.extensions(count + 1);
                table.add("E41", format!("{piece} behind {cover}"), frame, meaning);
            }
        }
    }
    // What is in order: one hop-by-hop header.
    table.seen_through(
        "E41",
        "an atomic fragment behind hop-by-hop options",
        Meaning::v6(6).extensions(2),
        |port| {
            let packet: [&[u8]; 3] = [&extension(44), &fragment6(6, 0, 0, false), &syn(port)];
            after6(0, &joined(&packet))
        },
    );
    table.add(
        "E41",
        "UDP to port 53 that a host with connection tracking takes for UDP to port 161",
        ethernet(0x86dd, &two_ports()),
        HIDDEN.extensions(2),
    );
}

/// The same in every kind of tunnel.
pub(super) fn tunnels(table: &mut Table) {
    let inner = two_ports();
    let frame = ethernet(0x86dd, &inner);
    let in4 =
        |proto, payload: &[u8]| ethernet(0x0800, &Ipv4::new(SRC4, DST4, proto).packet(payload));
    let in6 = |proto, payload: &[u8]| after6(proto, payload);
    let gre = joined(&[&[0, 0, 0x86, 0xdd], &inner]);
    let gre_of_ethernet = joined(&[&[0, 0, 0x65, 0x58], &frame]);
    let vxlan = udp(40_000, 4789, &joined(&[&[8, 0, 0, 0, 0, 0, 1, 0], &frame]));
    let to_vxlan = |meaning: Meaning| meaning.ports(40_000, 4789);
    let rows: [(&str, Frame, Meaning); 8] = [
        ("IPv6 in IPv4", in4(41, &inner), Meaning::v4(41)),
        ("IPv6 in IPv6", in6(41, &inner), Meaning::v6(41)),
        ("GRE", in4(47, &gre), Meaning::v4(47)),
        ("GRE over IPv6", in6(47, &gre), Meaning::v6(47)),
        (
            "GRE of Ethernet",
            in4(47, &gre_of_ethernet),
            Meaning::v4(47),
        ),
        (
            "GRE of Ethernet over IPv6",
            in6(47, &gre_of_ethernet),
            Meaning::v6(47),
        ),
        ("VXLAN", in4(17, &vxlan), to_vxlan(Meaning::v4(17))),
        (
            "VXLAN over IPv6",
            in6(17, &vxlan),
            to_vxlan(Meaning::v6(17)),
        ),
    ];
    for (tunnel, frame, meaning) in rows {
        let what = format!("a hidden fragment header in {tunnel}");
        let meaning = meaning.carrying_anomaly(Reason::FRAG_HIDDEN, 2);
        table.add("E41", what, frame, meaning);
    }
}

/// An atomic fragment behind destination options. By the fragment header it holds UDP to port 53; by
/// the header in front of that, a second header of destination options, and UDP to port 161.
fn two_ports() -> Vec<u8> {
    let mut source = address6(1);
    (source[4], source[5]) = (0, 10);
    let by_fragment_header = [0x11, 1, 0, 0x35, 0, 0x21, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let by_options = [0x9c, 0x40, 0, 0xa1, 0, 0x11, 0xc0, 0xf8];
    let payload = joined(&[
        &extension(44),
        &fragment6(17, 0, 0, false),
        &by_fragment_header,
        &by_options,
        b"HELLO-161",
    ]);
    ipv6(source, address6(0x80), 60, 64, &payload)
}

#[cfg(test)]
mod tests {
    /// As it was seen on a machine.
    const SEEN: &str = "6000000000313c4020010db8000a0000000000000000000120010db800000000000000000000\
                        00802c000104000000001100000000001234110100350021080000000000000000009c4000a1\
                        0011c0f848454c4c4f2d313631";

    #[test]
    fn the_packet_of_two_ports_is_the_one_that_was_seen() {
        let text: String = super::two_ports()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(text, SEEN);
    }
}
