//! `allow`, `deny`, `limit`, `delete` and `save`: rules for now, in words that users of ufw know.
//!
//! A quick rule is a runtime rule: it stands in the text of the policy in force, before all others,
//! and in none of its files (`firewall_policy::edit`). A verb asks for what is to become of a rule; whoever
//! keeps the policy does it, after all that was asked for before. Invariant: no verb changes both what is in force and a file
//! unless the two mean the same.

mod effect;
mod kept;
mod save;
mod words;

pub(super) use save::{Args as SaveArgs, help as save_help, run as save};
pub(super) use words::Does;

use super::context::Context;
use super::help::after;
use super::ssh;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::rules::{RuleOutcome, RulesChange, RulesChanged, RulesEdit};
use words::Wish;

/// `allow`, `deny` and `limit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// WHAT [from SRC] [to DST] [on IF] [rate N/s] [for 20m] [name N] [comment ...]; WHAT is 80/tcp,
    /// 5000-5010/udp, a service such as ssh, or any
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    /// Override the guard: allow a change that cuts your own connection, or opens to everybody what the
    /// policy opens to some
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
    let zone = match &wish.on {
        None => None,
        Some(interface) => zone_of(interface, &*client)?,
    };
    // Which names are taken, whoever adds the rule knows.
    let name = wish.name(does, &|_| false);
    let rule = wish.rule(does, &name, zone.as_deref(), unix_time().as_secs())?;
    let policy = client.policy()?;
    let rule = kept::with(&rule, &kept::kept(&policy.text, does, &wish.said()));
    let named = wish.is_named();
    let changed = change(&*client, RulesEdit::Add { rule, name, named }, args.i_know)?;
    let RulesChanged { rule: name, .. } = &changed;
    let what = match changed.outcome {
        RuleOutcome::Already => "already there",
        RuleOutcome::Renewed => "already there, renewed",
        RuleOutcome::Moved => "already there, moved before all other rules",
        _ => "added before all other rules",
    };
    let text = format!(
        "{name}: {what} (generation {})\n  {}\n\
         undo: firewall-ctl delete {name}    keep: firewall-ctl save",
        changed.report.applied.generation, changed.text
    );
    report(&text, &changed, context)
}

pub(super) fn delete(args: &DeleteArgs, context: &Context) -> Result<Exit, Failure> {
    let client = context.daemon()?;
    let name = match args.rule.parse::<usize>() {
        Err(_) => args.rule.clone(),
        Ok(number) => {
            let rules = client.rules()?.rules;
            let numbered = rules.into_iter().find(|rule| rule.number == number);
            numbered.map_or_else(|| args.rule.clone(), |rule| rule.name)
        }
    };
    let changed = change(&*client, RulesEdit::Delete { name }, args.i_know)?;
    let text = format!(
        "{}: deleted (generation {})\n  {}",
        changed.rule, changed.report.applied.generation, changed.text
    );
    report(&text, &changed, context)
}

/// Has a change of the runtime rules done. Whoever does it judges it.
fn change(client: &dyn Firewall, what: RulesEdit, i_know: bool) -> Result<RulesChanged, Failure> {
    client.change_rules(&RulesChange {
        what,
        judged: None,
        session: ssh::session(),
        i_know,
    })
}

fn report(text: &str, changed: &RulesChanged, context: &Context) -> Result<Exit, Failure> {
    if context.format.is_text() {
        context.say(text)?;
        if let Some(effect) = &changed.report.applied.effect {
            context.say(&effect::text(effect))?;
        }
        context.warn(&changed.report.applied.warnings);
    } else {
        context.print(&context.format.document(changed, false)?)?;
    }
    Ok(Exit::Ok)
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
