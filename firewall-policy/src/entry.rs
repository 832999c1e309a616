//! One entry of a set as commands give it, read as a policy reads it.

use crate::prefixes::prefixes;
use crate::rule::LONGEST_STAY;
use crate::{duration, validate};
use firewall_common::live::Prefix;

/// The prefixes of one entry: an address, a prefix or a range.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn parse(text: &str) -> Result<Vec<Prefix>, (String, String)> {
    Ok(prefixes(&validate::entry(text)?).collect())
}

/// A duration in whole seconds, 1s to 365d: `30s`, `10m`, `1h30m`, `167h59m58s`, `1 hour`. Parts of a
/// second are cut off.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let seconds = duration::spoken(text)?.as_secs();
    (1..=LONGEST_STAY).contains(&seconds).then_some(seconds)
}

/// Words that a duration takes at most: `1 day 12 hours and 30 minutes`.
const WORDS: usize = 8;

/// The duration with which some words begin, in seconds, and how many of them it takes.
#[must_use]
pub fn time(words: &[String]) -> Option<(u64, usize)> {
    let lengths = (1..=words.len().min(WORDS)).rev();
    lengths
        .filter_map(|length| Some((seconds(&words[..length].join(" "))?, length)))
        .next()
}

/// The duration with which some words end, in seconds, and how many of them stand before it.
#[must_use]
pub fn time_at_end(words: &[String]) -> Option<(u64, usize)> {
    let starts = words.len().saturating_sub(WORDS)..words.len();
    starts
        .filter_map(|start| Some((seconds(&words[start..].join(" "))?, start)))
        .next()
}

/// What is wrong with a text that is no duration, and what to write.
#[must_use]
pub fn no_time(text: &str) -> (String, String) {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return (
            format!("`{text}` has no unit"),
            format!("write for {text}s, for {text}m, for {text}h or for {text}d; at most 365d"),
        );
    }
    let help = match text.to_ascii_lowercase().as_str() {
        "ever" | "forever" | "always" | "permanent" | "permanently" | "never" => {
            "leave `for` out: without it there is no end"
        }
        _ => "write for 30s, for 20m, for 2h, for 7d or for 1 hour; at most 365d",
    };
    (
        format!("`{}` is not a duration", crate::diag::show(text)),
        help.to_owned(),
    )
}
