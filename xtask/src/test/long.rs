//! `cargo xtask test --long`: what the ordinary run tries on a sample, in full, one after the other.
//! `--long NAME` runs one of the [`RUNS`] alone.
//!
//! Files named `long_*` are run here only. Invariant: a name of [`RUNS`] stands once, and its file
//! exists.

use super as test;
use crate::package;
use crate::setup;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One of the long runs.
struct Run {
    /// By which it is asked for.
    name: &'static str,
    /// The file of its tests.
    file: &'static str,
    /// A part of the names of the tests that run; empty: all.
    filter: &'static str,
    /// How much of it: see CONTRIBUTING.
    variables: &'static [(&'static str, &'static str)],
    /// Programs that it drives beside those of the other tests, and the packages that have them.
    programs: &'static [(&'static str, &'static str)],
    /// What it shows.
    shows: &'static str,
}

impl Run {
    const fn new(name: &'static str, file: &'static str, shows: &'static str) -> Self {
        Self {
            name,
            file,
            filter: "",
            variables: &[],
            programs: &[],
            shows,
        }
    }

    const fn only(mut self, filter: &'static str) -> Self {
        self.filter = filter;
        self
    }

    const fn with(mut self, variables: &'static [(&'static str, &'static str)]) -> Self {
        self.variables = variables;
        self
    }

    const fn by(mut self, programs: &'static [(&'static str, &'static str)]) -> Self {
        self.programs = programs;
        self
    }
}

/// The long runs, the shorter ones first.
const RUNS: &[Run] = &[
    Run::new(
        "open",
        "net_open",
        "500 open connections go on through loads, reloads, the daemon's end and new tables: on a \
         host, on a router, behind masquerade and a forwarded port",
    )
    .with(&[("FIREWALL_CASES", "500")]),
    Run::new(
        "confirm",
        "net_confirm",
        "20 times a policy that cuts the session is gone in time, though its client is killed; a daemon that \
         is killed at any moment loses no way back",
    )
    .with(&[("FIREWALL_CASES", "20")]),
    Run::new(
        "idle",
        "net_state_clock",
        "100,000 connections through a router are known after eleven hours without a packet",
    )
    .only("many_idle")
    .with(&[("FIREWALL_CASES", "100_000")]),
    Run::new(
        "players",
        "net_state_udp",
        "120 players of a game stay under a minute of flood",
    )
    .only("players")
    .with(&[("FIREWALL_SECONDS", "60")]),
    Run::new(
        "resolver",
        "long_resolver",
        "unbound asks 2,000 questions a second for a minute, and gets every answer",
    )
    .with(&[("FIREWALL_SECONDS", "60")])
    .by(&[("unbound", "unbound")]),
    Run::new(
        "daemons",
        "net_daemons",
        "802.1X, group membership and VRRP stay online for a minute under a default of drop",
    )
    .with(&[("FIREWALL_SECONDS", "60")]),
    Run::new(
        "frames",
        "kernel_frames",
        "10,000,000 frames under every policy of the fuzzer: program, host build and oracle agree",
    )
    .with(&[("FIREWALL_FRAMES", "10_000_000")]),
    Run::new(
        "traffic",
        "kernel_state",
        "10,000,000 packets of connections: programs, host build and model agree on what belongs to one",
    )
    .only("random_traffic")
    .with(&[("FIREWALL_CASES", "10_000_000")]),
    Run::new(
        "seed",
        "net_seed_many",
        "1,000,000 connections that the kernel tracks are taken over by a load",
    )
    .with(&[("FIREWALL_CASES", "1_000_000")]),
    Run::new(
        "links",
        "net_links",
        "200 random events of interfaces under a daemon, while a sender tries a closed port on all of \
         them: nothing gets in, and nothing stays behind",
    )
    .with(&[("FIREWALL_CASES", "200")]),
    Run::new(
        "machine",
        "net_machine",
        "1,000 random sequences of 40 operations and faults: what is in force, said and on disk is what \
         a model says",
    )
    .with(&[("FIREWALL_CASES", "1_000")]),
    Run::new(
        "kill",
        "net_kill",
        "1,000 processes killed while they change something: nothing gets in, no screen says what is \
         not so, and everything can be used afterwards",
    )
    .with(&[("FIREWALL_CASES", "1_000")]),
    Run::new(
        "forged",
        "net_forged",
        "1,000,000 forged packets to a host and a router whose tables are four fifths full and full: \
         no connection is lost, new ones are made",
    )
    .with(&[
        ("FIREWALL_FRAMES", "1_000_000"),
        ("FIREWALL_CASES", "4_000"),
    ]),
    Run::new(
        "kernel",
        "net_fuzz_kernel",
        "10,000,000 odd frames to hosts, a router and a bridge port: nothing is delivered that the \
         policy forbids",
    )
    .with(&[("FIREWALL_FRAMES", "10_000_000")]),
    Run::new(
        "transfers",
        "net_transfers",
        "2,000 transfers and more over bad cables, with the filter and without",
    )
    .with(&[("FIREWALL_CASES", "500")]),
];

