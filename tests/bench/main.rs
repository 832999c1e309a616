//! The benchmark: `cargo xtask bench` builds and starts this. Measures the bars P1 to P12 of
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
mod live;
mod machine;
mod measure;
mod peers;
mod prefixes;
mod report;
mod sets;
mod stop;
mod traffic;
mod truth;

use anyhow::{Context as _, Result, ensure};
use cases::Context;
use clap::Parser;
use report::Report;
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
    /// The benchmark's BPF object
    #[arg(long, value_name = "FILE", env = "FIREWALL_BENCH_OBJECT", hide = true)]
    object: PathBuf,
    /// The firewall-ctl to measure
    #[arg(long, value_name = "FILE", env = "FIREWALL_CTL", hide = true)]
    ctl: Option<PathBuf>,
}

type Case = fn(&Context, &mut Report) -> Result<()>;

/// Every case.
const CASES: &[(&str, Case)] = &[
    ("P1", cases::one_rule::p1),
    ("P2", cases::rule_sets::p2),
    ("P5", cases::rule_sets::p5),
    ("P6", cases::large_sets::p6),
    ("P8", cases::large_sets::p8),
];

fn main() -> ExitCode {
    match run(&Args::parse()) {
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
        let known = CASES.iter().any(|(case, _)| case.eq_ignore_ascii_case(name));
        ensure!(known, "there is no case {name}");
    }
    stop::catch_signals()?;
    machine::stay_on_one_cpu()?;
    let context = Context {
        object: fs::read(&args.object).with_context(|| args.object.display().to_string())?,
        sets: sets::Sets {
            classbench: args.classbench.clone(),
        },
        rounds: args.rounds.unwrap_or(if args.quick { 3 } else { 11 }),
        quick: args.quick,
        ctl: args.ctl.clone(),
    };
    let mut report = Report {
        machine: machine::describe()?,
        origin: context.sets.origin().to_owned(),
        rounds: context.rounds,
        quick: context.quick,
        rows: Vec::new(),
        bars: Vec::new(),
        points: Vec::new(),
    };
    for (name, case) in CASES {
        let wanted = args.only.is_empty() || args.only.iter().any(|o| o.eq_ignore_ascii_case(name));
        if wanted {
            eprintln!("{name}");
            case(&context, &mut report).with_context(|| (*name).to_owned())?;
        }
    }
    print!("{}", report.text());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(report.is_good())
}
