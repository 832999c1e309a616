//! A candidate: a program with counter maps of its own that is attached to nothing, for test runs
//! and measurements.
//!
//! Invariant: it is pinned nowhere; dropping the value frees programs and maps.

use super::super::counters::{self, CounterMaps, Sums};
use super::super::events::EventRing;
use super::super::filters::FilterTable;
use super::super::flows::FlowTable;
use super::super::fold::Folding;
use super::super::live::{LiveTable, Origin, no_room};
use super::super::maps::{self, BigMap};
use super::super::shared::{Regions, Shared};
use super::super::sys::{self, Hook};
use super::super::{KernelError, host, object};
use super::{Program, ProgramMaps};
use firewall_common::abi::{Config, Counter, InterfaceEntry};
use firewall_common::live::{Added, EXEMPT};
use firewall_common::region::{Region, UNUSED_SIZE};
use firewall_common::verdict::Verdict;
use firewall_policy::prefixes::prefixes;
use firewall_policy::rule::AddrSet;
use firewall_policy::tables::Tables;
use std::time::Duration;

/// Return values of an XDP program.
const XDP_DROP: u32 = 1;
/// What an egress program returns that leaves a packet alone: TC_ACT_UNSPEC, TCX_NEXT.
const NEXT: u32 = u32::MAX;
/// Hand to the stack.
const XDP_PASS: u32 = 2;
/// Send back where it came from.
const XDP_TX: u32 = 3;

/// A candidate program with counter maps of its own, attached to nothing and pinned nowhere: it
/// is gone when this value is dropped. For test runs and measurements.
#[derive(Debug)]
pub struct Loaded {
    program: Program,
    /// Where the policy looks at state, or lets in what has been asked for.
    egress: Option<Program>,
    counters: CounterMaps,
    regions: Regions,
}

/// The answer of a test run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// What the program said about the frame.
    pub verdict: Verdict,
    /// Whether it sends the frame back, as an answer.
    pub answers: bool,
    /// Mean time of one run, as the kernel measured it.
    pub duration: Duration,
}

impl Run {
    /// The answer of one run of a program on a frame.
    pub(crate) fn of(
        program: &Program,
        frame: &[u8],
        ifindex: Option<u32>,
    ) -> Result<Self, KernelError> {
        test_run(program, frame, 1, ifindex, None)
    }
}

fn test_run(
    program: &Program,
    frame: &[u8],
    repeat: u32,
    ifindex: Option<u32>,
    first: Option<u32>,
) -> Result<Run, KernelError> {
    let (value, nanoseconds) = sys::test_run(program.fd(), frame, repeat, ifindex, first).map_err(
        KernelError::call(format!("test run with {} bytes", frame.len())),
    )?;
    run_of(value, nanoseconds)
}

