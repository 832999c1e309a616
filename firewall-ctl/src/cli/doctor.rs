//! `doctor`: whether this machine can filter, and what to do where it cannot; with `--selftest`,
//! whether the program does what the policy says with packets that try to get past it.

use super::context::Context;
use super::help::after;
use super::policy;
use super::table::Table;
use firewall_api::failure::{Exit, Failure};
use firewall_api::trial::{DoctorReport, DoctorRequest};
use firewall_api::width::{left, width};
use firewall_policy::text::safe;

/// Check this machine for problems that affect the filter, and suggest fixes
///
/// With --selftest, sends every packet of the evasion table through the program in the kernel, under
/// the policy in force (or FILE): a second load of the same program and tables with counters of its
/// own, so no traffic and no counter is touched. What must become of a packet is worked out from what
/// it really is and from the rules, without the parser and the tables that are tested.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Interface to check; repeatable [default: filtered interfaces, or all]
    #[arg(short, long, value_name = "IF")]
    interface: Vec<String>,
    /// Test the kernel program with evasive packets
    #[arg(long)]
    selftest: bool,
    /// Policy for --selftest; - reads standard input [default: the active policy]
    #[arg(short, long, value_name = "FILE", requires = "selftest")]
    file: Option<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl doctor",
            "sudo firewall-ctl doctor -i eth0 -o json",
            "sudo firewall-ctl doctor --selftest -f rules/web-server.yaml",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let firewall = context.nearest();
    let request = DoctorRequest {
        interfaces: args.interface.clone(),
    };
    let mut report = firewall.doctor(&request)?;
    let compiled = match (args.selftest, &args.file) {
        (false, _) => None,
        (true, Some(name)) => Some(policy::compile(name)?),
        (true, None) => Some(policy::compile_in_force(context, "name a policy: -f FILE")?.0),
    };
    let selftest = compiled.map(|compiled| firewall.selftest(&compiled.source));
    report.selftest = selftest.transpose()?;
    if context.format.is_text() {
        context.print(&text(&report, context.color))?;
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(exit(&report))
}

/// Failed if anything is in the way of the filter, or gets past it.
pub(super) fn exit(report: &DoctorReport) -> Exit {
    let tested = report.selftest.as_ref().is_none_or(|test| test.failed == 0);
    if tested && report.checks.iter().all(|check| check.ok) {
        Exit::Ok
    } else {
        Exit::Failed
    }
}

/// The answer for people.
pub(super) fn text(report: &DoctorReport, color: bool) -> String {
    let mark = |ok: bool| match (ok, color) {
        (true, true) => "\x1b[1;32mok\x1b[0m  ",
        (true, false) => "ok  ",
        (false, true) => "\x1b[1;31mFAIL\x1b[0m",
        (false, false) => "FAIL",
    };
    let mut text = String::new();
    let widths = report.checks.iter().map(|check| width(&check.what));
    let cells = widths.max().unwrap_or(0);
    for check in &report.checks {
        let (what, found) = (left(&check.what, cells), safe(&check.found));
        text.push_str(&format!("{}  {what}  {found}\n", mark(check.ok)));
        if let Some(advice) = &check.advice {
            text.push_str(&format!("      {:cells$}  {advice}\n", ""));
        }
    }
    let Some(test) = &report.selftest else {
        return text;
    };
    let zones = test.rows.iter().any(|row| !row.zone.is_empty());
    let mut columns = vec!["ROW", "FRAME", "EXPECTED", "GOT", "REASON", "OK"];
    if zones {
        columns.insert(1, "ZONE");
    }
    let mut table = Table::new(&columns);
    for row in &test.rows {
        let mut cells = vec![
            row.row.clone(),
            row.frame.clone(),
            row.expected.clone(),
            row.got.clone(),
            row.reason.clone(),
            match row.ok {
                true => "ok".to_owned(),
                false => format!("FAIL: not {}", row.expected_reason),
            },
        ];
        if zones {
            cells.insert(1, row.zone.clone());
        }
        table.row(cells);
    }
    let all = test.rows.len();
    text.push_str(&format!("\n{}", table.render()));
    text.push_str(&format!(
        "{} of {all} packets met their end in {:.0} ms; no traffic and no counter was touched\n",
        all - test.failed,
        test.milliseconds
    ));
    text
}
