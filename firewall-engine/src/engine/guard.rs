//! Whether a change of the policy, of bans or of live sets would lock somebody out. Part of the change
//! and not of a verb, so that every command, feed and restored copy is checked.
//!
//! ```text
//! guard.rs    who must not be cut off, and bans                        (reads only)
//! ways.rs     the packets that a session needs, where they come in     (reads only)
//! replay.rs   those packets, under what is and what would be           (reads only)
//! ```
//!
//! Invariant: a guard that cannot judge refuses. Where there is no session to cut off, such as on a
//! console or in a timer, there is nothing to judge.

mod replay;
mod ways;

pub use replay::SetAfter;
pub(super) use replay::{After, Scene};

use super::resolve::Present;
use super::types::{EngineError, LiveRecord};
pub use firewall_api::network::{contains, prefix_of};
use firewall_api::session::CONNECTIONS;
pub use firewall_api::session::{Connection, Session};
use firewall_common::live::{BANNED, Prefix};
use firewall_policy::prefixes::text;
use std::borrow::Cow;
use std::sync::OnceLock;
use ways::Ways;

/// The shortest prefixes that may be banned without a word: of IPv4 and of IPv6.
const SHORTEST: [u64; 2] = [8, 16];

/// What to do about a refusal of what cannot be judged.
const UNCLEAR: &str = "if you have other access, such as a console, add --i-know";

/// What a change is judged by.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Guard {
    /// `None`: the user knows what they do.
    session: Option<Session>,
    /// The interfaces that are filtered, if that is known.
    filtered: Option<Vec<u32>>,
    /// Who sends the packets that the session needs, and all addresses in them; why they are not all known.
    /// Asked for when they are needed.
    addresses: OnceLock<Result<Addresses, String>>,
}

/// Addresses in the packets that a session needs, those of its tunnels among them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Addresses {
    senders: Vec<Prefix>,
    all: Vec<Prefix>,
}

impl Guard {
    /// The guard of changes that come from a session.
    #[must_use]
    pub const fn of(session: Session) -> Self {
        Self {
            session: Some(session),
            filtered: None,
            addresses: OnceLock::new(),
        }
    }

    /// No guard: the user has said that they know.
    #[must_use]
    pub const fn off() -> Self {
        Self {
            session: None,
            filtered: None,
            addresses: OnceLock::new(),
        }
    }

    /// As this one, of what is in force on some interfaces.
    #[must_use]
    pub(super) fn on(self, filtered: Vec<u32>) -> Self {
        Self {
            filtered: Some(filtered),
            ..self
        }
    }

