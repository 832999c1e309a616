//! A client that cuts its TCP stream in the ways of fragrouter (Song, Shaffer and Undy, 1999, after
//! Ptacek and Newsham, "Insertion, evasion, and denial of service", 1998): tiny, reordered, doubled
//! and overlapping fragments and segments. None of them brings a byte to a port that the policy
//! closes, under a policy that passes all else.
//!
//! The client is one of its own, because no stack sends such things. That it is good enough to
//! be heard is shown first, without the filter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::evasion::POLICY_B;
use firewall_tests::frames::checksum;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, Pair};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// The client's address: the host outside does not have it, so its stack does not meddle.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

const MESSAGE: &[u8] = b"GET /secret HTTP/1.0\r\n\r\n";

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// What is done to the stream, by fragrouter's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attack {
    /// Fragments of 8 bytes.
    F1,
    /// Fragments of 24 bytes.
    F2,
    /// Of 8 bytes, one of them out of order.
    F3,
    /// Of 8 bytes, one of them twice.
    F4,
    /// Of 8 bytes, last to first, one of them twice.
    F5,
    /// Of 8 bytes, the last one first.
    F6,
    /// Of 16 bytes, each after one with other bytes that reaches over it.
    F7,
    /// FIN and RST with wrong checksums, then segments of one byte.
    T1,
    /// Segments of one byte, the last but one twice.
    T3,
    /// Segments of one byte, the last but one again with a null byte.
    T4,
    /// Segments of two bytes, each after a null byte in the place of its second.
    T5,
    /// Segments of one byte, and between them null bytes far away in the sequence.
    T7,
    /// Segments of one byte, one of them out of order.
    T8,
    /// Segments of one byte, last to first.
    T9,
}

use Attack::{F1, F2, F3, F4, F5, F6, F7, T1, T3, T4, T5, T7, T8, T9};

const ATTACKS: [Attack; 14] = [F1, F2, F3, F4, F5, F6, F7, T1, T3, T4, T5, T7, T8, T9];

impl Attack {
    /// The pieces of a datagram: offset, bytes, and whether more follow.
    fn pieces(self, datagram: &[u8]) -> Vec<(usize, Vec<u8>, bool)> {
        let size = match self {
            F2 => 24,
            F7 => 16,
            F1 | F3 | F4 | F5 | F6 => 8,
            _ => return vec![(0, datagram.to_vec(), false)],
        };
        let mut pieces: Vec<_> = datagram
            .chunks(size)
            .enumerate()
            .map(|(i, bytes)| {
                let from = i * size;
                (from, bytes.to_vec(), from + bytes.len() < datagram.len())
            })
            .collect();
        let last = pieces.len() - 1;
        match self {
            F3 => pieces.swap(last - 1, last),
            F4 => pieces.insert(1, pieces[1].clone()),
            F5 => {
                pieces.reverse();
                pieces.insert(1, pieces[1].clone());
            }
            F6 => pieces.rotate_right(1),
            F7 => {
                let over = pieces.iter().map(|(from, bytes, _)| {
                    (*from, vec![0; bytes.len().next_multiple_of(8) + 8], true)
                });
                pieces = over.zip(pieces.clone()).flat_map(|(a, b)| [a, b]).collect();
            }
            _ => {}
        }
        pieces
    }

    /// The segments of the stream: place, bytes, flags, and whether the checksum is right.
    fn segments(self) -> Vec<(u32, Vec<u8>, u8, bool)> {
        let data = PSH | ACK;
        let null = |at: usize| (at as u32, vec![0], data, true);
        let of = |size: usize| {
            let chunks = MESSAGE.chunks(size).enumerate();
            chunks
                .map(|(i, bytes)| ((i * size) as u32, bytes.to_vec(), data, true))
                .collect::<Vec<_>>()
        };
        let mut bytes = of(1);
        let last = bytes.len() - 1;
        match self {
            T1 => {
                bytes.insert(0, (0, Vec::new(), FIN | ACK, false));
                bytes.insert(1, (0, Vec::new(), RST, false));
            }
            T3 => bytes.insert(last, bytes[last - 1].clone()),
            T4 => bytes.insert(last, null(last - 1)),
            T5 => {
                let pairs = of(2).into_iter();
                bytes = pairs
                    .flat_map(|pair| [null(pair.0 as usize + 1), pair])
                    .collect();
            }
            T7 => {
                let far = |(at, ..): &(u32, Vec<u8>, u8, bool)| null(*at as usize + (1 << 30));
                bytes = bytes
                    .iter()
                    .flat_map(|one| [one.clone(), far(one)])
                    .collect();
            }
            T8 => bytes.swap(last - 2, last - 1),
            T9 => bytes.reverse(),
            _ => bytes = of(MESSAGE.len()),
        }
        bytes
    }
}

/// Raw access to the cable, from outside.
struct Client {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    id: u16,
    /// The next connection's port.
    port: u16,
}

