//! The table of flows, memory-mapped: listing, counting, deleting, filling, while programs use it.
//!
//! A flow is read without its set's lock, and once more looked at when it has been read: one that
//! gave way meanwhile is left out. To delete one is to take its tag away, in one step. The code that
//! makes one is the programs' own ([`firewall_common::flows::adopt`]).

use super::KernelError;
use super::clock;
use super::maps::BigMap;
use super::shared::{RegionMachine, Shared};
use firewall_common::abi::Config;
use firewall_common::flows::{
    self, Adopted, LINE, LOCK, SET, TICK_SHIFT, Tuple, WAYS, adopt, at, idle, is_expired, lifetime,
    seen, state, statistics,
};
use firewall_common::parse::proto;
use firewall_policy::vocabulary::{self, PROTOCOLS};
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
    /// Bits of [`state`].
    bits: u64,
    /// The word in its set's head, by index and value: to delete this flow, and no other one.
    place: (usize, u64),
}

impl Flow {
    /// Which flow it is.
    #[must_use]
    pub const fn ends(&self) -> Ends {
        Ends {
            proto: self.proto,
            local: (self.local, self.local_port),
            remote: (self.remote, self.remote_port),
        }
    }
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
        } else if state::is_over(bits) || bits & (state::FIN_IN | state::FIN_OUT) != 0 {
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

/// Which flow: its protocol, and its two ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ends {
    /// IP protocol number.
    pub proto: u8,
    /// Address and port of this side; of an echo, the identifier.
    pub local: (IpAddr, u16),
    /// Address and port of the other side; port 0 of an echo.
    pub remote: (IpAddr, u16),
}

impl Ends {
    /// Whether it is an echo request, or a DHCP request, which names no hosts.
    pub(crate) fn is_request(&self) -> bool {
        matches!(u32::from(self.proto), proto::ICMP | proto::ICMPV6) || self.is_of_dhcp()
    }

    fn is_of_dhcp(&self) -> bool {
        flows::is_request(&self.tuple())
    }

    fn tuple(&self) -> Tuple {
        let words = |address: IpAddr| match address {
            IpAddr::V4(address) => [0, u64::from(address.to_bits())],
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                [(bits >> 64) as u64, bits as u64]
            }
        };
        let is_v6 = self.local.0.is_ipv6();
        Tuple {
            remote: words(self.remote.0),
            local: words(self.local.0),
            identity: Tuple::identity_of(
                self.local.1.into(),
                self.remote.1.into(),
                self.proto.into(),
                is_v6,
            ),
        }
    }
}

/// How full one half of the table is, and what did not fit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HalfUse {
    /// Flows that have not expired, and do not give way to whoever needs their place.
    pub count: usize,
    /// How many there is room for: so many at least, and those that are there.
    pub capacity: usize,
    /// What did not fit.
    pub losses: Losses,
}

/// What did not fit into one half of the table, since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Losses {
    /// New flows that found no room.
    pub full: u64,
    /// Settled flows that gave way to new ones.
    pub evicted: u64,
}

impl Losses {
    /// Those of both halves.
    fn read(words: &Shared) -> [Self; 2] {
        [0, words.words() / 2].map(|start| {
            let count = |at: u64| words.read(start + at as usize / 8);
            Self {
                full: count(statistics::FULL),
                evicted: count(statistics::EVICTED),
            }
        })
    }
}

/// Reads what did not fit, again and again, and maps nothing else of the table.
#[derive(Debug)]
pub(crate) struct LossReader(Shared);

impl LossReader {
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        Ok(Self(Shared::in_windows(map)?))
    }

    /// Of TCP, and of all else.
    pub(crate) fn read(&self) -> [Losses; 2] {
        Losses::read(&self.0)
    }
}

/// The table of flows of programs that are loaded.
#[derive(Debug)]
pub struct FlowTable {
    words: Shared,
    /// Of its constants only the table's size and secret are filled in, and those where flows are
    /// to be added.
    config: Box<Config>,
}

impl FlowTable {
    pub(crate) fn of(map: &BigMap) -> Result<Self, KernelError> {
        Ok(Self {
            words: Shared::of(map)?,
            config: Box::default(),
        })
    }

    /// As [`FlowTable::of`], for a table that flows are added to. Needs the lock on the store: a set that is
    /// locked from here is of a process that was killed meanwhile.
    pub(crate) fn to_fill(map: &BigMap) -> Result<Self, KernelError> {
        let words = Shared::of(map)?;
        let config = Box::new(Config {
            flows_size: words.words() as u32 * 8,
            flows_seed: words.seed(),
            ..Config::default()
        });
        let table = Self { words, config };
        for set in table.sets() {
            let lock = set + LOCK as usize / 8;
            if table.words.read(lock) == RegionMachine::LOCKED {
                table.words.write(lock, 0);
            }
        }
        Ok(table)
    }

