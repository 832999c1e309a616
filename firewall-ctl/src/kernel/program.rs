//! A loaded program: what the verifier accepted, with its maps.

use super::counters::{self, CounterMaps, Sums};
use super::events::EventRing;
use super::flows::FlowTable;
use super::live::{self, LiveTable, Origin};
use super::maps::{self, BigMap};
use super::object::{self, Prepared};
use super::shared::Regions;
use super::sys::{Hook, LogLevel};
use super::{KernelError, host, sys};
use firewall_common::abi::{ABI_VERSION, Config, Counter, InterfaceEntry};
use firewall_common::flows;
use firewall_common::live::Added;
use firewall_common::region::{Region, UNUSED_SIZE};
use firewall_common::verdict::Verdict;
use firewall_policy::prefixes::prefixes;
use firewall_policy::rule::AddrSet;
use firewall_policy::tables::Tables;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Return values of an XDP program.
const XDP_DROP: u32 = 1;
/// What an egress program returns that leaves a packet alone: TC_ACT_UNSPEC, TCX_NEXT.
const NEXT: u32 = u32::MAX;
/// Hand to the stack.
const XDP_PASS: u32 = 2;
/// Send back where it came from.
const XDP_TX: u32 = 3;

/// Room for the verifier's log. The kernel keeps its end when it is longer.
const LOG_SIZE: usize = 16 << 20;

/// The maps that a program is bound to.
#[derive(Debug)]
pub(crate) struct ProgramMaps<'a> {
    pub(crate) tables: &'a BigMap,
    pub(crate) interfaces: &'a BigMap,
    pub(crate) reasons: &'a BigMap,
    pub(crate) ports: &'a BigMap,
    pub(crate) rules: &'a BigMap,
    pub(crate) regions: &'a Regions,
}

/// A program in the kernel.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    id: u32,
}

impl Program {
    /// Loads a program of `object` with the constants of a compiled policy. What belongs to this
    /// machine and to the maps is filled in here.
    pub(crate) fn load(
        object: &[u8],
        hook: Hook,
        config: &Config,
        maps: &ProgramMaps<'_>,
    ) -> Result<Self, KernelError> {
        let fd = load_or_explain(&Self::prepare(object, hook, config, maps)?)?;
        let id = sys::program_info(fd.as_fd())
            .map_err(KernelError::call("read the program's id"))?
            .id;
        Ok(Self { fd, id })
    }

    /// The program with all that belongs to a policy, to this machine and to the maps filled in.
    pub(super) fn prepare(
        object: &[u8],
        hook: Hook,
        config: &Config,
        maps: &ProgramMaps<'_>,
    ) -> Result<Prepared, KernelError> {
        let mut config = match hook {
            Hook::Xdp => *config,
            Hook::Egress => flows::egress_config(config),
        };
        config.abi_version = ABI_VERSION;
        config.debug = u32::from(super::log::wanted());
        config.cpus = host::cpus()?;
        // A generation brings the clock that its record names; what is only tried out has none.
        if config.expires != 0 && config.clock == [0; 2] {
            let clock = host::clock_offset();
            config.clock = [clock as u32, (clock >> 32) as u32];
        }
        config.tables_size = maps.tables.size() as u32;
        config.rules_stride = counters::stride_of(maps.rules)?;
        maps.regions.sizes(&mut config);
        let scratch = BigMap::scratch(&config)?;
        let maps: Vec<_> = [
            maps.tables,
            maps.interfaces,
            maps.reasons,
            maps.ports,
            maps.rules,
            &scratch,
        ]
        .into_iter()
        .chain(maps.regions.maps())
        .map(|map| (map.name(), map.fd()))
        .collect();
        let mut prepared = object::prepare(object, hook, &config, &maps)?;
        prepared.keep(scratch.into_fd());
        Ok(prepared)
    }

    /// Opens a pinned program.
    pub(crate) fn open(pin: &Path) -> Result<Self, KernelError> {
        let fd = sys::open_pin(pin)
            .map_err(KernelError::call(format!("open program {}", pin.display())))?;
        let id = sys::program_info(fd.as_fd())
            .map_err(KernelError::call(format!(
                "read the id of program {}",
                pin.display()
            )))?
            .id;
        Ok(Self { fd, id })
    }

    /// Pins it at `path`.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), KernelError> {
        sys::pin(self.fd(), path).map_err(KernelError::call(format!("pin {}", path.display())))
    }

    /// Its id in the kernel.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads without a log, which is faster; loads once more with it to explain a refusal.
fn load_or_explain(prepared: &Prepared) -> Result<OwnedFd, KernelError> {
    let program = prepared.program();
    let error = match sys::program_load(&program, LogLevel::Steps, &mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // Not the verifier's business: no privilege, no memory.
    if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOMEM)) {
        return Err(KernelError::Call {
            what: "load the program".into(),
            error,
        });
    }
    let mut log = vec![0; LOG_SIZE];
    if let Ok(fd) = sys::program_load(&program, LogLevel::Steps, &mut log) {
        return Ok(fd);
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    log.truncate(end);
    let log = String::from_utf8_lossy(&log);
    let summary = last_meaningful_line(&log).unwrap_or_else(|| error.to_string());
    let log = save_log(&log).map_err(KernelError::call("save the verifier's log"))?;
    Err(KernelError::Verifier { summary, log })
}

