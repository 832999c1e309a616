//! The table of flows, memory-mapped: listing, counting, deleting, while programs use it.
//!
//! A flow is read without its set's lock, and once more looked at when it has been read: one that
//! gave way meanwhile is left out. To delete one is to take its tag away, in one step.

use super::KernelError;
use super::maps::BigMap;
use super::shared::Shared;
use firewall_common::abi::Config;
use firewall_common::flows::{
    LINE, SET, TICK_SHIFT, Tuple, WAYS, at, idle, is_expired, lifetime, seen, state,
};
use firewall_common::parse::proto;
use rustix::time::{ClockId, clock_gettime};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Words of a line.
const LINE_WORDS: usize = LINE as usize / 8;

/// Words of a set.
const SET_WORDS: usize = SET as usize / 8;

/// One flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// IP protocol number: TCP, UDP, ICMP or ICMPv6.
    pub proto: u8,
    /// Address of the side that the programs run on, or forward for.
    pub local: IpAddr,
    /// Its port; of an echo, the identifier.
    pub local_port: u16,
    /// Address of the other side.
    pub remote: IpAddr,
    /// Its port; 0 of an echo.
    pub remote_port: u16,
    /// What it is.
    pub state: FlowState,
    /// Since its last packet.
    pub idle: Duration,
    /// Until it is forgotten, if no packet comes.
    pub left: Duration,
    /// The word in its set's head, by index and value: to delete this flow, and no other one.
    place: (usize, u64),
}

/// What a flow is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowState {
    /// This side has sent something, and has no answer.
    Waiting,
    /// Both sides have been heard.
    Established,
    /// TCP: one side is done, or both are.
    Closing,
    /// TCP: one side has reset the connection.
    Reset,
}

impl FlowState {
    const fn of(bits: u64) -> Self {
        if bits & (state::RESET_IN | state::RESET_OUT) != 0 {
            Self::Reset
        } else if bits & (state::FIN_IN | state::FIN_OUT) != 0 {
            Self::Closing
        } else if bits & state::REPLIED != 0 {
            Self::Established
        } else {
            Self::Waiting
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Reset => "reset",
        }
    }
}

/// The table of flows of programs that are loaded.
#[derive(Debug)]
pub struct FlowTable {
    words: Shared,
}

impl FlowTable {
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        Ok(Self {
            words: Shared::of(map)?,
        })
    }

    /// How many flows there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.words.words() / SET_WORDS * WAYS as usize
    }

    /// All flows that have not expired, in the order of the table.
    #[must_use]
    pub fn list(&self) -> Vec<Flow> {
        let now = now();
        let mut flows = Vec::new();
        self.for_each(now, |flow| flows.push(flow));
        flows
    }

    /// How many flows have not expired.
    #[must_use]
    pub fn count(&self) -> usize {
        let now = now();
        let mut count = 0;
        self.for_each(now, |_| count += 1);
        count
    }

    fn for_each(&self, now: u64, mut take: impl FnMut(Flow)) {
        for set in (0..self.words.words()).step_by(SET_WORDS) {
            for way in 0..WAYS as usize {
                if let Some(flow) = self.read(set, way, now) {
                    take(flow);
                }
            }
        }
    }

    /// One flow, if there is one, whole, and not expired.
    fn read(&self, set: usize, way: usize, now: u64) -> Option<Flow> {
        let head = self.words.read(set + way);
        if head == 0 {
            return None;
        }
        let line = set + (way + 1) * LINE_WORDS;
        let word = |at: u64| self.words.read(line + at as usize / 8);
        let (identity, bits) = (word(at::IDENTITY), word(at::STATE));
        let [remote, local] = [at::REMOTE, at::LOCAL].map(|at| {
            let (high, low) = (word(at), word(at + 8));
            if Tuple::is_v6_of(identity) {
                IpAddr::from(Ipv6Addr::from_bits(
                    u128::from(high) << 64 | u128::from(low),
                ))
            } else {
                IpAddr::from(Ipv4Addr::from_bits(low as u32))
            }
        });
        let same = self.words.read(set + way) >> 32 == head >> 32;
        if !same || is_expired(identity, bits, seen(head), now) {
            return None;
        }
        let idle = idle(seen(head), now);
        Some(Flow {
            proto: Tuple::proto_of(identity) as u8,
            local,
            local_port: Tuple::local_port_of(identity),
            remote,
            remote_port: Tuple::remote_port_of(identity),
            state: FlowState::of(bits),
            idle: duration(idle),
            left: duration(lifetime(identity, bits) - idle),
            place: (set + way, head),
        })
    }

    /// Forgets a flow that [`FlowTable::list`] gave; false if it is another one's place by now. A
    /// packet that came meanwhile does not save it.
    pub fn delete(&self, flow: &Flow) -> bool {
        let (place, mut head) = flow.place;
        while !self.words.exchange_if(place, head, 0) {
            let found = self.words.read(place);
            if found >> 32 != head >> 32 {
                return false;
            }
            head = found;
        }
        true
    }

    /// Forgets all flows.
    pub fn clear(&self) {
        for set in (0..self.words.words()).step_by(SET_WORDS) {
            for way in 0..WAYS as usize {
                let head = self.words.read(set + way);
                if head != 0 {
                    self.words.exchange_if(set + way, head, 0);
                }
            }
        }
    }

    /// Makes every flow `ticks` older (or younger, if less than 0): what a clock would do, for tests
    /// of a candidate. Not while its programs run.
    pub fn age(&self, ticks: i64) {
        for set in (0..self.words.words()).step_by(SET_WORDS) {
            for way in 0..WAYS as usize {
                let head = self.words.read(set + way);
                if head != 0 {
                    let older = seen(head).wrapping_add_signed(-ticks) & 0xffff_ffff;
                    let older = head & !0xffff_ffff | older;
                    self.words.write(set + way, older);
                }
            }
        }
    }
}

/// How many flows a policy's table has room for.
#[must_use]
pub fn capacity(config: &Config) -> usize {
    (config.flows_size / SET * WAYS) as usize
}

/// The clock of the programs, in ticks.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let nanoseconds = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
    nanoseconds >> TICK_SHIFT
}

fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks << TICK_SHIFT)
}

/// The name of a flow's protocol.
#[must_use]
pub const fn proto_name(number: u8) -> &'static str {
    match number as u32 {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::ICMP => "icmp",
        proto::ICMPV6 => "icmpv6",
        _ => "other",
    }
}
