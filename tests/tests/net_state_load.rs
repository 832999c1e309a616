//! Connections that are open while the filter comes, and ones that come back after a crash: the
//! kernel knows them, so the filter does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair,
};
use firewall_tests::patience;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::talk;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PORT: u16 = 80;

/// Connections of each kind.
const EACH: usize = 13;

/// What nobody has asked for is refused: a connection that the filter does not know is reset.
const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: rest, proto: tcp, action: reject}
";

/// Connections as they are found when a filter comes.
struct Open {
    what: &'static str,
    /// Who opened it.
    client: TcpStream,
    /// Who accepted it.
    server: TcpStream,
}

/// Connections of every kind from `host`.
fn open(host: &Namespace, to: (IpAddr, u16), server: &Namespace, port: u16) -> Vec<Open> {
    let listener = talk::listener(server, port).unwrap();
    let mut all = Vec::new();
    for what in [
        "idle, the server speaks first",
        "idle, the client speaks first",
        "half closed by the client",
        "half closed by the server",
    ] {
        for _ in 0..EACH {
            let (mut client, mut server) = talk::ends(host, to, &listener).unwrap();
            talk::tells(&mut client, &mut server, b"hello").unwrap();
            talk::tells(&mut server, &mut client, b"hello").unwrap();
            let (closer, other) = match what {
                "half closed by the client" => (&client, &mut server),
                "half closed by the server" => (&server, &mut client),
                _ => {
                    all.push(Open {
                        what,
                        client,
                        server,
                    });
                    continue;
                }
            };
            closer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(other.read(&mut [0]).unwrap(), 0);
            all.push(Open {
                what,
                client,
                server,
            });
        }
    }
    all
}

/// Who has not closed speaks, and is heard.
fn lost(open: Vec<Open>) -> Vec<String> {
    let mut lost: Vec<String> = Vec::new();
    for Open {
        what,
        mut client,
        mut server,
    } in open
    {
        // Of those that are gone nobody waits for the one after the other.
        if lost.iter().any(|it| it.starts_with(what)) {
            continue;
        }
        for end in [&client, &server] {
            end.set_read_timeout(Some(patience(Duration::from_secs(2))))
                .unwrap();
        }
        let mut said = match what {
            "idle, the server speaks first" => talk::tells(&mut server, &mut client, b"first")
                .and_then(|()| talk::tells(&mut client, &mut server, b"second")),
            "idle, the client speaks first" => talk::tells(&mut client, &mut server, b"first")
                .and_then(|()| talk::tells(&mut server, &mut client, b"second")),
            "half closed by the client" => talk::tells(&mut server, &mut client, b"more"),
            _ => talk::tells(&mut client, &mut server, b"more"),
        };
        // The last end comes through as well.
        if said.is_ok() && what.starts_with("half closed by the client") {
            drop(server);
            said = client.read(&mut [0; 8]).map(drop);
        }
        if let Err(error) = said {
            lost.push(format!("{what}: {error}"));
        }
    }
    lost
}

/// A connection over which the server sends all the time, until `stop`; whether all has arrived.
fn pushes(mut client: TcpStream, mut server: TcpStream, stop: &AtomicBool) -> bool {
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut sent = 0u64;
            while !stop.load(Ordering::Relaxed) {
                match server.write(&[7; 4096]) {
                    Ok(length) => sent += length as u64,
                    Err(_) => return None,
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            server.shutdown(Shutdown::Write).ok().map(|()| sent)
        });
        let (mut heard, mut bytes) = (0, [0; 1 << 14]);
        loop {
            match client.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => heard += length as u64,
                Err(_) => return false,
            }
        }
        writer.join().unwrap() == Some(heard)
    })
}

/// Loads over open connections from `client` to `server` on the host of `ctl`.
fn load_over(
    ctl: &Ctl<'_>,
    interfaces: &[&str],
    client: &Namespace,
    server: &Namespace,
    to: (IpAddr, u16),
    port: u16,
) {
    let kinds = open(client, to, server, port);
    let listener = talk::listener(server, port).unwrap();
    let pushing: Vec<_> = (0..EACH)
        .map(|_| talk::ends(client, to, &listener).unwrap())
        .collect();
    let file = ctl.policy(POLICY).unwrap();
    let mut words = vec!["load", "-f", file.to_str().unwrap()];
    for interface in interfaces {
        words.extend(["-i", interface]);
    }
    let stop = AtomicBool::new(false);
    let (lost, broken) = std::thread::scope(|scope| {
        let pushing: Vec<_> = pushing
            .into_iter()
            .map(|(client, server)| scope.spawn(|| pushes(client, server, &stop)))
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        ctl.ok(&words).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let lost = lost(kinds);
        stop.store(true, Ordering::Relaxed);
        let broken = pushing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|whole| !whole)
            .count();
        (lost, broken)
    });
    assert!(
        lost.is_empty() && broken == 0,
        "{to:?}: {lost:#?}, {broken} of {EACH} that push"
    );
    ctl.ok(&["unload", "--all"]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn loading_cuts_no_connection_of_a_host() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let both = [
        (IpAddr::from(INSIDE_V4), IpAddr::from(OUTSIDE_V4)),
        (INSIDE_V6.into(), OUTSIDE_V6.into()),
    ];
    for (inside, outside) in both {
        let here = &pair.inside;
        load_over(
            &ctl,
            &[INTERFACE],
            here,
            &pair.outside,
            (outside, PORT),
            PORT,
        );
        load_over(
            &ctl,
            &[INTERFACE],
            &pair.outside,
            here,
            (inside, PORT),
            PORT,
        );
    }
}

