//! Tables and picture of a made-up report, as golden files. A test only.

use crate::measure::Series;
use crate::plot;
use crate::report::{BenchReport, Machine, Mark, Times};

fn report() -> BenchReport {
    let mut report = BenchReport {
        machine: Machine {
            kernel: "6.18.0".into(),
            cpu: "Example CPU".into(),
            cpus: 2,
            date: "2026-01-31".into(),
        },
        origin: "generated".into(),
        rounds: 3,
        quick: false,
        rows: Vec::new(),
        bars: Vec::new(),
        points: Vec::new(),
        packets: Vec::new(),
    };
    let series = |values: [f64; 3]| Series(values.to_vec());
    report.row("P1", "ours", "ns/packet", &series([71.0, 70.0, 74.0]));
    report.row("P3", "nft", "ns/packet", &series([204_476.0, 2e5, 2.1e5]));
    let mark = |what| Mark::at_most("P1", what, "x", 0.8).moonshot(0.5);
    report.bar(mark("ours over theirs"), &series([0.62, 0.6, 0.61]));
    report.bar(mark("missed"), &series([0.9, 0.9, 0.9]));
    report.not_run(mark("peer"), "xdp-filter is not installed");
    let fast = Mark::at_least("P3", "times faster", "x", 400.0).moonshot(800.0);
    report.bar(fast, &series([1234.0, 900.0, 1300.0]));
    let (now, before) = (series([80.0, 81.0, 83.0]), series([90.0, 85.0, 84.0]));
    let times = Times::of(&series([1.5, 1.4, 1.6]), "a drop");
    report.packet("of a flow", &now, Some(&before), times.clone());
    report.packet("of nobody", &now, None, times);
    let mark = |what| Mark::at_most("P13", what, "x", 1.02);
    report.bar(mark("of a flow: over before"), &now.over(&before));
    report.not_run(mark("of nobody: over before"), "nothing to compare with");
    for (line, values) in [
        ("bare <XDP_DROP>", [163.0, 162.0, 164.0]),
        ("this firewall", [240.0, 300.0, 410.0]),
        ("nft rules", [535.0, 21_277.0, 204_476.0]),
    ] {
        for (rules, value) in [1, 1_000, 10_000].into_iter().zip(values) {
            report.point(line, rules, &Series(vec![value]));
        }
    }
    report
}

#[test]
fn tables() {
    let report = report();
    insta::assert_snapshot!("text", report.text());
    let markdown = [
        report.bars_markdown(),
        report.rows_markdown(),
        report.points_markdown(),
        report.packets_markdown(),
    ]
    .join("\n");
    insta::assert_snapshot!("markdown", markdown);
}

#[test]
fn picture() {
    insta::assert_snapshot!("picture", plot::svg(&report()).unwrap());
    let empty = BenchReport {
        points: Vec::new(),
        packets: Vec::new(),
        ..report()
    };
    assert_eq!(plot::svg(&empty), None);
}

#[test]
fn a_missed_bar_is_bad_and_one_that_was_not_run_is_not() {
    let mut report = report();
    assert!(!report.is_good());
    report.bars.retain(|bar| bar.holds() != Some(false));
    assert!(report.bars.iter().any(|bar| bar.holds().is_none()));
    assert!(report.is_good());
}