    /// Whether whoever asks knows what they do.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.session.is_none()
    }

    /// The guard of a request: none if whoever sent it knows what it does.
    #[must_use]
    pub fn of_request(session: Session, i_know: bool) -> Self {
        if i_know {
            Self::off()
        } else {
            Self::of(session)
        }
    }

    /// As this one, but for what comes back from disk, which nobody knows by heart.
    #[must_use]
    pub(super) fn of_copies(&self) -> Self {
        Self::of(self.session.clone().unwrap_or_default())
    }

    /// Whether a prefix in a set, or out of it, can make a difference to the session.
    pub(super) fn concerns(&self, prefix: &Prefix) -> bool {
        match &self.session {
            None | Some(Session::None) => false,
            Some(Session::Unclear) => true,
            Some(Session::From(address)) => contains(prefix, &prefix_of(*address)),
            Some(Session::Over(connections)) => {
                let ends = connections.iter().flat_map(|it| [it.from, it.to]);
                let mut ends = ends.map(|end| prefix_of(end.ip()));
                ends.any(|end| contains(prefix, &end))
                    || match self.addresses() {
                        Ok(addresses) => addresses.all.iter().any(|it| contains(prefix, it)),
                        Err(_) => true,
                    }
            }
        }
    }

    /// The addresses in the packets that the session needs.
    fn addresses(&self) -> &Result<Addresses, String> {
        self.addresses.get_or_init(|| {
            let connections = match &self.session {
                Some(Session::Over(_)) => self.known().map_err(str::to_owned)?,
                // There is no more than an address, and that is looked at by itself.
                _ => &[],
            };
            if connections.is_empty() {
                return Ok(Addresses::default());
            }
            let present = Present::now().map_err(|error| error.to_string())?;
            let all = || present.links().iter().map(|link| link.ifindex).collect();
            let filtered = self.filtered.clone().unwrap_or_else(all);
            let ways = Ways::of(&present, connections, &filtered);
            let ways = ways.map_err(|error| error.to_string())?;
            if self.filtered.is_some() && !ways.doubts.is_empty() {
                return Err(ways.doubts.join("; "));
            }
            Ok(Addresses {
                senders: ways.senders().into_iter().map(prefix_of).collect(),
                all: ways.addresses().into_iter().map(prefix_of).collect(),
            })
        })
    }

    /// The connections that must not be cut.
    ///
    /// # Errors
    /// There are some, and nobody can say which.
    fn connections(&self) -> Result<&[Connection], EngineError> {
        self.known().map_err(unclear)
    }

    /// As [`Self::connections`], with the bare reason.
    fn known(&self) -> Result<&[Connection], &'static str> {
        match &self.session {
            None | Some(Session::None) => Ok(&[]),
            Some(Session::Over(connections)) if connections.len() <= CONNECTIONS => Ok(connections),
            Some(Session::Over(_) | Session::From(_)) => {
                Err("which connection it comes over is not known")
            }
            Some(Session::Unclear) => Err("which SSH connection you use is not known"),
        }
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
        let session = self.session.as_ref()?;
        if prefix.length < SHORTEST[prefix.is_v6 as usize & 1] {
            let message = format!("{} is a large part of the internet", text(prefix));
            return Some(refused(message, "if you mean it, add --i-know"));
        }
        if *session == Session::Unclear {
            let message = format!(
                "cannot tell whether {} contains the address that you are connected from",
                text(prefix)
            );
            let help = "which SSH connection you use is not known; if it does not, add --i-know";
            return Some(refused(message, help));
        }
        let help = "it would cut you off; if you mean it, add --i-know";
        let peers = session.peers();
        let mut own = peers.iter().map(|&peer| prefix_of(peer));
        if let Some(own) = own.find(|own| contains(prefix, own)) {
            let message = format!(
                "{} contains {}, the address that you are connected from",
                text(prefix),
                text(&own)
            );
            return Some(refused(message, help));
        }
        match self.addresses() {
            Ok(others) => {
                let own = others.senders.iter().find(|own| contains(prefix, own))?;
                let message = format!(
                    "{} contains {}, an address of the tunnel that you are connected through",
                    text(prefix),
                    text(own)
                );
                Some(refused(message, help))
            }
            Err(why) => Some(unclear(why)),
        }
    }
}

fn refused(message: String, help: impl Into<Cow<'static, str>>) -> EngineError {
    EngineError::Refused {
        message,
        help: help.into(),
    }
}

/// The refusal where nobody can say whether a change cuts the session.
fn unclear(why: &str) -> EngineError {
    let message = format!("cannot tell whether this cuts your own connection: {why}");
    refused(message, UNCLEAR)
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
                assert!(refused(session, entry).is_some(), "{entry}");
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

    /// Any of them may come through a tunnel, of which nobody then knows the other end.
    #[test]
    fn a_session_of_more_connections_than_are_followed_may_need_any_address() {
        let connection = |number: usize| Connection {
            from: ([192, 0, 2, 1], 50_000 + number as u16).into(),
            to: ([192, 0, 2, 80], 22).into(),
        };
        let over = |count: usize| Session::Over((0..count).map(connection).collect());
        let text = refused(over(CONNECTIONS + 1), "198.51.100.1").expect("a refusal");
        assert!(text.contains("which connection it comes over"), "{text}");
        let other = parse("198.51.100.1").expect("an entry")[0];
        assert!(Guard::of(over(CONNECTIONS + 1)).concerns(&other));
        assert!(!Guard::of(over(0)).concerns(&other));
        assert_eq!(refused(over(0), "198.51.100.1"), None);
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
