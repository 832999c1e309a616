//! `ban`, `unban`, `bans`: addresses that are kept out, whatever the rules say.

use super::super::context::Context;
use super::super::help::after;
use super::super::ssh::Connection;
use super::show::Report as Entries;
use super::{find, input, open, report, view};
use crate::engine::{BANNED_NAME, Change};
use crate::failure::{Exit, Failure};
use firewall_common::live::Prefix;
use firewall_policy::prefixes::{parse, text as prefix_text};
use std::time::Instant;

/// Keep addresses out, at once, whatever the rules say
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Addresses, prefixes or ranges; at the end perhaps `for 1h`
    #[arg(value_name = "ADDRESS")]
    words: Vec<String>,
    /// How long [default: for good]
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// More of them from a file, one a line; `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Also what contains the address that you are connected from, and prefixes so short that they
    /// are hardly meant
    #[arg(long)]
    i_know: bool,
}

/// Let addresses in again that `ban` or a rule has kept out
#[derive(Debug, clap::Args)]
pub(in super::super) struct UnbanArgs {
    /// Addresses or prefixes, as they were banned
    #[arg(value_name = "ADDRESS", required_unless_present_any = ["file", "all"])]
    words: Vec<String>,
    /// More of them from a file, one a line; `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// All that is banned
    #[arg(long, conflicts_with_all = ["words", "file"])]
    all: bool,
}

/// List what is banned
#[derive(Debug, clap::Args)]
pub(in super::super) struct BansArgs {
    /// Show so many; 0 for all [default: 50 in tables, all in JSON and YAML]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

const EXITS: &[Exit] = &[
    Exit::Ok,
    Exit::Failed,
    Exit::Usage,
    Exit::Config,
    Exit::Privilege,
];

pub(in super::super) fn help() -> String {
    after(
        &[
            "sudo firewall-ctl ban 203.0.113.9 for 1h",
            "sudo firewall-ctl ban 203.0.113.0/24 2001:db8::/32",
            "sudo firewall-ctl ban --for 7d -f blocklist.txt",
        ],
        &[EXITS, &[Exit::Refused]].concat(),
    )
}

pub(in super::super) fn unban_help() -> String {
    after(
        &[
            "sudo firewall-ctl unban 203.0.113.9",
            "sudo firewall-ctl unban -f pardoned.txt",
            "sudo firewall-ctl unban --all",
        ],
        EXITS,
    )
}

pub(in super::super) fn bans_help() -> String {
    after(
        &[
            "sudo firewall-ctl bans",
            "sudo firewall-ctl bans --limit 0",
            "sudo firewall-ctl bans -o json",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage, Exit::Privilege],
    )
}

pub(in super::super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let start = Instant::now();
    let (mut prefixes, time) = input::words(&args.words, args.time.as_deref())?;
    if let Some(name) = &args.file {
        prefixes.extend(input::list(name, &input::read(name)?)?);
    }
    if prefixes.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing says whom to ban")
            .help("name an address, or a file of them with -f"));
    }
    if !args.i_know {
        guard(&prefixes)?;
    }
    let live = open(context)?;
    let set = find(live.view(), BANNED_NAME)?;
    let changes: Vec<Change> = prefixes
        .iter()
        .map(|prefix| Change::Add(*prefix, time))
        .collect();
    let changed = live
        .change(&set, &changes)
        .map_err(|error| Failure::engine(&error, context.color_errors))?;
    let who = match prefixes.as_slice() {
        [one] => prefix_text(one),
        many => format!("{} addresses and prefixes", many.len()),
    };
    let time = time.map_or("for good".to_owned(), |time| {
        format!("for {}", crate::format::duration(time.as_secs_f64()))
    });
    let renewed = match changed.renewed {
        0 => String::new(),
        1 if prefixes.len() == 1 => "; it was banned before".to_owned(),
        count => format!("; {count} of them were banned before"),
    };
    let text = format!("{who} banned {time}{renewed}");
    report(context, &set, changed, start, &text)?;
    Ok(Exit::Ok)
}

pub(in super::super) fn run_unban(args: &UnbanArgs, context: &Context) -> Result<Exit, Failure> {
    let start = Instant::now();
    let (mut prefixes, _) = input::words(&args.words, Some("1s"))?;
    if let Some(name) = &args.file {
        prefixes.extend(input::list(name, &input::read(name)?)?);
    }
    let live = open(context)?;
    let set = find(live.view(), BANNED_NAME)?;
    let failed = |error| Failure::engine(&error, context.color_errors);
    let changed = if args.all {
        crate::engine::Changed {
            removed: live.clear(&set).map_err(failed)?,
            ..Default::default()
        }
    } else {
        let changes: Vec<Change> = prefixes.iter().copied().map(Change::Remove).collect();
        live.change(&set, &changes).map_err(failed)?
    };
    let text = match (prefixes.as_slice(), changed.removed, changed.missing) {
        ([one], 1, _) => format!("{} banned no more", prefix_text(one)),
        ([one], ..) => format!("{} was not banned", prefix_text(one)),
        (_, removed, 0) => format!("{removed} banned no more"),
        (_, removed, missing) => format!("{removed} banned no more; {missing} were not banned"),
    };
    report(context, &set, changed, start, &text)?;
    Ok(Exit::Ok)
}

pub(in super::super) fn run_bans(args: &BansArgs, context: &Context) -> Result<Exit, Failure> {
    let view = view(context)?;
    let set = find(&view, BANNED_NAME)?;
    let mut entries = view.entries(&set);
    // What ends first comes first.
    entries.sort_by_key(|entry| (entry.left.is_none(), entry.left));
    if let Some(limit) = args.limit
        && limit > 0
        && !context.format.is_text()
    {
        entries.truncate(limit);
    }
    let report = Entries::of(&set, &entries);
    if !context.format.is_text() {
        context.print(&context.format.document(&report, false)?)?;
        return Ok(Exit::Ok);
    }
    let mut text = report.text(args.limit, "Nobody is banned.", "firewall-ctl bans");
    match view.refused() {
        0 => {}
        refused => text.push_str(&format!(
            "{refused} times a rule wanted to ban and found no room\n"
        )),
    }
    context.print(&text)?;
    Ok(Exit::Ok)
}

/// Refuses what would cut off the person who types it, and what is hardly meant.
fn guard(prefixes: &[Prefix]) -> Result<(), Failure> {
    let refused = |text: String, help: &str| Err(Failure::new(Exit::Refused, text).help(help));
    let short = |prefix: &&Prefix| prefix.length < if prefix.is_v6 == 0 { 8 } else { 16 };
    if let Some(prefix) = prefixes.iter().find(short) {
        let text = format!("{} is a large part of the internet", prefix_text(prefix));
        return refused(text, "if you mean it, add --i-know");
    }
    let Some(own) = client() else {
        return Ok(());
    };
    let contains = |prefix: &&Prefix| {
        prefix.is_v6 == own.is_v6
            && Prefix::of(own.hi, own.lo, prefix.length, own.is_v6) == **prefix
    };
    if let Some(prefix) = prefixes.iter().find(contains) {
        let text = format!(
            "{} contains {}, the address that you are connected from",
            prefix_text(prefix),
            prefix_text(&own)
        );
        return refused(text, "it would cut you off; if you mean it, add --i-know");
    }
    Ok(())
}

/// The address that the person at the other end of SSH comes from.
fn client() -> Option<Prefix> {
    let address = Connection::own()?.from.ip().to_string();
    parse(&address).ok()?.into_iter().next()
}
