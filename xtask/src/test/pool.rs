//! The tests that need root, side by side: each in a process and namespaces of its own
//! ([`namespace`]), as many at a time as there are processors, and one more, since many wait for
//! timers. Those that must be alone come first, one after the other; then the others, the longest
//! ones first.
//!
//! Invariant: every test ends as passed or failed. One that did not run, or that took longer than
//! [`LIMIT`], has failed.

use super::programs::{Program, Test};
use super::{Tally, namespace, parse_result};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long one test may take.
const LIMIT: Duration = Duration::from_secs(600);

/// How long the longest tests take, so that none of them begins last: `SECONDS NAME` a line.
const SLOWEST: &str = include_str!("slowest.txt");

/// A test to run.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Program,
    pub(crate) test: Test,
}

/// What became of a test.
struct Outcome {
    title: String,
    time: Duration,
    /// Why it failed.
    failure: Option<String>,
    output: String,
}

/// Runs the tests, shows each when it has ended, and the failed ones once more at the end.
pub(crate) fn run(mut jobs: Vec<Job<'_>>, environment: &[(String, OsString)]) -> Tally {
    let start = Instant::now();
    // The sort is stable: where nothing is known, the order is that of the programs.
    jobs.sort_by_key(|job| std::cmp::Reverse(expected(&job.test.title())));
    let (alone, others): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| job.test.alone.is_some());
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    println!(
        "\nrunning {} tests one after the other, then {} on {workers} workers",
        alone.len(),
        others.len()
    );
    let mut outcomes = Vec::new();
    for (jobs, workers) in [(alone, 1), (others, workers)] {
        run_on(&jobs, workers, environment, &mut outcomes);
    }
    summary(outcomes, start.elapsed())
}

/// Runs tests on so many workers.
fn run_on(
    jobs: &[Job<'_>],
    workers: usize,
    environment: &[(String, OsString)],
    outcomes: &mut Vec<Outcome>,
) {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(job.run(environment)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            println!("{}", line(&outcome));
            if outcome.failure.is_some() {
                println!("{}", outcome.output);
            }
            outcomes.push(outcome);
        }
    });
}

impl Job<'_> {
    fn run(&self, environment: &[(String, OsString)]) -> Outcome {
        let start = Instant::now();
        let words = [self.test.name.as_str()];
        let output = namespace::command(self.program, environment, &words, Some(LIMIT)).output();
        let time = start.elapsed();
        let (failure, output) = match output {
            Ok(output) => (
                failure(&output, time, LIMIT),
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            ),
            Err(error) => (
                Some(format!("it cannot be started: {error}")),
                String::new(),
            ),
        };
        Outcome {
            title: self.test.title(),
            time,
            failure,
            output,
        }
    }
}

/// Why a test has failed, if it has.
fn failure(output: &Output, time: Duration, limit: Duration) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tally = Tally::default();
    for line in text.lines() {
        if let Some(result) = parse_result(line) {
            tally.add(result);
        }
    }
    let one = Tally {
        passed: 1,
        ..Tally::default()
    };
    if tally == one && output.status.success() {
        return None;
    }
    Some(if tally.failed > 0 {
        "it failed".to_owned()
    } else if tally.ignored > 0 || tally == Tally::default() && output.status.success() {
        "it did not run".to_owned()
    } else if time >= limit {
        format!("it took more than {} s and was killed", limit.as_secs())
    } else if let Some(signal) = output.status.signal() {
        format!("it was killed by signal {signal}")
    } else {
        format!("it ended without a result ({})", output.status)
    })
}

fn line(outcome: &Outcome) -> String {
    let seconds = outcome.time.as_secs_f64();
    match &outcome.failure {
        None => format!("test {} ... ok, {seconds:.1} s", outcome.title),
        Some(why) => format!("test {} ... FAILED, {seconds:.1} s: {why}", outcome.title),
    }
}

