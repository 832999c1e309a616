//! Policies that are replaced under traffic: every packet is judged by one whole policy, none
//! passes between two of them, and none is lost to the change or counted twice.
//!
//! `FIREWALL_CASES=N` says how many changes there are (default 20).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::number;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Both policies pass it.
const ALWAYS: u16 = 1000;
/// One policy passes the one, the other the other.
const BY_TURNS: [u16; 2] = [1001, 1002];
/// No policy passes it.
const NEVER: u16 = 1003;
const PORTS: [u16; 4] = [ALWAYS, BY_TURNS[0], BY_TURNS[1], NEVER];

/// The policy that passes `BY_TURNS[turn]`. The rules stand in another order by turns, so that one
/// policy's tables with the other's constants or counters would be seen.
fn policy(turn: usize) -> String {
    let always = format!("  - {{name: always, proto: udp, port: {ALWAYS}, action: pass}}\n");
    let other = format!(
        "  - {{name: turn-{turn}, proto: udp, port: {}, action: pass}}\n",
        BY_TURNS[turn]
    );
    let rules = match turn {
        0 => always + &other,
        _ => format!("{other}  - {{name: tcp, proto: tcp, port: 9, action: pass}}\n{always}"),
    };
    format!(
        "version: 1\ninterfaces: [{{match: {INTERFACE}}}]\ndefault: {{in: drop}}\nrules:\n{rules}"
    )
}

/// Packets that passed and that were dropped on a port.
fn counted(ctl: &Ctl<'_>, port: u16) -> (u64, u64) {
    let snapshot = ctl.snapshot().unwrap();
    let ports = snapshot["ports"].as_array().unwrap();
    let view = ports.iter().find(|view| view["port"] == port).unwrap();
    let of = |verdict: &str| view[verdict]["total"]["packets"].as_u64().unwrap();
    (of("pass"), of("drop"))
}

/// Hits of the rule that both policies have, as last sampled.
fn hits(ctl: &Ctl<'_>) -> u64 {
    let snapshot = ctl.json(&["top", "--once"]).unwrap();
    let rules = snapshot["rules"].as_array().unwrap();
    let view = rules.iter().find(|view| view["name"] == "always").unwrap();
    view["hits"]["total"]["packets"].as_u64().unwrap()
}

/// Sends to all ports in turn until `stop`, slowly enough that the cable loses nothing; how many
/// went to each port.
fn send(pair: &Pair, stop: &AtomicBool) -> u64 {
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 0)).unwrap();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) && sent < 4_000_000 {
            for _ in 0..16 {
                for port in PORTS {
                    socket.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
                }
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        sent
    })
}

#[test]
#[ignore = "needs root"]
fn every_packet_meets_one_whole_policy() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let files: Vec<String> = [0, 1]
        .map(|turn| {
            let file = ctl.folder().join(format!("turn-{turn}.yaml"));
            std::fs::write(&file, policy(turn)).unwrap();
            file.into_os_string().into_string().unwrap()
        })
        .into();
    ctl.start(files[0].as_ref()).unwrap();
    // A listener, so that what the counters say is not all there is to go by.
    let victim = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, NEVER)).unwrap());
    victim.set_nonblocking(true).unwrap();

    let changes = number("FIREWALL_CASES", 20).unwrap() as usize;
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&pair, &stop));
        let mut before = 0;
        for change in 1..=changes {
            let applied = ctl.ok(&["apply", "-f", &files[change % 2]]).unwrap();
            assert!(applied.contains("active"), "change {change}: {applied}");
            let now = hits(&ctl);
            assert!(now >= before, "change {change}: {before}, then {now}");
            before = now;
        }
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });

    let none = victim.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(counted(&ctl, ALWAYS), (sent, 0), "always");
    assert_eq!(counted(&ctl, NEVER), (0, sent), "never");
    assert_eq!(hits(&ctl), sent, "hits of a rule that both policies have");
    let turns = BY_TURNS.map(|port| counted(&ctl, port));
    for (pass, drop) in turns {
        assert_eq!(pass + drop, sent, "{turns:?}");
        assert!(pass > 0 && drop > 0, "{turns:?}");
    }
    // The two are sent one after the other, so they may differ only where a change fell between.
    let [(first, _), (second, _)] = turns;
    let both = (first + second).abs_diff(sent);
    assert!(both <= changes as u64, "{turns:?} of {sent}");
    println!("{changes} changes, {sent} packets to each port, {both} not one of the two");
}
