//! What `status` says is what the kernel does: interfaces that move and numbers that are used anew, and
//! processes that may not look at everything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said};
use firewall_tests::netns::{INSIDE_V4, Namespace, OUTSIDE_V4, Pair};
use std::net::UdpSocket;
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
";

/// Puts a command into exactly the three capabilities that the documents ask for.
const THREE: [&str; 6] = [
    "timeout",
    "20",
    "setpriv",
    "--bounding-set=-all,+bpf,+net_admin,+perfmon",
    "--inh-caps=-all,+bpf,+net_admin,+perfmon",
    "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
];

/// What the kernel numbers an interface of a host.
fn index_of(host: &Namespace, name: &str) -> u32 {
    let socket = host.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    rustix::net::netdevice::name_to_index(socket, name).unwrap()
}

/// Whether a datagram to a port that no rule opens arrives.
fn is_open(pair: &Pair) -> bool {
    let victim = pair.inside.run(|| UdpSocket::bind((INSIDE_V4, 9)).unwrap());
    victim
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let sender = pair
        .outside
        .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
    sender.send_to(b"knock", (INSIDE_V4, 9)).unwrap();
    victim.recv(&mut [0; 16]).is_ok()
}

#[test]
#[ignore = "needs root"]
fn an_index_that_is_used_anew_is_no_filter() {
    for with_daemon in [false, true] {
        let pair = Pair::new().unwrap();
        let elsewhere = Namespace::new("else").unwrap();
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        let policy = ctl.policy(POLICY).unwrap();
        let path = policy.to_str().unwrap();
        if with_daemon {
            ctl.start(&policy).unwrap();
        } else {
            ctl.ok(&["load", "-f", path]).unwrap();
        }
        assert!(!is_open(&pair));
        ctl.ok(&["status"]).unwrap();
        let index = index_of(&pair.inside, "wan0");
        // It keeps its index, and another interface gets the same one here.
        let moved = format!("link set wan0 netns {}", elsewhere.name());
        pair.inside.ip(&moved).unwrap();
        for change in ["set wan0 down", "set wan0 name old0"] {
            pair.outside.ip(&format!("link {change}")).unwrap();
        }
        pair.outside.ip("addr flush dev old0").unwrap();
        let peer = pair.outside.name();
        let make = format!("link add wan0 index {index} type veth peer name wan0 netns {peer}");
        pair.inside.ip(&make).unwrap();
        for (host, address) in [(&pair.inside, INSIDE_V4), (&pair.outside, OUTSIDE_V4)] {
            host.ip(&format!("addr add {address}/24 dev wan0")).unwrap();
            host.ip("link set wan0 up").unwrap();
        }
        assert_eq!(index_of(&pair.inside, "wan0"), index);
        std::thread::sleep(Duration::from_millis(1500));
        if with_daemon {
            assert!(!is_open(&pair), "the daemon filters the new interface");
            ctl.ok(&["status"]).unwrap();
            continue;
        }
        assert!(is_open(&pair), "nothing filters the new interface");

        let status = ctl.run(&["status"]).unwrap();
        let screen = said(&status);
        assert_eq!(status.status.code(), Some(1), "{screen}");
        assert!(!screen.contains("enforcement: ACTIVE"), "{screen}");
        assert!(screen.contains("wan0"), "{screen}");
        let doctor = ctl.run(&["doctor", "-i", "wan0"]).unwrap();
        assert!(said(&doctor).contains("not filtered"), "{}", said(&doctor));

        ctl.ok(&["load", "-f", path]).unwrap();
        assert!(!is_open(&pair), "another load puts it right");
        ctl.ok(&["status"]).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_moves_away_is_said_and_left_alone() {
    let pair = Pair::new().unwrap();
    let elsewhere = Namespace::new("else").unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    let moved = format!("link set wan0 netns {}", elsewhere.name());
    pair.inside.ip(&moved).unwrap();
    let status = ctl.run(&["status"]).unwrap();
    let screen = said(&status);
    assert_eq!(status.status.code(), Some(1), "{screen}");
    assert!(!screen.contains("enforcement: ACTIVE"), "{screen}");
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists());
}

#[test]
#[ignore = "needs root"]
fn a_foreign_program_ends_nobody_s_patience_without_sys_admin() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let other = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let path = policy.to_str().unwrap().to_owned();
    // A program that is not this root's: another installation's. Its link holds it.
    other.ok(&["load", "-f", &path]).unwrap();
    let run = |ctl: &Ctl<'_>, arguments: &[&str]| {
        let output = ctl.run_under(&THREE, arguments).unwrap();
        (output.status.code(), said(&output))
    };
    let load = ["load", "-i", "wan0", "-f", &path];
    for more in [&[][..], &["--replace"]] {
        let (code, said) = run(&ctl, &[&load[..], more].concat());
        assert!(matches!(code, Some(4 | 6)), "{code:?} {said}");
        assert!(said.contains("wan0"), "{said}");
    }
    let (code, said) = run(&ctl, &["doctor", "-i", "wan0"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = run(&ctl, &["status"]);
    assert_eq!(code, Some(1), "{said}");
    // Without the stranger the three are enough for everything.
    other.ok(&["unload", "--all"]).unwrap();
    for arguments in [
        &load[..],
        &["status"],
        &["ban", "203.0.113.9"],
        &["bans"],
        &["doctor", "-i", "wan0"],
        &["unload", "--all"],
    ] {
        let (code, said) = run(&ctl, arguments);
        assert_eq!(code, Some(0), "{arguments:?} {said}");
    }
}
