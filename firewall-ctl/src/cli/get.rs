//! `get`: lists rules, reasons and interfaces, or prints the active policy.

use super::context::Context;
use super::help::after;
use super::output::Format;
use super::stats::action;
use super::table::{Table, shorten};
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, count};
use firewall_api::report::{ReasonsReport, RulesReport};
use firewall_api::request::SnapshotRequest;
use firewall_api::view::{InterfaceView, RuleView, SCHEMA};
use firewall_policy::time;
use serde_json::json;

/// List rules, reasons or interfaces, or print the active policy
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list
    #[arg(value_name = "WHAT")]
    what: What,
    /// Name of one item
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// What can be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum What {
    /// Rules in policy order
    #[value(alias = "rule")]
    Rules,
    /// Reasons for passing or dropping a packet
    #[value(alias = "reason")]
    Reasons,
    /// Text of the active policy
    #[value(alias = "policies")]
    Policy,
    /// Filtered interfaces
    #[value(aliases = ["interface", "iface"])]
    Interfaces,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl get rules",
            "firewall-ctl get rule ssh-admins -o yaml",
            "firewall-ctl get policy > running.yaml",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let firewall = context.firewall()?;
    let wide = context.format == Format::Wide;
    let only = args.name.as_deref();
    let text = match args.what {
        What::Rules => {
            let mut report = firewall.rules()?;
            report
                .rules
                .retain(|rule| only.is_none_or(|name| rule.name == name));
            found(report.rules.is_empty(), "rule", only)?;
            match context.format.is_text() {
                true => rules(&report, wide, context.numbers),
                false => context.format.document(&report, false)?,
            }
        }
        What::Reasons => {
            let mut report = firewall.reasons()?;
            report
                .reasons
                .retain(|reason| only.is_none_or(|name| reason.name == name));
            found(report.reasons.is_empty(), "reason", only)?;
            match context.format.is_text() {
                true => reasons(&report, wide, context.numbers),
                false => context.format.document(&report, false)?,
            }
        }
        What::Policy => {
            let report = firewall.policy()?;
            match context.format.is_text() {
                true => report.text,
                false => context.format.document(&report, false)?,
            }
        }
        What::Interfaces => {
            let nothing = SnapshotRequest {
                ports: 0,
                over: None,
            };
            let mut list = firewall.snapshot(&nothing)?.status.interfaces;
            list.retain(|interface| only.is_none_or(|name| interface.name == name));
            found(list.is_empty(), "interface", only)?;
            match context.format.is_text() {
                true => interfaces(&list),
                false => context
                    .format
                    .document(&json!({ "schema": SCHEMA, "interfaces": list }), false)?,
            }
        }
    };
    context.print(&text)?;
    Ok(Exit::Ok)
}

fn found(none: bool, what: &str, name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) if none => Err(Failure::new(
            Exit::Failed,
            format!("there is no {what} called `{name}`"),
        )
        .help(format!("list them: firewall-ctl get {what}s"))),
        _ => Ok(()),
    }
}

