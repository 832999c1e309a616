//! `diff`: the effect of a policy change, as sets of packets.

use super::context::Context;
use super::help::after;
use super::policy::{self, Compiled};
use firewall_api::compared::{CompareRequest, Compared, Side};
use firewall_api::failure::{Exit, Failure};
use firewall_policy::diff::diff;
use firewall_policy::rule::Policy;
use firewall_system::compiled;
use firewall_system::policy_file::PolicyFile;

/// Compare two policies by the packets that newly pass or are newly dropped
///
/// Compares the sets of packets that rules decide, not lines of text. Equivalent policies have no
/// difference, however they are written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Old and new policy: files, or numbers of generations in `history` (`./41` is a file); with one
    /// argument, the active policy is the old one
    #[arg(value_name = "FILE|N", required = true, num_args = 1..=2)]
    files: Vec<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl diff old.yaml new.yaml",
            "sudo firewall-ctl diff changed.yaml",
            "sudo firewall-ctl diff 41 42",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
            Exit::Changes,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let report = match args.files.as_slice() {
        files if files.iter().any(|file| generation(file).is_some()) => of_history(files, context)?,
        [old, new] => of_files(&policy::compile(old)?, &policy::compile(new)?, context),
        [new, ..] => {
            let new = policy::compile(new)?;
            let instead = "name both: firewall-ctl diff OLD NEW";
            of_files(
                &policy::compile_in_force(context, instead)?.0,
                &new,
                context,
            )
        }
        [] => return Err(Failure::new(Exit::Usage, "no policy")),
    };
    if context.format.is_text() {
        let text = text(&report);
        if text.is_empty() {
            context.say("no difference: the policies are equivalent")?;
        } else {
            context.print(&text)?;
        }
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(if report.equal {
        Exit::Ok
    } else {
        Exit::Changes
    })
}

fn of_files(old: &Compiled, new: &Compiled, context: &Context) -> Compared {
    let (old, new) = (&old.policy, &new.policy);
    Compared::of(&diff(old, new), old, new, context.verbose > 0)
}

/// The number of a generation; `./41` is a file.
fn generation(name: &str) -> Option<u64> {
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.parse().ok()).flatten()
}

/// Policies of which one at least is in the history: whoever keeps that compares them.
fn of_history(files: &[String], context: &Context) -> Result<Compared, Failure> {
    let side = |name: &String| match generation(name) {
        Some(number) => Ok(Side::Generation(number)),
        None => PolicyFile::read_as_absolute(name)
            .and_then(compiled::source)
            .map(Side::Policy),
    };
    let (old, new) = match files {
        [old, new] => (side(old)?, side(new)?),
        [new, ..] => (Side::InForce, side(new)?),
        [] => return Err(Failure::new(Exit::Usage, "no policy")),
    };
    let all = context.verbose > 0;
    context
        .firewall()?
        .compare(&CompareRequest { old, new, all })
}

/// What becomes different from `old` to `new`, for people; empty if nothing does.
pub(super) fn in_words(old: &Policy, new: &Policy) -> String {
    text(&Compared::of(&diff(old, new), old, new, false))
}

/// The difference for people; empty if there is none.
pub(super) fn text(report: &Compared) -> String {
    let mut text = String::new();
    for setting in &report.settings {
        text.push_str(&format!("~ {setting}\n"));
    }
    for line in &report.regions {
        let (sign, does, did) = match line.passes() {
            true => ("+", "newly passes", "dropped"),
            false => ("-", "newly drops", "passed"),
        };
        text.push_str(&format!(
            "{sign} {does}  {}\n    by {}; was {did} by {}\n    such as: {}\n",
            line.packets,
            line.becomes.words(),
            line.was.words(),
            line.example
        ));
    }
    if report.more > 0 {
        text.push_str(&format!("and {} more; -v shows all\n", report.more));
    }
    if !report.complete {
        text.push_str("The policies differ in too many ways to list: there is more than this.\n");
    }
    if !report.equal {
        text.push_str(&format!(
            "Newly pass {}, newly drop {}\n",
            report.newly_pass, report.newly_drop
        ));
    }
    text
}
