//! Connections (`state: established`): which ones this host has opened or accepted, so that the
//! answers of the other side can be told from what nobody asked for.
//!
//! ```text
//! egress.rs   what this host sends makes a flow, or brings it up to date     (program fw_egress)
//! ingress.rs  whether a packet belongs to a flow, and what it changes in it  (program fw_xdp)
//! table.rs    finding a flow, and making room for one
//! ```
//!
//! **Only what this host sends makes a flow.** What comes in can close one, if it carries a sequence
//! number that the host waits for, and can say that the other side is there.
//!
//! The table is the region [`Region::Flows`], of fixed size, in sets of [`WAYS`] flows. A set is a
//! head of one cache line, and then a line for each flow:
//!
//! | bytes | |
//! |---|---|
//! | 0 to 55 | for each way: tag (upper half) and time of the last packet (lower); 0: free |
//! | 56 | the set's lock |
//! | 64 ... | the flows: addresses, [`Tuple::identity`], [`state`], sequence numbers |
//!
//! Half of the sets are for TCP, the other half for all else, so that a host that is made to answer
//! many datagrams does not forget its connections. Within a set what has expired gives way first,
//! then what is closing, then what nobody has answered, the oldest first; a TCP connection that both
//! sides have used gives way only to another one.
//!
//! Writers that make a flow hold the set's lock. All else is one word: a flow's state is changed
//! by compare-and-exchange, and read without a lock; a reader looks at the tag again when it has
//! compared the rest.
//!
//! A change of the layout is a change of [`ABI_VERSION`](crate::abi::ABI_VERSION).
//!
//! May not import `classify` or `pipeline`.

mod egress;
mod ingress;
mod table;

pub use egress::{record, record_packet};
pub use ingress::state_of;

use crate::abi::{Config, PacketConfig, fragments, tunnels};
use crate::field::Field;
use crate::key::PacketKey;
#[cfg(doc)]
use crate::region::Region;

/// Values of [`Field::State`].
pub mod state_field {
    /// The packet belongs to no flow, or opens one.
    pub const NEW: u32 = 0;
    /// The packet answers what this host has sent, or goes on with a connection.
    pub const ESTABLISHED: u32 = 1;
}

/// Bytes of the table: 32,768 sets, 229,376 flows.
pub const FLOWS_SIZE: u32 = 16 << 20;

/// Flows of a set: as many as there are words in a cache line beside the lock.
pub const WAYS: u32 = 7;

/// Bytes of a line: the head of a set, or a flow.
pub const LINE: u32 = 64;

/// Bytes of a set.
pub const SET: u32 = LINE * (WAYS + 1);

/// Byte offset of a set's lock.
pub const LOCK: u32 = LINE - 8;

/// Byte offsets of the words of a flow, from the start of its line.
pub mod at {
    /// Address of the other side: upper half, then lower half.
    pub const REMOTE: u64 = 0;
    /// Address of this side (on a router: of whoever it forwards for), likewise.
    pub const LOCAL: u64 = 16;
    /// [`super::Tuple::identity`].
    pub const IDENTITY: u64 = 32;
    /// Bits of [`super::state`], and from [`super::state::SCALE`] on the shift of the window.
    pub const STATE: u64 = 40;
    /// TCP: what this side has acknowledged last (upper half), and how many bytes from there on it
    /// takes.
    pub const WINDOW: u64 = 48;
    /// TCP: when the flow was made, in ticks (upper half), and the sequence number behind the last
    /// byte that this side has sent.
    pub const NEXT: u64 = 56;
}

/// Bits of a flow's state.
pub mod state {
    /// Both sides have been heard.
    pub const REPLIED: u64 = 1;
    /// TCP: this side has sent a SYN.
    pub const OPENING: u64 = 2;
    /// TCP: the other side has sent a FIN.
    pub const FIN_IN: u64 = 4;
    /// TCP: this side has sent a FIN.
    pub const FIN_OUT: u64 = 8;
    /// TCP: one side has sent a RST.
    pub const RESET: u64 = 16;
    /// First bit of the shift of the window (RFC 7323), 0 to 14.
    pub const SCALE: u32 = 8;
    /// First bit of where a flow that takes this one's place is told from it: counts up.
    pub const VERSION: u32 = 16;
}

/// A tick is 2^30 nanoseconds, 1.07 seconds: a shift instead of a division.
pub const TICK_SHIFT: u32 = 30;

