//! Prefixes and times from the command line, from files and from feeds.
//!
//! Invariant: an input with a mistake in it gives no changes at all, and every mistake is named with
//! its place, up to [`SHOWN`] of them.

use firewall_api::failure::{Exit, Failure};
use firewall_common::live::Prefix;
use firewall_engine::engine::Change;
use firewall_policy::entry::{parse, seconds};
use std::fs;
use std::io::Read as _;
use std::time::Duration;

/// Mistakes that are shown; the rest is counted.
const SHOWN: usize = 20;

/// Most bytes of a file.
const MOST: u64 = 256 << 20;

/// Words of a command: entries, and at the end perhaps `for TIME`.
pub(super) fn words(
    words: &[String],
    time: Option<&str>,
) -> Result<(Vec<Prefix>, Option<Duration>), Failure> {
    let (entries, time) = match words {
        [entries @ .., word, text] if word == "for" && time.is_none() => {
            (entries, Some(text.as_str()))
        }
        _ => (words, time),
    };
    let time = time.map(duration).transpose()?;
    let mut prefixes = Vec::new();
    for text in entries {
        prefixes.extend(entry(text)?);
    }
    Ok((prefixes, time))
}

fn entry(text: &str) -> Result<Vec<Prefix>, Failure> {
    parse(text).map_err(|(message, help)| Failure::new(Exit::Usage, message).help(help))
}

/// A time such as `1h`.
fn duration(text: &str) -> Result<Duration, Failure> {
    seconds(text).map(Duration::from_secs).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is not a duration"))
            .help("write 30s, 10m, 1h or 7d; at most 365d")
    })
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
    if name == firewall_engine::policy_file::STDIN {
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
pub(super) fn feed(
    name: &str,
    text: &str,
    default: Option<Duration>,
) -> Result<Vec<Change>, Failure> {
    lines(name, text, |line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["add", entry] => Ok((parse(entry).map_err(said)?, Some(default))),
            ["add", entry, time] => {
                let seconds = seconds(time).ok_or_else(|| {
                    format!("`{time}` is not a duration: write 30s, 10m, 1h or 7d")
                })?;
                let time = Some(Duration::from_secs(seconds));
                Ok((parse(entry).map_err(said)?, Some(time)))
            }
            ["del", entry] => Ok((parse(entry).map_err(said)?, None)),
            _ => Err("write `add PREFIX`, `add PREFIX 1h` or `del PREFIX`".to_owned()),
        }
        .map(|(prefixes, add)| {
            let change = |prefix| match add {
                Some(time) => Change::Add(prefix, time),
                None => Change::Remove(prefix),
            };
            prefixes.into_iter().map(change).collect::<Vec<_>>()
        })
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
        assert_eq!(time, Some(Duration::from_secs(3_600)));
        assert_eq!(prefixes[0].length, 32);
        for wrong in [
            &["192.0.2.1", "for"][..],
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
        let hour = Some(Duration::from_secs(3_600));
        let changes = feed("feed", right, hour).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(changes.len(), 3);
        assert!(matches!(changes[0], Change::Add(_, Some(time)) if time.as_secs() == 14_400));
        assert!(matches!(changes[1], Change::Add(_, time) if time == hour));
        assert!(matches!(changes[2], Change::Remove(_)));
        let wrong = "ban 192.0.2.1\nadd 192.0.2.1 soon\nadd 192.0.2.0/33\nadd\n";
        let failure = feed("feed", wrong, None).expect_err("wrong");
        insta::assert_snapshot!(failure.to_text(false));
    }
}
