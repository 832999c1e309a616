//! The answers of `test`: as data for `-o json`, and as text.
//!
//! May not ask the engine or the policy: what is shown is in the report.

use super::super::context::Context;
use super::super::table::{Table, shorten};
use firewall_api::format::count;
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::parse::proto;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use serde::Serialize;

/// A rule, for people and scripts.
#[derive(Serialize)]
pub(super) struct RuleLine {
    pub(super) name: String,
    pub(super) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<&'static str>,
    pub(super) place: String,
    pub(super) summary: String,
}

/// `test PACKET -o json`.
#[derive(Serialize)]
pub(super) struct TestReport {
    pub(super) schema: &'static str,
    pub(super) packet: Option<String>,
    pub(super) zone: String,
    pub(super) verdict: &'static str,
    /// Whether a verdict of drop is counted only, and the packet passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) audit: bool,
    pub(super) reason: &'static str,
    pub(super) text: &'static str,
    pub(super) rule: Option<RuleLine>,
    pub(super) counted: Vec<RuleLine>,
    pub(super) near_misses: Vec<Near>,
    pub(super) hidden: Option<RuleLine>,
    pub(super) live: Option<Live>,
    pub(super) answer: Option<Answered>,
}

/// What goes back to the sender.
#[derive(Serialize)]
pub(super) struct Answered {
    /// In words.
    pub(super) what: &'static str,
    /// Byte for byte, in hexadecimal digits.
    pub(super) frame: String,
}

impl Answered {
    /// `frame` goes back to whoever sent a packet that parses to `key`.
    pub(super) fn new(key: &PacketKey, frame: &[u8]) -> Self {
        let what = match (key.field(Field::Proto), key.family()) {
            (proto::TCP, _) => "a TCP reset",
            (_, Family::V4) => "ICMP port unreachable",
            (_, Family::V6) => "ICMPv6 port unreachable",
        };
        let frame = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { what, frame }
    }
}

impl TestReport {
    pub(super) fn rejected(&self) -> bool {
        Reason::ALL
            .iter()
            .any(|reason| reason.is_reject() && reason.name() == self.reason)
    }
}

#[derive(Serialize)]
pub(super) struct Near {
    #[serde(flatten)]
    pub(super) rule: RuleLine,
    pub(super) field: &'static str,
    pub(super) found: String,
}

/// What the program in the kernel did.
#[derive(Serialize)]
pub(super) struct Live {
    pub(super) verdict: String,
    pub(super) reason: String,
    pub(super) rule: Option<String>,
    /// Whether the flow that makes the packet `established` found no room in the table.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) flow_full: bool,
}

/// `test --pcap FILE -o json`.
#[derive(Serialize)]
pub(super) struct CaptureReport {
    pub(super) schema: &'static str,
    pub(super) file: String,
    pub(super) frames: u64,
    pub(super) cut: u64,
    pub(super) differing: Option<u64>,
    pub(super) rows: Vec<Row>,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) rule: Option<RuleLine>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) first: u64,
}

/// The answer for people.
pub(super) fn text(report: &TestReport, wide: bool) -> String {
    let mut text = String::new();
    if let Some(packet) = &report.packet {
        text.push_str(&format!("{packet}\n"));
    }
    let rejected = report.rejected();
    let verdict = if rejected {
        "REJECT".to_owned()
    } else {
        report.verdict.to_uppercase()
    };
    match &report.rule {
        Some(rule) => text.push_str(&format!(
            "{verdict}  rule {}  {}\n      {}\n",
            rule.name, rule.place, rule.summary
        )),
        None => text.push_str(&format!("{verdict}  {}: {}\n", report.reason, report.text)),
    }
    if report.audit && report.verdict == Verdict::DROP.name() {
        text.push_str("AUDIT: the packet passes; the drop is only counted\n");
    }
    match &report.answer {
        Some(answer) => text.push_str(&format!("Answered with {}.\n", answer.what)),
        None if rejected => text.push_str("No answer: such packets must not be answered.\n"),
        None => {}
    }
    if let Some(live) = &report.live {
        let by = live
            .rule
            .as_deref()
            .map_or(String::new(), |rule| format!(" {rule}"));
        text.push_str(&format!(
            "In the kernel: {}  {}{by}\n",
            live.verdict.to_uppercase(),
            live.reason
        ));
        if live.flow_full {
            text.push_str("The flow of the earlier packet found no room in the table.\n");
        }
    }
    for rule in &report.counted {
        let would = rule
            .audit
            .map_or(String::new(), |action| format!("  (audit: would {action})"));
        text.push_str(&format!(
            "Counted by {}  {}{would}\n",
            rule.name, rule.place
        ));
    }
    if let Some(rule) = &report.hidden {
        text.push_str(&format!(
            "A later rule would {}: {}  {}\n",
            rule.action, rule.name, rule.place
        ));
    }
    if !report.near_misses.is_empty() {
        text.push_str("\nEarlier rules that failed on one field:\n");
        text.push_str(&near_misses(report, wide));
    }
    text
}

fn near_misses(report: &TestReport, wide: bool) -> String {
    let mut table = Table::new(&["RULE", "ACTION", "THE PACKET'S", "THE RULE", "PLACE"]);
    for near in &report.near_misses {
        table.row([
            near.rule.name.clone(),
            near.rule.action.to_owned(),
            near.found.clone(),
            match wide {
                true => near.rule.summary.clone(),
                false => shorten(&near.rule.summary, 32),
            },
            near.rule.place.clone(),
        ]);
    }
    table.render()
}

pub(super) fn capture_text(report: &CaptureReport, context: &Context) -> String {
    let numbers = context.numbers;
    let mut table = Table::new(&[
        "VERDICT",
        "RULE OR REASON",
        ">PACKETS",
        ">BYTES",
        ">FIRST",
        "PLACE",
    ]);
    for row in &report.rows {
        table.row([
            row.verdict.to_uppercase(),
            match &row.rule {
                Some(rule) => rule.name.clone(),
                None => format!("({})", row.reason),
            },
            count(row.packets, numbers),
            count(row.bytes, numbers),
            row.first.to_string(),
            row.rule
                .as_ref()
                .map_or(String::new(), |rule| rule.place.clone()),
        ]);
    }
    let mut text = table.render();
    text.push_str(&format!("{} frames", report.frames));
    if report.cut > 0 {
        text.push_str(&format!(
            ", {} truncated by the capture and padded with zeros",
            report.cut
        ));
    }
    if report.differing == Some(0) {
        text.push_str("; the kernel program agrees");
    }
    text.push_str(".\n");
    text
}
