//! `diff`: the effect of a policy change, as sets of packets.

use super::context::Context;
use super::help::after;
use super::policy;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_common::verdict::Verdict;
use firewall_policy::diff::{Decided, Difference, Region, diff};
use firewall_policy::rule::Policy;
use serde::Serialize;

/// Regions that are shown without -v.
const SHOWN: usize = 20;

/// Compare two policies by the packets that newly pass or are newly dropped
///
/// Compares the sets of packets that rules decide, not lines of text. Equivalent policies have no
/// difference, however they are written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Old and new policy; with one argument, the active policy is the old one
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    files: Vec<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl diff old.yaml new.yaml",
            "sudo firewall-ctl diff changed.yaml",
            "firewall-ctl diff old.yaml new.yaml -o json",
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
    let (old, new) = match args.files.as_slice() {
        [old, new] => (policy::compile(old)?, policy::compile(new)?),
        [new, ..] => {
            let new = policy::compile(new)?;
            (
                policy::compile_in_force(context, "name both: firewall-ctl diff OLD NEW")?.0,
                new,
            )
        }
        [] => return Err(Failure::new(Exit::Usage, "no policy")),
    };
    let (old, new) = (old.policy, new.policy);
    let difference = diff(&old, &new);
    let report = DiffReport::of(&difference, &old, &new, context.verbose > 0);
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
    Ok(if difference.is_empty() {
        Exit::Ok
    } else {
        Exit::Changes
    })
}

/// `diff -o json`.
#[derive(Serialize)]
struct DiffReport {
    schema: &'static str,
    equal: bool,
    complete: bool,
    settings: Vec<String>,
    regions: Vec<Line>,
    more: usize,
    /// How many regions newly pass.
    newly_pass: usize,
    /// How many are newly dropped.
    newly_drop: usize,
}

#[derive(Serialize)]
struct Line {
    change: &'static str,
    packets: String,
    example: String,
    was: By,
    becomes: By,
}

#[derive(Serialize)]
struct By {
    verdict: &'static str,
    rule: Option<String>,
    place: Option<String>,
}

impl By {
    fn of(decided: &Decided, policy: &Policy) -> Self {
        let rule = decided.rule.map(|rule| &policy.rules[rule]);
        Self {
            verdict: decided.verdict.name(),
            rule: rule.map(|rule| rule.name.clone()),
            place: rule.map(|rule| format!("{}:{}", rule.place.file, rule.place.line)),
        }
    }

    /// `rule web (old.yaml:4)`.
    fn words(&self) -> String {
        match (&self.rule, &self.place) {
            (Some(rule), Some(place)) => format!("rule {rule} ({place})"),
            _ => "the default".to_owned(),
        }
    }
}

impl DiffReport {
    fn of(difference: &Difference, old: &Policy, new: &Policy, all: bool) -> Self {
        let most = if all { usize::MAX } else { SHOWN };
        let line = |region: &Region| Line {
            change: if region.becomes.verdict == Verdict::PASS {
                "newly-passes"
            } else {
                "newly-drops"
            },
            packets: region.packets.clone(),
            example: region.example.to_string(),
            was: By::of(&region.was, old),
            becomes: By::of(&region.becomes, new),
        };
        let regions = difference.regions.iter();
        let passing = regions.filter(|region| region.becomes.verdict == Verdict::PASS);
        let passing = passing.count();
        // Packets that no rule decides are one more region.
        let default = (old.default_verdict != new.default_verdict).then_some(new.default_verdict);
        let by_default = |verdict| usize::from(default == Some(verdict));
        Self {
            newly_pass: passing + by_default(Verdict::PASS),
            newly_drop: difference.regions.len() - passing + by_default(Verdict::DROP),
            schema: SCHEMA,
            equal: difference.is_empty(),
            complete: difference.complete,
            settings: difference.settings.clone(),
            regions: difference.regions.iter().take(most).map(line).collect(),
            more: difference.regions.len().saturating_sub(most),
        }
    }
}

/// What becomes different from `old` to `new`, for people; empty if nothing does.
pub(super) fn in_words(old: &Policy, new: &Policy) -> String {
    text(&DiffReport::of(&diff(old, new), old, new, false))
}

/// The difference for people; empty if there is none.
fn text(report: &DiffReport) -> String {
    let mut text = String::new();
    for setting in &report.settings {
        text.push_str(&format!("~ {setting}\n"));
    }
    for line in &report.regions {
        let (sign, does, did) = match line.change {
            "newly-passes" => ("+", "newly passes", "dropped"),
            _ => ("-", "newly drops", "passed"),
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
