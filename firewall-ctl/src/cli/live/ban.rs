//! `ban`, `unban`, `bans`: addresses that are kept out, whatever the rules say.

use super::super::context::Context;
use super::super::help::after;
use super::{change, input, report, show};
use firewall_api::failure::{Exit, Failure};
use firewall_api::sets::{BANNED, SetEdit, SetRequest};
use firewall_policy::prefixes::text as prefix_text;

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
    let (mut prefixes, time) = input::words(&args.words, args.time.as_deref())?;
    if let Some(name) = &args.file {
        prefixes.extend(input::list(name, &input::read(name)?)?);
    }
    if prefixes.is_empty() {
        return Err(Failure::new(Exit::Usage, "no address given")
            .help("name an address, or a file of them with -f"));
    }
    let steps = prefixes.iter().map(|prefix| input::added(prefix, time));
    let what = SetEdit::Steps(steps.collect());
    let changed = context
        .firewall()?
        .change_set(&change(BANNED, what, args.i_know))?;
    let who = match prefixes.as_slice() {
        [one] => prefix_text(one),
        many => format!("{} addresses and prefixes", many.len()),
    };
    let time = time.map_or("permanently".to_owned(), |time| {
        format!("for {}", firewall_api::format::duration(time as f64))
    });
    let renewed = match changed.renewed {
        0 => String::new(),
        1 if prefixes.len() == 1 => "; renewed".to_owned(),
        count => format!("; {count} renewed"),
    };
    let mut text = format!("{who} banned {time}{renewed}");
    for prefix in &changed.exempt {
        text.push_str(&format!(
            "\n{prefix} is exempt by the policy: the ban has no effect"
        ));
    }
    report(context, &changed, &text)?;
    Ok(Exit::Ok)
}

pub(in super::super) fn run_unban(args: &UnbanArgs, context: &Context) -> Result<Exit, Failure> {
    let (mut prefixes, _) = input::words(&args.words, Some("1s"))?;
    let mut steps = input::removals(&args.words)?;
    if let Some(name) = &args.file {
        let text = input::read(name)?;
        prefixes.extend(input::list(name, &text)?);
        steps.extend(input::listed_removals(name, &text)?);
    }
    let what = match args.all {
        true => SetEdit::Clear,
        false => SetEdit::Steps(steps),
    };
    let changed = context
        .firewall()?
        .change_set(&change(BANNED, what, false))?;
    let mut text = match (prefixes.as_slice(), changed.removed, changed.missing) {
        ([one], 1, _) => format!("{} unbanned", prefix_text(one)),
        ([one], ..) => format!("{} was not banned", prefix_text(one)),
        (_, removed, 0) => format!("{removed} unbanned"),
        (_, removed, missing) => format!("{removed} unbanned; {missing} were not banned"),
    };
    for held in &changed.held {
        text.push_str(&format!(
            "\n{0} is still banned by {1}: firewall-ctl unban {1}",
            held.prefix, held.by
        ));
    }
    report(context, &changed, &text)?;
    Ok(if changed.held.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// `bans`.
pub(in super::super) fn listed(context: &Context) -> Result<Exit, Failure> {
    run_bans(&BansArgs { limit: None }, context)
}

pub(in super::super) fn run_bans(args: &BansArgs, context: &Context) -> Result<Exit, Failure> {
    let mut bans = context.firewall()?.set(BANNED, &SetRequest::default())?;
    // What ends first comes first.
    let left = |left: Option<f64>| left.unwrap_or(f64::INFINITY);
    bans.entries
        .sort_by(|a, b| left(a.left).total_cmp(&left(b.left)));
    if !context.format.is_text() {
        if let Some(limit) = args.limit.filter(|&limit| limit > 0) {
            bans.entries.truncate(limit);
            bans.count = bans.entries.len();
        }
        context.print(&context.format.document(&bans, false)?)?;
        return Ok(Exit::Ok);
    }
    let mut text = show::entries(&bans, args.limit, "Nobody is banned.", "firewall-ctl bans");
    match bans.refused {
        0 => {}
        refused => text.push_str(&format!(
            "{refused} bans by rules failed: the table is full\n"
        )),
    }
    context.print(&text)?;
    Ok(Exit::Ok)
}
