//! `check`: is a policy valid? Offline, without root.

use super::context::Context;
use super::help::after;
use super::policy;
use super::table::Table;
use crate::engine::Compiled;
use crate::failure::{Exit, Failure};
use crate::format::bytes;
use crate::view::SCHEMA;
use firewall_policy::rule::SetSize;
use serde::Serialize;

/// Check policies, offline and without root
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policies; - for the standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl check /etc/firewall/firewall.yaml",
            "firewall-ctl check -v rules/*.yaml",
            "generate-policy | firewall-ctl check -",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
        ],
    )
}

/// `check -o json`.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    policy: String,
    valid: bool,
    rules: Option<usize>,
    table_bytes: Option<usize>,
    tests: Option<usize>,
    warnings: serde_json::Value,
    error: Option<Failure>,
    sets: Vec<SetSize>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    let mut files = Vec::new();
    for name in &args.files {
        let result = policy::compile(name, context);
        if let Err(failure) = &result {
            // Of several, the first failure's code.
            exit = if exit == Exit::Ok {
                failure.exit_code
            } else {
                exit
            };
        }
        if context.format.is_text() {
            match result {
                Ok(compiled) => show(name, &compiled, context)?,
                Err(failure) => context.complain(&failure),
            }
        } else {
            files.push(report(name, result));
        }
    }
    if !context.format.is_text() {
        context.print(&context.format.document(
            &Report {
                schema: SCHEMA,
                files,
            },
            false,
        )?)?;
    }
    Ok(exit)
}

fn show(name: &str, compiled: &Compiled, context: &Context) -> Result<(), Failure> {
    if !context.quiet && !compiled.warnings.list.is_empty() {
        context.complain_about(&compiled.warnings);
    }
    let rules = compiled
        .policy
        .rules
        .iter()
        .filter(|rule| rule.enabled)
        .count();
    let size = bytes(compiled.tables.bytes.len() as u64, context.numbers);
    let tests = match compiled.tests.len() {
        0 => String::new(),
        1 => ", 1 test holds".to_owned(),
        n => format!(", {n} tests hold"),
    };
    context.say(&format!(
        "{name}: valid, {rules} {}, default {}, tables {size}{tests}",
        if rules == 1 { "rule" } else { "rules" },
        compiled.policy.default_verdict
    ))?;
    if context.verbose > 0 {
        for set in &compiled.sets {
            context.say(&set_line(set))?;
        }
        let mut table = Table::new(&["TABLE", ">ENTRIES", ">BYTES"]);
        for line in &compiled.tables.report {
            table.row([
                line.what.clone(),
                line.entries.to_string(),
                line.bytes.to_string(),
            ]);
        }
        if !table.is_empty() {
            context.print(&table.render())?;
        }
    }
    Ok(())
}

/// `set blocked: 1000000 entries, 998123 after folding`.
fn set_line(set: &SetSize) -> String {
    format!(
        "set {}: {} {}, {} after folding",
        set.name,
        set.entries,
        if set.entries == 1 { "entry" } else { "entries" },
        set.ranges
    )
}

fn report(name: &str, result: Result<Compiled, Failure>) -> FileReport {
    match result {
        Ok(compiled) => FileReport {
            policy: name.to_owned(),
            valid: true,
            rules: Some(
                compiled
                    .policy
                    .rules
                    .iter()
                    .filter(|rule| rule.enabled)
                    .count(),
            ),
            table_bytes: Some(compiled.tables.bytes.len()),
            tests: Some(compiled.tests.len()),
            warnings: serde_json::to_value(&compiled.warnings).unwrap_or_default(),
            error: None,
            sets: compiled.sets,
        },
        Err(failure) => FileReport {
            policy: name.to_owned(),
            valid: false,
            rules: None,
            table_bytes: None,
            tests: None,
            warnings: serde_json::Value::Array(Vec::new()),
            error: Some(failure),
            sets: Vec::new(),
        },
    }
}