/// How many ticks seconds are, rounded up.
const fn ticks(seconds: u64) -> u64 {
    (seconds * 1_000_000_000).div_ceil(1 << TICK_SHIFT)
}

/// Seconds after which a flow is forgotten, by what it is. Where nothing else is said, as Linux has
/// it (net.netfilter.nf_conntrack_*_timeout).
pub mod timeout {
    /// TCP, both sides heard. Linux has five days, and a table that grows; a connection that is to
    /// last longer without a packet needs keep-alives, which Linux sends every two hours.
    pub const TCP: u64 = 12 * 3_600;
    /// TCP, a SYN without answer.
    pub const TCP_OPENING: u64 = 120;
    /// TCP, one side has sent a FIN.
    pub const TCP_HALF_CLOSED: u64 = 120;
    /// TCP, both sides have.
    pub const TCP_CLOSING: u64 = 60;
    /// TCP, after a RST.
    pub const TCP_RESET: u64 = 10;
    /// UDP, no answer so far.
    pub const UDP: u64 = 30;
    /// UDP, both sides heard.
    pub const UDP_REPLIED: u64 = 120;
    /// Echo requests.
    pub const ICMP: u64 = 30;
}

/// Ticks after which a flow with this identity and state is forgotten.
#[must_use]
#[inline(always)]
pub const fn lifetime(identity: u64, state: u64) -> u64 {
    let replied = state & state::REPLIED != 0;
    let fins = state & (state::FIN_IN | state::FIN_OUT);
    match Tuple::proto_of(identity) {
        crate::parse::proto::TCP => {
            if state & state::RESET != 0 {
                ticks(timeout::TCP_RESET)
            } else if fins == state::FIN_IN | state::FIN_OUT {
                ticks(timeout::TCP_CLOSING)
            } else if fins != 0 {
                ticks(timeout::TCP_HALF_CLOSED)
            } else if replied {
                ticks(timeout::TCP)
            } else {
                ticks(timeout::TCP_OPENING)
            }
        }
        crate::parse::proto::UDP if replied => ticks(timeout::UDP_REPLIED),
        crate::parse::proto::UDP => ticks(timeout::UDP),
        _ => ticks(timeout::ICMP),
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

/// Which flow a packet belongs to, from the side of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// Address of the other side.
    pub remote: [u64; 2],
    /// Address of this side.
    pub local: [u64; 2],
    /// Ports, protocol and family: see [`Tuple::identity_of`].
    pub identity: u64,
}

impl Tuple {
    /// Ports of both sides, protocol number and family in one word. An echo has its identifier as
    /// the local port, and no remote one.
    #[must_use]
    #[inline(always)]
    pub const fn identity_of(local: u32, remote: u32, proto: u32, is_v6: bool) -> u64 {
        local as u64 & 0xffff
            | (remote as u64 & 0xffff) << 16
            | (proto as u64 & 0xff) << 32
            | (is_v6 as u64) << 40
    }

    /// The local port in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn local_port_of(identity: u64) -> u16 {
        identity as u16
    }

    /// The remote port in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn remote_port_of(identity: u64) -> u16 {
        (identity >> 16) as u16
    }

    /// The protocol number in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn proto_of(identity: u64) -> u32 {
        (identity >> 32) as u32 & 0xff
    }

    /// Whether an identity is of IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn is_v6_of(identity: u64) -> bool {
        identity >> 40 & 1 != 0
    }

    /// The flow of a packet that goes out.
    #[inline(always)]
    const fn outgoing(key: &PacketKey, local: u32, remote: u32) -> Self {
        Self {
            remote: [key.dst_hi, key.dst_lo],
            local: [key.src_hi, key.src_lo],
            identity: Self::identity_of(local, remote, key.field(Field::Proto), key.is_v6 != 0),
        }
    }

    /// The flow of a packet that comes in.
    #[inline(always)]
    const fn incoming(key: &PacketKey, local: u32, remote: u32) -> Self {
        Self {
            remote: [key.src_hi, key.src_lo],
            local: [key.dst_hi, key.dst_lo],
            identity: Self::identity_of(local, remote, key.field(Field::Proto), key.is_v6 != 0),
        }
    }
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
    config
}

/// ICMP types of an echo.
mod echo {
    pub(super) const REPLY: u32 = 0;
    pub(super) const REQUEST: u32 = 8;
    pub(super) const REQUEST_V6: u32 = 128;
    pub(super) const REPLY_V6: u32 = 129;
}
