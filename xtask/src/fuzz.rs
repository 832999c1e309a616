//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, each for a while, from the corpus that the
//! repository keeps.
//!
//! `cargo xtask fuzz kernel` is another thing: millions of odd frames to a filtered host, whose sockets
//! tell what its kernel took each for (`tests/tests/net_fuzz_kernel.rs`). It needs root, and is not part
//! of a run over all targets.
//!
//! New inputs are collected below the target folder; `--keep` adds those to the repository's corpus
//! that reach new code, as far as they are text and small. A finding is a file below
//! `target/fuzz/artifacts`, and exit code 1.

use crate::{process, test, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Targets that read policies: they are given the words of the language, and share one corpus.
const POLICIES: [&str; 2] = ["policy", "fmt"];

/// The target that is a test: frames to a filtered host, whose kernel judges them.
const KERNEL: &str = "kernel";

/// Largest input that is kept, in bytes.
const KEPT: u64 = 1_000;

/// Most memory and time that one input may take: what the policy reader promises.
const BOUNDS: [&str; 2] = ["-rss_limit_mb=256", "-timeout=2"];

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target: a file of fuzz/fuzz_targets, or `kernel` for frames to a filtered host
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// How long each target runs: 90s, 10m, 1h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    time: Duration,
    /// Add inputs that reach new code to the corpus in the repository
    #[arg(long)]
    keep: bool,
    /// Frames that `kernel` sends: a million of each family in each of its eight settings
    #[arg(long, value_name = "N", default_value_t = 16_000_000)]
    frames: u64,
}

/// Builds and runs the targets; exit code 1 if one of them found something.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    if args.target.as_deref() == Some(KERNEL) {
        let frames = [("FIREWALL_FRAMES", args.frames.to_string())];
        return test::run_long(workspace, "net_fuzz_kernel", &frames);
    }
    let all = targets(workspace)?;
    let chosen: Vec<&String> = match &args.target {
        None => all.iter().collect(),
        Some(name) if all.contains(name) => vec![name],
        Some(name) => bail!(
            "no fuzz target `{name}`; there are {KERNEL}, {}",
            all.join(", ")
        ),
    };
    let programs = build(workspace)?;
    let mut found = Vec::new();
    for target in chosen {
        let work = workspace.target.join("fuzz/corpus").join(target);
        let artifacts = workspace.target.join("fuzz/artifacts");
        let policies = POLICIES.contains(&target.as_str());
        let corpus = if policies { POLICIES[0] } else { target };
        let kept = workspace.root.join("fuzz/corpus").join(corpus);
        for folder in [&work, &artifacts, &kept] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making {}", folder.display()))?;
        }
        let mut run = Command::new(programs.join(target));
        run.args([&work, &kept]).args(BOUNDS);
        run.arg(format!("-max_total_time={}", args.time.as_secs()));
        run.arg(prefix(&artifacts, target));
        if policies {
            let words = workspace.root.join("fuzz/policy.dict");
            run.arg(format!("-dict={}", words.display()));
        }
        if process::run(&mut run).is_err() {
            found.push(target.as_str());
        }
        if args.keep {
            keep(&programs.join(target), &work, &kept)?;
        }
    }
    if found.is_empty() {
        println!("fuzz: nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    println!("fuzz: found something in {}, see above", found.join(", "));
    Ok(ExitCode::FAILURE)
}

/// libFuzzer's name for where findings go.
fn prefix(artifacts: &Path, target: &str) -> OsString {
    let mut words = OsString::from("-artifact_prefix=");
    words.push(artifacts.join(format!("{target}-")));
    words
}

/// Names of the targets, by their files.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets with the nightly compiler, and says where they are. No sanitizer: the code has
/// no `unsafe`, and without one the bound on memory means what it says.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("fuzz");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [workspace.tools().join("bin")].into_iter();
    let folders = folders.chain(std::env::split_paths(&path));
    let mut command = Command::new("rustup");
    process::forget_outer_cargo(&mut command);
    command
        .env("PATH", std::env::join_paths(folders)?)
        .current_dir(workspace.root.join("fuzz"))
        .args([
            "run",
            "nightly",
            "cargo",
            "fuzz",
            "build",
            "--sanitizer",
            "none",
        ])
        .arg("--target-dir")
        .arg(&target);
    process::run(&mut command).context(
        "fuzzing needs a nightly compiler and cargo-fuzz: \
         rustup toolchain install nightly; cargo install cargo-fuzz",
    )?;
    let version = process::capture(Command::new("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    Ok(target.join(host).join("release"))
}

/// Adds to `kept` what reaches code that `kept` does not reach. What is long or not text goes.
fn keep(program: &Path, work: &Path, kept: &Path) -> Result<()> {
    let mut merge = Command::new(program);
    // By code reached alone: telling apart how often it is reached keeps ten times as much.
    merge.args(["-merge=1", "-use_counters=0", "-rss_limit_mb=0"]);
    process::run(merge.args([kept, work]))?;
    for entry in std::fs::read_dir(kept)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        if bytes.len() as u64 > KEPT || std::str::from_utf8(&bytes).is_err() {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// `90s`, `10m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match number.parse::<u32>() {
        Ok(count) if seconds > 0 && count > 0 => {
            Ok(Duration::from_secs(u64::from(count) * seconds))
        }
        _ => Err(format!("`{text}` is not a time: write 90s, 10m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "10", "m", "0s", "-1s", "1.5m", "10d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_target_has_its_place_in_the_fuzz_crate() {
        let workspace = Workspace::find().expect("a workspace");
        let manifest = std::fs::read_to_string(workspace.root.join("fuzz/Cargo.toml"));
        let manifest = manifest.expect("fuzz/Cargo.toml is there");
        let targets = targets(&workspace).expect("fuzz/fuzz_targets is there");
        assert!(targets.len() >= 6, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("\"{target}\"")), "{target}");
        }
    }
}
