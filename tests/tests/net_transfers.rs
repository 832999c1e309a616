//! Real TCP through a bad cable, under a policy that drops by default, with the kernels at both ends
//! and connection tracking on the way as judges: what the endpoints and the tracker take, the filter
//! takes, and nothing else.
//!
//! `FIREWALL_CASES=N` says how many transfers there are for each cable (default 8), each of
//! them once without the filter and once with it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::INTERFACE;
use firewall_tests::random::Random;
use firewall_tests::relay::Rates;
use firewall_tests::relayed::{LAN_INTERFACE, OPEN, OVER, Relayed};
use firewall_tests::segments::{ACK, FIN, PSH, RST, SYN, Segment, Sum, datagram};
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::transfers::{self, Transfer};
use firewall_tests::{number, patience, seed};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The port that is open on both hosts.
const PORT: u16 = 80;
/// One that is closed.
const CLOSED: u16 = 81;
/// Transfers between two changes of the filter, all of them at once.
const BATCH: usize = 100;

/// `OPENS` is how a connection may begin from outside.
fn policy(opens: &str) -> String {
    format!(
        "version: 1
default: {{in: drop}}
rules:
  - {{name: opens, proto: tcp, port: {PORT}, {opens}, action: pass}}
  - {{name: replies, state: established, action: pass}}
  - {{name: open, dscp: {OPEN}, log: 100/s, action: drop}}
  - {{name: over, dscp: {OVER}, log: 100/s, action: drop}}
"
    )
}

/// The two ways in which policies let connections in.
const OPENS: [&str; 2] = ["flags: {set: [syn], clear: [ack]}", "state: new"];

/// Counts what gets past the filter to where nobody listens, and what a stranger gets in at all.
fn count_strangers(net: &Relayed) {
    let inside = net.inside();
    inside
        .nft(&format!(
            "table inet fwt {{
                counter closed {{ }}
                chain in {{
                    type filter hook prerouting priority -300; policy accept;
                    iifname {INTERFACE} tcp dport {CLOSED} counter name closed
                    iifname {INTERFACE} udp dport {{ {PORT}, {CLOSED} }} counter name closed
                }}
            }}"
        ))
        .unwrap();
}

/// Everything that opens nothing, to the closed port of the inside host, until `stop`. By another
/// address than that of the real clients.
fn strangers(net: &Relayed, stop: &AtomicBool, seed: u64) -> u64 {
    let judge = net.judge();
    let mut random = Random::new(seed);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut frames = Vec::new();
        for v6 in [false, true] {
            let (outside, inside) = net.addresses(v6);
            let from = SocketAddr::new(outside, 1_024 + random.below(60_000) as u16);
            let to = SocketAddr::new(inside, CLOSED);
            let macs = firewall_tests::netns::Pair::macs();
            for flags in [SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, 0] {
                let numbers = random.bits();
                let (seq, ack) = (numbers as u32, (numbers >> 32) as u32);
                let segment = Segment::new(from, to, flags, seq, ack);
                frames.push(segment.frame(macs, Sum::Right));
            }
            frames.push(datagram(from, to, b"hello", macs));
            frames.push(datagram(from, (inside, PORT).into(), b"hello", macs));
        }
        sent += frames.len() as u64;
        // Behind the judge, so that none of them makes a connection there.
        judge
            .run(|| firewall_tests::netns::put(INTERFACE, &frames))
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    sent
}

/// Transfers over a cable, the filter on and off by turns.
fn transfers_over(rates: Rates, largest: u64, limit: Duration) {
    transfers_to(false, rates, largest, limit);
}

