//! `save`: runtime rules become rules of the policy's own file. Invariant: a file is written only if
//! the policy then means, rule for rule, the same as the active one.

use super::super::context::Context;
use super::super::fmt::replace;
use super::super::help::after;
use super::super::policy::compile_text;
use super::{change, report, rule_lines};
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::PolicyReport;
use firewall_policy::bundle::{self, Part};
use firewall_policy::fmt::canonical;
use firewall_policy::rule::{Place, Policy};
use firewall_system::policy_file::PolicyFile;
use std::path::Path;

/// Write rules added by allow, deny and limit into the policy
///
/// The rules go before those of the file, because the first match wins; of a directory into its
/// firewall.yaml. The file is written in its canonical form, with its comments.
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {}

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

pub(in super::super) fn run(_args: &Args, context: &Context) -> Result<Exit, Failure> {
    let client = context.daemon()?;
    let policy = client.policy()?;
    let (runtime, in_force) = bundle::runtime(&policy.text);
    let rules = rule_lines(runtime);
    if rules.is_empty() {
        context.say("no runtime rules: nothing to save")?;
        return Ok(Exit::Ok);
    }
    let file = unchanged(&policy, in_force)?;
    let mut parts = bundle::parts(in_force);
    let main = parts.first().map_or("", |part| part.text);
    let written =
        with_rules(&policy.policy, main, &rules).map_err(|findings| Failure::policy(&findings))?;
    let path = parts.first().map_or("", |part| part.path);
    if let Some(first) = parts.first_mut() {
        *first = Part {
            path,
            text: &written,
        };
    }
    let text = bundle::join(parts);
    let compile = |text: &str| {
        let file = PolicyFile {
            text: text.to_owned(),
            ..file.clone()
        };
        compile_text(file)
    };
    if placeless(compile(&text)?.policy) != placeless(compile(&policy.text)?.policy) {
        return Err(Failure::new(
            Exit::Failed,
            "saving would change the meaning",
        )
        .help("this is a bug of the firewall: please report it with `firewall-ctl get policy`")
        .outcome("nothing saved"));
    }
    let target = match path {
        "" => policy.policy.clone(),
        path => Path::new(&policy.policy).join(path).display().to_string(),
    };
    replace(&target, &written)?;
    let applied = change(&*client, &policy, text, true)
        .map_err(|failure| failure.outcome(format!("{target} is written")))?;
    let what = match rules.len() {
        1 => "1 runtime rule".to_owned(),
        n => format!("{n} runtime rules"),
    };
    report(
        &format!("{what} saved to {target}, before other rules"),
        &applied,
        context,
    )
}

/// The file of the policy in force, if it still says what is in force.
fn unchanged(policy: &PolicyReport, in_force: &str) -> Result<PolicyFile, Failure> {
    let refused = |text: String| Failure::new(Exit::Refused, text).outcome("nothing saved");
    if !Path::new(&policy.policy).is_absolute() && !Path::new(&policy.policy).exists() {
        return Err(refused(format!(
            "the active policy comes from {}, which does not exist",
            policy.policy
        ))
        .help("write it to a file: firewall-ctl get policy > FILE"));
    }
    let file = PolicyFile::read(&policy.policy)?;
    if file.text != in_force {
        return Err(refused(format!(
            "{} has changed since generation {} was applied",
            policy.policy, policy.generation
        ))
        .help(format!(
            "save would apply that change too; see firewall-ctl diff {0}, then restore {0}, or \
             discard the rules: firewall-ctl reload --discard-runtime",
            policy.policy
        )));
    }
    Ok(file)
}

/// A file in canonical form with more rules at its front.
fn with_rules(
    name: &str,
    text: &str,
    rules: &[String],
) -> Result<String, firewall_policy::diag::Diagnostics> {
    let text = canonical(name, text)?;
    let added = rules.join("\n");
    let mut out = String::new();
    let mut found = false;
    for line in text.lines() {
        let behind = line.strip_prefix("rules:").map(str::trim_start);
        match behind {
            Some(list) if list.starts_with("[]") => {
                out.push_str(&format!("rules:{}\n{added}\n", &list[2..]));
                found = true;
            }
            Some(rest) if rest.is_empty() || rest.starts_with('#') => {
                out.push_str(&format!("{line}\n{added}\n"));
                found = true;
            }
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    if !found {
        out.push_str(&format!("\nrules:\n{added}\n"));
    }
    canonical(name, &out)
}

/// A policy without the places where its rules stand.
fn placeless(mut policy: Policy) -> Policy {
    for rule in &mut policy.rules {
        rule.place = Place::default();
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::with_rules;

    #[test]
    fn rules_go_to_the_front_of_the_file() {
        let rules = [
            "  - {name: b, action: drop}".to_owned(),
            "  - {name: a, proto: tcp, port: 80, action: pass}".to_owned(),
        ];
        let mut screen = String::new();
        for text in [
            "version: 1\ndefault: {in: drop} # closed\n",
            "version: 1\nrules: [] # none yet\ndefault: {in: drop}\n",
            "# Head.\n\nversion: 1\ndefault: {in: drop}\nrules:\n# Remote.\n- name: ssh\n  proto: tcp\n  port: ssh # only this\n  action: pass\ntests: []\n",
        ] {
            screen.push_str(&with_rules("f.yaml", text, &rules).unwrap_or_else(|e| panic!("{e}")));
            screen.push_str("~~~\n");
        }
        insta::assert_snapshot!(screen);
    }
}
