//! Connection tracking (`state: established`): which packets belong to an open connection of this host,
//! or of a host that it forwards for, so that answers can be told from unsolicited packets.
//!
//! ```text
//! ingress.rs  the state of a packet that comes in                             (program fw_xdp)
//! egress.rs   outgoing packets create and update flows                        (program fw_egress)
//! tcp.rs      what a segment may change in a flow
//! table.rs    finding a flow, and making one
//! room.rs     which flow is evicted
//! adopt.rs    flows taken over from connection tracking or from a table of another size
//! opening.rs  SYNs that were sent, for SYNs that come in
//! socket.rs   what the kernel's own sockets say
//! quote.rs    whether the packet that an ICMP error quotes was sent
//! request.rs  DHCP requests
//! related.rs  answers from elsewhere to a datagram
//! ```
//!
//! **The kernel's sockets are the first truth.** A TCP connection of this host has a socket, and needs
//! no flow. The table holds what has none: connections that are forwarded, UDP, echo requests.
//!
//! **Numbers never decide whether a segment passes.** The endpoint checks them itself. They decide
//! what may change a flow: see [`tcp`].
//!
//! The table is the region [`Region::Flows`], of fixed size, in sets of [`WAYS`] flows. A flow stands
//! in one of two sets. A set is a head of one cache line, and then a line for each flow:
//!
//! | bytes | |
//! |---|---|
//! | 0 to 55 | for each way: tag (upper half) and time of the last packet (lower); 0: free |
//! | 56 | the set's lock |
//! | 64 ... | the flows: addresses, [`Tuple::identity`], [`state`], sequence numbers |
//!
//! Half of the sets are for TCP, the other half for all else, so that a host that is made to answer
//! many datagrams does not forget its connections. The first set of each half holds no flow, but
//! [`statistics`].
//!
//! Writers that make a flow hold the set's lock: 1 for a program, 2 for user space, whose locks the next
//! one that holds the lock on the store takes back, should it have been killed. All else is one word: a flow's state is changed
//! by compare-and-exchange, and read without a lock; a reader looks at the tag again when it has
//! compared the rest.
//!
//! A change of the layout is a change of [`ABI_VERSION`](crate::abi::ABI_VERSION).
//!
//! May not import `classify` or `pipeline`.

mod adopt;
mod egress;
mod ingress;
mod opening;
pub mod quote;
mod related;
mod request;
mod room;
pub mod socket;
mod table;
mod tcp;

pub use adopt::{Adopted, adopt};
pub use egress::{ASKS_RULES, DONE, ENDS_FLOW, open, record_packet, reset, reverse};
pub use ingress::{ASKS_LISTENER, ASKS_QUOTE, ENDS, UNPROVEN, ended, state_of};
pub use opening::SYNS_SIZE;
pub use related::{expect, is_expectation, is_expected};
pub use request::is_request;
pub use room::room;
pub use table::{NOWHERE, locate};

use crate::abi::{Config, PacketConfig, fragments, tunnels};
#[cfg(doc)]
use crate::region::Region;

pub use crate::field::state_field;
pub use crate::key::Tuple;
pub use crate::machine::TICK_SHIFT;

/// Bytes of the table unless the policy says otherwise: 32,768 sets, 172,020 flows.
pub const FLOWS_SIZE: u32 = 16 << 20;

/// Bytes of the table of a policy that does not look at state, in which what [`crate::asked`] needs is
/// kept: echo requests and DHCP requests, in the half that is not TCP's. Room for 5,370 of them: for
/// 179 pings a second, each to another host, the half minute that each is remembered.
pub const ASKED_SIZE: u32 = 1 << 20;

/// How many flows a table of so many bytes has room for: three quarters of its places. Up to four fifths
/// of that, no flow that is in use gives way to a new one.
#[must_use]
pub const fn capacity(bytes: u32) -> u32 {
    // The first set of each half has none.
    (bytes / SET).saturating_sub(2) * WAYS / 4 * 3
}

/// Bytes of the smallest table that has room for so many flows.
#[must_use]
pub const fn size_for(flows: u32) -> u32 {
    let places = flows.div_ceil(3) * 4;
    (places.div_ceil(WAYS) + 2).next_power_of_two() * SET
}

/// Flows of a set: as many as there are words in a cache line beside the lock.
pub const WAYS: u32 = 7;