impl Loaded {
    /// Loads the program for `tables`. `rule_slots` is how many rule counters there are (slots
    /// `0..rule_slots`); `interfaces` fills the interface table.
    ///
    /// # Errors
    /// Missing privilege, a stub object, the verifier's refusal.
    pub fn load(
        tables: &Tables,
        rule_slots: u32,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, KernelError> {
        Self::load_object(object::BUILT_IN, tables, rule_slots, interfaces)
    }

    /// As [`Loaded::load`], with a BPF object of the caller's. The bytes must be aligned to 8.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn load_object(
        object: &[u8],
        tables: &Tables,
        rule_slots: u32,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, KernelError> {
        Self::load_by(Folding::wanted(), object, tables, rule_slots, interfaces)
    }

    /// As [`Loaded::load`], with the program as it was compiled: the generation's constants are not
    /// folded into it.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn load_unfolded(
        tables: &Tables,
        rule_slots: u32,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, KernelError> {
        let object = object::BUILT_IN;
        Self::load_by(Folding::Off, object, tables, rule_slots, interfaces)
    }

    fn load_by(
        folding: Folding,
        object: &[u8],
        tables: &Tables,
        rule_slots: u32,
        interfaces: &[InterfaceEntry],
    ) -> Result<Self, KernelError> {
        host::require_privilege()?;
        let (reasons, ports, rules) = counters::create(rule_slots.max(1).next_power_of_two())?;
        let regions = Regions::new(&tables.config)?;
        let maps = ProgramMaps {
            tables: &BigMap::constant(maps::TABLES, &tables.bytes)?,
            interfaces: &BigMap::interfaces(interfaces, &tables.stations)?.0,
            reasons: &reasons,
            ports: &ports,
            rules: &rules,
            regions: &regions,
        };
        let config = Config {
            stations: u32::from(!tables.stations.is_empty()),
            ..tables.config
        };
        fill(&regions, tables)?;
        let program = Program::load_by(folding, object, Hook::Xdp, &config, &maps)?;
        let egress = match config.flows | config.asked {
            0 => None,
            _ => Some(Program::load_by(
                folding,
                object,
                Hook::Egress,
                &config,
                &maps,
            )?),
        };
        Ok(Self {
            program,
            egress,
            counters: CounterMaps::new(&reasons, &ports, &rules)?,
            regions,
        })
    }

    /// Runs the program `repeat` times on `frame` (BPF_PROG_TEST_RUN; at least 14 bytes), as if it
    /// had come in on `ifindex`, an interface of this network namespace (`None`: the loopback
    /// interface). Counts like real traffic.
    ///
    /// # Errors
    /// What the system says, and a return value that is neither pass, drop nor send back.
    pub fn run(&self, frame: &[u8], repeat: u32, ifindex: Option<u32>) -> Result<Run, KernelError> {
        test_run(&self.program, frame, repeat, ifindex, None)
    }

    /// As [`Loaded::run`] once, with a frame whose first buffer ends after `first` bytes (at least
    /// 14). Kernels before 6.18 do that only where they must: after a page less the room that they
    /// need around a frame.
    ///
    /// # Errors
    /// As [`Loaded::run`].
    pub fn run_in_buffers(&self, frame: &[u8], first: u32) -> Result<Run, KernelError> {
        test_run(&self.program, frame, 1, None, Some(first))
    }

    /// As [`Loaded::run`] once, with the frame as the program leaves it.
    ///
    /// # Errors
    /// As [`Loaded::run`].
    pub fn run_and_read(
        &self,
        frame: &[u8],
        ifindex: Option<u32>,
    ) -> Result<(Run, Vec<u8>), KernelError> {
        let (value, left) = sys::test_run_and_read(self.program.fd(), frame, ifindex).map_err(
            KernelError::call(format!("test run with {} bytes", frame.len())),
        )?;
        Ok((run_of(value, 0)?, left))
    }

    /// Runs the egress program `repeat` times on a frame that goes out, if the policy has one, and gives the
    /// mean time of one run.
    ///
    /// # Errors
    /// What the system says, and an answer that is not the one that leaves the packet alone.
    pub fn send(&self, frame: &[u8], repeat: u32) -> Result<Duration, KernelError> {
        let Some(egress) = &self.egress else {
            return Ok(Duration::ZERO);
        };
        let (value, nanoseconds) = sys::test_run_egress(egress.fd(), frame, repeat).map_err(
            KernelError::call(format!("egress test run with {} bytes", frame.len())),
        )?;
        if value != NEXT {
            return Err(KernelError::State(format!(
                "the egress program returned {value}, and may only leave packets alone"
            )));
        }
        Ok(Duration::from_nanos(nanoseconds.into()))
    }

    /// The table of flows as the programs use it, if the policy has an egress program.
    ///
    /// # Errors
    /// What the system says.
    pub fn flows(&self) -> Result<Option<FlowTable>, KernelError> {
        self.egress
            .as_ref()
            .map(|_| FlowTable::of(self.regions.map(Region::Flows)))
            .transpose()
    }

    /// Puts SYNs that have left, or may have left before the program was loaded, two minutes back, for
    /// tests.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_syns(&self) -> Result<(), KernelError> {
        let map = self.regions.map(Region::Syns);
        if map.size() <= UNUSED_SIZE as usize {
            return Ok(());
        }
        let times = Shared::of(map)?;
        for index in 0..times.words() {
            times.write(index, times.read(index).wrapping_sub(128));
        }
        Ok(())
    }

