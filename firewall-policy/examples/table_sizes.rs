//! Compiles a ClassBench file and prints where the bytes go and what a lookup touches:
//! `cargo run -p firewall-policy --example table_sizes -- FILE [check]`. With `check`, every header
//! is compared with the oracle.

use firewall_common::abi::Config;
use firewall_common::classify::classify;
use firewall_common::machine::Machine;
use firewall_common::plain::Plain;
use firewall_common::region::Region;
use firewall_policy::tables::Tables;
use firewall_policy::{classbench, compile::compile, host, oracle};
use std::cell::RefCell;
use std::collections::HashSet;

const HEADERS: usize = 65_536;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: table_sizes FILE [check]")?;
    let check = arguments.next().is_some();
    let policy = classbench::parse(&std::fs::read_to_string(&path)?)?;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();

    let start = cpu_nanoseconds()?;
    let tables = compile(&policy, &slots)?;
    let took = (cpu_nanoseconds()? - start) as f64 / 1e6;
    println!(
        "{path}: {} rules, compiled in {took:.1} ms",
        policy.rules.len()
    );
    for line in &tables.report {
        println!(
            "  {:60} {:>8} entries {:>10} bytes",
            line.what, line.entries, line.bytes
        );
    }
    println!("  {:60} {:>25} bytes", "all", tables.bytes.len());

    let headers = classbench::headers(&policy, HEADERS, 1);
    let mut best = u64::MAX;
    for _ in 0..7 {
        let start = cpu_nanoseconds()?;
        let mut sum = 0;
        for key in &headers {
            sum += host::lookup(&tables, key)
                .hit
                .map_or(0, |hit| u64::from(hit.slot));
        }
        std::hint::black_box(sum);
        best = best.min(cpu_nanoseconds()? - start);
    }
    println!(
        "  {:.0} ns a lookup on this host",
        best as f64 / HEADERS as f64
    );

    let lanes = tables.config.v4.lanes as usize;
    let (mut reads, mut lines, mut visits) = (Vec::new(), Vec::new(), Vec::new());
    for key in &headers {
        let trace = RefCell::new(Trace::default());
        classify(
            &Tracing {
                tables: &tables,
                trace: &trace,
            },
            key,
        );
        let trace = trace.into_inner();
        reads.push(trace.reads);
        lines.push(trace.lines.len());
        // A visited node or leaf word costs two words in each lane.
        visits.push(trace.words.saturating_sub(lanes + 1) / (2 * lanes));
    }
    for (what, mut counts) in [
        ("table reads", reads),
        ("cache lines", lines),
        ("nodes and leaf words visited", visits),
    ] {
        counts.sort_unstable();
        let at = |part: f64| counts[((HEADERS - 1) as f64 * part) as usize];
        let mean = counts.iter().sum::<usize>() as f64 / HEADERS as f64;
        println!(
            "  {what}: mean {mean:.1}, p50 {}, p99 {}, max {}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    if check {
        for key in &headers {
            let found = host::lookup(&tables, key).hit.map(|hit| hit.slot);
            let expected = oracle::evaluate(&policy, key).decided.map(|i| slots[i]);
            if found != expected {
                return Err(format!("{key:?}: {found:?}, but the oracle says {expected:?}").into());
            }
        }
        println!("  every header agrees with the oracle");
    }
    Ok(())
}

/// This thread's time on a processor: wall time says little on a busy machine.
fn cpu_nanoseconds() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("empty schedstat")?.parse()?)
}

/// What one lookup read.
#[derive(Default)]
struct Trace {
    reads: usize,
    words: usize,
    lines: HashSet<u64>,
}

#[derive(Clone, Copy)]
struct Tracing<'a> {
    tables: &'a Tables,
    trace: &'a RefCell<Trace>,
}

impl Tracing<'_> {
    fn bytes<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut trace = self.trace.borrow_mut();
        trace.reads += 1;
        trace.lines.insert(offset / 64);
        self.tables.bytes[offset as usize..]
            .first_chunk()
            .copied()
            .unwrap_or([0; N])
    }
}

impl Plain for Tracing<'_> {}

impl Machine for Tracing<'_> {
    fn constant(&self, pick: impl Fn(&Config) -> &u32) -> u32 {
        *pick(&self.tables.config)
    }
    fn table_u16(&self, offset: u64) -> u32 {
        u32::from(u16::from_ne_bytes(self.bytes(offset)))
    }
    fn table_u32(&self, offset: u64) -> u32 {
        u32::from_ne_bytes(self.bytes(offset))
    }
    fn table_u64(&self, offset: u64) -> u64 {
        self.trace.borrow_mut().words += 1;
        u64::from_ne_bytes(self.bytes(offset))
    }
    fn table_line(&self, offset: u64) -> [u64; 8] {
        let bytes: [u8; 64] = self.bytes(offset);
        bytemuck::cast(bytes)
    }
    fn opaque(&self, value: u64) -> u64 {
        value
    }
    fn forget(&self, value: u64) -> u64 {
        value
    }
    fn count_rule(&self, _slot: u32) {}
    fn quiet(&self) -> Self {
        *self
    }
    // Lookups remember nothing.
    fn now(&self) -> u64 {
        1
    }
    fn read(&self, _region: Region, _offset: u64) -> u64 {
        0
    }
    fn write(&self, _region: Region, _offset: u64, _word: u64) {}
    fn exchange_if(&self, _region: Region, _offset: u64, _old: u64, _new: u64) -> bool {
        false
    }
    fn unlock(&self, _region: Region, _offset: u64) {}
}
