//! Tables of flows that are four fifths full, and full, on a host and on a router, and strangers who
//! send whatever they like: connections that are open go on, new ones are made.
//!
//! `FIREWALL_FRAMES=N` says how many forged packets there are for each bed and fill (default 10,000),
//! `FIREWALL_CASES=N` how many new connections (default 40; from 1,000 on the table has its usual
//! size), `FIREWALL_SEED=N` picks other packets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::filled::{Filler, Forger, Half, MADE_UP, Side, fill};
use firewall_tests::netns::{
    INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair,
};
use firewall_tests::open::Crowd;
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use firewall_tests::snapshot::rule;
use firewall_tests::{number, patience, seed, talk};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketType};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where everybody may connect.
const WEB: u16 = 80;
/// Where connections go that are open all the time.
const HELD: u16 = 81;
/// Where datagrams are answered. Every answer makes a flow: the rule that lets the next question in
/// looks at the zone, which the question alone has.
const UDP: [u16; 3] = [53, 5_300, 9];

/// The port of the other side of the made-up flows.
const SETTLED: u16 = 443;

/// How many other addresses clients have, of each family.
const ADDRESSES: u8 = 8;

/// Forged packets in a row.
const FLIGHT: u64 = 500;

/// How long a new connection may take: TCP sends a SYN again after one, three, and seven seconds.
const NEW_WITHIN: Duration = Duration::from_secs(15);

/// Of so many settled flows one may give way at four fifths, while strangers make flows.
const ONE_OF: u32 = 10_000;

/// How often the made-up conversations go on.
const KEPT: Duration = Duration::from_secs(60);

/// Longer than the table's clock goes on between two ticks.
const OLDER: Duration = Duration::from_millis(2_200);

fn forged() -> u64 {
    number("FIREWALL_FRAMES", 10_000).unwrap()
}

fn cases() -> usize {
    number("FIREWALL_CASES", 40).unwrap() as usize
}

/// The internet is on wan0; what is behind a router may open what it likes.
fn policy() -> String {
    let size = if cases() >= 1_000 { 172_020 } else { 8_192 };
    format!(
        "version: 1
interfaces: [{{match: {INTERFACE}, zone: wan}}, {{match: {FAR_INTERFACE}, zone: lan}}]
default: {{in: drop}}
state: {{flows: {size}}}
rules:
  - {{name: replies, state: established, action: pass}}
  - {{name: web, zone: wan, proto: tcp, port: [{WEB}, {HELD}], state: new, action: pass}}
  - {{name: udp, zone: wan, proto: udp, port: [{}, {}], state: new, action: pass}}
  - {{name: settled-in, proto: [tcp, udp], source_port: {SETTLED}, action: drop}}
  - {{name: settled-out, proto: tcp, port: {SETTLED}, state: invalid, action: drop}}
  - {{name: lan, zone: lan, proto: [tcp, udp], state: new, action: pass}}
",
        UDP[0], UDP[1]
    )
}

/// Two hosts with a filter on one of them, or between them.
struct Bed<'a> {
    what: &'static str,
    ctl: Ctl<'a>,
    /// On the side of the filter that strangers are not on.
    own: Side<'a>,
    own_at: [IpAddr; 2],
    /// The internet.
    other: Side<'a>,
    other_at: [IpAddr; 2],
    /// How many flows a connection has.
    each: u32,
    /// Where clients connect from, on the one side and on the other.
    clients: [Vec<[IpAddr; 2]>; 2],
}