    /// Bytes of its memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.words.words() as u64 * 8
    }

    /// How many flows there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        flows::capacity((self.words.words() * 8) as u32) as usize
    }

    /// How full the halves are: that of TCP, and that of all else. Neither a connection that has ended
    /// nor a question that has been answered counts: whoever needs its place has it.
    #[must_use]
    pub fn halves(&self) -> [HalfUse; 2] {
        let (now, half) = (now(), self.words.words() / 2);
        let mut halves = self.losses().map(|losses| HalfUse {
            count: 0,
            capacity: self.capacity() / 2,
            losses,
        });
        for set in self.sets() {
            for way in 0..WAYS as usize {
                if self.is_needed(set, way, now) {
                    halves[usize::from(set >= half)].count += 1;
                }
            }
        }
        // A quarter of the places is beyond what there is room for in any case.
        for half in &mut halves {
            half.capacity = half.capacity.max(half.count);
        }
        halves
    }

    /// What did not fit, of TCP and of all else.
    pub(crate) fn losses(&self) -> [Losses; 2] {
        Losses::read(&self.words)
    }

    /// The first word of every set that holds flows.
    fn sets(&self) -> impl Iterator<Item = usize> + use<> {
        let half = self.words.words() / 2;
        [0, half]
            .into_iter()
            .flat_map(move |start| (start + SET_WORDS..start + half).step_by(SET_WORDS))
    }

    /// Makes a flow that the programs have not seen begin, unless it is there. Whether it is there
    /// now: not if it found no room. Of a table to be filled.
    pub(crate) fn adopt(&self, ends: &Ends, adopted: Adopted) -> bool {
        let machine = RegionMachine::new(&self.words, &self.config);
        adopt(&machine, &ends.tuple(), adopted, now())
    }

    /// All flows that have not expired, in the order of the table. (DHCP requests, which are between no
    /// two hosts, are not among them, nor what may come from elsewhere because of a datagram.)
    #[must_use]
    pub fn list(&self) -> Vec<Flow> {
        let now = now();
        let mut flows = Vec::new();
        self.for_each(now, |flow| {
            let ends = flow.ends();
            if !ends.is_of_dhcp() && !flows::is_expectation(&ends.tuple()) {
                flows.push(flow);
            }
        });
        flows
    }

    /// How many flows need their places: see [`FlowTable::halves`].
    #[must_use]
    pub fn count(&self) -> usize {
        self.halves().iter().map(|half| half.count).sum()
    }

    /// Shows every flow that has not expired, with what is to be known of it elsewhere. What has come
    /// to its end begins anew anyway: it is left out.
    pub(crate) fn for_each_to_keep(&self, mut take: impl FnMut(&Ends, Adopted)) {
        self.for_each(now(), |flow| {
            let is_tcp = u32::from(flow.proto) == proto::TCP;
            let has = |bits: u64| flow.bits & bits != 0;
            if !is_tcp || !state::is_over(flow.bits) {
                let adopted = Adopted {
                    // A question that has been answered is not used by both sides yet.
                    replied: has(if is_tcp {
                        state::REPLIED
                    } else {
                        state::SETTLED
                    }),
                    fin_in: has(state::FIN_IN),
                    fin_out: has(state::FIN_OUT),
                    asked: has(state::ASKED),
                };
                take(&flow.ends(), adopted);
            }
        });
    }

    fn for_each(&self, now: u64, mut take: impl FnMut(Flow)) {
        for set in self.sets() {
            for way in 0..WAYS as usize {
                if let Some(flow) = self.read(set, way, now) {
                    take(flow);
                }
            }
        }
    }

    /// Whether a place holds a flow that has not expired, and that gives way to no other one freely.
    fn is_needed(&self, set: usize, way: usize, now: u64) -> bool {
        let head = self.words.read(set + way);
        let line = set + (way + 1) * LINE_WORDS;
        let word = |at: u64| self.words.read(line + at as usize / 8);
        let (identity, bits) = (word(at::IDENTITY), word(at::STATE));
        let is_spare = match Tuple::proto_of(identity) {
            proto::TCP => state::is_over(bits),
            _ => bits & (state::REPLIED | state::SETTLED) == state::REPLIED,
        };
        head != 0 && !is_spare && !is_expired(identity, bits, seen(head), now)
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
            bits,
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
        for set in self.sets() {
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
        for set in self.sets() {
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
    flows::capacity(config.flows_size) as usize
}

/// The clock of the programs, in ticks.
#[must_use]
pub fn now() -> u64 {
    clock::coarse().as_nanos() as u64 >> TICK_SHIFT
}

fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks << TICK_SHIFT)
}

/// The name of a flow's protocol.
#[must_use]
pub fn proto_name(number: u8) -> &'static str {
    vocabulary::name(PROTOCOLS, number.into()).unwrap_or("other")
}
