//! `state: established`: random traffic of a host before the host build and a model of the table
//! that shares no code with it (`tests/harness/oracle/flows.rs`); and a table that fills up.
//!
//! `FIREWALL_CASES=N` says how many packets, `FIREWALL_SEED=N` picks other ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_common::flows::{capacity, statistics};
use firewall_common::region::Region;
use firewall_common::verdict::Verdict;
use firewall_policy::host::{Memory, decide_after, record};
use firewall_tests::fuzz::{Case, Connections, Event, connection_frame, hex};
use firewall_tests::number;
use firewall_tests::oracle::flows::{Flows, Message, Packet, Segment, Sum};
use firewall_tests::policies::parse;
use std::net::Ipv4Addr;

const POLICY: &str = "\
version: 1
default: {in: drop, essential: false}
rules:
  - {name: replies, state: established, action: pass}
";

/// The same, and what comes because of a datagram from another port, or from a member of a group.
const RELATED: &str = "\
version: 1
default: {in: drop, essential: false}
rules:
  - {name: replies, state: established, action: pass}
  - {name: others, state: related, action: pass}
";

#[test]
fn host_and_model_agree_on_random_traffic() {
    agree(POLICY, false);
}

#[test]
fn host_and_model_agree_on_what_is_related() {
    agree(RELATED, true);
}

fn agree(policy: &str, related: bool) {
    let case = Case::new("state", parse(policy).unwrap()).unwrap();
    let (memory, mut flows) = (Memory::default(), Flows::default());
    flows.now = 1;
    let mut traffic = Connections::new(number("FIREWALL_SEED", 1).unwrap(), 6);
    if related {
        traffic = traffic.with_groups();
    }
    let mut because = 0;
    let (mut passed, mut dropped) = (0, 0);
    for step in 0..number("FIREWALL_CASES", 60_000).unwrap() {
        memory.now.set(flows.now << 30);
        match traffic.event(&flows) {
            Event::Wait(ticks) => flows.now += ticks,
            Event::Out(packet, frame) => {
                flows.sends(&packet);
                record(&case.tables, &memory, &frame);
            }
            Event::In(packet, _) if flows.is_unclear(&packet) => {}
            Event::In(packet, frame) => {
                let before = flows.get(&packet).copied();
                let is_related = related && flows.is_related(&packet);
                let belongs = flows.receives(&packet);
                because += u64::from(is_related && !belongs);
                let belongs = belongs || is_related;
                let outcome = decide_after(&case.tables, &memory, &frame, 0).outcome;
                assert_eq!(
                    outcome.verdict == Verdict::PASS,
                    belongs,
                    "step {step}: {packet:?} {before:?} {outcome:?} {}",
                    hex(&frame)
                );
                if belongs {
                    passed += 1;
                } else {
                    dropped += 1;
                }
            }
        }
    }
    // The traffic is of both kinds, or it shows nothing.
    assert!(
        passed * 20 > dropped && dropped > passed,
        "{passed} {dropped}"
    );
    assert_eq!(because > 100, related, "{because}");
}

/// A segment of connection `number` of a host that this one forwards for.
fn segment(number: u32, edit: impl FnOnce(&mut Segment)) -> Packet {
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
    let port = 1_024 + (number % 50_000) as u16;
    Packet {
        local: (Ipv4Addr::new(198, 51, 100, 1).into(), port),
        remote: (Ipv4Addr::from_bits(0x0b00_0000 + number).into(), 443),
        message: Message::Tcp(segment),
    }
}

/// A forwarding host with a small table, in which connections are opened.
struct Router {
    case: Case,
    memory: Memory,
}

impl Router {
    fn new(bytes: u32) -> Self {
        let mut case = Case::new("full", parse(POLICY).unwrap()).unwrap();
        case.tables.config.flows_size = bytes;
        case.tables.config.flows_seed = [0x1234_5678, 0x9abc_def0];
        let memory = Memory::default();
        memory.now.set(1 << 30);
        Self { case, memory }
    }

    fn capacity(&self) -> u32 {
        capacity(self.case.tables.config.flows_size) / 2
    }

