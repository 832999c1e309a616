//! P2 and P5: what a packet costs with many rules, over what it costs with a hundred.

use super::Context;
use crate::alone::{Contender, compiled, contest};
use crate::measure::Series;
use crate::report::{BenchReport, Mark};
use crate::sets::points;
use crate::traffic::Traffic;
use anyhow::Result;
use firewall_policy::classbench::Profile;
use firewall_policy::rule::Policy;
use std::time::Instant;

/// Few rules.
const FEW: usize = 100;
/// As many as a classifier must take.
const VERY_MANY: usize = 100_000;

/// P2: acl1, fw1 and ipc1 at 10,000 rules over 100.
pub(crate) fn p2(context: &Context, report: &mut BenchReport) -> Result<()> {
    let many = context.many_rules();
    for profile in Profile::ALL {
        let mut sizes = vec![FEW, many];
        if many > 1_000 {
            sizes.insert(1, 1_000);
        }
        let mut contenders = Vec::new();
        for &size in &sizes {
            contenders.push(prepare(context, profile, size)?.contender);
        }
        let costs = contest(
            &format!("P2 {}", profile.name()),
            context.rounds,
            &mut contenders,
        )?;
        for (size, cost) in sizes.iter().zip(&costs) {
            report.row(
                "P2",
                format!("{} {size} rules", profile.name()),
                "ns/packet",
                &cost.net,
            );
        }
        report.row(
            "P2",
            format!("{} headers and a bare drop, taken away", profile.name()),
            "ns/packet",
            &costs[0].base,
        );
        let (Some(first), Some(last)) = (costs.first(), costs.last()) else {
            continue;
        };
        let what = format!("{} at {many} rules over {FEW}", profile.name());
        report.bar(
            Mark::at_most("P2", &what, "x", 3.0).moonshot(1.8),
            &last.net.over(&first.net),
        );
    }
    Ok(())
}

/// P5: acl1 and fw1 at 100,000 rules.
pub(crate) fn p5(context: &Context, report: &mut BenchReport) -> Result<()> {
    let size = if context.quick { 2_000 } else { VERY_MANY };
    for profile in [Profile::Acl, Profile::Fw] {
        let few = prepare(context, profile, FEW)?;
        let many = prepare(context, profile, size)?;
        let what = |text: &str| format!("{} {size} rules: {text}", profile.name());
        let (seconds, megabytes) = (
            Series(vec![many.seconds]),
            Series(vec![many.bytes as f64 / f64::from(1 << 20)]),
        );
        report.bar(
            Mark::at_most("P5", &what("compile time"), "s", 5.0).moonshot(1.0),
            &seconds,
        );
        report.bar(
            Mark::at_most("P5", &what("tables"), "MiB", 256.0).moonshot(64.0),
            &megabytes,
        );
        let costs = contest(
            &format!("P5 {}", profile.name()),
            context.rounds,
            &mut [few.contender, many.contender],
        )?;
        for (label, cost) in [FEW, size].iter().zip(&costs) {
            report.row(
                "P5",
                format!("{} {label} rules", profile.name()),
                "ns/packet",
                &cost.net,
            );
        }
        report.bar(
            Mark::at_most("P5", &what("cost over that of 100"), "x", 4.0).moonshot(2.0),
            &costs[1].net.over(&costs[0].net),
        );
    }
    Ok(())
}

struct Prepared {
    contender: Contender,
    /// Compile time.
    seconds: f64,
    /// Size of the tables.
    bytes: usize,
}

/// Compiles, loads and checks a rule set.
fn prepare(context: &Context, profile: Profile, size: usize) -> Result<Prepared> {
    let policy: Policy = context.sets.rules(profile, size)?;
    eprintln!("  {} with {} rules", profile.name(), policy.rules.len());
    let start = Instant::now();
    let tables = compiled(&policy)?;
    let seconds = start.elapsed().as_secs_f64();
    let traffic = Traffic::of(points(&policy, 1), context.headers())?;
    Ok(Prepared {
        contender: Contender::ours(&context.object, &policy, &tables, &traffic)?,
        seconds,
        bytes: tables.bytes.len(),
    })
}
