//! `save`: runtime rules become rules of the file that the daemon reads again. Invariant: lines are added to
//! that file and nothing else of it changes, and only if it then means, rule for rule, the same as the active
//! policy.

use super::super::context::Context;
use super::super::fmt::replace;
use super::super::help::after;
use super::super::policy::compile_text;
use super::super::ssh;
use super::super::why::Why;
use super::report;
use firewall_api::clock::unix_time;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::report::PolicyReport;
use firewall_api::rules::{CHANGED_MEANWHILE, RulesChange, RulesChanged, RulesEdit};
use firewall_api::session::Asker;
use firewall_api::source::PolicySource;
use firewall_policy::bundle::{self, Part};
use firewall_policy::edit;
use firewall_policy::rule::{Place, Policy};
use firewall_system::hash;
use firewall_system::host::Turn;
use firewall_system::policy_file::PolicyFile;
use std::path::{Path, PathBuf};

/// Write rules added by allow, deny and limit into the policy
///
/// The rules go before those of the file that the daemon reads, because the first match wins; of a
/// directory into its firewall.yaml. Only lines are added: comments and layout stay as they are.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    #[command(flatten)]
    why: Why,
}

pub(in super::super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl save",
            "sudo firewall-ctl allow 80/tcp && sudo firewall-ctl save",
            "sudo firewall-ctl save -o json",
        ],
        super::EXITS,
    )
}

/// How often a save is begun anew that others were faster than.
const ATTEMPTS: usize = 20;

pub(in super::super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let client = context.daemon()?;
    for _ in 1..ATTEMPTS {
        match save(&*client, args, context) {
            Err(failure) if &*failure.code == CHANGED_MEANWHILE => {}
            answer => return answer,
        }
    }
    save(&*client, args, context)
}

fn save(client: &dyn Firewall, args: &Args, context: &Context) -> Result<Exit, Failure> {
    let policy = client.policy()?;
    let now = unix_time().as_secs();
    if unsaved(&policy, "", now)?.is_empty() {
        return nothing_to_save(context);
    }
    let (target, folder) = file_of(&policy)?;
    // One after the other: each adds to what the one before has written.
    let _turn = Turn::in_folder(&folder).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot lock {}: {error}", folder.display()),
        )
        .help("another `save` may be at work: try again")
        .outcome("nothing saved")
    })?;
    // Whoever had the turn before has changed both, what is in force and the file.
    let policy = client.policy()?;
    let rules = unsaved(&policy, "", now)?;
    if rules.is_empty() {
        return nothing_to_save(context);
    }
    let file = PolicyFile::read(&target)?;
    let missing = unsaved(&policy, &file.text, now)?;
    let missing: Vec<&str> = missing.iter().map(|(_, rule)| rule.as_str()).collect();
    let (text, main) = with_rules(&file, &missing)?;
    let request = same_meaning(&policy, &file, &text, now)?;
    if let Some(main) = &main {
        replace(&main.path, &main.written)?;
    }
    let what = RulesEdit::Saved {
        policy: PolicySource {
            path: target.clone(),
            ..request
        },
        before: hash::of(&policy.text),
    };
    let changed = client.change_rules(&RulesChange {
        what,
        session: ssh::session(),
        i_know: false,
        why: args.why.why.clone(),
        asker: Asker::default(),
    });
    let changed = changed.map_err(|failure| match &main {
        Some(main) => {
            let now = client.policy();
            // A `reload` may have read the file as it is now.
            let is_read = now.is_ok_and(|now| bundle::runtime(&now.text).1 == text);
            not_saved(failure, main, is_read)
        }
        None => failure,
    })?;
    let path = main.map_or(target, |main| main.path);
    say(rules.len(), &path, &changed, context)
}

/// The runtime rules that a file does not hold, with their names.
fn unsaved(policy: &PolicyReport, file: &str, now: u64) -> Result<Vec<(String, String)>, Failure> {
    edit::unsaved(&policy.text, file, now).map_err(|error| {
        Failure::new(Exit::Refused, error.to_string())
            .help("write it to a file by hand: firewall-ctl get policy")
            .outcome("nothing saved")
    })
}

fn nothing_to_save(context: &Context) -> Result<Exit, Failure> {
    context.say("no runtime rules: nothing to save")?;
    Ok(Exit::Ok)
}

fn say(
    count: usize,
    path: &str,
    changed: &RulesChanged,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = match count {
        1 => "1 runtime rule".to_owned(),
        n => format!("{n} runtime rules"),
    };
    let text = format!("{what} saved to {path}, before other rules");
    report(&text, changed, context)
}