    fn sends(&self, packet: &Packet) {
        record(
            &self.case.tables,
            &self.memory,
            &connection_frame(packet, true),
        );
    }

    fn lets_in(&self, packet: &Packet) -> bool {
        let frame = connection_frame(packet, false);
        let outcome = decide_after(&self.case.tables, &self.memory, &frame, 0).outcome;
        outcome.verdict == Verdict::PASS
    }

    /// A handshake: whether the answer to the SYN comes in.
    fn opens(&self, number: u32) -> bool {
        self.sends(&segment(number, |syn| {
            (syn.syn, syn.ack, syn.sequence, syn.acknowledged) = (true, false, 999, 0);
        }));
        let answered = self.lets_in(&segment(number, |answer| {
            (answer.syn, answer.sequence, answer.acknowledged) = (true, 4_999, 1_000);
        }));
        self.sends(&segment(number, |_| {}));
        answered
    }

    fn evicted(&self) -> u64 {
        self.memory.words(Region::Flows)[statistics::EVICTED as usize / 8]
    }

    fn lost(&self, numbers: std::ops::Range<u32>) -> u64 {
        let lost = numbers.filter(|&number| !self.lets_in(&segment(number, |_| {})));
        lost.count() as u64
    }
}

#[test]
fn at_four_fifths_nobody_is_lost_and_everybody_gets_in() {
    let router = Router::new(4 << 20);
    let settled = router.capacity() / 5 * 4;
    let refused = (0..settled).filter(|&number| !router.opens(number)).count();
    assert_eq!((refused, router.evicted()), (0, 0));
    // New ones, each of which has ended before the next: a fill that stays.
    let mut refused = 0;
    for number in settled..settled + 4_000 {
        refused += u32::from(!router.opens(number));
        router.lets_in(&segment(number, |reset| {
            (reset.rst, reset.sequence, reset.acknowledged) = (true, 5_000, 1_000);
        }));
    }
    assert_eq!((refused, router.evicted()), (0, 0), "refused, evicted");
    assert_eq!(router.lost(0..settled), 0);
}

#[test]
fn in_a_full_table_the_longest_idle_give_way_and_are_counted() {
    let router = Router::new(1 << 20);
    let many = router.capacity() * 2;
    for number in 0..many {
        router.memory.now.set((1 + u64::from(number) / 16) << 30);
        assert!(router.opens(number), "{number} of {many}");
    }
    let before = router.evicted();
    assert!(before > u64::from(router.capacity()) / 2, "{before}");
    // What has gone is the older half, and each is counted.
    let (old, new) = (router.lost(0..many / 2), router.lost(many / 2..many));
    assert_eq!(old + new, before, "lost and counted");
    assert!(new * 10 < old, "{old} old ones, {new} new ones");
}

/// A router makes two flows of a connection, one for each way it sends segments out.
#[test]
fn in_a_full_table_the_answer_of_a_connection_does_not_push_its_question_out() {
    let router = Router::new(1 << 20);
    for number in 0..router.capacity() * 2 {
        assert!(router.opens(number));
    }
    let mut refused = Vec::new();
    for number in 500_000..500_000 + number("FIREWALL_CASES", 8_000).unwrap() as u32 {
        router.sends(&segment(number, |syn| (syn.syn, syn.ack) = (true, false)));
        let mut answer = segment(number, |answer| {
            (answer.syn, answer.sequence, answer.acknowledged) = (true, 4_999, 1_000);
        });
        std::mem::swap(&mut answer.local, &mut answer.remote);
        router.sends(&answer);
        std::mem::swap(&mut answer.local, &mut answer.remote);
        if !router.lets_in(&answer) {
            refused.push(number);
        }
    }
    assert!(refused.is_empty(), "{} refused", refused.len());
}

