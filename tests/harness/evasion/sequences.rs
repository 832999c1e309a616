//! Fragments that only what went before them makes good or bad (RFC 791, RFC 1858, RFC 3128,
//! RFC 5722), under `fragments: follow-first`.

use super::{End, drop, pass};
use crate::frames::{Frame, tagged, tcp, udp};
use crate::fuzz::{Piece, fragment};
use firewall_common::reason::Reason;

/// Drops by default; lets TCP port 80 and UDP port 53 in; fragments follow their first.
pub const POLICY_FOLLOW: &str = "\
version: 1
default: {in: drop}
packet: {fragments: follow-first}
rules:
  - {name: web, proto: tcp, port: 80, action: pass}
  - {name: dns, proto: udp, port: 53, action: pass}
";

/// Frames in their order, before which nothing was.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Kind of evasion.
    pub id: &'static str,
    /// What it is.
    pub what: String,
    /// Each frame with its end under [`POLICY_FOLLOW`].
    pub steps: Vec<(Frame, End)>,
}

const FIRST: End = pass(Reason::RULE);
const FOLLOWS: End = pass(Reason::FRAGMENT);
const REFUSED: End = drop(Reason::NO_MATCH);
const ORPHAN: End = drop(Reason::FRAG_ORPHAN);
const CLASH: End = drop(Reason::FRAG_CLASH);

/// Bytes of every datagram here.
const LENGTH: usize = 20 + 380;

/// Makes pieces of one kind of datagram.
#[derive(Clone, Copy)]
struct Maker {
    v6: bool,
    proto: u8,
}

impl Maker {
    /// Bytes `from..to` of the datagram to `port` with identification `id`.
    fn piece(self, id: u32, port: u16, from: usize, to: usize) -> Frame {
        let datagram = if self.proto == 6 {
            tcp(40_000, port, 2, &[0; LENGTH - 20])
        } else {
            udp(40_000, port, &[0; LENGTH - 8])
        };
        let piece = Piece {
            v6: self.v6,
            host: 1,
            proto: self.proto,
            id,
            bytes: (from, to),
            more: to < LENGTH,
        };
        fragment(&datagram, &piece)
    }

    /// The port that is let in.
    const fn open(self) -> u16 {
        if self.proto == 6 { 80 } else { 53 }
    }
}

/// Every sequence, over both families, TCP and UDP, with and without a tag.
#[must_use]
pub fn sequences() -> Vec<Sequence> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        for proto in [6, 17] {
            let maker = Maker { v6, proto };
            let family = if v6 { "IPv6" } else { "IPv4" };
            for (id, what, steps) in of(maker) {
                all.push(Sequence {
                    id,
                    what: format!("{what}, {family}, protocol {proto}"),
                    steps: steps.clone(),
                });
                let steps = steps.into_iter();
                all.push(Sequence {
                    id,
                    what: format!("{what}, {family}, protocol {proto}, tagged"),
                    steps: steps
                        .map(|(frame, end)| (tagged(&frame, &[(0x8100, 100)]), end))
                        .collect(),
                });
            }
        }
    }
    all
}

type Case = (&'static str, &'static str, Vec<(Frame, End)>);

fn of(maker: Maker) -> Vec<Case> {
    let open = maker.open();
    let at = |from, to| maker.piece(7, open, from, to);
    let first = || (at(0, 80), FIRST);
    let mut cases = vec![
        (
            "E15",
            "a second first fragment, to a closed port",
            vec![
                first(),
                (maker.piece(7, 22, 0, 80), CLASH),
                (at(80, LENGTH), CLASH),
                (at(0, 80), CLASH),
            ],
        ),
        (
            "E15",
            "a refused first fragment leaves no trace",
            vec![
                (maker.piece(7, 22, 0, 80), REFUSED),
                (at(80, LENGTH), ORPHAN),
                first(),
                (at(80, LENGTH), FOLLOWS),
            ],
        ),
        (
            "E18",
            "the rest follows, in order and out of order",
            vec![
                first(),
                (at(240, 320), FOLLOWS),
                (at(80, 160), FOLLOWS),
                (at(320, LENGTH), FOLLOWS),
                (at(160, 240), FOLLOWS),
                // All of it has passed: the identification is free again.
                (at(80, 160), ORPHAN),
                first(),
                (at(80, LENGTH), FOLLOWS),
            ],
        ),
        (
            "E18",
            "the rest before the first, and of another identification",
            vec![
                (at(80, LENGTH), ORPHAN),
                first(),
                (maker.piece(8, open, 80, LENGTH), ORPHAN),
                (at(80, LENGTH), FOLLOWS),
            ],
        ),
        (
            "E28",
            "the last bytes twice",
            vec![
                first(),
                (at(160, 240), FOLLOWS),
                (at(152, 320), CLASH),
                (at(80, 160), CLASH),
                (at(320, LENGTH), CLASH),
            ],
        ),
        (
            "E28",
            "the same fragment twice",
            vec![
                first(),
                (at(160, 240), FOLLOWS),
                (at(160, 240), CLASH),
                (at(80, 160), CLASH),
            ],
        ),
        (
            "E28",
            "into the first fragment",
            vec![first(), (at(72, LENGTH), CLASH), (at(80, LENGTH), CLASH)],
        ),
        (
            "E28",
            "behind the last fragment",
            vec![
                first(),
                (at(320, LENGTH), FOLLOWS),
                (maker.piece(7, open, LENGTH, LENGTH + 80), CLASH),
                (at(80, 320), CLASH),
            ],
        ),
        (
            "E28",
            "an end before what was there",
            vec![
                first(),
                (at(320, 392), FOLLOWS),
                (ends_at(maker, 160), CLASH),
            ],
        ),
    ];
    // Every other unit of 8 bytes: the first fragment and seven more are eight pieces.
    let mut scattered = vec![first()];
    for piece in 0..7 {
        scattered.push((at(96 + 16 * piece, 104 + 16 * piece), FOLLOWS));
    }
    let ninth = drop(Reason::FRAG_SCATTERED);
    let filled = scattered.clone();
    scattered.push((at(96 + 16 * 7, 104 + 16 * 7), ninth));
    scattered.push((at(80, 96), ninth));
    cases.push(("E18", "more than eight pieces", scattered));
    let mut filling = filled;
    filling.push((at(80, 96), FOLLOWS));
    filling.push((at(96 + 16 * 7, 104 + 16 * 7), FOLLOWS));
    cases.push(("E18", "eight pieces, of which two meet", filling));
    cases
}

/// A last fragment from 80 up to `end`.
fn ends_at(maker: Maker, end: usize) -> Frame {
    let piece = Piece {
        v6: maker.v6,
        host: 1,
        proto: maker.proto,
        id: 7,
        bytes: (80, end),
        more: false,
    };
    fragment(&[], &piece)
}