/// Bytes of a line: the head of a set, or a flow.
pub const LINE: u32 = 64;

/// Bytes of a set.
pub const SET: u32 = LINE * (WAYS + 1);

/// Byte offset of a set's lock.
pub const LOCK: u32 = LINE - 8;

/// Words of the first set of each half: byte offset from the start of the half.
pub mod statistics {
    use super::LINE;
    /// How often a new flow found no room: its set was locked for too long.
    pub const FULL: u64 = LINE as u64;
    /// How often a flow that both sides have used gave way to a new one.
    pub const EVICTED: u64 = FULL + 8;
    /// Not 0 as soon as a flow that goes on has been made in this half.
    pub const IN_USE: u64 = FULL + 16;
}

/// Byte offsets of the words of a flow, from the start of its line.
pub mod at {
    /// Address of the other side: upper half, then lower half.
    pub const REMOTE: u64 = 0;
    /// Address of this side (on a router: of whoever it forwards for), likewise.
    pub const LOCAL: u64 = 16;
    /// [`super::Tuple::identity`].
    pub const IDENTITY: u64 = 32;
    /// Bits of [`super::state`].
    pub const STATE: u64 = 40;
    /// TCP, this side: the sequence number behind the last byte that it has sent (upper half), and
    /// what it has acknowledged last.
    pub const OUT: u64 = 48;
    /// TCP, the other side: likewise.
    pub const IN: u64 = 56;
}

/// Bits of a flow's state.
pub mod state {
    /// The other side has answered.
    pub const REPLIED: u64 = 1;
    /// This side has gone on after that: both sides use it.
    pub const SETTLED: u64 = 2;
    /// TCP: this side has sent a SYN.
    pub const OPENING: u64 = 4;
    /// Made by a packet of this host itself, not by one that it forwards.
    pub const OWN: u64 = 8;
    /// TCP: the last that this side has sent was a FIN.
    pub const FIN_OUT: u64 = 1 << 4;
    /// TCP: and the other side has acknowledged it.
    pub const DONE_OUT: u64 = 1 << 5;
    /// TCP: the last that the other side has sent was a FIN.
    pub const FIN_IN: u64 = 1 << 6;
    /// TCP: and this side has acknowledged it.
    pub const DONE_IN: u64 = 1 << 7;
    /// TCP: this side has sent a RST with the number that the other side waits for.
    pub const RESET_OUT: u64 = 1 << 8;
    /// TCP: the other side has.
    pub const RESET_IN: u64 = 1 << 9;
    /// TCP: [`super::at::OUT`] holds numbers.
    pub const KNOWS_OUT: u64 = 1 << 10;
    /// TCP: [`super::at::IN`] holds numbers.
    pub const KNOWS_IN: u64 = 1 << 11;
    /// First of four bits: how much wider than [`super::tcp`]'s first reach its numbers may lie apart, as
    /// a power of two.
    pub const REACH: u32 = 12;
    /// TCP: its side has sent a SYN without ACK, which a SYN of the other side can meet, and neither side
    /// has gone on since.
    pub const ASKED: u64 = 1 << 16;
    /// First bit of where a flow that takes this one's place is told from it: counts up.
    pub const VERSION: u32 = 17;

    /// Whether a flow was made of a connection of this host that has ended: it stays so, whatever comes
    /// late.
    #[must_use]
    #[inline(always)]
    pub const fn was_socket(state: u64) -> bool {
        is_over(state) && state & (KNOWS_OUT | KNOWS_IN) == 0
    }

    /// Whether a SYN can meet the SYN of a flow's own side: both sides open at once.
    #[must_use]
    #[inline(always)]
    pub const fn meets_syn(state: u64) -> bool {
        state & ASKED != 0 && !is_over(state)
    }

    /// [`ASKED`], if a flow waits for the answer to its SYN.
    #[must_use]
    #[inline(always)]
    pub const fn still_asked(state: u64) -> u64 {
        if waits(state) && !is_over(state) {
            ASKED
        } else {
            0
        }
    }

    /// Whether a flow waits for the answer to a SYN.
    #[must_use]
    #[inline(always)]
    pub const fn waits(state: u64) -> bool {
        state & (ASKED | REPLIED) == ASKED
    }

