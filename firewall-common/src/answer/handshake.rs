//! SYN protection: who opens a connection to a port under attack gets his answer from the program,
//! and the host keeps nothing of him until he has answered that.
//!
//! The cookies are the kernel's own (`bpf_tcp_gen_syncookie`; the idea: D. J. Bernstein, 1996; RFC
//! 4987, 3.6): the kernel gives one only while the queue of the listening socket is full, and takes
//! the connection that comes back with it without knowing of this program. So a port is under attack
//! when the kernel says so, and no longer when its queue has emptied.
//!
//! An acknowledgement without a cookie is dropped only where cookies have been given lately: to that
//! address and port. What they say of one listener says nothing of another, nor of a port that this
//! host translates to another one (DNAT) and listens on too. [`WATCHES`] words hold the times, each
//! with a tag of the listener that it is about; one that is pushed out is not looked at, that is all.
//!
//! May not import anything of the host or the kernel. Invariant: a packet that belongs to a socket or
//! a flow, and one for which no socket listens, goes on as without protection.

use super::build::{self, Answer, IP_WORDS};
use super::{has_link_header, is_broadcast, is_from_one_host_to_one};
use crate::calls::{Calls, IngressCalls};
use crate::field::Field;
use crate::flows::state_field::ESTABLISHED;
use crate::frame::{Frame, Header as _};
use crate::key::{Family, PacketKey};
use crate::machine::Machine;
use crate::parse::{Packet, flag, fragment, proto};
use crate::reason::Reason;
use crate::region::Region;

/// What the listening socket says of a segment: nothing that concerns this module.
pub const GO_ON: u64 = 0;

/// It says that nobody here has asked for what the segment acknowledges. Every other number is a
/// cookie, and 32 bits up the largest segment that the sender takes.
pub const FORGED: u64 = 1;

/// How long acknowledgements are looked at after the last cookie, in nanoseconds: as long as the
/// kernel takes a cookie (`MAX_SYNCOOKIE_AGE`, two minutes).
const WATCHED: u64 = 120_000_000_000;

/// Words for the times of last cookies: a power of two.
pub const WATCHES: u32 = 1 << WATCH_BITS;
const WATCH_BITS: u32 = 6;

/// The bits of such a word that are the listener's tag, and not the time: 65 microseconds.
const TAG: u64 = 0xffff;

/// How often the time of the last cookie is noted, in nanoseconds.
const NOTED: u64 = 1_000_000_000;

/// The window of an answer, in bytes: without a scale, which a cookie has no room for.
const WINDOW: u32 = 0xffff;

/// What becomes of a packet that a rule with `syn_protect: auto` passes, if it does not go on.
#[inline(always)]
pub fn guard<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &Packet) -> Option<Reason> {
    if !has_link_header(machine) {
        return None;
    }
    let key = &packet.key;
    if key.field(Field::Proto) != proto::TCP || key.field(Field::Fragment) != fragment::WHOLE {
        return None;
    }
    let flags = key.field(Field::TcpFlags) & (flag::SYN | flag::ACK | flag::RST);
    if flags == flag::SYN {
        // What the host would drop unseen gets no answer either.
        if !is_from_one_host_to_one(key) || is_broadcast(machine, key) {
            return None;
        }
        let cookie = frame.ask_listener(machine, packet);
        if cookie == GO_ON || cookie == FORGED {
            return None;
        }
        if !frame.is_intact(machine, packet) {
            return None;
        }
        note(machine, key);
        return frame
            .shake_hands(machine, packet, cookie)
            .then_some(Reason::SYN_COOKIE);
    }
    let forged = flags == flag::ACK
        && (machine.constant(|c| &c.flows) == 0 || key.field(Field::State) != ESTABLISHED)
        && is_watched(machine, key)
        && frame.ask_listener(machine, packet) == FORGED;
    forged.then_some(Reason::SYN_FORGED)
}

/// Where the word of the listener stands that the packet goes to, and its tag.
#[inline(always)]
fn watch_of<M: Calls>(machine: &M, key: &PacketKey) -> (u64, u64) {
    let mut hash = u64::from(key.field(Field::DestinationPort));
    for half in [key.dst_hi, key.dst_lo] {
        hash = (hash ^ half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    let first = u64::from(machine.constant(|c| &c.syn_seen));
    let number = hash & u64::from(WATCHES - 1);
    (first + number * 8, hash >> WATCH_BITS & TAG)
}

/// Notes that there was a cookie: at most once in [`NOTED`], because all processors share the word.
#[inline(always)]
fn note<M: Calls>(machine: &M, key: &PacketKey) {
    let (at, tag) = watch_of(machine, key);
    let (now, last) = (machine.now(), machine.read(Region::Buckets, at));
    if last & TAG != tag || now.wrapping_sub(last & !TAG) > NOTED {
        machine.write(Region::Buckets, at, now & !TAG | tag);
    }
}

/// Whether there was one lately. In quiet times no acknowledgement is looked up.
#[inline(always)]
fn is_watched<M: Calls>(machine: &M, key: &PacketKey) -> bool {
    let (at, tag) = watch_of(machine, key);
    let last = machine.read(Region::Buckets, at);
    last > TAG && last & TAG == tag && machine.now().wrapping_sub(last & !TAG) < WATCHED
}

/// Makes the answer to a SYN: a SYN with the cookie as its sequence number. False if its headers
/// cannot be read.
#[inline(always)]
pub fn build_handshake<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &Packet,
    cookie: u64,
    answer: &mut Answer,
) -> bool {
    let Some(link_len) = build::link(machine, frame, answer) else {
        return false;
    };
    let Some(ip_len) = syn_ack(frame, packet, cookie, &mut answer.ip) else {
        return false;
    };
    build::finish(frame, link_len, ip_len, answer);
    true
}

/// Returns the length of the IP packet.
#[inline(always)]
fn syn_ack<F: Frame>(
    frame: &F,
    packet: &Packet,
    cookie: u64,
    ip: &mut [u32; IP_WORDS],
) -> Option<u32> {
    const LENGTH: u32 = 24;
    let header = frame.header::<20>(packet.l4)?;
    let ports = header.be16::<2>() << 16 | header.be16::<0>();
    let acknowledged = header.be32::<4>().wrapping_add(1);
    let last = 6 << 28 | (flag::SYN | flag::ACK) << 16 | WINDOW;
    // Kind 2, length 4: the largest segment.
    let option = 2 << 24 | 4 << 16 | (cookie >> 32) as u32 & 0xffff;
    let key = &packet.key;
    let sum = build::ip_header(key, proto::TCP, LENGTH, ip);
    let words = [ports, cookie as u32, acknowledged, last, option];
    let sum = words.iter().fold(sum, |sum, &word| sum + u64::from(word));
    let check = build::checksum(sum) << 16;
    let body = [ports, cookie as u32, acknowledged, last, check, option];
    match key.family() {
        Family::V4 => build::put::<5, 6>(ip, body),
        Family::V6 => build::put::<10, 6>(ip, body),
    }
    Some(build::header_words(key) as u32 * 4 + LENGTH)
}