/// A router on which connection tracking looks at what is forwarded, as its rules ask it to.
fn tracked(more: &str) -> Routed {
    let net = Routed::new(1_500).unwrap();
    net.router()
        .nft(&format!(
            "table inet fwt {{ chain forward {{ type filter hook forward priority 0; \
             ct state invalid counter; }}; {more} }}"
        ))
        .unwrap();
    net
}

const BOTH_SIDES: [&str; 2] = [INTERFACE, FAR_INTERFACE];

#[test]
#[ignore = "needs root"]
fn loading_cuts_no_connection_through_a_router() {
    let net = tracked("");
    let ctl = Ctl::new(net.router()).unwrap();
    for (wan, lan) in [
        (IpAddr::from(INSIDE_V4), IpAddr::from(FAR_V4)),
        (INSIDE_V6.into(), FAR_V6.into()),
    ] {
        let inside = &net.pair.inside;
        load_over(&ctl, &BOTH_SIDES, &net.far, inside, (wan, PORT), PORT);
        load_over(&ctl, &BOTH_SIDES, inside, &net.far, (lan, PORT), PORT);
    }
}

#[test]
#[ignore = "needs root"]
fn loading_cuts_no_connection_behind_a_masquerade() {
    let net =
        tracked("chain out { type nat hook postrouting priority 100; oifname wan0 masquerade; };");
    net.pair.inside.ip("route del default").unwrap();
    net.pair.inside.ip("-6 route del default").unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    for wan in [IpAddr::from(INSIDE_V4), INSIDE_V6.into()] {
        let inside = &net.pair.inside;
        load_over(&ctl, &BOTH_SIDES, &net.far, inside, (wan, PORT), PORT);
        load_over(&ctl, &[INTERFACE], &net.far, inside, (wan, PORT), PORT);
    }
}

#[test]
#[ignore = "needs root"]
fn loading_cuts_no_connection_to_another_destination() {
    let net = tracked(&format!(
        "chain in {{ type nat hook prerouting priority -100; \
         iifname wan0 tcp dport 8080 dnat ip to {FAR_V4}:{PORT}; }};"
    ));
    net.far
        .ip(&format!("route add {INSIDE_V4} via 198.51.100.1"))
        .unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    let to = (IpAddr::from(OUTSIDE_V4), 8_080);
    for interfaces in [&BOTH_SIDES[..], &[INTERFACE]] {
        load_over(&ctl, interfaces, &net.pair.inside, &net.far, to, PORT);
    }
}

/// A client whose host crashes without a word connects again from the same port, to a server that
/// has heard of nothing.
fn reconnects(client: &Namespace, server: &Namespace, to: SocketAddr) {
    talk::listen(server, PORT).unwrap();
    let mut before = talk::from_port(client, 5_000, to).unwrap();
    talk::says(&mut before).unwrap();
    client
        .nft(
            "table inet crash { chain out { type filter hook output priority 0; \
             tcp flags & (fin | rst) != 0 drop; }; }",
        )
        .unwrap();
    drop(before);
    client.nft("delete table inet crash").unwrap();
    let mut again = talk::from_port(client, 5_000, to).unwrap();
    talk::says(&mut again).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_client_comes_back_from_the_same_port_after_a_crash() {
    for to in [IpAddr::from(OUTSIDE_V4), OUTSIDE_V6.into()] {
        let pair = Pair::new().unwrap();
        let ctl = Ctl::new(&pair.inside).unwrap();
        let policy = POLICY.replace("reject", "drop");
        let file = ctl.policy(&policy).unwrap();
        ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
            .unwrap();
        reconnects(&pair.inside, &pair.outside, (to, PORT).into());
    }
}

#[test]
#[ignore = "needs root"]
fn a_server_lets_a_client_come_back_from_the_same_port_after_a_crash() {
    for opens in ["flags: {set: [syn], clear: [ack]}", "state: new"] {
        for to in [IpAddr::from(INSIDE_V4), INSIDE_V6.into()] {
            let pair = Pair::new().unwrap();
            let ctl = Ctl::new(&pair.inside).unwrap();
            let policy = format!(
                "version: 1\ndefault: {{in: drop}}\nrules:\n  - {{name: replies, state: \
                 established, action: pass}}\n  - {{name: opens, proto: tcp, port: {PORT}, \
                 {opens}, action: pass}}\n"
            );
            let file = ctl.policy(&policy).unwrap();
            ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
                .unwrap();
            reconnects(&pair.outside, &pair.inside, (to, PORT).into());
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_comes_back_through_a_router_after_a_crash() {
    for to in [IpAddr::from(INSIDE_V4), INSIDE_V6.into()] {
        let net = Routed::new(1_500).unwrap();
        let ctl = Ctl::new(net.router()).unwrap();
        let policy = "version: 1\ninterfaces: [{match: wan0, zone: wan}, {match: far0, zone: lan}]\n\
                      default: {in: drop}\nrules:\n  \
                      - {name: replies, state: established, action: pass}\n  \
                      - {name: out, zone: lan, proto: tcp, port: 80, \
                      flags: {set: [syn], clear: [ack]}, action: pass}\n";
        let file = ctl.policy(policy).unwrap();
        let file = file.to_str().unwrap();
        ctl.ok(&["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file])
            .unwrap();
        reconnects(&net.far, &net.pair.inside, (to, PORT).into());
    }
}
