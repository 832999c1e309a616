//! `explain`: the meaning of a reason, an error code, or a rule of the policy.

use super::context::Context;
use super::help::after;
use super::table::Table;
use super::{describe, suggest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::governed_by;
use firewall_api::view::SCHEMA;
use firewall_api::width::width as cells;
use firewall_common::reason::Reason;
use firewall_policy::diag::codes::{self, Code};
use serde_json::json;

/// Explain a reason, an error code or a rule; alone, list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Reason name, error or warning code, or the name of a rule; several are explained one by one
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
    /// Policy file or directory whose rules are meant [default: the active policy]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl explain frag-tiny",
            "firewall-ctl explain FW0101",
            "firewall-ctl explain web -f rules/web-server.yaml",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage, Exit::Config],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if args.codes.is_empty() {
        return list(context);
    }
    // `frag tiny` is one reason in two words.
    let joined = args.codes.join("-");
    if args.codes.len() > 1 && (reason(&joined).is_some() || codes::find(&joined).is_some()) {
        return one(&joined, args, context);
    }
    for name in &args.codes {
        let exit = one(name, args, context)?;
        if exit != Exit::Ok {
            return Ok(exit);
        }
    }
    Ok(Exit::Ok)
}

/// Explains what one name stands for.
fn one(name: &str, args: &Args, context: &Context) -> Result<Exit, Failure> {
    let (text, document) = if let Some(reason) = reason(name) {
        (
            about_reason(reason),
            json!({
                "schema": SCHEMA,
                "kind": "reason",
                "code": reason.name(),
                "text": reason.text(),
                "governed_by": governed_by(reason),
            }),
        )
    } else if let Some(code) = codes::find(name) {
        (
            about_code(code),
            json!({
                "schema": SCHEMA,
                "kind": "diagnostic",
                "code": code.id,
                "title": code.title,
                "text": code.text,
                "wrong": code.wrong,
                "right": code.right,
            }),
        )
    } else {
        let rules = names_of_rules(args, context);
        if args.file.is_some() || rules.iter().any(|rule| rule == name) {
            return describe::rule(name, args.file.as_deref(), context);
        }
        return Err(unknown(name, &rules));
    };
    if context.format.is_text() {
        context.print(&text)?;
    } else {
        context.print(&context.format.document(&document, false)?)?;
    }
    Ok(Exit::Ok)
}

/// The rules of the policy in force, if somebody says which; none where a file is named.
fn names_of_rules(args: &Args, context: &Context) -> Vec<String> {
    if args.file.is_some() {
        return Vec::new();
    }
    let report = context.firewall().and_then(|firewall| firewall.rules());
    let rules = report.map_or_else(|_| Vec::new(), |report| report.rules);
    rules.into_iter().map(|rule| rule.name).collect()
}

fn unknown(name: &str, rules: &[String]) -> Failure {
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    let codes = codes::all().map(|code| code.id);
    let known = reasons.chain(codes).chain(rules.iter().map(String::as_str));
    let help = match suggest(name, known) {
        Some(near) => format!("did you mean `{near}`? list all: firewall-ctl explain"),
        None => {
            "list them: firewall-ctl explain; a rule of a file: explain NAME -f FILE".to_owned()
        }
    };
    let what = format!("unknown reason, code or rule `{name}`");
    Failure::new(Exit::Failed, what).help(help)
}

/// Everything that can be explained but rules, one line each.
fn list(context: &Context) -> Result<Exit, Failure> {
    if !context.format.is_text() {
        let reasons = Reason::ALL.iter();
        let reasons: Vec<_> = reasons
            .map(|reason| json!({ "code": reason.name(), "text": reason.text() }))
            .collect();
        let codes: Vec<_> = codes::all()
            .map(|code| json!({ "code": code.id, "title": code.title }))
            .collect();
        let document = json!({ "schema": SCHEMA, "reasons": reasons, "codes": codes });
        context.print(&context.format.document(&document, false)?)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["REASON", "~MEANING"]);
    for reason in Reason::ALL {
        table.row([reason.name().to_owned(), reason.text().to_owned()]);
    }
    let mut text = table.render_within(context.width);
    let mut table = Table::new(&["CODE", "~MEANING"]);
    for code in codes::all() {
        table.row([code.id.to_owned(), code.title.to_owned()]);
    }
    text.push_str(&format!("\n{}", table.render_within(context.width)));
    text.push_str("\nOne of them: firewall-ctl explain NAME. Rules: firewall-ctl explain RULE.\n");
    context.print(&text)?;
    Ok(Exit::Ok)
}

fn about_reason(reason: Reason) -> String {
    let name = reason.name();
    let by = governed_by(reason);
    let observe = format!("sudo firewall-ctl observe --reason {name}");
    let (by, look, change) = match reason {
        Reason::BANNED => (
            "bans, before any rule is asked".to_owned(),
            "firewall-ctl bans".to_owned(),
            "sudo firewall-ctl unban ADDRESS".to_owned(),
        ),
        Reason::INTERNAL | Reason::FRAG_HIDDEN => (by.to_owned(), observe, String::new()),
        Reason::NO_MATCH | Reason::NON_IP => (
            format!("{by} in the policy"),
            observe,
            "a rule for such packets, as by: sudo firewall-ctl allow 80/tcp".to_owned(),
        ),
        reason if reason.is_by_rule() => (
            format!("{by} in the policy"),
            observe,
            "the rule that decided: firewall-ctl get rules, then: firewall-ctl explain RULE"
                .to_owned(),
        ),
        _ => (
            format!("{by} in the policy"),
            observe,
            format!("{by} in the policy's file, then: sudo firewall-ctl reload"),
        ),
    };
    let mut text = format!(
        "{name}: {}\nDecided by: {by}.\nLook: {look}\n",
        reason.text()
    );
    if !change.is_empty() {
        text.push_str(&format!("Change: {change}\n"));
    }
    text
}

fn about_code(code: &Code) -> String {
    let mut text = format!("{}: {}\n\n{}\n", code.id, code.title, wrap(code.text, 80));
    for (word, example) in [("Wrong", code.wrong), ("Right", code.right)] {
        if !example.is_empty() {
            text.push_str(&format!("\n{word}:\n"));
            for line in example.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text
}

/// Breaks lines between words, so that no line is longer than `width` unless a word is.
fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if cells(line) + 1 + cells(word) <= width => {
                line.extend([" ", word]);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A reason by its name; `FRAG_TINY` is understood too.
pub(super) fn reason(name: &str) -> Option<Reason> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_where_to_look_and_what_to_change() {
        for reason in Reason::ALL.iter().copied() {
            let text = about_reason(reason);
            assert!(text.contains("\nLook: "), "{text}");
            let is_fixed = governed_by(reason).starts_with("nothing");
            assert_eq!(text.contains("\nChange: "), !is_fixed, "{text}");
        }
        let banned = about_reason(Reason::BANNED);
        assert!(!banned.contains("default"), "{banned}");
        assert!(banned.contains("firewall-ctl unban ADDRESS"), "{banned}");
        let no_match = about_reason(Reason::NO_MATCH);
        assert!(no_match.contains("observe --reason no-match"), "{no_match}");
    }
}