#[test]
fn forged_segments_take_no_settled_connection_away() {
    let router = Router::new(1 << 20);
    let settled = router.capacity() / 2;
    for number in 0..settled {
        assert!(router.opens(number));
    }
    // SYNs and ACKs of strangers, forwarded to hosts that keep silent.
    for number in 0..number("FIREWALL_CASES", 60_000).unwrap() as u32 {
        router.sends(&segment(1_000_000 + number * 2, |syn| {
            (syn.syn, syn.ack) = (true, false);
        }));
        router.sends(&segment(1_000_001 + number * 2, |ack| ack.data = 10));
        if number % 100 == 0 {
            assert!(router.opens(900_000 + number / 100), "a new one fails");
        }
    }
    assert_eq!(router.lost(0..settled), 0);
}

/// A segment of connection 1, as each side sends it: what has come before is over.
fn go_on(out: bool, edit: impl FnOnce(&mut Segment)) -> Packet {
    segment(1, |it| {
        if !out {
            (it.sequence, it.acknowledged) = (5_000, 1_000);
        }
        edit(it);
    })
}

/// Whether a connection is known ten minutes after these segments, each with whether it goes out.
fn lives_on(segments: &[(bool, Packet)]) -> bool {
    let router = Router::new(1 << 20);
    assert!(router.opens(1));
    for (out, packet) in segments {
        if *out {
            router.sends(packet);
        } else {
            assert!(router.lets_in(packet), "{packet:?}");
        }
    }
    let later = router.memory.now.get() + (600 << 30);
    router.memory.now.set(later);
    router.lets_in(&go_on(false, |_| {}))
}

/// What ends one side of a connection: its FIN, and that the other side acknowledges it.
fn end(out: bool) -> [(bool, Packet); 2] {
    [
        (out, go_on(out, |it| it.fin = true)),
        (!out, go_on(!out, |it| it.acknowledged += 1)),
    ]
}

#[test]
fn a_fin_that_the_other_side_has_not_acknowledged_ends_no_half_open_connection() {
    for done in [true, false] {
        let open = !done;
        let half = end(done);
        assert!(lives_on(&half), "half-closed");
        // Each with a number that was used before: a keep-alive's; behind data; with data.
        for (back, data) in [(1, 0), (2, 1), (10, 9)] {
            let forged = go_on(open, |it| {
                (it.fin, it.data) = (true, data);
                it.sequence -= back;
                it.acknowledged += 1;
            });
            let answer = go_on(done, |it| it.sequence += 1);
            let all = [&half[..], &[(open, forged), (done, answer)]].concat();
            assert!(lives_on(&all), "{done} {back}");
        }
    }
}

#[test]
fn a_fin_that_is_acknowledged_ends_its_side() {
    for first in [true, false] {
        let [fin, ack] = end(first);
        let last = go_on(!first, |it| {
            (it.fin, it.acknowledged) = (true, it.acknowledged + 1);
        });
        let over = go_on(first, |it| {
            (it.sequence, it.acknowledged) = (it.sequence + 1, it.acknowledged + 1);
        });
        let (last, over) = ((!first, last), (first, over));
        assert!(!lives_on(&[fin, ack, last, over]), "one after the other");
        assert!(!lives_on(&[fin, fin, ack, last, last, over]), "sent again");
        assert!(!lives_on(&[fin, last, over]), "at once");
    }
}

#[test]
fn a_connection_that_is_known_from_its_fin_on_ends() {
    let router = Router::new(1 << 20);
    router.sends(&segment(1, |it| it.fin = true));
    let come = |edit: fn(&mut Segment)| go_on(false, edit);
    assert!(router.lets_in(&come(|it| (it.fin, it.acknowledged) = (true, 1_001))));
    router.sends(&segment(1, |it| {
        (it.sequence, it.acknowledged) = (1_001, 5_001);
    }));
    router.memory.now.set(600 << 30);
    assert!(!router.lets_in(&come(|it| it.acknowledged = 1_001)));
}

/// A router some seconds after the last thing that happened.
fn later(router: &Router, seconds: u64) {
    let now = router.memory.now.get();
    router.memory.now.set(now + seconds * 1_000_000_000);
}

fn syn(it: &mut Segment) {
    (it.syn, it.ack, it.sequence, it.acknowledged) = (true, false, 999, 0);
}

