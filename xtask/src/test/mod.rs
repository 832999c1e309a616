//! `cargo xtask test`: every test of the workspace, first those that need no privilege, then, as
//! root, those that load programs into the kernel: side by side, each in namespaces of its own. With
//! `--capabilities`, the latter with three capabilities alone.
//!
//! Test targets named `kernel`, `net`, `kernel_*` and `net_*` need root; all others must not. Tests
//! of the first kind carry `#[ignore]`, so that a plain `cargo test` leaves them out; here they run,
//! and one that does not run is a failure.
//!
//! Invariant: success means that every test ran and passed. The last line is
//! `N passed, N failed`.

mod long;
mod namespace;
mod pool;
pub(crate) mod programs;

use crate::setup::{self, Need};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use pool::Job;
use programs::{Program, Test, needs_root, targets};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests that need neither root nor the eBPF toolchain
    #[arg(long)]
    rootless: bool,
    /// The long runs alone, in full: all of them one after the other, or the one with this name
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["rootless", "filter"])]
    long: Option<String>,
    /// The tests that need root once more, with exactly the capabilities that the documents ask for:
    /// CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON
    #[arg(long, conflicts_with_all = ["rootless", "long"])]
    capabilities: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Sums over the `test result:` lines of test programs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Runs the tests; exit code 1 if one failed or did not run.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    if let Some(name) = &args.long {
        return long::command(workspace, name);
    }
    let (kernel, rootless): (Vec<_>, Vec<_>) = targets(workspace)?
        .into_iter()
        .partition(|name| needs_root(name));
    let mut complaints = Vec::new();
    let mut total;
    if args.rootless {
        build_started(workspace)?;
        total = run_rootless(workspace, &rootless, args)?;
        // Without the kernel, what needs it is left out, and that is said.
        total.ignored = 0;
        println!("left out, because they need root: {}", list(&kernel));
    } else if args.capabilities {
        let built = build_privileged(workspace)?;
        total = run_kernel(workspace, &built.programs, args)?;
    } else {
        // Set-up and the kernel program keep one processor busy.
        let ahead = programs::Ahead::start(workspace)?;
        let tools = setup::ensure(workspace, Need::Test)?;
        build::object(workspace, &tools)?;
        build::bench_object(workspace, &tools)?;
        ahead.finish()?;
        let built = build_all(workspace)?;
        total = run_rootless(workspace, &rootless, args)?;
        let privileged = run_kernel(workspace, &built.programs, args)?;
        if privileged.passed + privileged.failed == 0 && args.filter.is_none() {
            complaints.push("no kernel test ran".to_owned());
        }
        total.add(privileged);
    }
    if total.ignored > 0 {
        complaints.push(format!("{} tests were skipped", total.ignored));
    }
    if total.passed + total.failed == 0 {
        complaints.push("no test ran".to_owned());
    }
    for complaint in &complaints {
        println!("error: {complaint}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    let good = total.failed == 0 && complaints.is_empty();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds all test programs in one go, so that the processors are never idle, and then what they start.
fn build_all(workspace: &Workspace) -> Result<programs::Built> {
    let built = programs::build(workspace, &["--lib", "--bins", "--tests"])?;
    build_started(workspace)?;
    Ok(built)
}

/// Builds the programs and examples that tests start: cargo builds examples of tests as tests.
fn build_started(workspace: &Workspace) -> Result<()> {
    let mut programs = process::host_cargo();
    programs.current_dir(&workspace.root);
    process::run(programs.args(["build", "--workspace", "--bins", "--examples"]))
}

/// Names in a sentence.
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Unit tests, tests of programs, rootless integration tests, and the examples in documentation.
fn run_rootless(workspace: &Workspace, targets: &[String], args: &Args) -> Result<Tally> {
    let mut tests = cargo_test(workspace);
    tests.args(["--lib", "--bins"]);
    for name in targets {
        tests.args(["--test", name]);
    }
    let mut documentation = cargo_test(workspace);
    documentation.arg("--doc");
    let mut total = Tally::default();
    for mut command in [tests, documentation] {
        command.args(&args.filter);
        total.add(run(&mut command)?);
    }
    Ok(total)
}

/// Builds what tests that need root are made of.
pub(crate) fn build_privileged(workspace: &Workspace) -> Result<programs::Built> {
    let tools = setup::ensure(workspace, Need::Test)?;
    build::object(workspace, &tools)?;
    build::bench_object(workspace, &tools)?;
    build_all(workspace)
}

/// Runs the tests of one file, which need root, with more in its environment, and shows what they
/// print. They may take as long as they like.
pub(crate) fn run_long(
    workspace: &Workspace,
    file: &str,
    variables: &[(&'static str, String)],
) -> Result<ExitCode> {
    let built = build_privileged(workspace)?;
    let total = run_file(workspace, &built, (file, ""), variables)?;
    Ok(if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// As [`run_long`], of those whose names contain a word, from what is built.
pub(crate) fn run_file(
    workspace: &Workspace,
    built: &programs::Built,
    (file, word): (&str, &str),
    variables: &[(&'static str, String)],
) -> Result<Tally> {
    let mut environment = environment(workspace);
    let more = variables.iter();
    environment.extend(more.map(|(name, value)| ((*name).to_owned(), value.into())));
    let mut total = Tally::default();
    for program in &built.programs {
        let tests = program.tests()?;
        let of_file = tests.iter().filter(|test| test.module == file);
        let mut words: Vec<&str> = of_file
            .map(|test| test.name.as_str())
            .filter(|name| name.contains(word))
            .collect();
        if !words.is_empty() {
            words.push("--nocapture");
            let mut command = namespace::command(program, &environment, &words, None);
            total.add(run(&mut command)?);
        }
    }
    Ok(total)
}

/// The tests that load programs.
fn run_kernel(workspace: &Workspace, programs: &[Program], args: &Args) -> Result<Tally> {
    let mut jobs = Vec::new();
    for program in programs {
        let is_wanted = |test: &Test| {
            let filter = args.filter.as_ref();
            !test.is_long() && filter.is_none_or(|word| test.title().contains(word.as_str()))
        };
        let tests = program.tests()?.into_iter().filter(is_wanted);
        jobs.extend(tests.map(|test| Job { program, test }));
    }
    let mut environment = environment(workspace);
    if args.capabilities {
        environment.push((namespace::CAPABILITIES.to_owned(), "1".into()));
    }
    Ok(pool::run(jobs, &environment))
}

/// What tests that need root are told.
fn environment(workspace: &Workspace) -> Vec<(String, OsString)> {
    [
        ("FIREWALL_KERNEL_TESTS", "1".into()),
        (
            "FIREWALL_CTL",
            workspace.programs(false).join("firewall-ctl").into(),
        ),
        ("FIREWALL_BENCH_OBJECT", workspace.bench_object().into()),
        // Otherwise each test asks cargo.
        ("INSTA_WORKSPACE_ROOT", workspace.root.clone().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn cargo_test(workspace: &Workspace) -> Command {
    let mut command = process::host_cargo();
    command
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--no-fail-fast"]);
    command
}

/// Runs a `cargo test`, shows what it prints as it prints it, and sums its results.
fn run(command: &mut Command) -> Result<Tally> {
    println!("+ {}", process::display(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::display(command)))?;
    let output = child.stdout.take().context("no output of cargo test")?;
    let mut total = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading the output of cargo test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(tally) = parse_result(&line) {
            total.add(tally);
        }
    }
    let status = child.wait().context("waiting for cargo test")?;
    if !status.success() && total.failed == 0 {
        if total == Tally::default() {
            bail!(
                "`{}` failed before any test ran ({status})",
                process::display(command)
            );
        }
        // A test program that crashed prints no result of its own.
        println!("error: a test program ended without a result ({status})");
        total.failed += 1;
    }
    Ok(total)
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; ...`.
pub(crate) fn parse_result(line: &str) -> Option<Tally> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let count = |what: &str| {
        counts
            .split("; ")
            .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let line = "test result: FAILED. 12 passed; 1 failed; 3 ignored; 0 measured; 4 filtered \
                    out; finished in 0.05s";
        let tally = parse_result(line).unwrap();
        assert_eq!(
            tally,
            Tally {
                passed: 12,
                failed: 1,
                ignored: 3
            }
        );
        let mut total = tally;
        total.add(tally);
        assert_eq!(
            total,
            Tally {
                passed: 24,
                failed: 2,
                ignored: 6
            }
        );
    }

    #[test]
    fn other_lines_are_not_results() {
        assert_eq!(parse_result("test a ... ok"), None);
        assert_eq!(parse_result("test result: nonsense"), None);
        assert_eq!(parse_result("running 3 tests"), None);
    }

    #[test]
    fn a_crashed_test_program_is_a_failure() {
        let mut crash = Command::new("sh");
        crash.args([
            "-c",
            "echo 'test result: ok. 1 passed; 0 failed; 0 ignored'; exit 101",
        ]);
        assert_eq!(
            run(&mut crash).unwrap(),
            Tally {
                passed: 1,
                failed: 1,
                ignored: 0
            }
        );
        assert!(run(Command::new("sh").args(["-c", "exit 101"])).is_err());
    }
}