impl Client {
    fn new(pair: &Pair) -> Self {
        pair.outside.run(|| {
            let interfaces = pnet_datalink::interfaces();
            let interface = interfaces.iter().find(|i| i.name == INTERFACE).unwrap();
            let config = Config {
                read_timeout: Some(Duration::from_millis(20)),
                ..Config::default()
            };
            match pnet_datalink::channel(interface, config).unwrap() {
                Channel::Ethernet(sender, receiver) => Self {
                    sender,
                    receiver,
                    id: 1,
                    port: 40_000,
                },
                _ => panic!("not an Ethernet interface"),
            }
        })
    }

    /// Sends a segment to `to`, cut as the attack says.
    fn send(
        &mut self,
        attack: Attack,
        to: u16,
        numbers: (u32, u32),
        flags: u8,
        data: &[u8],
        good: bool,
    ) {
        let mut segment = Vec::new();
        segment.extend(self.port.to_be_bytes());
        segment.extend(to.to_be_bytes());
        segment.extend(numbers.0.to_be_bytes());
        segment.extend(numbers.1.to_be_bytes());
        segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(data);
        let mut pseudo = [CLIENT.octets(), INSIDE_V4.octets()].concat();
        pseudo.extend([0, 6]);
        pseudo.extend((segment.len() as u16).to_be_bytes());
        pseudo.extend(&segment);
        let sum = checksum(&pseudo) ^ if good { 0 } else { 0x5555 };
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.id += 1;
        for (from, bytes, more) in attack.pieces(&segment) {
            let mut packet = vec![0x45, 0];
            packet.extend((20 + bytes.len() as u16).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend((u16::from(more) << 13 | (from as u16 >> 3)).to_be_bytes());
            packet.extend([64, 6, 0, 0]);
            packet.extend(CLIENT.octets());
            packet.extend(INSIDE_V4.octets());
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(bytes);
            let mut frame = Pair::macs().to_vec();
            frame.extend([8, 0]);
            frame.extend(packet);
            self.sender.send_to(&frame, None).unwrap().unwrap();
        }
    }

    /// The server's sequence number, if it answers the SYN soon.
    fn answer(&mut self, patience: Duration) -> Option<u32> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let Ok(frame) = self.receiver.next() else {
                continue;
            };
            let Some(segment) = frame.get(34..) else {
                continue;
            };
            let is_ours = frame[12..14] == [8, 0]
                && frame[23] == 6
                && segment.len() >= 20
                && segment[2..4] == self.port.to_be_bytes()
                && segment[13] == SYN | ACK;
            if is_ours {
                return segment[4..8].try_into().ok().map(u32::from_be_bytes);
            }
        }
        None
    }

    /// A connection to `to` with the whole message, as the attack says. Goes on without an answer.
    fn attack(&mut self, attack: Attack, to: u16, patience: Duration) {
        const START: u32 = 1_000;
        self.port += 1;
        self.send(attack, to, (START, 0), SYN, &[], true);
        let ack = self.answer(patience).unwrap_or(0).wrapping_add(1);
        self.send(attack, to, (START + 1, ack), ACK, &[], true);
        for (place, bytes, flags, good) in attack.segments() {
            let seq = START + 1 + place;
            self.send(attack, to, (seq, ack), flags, &bytes, good);
        }
        let end = START + 1 + MESSAGE.len() as u32;
        self.send(attack, to, (end, ack), FIN | ACK, &[], true);
    }
}

/// What came in on the listener's next connection, if there is one within `patience`.
fn heard(listener: &TcpListener, patience: Duration) -> Option<Vec<u8>> {
    let end = Instant::now() + patience;
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(patience)).unwrap();
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                return Some(bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

#[test]
#[ignore = "needs root"]
fn no_way_of_cutting_a_stream_opens_a_closed_port() {
    let pair = Pair::new().unwrap();
    pair.inside
        .ip(&format!(
            "neigh replace {CLIENT} lladdr 02:00:00:00:00:09 dev {INTERFACE} nud permanent"
        ))
        .unwrap();
    let [closed, open] = [22, 80].map(|port| {
        let listener = pair
            .inside
            .run(|| TcpListener::bind((INSIDE_V4, port)).unwrap());
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let mut client = Client::new(&pair);
    let patience = firewall_tests::patience(Duration::from_millis(400));

    for attack in ATTACKS {
        client.attack(attack, 22, patience);
        // Linux itself drops datagrams whose fragments overlap.
        let bytes = heard(&closed, patience).map_or(0, |bytes| bytes.len());
        assert_eq!(
            bytes,
            if attack == F7 { 0 } else { MESSAGE.len() },
            "{attack:?}, no filter"
        );
    }

    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = format!("interfaces: [{{match: {INTERFACE}}}]\n{POLICY_B}");
    let policy = ctl.policy(&policy).unwrap();
    ctl.start(&policy).unwrap();
    for attack in ATTACKS {
        client.attack(attack, 22, Duration::from_millis(30));
    }
    assert_eq!(heard(&closed, patience), None);
    // Whole packets to a port that is open are not the policy's business.
    for attack in [T1, T3, T4, T5, T7, T8, T9] {
        client.attack(attack, 80, patience);
        let bytes = heard(&open, patience).map_or(0, |bytes| bytes.len());
        assert_eq!(bytes, MESSAGE.len(), "{attack:?} to an open port");
    }
}
