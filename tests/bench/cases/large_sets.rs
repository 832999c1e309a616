//! P6 and P8: one rule with a million prefixes, random hits; against the kernel's trie, and IPv6
//! against IPv4.

use super::Context;
use crate::alone::{Contender, compiled, contest};
use crate::prefixes::{prefixes_v4, prefixes_v6};
use crate::report::{BenchReport, Mark};
use crate::sets::{blocklist_v4, blocklist_v6, hits_v4, hits_v6};
use crate::traffic::Traffic;
use anyhow::{Result, ensure};
use firewall_engine::kernel::bench::Bed;

/// `XDP_DROP`.
const DROP: u32 = 1;

/// How many headers: so many that the tables' hot part cannot stay in a small cache.
fn headers(context: &Context) -> usize {
    context.headers() * 4
}

/// P6: against the kernel's trie with the same prefixes.
pub(crate) fn p6(context: &Context, report: &mut BenchReport) -> Result<()> {
    let count = context.many_prefixes();
    let prefixes = prefixes_v4(count, 1);
    let traffic = Traffic::of(hits_v4(&prefixes, 2), headers(context))?;
    let policy = blocklist_v4(&prefixes);
    let ours = Contender::ours(&context.object, &policy, &compiled(&policy)?, &traffic)?;

    let mut bed = Bed::load(&context.object, &traffic.headers, false, count as u32)?;
    eprintln!("  filling the kernel's trie with {count} prefixes");
    bed.fill_trie(&prefixes)?;
    let trie = Contender::of_bed(bed, "bench_trie")?;
    for frame in traffic.frames() {
        let (verdict, _) = trie.target().run(&frame, 1)?;
        ensure!(verdict == DROP, "the kernel's trie misses {frame:02x?}");
    }
    let costs = contest("P6", context.rounds, &mut [ours, trie])?;
    for (label, cost) in ["ours", "kernel LPM_TRIE in XDP"].iter().zip(&costs) {
        let what = format!("{count} IPv4 prefixes, random hits: {label}");
        report.row("P6", what, "ns/packet", &cost.net);
    }
    let what = format!("{count} IPv4 prefixes: times faster than the kernel's LPM_TRIE");
    report.bar(
        Mark::at_least("P6", &what, "x", 5.0).moonshot(10.0),
        &costs[1].net.over(&costs[0].net),
    );
    Ok(())
}

/// P8: IPv6 against IPv4.
pub(crate) fn p8(context: &Context, report: &mut BenchReport) -> Result<()> {
    let count = context.many_prefixes();
    let v4 = prefixes_v4(count, 1);
    let v6 = prefixes_v6(count, 1);
    let (policy4, policy6) = (blocklist_v4(&v4), blocklist_v6(&v6));
    let traffic4 = Traffic::of(hits_v4(&v4, 2), headers(context))?;
    let traffic6 = Traffic::of(hits_v6(&v6, 2), headers(context))?;
    let mut contenders = [
        Contender::ours(&context.object, &policy4, &compiled(&policy4)?, &traffic4)?,
        Contender::ours(&context.object, &policy6, &compiled(&policy6)?, &traffic6)?,
    ];
    let costs = contest("P8", context.rounds, &mut contenders)?;
    for (label, cost) in ["IPv4", "IPv6"].iter().zip(&costs) {
        let what = format!("{count} {label} prefixes, random hits");
        report.row("P8", what, "ns/packet", &cost.net);
    }
    let what = format!("{count} prefixes: IPv6 over IPv4");
    report.bar(
        Mark::at_most("P8", &what, "x", 2.0).moonshot(1.3),
        &costs[1].net.over(&costs[0].net),
    );
    Ok(())
}
