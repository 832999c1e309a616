//! `allow`, `deny`, `limit`, `delete` and `save`: rules for now, in words that users of ufw know.
//!
//! A quick rule is a runtime rule: it stands in the text of the policy in force, before all others,
//! and in none of its files (`firewall_policy::bundle`). So it goes the way of every change: read,
//! tested and put in force as a whole. Invariant: no verb changes both what is in force and a file
//! unless the two mean the same.

mod guard;
mod save;
mod words;

pub(super) use save::{Args as SaveArgs, help as save_help, run as save};
pub(super) use words::Does;

use super::context::Context;
use super::help::after;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::report::{ApplyReport, PolicyReport};
use firewall_api::request::ApplyRequest;
use firewall_policy::bundle::{self, RUNTIME};
use words::Wish;

/// `allow`, `deny` and `limit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// WHAT [from SRC] [to DST] [on IF] [rate N/s] [for 20m] [name N] [comment ...]; WHAT is 80/tcp,
    /// 5000-5010/udp, a service such as ssh, or any
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    /// Override the guard: allow a change that cuts your own connection
    #[arg(long)]
    i_know: bool,
}

/// Delete a rule added by allow, deny or limit
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// Rule name, or its number in `get rules`
    #[arg(value_name = "NAME|NUMBER")]
    rule: String,
    /// Also if it keeps out the connection that you work over
    #[arg(long)]
    i_know: bool,
}

const EXITS: &[Exit] = &[
    Exit::Ok,
    Exit::Failed,
    Exit::Usage,
    Exit::Config,
    Exit::Privilege,
    Exit::Unreachable,
    Exit::Unsupported,
    Exit::Refused,
];

pub(super) fn help(does: Does) -> String {
    let examples = match does {
        Does::Allow => [
            "sudo firewall-ctl allow 80/tcp",
            "sudo firewall-ctl allow ssh from 203.0.113.0/24 for 20m",
            "sudo firewall-ctl allow 5000-5010/udp on eth0 name game comment for the weekend",
        ],
        Does::Deny => [
            "sudo firewall-ctl deny from 203.0.113.9",
            "sudo firewall-ctl deny 8080/tcp",
            "sudo firewall-ctl deny any from 203.0.113.0/24 for 1h",
        ],
        Does::Limit => [
            "sudo firewall-ctl limit ssh",
            "sudo firewall-ctl limit 53/udp rate 50/s",
            "sudo firewall-ctl limit 25/tcp for 1h name mail-wave",
        ],
    };
    after(&examples, EXITS)
}

pub(super) fn delete_help() -> String {
    after(
        &[
            "sudo firewall-ctl delete allow-80-tcp",
            "sudo firewall-ctl delete 1",
            "sudo firewall-ctl delete deny-from-203-0-113-9 -o json",
        ],
        EXITS,
    )
}

pub(super) fn run(does: Does, args: &Args, context: &Context) -> Result<Exit, Failure> {
    let wish = Wish::read(&args.words)?;
    let client = context.daemon()?;
    let policy = client.policy()?;
    let rules = client.rules()?.rules;
    let zone = match &wish.on {
        None => None,
        Some(interface) => zone_of(interface, &*client)?,
    };
    let name = wish.name(does, &|name| rules.iter().any(|rule| rule.name == name));
    let rule = wish.rule(does, &name, zone.as_deref(), unix_time().as_secs())?;
    let (runtime, _) = bundle::runtime(&policy.text);
    let mut lines = rule_lines(runtime);
    lines.insert(0, format!("  - {rule}"));
    let text = bundle::with_runtime(Some(&file_of(&lines)), &policy.text);
    let applied = change(&*client, &policy, text, args.i_know)?;
    report(
        &format!(
            "{name}: added before all other rules (generation {})\n  {rule}\n\
             undo: firewall-ctl delete {name}    keep: firewall-ctl save",
            applied.applied.generation
        ),
        &applied,
        context,
    )
}

