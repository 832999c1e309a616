//! Whether a change of bans would lock somebody out. Part of the change and not of a verb, so that
//! every command, feed and restored copy is checked.
//!
//! Invariant: a guard that cannot judge refuses. Where there is no session to cut off, such as on a
//! console or in a timer, there is nothing to judge.

use super::types::{EngineError, LiveRecord};
pub use firewall_api::network::{contains, prefix_of};
pub use firewall_api::sets::Session;
use firewall_common::live::{BANNED, Prefix};
use firewall_policy::prefixes::text;

/// The shortest prefixes that may be banned without a word: of IPv4 and of IPv6.
const SHORTEST: [u64; 2] = [8, 16];

/// What a change is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// `None`: the user knows what they do.
    session: Option<Session>,
}

impl Guard {
    /// The guard of changes that come from a session.
    #[must_use]
    pub const fn of(session: Session) -> Self {
        Self {
            session: Some(session),
        }
    }

    /// No guard: the user has said that they know.
    #[must_use]
    pub const fn off() -> Self {
        Self { session: None }
    }

    /// Refuses prefixes that are to be added to a set, if that is the set of bans.
    pub(super) fn check<'a>(
        &self,
        set: &LiveRecord,
        prefixes: impl Iterator<Item = &'a Prefix>,
    ) -> Result<(), EngineError> {
        if set.id != BANNED {
            return Ok(());
        }
        let mut refused = prefixes.filter_map(|prefix| self.refusal(prefix));
        refused.next().map_or(Ok(()), Err)
    }

    /// Why a prefix is not to be banned; `None` if it may be.
    #[must_use]
    pub fn refusal(&self, prefix: &Prefix) -> Option<EngineError> {
        let session = self.session?;
        let refused =
            |message: String, help: &'static str| Some(EngineError::Refused { message, help });
        if prefix.length < SHORTEST[prefix.is_v6 as usize & 1] {
            let message = format!("{} is a large part of the internet", text(prefix));
            return refused(message, "if you mean it, add --i-know");
        }
        match session {
            Session::None => None,
            Session::Unclear => refused(
                format!(
                    "cannot tell whether {} contains the address that you are connected from",
                    text(prefix)
                ),
                "SSH_CONNECTION cannot be read; if it does not, add --i-know",
            ),
            Session::From(own) => {
                let own = prefix_of(own);
                if !contains(prefix, &own) {
                    return None;
                }
                refused(
                    format!(
                        "{} contains {}, the address that you are connected from",
                        text(prefix),
                        text(&own)
                    ),
                    "it would cut you off; if you mean it, add --i-know",
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_policy::entry::parse;

    fn refused(session: Session, entry: &str) -> Option<String> {
        let prefixes = parse(entry).expect("an entry");
        let guard = Guard::of(session);
        let mut found = prefixes.iter().filter_map(|prefix| guard.refusal(prefix));
        found.next().map(|error| {
            assert_eq!(error.exit_code(), 7);
            error.to_string()
        })
    }

    #[test]
    fn the_internet_and_the_own_address_are_refused() {
        let from = |text: &str| Session::From(text.parse().expect("an address"));
        for entry in [
            "0.0.0.0/0",
            "::/0",
            "128.0.0.0/1",
            "0.0.0.0-255.255.255.255",
            "2000::/3",
        ] {
            for session in [Session::None, from("192.0.2.1"), Session::Unclear] {
                assert!(refused(session, entry).is_some(), "{entry} {session:?}");
            }
        }
        for (own, entry, is_refused) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.0/24", true),
            ("192.0.2.1", "192.0.2.0-192.0.2.9", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8::1", "2001:db8::/64", true),
            ("2001:db8::1", "192.0.2.1", false),
        ] {
            assert_eq!(
                refused(from(own), entry).is_some(),
                is_refused,
                "{own} {entry}"
            );
        }
    }

    #[test]
    fn without_a_session_any_address_may_be_banned_and_with_an_unclear_one_none() {
        assert_eq!(refused(Session::None, "192.0.2.1"), None);
        assert!(refused(Session::Unclear, "192.0.2.1").is_some());
        let everything = parse("0.0.0.0/0").expect("an entry");
        assert!(Guard::off().refusal(&everything[0]).is_none());
    }

    #[test]
    fn prefixes_contain_what_is_within() {
        let one = |text: &str| parse(text).expect("an entry")[0];
        assert!(contains(&one("192.0.2.0/24"), &one("192.0.2.7")));
        assert!(contains(&one("192.0.2.7"), &one("192.0.2.7")));
        assert!(!contains(&one("192.0.2.7"), &one("192.0.2.0/24")));
        assert!(!contains(&one("0.0.0.0/8"), &one("::")));
    }
}
