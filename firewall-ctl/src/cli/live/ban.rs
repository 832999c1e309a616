//! `ban`, `unban`, `bans`: addresses that are kept out, whatever the rules say.

use super::super::context::Context;
use super::super::help::after;
use super::show::Report as Entries;
use super::{find, guard, input, open, report, view};
use firewall_api::failure::{Exit, Failure};
use firewall_common::live::Prefix;
use firewall_engine::engine::{BANNED_NAME, Change, LiveRecord, LiveView};
use firewall_policy::prefixes::text as prefix_text;
use std::time::Instant;

/// Ban addresses now, before any rule
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Addresses, prefixes or ranges, then optionally `for 1h`
    #[arg(value_name = "ADDRESS")]
    words: Vec<String>,
    /// Duration [default: unlimited]
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// File with one entry per line; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Override the guard: ban your own address or a very large prefix
    #[arg(long)]
    i_know: bool,
}

/// Remove bans made by `ban` or by a rule
#[derive(Debug, clap::Args)]
pub(in super::super) struct UnbanArgs {
    /// Addresses or prefixes, as banned
    #[arg(value_name = "ADDRESS", required_unless_present_any = ["file", "all"])]
    words: Vec<String>,
    /// File with one entry per line; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Remove all bans
    #[arg(long, conflicts_with_all = ["words", "file"])]
    all: bool,
}

/// List bans
#[derive(Debug, clap::Args)]
pub(in super::super) struct BansArgs {
    /// Maximum rows; 0 is unlimited [default: 50 in tables, unlimited in JSON and YAML]
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

/// How many addresses are named that a wider ban still keeps out.
const HELD: usize = 20;

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
        return Err(Failure::new(Exit::Usage, "no address given")
            .help("name an address, or a file of them with -f"));
    }
    let live = open(context)?;
    let set = find(live.view(), BANNED_NAME)?;
    let changes: Vec<Change> = prefixes
        .iter()
        .map(|prefix| Change::Add(*prefix, time))
        .collect();
    let changed = live
        .change(&set, &changes, &guard(args.i_know))
        .map_err(|error| error.failure(context.color_errors))?;
    let who = match prefixes.as_slice() {
        [one] => prefix_text(one),
        many => format!("{} addresses and prefixes", many.len()),
    };
    let time = time.map_or("for good".to_owned(), |time| {
        format!("for {}", firewall_api::format::duration(time.as_secs_f64()))
    });
    let renewed = match changed.renewed {
        0 => String::new(),
        1 if prefixes.len() == 1 => "; renewed".to_owned(),
        count => format!("; {count} renewed"),
    };
    let mut text = format!("{who} banned {time}{renewed}");
    let exempt = prefixes
        .iter()
        .filter(|prefix| live.view().is_exempt(prefix));
    for prefix in exempt.take(HELD) {
        text.push_str(&format!(
            "\n{} is exempt by the policy: the ban has no effect",
            prefix_text(prefix)
        ));
    }
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
    let failed = |error: firewall_engine::engine::EngineError| error.failure(context.color_errors);
    let changed = if args.all {
        firewall_engine::engine::Changed {
            removed: live.clear(&set).map_err(failed)?,
            ..Default::default()
        }
    } else {
        let changes: Vec<Change> = prefixes.iter().copied().map(Change::Remove).collect();
        live.change(&set, &changes, &guard(false)).map_err(failed)?
    };
    let mut text = match (prefixes.as_slice(), changed.removed, changed.missing) {
        ([one], 1, _) => format!("{} unbanned", prefix_text(one)),
        ([one], ..) => format!("{} was not banned", prefix_text(one)),
        (_, removed, 0) => format!("{removed} unbanned"),
        (_, removed, missing) => format!("{removed} unbanned; {missing} were not banned"),
    };
    let held = still_held(live.view(), &set, &prefixes);
    for (prefix, by) in &held {
        text.push_str(&format!(
            "\n{0} is still banned by {1}: firewall-ctl unban {1}",
            prefix_text(prefix),
            prefix_text(by)
        ));
    }
    report(context, &set, changed, start, &text)?;
    Ok(if held.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// Prefixes that stay kept out by a wider ban, with that one; at most [`HELD`] of them.
fn still_held(view: &LiveView, set: &LiveRecord, prefixes: &[Prefix]) -> Vec<(Prefix, Prefix)> {
    let held = prefixes.iter().filter_map(|prefix| {
        let by = view.holding(set, prefix).into_iter().next()?;
        Some((*prefix, by))
    });
    held.take(HELD).collect()
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
            "{refused} bans by rules failed: the table is full\n"
        )),
    }
    context.print(&text)?;
    Ok(Exit::Ok)
}
