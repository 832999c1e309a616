//! `state: established` for UDP under load: a resolver's own questions, and players of a game, keep
//! their answers whatever strangers send to an open port.
//!
//! `FIREWALL_SECONDS=N` says how long the resolver and the players are tried (default 2, and 1).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::flows::TICK_SHIFT;
use firewall_engine::engine::Engine;
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair, put};
use firewall_tests::random::Random;
use firewall_tests::segments::datagram;
use firewall_tests::talk;
use firewall_tests::{number, patience};
use rustix::net::sockopt;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DNS: u16 = 53;
const GAME: u16 = 27_015;

const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: dns, proto: udp, port: 53, state: new, action: pass}
  - {name: game, proto: udp, port: 27015, state: new, action: pass}
";

fn load(ctl: &Ctl<'_>) {
    let file = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// A socket that loses nothing while its reader waits for a processor.
fn socket(address: IpAddr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).unwrap();
    socket
}

/// Answers on a port of the inside host, as long as the process lives.
fn serve(pair: &Pair, port: u16) {
    let socket = pair.inside.run(|| socket("::".parse().unwrap(), port));
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
}

/// Where the answers to made-up sources go: nowhere, but by way of the cable.
fn route_strangers(pair: &Pair) {
    pair.inside
        .ip(&format!("route add 198.18.0.0/15 via {OUTSIDE_V4}"))
        .unwrap();
}

