//! `cargo xtask bench`: builds the firewall and its benchmark with optimisation, installs the packet
//! filters that it is compared with where Debian has them, and runs the benchmark as root.
//!
//! The benchmark itself is the program `firewall-bench` of the package `firewall-tests`.

use crate::setup::{self, Need};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Few rounds and small sizes, to see that everything runs; bars are shown, not judged
    #[arg(long)]
    quick: bool,
    /// Only these cases, such as P1,P2
    #[arg(long, value_name = "CASES")]
    only: Option<String>,
    /// Rounds that count (11; 3 with --quick)
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Folder with ClassBench sets (acl1_10000.rules.gz and so on); otherwise sets are generated
    #[arg(long, value_name = "DIR", env = "FIREWALL_CLASSBENCH")]
    classbench: Option<PathBuf>,
    /// Write all results to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw cost against number of rules into FILE.svg, and FILE.png where rsvg-convert is there
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Another source tree, whose programs P13 measures beside these; builds what it needs in there
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Put tables and picture into README.md and docs/
    #[arg(long)]
    publish: bool,
}

/// What the benchmark runs beside the firewall or needs itself: program and Debian package.
const WANTED: &[(&str, &str)] = &[
    ("nft", "nftables"),
    ("iptables-legacy", "iptables"),
    ("xdp-filter", "xdp-tools"),
    ("ethtool", "ethtool"),
    ("rsvg-convert", "librsvg2-bin"),
];

/// Builds, and runs the benchmark; its exit code is 0 if every bar holds that was measured.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let tools = setup::ensure(workspace, Need::Kernel)?;
    setup::offer(WANTED);
    build::all(workspace, &tools, true)?;
    build::bench_object(workspace, &tools)?;
    let mut cargo = process::host_cargo();
    cargo.current_dir(&workspace.root).args([
        "build",
        "--release",
        "--package",
        "firewall-tests",
        "--bin",
        "firewall-bench",
    ]);
    process::run(&mut cargo)?;

    let programs = workspace.programs(true);
    let mut bench = process::as_root(programs.join("firewall-bench"));
    bench.arg("--object").arg(workspace.bench_object());
    bench.arg("--ctl").arg(programs.join("firewall-ctl"));
    if args.quick {
        bench.arg("--quick");
    }
    if let Some(tree) = &args.before {
        bench.arg("--before").arg(holder_of(workspace, tree)?);
    }
    if let Some(rounds) = args.rounds {
        bench.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(cases) = &args.only {
        bench.args(["--only", cases]);
    }
    for (name, path) in [
        ("--classbench", &args.classbench),
        ("--json", &args.json),
        ("--plot", &args.plot),
    ] {
        if let Some(path) = path {
            bench.arg(name).arg(path);
        }
    }
    if args.publish {
        bench.arg("--publish").arg(&workspace.root);
    }
    println!("+ {}", process::display(&bench));
    let status = bench.status().context("cannot start the benchmark")?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}

/// Builds, within another source tree, the program that holds that tree's programs for the benchmark,
/// and returns where it is. Its source is this tree's, so what is asked of it is what these programs
/// are asked; the file that brings it in is gone afterwards.
fn holder_of(workspace: &Workspace, tree: &Path) -> Result<PathBuf> {
    let target = workspace.target.join("before");
    let cargo = || {
        let mut cargo = process::host_cargo();
        cargo.current_dir(tree).env("CARGO_TARGET_DIR", &target);
        cargo
    };
    process::run(cargo().args(["run", "--package", "xtask", "--", "build", "--object"]))?;
    let example = tree.join("tests/examples/firewall_hold.rs");
    let source = workspace.root.join("tests/bench/hold.rs");
    // The engine was a part of the command line once.
    let engine = match tree.join("firewall-engine").exists() {
        true => "",
        false => "extern crate firewall_ctl as firewall_engine;\n",
    };
    let age = match tree.join("firewall-common/src/flows/opening.rs").exists() {
        true => "loaded.forget_syns()?;",
        false => "let _ = loaded;",
    };
    let text = format!(
        "//! Holds programs of this tree.\n\
         {engine}\
         fn age(loaded: &firewall_engine::kernel::program::Loaded) -> anyhow::Result<()> {{\n\
             {age}\n\
             Ok(())\n\
         }}\n\
         #[path = {source:?}]\n\
         mod hold;\n\
         fn main() -> std::process::ExitCode {{\n\
             hold::answer().unwrap_or(std::process::ExitCode::FAILURE)\n\
         }}\n"
    );
    std::fs::write(&example, text).with_context(|| example.display().to_string())?;
    let words = ["build", "--package", "firewall-tests", "--example"];
    let built = process::run(cargo().args(words).arg("firewall_hold"));
    std::fs::remove_file(&example).with_context(|| example.display().to_string())?;
    built?;
    Ok(target.join("debug/examples/firewall_hold"))
}
