//! `allow`, `deny`, `limit`, `reject`, `insert`, `route`, `delete` and `save`: rules for now, in words
//! that users of ufw know.
//!
//! A quick rule is a runtime rule: it stands in the text of the policy in force, before all others,
//! and in none of its files (`firewall_policy::edit`). A verb asks for what is to become of a rule; whoever
//! keeps the policy does it, after all that was asked for before. Invariant: no verb changes both what is in force and a file
//! unless the two mean the same.

mod effect;
mod kept;
mod rules;
mod save;
mod words;

pub(super) use save::{Args as SaveArgs, help as save_help, run as save};
pub(super) use words::Does;

use super::context::Context;
use super::help::after;
use super::services;
use super::ssh;
use super::why::Why;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::rules::{RuleOutcome, RulesChange, RulesChanged, RulesEdit};
use firewall_api::session::Asker;
use firewall_api::view::{RuleView, Status};
use firewall_policy::bundle;
use rules::{Made, Setting, meaning};
use words::{Ports, Wish, usage};

/// `allow`, `deny`, `limit` and `reject`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// WHAT [proto P] [from SRC] [to DST] [port P] [on IF] [rate N/s|new N/s] [all] [for 20m] [name N]
    /// [comment ...]; WHAT is 80/tcp, 5000-5010/udp, a service such as ssh, or any
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Options of every verb that changes runtime rules.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Override the guard: allow a change that cuts your own connection, or opens to everybody what the
    /// policy opens to some
    #[arg(long)]
    i_know: bool,
    /// Show the rules that would be added or deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
}

/// Add a rule at a place among the runtime rules
#[derive(Debug, clap::Args)]
pub(super) struct InsertArgs {
    /// Place in `get rules`, from 1
    #[arg(value_name = "NUMBER")]
    place: usize,
    /// allow, deny, limit or reject, and its words
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Allow or deny packets that this host forwards
#[derive(Debug, clap::Args)]
pub(super) struct RouteArgs {
    /// allow, deny, limit or reject, and its words
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Delete a rule added by allow, deny, limit or reject
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// Rule name, its number in `get rules`, or the words that added it: allow 80/tcp
    #[arg(value_name = "NAME|NUMBER|WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    options: Options,
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
            "sudo firewall-ctl limit 443/tcp new 200/s all",
        ],
        Does::Reject => [
            "sudo firewall-ctl reject 25/tcp",
            "sudo firewall-ctl reject from 203.0.113.0/24 to any port 113 proto tcp",
            "sudo firewall-ctl reject telnet for 1h",
        ],
    };
    after(&examples, EXITS)
}

pub(super) fn delete_help() -> String {
    after(
        &[
            "sudo firewall-ctl delete allow-80-tcp",
            "sudo firewall-ctl delete 1",
            "sudo firewall-ctl delete allow 80/tcp",
        ],
        EXITS,
    )
}

pub(super) fn insert_help() -> String {
    after(
        &[
            "sudo firewall-ctl insert 2 deny from 203.0.113.9",
            "sudo firewall-ctl insert 1 limit ssh",
            "sudo firewall-ctl insert 3 allow 80/tcp --dry-run",
        ],
        EXITS,
    )
}

pub(super) fn route_help() -> String {
    after(
        &[
            "sudo firewall-ctl route allow in on eth1 to 10.0.0.5 port 80 proto tcp",
            "sudo firewall-ctl route deny from 10.9.0.0/16",
            "sudo firewall-ctl route allow proto udp from any to 10.0.0.53 port 53",
        ],
        EXITS,
    )
}

pub(super) fn run(does: Does, args: &Args, context: &Context) -> Result<Exit, Failure> {
    let catalogue = services::catalogue(context)?;
    let wish = Wish::read(&args.words, &catalogue)?;
    add(does, &wish, 1, &args.options, context)
}

pub(super) fn insert(args: &InsertArgs, context: &Context) -> Result<Exit, Failure> {
    let (does, wish) = wish_behind_verb(&args.words, context)?;
    add(does, &wish, args.place, &args.options, context)
}

pub(super) fn route(args: &RouteArgs, context: &Context) -> Result<Exit, Failure> {
    let (does, mut wish) = wish_behind_verb(&args.words, context)?;
    wish.route = true;
    add(does, &wish, 1, &args.options, context)
}