/// Questions from so many made-up sources.
fn strangers(random: &mut Random, count: usize, port: u16) -> Vec<Vec<u8>> {
    let to = SocketAddr::new(INSIDE_V4.into(), port);
    (0..count)
        .map(|_| {
            let [a, b, c, d, e, ..] = random.bits().to_be_bytes();
            let from = ([198, 18 | a & 1, b, c], u16::from_be_bytes([d, e]) | 1).into();
            datagram(from, to, b"question", Pair::macs())
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn an_open_service_pushes_out_no_answer_to_an_own_question() {
    const OWN: usize = 500;
    const FORGED: usize = 64_000;
    let pair = Pair::new().unwrap();
    route_strangers(&pair);
    serve(&pair, DNS);
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl);
    let server = pair.outside.run(|| socket("::".parse().unwrap(), 5_300));
    server.set_read_timeout(Some(talk::LONG)).unwrap();
    // Questions from as many ports, as a resolver asks them.
    let mut asked = Vec::new();
    for number in 0..OWN {
        let (from, to): (IpAddr, IpAddr) = if number % 2 == 0 {
            (INSIDE_V4.into(), OUTSIDE_V4.into())
        } else {
            (INSIDE_V6.into(), OUTSIDE_V6.into())
        };
        let own = pair.inside.run(|| UdpSocket::bind((from, 0)).unwrap());
        own.send_to(b"question", (to, 5_300)).unwrap();
        asked.push((own, server.recv_from(&mut [0; 16]).unwrap().1));
    }
    let mut random = Random::new(10);
    for _ in 0..FORGED / 1_000 {
        pair.send(&strangers(&mut random, 1_000, DNS)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    for (_, from) in &asked {
        server.send_to(b"answer", from).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let lost = asked
        .iter()
        .filter(|(own, _)| {
            own.set_nonblocking(true).unwrap();
            own.recv(&mut [0; 16]).is_err()
        })
        .count();
    assert_eq!(lost, 0, "of {OWN} answers under {FORGED} forged questions");
}

/// An unconnected socket, as SIP's are: what rings is told at once, and who takes the call much later.
#[test]
#[ignore = "needs root"]
fn a_late_second_answer_passes() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl);
    for (inside, outside) in [
        (IpAddr::from(INSIDE_V4), IpAddr::from(OUTSIDE_V4)),
        (INSIDE_V6.into(), OUTSIDE_V6.into()),
    ] {
        let phone = pair.inside.run(|| socket(inside, 5_060));
        let proxy = pair.outside.run(|| socket(outside, 5_060));
        for socket in [&phone, &proxy] {
            socket.set_read_timeout(Some(talk::LONG)).unwrap();
        }
        phone.send_to(b"INVITE", (outside, 5_060)).unwrap();
        let (_, from) = proxy.recv_from(&mut [0; 16]).unwrap();
        for answer in [b"100", b"180", b"200"] {
            proxy.send_to(answer, from).unwrap();
            let mut said = [0; 16];
            let length = phone.recv(&mut said).unwrap();
            assert_eq!(&said[..length], answer);
            // As long as the first answer may take.
            let table = Engine::new(ctl.pins()).flows().unwrap().unwrap();
            table.age(((25 * 1_000_000_000_u64) >> TICK_SHIFT) as i64);
        }
        // What asks nothing for longer than that is forgotten.
        let table = Engine::new(ctl.pins()).flows().unwrap().unwrap();
        table.age(((10 * 1_000_000_000_u64) >> TICK_SHIFT) as i64);
        phone
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        proxy.send_to(b"BYE", from).unwrap();
        assert!(phone.recv(&mut [0; 16]).is_err());
    }
}

#[test]
#[ignore = "needs root"]
fn a_resolver_loses_no_answer() {
    /// Questions a second.
    const RATE: u64 = 2_000;
    /// How long an answer takes.
    const FAR_AWAY: Duration = Duration::from_millis(80);
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl);
    let server = pair.outside.run(|| socket("::".parse().unwrap(), DNS));
    std::thread::spawn(move || {
        // The other side of the world: meanwhile this host asks for more.
        let mut late: VecDeque<(Instant, SocketAddr)> = VecDeque::new();
        server
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        loop {
            if let Ok((_, from)) = server.recv_from(&mut [0; 64]) {
                late.push_back((Instant::now() + FAR_AWAY, from));
            }
            while late.front().is_some_and(|it| it.0 <= Instant::now()) {
                let (_, from) = late.pop_front().unwrap();
                let _ = server.send_to(b"answer", from);
            }
        }
    });
    let seconds = number("FIREWALL_SECONDS", 2).unwrap();
    let (mut asked, mut lost) = (0, 0);
    let started = Instant::now();
    let mut open = VecDeque::new();
    // Whether an answer has come by the time that a resolver gives up waiting for it.
    let answered = |own: &UdpSocket| {
        own.set_nonblocking(false).unwrap();
        own.set_read_timeout(Some(patience(Duration::from_secs(1))))
            .unwrap();
        own.recv(&mut [0; 16]).is_ok()
    };
    pair.inside.run(|| {
        while started.elapsed() < Duration::from_secs(seconds) {
            let due = started.elapsed().as_millis() as u64 * RATE / 1_000;
            while asked < due {
                let (from, to): (IpAddr, IpAddr) = if asked % 2 == 0 {
                    (INSIDE_V4.into(), OUTSIDE_V4.into())
                } else {
                    (INSIDE_V6.into(), OUTSIDE_V6.into())
                };
                // A port of its own for each, as far as the ports go.
                let own = UdpSocket::bind((from, 0)).unwrap();
                own.send_to(b"question", (to, DNS)).unwrap();
                asked += 1;
                open.push_back(own);
                if open.len() > 400 {
                    lost += u64::from(!answered(&open.pop_front().unwrap()));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        lost += open.iter().filter(|own| !answered(own)).count() as u64;
    });
    println!("{asked} questions in {seconds} s, {lost} without an answer");
    assert!(asked > 100);
    assert_eq!(lost, 0, "of {asked} questions");
}

#[test]
#[ignore = "needs root"]
fn players_stay_under_a_flood_of_made_up_sources() {
    const PLAYERS: usize = 120;
    const ROUNDS: usize = 8;
    let pair = Pair::new().unwrap();
    route_strangers(&pair);
    // The players' server is outside: this host plays there, and has a game of its own open.
    serve(&pair, GAME);
    let server = pair.outside.run(|| socket("::".parse().unwrap(), 9_000));
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl);
    let players: Vec<_> = (0..PLAYERS)
        .map(|number| {
            let (own, to): (IpAddr, IpAddr) = if number % 2 == 0 {
                (INSIDE_V4.into(), OUTSIDE_V4.into())
            } else {
                (INSIDE_V6.into(), OUTSIDE_V6.into())
            };
            let player = pair.inside.run(|| socket(own, 0));
            player.set_read_timeout(Some(talk::LONG / 5)).unwrap();
            player.connect((to, 9_000)).unwrap();
            player
        })
        .collect();
    server.set_read_timeout(Some(talk::LONG)).unwrap();
    // Each has said and heard something before.
    let addresses: Vec<_> = players
        .iter()
        .map(|player| {
            player.send(b"join").unwrap();
            let from = server.recv_from(&mut [0; 16]).unwrap().1;
            server.send_to(b"welcome", from).unwrap();
            player.recv(&mut [0; 16]).unwrap();
            player.send(b"thanks").unwrap();
            server.recv_from(&mut [0; 16]).unwrap();
            from
        })
        .collect();
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let seconds = Duration::from_secs(number("FIREWALL_SECONDS", 1).unwrap());
    let lost = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(11);
            let frames = strangers(&mut random, 100_000, GAME);
            pair.outside.run(|| {
                for burst in frames.chunks(500).cycle() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    put(INTERFACE, burst).unwrap();
                    sent.fetch_add(500, Ordering::Relaxed);
                }
            });
        });
        while sent.load(Ordering::Relaxed) < 100_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        // The server speaks first; a datagram that the flood crowds out is sent again.
        let (started, mut lost, mut turns) = (Instant::now(), 0, 0);
        while turns == 0 || started.elapsed() < seconds {
            let mut left: Vec<_> = players.iter().zip(&addresses).collect();
            for _ in 0..ROUNDS {
                for (_, address) in &left {
                    server.send_to(b"tick", address).unwrap();
                }
                std::thread::sleep(Duration::from_millis(100));
                left.retain(|(player, _)| {
                    player.set_nonblocking(true).unwrap();
                    player.recv(&mut [0; 16]).is_err()
                });
            }
            lost += left.len();
            turns += 1;
            // And the players answer, as they do.
            for player in &players {
                while player.recv(&mut [0; 16]).is_ok() {}
                player.send(b"move").unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        println!("{turns} turns of the game in {:?}", started.elapsed());
        lost
    });
    println!("{} packets of made-up sources", sent.into_inner());
    assert_eq!(lost, 0, "of {PLAYERS} players");
}

#[test]
#[ignore = "needs root"]
fn guessed_answers_reach_no_question() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(&ctl);
    let own = pair.inside.run(|| socket(INSIDE_V4.into(), 0));
    let port = own.local_addr().unwrap().port();
    let server = SocketAddr::new(OUTSIDE_V4.into(), DNS);
    own.send_to(b"question", server).unwrap();
    // Answers of another server to every port: none is this host's.
    let other = SocketAddr::new([192, 0, 2, 10].into(), DNS);
    let frames: Vec<_> = (1..=u16::MAX)
        .map(|port| datagram(other, (INSIDE_V4, port).into(), b"wrong", Pair::macs()))
        .collect();
    pair.send(&frames).unwrap();
    // And the true one, late; again while the cable, which is still full, loses it.
    let to = (INSIDE_V4, port).into();
    let right = datagram(server, to, b"right", Pair::macs());
    let until = Instant::now() + talk::LONG;
    own.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut answer = [0; 16];
    let length = loop {
        pair.send(std::slice::from_ref(&right)).unwrap();
        if let Ok(length) = own.recv(&mut answer) {
            break length;
        }
        assert!(Instant::now() < until, "the true answer does not arrive");
    };
    assert_eq!(&answer[..length], b"right");
}