/// The one that runs no test program: `cargo xtask package --check --life`.
const PACKAGE: &str = "package";

/// Runs all, or the one with that name; exit code 1 if one failed.
pub(super) fn command(workspace: &Workspace, name: &str) -> Result<ExitCode> {
    let chosen: Vec<&Run> = RUNS
        .iter()
        .filter(|run| name.is_empty() || run.name == name)
        .collect();
    let with_package = name.is_empty() || name == PACKAGE;
    if chosen.is_empty() && !with_package {
        let names = RUNS.iter().map(|run| run.name).chain([PACKAGE]);
        let names: Vec<&str> = names.collect();
        bail!("no long run `{name}`; there are {}", names.join(", "));
    }
    let mut results = Vec::new();
    if with_package {
        println!("{PACKAGE}: what Debian users install, from installation to purge");
        let start = Instant::now();
        let steps = package::try_out(workspace)?;
        let tally = test::Tally {
            passed: steps.passed,
            failed: steps.failed,
            ignored: 0,
        };
        results.push((PACKAGE, tally, start.elapsed()));
    }
    if chosen.is_empty() {
        return Ok(report(&results));
    }
    let built = test::build_privileged(workspace)?;
    for run in chosen {
        setup::offer(run.programs);
        println!("{}: {}", run.name, run.shows);
        let variables: Vec<(&'static str, String)> = run
            .variables
            .iter()
            .map(|&(name, value)| (name, value.to_owned()))
            .collect();
        let start = Instant::now();
        let tally = test::run_file(workspace, &built, (run.file, run.filter), &variables)?;
        results.push((run.name, tally, start.elapsed()));
    }
    Ok(report(&results))
}

/// A line for each run. One in which nothing ran has failed.
fn report(results: &[(&str, test::Tally, Duration)]) -> ExitCode {
    let mut all_good = true;
    for (name, tally, time) in results {
        let good = tally.failed == 0 && tally.passed > 0;
        all_good &= good;
        let verdict = if good { "passed" } else { "FAILED" };
        println!(
            "long {name}: {verdict} ({} of {} tests) in {} s",
            tally.passed,
            tally.passed + tally.failed,
            time.as_secs()
        );
    }
    if all_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_run_has_a_name_of_its_own_and_a_file() {
        let workspace = Workspace::find().expect("a workspace");
        let folder = workspace.root.join("tests/tests");
        for (index, run) in RUNS.iter().enumerate() {
            assert!(
                folder.join(format!("{}.rs", run.file)).exists(),
                "{}",
                run.file
            );
            let twice = RUNS[..index].iter().any(|it| it.name == run.name);
            assert!(!twice, "{}", run.name);
        }
        for entry in std::fs::read_dir(folder).expect("a folder of tests") {
            let name = entry.expect("a file").file_name();
            let name = name.to_string_lossy();
            let files = RUNS.iter().map(|run| run.file);
            let mut files = files.chain([crate::vm::CARDS_FILE]);
            let is_run = files.any(|file| name == format!("{file}.rs"));
            assert!(
                is_run || !name.starts_with("long_"),
                "{name} is run nowhere"
            );
        }
    }
}