pub(super) fn delete(args: &DeleteArgs, context: &Context) -> Result<Exit, Failure> {
    let client = context.daemon()?;
    let policy = client.policy()?;
    let rules = client.rules()?.rules;
    let wanted = rules.iter().find(|rule| {
        rule.name == args.rule || args.rule.parse::<usize>().is_ok_and(|n| n == rule.number)
    });
    let Some(rule) = wanted else {
        return Err(
            Failure::new(Exit::Failed, format!("there is no rule `{}`", args.rule))
                .help("list them: firewall-ctl get rules"),
        );
    };
    let line = rule.place.strip_prefix(RUNTIME);
    let line = line.and_then(|rest| rest.strip_prefix(':')?.parse::<usize>().ok());
    let Some(line) = line else {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "the rule `{}` belongs to the policy ({})",
                rule.name, rule.place
            ),
        )
        .help("remove it there, then: firewall-ctl reload"));
    };
    let (runtime, _) = bundle::runtime(&policy.text);
    let written = runtime.unwrap_or_default().lines().nth(line - 1);
    let written = written.unwrap_or_default().to_owned();
    let mut lines = rule_lines(runtime);
    lines.retain(|line| *line != written);
    let left = file_of(&lines);
    let left = (!lines.is_empty()).then_some(left.as_str());
    let text = bundle::with_runtime(left, &policy.text);
    let applied = change(&*client, &policy, text, args.i_know)?;
    report(
        &format!(
            "{}: deleted (generation {})\n  {}",
            rule.name,
            applied.applied.generation,
            written.trim_start_matches([' ', '-'])
        ),
        &applied,
        context,
    )
}

/// Puts a changed text of the policy in force.
fn change(
    client: &dyn Firewall,
    policy: &PolicyReport,
    text: String,
    i_know: bool,
) -> Result<ApplyReport, Failure> {
    if !i_know {
        guard::check(policy, &text, client)?;
    }
    client.apply(&ApplyRequest {
        text,
        change_of: Some(policy.generation),
        ..ApplyRequest::new(policy.source())
    })
}

fn report(text: &str, applied: &ApplyReport, context: &Context) -> Result<Exit, Failure> {
    if context.format.is_text() {
        context.say(text)?;
        context.warn(&applied.applied.warnings);
    } else {
        context.print(&context.format.document(applied, false)?)?;
    }
    Ok(Exit::Ok)
}

/// The lines of runtime rules: one a rule, as this module writes them.
fn rule_lines(runtime: Option<&str>) -> Vec<String> {
    let lines = runtime.unwrap_or_default().lines();
    let rules = lines.filter(|line| line.starts_with("  - "));
    rules.map(str::to_owned).collect()
}

/// The file of runtime rules.
fn file_of(lines: &[String]) -> String {
    format!("version: 1\nrules:\n{}\n", lines.join("\n"))
}

/// The zone by which rules can tell an interface from others; `None` if there are no others.
fn zone_of(interface: &str, client: &dyn Firewall) -> Result<Option<String>, Failure> {
    let all = client.status()?.status.interfaces;
    let names = |list: Vec<&str>| list.join(", ");
    let Some(view) = all.iter().find(|view| view.name == interface) else {
        let known = names(all.iter().map(|view| view.name.as_str()).collect());
        return Err(
            Failure::new(Exit::Failed, format!("{interface} is not filtered"))
                .help(format!("filtered interfaces: {known}")),
        );
    };
    let others: Vec<&str> = all
        .iter()
        .filter(|other| other.name != view.name && other.zone == view.zone)
        .map(|other| other.name.as_str())
        .collect();
    if all.len() == 1 {
        return Ok(None);
    }
    if others.is_empty() && !view.zone.is_empty() {
        return Ok(Some(view.zone.clone()));
    }
    let what = match view.zone.as_str() {
        "" => format!("rules select interfaces by zone, and {interface} has none"),
        zone => format!("the zone `{zone}` of {interface} has {} too", names(others)),
    };
    Err(Failure::new(Exit::Refused, what).help(format!(
        "give it a zone of its own in the policy: interfaces: [{{match: {interface}, zone: NAME}}]"
    )))
}