    /// Whether a TCP connection has come to its end, which both sides know.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(state: u64) -> bool {
        const BOTH: u64 = DONE_OUT | DONE_IN;
        state & (RESET_OUT | RESET_IN) != 0 || state & BOTH == BOTH
    }
}

/// How many ticks seconds are, rounded up.
const fn ticks(seconds: u64) -> u64 {
    (seconds * 1_000_000_000).div_ceil(1 << TICK_SHIFT)
}

/// Seconds after which a flow is forgotten, by what it is. Where nothing else is said, as Linux has
/// it (net.netfilter.nf_conntrack_*_timeout).
pub mod timeout {
    /// TCP, both sides use it. Linux has five days, and a table that grows; a connection that is to
    /// last longer without a packet needs keep-alives, which Linux sends every two hours.
    pub const TCP: u64 = 12 * 3_600;
    /// TCP, one side has been heard, or has not gone on after the answer.
    pub const TCP_OPENING: u64 = 120;
    /// TCP, both sides are done.
    pub const TCP_CLOSED: u64 = 120;
    /// TCP, after a RST.
    pub const TCP_RESET: u64 = 10;
    /// UDP, no answer so far.
    pub const UDP: u64 = 30;
    /// UDP, this side has gone on after the answer.
    pub const UDP_SETTLED: u64 = 120;
    /// Echo requests.
    pub const ICMP: u64 = 30;
    /// Not TCP, answered, and nothing has been sent since. Mostly a question that is done with, so it
    /// gives way first; but there are answers in several parts, the last one long after the first (SIP).
    pub const ANSWERED: u64 = 30;
}

/// Ticks after which a flow with this identity and state is forgotten.
#[must_use]
#[inline(always)]
pub const fn lifetime(identity: u64, state: u64) -> u64 {
    let proto = Tuple::proto_of(identity);
    if proto == crate::parse::proto::TCP {
        return if state & (state::RESET_OUT | state::RESET_IN) != 0 {
            ticks(timeout::TCP_RESET)
        } else if state::is_over(state) {
            ticks(timeout::TCP_CLOSED)
        } else if state & state::SETTLED != 0 {
            ticks(timeout::TCP)
        } else {
            ticks(timeout::TCP_OPENING)
        };
    }
    match state & (state::REPLIED | state::SETTLED) {
        0 if proto == crate::parse::proto::UDP => ticks(timeout::UDP),
        0 => ticks(timeout::ICMP),
        state::REPLIED => ticks(timeout::ANSWERED),
        _ => ticks(timeout::UDP_SETTLED),
    }
}

/// How many ticks before `now` a packet was seen. The times go round after 146 years. A clock of
/// another processor may be a little ahead: a time to come is now.
#[must_use]
#[inline(always)]
pub const fn idle(seen: u64, now: u64) -> u64 {
    let idle = now.wrapping_sub(seen) & 0xffff_ffff;
    if idle > u32::MAX as u64 / 2 { 0 } else { idle }
}

/// Whether a flow was forgotten by `now`, in ticks.
#[must_use]
#[inline(always)]
pub const fn is_expired(identity: u64, state: u64, seen: u64, now: u64) -> bool {
    idle(seen, now) >= lifetime(identity, state)
}

/// Tag and time of a head's word.
#[must_use]
#[inline(always)]
pub const fn head(tag: u64, seen: u64) -> u64 {
    tag << 32 | seen & 0xffff_ffff
}

/// The time in a head's word, in ticks.
#[must_use]
#[inline(always)]
pub const fn seen(head: u64) -> u64 {
    head & 0xffff_ffff
}

/// The constants of the egress program of a generation: it parses whatever this host sends, also
/// what the policy would not let in.
#[must_use]
pub fn egress_config(config: &Config) -> Config {
    let mut config = *config;
    config.packet = PacketConfig {
        malformed: 0,
        fragments: fragments::PASS,
        drop_ip_options: 0,
        vlan_depth: 8,
        ipv6_ext_max: 16,
        tunnels: tunnels::OUTER,
    };
    config.frags = 0;
    // What leaves is not asked for its payload.
    config.contents = 0;
    config
}

/// ICMP types of an echo.
mod echo {
    pub(super) const REPLY: u32 = 0;
    pub(super) const REQUEST: u32 = 8;
    pub(super) const REQUEST_V6: u32 = 128;
    pub(super) const REPLY_V6: u32 = 129;
}