impl<'a> Bed<'a> {
    fn new(
        what: &'static str,
        filter: &'a Namespace,
        interfaces: &[&str],
        (own, own_at): (Side<'a>, [IpAddr; 2]),
        (other, other_at): (Side<'a>, [IpAddr; 2]),
    ) -> Self {
        let ctl = Ctl::new(filter).unwrap();
        let file = ctl.policy(&policy()).unwrap();
        let mut words = vec!["load", "-f", file.to_str().unwrap()];
        words.extend(interfaces.iter().flat_map(|it| ["-i", it]));
        ctl.ok(&words).unwrap();
        for side in [&own, &other] {
            talk::listen(side.host, WEB).unwrap();
        }
        let clients = [(&own, 100), (&other, 120)].map(|(side, first)| addresses(side, first));
        // The rest of the datagrams that strangers send are for nobody.
        talk::listen(own.host, UDP[0]).unwrap();
        talk::listen(own.host, UDP[1]).unwrap();
        Self {
            what,
            ctl,
            own,
            own_at,
            other,
            other_at,
            each: interfaces.len() as u32,
            clients,
        }
    }

    /// Forged packets from the internet, and new connections both ways meanwhile. How many of those
    /// failed, and how many took longer than a SYN that is sent once.
    fn storm(&self, filler: &Filler<'_>, seed: u64) -> (Vec<String>, usize) {
        let mut forger = Forger::new(
            seed,
            self.own_at,
            self.other_at,
            [[WEB, HELD, 9], UDP],
            self.other.macs,
        );
        let (slow, sent, done) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        let failed = std::thread::scope(|scope| {
            let [own, other] = &self.clients;
            let ways = [
                (self.own.host, own, self.other_at),
                (self.other.host, other, self.own_at),
            ];
            let clients = ways.map(|(host, from, to)| {
                let (slow, sent, done) = (&slow, &sent, &done);
                scope.spawn(move || {
                    let failed = connects(host, from, to, slow, sent);
                    done.fetch_add(1, Ordering::Relaxed);
                    failed
                })
            });
            let mut kept = Instant::now();
            while sent.load(Ordering::Relaxed) < forged() || done.load(Ordering::Relaxed) < 2 {
                let frames: Vec<_> = (0..FLIGHT).map(|_| forger.frame()).collect();
                self.other.puts(&frames).unwrap();
                sent.fetch_add(FLIGHT, Ordering::Relaxed);
                // Datagrams are no conversation any more after two minutes.
                if kept.elapsed() > KEPT {
                    self.keeps(filler, &[Half::Other]);
                    kept = Instant::now();
                }
            }
            clients.map(|it| it.join().unwrap()).concat()
        });
        (failed, slow.into_inner())
    }

    /// Packets of the made-up flows that are stopped, of one for each in each direction: in, out.
    fn stopped(&self, filler: &Filler<'_>) -> [u64; 2] {
        let stopped = || {
            let snapshot = self.ctl.snapshot().unwrap();
            ["settled-in", "settled-out"].map(|name| rule(&snapshot, name).0)
        };
        let before = stopped();
        self.keeps(filler, &Half::BOTH);
        let after = stopped();
        [0, 1].map(|way| after[way] - before[way])
    }

    /// Sends a packet of each of the made-up flows in each direction.
    fn keeps(&self, filler: &Filler<'_>, halves: &[Half]) {
        for half in halves {
            for out in [false, true] {
                let (arrived, made) = filler.uses(*half, out).unwrap();
                // What a busy cable loses is not what is stopped: that has counters.
                let enough = arrived * 10 > made * 9;
                assert!(enough, "{half:?}, {out}: {arrived} of {made} have arrived");
            }
        }
    }

    fn held(&self, count: usize) -> Crowd {
        let to = [0, 1].map(|family| SocketAddr::new(self.own_at[family], HELD));
        Crowd::open(self.other.host, self.own.host, &to, HELD, count).unwrap()
    }

    fn evicted(&self) -> u64 {
        let of = |half| fill(&self.ctl, half).unwrap().evicted;
        Half::BOTH.map(of).iter().sum()
    }

    /// Four fifths full: nobody who is settled gives way.
    fn four_fifths(&self, filler: &mut Filler<'_>, seed: u64) {
        let mut crowd = self.held(cases().min(240));
        for half in Half::BOTH {
            filler.fills(&self.ctl, half, 80).unwrap();
        }
        let (failed, slow) = self.storm(filler, seed);
        let (stopped, evicted) = (self.stopped(filler), self.evicted());
        println!(
            "{}, 80 % full ({} and {} connections of made-up hosts): {} new connections, {} failed, \
             {slow} slow; {} forged packets; {stopped:?} packets of settled flows stopped, \
             {evicted} flows gave way; seed {seed}",
            self.what,
            filler.made(Half::Tcp),
            filler.made(Half::Other),
            cases(),
            failed.len(),
            forged(),
        );
        let lost = crowd.lost();
        assert!(lost.is_empty(), "{}: {lost:#?}", self.what);
        crowd.end().unwrap();
        assert!(
            failed.len() * 1_000 <= cases(),
            "{}: {failed:#?}",
            self.what
        );
        // A flow that is made where both of its sets hold nothing but connections takes a place: at
        // this fill of a few, however many strangers try.
        let made: u32 = Half::BOTH.iter().map(|half| filler.made(*half)).sum();
        let most = u64::from(made * self.each / ONE_OF);
        assert!(evicted <= most, "{}: {evicted} gave way", self.what);
        let lost = stopped[0] + stopped[1];
        assert!(lost <= evicted * 2, "{}: {lost} stopped", self.what);
    }

    /// Full: new ones are made, and whose flow is the longest idle give way, each counted.
    fn full(&self, filler: &mut Filler<'_>, seed: u64) {
        let old = Half::BOTH.map(|half| filler.made(half));
        self.keeps(filler, &[Half::Other]);
        std::thread::sleep(OLDER);
        let mut crowd = self.held(cases().min(240));
        for half in Half::BOTH {
            filler.fills(&self.ctl, half, 100).unwrap();
        }
        // Newer ones of which a busy cable has lost a frame never were settled, and nobody counts them.
        let newer = [0, 1].map(|at| old[at]..filler.made(Half::BOTH[at]));
        let missing = |at: usize| filler.gone(&self.ctl, Half::BOTH[at], newer[at].clone());
        let unsettled = [0, 1].map(|at| missing(at).unwrap());
        let (failed, slow) = self.storm(filler, seed);
        let mut gone = [0, 0];
        for (at, half) in Half::BOTH.into_iter().enumerate() {
            gone[0] += filler.gone(&self.ctl, half, 0..old[at]).unwrap().len();
            let now = filler.gone(&self.ctl, half, newer[at].clone()).unwrap();
            gone[1] += now.iter().filter(|it| !unsettled[at].contains(it)).count();
        }
        let fills = Half::BOTH.map(|half| fill(&self.ctl, half).unwrap());
        println!(
            "{}, full: {} new connections, {} failed, {slow} slow; {} forged packets; gone {} older \
             and {} newer flows of {:?} connections; {fills:?}; seed {seed}",
            self.what,
            cases(),
            failed.len(),
            forged(),
            gone[0],
            gone[1],
            Half::BOTH.map(|half| filler.made(half)),
        );
        let lost = crowd.lost();
        assert!(lost.is_empty(), "{}: {lost:#?}", self.what);
        crowd.end().unwrap();
        // One in a thousand may fail at a full table, and one of fewer.
        assert!(
            failed.len() * 1_000 <= cases().max(1_000),
            "{}: {failed:#?}",
            self.what
        );
        let evicted: u64 = fills.iter().map(|it| it.evicted).sum();
        let all = gone[0] + gone[1];
        assert!(all as u64 <= evicted, "{gone:?}, {evicted} counted");
        assert!(gone[1] <= gone[0] / 10, "older and newer: {gone:?}");
    }

    fn tried(&self) {
        let seed = seed(1_000_000).unwrap();
        let mut filler = Filler::new(self.own, self.other, self.own_at, self.each).unwrap();
        let start = Instant::now();
        self.four_fifths(&mut filler, seed);
        self.full(&mut filler, seed ^ 1);
        println!("{}: {} s", self.what, start.elapsed().as_secs());
    }
}

/// Gives a side more addresses, from which its clients connect.
fn addresses(side: &Side<'_>, first: u8) -> Vec<[IpAddr; 2]> {
    let [v4, v6] = match side.interface {
        FAR_INTERFACE => ["198.51.100.", "2001:db8:f::"],
        _ => ["192.0.2.", "2001:db8::"],
    };
    let mut all = Vec::new();
    for number in first..first + ADDRESSES {
        let both = [format!("{v4}{number}"), format!("{v6}{number}")];
        let name = side.interface;
        let add = |words: String| side.host.ip(&words).unwrap();
        add(format!("addr add {}/24 dev {name}", both[0]));
        add(format!("addr add {}/64 dev {name} nodad", both[1]));
        all.push(both.map(|it| it.parse().unwrap()));
    }
    all
}

/// Makes half of the new connections from a host, one after the other, each from another address and
/// port, and uses each. They are spread over the time in which forged packets are sent. Why those
/// failed that did.
fn connects(
    host: &Namespace,
    from: &[[IpAddr; 2]],
    to: [IpAddr; 2],
    slow: &AtomicUsize,
    sent: &AtomicU64,
) -> Vec<String> {
    let count = cases() / 2;
    host.run(|| {
        let mut failed = Vec::new();
        for number in 0..count {
            while sent.load(Ordering::Relaxed) * (count as u64) < forged() * number as u64 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let family = number % 2;
            let from = from[number / 2 % from.len()][family];
            let to = SocketAddr::new(to[family], WEB);
            let start = Instant::now();
            if let Err(error) = connect(from, to) {
                failed.push(format!("{from} to {to}: {error}"));
            }
            if start.elapsed() > Duration::from_millis(900) {
                slow.fetch_add(1, Ordering::Relaxed);
            }
        }
        failed
    })
}

/// A connection that is used, and ends by a RST.
fn connect(from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let family = if from.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    for way in [Timeout::Send, Timeout::Recv] {
        sockopt::set_socket_timeout(&socket, way, Some(patience(NEW_WITHIN)))?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::connect(&socket, &to)?;
    talk::says(&mut TcpStream::from(socket))
}

fn routes_to_strangers(host: &Namespace, by: [IpAddr; 2]) {
    for (prefix, by) in MADE_UP.into_iter().zip(by) {
        let family = if by.is_ipv4() { "-4" } else { "-6" };
        host.ip(&format!("{family} route add {prefix} via {by}"))
            .unwrap();
    }
}

const INSIDE: [IpAddr; 2] = [IpAddr::V4(INSIDE_V4), IpAddr::V6(INSIDE_V6)];
const OUTSIDE: [IpAddr; 2] = [IpAddr::V4(OUTSIDE_V4), IpAddr::V6(OUTSIDE_V6)];
const FAR: [IpAddr; 2] = [IpAddr::V4(FAR_V4), IpAddr::V6(FAR_V6)];

#[test]
#[ignore = "needs root"]
fn a_host_whose_table_is_full_keeps_and_makes_connections() {
    let pair = Pair::new().unwrap();
    routes_to_strangers(&pair.inside, OUTSIDE);
    let own = Side::of(&pair.inside, &pair.outside, INTERFACE).unwrap();
    let other = Side::of(&pair.outside, &pair.inside, INTERFACE).unwrap();
    let host = &pair.inside;
    Bed::new("host", host, &[INTERFACE], (own, INSIDE), (other, OUTSIDE)).tried();
}

#[test]
#[ignore = "needs root"]
fn a_router_whose_table_is_full_keeps_and_makes_connections() {
    let net = Routed::new(1_500).unwrap();
    routes_to_strangers(net.router(), INSIDE);
    let own = Side::of(&net.far, net.router(), FAR_INTERFACE).unwrap();
    let other = Side::of(&net.pair.inside, net.router(), INTERFACE).unwrap();
    let both = [INTERFACE, FAR_INTERFACE];
    Bed::new("router", net.router(), &both, (own, FAR), (other, INSIDE)).tried();
}
