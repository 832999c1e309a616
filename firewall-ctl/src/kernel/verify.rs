//! What the verifier needs for a policy, and how large the program comes out. For the table in
//! docs/verifier.md; nothing stays loaded.

use super::counters;
use super::maps::{self, BigMap};
use super::object::BUILT_IN;
use super::program::{Program, ProgramMaps};
use super::shared::Regions;
use super::sys::{Hook, LogLevel};
use super::{KernelError, host, sys};
use firewall_policy::tables::Tables;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::AsFd;
use std::time::Duration;

/// Room for the verifier's statistics.
const LOG_SIZE: usize = 64 << 10;

/// A program that the verifier has accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Instructions that the verifier processed. The kernel's limit is a million.
    pub instructions: u32,
    /// Bytes of the program when dead code is gone.
    pub translated: u32,
    /// Bytes of the machine code; 0 without BPF JIT.
    pub compiled: u32,
    /// Bytes of stack of each function, as the kernel says it: `208+64+0`.
    pub stack: String,
    /// Processor time that loading took, verifier and JIT.
    pub time: Duration,
}

/// Loads the program for `tables`, with as many rule counters as `rules`, and says what that took.
///
/// # Errors
/// Missing privilege, a stub object, the verifier's refusal.
pub fn verify(tables: &Tables, rules: usize) -> Result<Verified, KernelError> {
    host::require_privilege()?;
    let (reasons, ports, rules) = counters::create(maps::rule_slots(rules))?;
    let maps = ProgramMaps {
        tables: &BigMap::constant(maps::TABLES, &tables.bytes)?,
        interfaces: &BigMap::interfaces(&[])?,
        reasons: &reasons,
        ports: &ports,
        rules: &rules,
        regions: &Regions::new(&tables.config)?,
    };
    let prepared = Program::prepare(BUILT_IN, Hook::Xdp, &tables.config, &maps)?;
    let mut log = vec![0; LOG_SIZE];
    let start = cpu_time();
    let loaded = sys::program_load(&prepared.program(), LogLevel::Statistics, &mut log);
    let time = cpu_time().saturating_sub(start);
    let program = match loaded {
        Ok(program) => program,
        Err(error) => {
            // Once more, to explain it.
            Program::load(BUILT_IN, Hook::Xdp, &tables.config, &maps)?;
            return Err(KernelError::call("load the program with statistics")(error));
        }
    };
    let facts = sys::program_info(program.as_fd())
        .map_err(KernelError::call("read the program's facts"))?;
    let log = String::from_utf8_lossy(&log);
    let stack = log
        .lines()
        .find_map(|line| line.strip_prefix("stack depth "))
        .unwrap_or("unknown");
    Ok(Verified {
        instructions: facts.verified,
        translated: facts.translated,
        compiled: facts.compiled,
        stack: stack.split(' ').next().unwrap_or(stack).to_owned(),
        time,
    })
}

/// Time that this thread has had on a processor, in the kernel too. Wall time says little on a busy
/// machine.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}
