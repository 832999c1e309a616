//! A flood of SYNs from made-up sources, as fast as one processor makes them, against an open port,
//! while real clients come and go and one connection stays: with `syn_protect: auto`, with the
//! kernel's own cookies alone, and with neither.
//!
//! `FIREWALL_CASES=N` says how many clients come in each of the three (default 500).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_engine::kernel::bench::{Bed, HEADER, Header};
use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, checksum};
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::number;
use firewall_tests::patience;
use firewall_tests::random::Random;
use firewall_tests::snapshot::{reason, rule};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PORT: u16 = 80;

/// Clients at once.
const CLIENTS: u64 = 8;

/// How long a client waits for its connection: one of its SYNs may be lost.
const CONNECTS: Duration = Duration::from_secs(3);

/// How long a flood takes at most; what has not been tried by then is not counted.
const LONGEST: Duration = Duration::from_secs(5);

/// Frames that are sent in one go.
const BURST: u32 = 1 << 15;

/// SYNs with sources all over 198.18.0.0/15, which nobody has.
fn syns() -> Vec<Header> {
    let mut random = Random::new(1);
    let syn = |_| {
        let source = (0xc612_0000 | random.bits() as u32 & 0x1_ffff).to_be_bytes();
        let mut segment = frames::tcp(random.bits() as u16 | 1024, PORT, 2, &[]);
        segment[4..8].fill_with(|| random.byte());
        let pseudo = [&source[..], &INSIDE_V4.octets(), &[0, 6, 0, 20], &segment].concat();
        segment[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        let packet = frames::Ipv4::new(source, INSIDE_V4.octets(), 6).packet(&segment);
        let mut header = [0; HEADER];
        header[..packet.len()].copy_from_slice(&packet);
        header
    };
    (0..1 << 16).map(syn).collect()
}

/// Gives back what it gets, on a port of the inside host.
fn serve(pair: &Pair) {
    pair.inside.run(|| {
        let listener = TcpListener::bind((INSIDE_V4, PORT)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut bytes = [0; 16];
                    while let Ok(length @ 1..) = stream.read(&mut bytes) {
                        if stream.write_all(&bytes[..length]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
}

/// Whether a byte comes back.
fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0];
    stream.set_read_timeout(Some(CONNECTS)).unwrap();
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"x"
}

fn visit() -> bool {
    TcpStream::connect_timeout(&(INSIDE_V4, PORT).into(), CONNECTS)
        .is_ok_and(|mut stream| echoes(&mut stream))
}

/// What came of a flood.
#[derive(Debug)]
struct Flood {
    tried: u64,
    succeeded: u64,
    /// SYNs a second that were sent; what the receiver does not keep up with is lost on the cable.
    rate: f64,
    /// Packets, nearly all of them SYNs, that the program has judged; in all, and a second.
    judged: (u64, f64),
    /// Whether the connection from before it lives.
    lives: bool,
    /// Whether a client gets through when it is over.
    recovers: bool,
    /// SYNs that the program has answered.
    cookies: u64,
}

fn flood(protect: bool, kernel_cookies: &str) -> Flood {
    let object = std::env::var_os("FIREWALL_BENCH_OBJECT")
        .expect("FIREWALL_BENCH_OBJECT names the generator: run these by `cargo xtask test`");
    let pair = Pair::new().unwrap();
    pair.inside.run(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", kernel_cookies).unwrap();
    });
    // A way back to the made-up sources: without one their SYNs are not taken.
    pair.inside
        .ip(&format!("route add default via {OUTSIDE_V4}"))
        .unwrap();
    serve(&pair);
    // What goes back to the made-up sources ends here, as it does in the network.
    let outside = Ctl::new(&pair.outside).unwrap();
    let policy = "version: 1\ninterfaces: [{match: wan0, mode: native}]\ndefault: pass\n\
                  rules: [{name: gone, to: 198.18.0.0/15, action: drop}]\n";
    let policy = outside.policy(policy).unwrap();
    outside
        .ok(&["load", "-i", INTERFACE, "-f", policy.to_str().unwrap()])
        .unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let protect = if protect { "auto" } else { "off" };
    let policy = format!(
        "version: 1\ninterfaces: [{{match: wan0, mode: native}}]\ndefault: drop\nrules:\n  \
         - {{name: web, proto: tcp, port: {PORT}, syn_protect: {protect}, action: pass}}\n"
    );
    let policy = ctl.policy(&policy).unwrap();
    ctl.start(&policy).unwrap();

    let (mut bed, ifindex) = pair.outside.run(|| {
        let bed = Bed::load(&std::fs::read(object).unwrap(), &syns(), false, 0).unwrap();
        let interfaces = pnet_datalink::interfaces();
        let wan = interfaces.iter().find(|it| it.name == INTERFACE).unwrap();
        (bed, wan.index)
    });
    let mut stays = pair
        .outside
        .run(|| TcpStream::connect_timeout(&(INSIDE_V4, PORT).into(), CONNECTS).unwrap());
    assert!(echoes(&mut stays), "before the flood");

    let clients = number("FIREWALL_CASES", 500).unwrap();
    let (left, succeeded, tried) = (
        AtomicU64::new(clients),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let (rate, took) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            pair.outside.run(|| {
                let started = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    bed.send(ifindex, Pair::macs(), BURST).unwrap();
                    sent.fetch_add(BURST.into(), Ordering::Relaxed);
                }
                let took = started.elapsed().as_secs_f64();
                (sent.load(Ordering::Relaxed) as f64 / took, took)
            })
        });
        // The queue is full before the first client comes.
        while sent.load(Ordering::Relaxed) < 2 * u64::from(BURST) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let visitors: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    pair.outside.run(|| {
                        let longest = LONGEST.max(Duration::from_millis(clients * 16));
                        while started.elapsed() < patience(longest)
                            && left
                                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                                    left.checked_sub(1)
                                })
                                .is_ok()
                        {
                            succeeded.fetch_add(visit().into(), Ordering::Relaxed);
                            tried.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                })
            })
            .collect();
        for visitor in visitors {
            visitor.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    let (lives, recovers) = (echoes(&mut stays), pair.outside.run(visit));
    let snapshot = ctl.snapshot().unwrap();
    let judged = rule(&snapshot, "web").0;
    Flood {
        tried: tried.into_inner(),
        succeeded: succeeded.into_inner(),
        rate,
        judged: (judged, judged as f64 / took),
        lives,
        recovers,
        cookies: reason(&snapshot, "syn-cookie", "drop").0,
    }
}

#[test]
#[ignore = "needs root"]
fn real_clients_get_through_a_flood() {
    let protected = flood(true, "1");
    let kernel = flood(false, "1");
    let bare = flood(false, "0");
    for (what, flood) in [
        ("syn_protect: auto", &protected),
        ("the kernel's cookies alone", &kernel),
        ("no cookies", &bare),
    ] {
        println!(
            "{what}: {} of {} clients from {OUTSIDE_V4} got through; {:.0} SYNs/s sent, {:.0} \
             judged, {} in all answered by the program",
            flood.succeeded, flood.tried, flood.rate, flood.judged.1, flood.cookies
        );
        assert!(flood.tried > 0, "{what}: {flood:?}");
    }
    assert!(protected.lives && protected.recovers, "{protected:?}");
    // All that come while the queue of the socket is full. It has room for 128 (the standard library's
    // backlog), and a little of that in each second.
    assert!(
        protected.cookies * 10 >= protected.judged.0 * 9,
        "{protected:?}"
    );
    assert!(protected.tried >= 100, "{protected:?}");
    assert!(
        protected.succeeded * 100 >= protected.tried * 99,
        "{protected:?}"
    );
    assert_eq!((kernel.cookies, bare.cookies), (0, 0));
}
