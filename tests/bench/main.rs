//! The benchmark: `cargo xtask bench` builds and starts this. Measures the bars P1 to P13 of
//! docs/performance.md, ours beside the packet filters that Debian ships, and says which hold.
//!
//! ```text
//! cases ─► alone (program behind a stream of headers) ─┐
//!      ├─► live (real frames through a cable, peers) ──┼─► measure ─► report, plot
//!      └─► control (firewall-ctl as a whole) ──────────┘
//! ```
//!
//! Everything made on the machine lies in network namespaces, a mount namespace and a BPF file
//! system of its own, and is gone when this process is.

mod alone;
mod cases;
mod child;
#[cfg(test)]
mod golden;
mod hold;
mod live;
mod machine;
mod measure;
mod peers;
mod plot;
mod prefixes;
mod private;
mod publish;
mod report;
mod sets;
mod stop;
mod traffic;
mod trees;
mod truth;

use anyhow::{Context as _, Result, ensure};
use cases::Context;
use clap::Parser;
use firewall_engine::kernel::program::Loaded;
use report::BenchReport;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure the firewall against its bars and against other packet filters (as root)
#[derive(Parser, Debug)]
#[command(name = "firewall-bench", max_term_width = 100)]
struct Args {
    /// Few rounds and small sizes; bars are shown, not judged
    #[arg(long)]
    quick: bool,
    /// Only these cases, such as P1,P2
    #[arg(long, value_delimiter = ',', value_name = "CASES")]
    only: Vec<String>,
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
    /// Put tables and picture into README.md and docs/ below DIR
    #[arg(long, value_name = "DIR")]
    publish: Option<PathBuf>,
    /// What holds the programs of another source tree, which P13 measures beside these
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// The benchmark's BPF object
    #[arg(long, value_name = "FILE", env = "FIREWALL_BENCH_OBJECT", hide = true)]
    object: PathBuf,
    /// The firewall-ctl to measure
    #[arg(long, value_name = "FILE", env = "FIREWALL_CTL", hide = true)]
    ctl: Option<PathBuf>,
}

type Case = fn(&Context, &mut BenchReport) -> Result<()>;

/// Every case.
const CASES: &[(&str, Case)] = &[
    ("P1", cases::one_rule::p1),
    ("P2", cases::rule_sets::p2),
    ("P3", cases::frames::p3),
    ("P4", cases::frames::p4),
    ("P5", cases::rule_sets::p5),
    ("P6", cases::large_sets::p6),
    ("P7", cases::control::p7),
    ("P8", cases::large_sets::p8),
    ("P9", cases::control::p9),
    ("P10", cases::live_sets::p10),
    ("P11", cases::frames::p11),
    ("P12", cases::control::p12),
    ("P13", cases::strangers::p13),
];

/// Lets the first two minutes of loaded programs pass.
fn age(loaded: &Loaded) -> Result<()> {
    Ok(loaded.forget_syns()?)
}

fn main() -> ExitCode {
    if let Some(code) = child::answer().or_else(hold::answer) {
        return code;
    }
    let args = Args::parse();
    if let Some(code) = private::enter_or_wait(args.ctl.as_deref()) {
        return code;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every bar holds that was judged.
fn run(args: &Args) -> Result<bool> {
    for name in &args.only {
        let known = CASES
            .iter()
            .any(|(case, _)| case.eq_ignore_ascii_case(name));
        ensure!(known, "there is no case {name}");
    }
    stop::catch_signals()?;
    let context = Context {
        object: fs::read(&args.object).with_context(|| args.object.display().to_string())?,
        sets: sets::Sets {
            classbench: args.classbench.clone(),
        },
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 11 }),
        quick: args.quick,
        before: args.before.clone(),
    };
    let mut report = BenchReport {
        machine: machine::describe()?,
        origin: context.sets.origin().to_owned(),
        rounds: context.rounds,
        quick: context.quick,
        rows: Vec::new(),
        bars: Vec::new(),
        points: Vec::new(),
        packets: Vec::new(),
    };
    for (name, case) in CASES {
        let wanted = args.only.is_empty() || args.only.iter().any(|o| o.eq_ignore_ascii_case(name));
        if wanted {
            eprintln!("{name}");
            if let Err(error) = case(&context, &mut report) {
                // What was measured before is not lost.
                print!("{}", report.text());
                return Err(error.context(*name));
            }
        }
    }
    print!("{}", report.text());
    if let Some(path) = &args.json {
        publish::json(&report, path)?;
    }
    if let Some(path) = &args.plot {
        publish::picture(&report, path)?;
    }
    if let Some(root) = &args.publish {
        publish::documents(&report, root)?;
    }
    Ok(report.is_good())
}
