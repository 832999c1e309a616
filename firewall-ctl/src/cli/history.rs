//! `history`: which generations have been in force, who has put each there, when and why.

use super::context::Context;
use super::help::after;
use super::output::Format;
use super::status::time_left;
use super::table::Table;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::ago;
use firewall_api::history::{HistoryEntry, HistoryReport};
use firewall_system::host::user_name;

/// List the generations that have been in force, newest first, or print one
///
/// The newest 50 are kept with their policies, set files included: `rollback N` puts one in force again,
/// `diff 41 42` compares two.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the policy of this generation, as it was written
    #[arg(value_name = "N")]
    generation: Option<u64>,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl history",
            "sudo firewall-ctl history 41",
            "sudo firewall-ctl history -o json",
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
    let firewall = context.firewall()?;
    if let Some(number) = args.generation {
        let report = firewall.generation(number)?;
        match context.format.is_text() {
            true => context.print(&report.text)?,
            false => context.print(&context.format.document(&report, false)?)?,
        }
        return Ok(Exit::Ok);
    }
    let report = firewall.history()?;
    if !context.format.is_text() {
        context.print(&context.format.document(&report, false)?)?;
        return Ok(Exit::Ok);
    }
    match report.generations.is_empty() {
        true => context.say("no generation has been in force yet")?,
        false => {
            let wide = context.format == Format::Wide;
            context.print(&table(&report, wide, context.width, &user_name))?;
        }
    }
    context.warn(&report.warnings);
    Ok(Exit::Ok)
}

/// The table; `name` says what a user is called.
pub(super) fn table(
    report: &HistoryReport,
    wide: bool,
    width: Option<usize>,
    name: &dyn Fn(u32) -> Option<String>,
) -> String {
    let has_reasons = report.generations.iter().any(|it| it.why.is_some());
    let mut columns = vec![">N", "STATE", "WHEN", "~WHO", "~BY", ">RULES", "DEFAULT"];
    columns.push("~POLICY");
    if wide {
        columns.extend(["CONTENT SHA256", "FROM"]);
    }
    if has_reasons {
        columns.push("~WHY");
    }
    let mut table = Table::new(&columns);
    for entry in &report.generations {
        let rules = match entry.runtime {
            runtime if wide && runtime > 0 => format!("{} ({runtime} runtime)", entry.rules),
            _ => entry.rules.to_string(),
        };
        let mut row = vec![
            entry.generation.to_string(),
            state(entry, report),
            match wide {
                true => entry.at.clone(),
                false => ago(report.time - entry.time),
            },
            who(entry, name),
            by(entry),
            rules,
            entry.default.clone(),
            entry.policy.clone(),
        ];
        if wide {
            row.push(entry.content_sha256.chars().take(12).collect());
            row.push(entry.asker.ssh.clone().unwrap_or_default());
        }
        if has_reasons {
            row.push(entry.why.clone().unwrap_or_default());
        }
        table.row(row);
    }
    table.render_within(width)
}

/// Whether it is in force, and was confirmed.
fn state(entry: &HistoryEntry, report: &HistoryReport) -> String {
    let is_in_force = report.in_force == Some(entry.generation);
    match (&report.pending, is_in_force, entry.confirmed) {
        (Some(pending), true, _) => format!("pending, {} left", time_left(pending)),
        (_, true, _) => "in force".to_owned(),
        (_, _, true) => "confirmed".to_owned(),
        (_, _, false) => "not confirmed".to_owned(),
    }
}

/// Who has asked for it: the user who logged in, before `sudo`.
fn who(entry: &HistoryEntry, name: &dyn Fn(u32) -> Option<String>) -> String {
    let user = entry.asker.login_uid.or(entry.asker.uid);
    match user {
        Some(user) => name(user).unwrap_or_else(|| format!("user {user}")),
        None => "-".to_owned(),
    }
}

fn by(entry: &HistoryEntry) -> String {
    match entry.restores {
        Some(restored) => format!("{}, to {restored}", entry.verb),
        None => entry.verb.clone(),
    }
}
