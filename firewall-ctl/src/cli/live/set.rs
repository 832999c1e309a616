//! `set`: live sets of the policy in force; listing, adding, removing, loading.

use super::super::context::Context;
use super::super::help::after;
use super::show::{Report as Entries, Sets};
use super::{find, guard, input, open, report, view};
use clap::Subcommand;
use firewall_api::failure::{Exit, Failure};
use firewall_engine::engine::{Change, Changed};
use std::time::{Duration, Instant};

/// Show and change live sets of the active policy
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List sets, or the entries of one
    List {
        /// Set name; `banned` holds the bans
        #[arg(value_name = "SET")]
        name: Option<String>,
        /// Maximum entries; 0 is unlimited [default: 50 in tables, unlimited in JSON and YAML]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Add addresses, prefixes or ranges
    Add {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
        /// Entries, then optionally `for 1h`
        #[arg(value_name = "ADDRESS", required = true)]
        words: Vec<String>,
        /// Duration [default: the set's `timeout`, or unlimited]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// Override the guard of `banned`
        #[arg(long)]
        i_know: bool,
    },
    /// Remove addresses or prefixes, as added
    Del {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
        /// Entries to remove
        #[arg(value_name = "ADDRESS", required = true)]
        words: Vec<String>,
    },
    /// Add entries from a file: one address, prefix or range per line
    Load {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
        /// File; - reads standard input
        #[arg(value_name = "FILE")]
        file: String,
        /// Duration [default: the set's `timeout`, or unlimited]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<String>,
        /// Replace all entries added by commands: a packet sees the old entries or the new ones,
        /// never a mix
        #[arg(long)]
        atomic: bool,
        /// Override the guard of `banned`
        #[arg(long)]
        i_know: bool,
    },
    /// Follow a feed of lines: `add PREFIX`, `add PREFIX 1h`, `del PREFIX`
    Feed {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
        /// File; - reads standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: String,
        /// Override the guard of `banned`
        #[arg(long)]
        i_know: bool,
    },
    /// Remove all entries added by commands
    Clear {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
    },
}

pub(in super::super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl set add partners 203.0.113.0/24 for 8h",
            "sudo firewall-ctl set load blocklist drop.txt --atomic",
            "sudo firewall-ctl set feed banned feed.txt",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Refused,
        ],
    )
}

pub(in super::super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let start = Instant::now();
    let failed = |error: firewall_engine::engine::EngineError| error.failure(context.color_errors);
    match &args.what {
        What::List { name, limit } => list(name.as_deref(), *limit, context)?,
        What::Add {
            name,
            words,
            time,
            i_know,
        } => {
            let (prefixes, time) = input::words(words, time.as_deref())?;
            if prefixes.is_empty() {
                return Err(Failure::new(Exit::Usage, "no entry given"));
            }
            change(context, (name, *i_know), start, |timeout| {
                let time = time.or(timeout);
                let add = |prefix| Change::Add(prefix, time);
                Ok(prefixes.into_iter().map(add).collect())
            })?;
        }
        What::Del { name, words } => {
            let (prefixes, _) = input::words(words, Some("1s"))?;
            change(context, (name, false), start, |_| {
                Ok(prefixes.into_iter().map(Change::Remove).collect())
            })?;
        }
        What::Feed { name, file, i_know } => {
            let text = input::read(file)?;
            change(context, (name, *i_know), start, |timeout| {
                input::feed(file, &text, timeout)
            })?;
        }
        What::Load {
            name,
            file,
            time,
            atomic,
            i_know,
        } => {
            let (_, time) = input::words(&[], time.as_deref())?;
            let prefixes = input::list(file, &input::read(file)?)?;
            if !atomic {
                change(context, (name, *i_know), start, |timeout| {
                    let time = time.or(timeout);
                    let add = |prefix| Change::Add(prefix, time);
                    Ok(prefixes.into_iter().map(add).collect())
                })?;
                return Ok(Exit::Ok);
            }
            let live = open(context)?;
            let set = find(live.view(), name)?;
            let time = time.or(set.timeout.map(Duration::from_secs));
            let entries: Vec<_> = prefixes.into_iter().map(|prefix| (prefix, time)).collect();
            let changed = live
                .replace(&set, &entries, &guard(*i_know))
                .map_err(failed)?;
            report(context, &set, changed, start, &text(&set.name, changed))?;
        }
        What::Clear { name } => {
            let live = open(context)?;
            let set = find(live.view(), name)?;
            let changed = Changed {
                removed: live.clear(&set).map_err(failed)?,
                ..Changed::default()
            };
            report(context, &set, changed, start, &text(&set.name, changed))?;
        }
    }
    Ok(Exit::Ok)
}

/// Changes a set by what `changes` makes of its timeout.
fn change(
    context: &Context,
    (name, i_know): (&str, bool),
    start: Instant,
    changes: impl FnOnce(Option<Duration>) -> Result<Vec<Change>, Failure>,
) -> Result<(), Failure> {
    let live = open(context)?;
    let set = find(live.view(), name)?;
    let changes = changes(set.timeout.map(Duration::from_secs))?;
    let changed = live
        .change(&set, &changes, &guard(i_know))
        .map_err(|error| error.failure(context.color_errors))?;
    report(context, &set, changed, start, &text(&set.name, changed))
}

/// What has changed, in a line.
fn text(name: &str, changed: Changed) -> String {
    let Changed {
        added,
        renewed,
        removed,
        missing,
    } = changed;
    let parts: Vec<String> = [
        (added, "added"),
        (renewed, "there before"),
        (removed, "removed"),
        (missing, "not there"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() {
        return format!("{name}: nothing to change");
    }
    format!("{name}: {}", parts.join(", "))
}

fn list(name: Option<&str>, limit: Option<usize>, context: &Context) -> Result<(), Failure> {
    let view = view(context)?;
    let Some(name) = name else {
        let sets = Sets::of(&view);
        if context.format.is_text() {
            return context.print(&sets.text());
        }
        return context.print(&context.format.document(&sets, false)?);
    };
    let set = find(&view, name)?;
    let entries = view.entries(&set);
    let report = Entries::of(&set, &entries);
    if context.format.is_text() {
        let more = format!("firewall-ctl set list {}", set.name);
        return context.print(&report.text(limit, "The set is empty.", &more));
    }
    context.print(&context.format.document(&report, false)?)
}
