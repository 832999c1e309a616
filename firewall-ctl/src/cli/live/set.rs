//! `set`: live sets of the policy in force; listing, adding, removing, loading.

use super::super::context::Context;
use super::super::help::after;
use super::{change, input, report, show};
use clap::Subcommand;
use firewall_api::failure::{Exit, Failure};
use firewall_api::sets::{SetChanged, SetEdit, SetRequest, SetStep};

/// Show the sets of the active policy, and change its live sets
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
    /// Say whether a set holds an address or a port, and by which entry; exit code 1 if not
    Get {
        /// Set name; `banned` holds the bans
        #[arg(value_name = "SET")]
        name: String,
        /// Address, or port of a set of ports
        #[arg(value_name = "ADDRESS")]
        what: String,
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
        /// Override the guard: change the set even if it cuts your own connection
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
        /// Override the guard: change the set even if it cuts your own connection
        #[arg(long)]
        i_know: bool,
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
        /// Override the guard: change the set even if it cuts your own connection
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
        /// Override the guard: change the set even if it cuts your own connection
        #[arg(long)]
        i_know: bool,
    },
    /// Remove all entries added by commands
    Clear {
        /// Set name
        #[arg(value_name = "SET")]
        name: String,
        /// Override the guard: change the set even if it cuts your own connection
        #[arg(long)]
        i_know: bool,
    },
}

pub(in super::super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl set add partners 203.0.113.0/24 for 8h",
            "sudo firewall-ctl set load blocklist drop.txt --atomic",
            "sudo firewall-ctl set get blocklist 203.0.113.9",
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
    let (name, what, i_know) = match &args.what {
        What::List { name, limit } => {
            list(name.as_deref(), *limit, context)?;
            return Ok(Exit::Ok);
        }
        What::Get { name, what } => return get(name, what, context),
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
            let steps = prefixes.iter().map(|prefix| input::added(prefix, time));
            (name, SetEdit::Steps(steps.collect()), *i_know)
        }
        What::Del {
            name,
            words,
            i_know,
        } => (name, SetEdit::Steps(input::removals(words)?), *i_know),
        What::Feed { name, file, i_know } => {
            let steps = input::feed(file, &input::read(file)?)?;
            (name, SetEdit::Steps(steps), *i_know)
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
            let entries = prefixes.iter().map(|prefix| input::new_entry(prefix, time));
            let what = match atomic {
                true => SetEdit::Replace(entries.collect()),
                false => SetEdit::Steps(entries.map(SetStep::Add).collect()),
            };
            (name, what, *i_know)
        }
        What::Clear { name, i_know } => (name, SetEdit::Clear, *i_know),
    };
    let changed = context
        .firewall()?
        .change_set(&change(name, what, i_know))?;
    report(context, &changed, &text(&changed))?;
    Ok(Exit::Ok)
}

/// `set list`, with a name or without.
pub(in super::super) fn listed(name: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    list(name, None, context)?;
    Ok(Exit::Ok)
}

/// What has changed, in a line.
fn text(changed: &SetChanged) -> String {
    let parts: Vec<String> = [
        (changed.added, "added"),
        (changed.renewed, "there before"),
        (changed.removed, "removed"),
        (changed.missing, "not there"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() {
        return format!("{}: nothing to change", changed.set);
    }
    format!("{}: {}", changed.set, parts.join(", "))
}

/// Whether a set holds an address or a port.
fn get(name: &str, what: &str, context: &Context) -> Result<Exit, Failure> {
    let request = SetRequest {
        holding: what.parse().ok(),
        port: what.parse().ok(),
    };
    if request == SetRequest::default() {
        return Err(
            Failure::new(Exit::Usage, format!("`{what}` is not an address or a port"))
                .help("ask for one address (203.0.113.9), or of a set of ports for one port"),
        );
    }
    let report = context.firewall()?.set(name, &request)?;
    let exit = match report.entries.is_empty() {
        true => Exit::Failed,
        false => Exit::Ok,
    };
    if context.format.is_text() {
        context.print(&show::held(what, &report))?;
    } else {
        context.print(&context.format.document(&report, false)?)?;
    }
    Ok(exit)
}

fn list(name: Option<&str>, limit: Option<usize>, context: &Context) -> Result<(), Failure> {
    let firewall = context.firewall()?;
    let Some(name) = name else {
        let sets = firewall.sets()?;
        context.warn(&sets.warnings);
        if context.format.is_text() {
            return context.print(&show::sets(&sets));
        }
        return context.print(&context.format.document(&sets, false)?);
    };
    let report = firewall.set(name, &SetRequest::default())?;
    if context.format.is_text() {
        let more = format!("firewall-ctl set list {}", report.set);
        return context.print(&show::entries(&report, limit, "The set is empty.", &more));
    }
    context.print(&context.format.document(&report, false)?)
}
