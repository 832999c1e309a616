//! `get`: lists rules, reasons and interfaces, or prints the active policy.

use super::context::Context;
use super::help::after;
use super::output::Format;
use super::stats::action;
use super::table::Table;
use super::{flows, live, services};
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, ago, count};
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
    /// Only rules that have matched nothing since their counters were made
    #[arg(long)]
    unused: bool,
    /// Order of rules
    #[arg(long, value_name = "BY")]
    sort: Option<SortBy>,
}

/// By what rules are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum SortBy {
    /// Place in the policy, as without it
    Number,
    /// Most packets first
    Hits,
    /// Most packets a second first
    Rate,
    /// Last hit first
    Last,
    /// Name
    Name,
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
    /// Sets, as `set list` shows them; with NAME the entries of one
    #[value(alias = "set")]
    Sets,
    /// Bans, as `bans` shows them
    #[value(alias = "ban")]
    Bans,
    /// Connections, as `flows` shows them
    #[value(aliases = ["flow", "connections"])]
    Flows,
    /// Names of ports, as `services` shows them
    #[value(aliases = ["service", "svc"])]
    Services,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl get rules",
            "firewall-ctl get rule ssh-admins -o yaml",
            "firewall-ctl get rules --unused --sort name",
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
    if (args.unused || args.sort.is_some()) && args.what != What::Rules {
        return Err(
            Failure::new(Exit::Usage, "--unused and --sort are for rules")
                .help("write: firewall-ctl get rules --unused"),
        );
    }
    let only = args.name.as_deref();
    if let Some(listed) = by_other_verb(args.what, only, context) {
        return listed;
    }
    let firewall = context.firewall()?;
    let wide = context.format == Format::Wide;
    let text = match args.what {
        What::Rules => {
            let mut report = firewall.rules()?;
            report
                .rules
                .retain(|rule| only.is_none_or(|name| rule.name == name));
            found(report.rules.is_empty(), "rule", only)?;
            if args.unused {
                report.rules.retain(is_unused);
            }
            sort(&mut report.rules, args.sort.unwrap_or(SortBy::Number));
            match context.format.is_text() {
                true if args.unused && report.rules.is_empty() => {
                    "Every rule has matched a packet.\n".to_owned()
                }
                true => rules(&report, wide, context.numbers, context.width),
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
        What::Sets | What::Bans | What::Flows | What::Services => String::new(),
    };
    context.print(&text)?;
    Ok(Exit::Ok)
}

/// What has a verb of its own.
fn by_other_verb(
    what: What,
    name: Option<&str>,
    context: &Context,
) -> Option<Result<Exit, Failure>> {
    Some(match what {
        What::Sets => live::set::listed(name, context),
        What::Bans => live::ban::listed(context),
        What::Flows => flows::listed(context),
        What::Services => services::listed(name, context),
        What::Rules | What::Reasons | What::Policy | What::Interfaces => return None,
    })
}

/// `get rules` without options.
pub(super) fn all_rules(context: &Context) -> Result<Exit, Failure> {
    let args = Args {
        what: What::Rules,
        name: None,
        unused: false,
        sort: None,
    };
    run(&args, context)
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

/// Whether a rule that is on has matched nothing, within its limit or over it.
fn is_unused(rule: &RuleView) -> bool {
    let over = rule.over.map_or(0, |over| over.total.packets);
    rule.enabled && rule.hits.total.packets + over == 0
}

fn sort(rules: &mut [RuleView], by: SortBy) {
    match by {
        SortBy::Number => {}
        SortBy::Name => rules.sort_by(|a, b| a.name.cmp(&b.name)),
        SortBy::Hits => rules.sort_by_key(|rule| std::cmp::Reverse(rule.hits.total.packets)),
        SortBy::Rate => rules.sort_by(|a, b| b.hits.rate.pps.total_cmp(&a.hits.rate.pps)),
        SortBy::Last => rules.sort_by(|a, b| {
            let at = |rule: &RuleView| rule.last_hit.unwrap_or(0.0);
            at(b).total_cmp(&at(a))
        }),
    }
}

/// Rules, in columns that fit `width` cells.
pub(super) fn rules(
    report: &RulesReport,
    wide: bool,
    numbers: Numbers,
    width: Option<usize>,
) -> String {
    let has = |what: fn(&RuleView) -> bool| report.rules.iter().any(what);
    let limited = has(|rule| rule.over.is_some());
    let runtime = has(|rule| rule.runtime);
    let hits = has(|rule| rule.last_hit.is_some());
    let comments = has(|rule| rule.comment.is_some());
    let expiries = wide && has(|rule| rule.expires.is_some());
    let owners = wide && has(|rule| rule.owner.is_some());
    let reasons = wide && has(|rule| rule.reason.is_some());
    let mut columns = vec![">#", "~RULE"];
    columns.extend(runtime.then_some("ORIGIN"));
    columns.extend(["ACTION", ">HITS"]);
    columns.extend(limited.then_some(">OVER"));
    columns.extend(hits.then_some(">LAST HIT"));
    columns.push("~MATCH");
    columns.extend(wide.then_some("PLACE"));
    columns.extend(expiries.then_some("EXPIRES"));
    columns.extend(owners.then_some("OWNER"));
    columns.extend(reasons.then_some("~REASON"));
    columns.extend(comments.then_some("~COMMENT"));
    let mut table = Table::new(&columns);
    for rule in &report.rules {
        let over = rule
            .over
            .map_or(String::new(), |over| count(over.total.packets, numbers));
        let last = rule.last_hit.map_or_else(
            || {
                if rule.hits.total.packets == 0 {
                    "never"
                } else {
                    ""
                }
                .to_owned()
            },
            |at| ago((report.time - at).max(0.0)),
        );
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut cells = vec![rule.number.to_string(), rule.name.clone()];
        let origin = if rule.runtime { "runtime" } else { "policy" };
        cells.extend(runtime.then(|| origin.to_owned()));
        cells.extend([
            action(&rule.does(), rule.enabled || rule.expired),
            count(rule.hits.total.packets, numbers),
        ]);
        cells.extend(limited.then_some(over));
        cells.extend(hits.then_some(last));
        cells.push(rule.summary.clone());
        cells.extend(wide.then(|| rule.place.clone()));
        cells.extend(expiries.then(|| rule.expires.map_or(String::new(), time::print)));
        cells.extend(owners.then(|| text(&rule.owner)));
        cells.extend(reasons.then(|| text(&rule.reason)));
        cells.extend(comments.then(|| text(&rule.comment)));
        table.row(cells);
    }
    table.render_within(width) + &notes_on_rules(report, limited, runtime)
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
