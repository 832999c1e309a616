//! P1: the smallest policy on one packet, over and over: what everything that is promised costs
//! when all of it is hot. Against xdp-filter with all its features.

use super::Context;
use crate::alone::{compiled, load};
use crate::measure;
use crate::peers::{self, Missing};
use crate::report::{BenchReport, Mark};
use crate::sets::{drops, policy};
use anyhow::{Result, ensure};
use firewall_common::field::Field;
use firewall_engine::kernel::bench::{Bed, Subject};
use firewall_policy::range::RangeSet;
use firewall_policy::rule::Match;
use firewall_tests::frames::{self, Ipv4};

/// A port that the policy drops.
const PORT: u16 = 9;
/// `XDP_DROP`.
const DROP: u32 = 1;
/// Frames of a sample.
const REPEAT: u32 = 200_000;

/// Runs it.
pub(crate) fn p1(context: &Context, report: &mut BenchReport) -> Result<()> {
    let packet = Ipv4::new([198, 51, 100, 7], [192, 0, 2, 80], 6);
    let frame = frames::ethernet(0x0800, &packet.packet(&frames::tcp(40_000, PORT, 2, &[])));

    let mut matches = Match::any();
    matches.fields[Field::Proto as usize] = RangeSet::of(6, 6);
    matches.fields[Field::DestinationPort as usize] = RangeSet::of(PORT.into(), PORT.into());
    let policy = policy(vec![drops(0, matches)]);
    let loaded = load(&policy, &compiled(&policy)?, None)?;
    let mut bed = Bed::load(&context.object, &[[0; 64]], false, 0)?;
    let mut subjects = vec![
        ("a bare drop", bed.program("bench_drop")?),
        ("ours, one rule", Subject::ours(&loaded)?),
    ];
    let mark =
        Mark::at_most("P1", "one rule, hot packet: ours over xdp-filter", "x", 0.8).moonshot(0.5);
    let xdp_filter = match peers::xdp_filter::load(PORT) {
        Ok(peer) => {
            subjects.push(("xdp-filter, all features, one port", peer.subject()?));
            Ok(peer)
        }
        Err(error) => Err(error.downcast::<Missing>()?),
    };
    for (what, subject) in &subjects {
        let (verdict, _) = subject.run(&frame, 1)?;
        ensure!(verdict == DROP, "{what} does not drop the frame: {verdict}");
    }
    let repeat = if context.quick { REPEAT / 10 } else { REPEAT };
    let series = measure::rounds("P1", context.rounds, subjects.len(), |index| {
        Ok(subjects[index].1.run(&frame, repeat)?.1)
    })?;
    for ((what, _), series) in subjects.iter().zip(&series) {
        report.row("P1", *what, "ns/packet", series);
    }
    match xdp_filter {
        Ok(_) => report.bar(mark, &series[1].over(&series[2])),
        Err(missing) => report.not_run(mark, missing.to_string()),
    }
    Ok(())
}
