//! `cargo xtask test`: every test of the workspace, first those that need no privilege, then, as
//! root, those that load programs into the kernel.
//!
//! Test targets named `kernel_*` and `net_*` need root; all others must not. Tests of the first
//! kind carry `#[ignore]`, so that a plain `cargo test` leaves them out; here they run, and one that
//! does not run is a failure.
//!
//! Invariant: success means that every test ran and passed. The last line is
//! `N passed, N failed`.

use crate::setup::{self, Need};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests that need neither root nor the eBPF toolchain
    #[arg(long)]
    rootless: bool,
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
    if !args.rootless {
        let tools = setup::ensure(workspace, Need::Test)?;
        // The programs themselves are built with the tests, below.
        build::object(workspace, &tools)?;
        build::bench_object(workspace, &tools)?;
    }
    let targets = targets(workspace)?;
    let (kernel, rootless): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|name| needs_root(name));

    let mut unprivileged = run_rootless(workspace, &rootless, args)?;
    let mut total = unprivileged;
    let mut complaints = Vec::new();
    if args.rootless {
        // Without the kernel, what needs it is left out, and that is said.
        unprivileged.ignored = 0;
        println!("left out, because they need root: {}", list(&kernel));
    } else if kernel.is_empty() {
        complaints.push("no kernel test target exists".to_owned());
    } else {
        let privileged = run_kernel(workspace, &kernel, args)?;
        if privileged.passed + privileged.failed == 0 && args.filter.is_none() {
            complaints.push("no kernel test ran".to_owned());
        }
        total.add(privileged);
        unprivileged.ignored += privileged.ignored;
    }
    if unprivileged.ignored > 0 {
        complaints.push(format!("{} tests were skipped", unprivileged.ignored));
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

/// Whether a test target loads programs into the kernel.
pub(crate) fn needs_root(target: &str) -> bool {
    target.starts_with("kernel_") || target.starts_with("net_")
}

/// Names in a sentence.
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Names of all integration test targets of the workspace.
pub(crate) fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let text = process::capture(process::host_cargo().current_dir(&workspace.root).args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let mut names: Vec<String> = packages
        .iter()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Unit tests, tests of programs, rootless integration tests, and the examples in documentation.
fn run_rootless(workspace: &Workspace, targets: &[String], args: &Args) -> Result<Tally> {
    // Tests start programs and examples that `cargo test --test` alone does not build.
    let mut programs = process::host_cargo();
    programs.current_dir(&workspace.root);
    process::run(programs.args(["build", "--workspace", "--bins", "--examples"]))?;
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

/// Runs one target whose tests load programs, with more in its environment, and shows what it
/// prints.
pub(crate) fn run_long(
    workspace: &Workspace,
    target: &str,
    variables: &[(&'static str, String)],
) -> Result<ExitCode> {
    let tools = setup::ensure(workspace, Need::Test)?;
    build::object(workspace, &tools)?;
    let mut programs = process::host_cargo();
    programs.current_dir(&workspace.root);
    process::run(programs.args(["build", "--package", "firewall-ctl"]))?;
    let tally = run_as_root(workspace, &[target.to_owned()], variables, &["--nocapture"])?;
    Ok(if tally.failed == 0 && tally.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The tests that load programs, one after the other.
fn run_kernel(workspace: &Workspace, targets: &[String], args: &Args) -> Result<Tally> {
    let filter: Vec<&str> = args.filter.as_deref().into_iter().collect();
    run_as_root(workspace, targets, &[], &filter)
}

/// Runs targets as root, with `variables` in their environment and `words` for their tests.
fn run_as_root(
    workspace: &Workspace,
    targets: &[String],
    variables: &[(&'static str, String)],
    words: &[&str],
) -> Result<Tally> {
    let environment = [
        ("FIREWALL_KERNEL_TESTS", "1".into()),
        (
            "FIREWALL_CTL",
            workspace.programs(false).join("firewall-ctl"),
        ),
        ("FIREWALL_BENCH_OBJECT", workspace.bench_object()),
    ];
    let more = variables.iter();
    let more = more.map(|(name, value)| (*name, PathBuf::from(value)));
    let environment: Vec<(&str, PathBuf)> = environment.into_iter().chain(more).collect();
    let mut command = cargo_test(workspace);
    for name in targets {
        command.args(["--test", name]);
    }
    for (name, value) in &environment {
        command.env(name, value);
    }
    if !process::is_root() {
        // Cargo builds as the user; only the test programs run as root. sudo drops the environment.
        let variables: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={}", value.display()))
            .collect();
        let runner = format!("sudo env {}", variables.join(" "));
        println!("the kernel tests run as root: {runner} TEST");
        command.env(runner_variable()?, runner);
    }
    command
        .args(["--", "--include-ignored", "--test-threads=1"])
        .args(words);
    run(&mut command)
}

/// The variable that tells cargo how to start programs of this host.
fn runner_variable() -> Result<String> {
    let version = process::capture(process::host_cargo().arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("cargo -vV names no host")?;
    Ok(format!(
        "CARGO_TARGET_{}_RUNNER",
        host.replace('-', "_").to_uppercase()
    ))
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

    #[test]
    fn kernel_tests_are_told_by_their_names() {
        assert!(needs_root("kernel_agreement") && needs_root("net_http"));
        assert!(!needs_root("examples") && !needs_root("networks"));
    }
}