/// As [`transfers_over`], to a host behind the one that filters if `routed`.
fn transfers_to(routed: bool, rates: Rates, largest: u64, limit: Duration) {
    let cases = number("FIREWALL_CASES", 8).unwrap() as usize;
    let limit = patience(limit);
    let seed = seed(17).unwrap();
    let mut net = Relayed::new([rates; 2], seed).unwrap();
    let mut interfaces = vec![INTERFACE];
    if routed {
        net.route().unwrap();
        interfaces.push(LAN_INTERFACE);
    }
    for host in [net.server(), &net.outside] {
        transfers::serve(host, PORT, limit).unwrap();
    }
    count_strangers(&net);
    let ctl = Ctl::new(net.inside()).unwrap();
    let mut random = Random::new(seed);
    let to = |transfer: &Transfer| -> SocketAddr {
        let (outside, inside) = net.addresses(transfer.v6);
        (
            if transfer.from_inside {
                outside
            } else {
                inside
            },
            PORT,
        )
            .into()
    };
    let (mut failures, mut strange) = ([Vec::new(), Vec::new()], 0);
    // What the judge took and the filter did not: of open connections, and of those that are over.
    let (mut open, mut over, mut passed) = (0, 0, 0);
    let mut done = 0;
    for batch in 0.. {
        if done >= cases {
            break;
        }
        let size = BATCH.min(cases - done).min(cases.div_ceil(2));
        done += size;
        let batch_of: Vec<_> = (0..size)
            .map(|_| Transfer::random(&mut random, largest))
            .collect();
        for on in [false, true] {
            if on {
                // Sockets tell a host what began before the filter; here, nobody tells the router.
                if routed {
                    transfers::all_closed([&net.outside, net.server()], limit).unwrap();
                }
                let policy = ctl.policy(&policy(OPENS[batch % 2])).unwrap();
                let policy = policy.to_str().unwrap();
                let mut words = vec!["load", "-f", policy];
                words.extend(interfaces.iter().flat_map(|it| ["-i", it]));
                ctl.ok(&words).unwrap();
                println!("batch {batch}: loaded at {}", of_the_day());
            }
            let before = if on { closed(&net) } else { 0 };
            let stop = AtomicBool::new(!on);
            let failed = std::thread::scope(|scope| {
                let stranger = scope.spawn(|| strangers(&net, &stop, seed ^ batch as u64));
                let hosts = [&net.outside, net.server()];
                let failed = transfers::run(&batch_of, BATCH, hosts, to, limit);
                stop.store(true, Ordering::Relaxed);
                strange += stranger.join().unwrap();
                failed
            });
            failures[usize::from(on)].extend(failed);
            if on {
                let snapshot = ctl.snapshot().unwrap();
                open += rule(&snapshot, "open").0;
                over += rule(&snapshot, "over").0;
                passed += rule(&snapshot, "replies").0;
                if open + over > 0 {
                    println!("{}", ctl.ok(&["observe", "--last", "20"]).unwrap());
                }
                assert!(reason(&snapshot, "no-match", "drop").0 > 0, "no stranger");
                assert_eq!(closed(&net) - before, 0, "packets at a closed port");
                ctl.ok(&["unload", "--all"]).unwrap();
            }
        }
    }
    let [off, on] = &failures;
    println!(
        "{done} transfers each of up to {largest} bytes at {rates:?}: {} failed without the \
         filter, {} with it; {passed} segments passed by state, {open} and {over} that connection \
         tracking passes did not, {strange} of strangers did not; judge {:?}; relay {}",
        off.len(),
        on.len(),
        net.judged().unwrap(),
        net.relay.told()
    );
    let bar = off.len() + 2 * done.div_ceil(500).max(1);
    // A run of a few cases has no failure to spare.
    let bar = if done < 100 { off.len() } else { bar };
    assert!(on.len() <= bar, "without {off:?}\nwith {on:?}");
    assert_eq!(
        (open, over),
        (0, 0),
        "segments of open and of closed connections that connection tracking passes"
    );
}

/// As the lines of `observe` have it, the time of the day in UTC.
fn of_the_day() -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (seconds, milliseconds) = (time.as_secs() % 86_400, time.subsec_millis());
    format!(
        "{:02}:{:02}:{:02}.{milliseconds:03}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Packets that have come to where nobody listens.
fn closed(net: &Relayed) -> u64 {
    net.inside().counted("inet fwt closed").unwrap()
}

#[test]
#[ignore = "needs root"]
fn transfers_over_a_good_cable_lose_no_segment_to_the_filter() {
    transfers_over(Rates::default(), 5_000_000, Duration::from_secs(30));
}

#[test]
#[ignore = "needs root"]
fn transfers_over_a_cable_that_reorders_and_doubles_lose_no_segment_to_the_filter() {
    transfers_over(Rates::bad(0), 5_000_000, Duration::from_secs(30));
}

#[test]
#[ignore = "needs root"]
fn transfers_at_one_percent_of_loss_lose_no_segment_to_the_filter() {
    transfers_over(Rates::bad(10), 5_000_000, Duration::from_secs(30));
}

#[test]
#[ignore = "needs root"]
fn transfers_at_five_percent_of_loss_lose_no_segment_to_the_filter() {
    transfers_over(Rates::bad(50), 256 << 10, Duration::from_secs(40));
}

#[test]
#[ignore = "needs root"]
fn transfers_at_twenty_percent_of_loss_lose_no_segment_to_the_filter() {
    transfers_over(Rates::bad(200), 32 << 10, Duration::from_secs(60));
}

#[test]
#[ignore = "needs root"]
fn transfers_through_a_router_lose_no_segment_to_the_filter() {
    transfers_to(true, Rates::bad(0), 5_000_000, Duration::from_secs(30));
}

#[test]
#[ignore = "needs root"]
fn transfers_through_a_router_at_five_percent_of_loss_lose_no_segment_to_the_filter() {
    transfers_to(true, Rates::bad(50), 256 << 10, Duration::from_secs(40));
}
