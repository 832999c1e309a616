//! `state: established` in the loaded programs: random traffic before model, host build and both
//! programs; packets that nobody asked for; packets that try to close what is open; what the lookup
//! costs.
//!
//! `FIREWALL_CASES=N` says how many packets the random traffic has, and how many that nobody asked for
//! are sent; `FIREWALL_SEED=N` picks other ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::machine::TICK_SHIFT;
use firewall_common::verdict::Verdict;
use firewall_engine::kernel::clock::coarse;
use firewall_engine::kernel::flows::{FlowState, FlowTable, now};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::host::{Memory, decide_after, record};
use firewall_tests::fuzz::{Case, Connections, Event, connection_frame, hex};
use firewall_tests::netns::Namespace;
use firewall_tests::number;
use firewall_tests::oracle::flows::{Flows, Message, Packet, Segment, Sum};
use firewall_tests::policies::parse;
use firewall_tests::random::Random;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

const POLICY: &str = "\
version: 1
default: {in: drop, essential: false}
rules:
  - {name: replies, state: established, action: pass}
";

/// `count`, or a tenth of it where `cargo xtask vm` emulates the processor.
fn many(count: u64) -> u64 {
    if is_emulated() { count / 10 } else { count }
}

fn is_emulated() -> bool {
    std::env::var_os("FIREWALL_EMULATED").is_some()
}

fn load(policy: &str) -> (Case, Loaded) {
    let case = Case::new("state", parse(policy).unwrap()).unwrap();
    let loaded = Loaded::load(&case.tables, 2, &[]).unwrap();
    // Or every SYN could meet one that has left before.
    loaded.forget_syns().unwrap();
    (case, loaded)
}

fn passes(loaded: &Loaded, frame: &[u8]) -> bool {
    loaded.run(frame, 1, None).unwrap().verdict == Verdict::PASS
}

/// The programs' clock runs; the model's stands still. What the clock has gone on since it was last
/// looked at is taken back from every flow.
struct Clock {
    table: FlowTable,
    last: u64,
}

impl Clock {
    fn of(loaded: &Loaded) -> Self {
        Self {
            table: loaded.flows().unwrap().unwrap(),
            last: now(),
        }
    }

    /// From here on it stands for a while: what is done next is not done in two ticks.
    fn stand_still(&mut self) {
        const WHILE: u64 = 50_000_000;
        let left = || (1 << TICK_SHIFT) - (coarse().as_nanos() as u64 & ((1 << TICK_SHIFT) - 1));
        if left() < WHILE {
            let time = now();
            while now() == time {
                std::thread::sleep(Duration::from_nanos(left()));
            }
        }
        let time = now();
        if time != self.last {
            self.table.age(-(time as i64 - self.last as i64));
            self.last = time;
        }
    }
}

#[test]
#[ignore = "needs root"]
fn programs_host_and_model_agree_on_random_traffic() {
    agree(POLICY, false);
}

#[test]
#[ignore = "needs root"]
fn programs_host_and_model_agree_on_what_is_related() {
    let more = "  - {name: others, state: related, action: pass}\n";
    agree(&format!("{POLICY}{more}"), true);
}

fn agree(policy: &str, related: bool) {
    let (case, loaded) = load(policy);
    let mut clock = Clock::of(&loaded);
    let (memory, mut flows) = (Memory::default(), Flows::default());
    flows.now = 1;
    let mut traffic = Connections::new(number("FIREWALL_SEED", 7).unwrap(), 6);
    if related {
        traffic = traffic.with_groups();
    }
    let mut most = 0;
    for step in 0..number("FIREWALL_CASES", many(60_000)).unwrap() {
        memory.now.set(flows.now << 30);
        clock.stand_still();
        if step % 1_000 == 0 {
            most = most.max(flows.len());
        }
        match traffic.event(&flows) {
            Event::Wait(ticks) => {
                flows.now += ticks;
                clock.table.age(ticks as i64);
            }
            Event::Out(packet, frame) => {
                flows.sends(&packet);
                record(&case.tables, &memory, &frame);
                loaded.send(&frame, 1).unwrap();
            }
            Event::In(packet, _) if flows.is_unclear(&packet) => {}
            Event::In(packet, frame) => {
                let is_related = related && flows.is_related(&packet);
                let belongs = flows.receives(&packet) || is_related;
                let host = decide_after(&case.tables, &memory, &frame, 0).outcome;
                assert_eq!(host.verdict == Verdict::PASS, belongs, "host, step {step}");
                assert_eq!(
                    passes(&loaded, &frame),
                    belongs,
                    "step {step}: {packet:?} {}",
                    hex(&frame)
                );
            }
        }
    }
    assert_eq!(clock.table.list().len(), flows.len());
    assert!(most > 50, "{most} flows at once");
}

