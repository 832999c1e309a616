//! `plan`: what applying a policy would do, the most important first.

use super::context::Context;
use super::diff;
use super::help::after;
use super::ssh;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, ago, count};
use firewall_api::plan::{Fate, PlanReport, PlanRequest, RulePlan, ServicePlan};
use firewall_policy::text::safe;
use firewall_system::compiled;
use firewall_system::policy_file::PolicyFile;

/// Services that do not change and are listed without -v.
const SHOWN: usize = 12;

/// Show what applying a policy would do: rules, packets, your session and what listens
///
/// Changes nothing. Rules are marked `+` (new), `~` (changed), `>` (moved) and `-` (gone, with what they
/// have counted).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy file or directory; - reads standard input [default: the one that a reload reads]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// End with exit code 8 if something would change
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl plan",
            "sudo firewall-ctl plan -f new.yaml",
            "sudo firewall-ctl plan -f new.yaml --exit-code -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
            Exit::Unsupported,
            Exit::Changes,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let firewall = context.firewall()?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => {
            let in_force = firewall
                .policy()
                .map_err(|failure| failure.help("name a policy: firewall-ctl plan -f FILE"))?;
            in_force.reloads.unwrap_or(in_force.policy)
        }
    };
    let policy = PolicyFile::read_as_absolute(&file).and_then(compiled::source)?;
    let report = firewall.plan(&PlanRequest {
        policy,
        session: ssh::session(),
        all: context.verbose > 0,
    })?;
    if context.format.is_text() {
        let all = context.verbose > 0;
        context.print(&screen(&report, context.numbers, (context.color, all)))?;
        context.warn(&report.warnings);
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(match args.exit_code && !report.equal {
        true => Exit::Changes,
        false => Exit::Ok,
    })
}

/// The plan for people.
pub(super) fn screen(report: &PlanReport, numbers: Numbers, (color, all): (bool, bool)) -> String {
    let paint = |code: &str, text: &str| match color {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut text = String::new();
    if report.in_force.is_none() {
        text.push_str("Nothing is in force now: all packets pass.\n");
    }
    if let Some(default) = &report.default {
        let line = format!("~ default  {} -> {}", default.was, default.becomes);
        text.push_str(&format!("{}\n", paint("1;31", &line)));
    }
    if let Some(session) = &report.session {
        let who = match session.connections.as_slice() {
            [] => "your session".to_owned(),
            some => format!("your session {}", some.join(", ")),
        };
        let line = match &session.cut {
            None => format!("! {who} would still pass"),
            Some(why) => format!("! {who}: {why}"),
        };
        let code = if session.cut.is_some() {
            "1;31"
        } else {
            "1;32"
        };
        text.push_str(&format!("{}\n", paint(code, &safe(&line))));
    }
    text.push_str(&services(&report.services, (color, all)));
    text.push_str(&diff::text(&report.packets));
    for rule in &report.rules {
        text.push_str(&rule_line(rule, report.time, numbers, &paint));
    }
    text.push_str(&last_line(report));
    text
}

fn rule_line(
    rule: &RulePlan,
    now: f64,
    numbers: Numbers,
    paint: &dyn Fn(&str, &str) -> String,
) -> String {
    let (sign, code) = match rule.fate {
        Fate::Add => ("+", "1;32"),
        Fate::Change => ("~", "1;33"),
        Fate::Move => (">", "1;33"),
        Fate::Remove => ("-", "1;31"),
    };
    let kind = if rule.runtime { "runtime rule" } else { "rule" };
    let text = match &rule.was {
        Some(was) => format!("{was} -> {}", rule.text),
        None => rule.text.clone(),
    };
    let head = paint(code, &format!("{sign} {kind} {}", safe(&rule.name)));
    let mut line = format!("{head}  {}  {}\n", safe(&text), safe(&rule.place));
    if let Some(hits) = rule.hits.filter(|_| rule.fate != Fate::Add) {
        let packets = count(hits.packets, numbers);
        let last = match (rule.last_hit, hits.packets) {
            (Some(last), _) => format!(", last hit {}", ago(now - last)),
            (None, 0) => String::new(),
            (None, _) => ", last hit unknown".to_owned(),
        };
        line.push_str(&format!("    matched {packets} packets{last}\n"));
    }
    line
}

/// What listens: what changes first.
fn services(all: &[ServicePlan], (color, whole): (bool, bool)) -> String {
    let name = |it: &ServicePlan| match &it.service {
        Some(service) => format!("{}/{} ({service})", it.port, it.proto),
        None => format!("{}/{}", it.port, it.proto),
    };
    let mut text = String::new();
    let (changed, same): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.was != it.becomes);
    for it in changed {
        let line = format!(
            "! {} listens: {} -> {}",
            name(it),
            it.was.words(),
            it.becomes.words()
        );
        let (start, end) = if color {
            ("\x1b[1;33m", "\x1b[0m")
        } else {
            ("", "")
        };
        text.push_str(&format!("{start}{line}{end}\n"));
    }
    let shown = if whole { same.len() } else { SHOWN };
    for it in same.iter().take(shown) {
        text.push_str(&format!(
            "  {} listens: stays {}\n",
            name(it),
            it.becomes.words()
        ));
    }
    if same.len() > shown {
        let more = same.len() - shown;
        text.push_str(&format!(
            "  and {more} more that stay as they are; -v shows all\n"
        ));
    }
    text
}

fn last_line(report: &PlanReport) -> String {
    if report.equal {
        return "No changes: the policy in force says the same.\n".to_owned();
    }
    format!(
        "Plan: {} to add, {} to change, {} to remove.  To try it: firewall-ctl apply -f {} \
         --confirm=60s\n",
        report.add,
        report.change,
        report.remove,
        safe(&report.policy)
    )
}