/// The verb among the words, and what they wish for.
fn wish_behind_verb(words: &[String], context: &Context) -> Result<(Does, Wish), Failure> {
    let does = words.first().and_then(|word| Does::of(word));
    let Some((does, words)) = does.zip(words.get(1..)) else {
        return Err(usage(
            format!("`{}` is not a verb for rules", words.join(" ")),
            "write allow, deny, limit or reject, then its words: allow 80/tcp",
        ));
    };
    let catalogue = services::catalogue(context)?;
    Ok((does, Wish::read(words, &catalogue)?))
}

/// Adds the rules that the words ask for, before the rule that stands at `place` now.
fn add(
    does: Does,
    wish: &Wish,
    place: usize,
    options: &Options,
    context: &Context,
) -> Result<Exit, Failure> {
    // Which names are taken, whoever adds the rules knows.
    let taken = |_: &str| false;
    let client = match context.daemon() {
        Ok(client) => client,
        // What the words mean needs nobody.
        Err(_) if options.dry_run && wish.on.is_none() => {
            let made = wish.rules(does, &taken, setting(None))?;
            return show_dry("would add", &made, context);
        }
        Err(failure) => return Err(failure),
    };
    let zone = match &wish.on {
        None => None,
        Some(interface) => zone_of(interface, &*client)?,
    };
    let made = wish.rules(does, &taken, setting(zone.as_deref()))?;
    let policy = client.policy()?.text;
    let made = made.into_iter().map(|rule| {
        let (rule, differ) = kept::with_kept(rule, &policy, does, wish);
        match differ.filter(|_| !options.i_know) {
            Some(differ) => Err(differ.refusal(&rule)),
            None => Ok(rule),
        }
    });
    let made: Vec<Made> = made.collect::<Result<_, _>>()?;
    let before = match place {
        1 => None,
        _ => Some(rule_at(place, &client.rules()?.rules)?),
    };
    if options.dry_run {
        return show_dry("would add", &made, context);
    }
    // Each goes before those that are there, so the last one is first.
    for (at, rule) in made.into_iter().enumerate().rev() {
        let edit = RulesEdit::Add {
            rule: rule.yaml,
            name: rule.name,
            named: at == 0 && wish.name.is_some() && !wish.all,
            before: before.clone(),
        };
        let changed = change(&*client, edit, options)?;
        let RulesChanged { rule: name, .. } = &changed;
        let what = match (changed.outcome, &before) {
            (RuleOutcome::Already, _) => "already there".to_owned(),
            (RuleOutcome::Renewed, _) => "already there, renewed".to_owned(),
            (RuleOutcome::Moved, None) => "already there, moved before all other rules".to_owned(),
            (RuleOutcome::Moved, Some(before)) => format!("already there, moved before {before}"),
            (_, None) => "added before all other rules".to_owned(),
            (_, Some(before)) => format!("added before {before}"),
        };
        let text = format!(
            "{name}: {what} (generation {})\n  {}\n\
             undo: firewall-ctl delete {name}    keep: firewall-ctl save",
            changed.report.applied.generation, changed.text
        );
        report(&text, &changed, context)?;
    }
    Ok(Exit::Ok)
}

/// The runtime rule that stands at a place.
fn rule_at(place: usize, rules: &[RuleView]) -> Result<String, Failure> {
    let runtime = rules.iter().filter(|rule| rule.runtime).count();
    let at = rules
        .iter()
        .find(|rule| rule.number == place && rule.runtime);
    at.map(|rule| rule.name.clone()).ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            format!("place {place} is not among the runtime rules"),
        )
        .help(format!(
            "runtime rules stand before those of the policy: write insert 1 to insert {}",
            runtime.max(1)
        ))
    })
}

fn setting(zone: Option<&str>) -> Setting<'_> {
    Setting {
        zone,
        now: unix_time().as_secs(),
    }
}