/// A packet of a TCP connection between port `local` here and port 443 of another host.
fn segment(local: u16, edit: impl FnOnce(&mut Segment)) -> Packet {
    let mut segment = Segment {
        syn: false,
        ack: true,
        fin: false,
        rst: false,
        sequence: 1_000,
        acknowledged: 5_000,
        data: 0,
        sum: Sum::Right,
    };
    edit(&mut segment);
    Packet {
        local: (Ipv4Addr::new(198, 51, 100, 1).into(), local),
        remote: (Ipv4Addr::new(203, 0, 113, 5).into(), 443),
        message: Message::Tcp(segment),
    }
}

/// Opens a connection by a handshake: this host's next byte is 1,000, the other one's 5,000.
fn open(loaded: &Loaded, local: u16) {
    let syn = segment(local, |syn| {
        (syn.syn, syn.ack, syn.sequence, syn.acknowledged) = (true, false, 999, 0);
    });
    loaded.send(&connection_frame(&syn, true), 1).unwrap();
    let answer = segment(local, |answer| {
        (answer.syn, answer.sequence, answer.acknowledged) = (true, 4_999, 1_000);
    });
    assert!(passes(loaded, &connection_frame(&answer, false)));
    let ack = segment(local, |_| {});
    loaded.send(&connection_frame(&ack, true), 1).unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_nobody_asked_for_never_passes() {
    let (_, loaded) = load(POLICY);
    let mut flows = Flows::default();
    let mut clock = Clock::of(&loaded);
    // Some thousand connections of this host, none of which is waited for here.
    let mut traffic = Connections::new(number("FIREWALL_SEED", 3).unwrap(), 60);
    let mut out = 0;
    while out < 8_000 {
        if let Event::Out(packet, frame) = traffic.event(&flows) {
            flows.sends(&packet);
            loaded.send(&frame, 1).unwrap();
            out += 1;
        }
    }
    let known = flows.len();
    assert!(known > 3_000, "{known}");
    let mut random = Random::new(number("FIREWALL_SEED", 3).unwrap());
    let (mut sent, mut asked) = (0, 0);
    let cases = number("FIREWALL_CASES", many(100_000)).unwrap();
    while sent < cases {
        clock.stand_still();
        let (packet, frame) = match traffic.event(&flows) {
            Event::In(packet, frame) => (packet, frame),
            _ => {
                // The ports of this host, from anywhere.
                let mut packet = segment(random.bits() as u16 | 1, |segment| {
                    segment.rst = random.one_in(5);
                    segment.sequence = random.bits() as u32;
                    segment.acknowledged = random.bits() as u32;
                });
                packet.remote.0 =
                    Ipv4Addr::from_bits(0x0b00_0000 | random.bits() as u32 >> 8).into();
                packet.message = random.pick(&[packet.message, Message::Udp, Message::EchoReply]);
                (packet, connection_frame(&packet, false))
            }
        };
        sent += 1;
        let belongs = flows.receives(&packet);
        asked += u64::from(belongs);
        assert_eq!(
            passes(&loaded, &frame),
            belongs,
            "{packet:?} {}",
            hex(&frame)
        );
    }
    assert!(asked > 100);
    eprintln!("{known} flows, {sent} packets, {asked} belong to a flow, 0 others passed");
}

#[test]
#[ignore = "needs root"]
fn only_the_exact_number_ends_a_connection_and_nothing_else_is_dropped() {
    let (_, loaded) = load(POLICY);
    let table = loaded.flows().unwrap().unwrap();
    open(&loaded, 40_000);
    let state = || {
        let flows = table.list();
        assert_eq!(flows.len(), 1);
        flows[0].state
    };
    let mut random = Random::new(1);
    for number in 0..many(1_000) {
        // 5,000 is exact, and so is 5,000 again: the end of what the other side has sent.
        let sequence = 5_001u32.wrapping_add(random.below((1 << 32) - 2) as u32);
        let (rst, fin) = (number % 2 == 0, number % 2 == 1);
        for out in [false, true] {
            let forged = segment(40_000, |segment| {
                (segment.rst, segment.fin) = (rst, fin);
                segment.sequence = if out {
                    sequence.wrapping_sub(4_000)
                } else {
                    sequence
                };
                segment.acknowledged = random.bits() as u32;
            });
            let frame = connection_frame(&forged, out);
            if out {
                loaded.send(&frame, 1).unwrap();
            } else {
                assert!(passes(&loaded, &frame), "the endpoint is the judge");
            }
            assert_eq!(state(), FlowState::Established, "{sequence}");
        }
    }
    // With a wrong checksum the endpoint drops it.
    let reset = |sum| {
        segment(40_000, move |segment| {
            (segment.rst, segment.sequence, segment.sum) = (true, 5_000, sum);
        })
    };
    assert!(passes(
        &loaded,
        &connection_frame(&reset(Sum::Wrong), false)
    ));
    assert_eq!(state(), FlowState::Established);
    let out = connection_frame(&segment(40_000, |segment| segment.data = 100), true);
    for sum in [Sum::Right, Sum::Bare] {
        assert!(passes(&loaded, &connection_frame(&reset(sum), false)));
        assert_eq!(state(), FlowState::Reset);
        // What this side sends after that takes it back.
        loaded.send(&out, 1).unwrap();
        assert_eq!(state(), FlowState::Established);
    }
    assert!(passes(
        &loaded,
        &connection_frame(&reset(Sum::Right), false)
    ));
    let data = segment(40_000, |segment| {
        (segment.sequence, segment.data) = (5_000, 100);
    });
    table.age(10);
    assert!(!passes(&loaded, &connection_frame(&data, false)));
    assert!(table.list().is_empty());
}

#[test]
#[ignore = "needs root"]
fn a_flood_takes_no_connection_away() {
    let (mut case, _) = load(POLICY);
    // 32 sets for TCP.
    case.tables.config.flows_size = 32 << 10;
    let loaded = Loaded::load(&case.tables, 2, &[]).unwrap();
    let table = loaded.flows().unwrap().unwrap();
    for port in 40_000..40_040 {
        open(&loaded, port);
    }
    let settled = |table: &FlowTable| {
        let flows = table.list();
        let settled =
            |flow: &&firewall_engine::kernel::flows::Flow| flow.state == FlowState::Established;
        flows
            .iter()
            .filter(settled)
            .filter(|flow| flow.proto == 6)
            .count()
    };
    let before = settled(&table);
    assert!(before >= 38, "{before} of 40");
    // Connections that this host tries to open, datagrams that it is made to send, and what it
    // answers to SYNs from everywhere.
    for number in 0..many(20_000) as u32 {
        let mut packet = segment(1 + (number % 60_000) as u16, |segment| {
            (segment.syn, segment.ack) = (true, number % 2 == 0);
        });
        packet.remote.0 = Ipv4Addr::from_bits(0x0b00_0000 + number * 77).into();
        loaded.send(&connection_frame(&packet, true), 1).unwrap();
        packet.message = Message::Udp;
        loaded.send(&connection_frame(&packet, true), 1).unwrap();
    }
    assert_eq!(settled(&table), before);
    // Every place is in use, so somebody had to give way.
    let places = table.capacity() * 4 / 3;
    assert!(
        table.count() > places * 9 / 10,
        "{} of {places}",
        table.count()
    );
    // More than there is room for in any case, and no screen says more than all.
    for half in table.halves() {
        assert!(half.count <= half.capacity, "{half:?}");
    }
    assert!(table.halves()[0].capacity > table.capacity() / 2);
}

#[test]
#[ignore = "needs root"]
fn the_lookup_costs_little() {
    const BAR: u64 = 60;
    const REPEAT: u32 = 50_000;
    const ROUNDS: u32 = 25;
    let stateless = POLICY.replace("state: established", "proto: tcp, flags: {set: [ack]}");
    let ((_, with), (_, without)) = (load(POLICY), load(&stateless));
    open(&with, 40_000);
    // Company in the cache.
    let mut traffic = Connections::new(1, 3_000);
    for _ in 0..10_000 {
        if let Event::Out(_, frame) = traffic.event(&Flows::default()) {
            with.send(&frame, 1).unwrap();
        }
    }
    let data = segment(40_000, |segment| {
        (segment.sequence, segment.data) = (5_000, 100);
    });
    let out = connection_frame(&segment(40_000, |segment| segment.data = 100), true);
    let frame = connection_frame(&data, false);
    assert!(passes(&with, &frame) && passes(&without, &frame));
    let of = |loaded: &Loaded| {
        let time = loaded.run(&frame, REPEAT, None).unwrap().duration;
        time.as_nanos() as u64
    };
    // In pairs: the processor is not equally fast at all times, and in a slow one a difference is as
    // much larger as all else. So a round holds the bar in nanoseconds or in proportion, and a third of
    // them must.
    let rounds: Vec<(u64, u64)> = (0..ROUNDS).map(|_| (of(&with), of(&without))).collect();
    let holds =
        |&(stateful, plain): &(u64, u64)| stateful <= plain + BAR || stateful * 2 <= plain * 5;
    let held = rounds.iter().filter(|round| holds(round)).count();
    let best = |pick: fn(&(u64, u64)) -> u64| rounds.iter().map(pick).min().unwrap();
    let (stateful, plain) = (best(|round| round.0), best(|round| round.1));
    let egress = with.send(&out, REPEAT).unwrap().as_nanos();
    eprintln!(
        "{stateful} ns with state, {plain} ns without, {egress} ns for a packet that leaves; \
         {held} of {ROUNDS} rounds hold the bar"
    );
    // An emulated processor has other costs.
    assert!(is_emulated() || held * 3 >= rounds.len(), "{rounds:?}");
}

/// A TCP connection from this address and port.
fn connect_from(address: Ipv4Addr, port: u16, to: &str) -> TcpStream {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(address, port)).unwrap();
    let to: SocketAddrV4 = to.parse().unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// The best of some runs, in nanoseconds a packet.
fn cost(loaded: &Loaded, frame: &[u8]) -> u64 {
    const REPEAT: u32 = 100_000;
    let run = |_| loaded.run(frame, REPEAT, None).unwrap().duration.as_nanos() as u64;
    (0..7).map(run).min().unwrap()
}

#[test]
#[ignore = "needs root"]
fn sockets_answer_for_this_host_and_strangers_cost_little() {
    // What decides without state, and drops what the other drops, too.
    let stateless = POLICY.replace(
        "state: established",
        "proto: tcp, flags: {set: [ack]}, port: 9",
    );
    let ((_, host), (_, router), (_, plain)) = (load(POLICY), load(POLICY), load(&stateless));
    open(&router, 40_000);
    let namespace = Namespace::new("host").unwrap();
    for address in ["198.51.100.1", "203.0.113.5"] {
        namespace
            .ip(&format!("addr add {address}/32 dev lo"))
            .unwrap();
    }
    let data = |port| {
        let packet = segment(port, |segment| segment.data = 100);
        connection_frame(&packet, false)
    };
    namespace.run(|| {
        // A connection from one address of this namespace to another one.
        let server = TcpListener::bind("203.0.113.5:443").unwrap();
        let client = connect_from(Ipv4Addr::new(198, 51, 100, 1), 40_001, "203.0.113.5:443");
        let accepted = server.accept().unwrap();
        let known = data(40_001);
        assert!(passes(&host, &known), "the socket is found");
        let syn = segment(22, |segment| (segment.syn, segment.ack) = (true, false));
        let udp = Packet {
            message: Message::Udp,
            ..segment(1_111, |_| {})
        };
        let [syn, udp] = [syn, udp].map(|packet| connection_frame(&packet, false));
        let flow = data(40_000);
        let stranger = data(40_002);
        assert!(passes(&router, &flow) && !passes(&host, &stranger) && !passes(&plain, &stranger));
        let rows = [
            ("of a flow, forwarded", cost(&router, &flow)),
            ("of a socket", cost(&host, &known)),
            ("a stranger's ACK", cost(&host, &stranger)),
            ("the same, on a router", cost(&router, &stranger)),
            ("a stranger's SYN", cost(&host, &syn)),
            ("a stranger's datagram", cost(&host, &udp)),
            ("dropped without state", cost(&plain, &stranger)),
        ];
        drop((client, accepted));
        for (what, nanoseconds) in rows {
            eprintln!("{nanoseconds:>5} ns  {what}");
        }
    });
}
