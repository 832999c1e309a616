//! A candidate program that is loaded and run without being attached.

use crate::common::{Root, in_namespace, policy, request, veth};
use firewall_common::abi::{Counter, InterfaceEntry};
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::program::Loaded;
use rustix::net::netdevice::name_to_index;
use std::net::UdpSocket;

/// An Ethernet frame with a UDP packet over IPv4 to `port`, 52 bytes long.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0];
    let mut header = [
        0x45, 0, 0, 38, 0, 1, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9,
    ];
    let sum = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend(40_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 18, 0, 0]);
    frame.extend([0; 10]);
    frame
}

fn compile(text: &str) -> firewall_policy::tables::Tables {
    let root = Root::new();
    root.engine().compile(&request(text)).unwrap().tables
}

#[test]
#[ignore = "needs root"]
fn verdicts_and_counters_of_a_candidate() {
    in_namespace(|| {
        veth("fwt-a", "fwt-b", 2);
        let web = "name: web, proto: udp, port: 443, action: pass";
        let tables = compile(&policy(&[], "drop", &[web]));
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        let index = name_to_index(&socket, "fwt-b").unwrap();
        let listed = InterfaceEntry {
            ifindex: index,
            slot: 5,
            zone: 0,
        };
        let loaded = Loaded::load(&tables, 1, &[listed]).unwrap();
        assert!(loaded.verified_instructions().unwrap() > 0);
        assert_eq!(
            loaded.run(&frame(443), 1, Some(index)).unwrap().verdict,
            Verdict::PASS
        );
        let run = loaded.run(&frame(444), 1000, Some(index)).unwrap();
        assert_eq!(run.verdict, Verdict::DROP);
        assert!(run.duration.as_nanos() > 0 && run.duration.as_micros() < 100);
        loaded.run(&frame(443), 3, None).unwrap();

        let times = |packets: u64| Counter {
            packets,
            bytes: packets * 52,
        };
        let counters = loaded.counters();
        assert_eq!(counters.rules[0], times(4));
        assert_eq!(
            counters.ports[443],
            [times(0), times(0), times(4), times(0)]
        );
        assert_eq!(
            counters.ports[444],
            [times(0), times(0), times(0), times(1000)]
        );
        let reason = |slot: usize, reason: Reason| {
            counters.reasons[slot * Reason::CAPACITY + usize::from(reason.0)]
        };
        assert_eq!(reason(5, Reason::RULE), [times(1), times(0)]);
        assert_eq!(reason(5, Reason::NO_MATCH), [times(0), times(1000)]);
        assert_eq!(reason(0, Reason::RULE), [times(3), times(0)]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_candidate_leaves_nothing_behind_and_touches_nothing_else() {
    in_namespace(|| {
        let tables = compile(&policy(&[], "pass", &[]));
        let first = Loaded::load(&tables, 0, &[]).unwrap();
        let second = Loaded::load(&tables, 0, &[]).unwrap();
        first.run(&frame(80), 5, None).unwrap();
        assert_eq!(first.counters().ports[80][2].packets, 5);
        assert_eq!(second.counters().ports[80][2].packets, 0);
        let too_short = second.run(&[0; 5], 1, None).unwrap_err();
        assert!(
            too_short.to_string().starts_with("test run with 5 bytes: "),
            "{too_short}"
        );
    });
}
