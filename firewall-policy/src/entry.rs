//! One entry of a set as commands give it, read as a policy reads it.

use crate::prefixes::prefixes;
use crate::validate;
use firewall_common::live::Prefix;

/// The prefixes of one entry: an address, a prefix or a range.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn parse(text: &str) -> Result<Vec<Prefix>, (String, String)> {
    Ok(prefixes(&validate::entry(text)?).collect())
}

/// A time in whole seconds, as policies write it: `30s`, `10m`, `1h`, `7d`, up to 365 days.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    validate::seconds(text)
}
