//! Changes of the rules that were added while the policy is in force, as the engine thread does them: one
//! after the other, each of what is in force then.
//!
//! Invariant: what a change does not name stays as it is.

use super::messages::Named;
use super::options::Options;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::Applied;
use firewall_api::rules::{RuleOutcome, RulesChange, RulesEdit, changed_meanwhile};
use firewall_api::source::PolicySource;
use firewall_engine::engine::{Engine, Guard, Origin, Record, Request};
use firewall_policy::edit::{self, EditError, Edited, NewRule, What};
use firewall_system::hash;

/// Does a change; what was applied, and what became of which rule.
pub(super) fn change(
    options: &Options,
    engine: &mut Engine,
    change: RulesChange,
) -> Result<(Applied, Named), Failure> {
    let observed = engine.observe().map_err(|error| error.failure())?;
    let Some(observed) = observed else {
        return Err(Failure::new(Exit::Failed, "no policy is loaded")
            .help("load one: firewall-ctl apply -f FILE"));
    };
    let record = &observed.record;
    let guard = Guard::of_request(change.session, change.i_know);
    let origin = Origin {
        verb: match change.what {
            RulesEdit::Add { .. } => "add rule",
            RulesEdit::Delete { .. } => "delete rule",
            RulesEdit::Saved { .. } => "save",
        },
        asker: change.asker,
        why: change.why,
        ..Origin::default()
    };
    let edited = match change.what {
        RulesEdit::Saved { policy, before } => {
            return saved(options, engine, record, (policy, &before), origin);
        }
        RulesEdit::Add {
            rule,
            name,
            named,
            before,
        } => add(record, (&rule, &name, named), before.as_deref())?,
        RulesEdit::Delete { name } => delete(record, &name)?,
    };
    let named = Named {
        name: edited.name,
        text: edited.rule,
        outcome: outcome(edited.what),
    };
    if edited.what == What::Already {
        return Ok((unchanged(record), named));
    }
    let request = Request {
        guard,
        is_change: true,
        origin,
        ..request(options, record, edited.text)
    };
    let applied = engine.apply(&request).map_err(|error| error.failure())?;
    Ok((applied, named))
}

fn outcome(what: What) -> RuleOutcome {
    match what {
        What::Added => RuleOutcome::Added,
        What::Renewed => RuleOutcome::Renewed,
        What::Moved => RuleOutcome::Moved,
        What::Already => RuleOutcome::Already,
        What::Deleted => RuleOutcome::Deleted,
    }
}

fn now() -> u64 {
    unix_time().as_secs()
}

fn add(
    record: &Record,
    (rule, name, is_named): (&str, &str, bool),
    before: Option<&str>,
) -> Result<Edited, Failure> {
    let new = NewRule {
        text: rule,
        name,
        is_named,
        before,
    };
    let taken = |name: &str| record.rules.iter().any(|rule| rule.name == name);
    edit::add(&record.policy_text, &new, &taken, now()).map_err(|error| wrong(&error))
}

fn delete(record: &Record, name: &str) -> Result<Edited, Failure> {
    let Some(rule) = record.rules.iter().find(|rule| rule.name == name) else {
        let what = format!("there is no rule `{name}`");
        return Err(Failure::new(Exit::Failed, what).help("list them: firewall-ctl get rules"));
    };
    if !rule.runtime {
        let what = format!("the rule `{name}` belongs to the policy ({})", rule.place);
        return Err(
            Failure::new(Exit::Refused, what).help("remove it there, then: firewall-ctl reload")
        );
    }
    edit::delete(&record.policy_text, name, now()).map_err(|error| wrong(&error))
}

fn wrong(error: &EditError) -> Failure {
    let (exit, help) = match error {
        EditError::MoreThanRules => (
            Exit::Refused,
            "it was applied by hand: put its sets and tests into the policy's file, and apply that \
             with --discard-runtime",
        ),
        EditError::NoRule(_) => (
            Exit::Usage,
            "write {name: N, proto: tcp, port: 80, action: pass}",
        ),
        EditError::Unknown(_) => (Exit::Failed, "list them: firewall-ctl get rules"),
    };
    Failure::new(exit, error.to_string()).help(help)
}

/// The files of the policy hold rules now that were runtime rules.
fn saved(
    options: &Options,
    engine: &mut Engine,
    record: &Record,
    (policy, before): (PolicySource, &str),
    origin: Origin,
) -> Result<(Applied, Named), Failure> {
    // Of the runtime rules, too: one that was deleted or renewed meanwhile was written as it was before.
    if hash::of(&record.policy_text) != before {
        return Err(changed_meanwhile());
    }
    options.store().require(&policy.files)?;
    let text =
        edit::saved(&record.policy_text, &policy.text, now()).map_err(|error| wrong(&error))?;
    let request = Request {
        policy_path: policy.path,
        kept: Some(options.kept(Some(policy.files))),
        origin,
        ..request(options, record, text)
    };
    let applied = engine.apply(&request).map_err(|error| error.failure())?;
    let named = Named {
        name: String::new(),
        text: String::new(),
        outcome: RuleOutcome::Saved,
    };
    Ok((applied, named))
}

/// The policy in force with another text, on the interfaces that it is on, and the files that it names as
/// they were read. What is compiled while somebody takes the filter off comes too late.
fn request(options: &Options, record: &Record, text: String) -> Request {
    Request {
        policy_text: text,
        of: Some(record.generation),
        ..options.again(record)
    }
}

/// What is said where nothing had to be done.
fn unchanged(record: &Record) -> Applied {
    Applied {
        generation: record.generation,
        before: Some(record.generation),
        changed: false,
        interfaces: record.interfaces.clone(),
        warnings: Vec::new(),
        seconds: 0.0,
        effect: None,
    }
}
