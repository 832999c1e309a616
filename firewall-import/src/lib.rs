//! Carries the rules of another firewall over into a policy: iptables, nft, ufw.
//!
//! ```text
//! text ─► iptables | nft | ufw ─► ruleset (chains) ─► flatten (a list, first match wins) ─► write ─► YAML
//! ```
//!
//! Takes the language of `firewall-policy`, and nothing that runs a policy: may not import
//! `firewall_policy::compile`, `firewall_policy::host` or `firewall_policy::oracle`. Invariant: nothing
//! is guessed. What a policy cannot say exactly is in the list of what was left out, with the original
//! text and the reason; a rule that is carried in part passes nothing that the original would not have
//! passed.
#![forbid(unsafe_code)]

mod essential;
mod flatten;
mod imported;
mod interfaces;
mod ipset;
mod iptables;
mod join;
mod local;
mod names;
mod nft;
mod options;
mod packets;
mod rates;
mod ruleset;
mod states;
mod ufw;
mod values;
mod words;
mod write;

pub use imported::{Effect, ImportError, Imported, LeftOut};
pub use options::{Language, Options};

/// From `iptables-save` and `ip6tables-save`. At least one of the two must be there; of a family
/// whose rules are not given nothing is known, and that is in the list.
///
/// # Errors
/// Text that is not the output of these programs, with its place.
pub fn iptables(
    v4: Option<&str>,
    v6: Option<&str>,
    options: &Options,
) -> Result<Imported, ImportError> {
    iptables::import(v4.map(plain), v6.map(plain), options)
}

/// A text without the mark that editors of Windows put before it.
fn plain(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// From `nft -j list ruleset`.
///
/// # Errors
/// Text that is not the output of this command, with its place.
pub fn nft(text: &str, options: &Options) -> Result<Imported, ImportError> {
    nft::import(plain(text), options)
}

/// From ufw: `/etc/ufw/user.rules` (and `user6.rules` beside it), or the output of `ufw show added`
/// or `ufw status`, which hold both families.
///
/// # Errors
/// Text without rules of ufw, with its place.
pub fn ufw(text: &str, v6: Option<&str>, options: &Options) -> Result<Imported, ImportError> {
    ufw::import(plain(text), v6.map(plain), options)
}

#[cfg(test)]
mod tests;