/// Rules in policy order.
pub(super) fn rules(report: &RulesReport, wide: bool, numbers: Numbers) -> String {
    let limited = report.rules.iter().any(|rule| rule.over.is_some());
    let runtime = report.rules.iter().any(|rule| rule.runtime);
    let mut columns = vec![">#", "RULE"];
    columns.extend(runtime.then_some("ORIGIN"));
    columns.extend(["ACTION", ">HITS"]);
    columns.extend(limited.then_some(">OVER"));
    columns.push("MATCH");
    let [owners, reasons] = [
        |rule: &RuleView| rule.owner.is_some(),
        |rule: &RuleView| rule.reason.is_some(),
    ]
    .map(|has: fn(&RuleView) -> bool| wide && report.rules.iter().any(has));
    if wide {
        columns.push("PLACE");
    }
    let expiries = wide && report.rules.iter().any(|rule| rule.expires.is_some());
    columns.extend(expiries.then_some("EXPIRES"));
    columns.extend(owners.then_some("OWNER"));
    columns.extend(reasons.then_some("REASON"));
    let mut table = Table::new(&columns);
    for rule in &report.rules {
        let over = rule
            .over
            .map_or(String::new(), |over| count(over.total.packets, numbers));
        let mut cells = vec![
            rule.number.to_string(),
            if wide {
                rule.name.clone()
            } else {
                shorten(&rule.name, 24)
            },
        ];
        let origin = if rule.runtime { "runtime" } else { "policy" };
        cells.extend(runtime.then(|| origin.to_owned()));
        cells.extend([
            action(&rule.does(), rule.enabled || rule.expired),
            count(rule.hits.total.packets, numbers),
        ]);
        cells.extend(limited.then_some(over));
        cells.push(if wide {
            rule.summary.clone()
        } else {
            shorten(&rule.summary, 32)
        });
        if wide {
            cells.push(rule.place.clone());
        }
        cells.extend(expiries.then(|| rule.expires.map_or(String::new(), time::print)));
        cells.extend(owners.then(|| rule.owner.clone().unwrap_or_default()));
        cells.extend(reasons.then(|| rule.reason.clone().unwrap_or_default()));
        table.row(cells);
    }
    table.render() + &notes_on_rules(report, limited, runtime)
}

/// What the columns of rules mean where that is not plain.
fn notes_on_rules(report: &RulesReport, limited: bool, runtime: bool) -> String {
    let mut text = String::new();
    if report.rules.iter().any(|rule| rule.audit.is_some()) {
        text.push_str("Audit: the rule counts only, the packet continues.\n");
    }
    if report
        .rules
        .iter()
        .any(|rule| !rule.enabled && !rule.expired)
    {
        text.push_str("An action in brackets: the rule is disabled.\n");
    }
    if limited {
        text.push_str("Over: packets beyond the rule's limit; hits are those within it.\n");
    }
    if runtime {
        text.push_str(
            "Runtime: not saved in the policy; keep such rules with firewall-ctl save.\n",
        );
    }
    if let Some(generation) = &report.generation {
        text.push_str(&format!("Default: {}\n", generation.default));
        if generation.audit {
            text.push_str(
                "AUDIT: nothing is dropped; hits of drop rules are what they would drop.\n",
            );
        }
    }
    text
}

/// The catalogue of reasons.
pub(super) fn reasons(report: &ReasonsReport, wide: bool, numbers: Numbers) -> String {
    let audit = report.reasons.iter().any(|reason| reason.would_drop);
    let mut columns = vec!["REASON", ">PASSED", ">DROPPED", "DECIDED BY"];
    if audit {
        columns.insert(3, "AUDIT");
    }
    if wide {
        columns.push("MEANING");
    }
    let mut table = Table::new(&columns);
    for reason in &report.reasons {
        let mut cells = vec![
            reason.name.clone(),
            count(reason.pass.packets, numbers),
            count(reason.drop.packets, numbers),
            reason.governed_by.clone(),
        ];
        if audit {
            let words = if reason.would_drop { "would drop" } else { "" };
            cells.insert(3, words.to_owned());
        }
        if wide {
            cells.push(reason.text.clone());
        }
        table.row(cells);
    }
    table.render()
}

/// Filtered interfaces.
pub(super) fn interfaces(list: &[InterfaceView]) -> String {
    let mut table = Table::new(&[
        "INTERFACE",
        ">INDEX",
        "MODE",
        ">LINK",
        ">PROGRAM",
        "ZONE",
        "WHY GENERIC",
    ]);
    for interface in list {
        table.row([
            interface.name.clone(),
            interface.ifindex.to_string(),
            interface.mode.name().to_owned(),
            interface.link_id.to_string(),
            interface.program_id.to_string(),
            interface.zone.clone(),
            interface.fallback.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}