fn show_dry(what: &str, made: &[Made], context: &Context) -> Result<Exit, Failure> {
    if context.format.is_text() {
        for rule in made {
            context.print(&format!("{what}  {}\n", rule.yaml))?;
        }
        context.say("dry run: nothing changed")?;
    } else {
        let rules: Vec<_> = made
            .iter()
            .map(|rule| serde_json::json!({"name": rule.name, "rule": rule.yaml}))
            .collect();
        let document = serde_json::json!({
            "schema": firewall_api::view::SCHEMA,
            "dry_run": true,
            "rules": rules,
        });
        context.print(&context.format.document(&document, false)?)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn delete(args: &DeleteArgs, context: &Context) -> Result<Exit, Failure> {
    let client = context.daemon()?;
    let names = match args.words.as_slice() {
        // As kubectl's users say it.
        [kind, rule] if matches!(kind.as_str(), "rule" | "rules") => vec![rule.clone()],
        [rule] => match rule.parse::<usize>() {
            Err(_) => vec![rule.clone()],
            Ok(number) => {
                let rules = client.rules()?.rules;
                let numbered = rules.into_iter().find(|rule| rule.number == number);
                vec![numbered.map_or_else(|| rule.clone(), |rule| rule.name)]
            }
        },
        words => names_of_words(words, &*client, context)?,
    };
    if args.options.dry_run {
        let gone = runtime_rules(&*client)?.into_iter();
        let gone: Vec<Made> = gone.filter(|rule| names.contains(&rule.name)).collect();
        return show_dry("would delete", &gone, context);
    }
    for name in names {
        let changed = change(&*client, RulesEdit::Delete { name }, &args.options)?;
        let text = format!(
            "{}: deleted (generation {})\n  {}",
            changed.rule, changed.report.applied.generation, changed.text
        );
        report(&text, &changed, context)?;
    }
    Ok(Exit::Ok)
}

/// The runtime rules of the policy in force, as they are written.
fn runtime_rules(client: &dyn Firewall) -> Result<Vec<Made>, Failure> {
    let text = client.policy()?.text;
    let (runtime, _) = bundle::runtime(&text);
    let lines = runtime.unwrap_or_default().lines();
    let rules = lines.filter(|line| line.starts_with("  - {"));
    Ok(rules.map(made_of).collect())
}

/// A line of the runtime rules as a rule.
fn made_of(line: &str) -> Made {
    let yaml = line.trim_start_matches([' ', '-']).to_owned();
    let behind = yaml.strip_prefix("{name: ").unwrap_or(&yaml);
    let name = behind.split([',', '}']).next().unwrap_or_default();
    Made {
        name: name.trim_matches('"').to_owned(),
        yaml,
        ports: Ports::default(),
        is_for_known: false,
    }
}

/// The names of the runtime rules that the same words have added, whatever they are called.
fn names_of_words(
    words: &[String],
    client: &dyn Firewall,
    context: &Context,
) -> Result<Vec<String>, Failure> {
    let (does, wish) = match words {
        [first, rest @ ..] if first == "route" => {
            let (does, mut wish) = wish_behind_verb(rest, context)?;
            wish.route = true;
            (does, wish)
        }
        words => wish_behind_verb(words, context)?,
    };
    let zone = match &wish.on {
        None => None,
        Some(interface) => zone_of(interface, client)?,
    };
    let wanted = wish.rules(does, &|_| false, setting(zone.as_deref()))?;
    let present = runtime_rules(client)?;
    let policy = client.policy()?.text;
    let name = |rule: &Made| {
        let (kept, _) = kept::with_kept(rule.clone(), &policy, does, &wish);
        let wanted = [meaning(&rule.yaml), meaning(&kept.yaml)];
        let mut same = present.iter();
        let same = same.find(|other| wanted.contains(&meaning(&other.yaml)));
        same.map(|other| other.name.clone())
    };
    let names: Option<Vec<String>> = wanted.iter().map(name).collect();
    names.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("no runtime rule does what `{}` asks for", words.join(" ")),
        )
        .help("list them: firewall-ctl get rules; delete one by its name or number")
    })
}

/// Has a change of the runtime rules done. Whoever does it judges it.
fn change(
    client: &dyn Firewall,
    what: RulesEdit,
    options: &Options,
) -> Result<RulesChanged, Failure> {
    // What holds of the host whatever its rules are has been said when the policy was applied.
    let standing = client.status().map(|report| standing(&report.status));
    let standing = standing.unwrap_or_default();
    let mut changed = client.change_rules(&RulesChange {
        what,
        session: ssh::session(),
        i_know: options.i_know,
        why: options.why.why.clone(),
        asker: Asker::default(),
    })?;
    changed
        .report
        .applied
        .warnings
        .retain(|warning| !standing.iter().any(|known| warning.contains(known)));
    Ok(changed)
}

/// What `status` warns of.
fn standing(status: &Status) -> Vec<String> {
    let limits = status.interfaces.iter();
    let limits = limits.flat_map(|interface| &interface.limits);
    limits.chain(&status.warnings).cloned().collect()
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
