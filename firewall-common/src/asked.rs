//! Essential traffic that strangers can send, too: DHCP answers and ICMP errors. If outgoing requests are
//! recorded ([`Config::asked`]), only solicited answers and errors about sent packets are essential, up
//! to limits of their own. Unsolicited and rate-limited packets go to the rules.
//!
//! | packet | essential, if | limit |
//! |---|---|---|
//! | DHCP answer | a request was sent on the receiving interface within the last 120 s | [`DHCP`] |
//! | ICMP error about an echo request | it is of a flow | [`PROVEN`] |
//! | about TCP or UDP | it is of a flow, or of a connection of this host | [`PROVEN`] |
//! | | its quoted source port belongs to an unconnected socket | [`UNPROVEN`] |
//! | | it has neither, and nobody here can know of it: no flows are kept; UDP of which the rules let the answer in anyway, so that it has none; or the error is forwarded | [`UNPROVEN`] |
//! | about another protocol, or a later fragment | always: the receiving kernel checks for itself | [`UNPROVEN`] |
//!
//! Invariant: a limit is charged only for packets that pass their check, so guesses do not use up the
//! limit of solicited packets.

#[cfg(doc)]
use crate::abi::Config;
use crate::abi::Entry;
use crate::calls::{Calls, IngressCalls};
use crate::field::Field;
use crate::flows::quote;
use crate::limits::{self, At};
use crate::parse::{Packet, proto};

/// Nobody has asked for it.
pub const NOT: u64 = 0;
/// Number of the limit of DHCP answers, plus 1: what [`limit_of`] says. Likewise the next two.
pub const DHCP: u64 = 1;
/// Of ICMP errors about what is known to have been sent.
pub const PROVEN: u64 = 2;
/// Of those about what may have been.
pub const UNPROVEN: u64 = 3;
/// How many limits there are.
pub const LIMITS: u32 = 3;

/// Whether a packet of the form of a DHCP answer or of an ICMP error has been asked for: [`NOT`], or
/// which limit it takes from.
#[inline(always)]
pub fn limit_of<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &Packet) -> u64 {
    let quoted = frame.quote(machine, packet);
    if packet.key.field(Field::Proto) == proto::UDP {
        return if quoted == quote::PROVEN { DHCP } else { NOT };
    }
    let tracks = machine.constant(|config| &config.flows) != 0;
    match quoted {
        quote::PROVEN => PROVEN,
        quote::LISTENED | quote::UNKNOWN => UNPROVEN,
        quote::TCP | quote::UDP if !tracks => UNPROVEN,
        quote::UDP if machine.constant(|config| &config.asks_rules) != 0 => UNPROVEN,
        quote::TCP | quote::UDP if frame.is_to_be_forwarded(machine, packet) => UNPROVEN,
        _ => NOT,
    }
}

/// Whether a packet has been asked for, and there is one left of its limit.
#[inline(always)]
pub fn is_asked_for<M: Calls, F: IngressCalls>(machine: &M, frame: &F, packet: &Packet) -> bool {
    // Calls one after the other: the kernel's stack has no room for one in another.
    match limit_of(machine, frame, packet) {
        NOT => false,
        limit => is_within(machine, limit),
    }
}

/// Whether the limit that [`limit_of`] has named has one left.
#[inline(always)]
fn is_within<M: Calls>(machine: &M, limit: u64) -> bool {
    let first = machine.constant(|config| &config.asked_limit);
    if first == 0 {
        return true;
    }
    // Each has one bucket.
    let limit = Entry::of_limit(u64::from(first) - 1 + (limit - 1));
    let bucket = limits::only_bucket(machine, At::of(machine, limit));
    machine.pay(bucket, limit, 0) == Entry::WITHIN
}
