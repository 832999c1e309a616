//! `describe`: one rule, with all that is known of it.

use super::context::Context;
use super::help::after;
use super::policy::{self, Compiled};
use super::{diff, suggest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{ago, bytes, count, rate};
use firewall_api::view::{RuleView, SCHEMA, Traffic};
use firewall_policy::bundle;
use firewall_policy::policy_tests::By;
use firewall_policy::rule::{Policy, Rule};
use firewall_policy::time;
use serde_json::json;

/// Describe a rule: its fields, text, counters, tests, and the effect of removing it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// `rule NAME`, or the rule's name alone
    #[arg(value_name = "NAME", num_args = 1..=2, required = true)]
    words: Vec<String>,
    /// Policy file or directory [default: the active policy]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl describe rule ssh-admins",
            "firewall-ctl describe rule web -f rules/web-server.yaml",
            "sudo firewall-ctl describe rule web -o json",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    const RULE: [&str; 2] = ["rule", "rules"];
    let name = match args.words.as_slice() {
        [kind, name] if RULE.contains(&kind.as_str()) => name,
        [kind, name] => {
            let message = format!("`{kind}` is not described");
            let help = format!("rules are: firewall-ctl describe rule {name}");
            return Err(Failure::new(Exit::Usage, message).help(help));
        }
        [name] => name.strip_prefix("rule/").unwrap_or(name),
        _ => "",
    };
    rule(name, args.file.as_deref(), context)
}

/// Describes a rule of a file, or of the policy in force.
pub(super) fn rule(name: &str, file: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    let (compiled, view, now) = match file {
        Some(file) => (policy::compile(file)?, None, 0.0),
        None => {
            let report = context.firewall()?.rules()?;
            let view = report.rules.into_iter().find(|rule| rule.name == name);
            let instead = "name a policy: -f FILE";
            (
                policy::compile_in_force(context, instead)?.0,
                view,
                report.time,
            )
        }
    };
    let found = compiled
        .policy
        .rules
        .iter()
        .position(|rule| rule.name == name);
    let Some(index) = found else {
        let names = compiled.policy.rules.iter().map(|rule| rule.name.as_str());
        let help = match suggest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "list them: firewall-ctl get rules".to_owned(),
        };
        return Err(
            Failure::new(Exit::Failed, format!("there is no rule called `{name}`")).help(help),
        );
    };
    let about = About::of(&compiled, index, view.as_ref());
    if context.format.is_text() {
        context.print(&about.text(now, context))?;
    } else {
        context.print(&context.format.document(&about.document(), false)?)?;
    }
    Ok(Exit::Ok)
}

/// What is known of a rule.
struct About<'a> {
    rule: &'a Rule,
    number: usize,
    view: Option<&'a RuleView>,
    yaml: &'a str,
    /// Names of tests that expect it to decide.
    tests: Vec<&'a str>,
    /// What its removal changes.
    without: String,
}

impl<'a> About<'a> {
    fn of(compiled: &'a Compiled, index: usize, view: Option<&'a RuleView>) -> Self {
        let policy = &compiled.policy;
        let rule = &policy.rules[index];
        let tests = compiled.tests.iter();
        let tests = tests.filter(|test| test.by == Some(By::Rule(index)));
        Self {
            rule,
            number: index + 1,
            view,
            yaml: bundle::rule_text(&compiled.source.path, &compiled.source.text, &rule.place),
            tests: tests.map(|test| test.name.as_str()).collect(),
            without: diff::in_words(policy, &without(policy, index)),
        }
    }

    fn text(&self, now: f64, context: &Context) -> String {
        let rule = self.rule;
        let mut text = format!("rule {} (number {})\n", rule.name, self.number);
        let mut line = |what: &str, value: String| {
            if !value.is_empty() {
                text.push_str(&format!("  {:<10}{value}\n", format!("{what}:")));
            }
        };
        let optional = |value: &Option<String>| value.clone().unwrap_or_default();
        line("place", format!("{}:{}", rule.place.file, rule.place.line));
        line("comment", optional(&rule.comment));
        line("owner", optional(&rule.owner));
        line("reason", optional(&rule.reason));
        line("matches", rule.summary.clone());
        let action = match (rule.audit, rule.enabled) {
            (Some(action), _) => format!("audit: {action}"),
            (None, true) => rule.action.to_string(),
            (None, false) => format!("({}), switched off", rule.action),
        };
        line("action", action);
        line(
            "limit",
            rule.limit
                .as_ref()
                .map_or(String::new(), ToString::to_string),
        );
        line("log", rule.log.map_or(String::new(), |log| log.to_string()));
        line(
            "expires",
            rule.expires.map_or(String::new(), |at| time::print(at.at)),
        );
        if let Some(view) = self.view {
            let traffic = |traffic: &Traffic| {
                format!(
                    "{} packets, {}, {} a second",
                    count(traffic.total.packets, context.numbers),
                    bytes(traffic.total.bytes, context.numbers),
                    rate(traffic.rate.pps, context.numbers)
                )
            };
            line("hits", traffic(&view.hits));
            line("over", view.over.as_ref().map_or(String::new(), traffic));
            line(
                "last hit",
                match (view.last_hit, view.hits.total.packets) {
                    (Some(at), _) => ago((now - at).max(0.0)),
                    (None, 0) => "never".to_owned(),
                    (None, _) => "not since the daemon looks".to_owned(),
                },
            );
        }
        line("tests", self.tests.join(", "));
        text.push_str(&format!("text:\n{}\n", self.yaml));
        text.push_str("without it:\n");
        match self.without.is_empty() {
            true => text.push_str("  nothing changes: other rules decide the same\n"),
            false => {
                for line in self.without.lines() {
                    text.push_str(&format!("  {line}\n"));
                }
            }
        }
        text
    }

    fn document(&self) -> serde_json::Value {
        json!({
            "schema": SCHEMA,
            "name": self.rule.name,
            "number": self.number,
            "place": format!("{}:{}", self.rule.place.file, self.rule.place.line),
            "summary": self.rule.summary,
            "action": self.rule.action.to_string(),
            "enabled": self.rule.enabled,
            "comment": self.rule.comment,
            "limit": self.rule.limit.as_ref().map(ToString::to_string),
            "text": self.yaml,
            "tests": self.tests,
            "without": self.without.lines().collect::<Vec<_>>(),
            "counters": self.view,
        })
    }
}

/// The policy without one rule.
fn without(policy: &Policy, index: usize) -> Policy {
    let mut policy = policy.clone();
    policy.rules.remove(index);
    policy
}
