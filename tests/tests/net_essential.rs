//! The essential group with real kernels on both ends: queries of a real querier come in, also under
//! `ip_options: drop`; what a stranger forges sets no path MTU.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, Ipv4, Sum, seal};
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::patience;
use firewall_tests::snapshot::{reason, rule};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A host that the forged errors are about, behind the sender.
const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 7);

fn load(ctl: &Ctl<'_>, text: &str) {
    let file = ctl.policy(text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn queries_of_a_real_router_come_in() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(
        &ctl,
        "version: 1\ninterfaces: [{match: wan0, mode: generic}]\n\
         default: {in: drop, essential: {multicast: false, igmp: false}}\npacket: {ip_options: drop}\nrules:\n  \
         - {name: igmp, proto: 2, action: pass}\n  \
         - {name: mld, proto: icmpv6, icmp: {type: mld-query}, action: pass}\n",
    );
    // The kernel's own querier, as a switch has one.
    pair.outside
        .ip(
            "link add br0 type bridge mcast_querier 1 mcast_query_interval 100 \
             mcast_startup_query_interval 100",
        )
        .unwrap();
    pair.outside
        .ip(&format!("link set {INTERFACE} master br0"))
        .unwrap();
    // It asks by IPv6 once it has an address there.
    pair.outside
        .ip("addr add fe80::5/64 dev br0 nodad")
        .unwrap();
    pair.outside.ip("link set br0 up").unwrap();
    let deadline = Instant::now() + patience(Duration::from_secs(30));
    let queries = |name: &str| rule(&ctl.snapshot().unwrap(), name).0;
    while queries("igmp") == 0 || queries("mld") == 0 {
        assert!(
            Instant::now() < deadline,
            "{} {}",
            queries("igmp"),
            queries("mld")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let dropped = reason(&ctl.snapshot().unwrap(), "ip-options", "drop").0;
    assert_eq!(dropped, 0);

    // And so they do without a rule, as essential ones.
    load(
        &ctl,
        "version: 1\ninterfaces: [{match: wan0, mode: generic}]\ndefault: {in: drop}\n\
         packet: {ip_options: drop}\nrules: []\n",
    );
    let heard = |group: &str| reason(&ctl.snapshot().unwrap(), group, "pass").0;
    let groups = ["multicast-listener", "igmp"];
    let before = groups.map(heard);
    // The querier asks by both, every second.
    let deadline = Instant::now() + patience(Duration::from_secs(30));
    while groups
        .map(heard)
        .iter()
        .zip(before)
        .any(|(now, before)| *now == before)
    {
        assert!(Instant::now() < deadline, "{:?} queries", groups.map(heard));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Packets too big, for the path to the far host: about an answer that the host is said to have sent,
/// also one that is hidden behind a fragment header.
fn forged() -> Vec<Vec<u8>> {
    let enclose = |ethertype, packet: Vec<u8>| {
        let mut frame = frames::ethernet(ethertype, &packet);
        frame[..12].copy_from_slice(&Pair::macs());
        frame
    };
    let reply = [0, 0, 0xff, 0xff, 0, 0, 0, 0];
    let about = Ipv4::new(INSIDE_V4.octets(), FAR_V4.octets(), 1).packet(&reply);
    let mut error = [
        &[
            3,
            4,
            0,
            0,
            0,
            0,
            600u16.to_be_bytes()[0],
            600u16.to_be_bytes()[1],
        ][..],
        &about,
    ]
    .concat();
    let header = Ipv4::new(OUTSIDE_V4.octets(), INSIDE_V4.octets(), 1);
    seal(&mut error, 1, &header.src, &header.dst, Sum::Right);
    let v4 = enclose(0x0800, header.packet(&error));
    let reply = [129, 0, 0, 0, 0, 0, 0, 0];
    let hidden = [&[58, 0, 0, 1, 0, 0, 0, 1][..], &reply].concat();
    let v6 = [(58, reply.to_vec()), (44, hidden)].map(|(next, inner)| {
        let about = frames::ipv6(INSIDE_V6.octets(), FAR_V6.octets(), next, 64, &inner);
        let mut error = [&[2, 0, 0, 0, 0, 0, 5, 0x14][..], &about].concat();
        let (from, to) = (OUTSIDE_V6.octets(), INSIDE_V6.octets());
        seal(&mut error, 58, &from, &to, Sum::Right);
        enclose(0x86dd, frames::ipv6(from, to, 58, 64, &error))
    });
    std::iter::once(v4).chain(v6).collect()
}

/// Whether the host has a path MTU to the far host of its own.
fn has_path_mtu(pair: &Pair, to: &str) -> bool {
    let mut ip = pair.inside.command("ip");
    let output = ip.args(["route", "get", to]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(INTERFACE), "{text}");
    text.contains(" mtu ")
}

#[test]
#[ignore = "needs root"]
fn an_error_about_an_answer_sets_no_path_mtu() {
    for filtered in [true, false] {
        for (number, frame) in forged().into_iter().enumerate() {
            let pair = Pair::new().unwrap();
            pair.inside
                .ip(&format!("route add 198.51.100.0/24 via {OUTSIDE_V4}"))
                .unwrap();
            pair.inside
                .ip(&format!("-6 route add 2001:db8:f::/64 via {OUTSIDE_V6}"))
                .unwrap();
            let ctl = Ctl::new(&pair.inside).unwrap();
            if filtered {
                load(
                    &ctl,
                    "version: 1\ninterfaces: [{match: wan0, mode: generic}]\ndefault: {in: drop}\nrules: []\n",
                );
            }
            // The cable is plugged in.
            std::thread::sleep(Duration::from_millis(700));
            pair.send(&[frame]).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            let to = if number == 0 {
                FAR_V4.to_string()
            } else {
                FAR_V6.to_string()
            };
            // Without the filter the kernel believes it: this is what a stranger must not do.
            assert_eq!(
                has_path_mtu(&pair, &to),
                !filtered,
                "frame {number}, filtered: {filtered}"
            );
        }
    }
}
