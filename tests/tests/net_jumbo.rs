//! Jumbo frames on a real interface: the driver takes the program, packets of 9,000 bytes pass or
//! drop by the policy, and every byte of them is counted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use std::net::UdpSocket;
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, mode: native}]
default: {in: drop}
rules:
  - {name: log, proto: udp, port: 514, length: 8000-9000, action: pass}
";

/// Bytes of data in a UDP packet that fills an MTU of 9,000.
const DATA: usize = 9000 - 20 - 8;

fn set_mtu(pair: &Pair, mtu: u32) {
    for host in [&pair.inside, &pair.outside] {
        host.ip(&format!("link set {INTERFACE} mtu {mtu}")).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn jumbo_frames_meet_the_policy_in_the_driver() {
    let pair = Pair::new().unwrap();
    set_mtu(&pair, 9000);
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();

    let received = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, 514)).unwrap());
    received
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        for (port, packets) in [(514, 5), (9, 7)] {
            for _ in 0..packets {
                socket.send_to(&[7; DATA], (INSIDE_V4, port)).unwrap();
            }
        }
    });
    let mut data = vec![0; 2 * DATA];
    for _ in 0..5 {
        let length = received.recv(&mut data).unwrap();
        assert_eq!(data[..length], [7; DATA]);
    }
    let snapshot = ctl.snapshot().unwrap();
    let total = |port: u64, verdict: &str| {
        let ports = snapshot["ports"].as_array().unwrap();
        let view = ports.iter().find(|view| view["port"] == port).unwrap();
        let total = &view[verdict]["total"];
        (total["packets"].as_u64(), total["bytes"].as_u64())
    };
    assert_eq!(total(514, "pass"), (Some(5), Some(5 * 9014)));
    assert_eq!(total(9, "drop"), (Some(7), Some(7 * 9014)));

    // The same policy, and an ordinary MTU: another load of the program, once.
    let changed = || {
        let applied = ctl.json(&["load", "-f", policy.to_str().unwrap()]).unwrap();
        applied["changed"].as_bool().unwrap()
    };
    assert!(!changed());
    set_mtu(&pair, 1500);
    assert!(changed());
    assert!(!changed());
    ctl.ok(&["unload", "--all"]).unwrap();
}