/// The failure of a save whose file is written. The daemon has refused it: what was in force then may be so
/// no more, so the file gets back what it held, unless it has been read since. Without an answer nobody knows, and a file that holds what
/// is in force does no harm.
fn not_saved(failure: Failure, main: &Main, is_read: bool) -> Failure {
    let is_answer = failure.exit_code != Exit::Unreachable;
    let is_mine = || std::fs::read(&main.path).is_ok_and(|it| it == main.written.as_bytes());
    let is_back = is_read || (is_answer && is_mine() && replace(&main.path, &main.former).is_ok());
    match (is_back, &*failure.code) {
        (true, CHANGED_MEANWHILE) => failure,
        (true, _) if !is_read => failure.outcome("nothing saved"),
        _ => Failure {
            // No reason to begin anew.
            code: "not-saved".into(),
            ..failure
        }
        .outcome(format!(
            "{} is written; what is active has not changed",
            main.path
        )),
    }
}

/// The file or directory that the daemon reads again, and the folder that is locked for writing to it.
fn file_of(policy: &PolicyReport) -> Result<(String, PathBuf), Failure> {
    let target = policy.reloads.as_ref().unwrap_or(&policy.policy);
    let failed = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Refused,
        };
        Failure::new(exit, format!("the daemon reads {target} again: {error}"))
            .help("write the active policy to that file: firewall-ctl get policy > FILE")
            .outcome("nothing saved")
    };
    let real = std::fs::canonicalize(target).map_err(failed)?;
    let folder = match real.is_dir() {
        true => real,
        false => real.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    Ok((target.clone(), folder))
}

/// The file that rules are added to.
struct Main {
    path: String,
    former: String,
    written: String,
}

/// The policy's text with rules in its main file, and that file with what is to be written there; none if
/// it holds them all.
fn with_rules(file: &PolicyFile, rules: &[&str]) -> Result<(String, Option<Main>), Failure> {
    if rules.is_empty() {
        return Ok((file.text.clone(), None));
    }
    let mut parts = bundle::parts(&file.text);
    let (path, former) = parts
        .first()
        .map_or(("", ""), |part| (part.path, part.text));
    let shown = match path {
        "" => file.name.clone(),
        path => Path::new(&file.name).join(path).display().to_string(),
    };
    let written = edit::with_rules(former, rules).map_err(|error| {
        Failure::new(Exit::Refused, format!("{shown}: {error}"))
            .help("write `rules: []` where the rules are to stand, then save again")
            .outcome("nothing saved")
    })?;
    if let Some(first) = parts.first_mut() {
        *first = Part {
            path,
            text: &written,
        };
    }
    let text = bundle::join(parts);
    let main = Main {
        path: shown,
        former: former.to_owned(),
        written,
    };
    Ok((text, Some(main)))
}

/// What a request carries for a file with `text`, if that means what is active.
fn same_meaning(
    policy: &PolicyReport,
    file: &PolicyFile,
    text: &str,
    now: u64,
) -> Result<PolicySource, Failure> {
    let compile = |text: &str| {
        compile_text(PolicyFile {
            text: text.to_owned(),
            ..file.clone()
        })
    };
    let saved = compile(text).map_err(|failure| failure.outcome("nothing saved"))?;
    let (_, files) = bundle::runtime(&policy.text);
    let active = edit::saved(&policy.text, files, now).unwrap_or_else(|_| policy.text.clone());
    let is_same =
        compile(&active).is_ok_and(|it| placeless(it.policy) == placeless(saved.policy.clone()));
    if is_same {
        return Ok(saved.source);
    }
    let name = &file.name;
    let refused = |text: String| Failure::new(Exit::Refused, text).outcome("nothing saved");
    if policy.policy != *name && files != file.text {
        let other = &policy.policy;
        return Err(refused(format!(
            "the daemon reads {name} again, and the active policy is that of {other}"
        ))
        .help(format!(
            "put it there first: cp {other} {name}; or write all of it to a file: firewall-ctl get policy > FILE"
        )));
    }
    Err(refused(format!(
        "{name} has changed since generation {} was applied",
        policy.generation
    ))
    .help(format!(
        "save would apply that change too; see firewall-ctl diff {name}, then restore {name}, or \
         discard the rules: firewall-ctl reload --discard-runtime"
    )))
}

/// A policy without the places where its rules stand.
fn placeless(mut policy: Policy) -> Policy {
    for rule in &mut policy.rules {
        rule.place = Place::default();
    }
    policy
}
