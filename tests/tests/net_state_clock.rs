//! Connections through a router that nobody uses for hours: the table's clock is put forward, with real
//! sockets at both ends. (Those of a host itself have its sockets, which no clock ends.)
//!
//! `FIREWALL_CASES=N` says how many idle ones there are at once (default 2,000).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::flows::{TICK_SHIFT, timeout};
use firewall_engine::engine::Engine;
use firewall_tests::ctl::Ctl;
use firewall_tests::filled::{Filler, Half, MADE_UP, Side};
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace};
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::rule;
use firewall_tests::talk;
use firewall_tests::{number, patience};
use rustix::net::sockopt;
use std::io::{self, Read as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::Duration;

const PORT: u16 = 80;

/// The internet is on wan0. Behind the router everybody may go to port 80, with whatever segment.
fn policy(flows: u64) -> String {
    format!(
        "version: 1
interfaces: [{{match: wan0, zone: wan}}, {{match: far0, zone: lan}}]
default: {{in: drop}}
state: {{flows: {flows}}}
rules:
  - {{name: replies, state: established, action: pass}}
  - {{name: wan-web, zone: wan, proto: tcp, port: {PORT}, state: new, action: pass}}
  - {{name: stopped, zone: wan, proto: tcp, action: drop}}
  - {{name: lan-web, zone: lan, proto: tcp, action: pass}}
"
    )
}

fn load(ctl: &Ctl<'_>, policy: &str) {
    let file = ctl.policy(policy).unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file])
        .unwrap();
}

/// Puts the clock of the table forward.
fn later(ctl: &Ctl<'_>, seconds: u64) {
    let table = Engine::new(ctl.pins()).flows().unwrap().unwrap();
    table.age(((seconds * 1_000_000_000) >> TICK_SHIFT) as i64);
}

/// The end on the internet, and the one behind the router.
type Ends = (TcpStream, TcpStream);

/// Connections of both families that each side has opened.
fn connections(net: &Routed) -> Vec<Ends> {
    let mut all = Vec::new();
    let (wan, lan): (&Namespace, &Namespace) = (&net.pair.inside, &net.far);
    for (on_wan, on_lan) in [
        (IpAddr::from(INSIDE_V4), IpAddr::from(FAR_V4)),
        (INSIDE_V6.into(), FAR_V6.into()),
    ] {
        let listener = talk::listener(lan, PORT).unwrap();
        all.push(talk::ends(wan, (on_lan, PORT), &listener).unwrap());
        let listener = talk::listener(wan, PORT).unwrap();
        let (client, server) = talk::ends(lan, (on_wan, PORT), &listener).unwrap();
        all.push((server, client));
    }
    for (wan, lan) in &mut all {
        talk::tells(wan, lan, b"hello").unwrap();
        talk::tells(lan, wan, b"hello").unwrap();
        for end in [wan, lan] {
            end.set_read_timeout(Some(talk::LONG / 4)).unwrap();
        }
    }
    all
}

fn says(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    talk::tells(&mut from.try_clone()?, &mut to.try_clone()?, b"late")
}

/// An hour less than a flow of both sides lives.
const HOURS: u64 = timeout::TCP - 3_600;

#[test]
#[ignore = "needs root"]
fn idle_and_half_closed_connections_go_on_after_hours() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, &policy(8_192));
    let idle = connections(&net);
    let [closed_outside, closed_behind] = [(); 2].map(|()| connections(&net));
    for (wan, lan) in &closed_outside {
        wan.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&mut &*lan).read(&mut [0]).unwrap(), 0);
    }
    for (wan, lan) in &closed_behind {
        lan.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&mut &*wan).read(&mut [0]).unwrap(), 0);
    }
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..3 {
        later(&ctl, HOURS);
        let mut lost = Vec::new();
        // Who is on the internet speaks first: nothing that leaves makes the flow anew.
        for (wan, lan) in &idle {
            let said = says(wan, lan).and_then(|()| says(lan, wan));
            lost.extend(said.err().map(|error| format!("idle: {error}")));
        }
        for (wan, lan) in &closed_behind {
            let said = says(wan, lan);
            lost.extend(said.err().map(|error| format!("closed behind: {error}")));
        }
        for (wan, lan) in &closed_outside {
            let said = says(lan, wan);
            lost.extend(said.err().map(|error| format!("closed outside: {error}")));
        }
        assert!(lost.is_empty(), "{lost:#?}");
    }
    assert_eq!(rule(&ctl.snapshot().unwrap(), "stopped").0, 0);
}

#[test]
#[ignore = "needs root"]
fn keep_alives_bring_a_forgotten_connection_back() {
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, &policy(8_192));
    let all = connections(&net);
    later(&ctl, timeout::TCP * 2);
    // They have been forgotten, or the test shows nothing.
    let table = Engine::new(ctl.pins()).flows().unwrap().unwrap();
    assert!(table.list().is_empty());
    for (_, lan) in &all {
        sockopt::set_tcp_keepidle(lan, Duration::from_secs(1)).unwrap();
        sockopt::set_tcp_keepintvl(lan, Duration::from_secs(1)).unwrap();
        sockopt::set_socket_keepalive(lan, true).unwrap();
    }
    std::thread::sleep(patience(Duration::from_millis(2_200)));
    for (wan, lan) in all {
        says(&wan, &lan).unwrap();
        says(&lan, &wan).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn many_idle_connections_are_known_after_hours() {
    let count = number("FIREWALL_CASES", 2_000).unwrap();
    let net = Routed::new(1_500).unwrap();
    let own = Side::of(&net.far, net.router(), FAR_INTERFACE).unwrap();
    let other = Side::of(&net.pair.inside, net.router(), INTERFACE).unwrap();
    for (prefix, by) in MADE_UP
        .into_iter()
        .zip([IpAddr::from(INSIDE_V4), INSIDE_V6.into()])
    {
        let words = format!("route add {prefix} via {by}");
        net.router().ip(&words).unwrap();
    }
    let ctl = Ctl::new(net.router()).unwrap();
    // Half of the table, filled to three quarters with two flows for each connection.
    load(&ctl, &policy(count * 16 / 3));
    let local = [FAR_V4.into(), FAR_V6.into()];
    let mut filler = Filler::new(own, other, local, 2).unwrap();
    filler.fills(&ctl, Half::Tcp, 75).unwrap();
    assert!(u64::from(filler.made(Half::Tcp)) >= count);
    later(&ctl, HOURS);
    let (arrived, made) = filler.uses(Half::Tcp, false).unwrap();
    let stopped = rule(&ctl.snapshot().unwrap(), "stopped").0;
    println!("{made} idle connections: {arrived} packets arrived, {stopped} were stopped");
    assert!(arrived * 10 > made * 9, "{arrived} of {made} arrived");
    assert_eq!(stopped, 0, "of {made}");
}