    /// The ring of events, if the policy logs something.
    ///
    /// # Errors
    /// What the system says.
    pub fn log(&self) -> Result<Option<EventRing>, KernelError> {
        let map = self.regions.map(Region::Log);
        (map.size() > UNUSED_SIZE as usize)
            .then(|| EventRing::of(map))
            .transpose()
    }

    /// The live filters.
    ///
    /// # Errors
    /// What the system says.
    pub fn filters(&self) -> Result<FilterTable, KernelError> {
        FilterTable::of(self.regions.map(Region::Watch))
    }

    /// The table of live sets and bans as the program uses it.
    ///
    /// # Errors
    /// What the system says.
    pub fn live(&self) -> Result<LiveTable, KernelError> {
        LiveTable::of(self.regions.map(Region::Live), [0; 2])
    }

    /// Makes the program forget all fragmented datagrams, so that the next frame meets a program
    /// that has seen nothing. Not while it runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_fragments(&self) -> Result<(), KernelError> {
        let fragments = self.regions.map(Region::Fragments);
        sys::map_set(fragments.fd(), &vec![0; fragments.size()])
            .map_err(KernelError::call("empty the table of fragments"))
    }

    /// Makes the program forget what rate limits have used up. Not while it runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_limits(&self) -> Result<(), KernelError> {
        let buckets = self.regions.map(Region::Buckets);
        sys::map_set(buckets.fd(), &vec![0; buckets.size()])
            .map_err(KernelError::call("empty the buckets of rate limits"))
    }

    /// The program itself.
    #[cfg(feature = "bench")]
    pub(in crate::kernel) fn program(&self) -> &Program {
        &self.program
    }

    /// What the program has counted so far.
    #[must_use]
    pub fn counters(&self) -> Sums {
        self.counters.read()
    }

    /// What the program has counted so far on one interface slot, by reason and verdict. Cheap
    /// enough to be asked after every frame.
    #[must_use]
    pub fn reasons(&self, slot: usize) -> Vec<[Counter; 2]> {
        self.counters.reasons(slot)
    }

    /// What the program has counted so far for one rule slot, if there is such a slot. Cheap enough
    /// to be asked after every frame.
    #[must_use]
    pub fn rule_counter(&self, slot: u32) -> Option<Counter> {
        self.counters.rule(slot)
    }

    /// Instructions that the verifier processed.
    ///
    /// # Errors
    /// What the system says.
    pub fn verified_instructions(&self) -> Result<u32, KernelError> {
        let facts = sys::program_info(self.program.fd())
            .map_err(KernelError::call("read the program's facts"))?;
        Ok(facts.verified)
    }
}

/// What a return value of the program means.
fn run_of(value: u32, nanoseconds: u32) -> Result<Run, KernelError> {
    let (verdict, answers) = match value {
        XDP_DROP => (Verdict::DROP, false),
        XDP_PASS => (Verdict::PASS, false),
        XDP_TX => (Verdict::DROP, true),
        other => {
            return Err(KernelError::State(format!(
                "the program returned {other}, which is neither pass, drop nor send back"
            )));
        }
    };
    Ok(Run {
        verdict,
        answers,
        duration: Duration::from_nanos(nanoseconds.into()),
    })
}

/// Puts what the policy says into the live sets.
fn fill(regions: &Regions, tables: &Tables) -> Result<(), KernelError> {
    if tables
        .live
        .iter()
        .chain([&tables.exempt])
        .all(AddrSet::is_empty)
    {
        return Ok(());
    }
    let table = LiveTable::of(regions.map(Region::Live), tables.config.live_seed)?;
    table.change(|writer| {
        let exempt = (&tables.exempt, EXEMPT);
        let live = tables.live.iter().zip(tables.config.live_ids);
        for (set, id) in live.chain([exempt]) {
            for prefix in prefixes(set) {
                if writer.add(id, &prefix, None, Origin::Policy) == Added::NoRoom {
                    return Err(no_room());
                }
            }
        }
        Ok(())
    })?
}
