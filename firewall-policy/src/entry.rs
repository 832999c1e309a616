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

/// A duration in whole seconds, 1s to 365d: `30s`, `10m`, `1h30m`, `167h59m58s`. Parts of a second are cut
/// off.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let seconds = duration::parse(text)?.as_secs();
    (1..=LONGEST_STAY).contains(&seconds).then_some(seconds)
}