/// Prints what failed, what took longest, and how much ran at a time.
fn summary(mut outcomes: Vec<Outcome>, wall: Duration) -> Tally {
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.time));
    println!("\nthe slowest:");
    for outcome in outcomes.iter().take(12) {
        println!("{:4.0} {}", outcome.time.as_secs_f64(), outcome.title);
    }
    let sum: f64 = outcomes.iter().map(|one| one.time.as_secs_f64()).sum();
    println!(
        "\n{} tests took {sum:.0} s in {:.0} s",
        outcomes.len(),
        wall.as_secs_f64()
    );
    let failed: Vec<&Outcome> = outcomes
        .iter()
        .filter(|one| one.failure.is_some())
        .collect();
    if !failed.is_empty() {
        println!("\nfailures:");
    }
    for outcome in &failed {
        println!("\n{}\n{}", line(outcome), outcome.output.trim_end());
    }
    if !failed.is_empty() {
        println!("\nfailed:");
    }
    for outcome in &failed {
        println!("    {}", outcome.title);
    }
    Tally {
        passed: (outcomes.len() - failed.len()) as u64,
        failed: failed.len() as u64,
        ignored: 0,
    }
}

/// How long a test is known to take, in seconds.
fn expected(title: &str) -> u64 {
    slowest()
        .find(|(_, name)| *name == title)
        .map_or(0, |(seconds, _)| seconds)
}

fn slowest() -> impl Iterator<Item = (u64, &'static str)> {
    SLOWEST.lines().filter_map(|line| {
        let (seconds, name) = line.trim().split_once(' ')?;
        Some((seconds.parse().ok()?, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, ExitStatus};

    fn why(text: &str, status: i32, seconds: u64) -> Option<String> {
        let output = Output {
            status: ExitStatus::from_raw(status),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
        };
        failure(&output, Duration::from_secs(seconds), LIMIT)
    }

    #[test]
    fn only_a_test_that_ran_and_passed_is_good() {
        let result = |counts: &str| format!("\ntest result: ok. {counts}; 0 measured\n");
        let passed = result("1 passed; 0 failed; 0 ignored");
        assert_eq!(why(&passed, 0, 1), None);
        assert_eq!(
            why(&passed, 101 << 8, 1).unwrap(),
            "it ended without a result (exit status: 101)"
        );
        let failed = result("0 passed; 1 failed; 0 ignored");
        assert_eq!(why(&failed, 101 << 8, 1).unwrap(), "it failed");
        for skipped in [
            "0 passed; 0 failed; 1 ignored",
            "0 passed; 0 failed; 0 ignored",
        ] {
            assert_eq!(why(&result(skipped), 0, 1).unwrap(), "it did not run");
        }
        assert_eq!(why("", 0, 1).unwrap(), "it did not run");
        assert_eq!(why("", 9, 1).unwrap(), "it was killed by signal 9");
        let slow = why("", 137 << 8, 600).unwrap();
        assert_eq!(slow, "it took more than 600 s and was killed");
    }

    /// A renamed test would lose its place silently.
    #[test]
    fn the_slowest_are_tests() {
        let mut count = 0;
        for (_, title) in slowest() {
            let (file, name) = (
                title.split("::").next().unwrap(),
                title.rsplit("::").next().unwrap(),
            );
            let path = if file == "kernel_engine" {
                "../firewall-engine/tests/kernel_engine".to_owned()
            } else {
                format!("../tests/tests/{file}.rs")
            };
            let root = env!("CARGO_MANIFEST_DIR");
            let mut grep = Command::new("grep");
            grep.args(["-rq", &format!("fn {name}()")])
                .arg(format!("{root}/{path}"));
            assert!(
                grep.status().unwrap().success(),
                "{title} is no test any more"
            );
            count += 1;
        }
        assert_eq!(
            count,
            SLOWEST.lines().count(),
            "a line is no `SECONDS NAME`"
        );
    }
}