/// The line of a verifier's log that says what is wrong: the last one that is neither statistics
/// nor an instruction, a state of registers or a source line.
fn last_meaningful_line(log: &str) -> Option<String> {
    /// The one complaint that the kernel writes behind an instruction, on the same line.
    const TOO_LARGE: &str = "BPF program is too large";
    const NOISE: [&str; 8] = [
        "processed ",
        "verification time",
        "stack depth",
        "max_states",
        "insns ",
        "from ",
        "mark_precise",
        ";",
    ];
    let is_noise = |line: &str| {
        let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_instruction = after_number.len() < line.len() && after_number.starts_with(':');
        let is_state = line.starts_with('R')
            && line
                .split_once('=')
                .is_some_and(|(register, _)| !register.contains(' '));
        let is_other = line.is_empty() || NOISE.iter().any(|start| line.starts_with(start));
        is_instruction || is_state || is_other
    };
    log.lines()
        .map(str::trim)
        .map(|line| line.find(TOO_LARGE).map_or(line, |start| &line[start..]))
        .rfind(|line| !is_noise(line))
        .map(str::to_owned)
}

/// Saves a log in a new file that nobody else can have prepared.
fn save_log(log: &str) -> io::Result<PathBuf> {
    let stamp = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let path = std::env::temp_dir().join(format!(
        "firewall-verifier-{}-{}.log",
        std::process::id(),
        stamp.as_nanos()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(log.as_bytes())?;
    Ok(path)
}

/// A candidate program with counter maps of its own, attached to nothing and pinned nowhere: it
/// is gone when this value is dropped. For test runs and measurements.
#[derive(Debug)]
pub struct Loaded {
    program: Program,
    /// Where the policy looks at state.
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
        host::require_privilege()?;
        let (reasons, ports, rules) = counters::create(rule_slots.max(1).next_power_of_two())?;
        let regions = Regions::new(&tables.config)?;
        let maps = ProgramMaps {
            tables: &BigMap::constant(maps::TABLES, &tables.bytes)?,
            interfaces: &BigMap::interfaces(interfaces)?,
            reasons: &reasons,
            ports: &ports,
            rules: &rules,
            regions: &regions,
        };
        let config = tables.config;
        fill(&regions, tables)?;
        let program = Program::load(object, Hook::Xdp, &config, &maps)?;
        let egress = match config.flows {
            0 => None,
            _ => Some(Program::load(object, Hook::Egress, &config, &maps)?),
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
        self.run_frame(frame, repeat, ifindex, None)
    }

    /// As [`Loaded::run`] once, with a frame whose first buffer ends after `first` bytes (at least
    /// 14). Kernels before 6.18 do that only where they must: after a page less the room that they
    /// need around a frame.
    ///
    /// # Errors
    /// As [`Loaded::run`].
    pub fn run_in_buffers(&self, frame: &[u8], first: u32) -> Result<Run, KernelError> {
        self.run_frame(frame, 1, None, Some(first))
    }

    fn run_frame(
        &self,
        frame: &[u8],
        repeat: u32,
        ifindex: Option<u32>,
        first: Option<u32>,
    ) -> Result<Run, KernelError> {
        let (value, nanoseconds) =
            sys::test_run(self.program.fd(), frame, repeat, ifindex, first).map_err(
                KernelError::call(format!("test run with {} bytes", frame.len())),
            )?;
        run_of(value, nanoseconds)
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

    /// Runs the egress program `repeat` times on a frame that goes out, if the policy looks at state,
    /// and gives the mean time of one run.
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

    /// The table of flows as the programs use it, if the policy looks at state.
    ///
    /// # Errors
    /// What the system says.
    pub fn flows(&self) -> Result<Option<FlowTable>, KernelError> {
        self.egress
            .as_ref()
            .map(|_| FlowTable::of(self.regions.map(Region::Flows)))
            .transpose()
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
    pub(super) fn program(&self) -> &Program {
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
    if tables.live.iter().all(AddrSet::is_empty) {
        return Ok(());
    }
    let table = LiveTable::of(regions.map(Region::Live), tables.config.live_seed)?;
    table.change(|writer| {
        for (set, id) in tables.live.iter().zip(tables.config.live_ids) {
            for prefix in prefixes(set) {
                if writer.add(id, &prefix, None, Origin::Policy) == Added::NoRoom {
                    return Err(live::no_room());
                }
            }
        }
        Ok(())
    })?
}

#[cfg(test)]
mod tests {
    use super::last_meaningful_line;

    #[test]
    fn the_verifiers_complaint_is_found() {
        let log = "0: R1=ctx() R10=fp0\n1: (79) r2 = *(u64 *)(r1 +0)\n\
                   invalid bpf_context access off=0 size=8\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("invalid bpf_context access off=0 size=8")
        );
        let log = "R1 type=ctx expected=fp\n5: R0_w=0 R10=fp0\n\
                   from 3 to 9: R1=ctx() R10=fp0\n; let x = 1; @ main.rs:7\n\
                   R0=inv(id=0) R1=ctx()\nprocessed 9 insns\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("R1 type=ctx expected=fp")
        );
        let log = "1682: (2d) if r6 > r9 goto pc+1 BPF program is too large. Processed 1000001 insn\n\
                   processed 1000001 insns (limit 1000000)\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("BPF program is too large. Processed 1000001 insn")
        );
        assert_eq!(last_meaningful_line("\nprocessed 0 insns\n"), None);
    }
}
