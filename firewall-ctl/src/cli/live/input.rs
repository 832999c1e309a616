//! Prefixes and times from the command line, from files and from feeds.
//!
//! Invariant: an input with a mistake in it gives no changes at all, and every mistake is named with
//! its place, up to [`SHOWN`] of them.

use firewall_api::failure::{Exit, Failure};
use firewall_api::sets::{NewEntry, SetStep};
use firewall_common::live::Prefix;
use firewall_policy::entry::{self, parse, seconds};
use firewall_policy::prefixes::text;
use std::fs;
use std::io::Read as _;

/// Mistakes that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Most bytes of a file.
const MOST: u64 = 256 << 20;

/// Words of a command: entries, and at the end perhaps how long, with or without `for`: `1h`, `for 1 hour`.
pub(super) fn words(
    words: &[String],
    time: Option<&str>,
) -> Result<(Vec<Prefix>, Option<u64>), Failure> {
    let (entries, time) = match time {
        Some(text) => (words, Some(duration(text)?)),
        None => timed(words)?,
    };
    let mut prefixes = Vec::new();
    for text in entries.iter().flat_map(|word| listed(word)) {
        prefixes.extend(entry(text)?);
    }
    Ok((prefixes, time))
}

/// The entries among some words, and how long they stay.
fn timed(words: &[String]) -> Result<(&[String], Option<u64>), Failure> {
    if let Some(at) = words.iter().position(|word| word == "for") {
        let (entries, time) = (&words[..at], &words[at + 1..]);
        return match entry::time(time) {
            Some((seconds, length)) if length == time.len() => Ok((entries, Some(seconds))),
            _ => Err(no_time(&time.join(" "))),
        };
    }
    // No address reads as a duration.
    match (entry::time_at_end(words), words.last()) {
        (Some((seconds, entries)), _) => Ok((&words[..entries], Some(seconds))),
        (None, Some(last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => Err(no_time(last)),
        _ => Ok((words, None)),
    }
}

/// Entries with commas between them.
fn listed(word: &str) -> impl Iterator<Item = &str> {
    word.split(',')
        .filter(move |part| !part.is_empty() || word.is_empty())
}

fn entry(text: &str) -> Result<Vec<Prefix>, Failure> {
    parse(text).map_err(|(message, help)| Failure::new(Exit::Usage, message).help(help))
}

/// A time such as `1h`, in seconds.
fn duration(text: &str) -> Result<u64, Failure> {
    seconds(text).ok_or_else(|| no_time(text))
}

fn no_time(text: &str) -> Failure {
    let (message, help) = entry::no_time(text);
    Failure::new(Exit::Usage, message).help(help)
}

/// A file's text; `-` is the standard input.
pub(super) fn read(name: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Config,
        };
        Failure::new(exit, format!("{name}: {error}"))
    };
    let mut bytes = Vec::new();
    if name == firewall_system::policy_file::STDIN {
        std::io::stdin()
            .take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        let file = fs::File::open(name).map_err(failed)?;
        file.take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if bytes.len() as u64 > MOST {
        return Err(Failure::new(
            Exit::Config,
            format!("{name} has more than {} MiB", MOST >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        Failure::new(Exit::Config, format!("{name}:{line}: this is not text"))
    })
}

/// The lines of a list: an address, a prefix or a range each, with comments behind `#` or `;`.
pub(super) fn list(name: &str, text: &str) -> Result<Vec<Prefix>, Failure> {
    lines(name, text, |line| parse(line).map_err(said))
}

/// The lines of a feed: `add PREFIX`, `add PREFIX 1h`, `del PREFIX`.
pub(super) fn feed(name: &str, text: &str) -> Result<Vec<SetStep>, Failure> {
    lines(name, text, |line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["add", entry] => Ok((entry, Some(None))),
            ["add", entry, time @ ..] => {
                let time = time.join(" ");
                let seconds = seconds(&time).ok_or_else(|| {
                    format!("`{time}` is not a duration: write 30s, 10m, 1h or 7d")
                })?;
                Ok((entry, Some(Some(seconds))))
            }
            ["del", entry] => Ok((entry, None)),
            _ => Err("write `add PREFIX`, `add PREFIX 1h` or `del PREFIX`".to_owned()),
        }
        .and_then(|(entry, add)| {
            let prefixes = parse(entry).map_err(said)?;
            Ok(match add {
                Some(time) => prefixes.iter().map(|prefix| added(prefix, time)).collect(),
                None => vec![removed(entry, &prefixes)],
            })
        })
    })
}

/// The step that adds a prefix, for some seconds or as long as the set says.
pub(super) fn added(prefix: &Prefix, seconds: Option<u64>) -> SetStep {
    SetStep::Add(new_entry(prefix, seconds))
}

/// A prefix as a new entry.
pub(super) fn new_entry(prefix: &Prefix, seconds: Option<u64>) -> NewEntry {
    NewEntry {
        prefix: text(prefix),
        seconds,
    }
}

/// The step that removes what a text stands for: a range as a whole.
fn removed(of: &str, prefixes: &[Prefix]) -> SetStep {
    SetStep::Remove(match prefixes {
        [one] => text(one),
        _ => of.trim().to_owned(),
    })
}

/// The steps that remove what words name.
pub(super) fn removals(words: &[String]) -> Result<Vec<SetStep>, Failure> {
    let entries = words.iter().flat_map(|word| listed(word));
    entries
        .map(|text| Ok(removed(text, &entry(text)?)))
        .collect()
}

/// The steps that remove what a list names.
pub(super) fn listed_removals(name: &str, text: &str) -> Result<Vec<SetStep>, Failure> {
    lines(name, text, |line| {
        parse(line)
            .map(|prefixes| vec![removed(line, &prefixes)])
            .map_err(said)
    })
}

fn said((message, help): (String, String)) -> String {
    format!("{message}; {help}")
}

/// What `read` makes of every line that is not empty; all mistakes at once.
fn lines<T>(
    name: &str,
    text: &str,
    read: impl Fn(&str) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    let (mut mistakes, mut more) = (Vec::new(), 0usize);
    for (number, line) in text.lines().enumerate() {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match read(line) {
            Ok(items) => found.extend(items),
            Err(_) if mistakes.len() == SHOWN => more += 1,
            Err(mistake) => mistakes.push(format!("{name}:{}: {mistake}", number + 1)),
        }
    }
    if mistakes.is_empty() {
        return Ok(found);
    }
    if more > 0 {
        mistakes.push(format!("{name}: {more} more invalid lines"));
    }
    Err(Failure::new(Exit::Config, mistakes.join("\n")).outcome("nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_time() {
        let text = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let (prefixes, time) = words(&text(&["192.0.2.1", "2001:db8::/32", "for", "1h"]), None)
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(prefixes.len(), 2);
        assert_eq!(time, Some(3_600));
        assert_eq!(prefixes[0].length, 32);
        for said in [
            &["192.0.2.1", "1h"][..],
            &["192.0.2.1", "for", "1", "hour"],
            &["192.0.2.1,192.0.2.2", "60", "minutes"],
            &["192.0.2.1", "60min"],
        ] {
            let found = words(&text(said), None).unwrap_or_else(|error| panic!("{error:?}"));
            assert_eq!(found.1, Some(3_600), "{said:?}");
            assert_eq!(found.0.len(), said[0].split(',').count());
        }
        let message = |list: &[&str]| words(&text(list), None).expect_err("wrong").to_text(false);
        let unit = message(&["192.0.2.1", "for", "600"]);
        assert!(
            unit.contains("has no unit") && unit.contains("for 600s"),
            "{unit}"
        );
        assert_eq!(message(&["192.0.2.1", "600"]), unit);
        let ever = message(&["192.0.2.1", "for", "ever"]);
        assert!(ever.contains("leave `for` out"), "{ever}");
        for wrong in [
            &["192.0.2.1", "for"][..],
            &["192.0.2.1", "hour"],
            &["192.0.2.1", "for", "ever"],
            &["192.0.2.1/24"],
            &["host.example"],
            &["192.0.2.1", "for", "366d"],
        ] {
            assert!(words(&text(wrong), None).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_feed_with_mistakes_changes_nothing_and_names_them_all() {
        let right = "# from a bouncer\nadd 192.0.2.1 4h\nadd 2001:db8::/32\ndel 192.0.2.7 ; gone\n";
        let changes = feed("feed", right).unwrap_or_else(|error| panic!("{error:?}"));
        let add = |prefix: &str, seconds| {
            SetStep::Add(NewEntry {
                prefix: prefix.to_owned(),
                seconds,
            })
        };
        assert_eq!(
            changes,
            [
                add("192.0.2.1", Some(14_400)),
                add("2001:db8::/32", None),
                SetStep::Remove("192.0.2.7".to_owned())
            ]
        );
        let wrong = "ban 192.0.2.1\nadd 192.0.2.1 soon\nadd 192.0.2.0/33\nadd\n";
        let failure = feed("feed", wrong).expect_err("wrong");
        insta::assert_snapshot!(failure.to_text(false));
    }
}
