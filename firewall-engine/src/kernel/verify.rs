//! What the verifier needs for a policy, and how large the program comes out. For the table in
//! docs/verifier.md; nothing stays loaded.

use super::clock;
use super::counters;
use super::fold::Folding;
use super::maps::{self, BigMap};
use super::object::{BUILT_IN, Prepared};
use super::program::{self, Program, ProgramMaps};
use super::shared::Regions;
use super::sys::{Hook, LogLevel};
use super::{KernelError, host, sys};
use firewall_common::abi::{Config, answers};
use firewall_policy::tables::Tables;
use std::os::fd::AsFd;
use std::time::Duration;

/// Room for the verifier's statistics.
const LOG_SIZE: usize = 64 << 10;

/// Room for a log of every step, of which only what is written takes memory.
pub const STEPS_SIZE: usize = 512 << 20;

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
    with_program(tables, rules, measure)
}

/// What the verifier does, instruction by instruction: its log, of up to [`STEPS_SIZE`] bytes.
///
/// # Errors
/// As [`verify`].
pub fn steps(tables: &Tables, rules: usize) -> Result<String, KernelError> {
    with_program(tables, rules, |prepare| {
        let prepared = prepare()?;
        let mut log = vec![0; STEPS_SIZE];
        sys::program_load(&prepared.program(), LogLevel::Paths, &mut log).map_err(
            KernelError::call("load the program with a log of every step"),
        )?;
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        log.truncate(end);
        Ok(String::from_utf8_lossy(&log).into_owned())
    })
}

/// Hands `run` what makes the program for `tables`, with maps that go when it returns.
fn with_program<T>(
    tables: &Tables,
    rules: usize,
    run: impl FnOnce(&dyn Fn() -> Result<Prepared, KernelError>) -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    host::require_privilege()?;
    let (reasons, ports, rules) = counters::create(maps::rule_slots(rules))?;
    let maps = ProgramMaps {
        tables: &BigMap::constant(maps::TABLES, &tables.bytes)?,
        interfaces: &BigMap::interfaces(&[], &[])?.0,
        reasons: &reasons,
        ports: &ports,
        rules: &rules,
        regions: &Regions::new(&tables.config)?,
    };
    // As on a host that knows which frames are sent to it.
    let says_back = tables.config.answers != answers::NO || tables.config.syn_protect != 0;
    let config = Config {
        stations: u32::from(says_back),
        ..tables.config
    };
    run(&|| Program::prepare(BUILT_IN, Hook::Xdp, &config, &maps, Folding::wanted()))
}

fn measure(prepare: &dyn Fn() -> Result<Prepared, KernelError>) -> Result<Verified, KernelError> {
    let prepared = prepare()?;
    let mut log = vec![0; LOG_SIZE];
    // Wall time says little on a busy machine.
    let start = clock::of_thread();
    let loaded = sys::program_load(&prepared.program(), LogLevel::Statistics, &mut log);
    let time = clock::of_thread().saturating_sub(start);
    let program = match loaded {
        Ok(program) => program,
        Err(error) => {
            // Once more, to explain it.
            program::load_or_explain(&prepared)?;
            return Err(KernelError::call("load the program with statistics")(error));
        }
    };
    let facts = sys::program_info(program.as_fd())
        .map_err(KernelError::call("read the program's facts"))?;
    let log = String::from_utf8_lossy(&log);
    let stack = stack_depths(&log).unwrap_or_else(|| "unknown".to_owned());
    Ok(Verified {
        instructions: facts.verified,
        translated: facts.translated,
        compiled: facts.compiled,
        stack,
        time,
    })
}

/// What a log says of the stack of each function, `208+64+0`: on one line, or on newer kernels on a
/// line each (`print_verification_stats` of kernel/bpf/verifier.c).
fn stack_depths(log: &str) -> Option<String> {
    let depths: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("subprog "))
        .filter_map(|line| line.split_once(" stack ")?.1.split(' ').next())
        .collect();
    if !depths.is_empty() {
        return Some(depths.join("+"));
    }
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("stack depth "))?;
    line.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::stack_depths;

    #[test]
    fn the_stack_is_read_in_both_forms() {
        let line = "verification time 9 usec\nstack depth 184+16\nprocessed 9 insns\n";
        assert_eq!(stack_depths(line).as_deref(), Some("184+16"));
        let lines = "stack depth max 200\n\
                     subprog 0 (fw) main insns_self 5 insns_total 9 stack 184\n\
                     subprog 1 (walk) global insns_self 4 insns_total 4 stack 16\n";
        assert_eq!(stack_depths(lines).as_deref(), Some("184+16"));
        assert_eq!(stack_depths("processed 9 insns\n"), None);
    }
}
