//! Runs `top` on made-up numbers, for tests of the terminal handling and for pictures of the
//! layout. It needs no root and touches no network; nothing it shows was measured.
//!
//! ```text
//! cargo run -p firewall-ctl --example top_synthetic -- --ports 224
//! ```

#[path = "support/synthetic.rs"]
mod synthetic;

use anyhow::{Result, bail};
use clap::Parser;
use firewall_api::view::Snapshot;
use firewall_ctl::tui::{self, Event, State, Tab, TopOptions, plain};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::io::stdout;
use std::time::Duration;
use synthetic::Synthetic;

/// `top` on made-up numbers.
#[derive(Parser)]
struct Args {
    /// Number of busy ports.
    #[arg(long, default_value_t = 224)]
    ports: usize,
    /// The table to start with.
    #[arg(long, default_value = "ports")]
    tab: Tab,
    /// Lines of text instead of the full screen.
    #[arg(long)]
    plain: bool,
    /// Blocks of plain output.
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Milliseconds between two snapshots.
    #[arg(short = 'i', long, default_value_t = 1000)]
    interval: u64,
    /// Seconds that the made-up firewall has run already.
    #[arg(long, default_value_t = 75)]
    tick: u64,
    /// Show the same snapshot again and again.
    #[arg(long)]
    frozen: bool,
    /// Panic in this drawing, counted from 1.
    #[arg(long)]
    panic_after: Option<u64>,
    /// Panic in the source in this call, counted from 1.
    #[arg(long)]
    source_panic_after: Option<u64>,
    /// Fail from this call on, counted from 1.
    #[arg(long)]
    fail_from: Option<u64>,
    /// Answer again from this call on.
    #[arg(long)]
    fail_until: Option<u64>,
    /// Hang for ever in this call.
    #[arg(long)]
    hang_after: Option<u64>,
    /// Print what a second of `top` costs instead: mean of this many updates and drawings.
    #[arg(long)]
    measure: Option<u32>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let options = TopOptions {
        interval: Duration::from_millis(args.interval),
        count: args.count,
        tab: args.tab,
        ..TopOptions::from_env()
    };
    if let Some(rounds) = args.measure {
        return measure(&args, &options, rounds);
    }
    let (plain, panic_after) = (args.plain, args.panic_after);
    let mut calls = 0;
    let source = move || {
        calls += 1;
        answer(&args, calls)
    };
    if plain {
        return plain::run(source, &options, stdout().lock());
    }
    let mut drawings = 0;
    tui::run_drawing(source, options, move |frame, state| {
        drawings += 1;
        tui::draw(frame, state);
        assert!(
            panic_after != Some(drawings),
            "asked to panic in drawing {drawings}"
        );
    })
}

/// Measures what `top` does with each snapshot, apart from getting it: taking it in, dropping the one
/// before, sorting, drawing.
fn measure(args: &Args, options: &TopOptions, rounds: u32) -> Result<()> {
    let size = (80, 24);
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1))?;
    let mut state = State::new(options.clone(), size);
    let (mut taking, mut drawing) = (0.0, 0.0);
    for round in 0..rounds {
        let snapshot = Box::new(Synthetic { ports: args.ports }.at(args.tick + u64::from(round)));
        let start = cpu_ms()?;
        tui::update(
            &mut state,
            Event::Snapshot(snapshot, Duration::from_secs(round.into())),
        );
        let taken = cpu_ms()?;
        terminal.draw(|frame| tui::draw(frame, &state))?;
        taking += taken - start;
        drawing += cpu_ms()? - taken;
    }
    println!(
        "{} ports: {:.2} ms of CPU to take a snapshot in and drop the old one, {:.2} ms to draw",
        args.ports,
        taking / f64::from(rounds),
        drawing / f64::from(rounds)
    );
    Ok(())
}

/// Milliseconds that this thread has run: other processes do not disturb the measurement.
fn cpu_ms() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(ns / 1e6)
}

fn answer(args: &Args, call: u64) -> Result<Snapshot> {
    assert!(
        args.source_panic_after != Some(call),
        "asked to panic in call {call}"
    );
    if args.hang_after == Some(call) {
        loop {
            std::thread::park();
        }
    }
    let failing = args.fail_from.is_some_and(|from| call >= from)
        && args.fail_until.is_none_or(|until| call < until);
    if failing {
        bail!("connect /run/firewall/control.sock: Connection refused (os error 111)");
    }
    let tick = if args.frozen {
        args.tick
    } else {
        args.tick + call - 1
    };
    Ok(Synthetic { ports: args.ports }.at(tick))
}
