//! `explain`: the meaning of a reason or an error code.

use super::context::Context;
use super::help::after;
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::governed_by;
use firewall_api::view::SCHEMA;
use firewall_api::width::width as cells;
use firewall_common::reason::Reason;
use firewall_policy::diag::codes::{self, Code};
use serde_json::json;

/// Explain a reason (frag-tiny) or an error code (FW0101)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Reason name, or error or warning code
    #[arg(value_name = "CODE")]
    code: String,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl explain frag-tiny",
            "firewall-ctl explain FW0101",
            "firewall-ctl explain no-match -o json",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let (text, document) = if let Some(reason) = reason(&args.code) {
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
    } else if let Some(code) = codes::find(&args.code.to_ascii_uppercase()) {
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
        return Err(Failure::new(
            Exit::Failed,
            format!("unknown reason or code `{}`", args.code),
        )
        .help("list the reasons: firewall-ctl get reasons; error codes look like FW0101"));
    };
    if context.format.is_text() {
        context.print(&text)?;
    } else {
        context.print(&context.format.document(&document, false)?)?;
    }
    Ok(Exit::Ok)
}

fn about_reason(reason: Reason) -> String {
    format!(
        "{}: {}\nDecided by: {} in the policy.\n",
        reason.name(),
        reason.text(),
        governed_by(reason)
    )
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
