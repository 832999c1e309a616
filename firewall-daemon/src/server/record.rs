//! Who has asked the server for a change, and what came of it: one entry of the trail for each.
//!
//! May not import the engine: how a peer's process is held is handed in.
//!
//! Invariant: those who may change nothing add at most one entry a minute each, and all of them together, but
//! for the first few: one person may have many user ids. So they cannot push out entries of others.

use super::Peer;
use axum::http::HeaderMap;
use firewall_api::audit::{Asked, Asker, Entry, Outcome};
use firewall_api::failure::Failure;
use firewall_api::request::SESSION_HEADER;
use firewall_api::rules::CHANGED_MEANWHILE;
use firewall_api::source::FILES_MISSING;
use firewall_system::process::{Held, of_peer};
use firewall_system::trail::Trail;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tracing::info;

/// Bytes of an address and a port, with room for the name of an interface.
const LONGEST_SESSION: usize = 80;
/// Between two entries of a user who may change nothing.
const SELDOM: Duration = Duration::from_secs(60);
/// Entries of all such users that may come at once.
const AT_ONCE: u32 = 8;

/// Holds the process at the other end of a socket; [`io::ErrorKind::Unsupported`] where the kernel cannot.
pub type HoldPeer = fn(BorrowedFd<'_>) -> io::Result<OwnedFd>;

/// Where changes are put on record.
pub struct Record {
    trail: Arc<Trail>,
    hold: HoldPeer,
    refused: Mutex<Refused>,
}

impl Record {
    /// In a trail.
    #[must_use]
    pub fn new(trail: Arc<Trail>, hold: HoldPeer) -> Self {
        Self {
            trail,
            hold,
            refused: Mutex::new(Refused::new(Instant::now())),
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("trail", &self.trail)
            .finish_non_exhaustive()
    }
}

/// Entries of those who may change nothing.
struct Refused {
    /// When each was noted last.
    last: HashMap<Option<u32>, Instant>,
    /// How many more may be noted now.
    left: u32,
    /// Since when no more have been added to those.
    filled: Instant,
}

impl Refused {
    fn new(now: Instant) -> Self {
        Self {
            last: HashMap::new(),
            left: AT_ONCE,
            filled: now,
        }
    }

    /// Whether a request of a user is noted.
    fn takes(&mut self, user: Option<u32>, now: Instant) -> bool {
        self.last
            .retain(|_, last| now.duration_since(*last) < SELDOM);
        let times = now.duration_since(self.filled).as_secs() / SELDOM.as_secs();
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(times).min(AT_ONCE);
        self.filled += SELDOM * times;
        if self.left == 0 || self.last.contains_key(&user) {
            return false;
        }
        self.left -= 1;
        self.last.insert(user, now);
        true
    }
}

/// A peer, whose process is held as long as it is served.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    held: Arc<io::Result<OwnedFd>>,
    /// From where its SSH session comes, as it says itself.
    session: Option<String>,
    record: Arc<Record>,
}

impl Caller {
    pub(super) fn of(stream: &UnixStream, peer: Peer, record: &Arc<Record>) -> Self {
        let held = Arc::new((record.hold)(stream.as_fd()));
        Self {
            peer,
            held,
            session: None,
            record: Arc::clone(record),
        }
    }

    /// As the head of a request says.
    pub(super) fn with_session(self, head: &HeaderMap) -> Self {
        let session = head.get(SESSION_HEADER).and_then(|it| it.to_str().ok());
        let session = session.filter(|it| it.len() <= LONGEST_SESSION);
        Self {
            session: session.map(str::to_owned),
            ..self
        }
    }

    /// Who asks, as far as the kernel says; while the peer still waits for its answer.
    pub(super) fn asker(&self) -> Asker {
        let pid = self.peer.pid.map(i32::cast_unsigned);
        let held = match &*self.held {
            Ok(held) => Held::By(held.as_fd()),
            // Before Linux 6.5.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Held::Never,
            Err(_) => Held::Ended,
        };
        let asker = of_peer(pid, self.peer.uid, held);
        Asker {
            ssh: asker.ssh.or_else(|| self.session.clone()),
            ..asker
        }
    }

    /// Puts an answer on record. What is asked again at once is none.
    pub(super) fn note<T: Outcome>(
        &self,
        asked: &Asked,
        asker: Asker,
        answer: &Result<T, Failure>,
    ) {
        let is_again = |it: &Failure| [FILES_MISSING, CHANGED_MEANWHILE].contains(&&*it.code);
        if answer.as_ref().is_err_and(is_again) {
            return;
        }
        let came = answer.as_ref().map(Outcome::came);
        self.record
            .write(&Entry::new(asked, asker, came.as_ref().map_err(|it| *it)));
    }

    /// Puts a request on record that was refused before it was read. The disk is waited for elsewhere.
    pub(super) async fn note_refused(&self, route: &'static str, failure: &Failure) {
        let is_noted = {
            let refused = self.record.refused.lock();
            let mut refused = refused.unwrap_or_else(PoisonError::into_inner);
            refused.takes(self.peer.uid, Instant::now())
        };
        if !is_noted {
            return;
        }
        let asked = Asked {
            verb: "request",
            subject: route.to_owned(),
            why: None,
        };
        let (caller, failure) = (self.clone(), failure.clone());
        let note = move || {
            let entry = Entry::new(&asked, caller.asker(), Err(&failure));
            caller.record.write(&entry);
        };
        let _ = tokio::task::spawn_blocking(note).await;
    }
}

impl Record {
    fn write(&self, entry: &Entry) {
        write(&self.trail, entry);
    }
}

/// Writes an entry to a trail, and to the log where there is no journal.
pub(crate) fn write(trail: &Trail, entry: &Entry) {
    if !trail.note(entry) {
        info!("{}", entry.line());
    }
    if let Some(trouble) = trail.trouble() {
        tracing::warn!("{trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_change_nothing_adds_few_entries_under_however_many_ids() {
        let start = Instant::now();
        let mut refused = Refused::new(start);
        let mut noted = |at: u64, users: std::ops::Range<u32>| {
            let now = start + Duration::from_secs(at);
            users.filter(|&user| refused.takes(Some(user), now)).count()
        };
        assert_eq!(noted(0, 0..1), 1);
        assert_eq!(noted(1, 0..1), 0, "the same one");
        assert_eq!(noted(2, 1..70_000), AT_ONCE as usize - 1);
        assert_eq!(noted(59, 70_000..140_000), 0);
        let of_an_hour: usize = (1..=60).map(|minute| noted(60 * minute, 0..1000)).sum();
        assert_eq!(of_an_hour, 60);
        assert_eq!(noted(100_000, 0..1000), AT_ONCE as usize);
    }
}