/// The firewall begins to look while the answer to the SYN is on its way in.
#[test]
fn a_connection_whose_handshake_was_half_seen_goes_on() {
    let router = Router::new(1 << 20);
    router.sends(&segment(1, syn));
    router.sends(&segment(1, |_| {}));
    for round in 0..10 {
        later(&router, 50);
        router.sends(&segment(1, |ack| ack.sequence += 500 * (round + 1)));
        let said = segment(1, |said| {
            (said.sequence, said.acknowledged) = (5_000, 1_500 + 500 * round);
        });
        assert!(router.lets_in(&said), "round {round}");
    }
    // A stranger's answer is none: nobody has heard this side go on.
    router.sends(&segment(2, syn));
    assert!(router.lets_in(&segment(2, |ack| ack.acknowledged = 77)));
    later(&router, 130);
    assert!(!router.lets_in(&segment(2, |_| {})));
}

/// What a host behind the router has accepted, and has not answered yet.
#[test]
fn a_connection_that_is_accepted_and_then_idle_goes_on() {
    let router = Router::new(1 << 20);
    for (number, acknowledged, goes_on) in [(1, 1_000, true), (2, 1_001, false)] {
        router.sends(&segment(number, |accepts| {
            (accepts.syn, accepts.sequence, accepts.acknowledged) = (true, 999, 5_000);
        }));
        let last = segment(number, |last| {
            (last.sequence, last.acknowledged) = (5_000, acknowledged);
        });
        assert!(router.lets_in(&last), "{number}");
        later(&router, 3_600);
        assert_eq!(router.lets_in(&last), goes_on, "{number}");
    }
}

/// Both hosts have forgotten a connection of which the router has not seen the end, and open it anew.
#[test]
fn a_syn_meets_a_syn_where_a_connection_never_ended() {
    let router = Router::new(1 << 20);
    assert!(router.opens(1));
    later(&router, 7_200);
    assert!(!router.lets_in(&segment(1, syn)), "nobody has sent a SYN");
    router.sends(&segment(1, |it| {
        syn(it);
        it.sequence = 700_000;
    }));
    later(&router, 60);
    assert!(router.lets_in(&segment(1, syn)));
    later(&router, 90);
    assert!(!router.lets_in(&segment(1, syn)), "the SYN is too old");
}

/// Which rule passes a datagram to port 40,000 of this host, from another host's port.
fn passed_by(case: &Case, memory: &Memory, remote: Ipv4Addr, port: u16) -> Option<u32> {
    let answer = connection_frame(&datagram_of(remote, port), false);
    let outcome = decide_after(&case.tables, memory, &answer, 0).outcome;
    (outcome.verdict == Verdict::PASS).then_some(outcome.rule)
}

/// A datagram between port 40,000 of this host and another host's port.
fn datagram_of(remote: Ipv4Addr, port: u16) -> Packet {
    Packet {
        local: (Ipv4Addr::new(198, 51, 100, 1).into(), 40_000),
        remote: (remote.into(), port),
        message: Message::Udp,
    }
}

/// What is expected is kept under the name of port 0, which a datagram can bear, too.
#[test]
fn a_datagram_from_port_0_is_no_answer_and_keeps_nothing_open() {
    let case = Case::new("related", parse(RELATED).unwrap()).unwrap();
    let memory = Memory::default();
    let server = Ipv4Addr::new(203, 0, 113, 5);
    memory.now.set(1 << 30);
    for (remote, port) in [(server, 69), (Ipv4Addr::new(239, 255, 255, 250), 1_900)] {
        let asked = connection_frame(&datagram_of(remote, port), true);
        record(&case.tables, &memory, &asked);
    }
    assert_eq!(passed_by(&case, &memory, server, 69), Some(0));
    assert_eq!(passed_by(&case, &memory, server, 5_000), Some(1));
    for seconds in [1, 20, 35, 50] {
        memory.now.set((1 + seconds) << 30);
        assert_ne!(passed_by(&case, &memory, server, 0), Some(0), "{seconds}");
    }
    assert_eq!(passed_by(&case, &memory, server, 5_000), None);
}
