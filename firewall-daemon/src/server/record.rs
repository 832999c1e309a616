//! Who has asked the server for a change, and what came of it: one entry of the trail for each.
//!
//! May not import the engine: how a peer's process is held is handed in.
//!
//! Invariant: a peer that may change nothing adds at most one entry a minute, so that it cannot push out
//! those of others.

use super::Peer;
use axum::http::HeaderMap;
use firewall_api::audit::{Asked, Asker, Entry, Outcome};
use firewall_api::failure::Failure;
use firewall_api::request::SESSION_HEADER;
use firewall_api::rules::CHANGED_MEANWHILE;
use firewall_api::source::FILES_MISSING;
use firewall_system::process::of_peer;
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
/// Of how many such users the times are known.
const USERS: usize = 256;

/// Holds the process at the other end of a socket.
pub type HoldPeer = fn(BorrowedFd<'_>) -> io::Result<OwnedFd>;

/// Where changes are put on record.
pub struct Record {
    trail: Arc<Trail>,
    hold: HoldPeer,
    refused: Mutex<HashMap<Option<u32>, Instant>>,
}

impl Record {
    /// In a trail.
    #[must_use]
    pub fn new(trail: Arc<Trail>, hold: HoldPeer) -> Self {
        Self {
            trail,
            hold,
            refused: Mutex::default(),
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

/// A peer, whose process is held as long as it is served.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    held: Option<Arc<OwnedFd>>,
    /// From where its SSH session comes, as it says itself.
    session: Option<String>,
    record: Arc<Record>,
}

impl Caller {
    pub(super) fn of(stream: &UnixStream, peer: Peer, record: &Arc<Record>) -> Self {
        // Before Linux 6.5 nobody can be held.
        let held = (record.hold)(stream.as_fd()).ok().map(Arc::new);
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
        let held = self.held.as_ref().map(|held| held.as_fd());
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

    /// Puts a request on record that was refused before it was read.
    pub(super) fn note_refused(&self, path: &str, failure: &Failure) {
        let now = Instant::now();
        let mut refused = self
            .record
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, last| now.duration_since(*last) < SELDOM);
        if refused.len() >= USERS || refused.contains_key(&self.peer.uid) {
            return;
        }
        refused.insert(self.peer.uid, now);
        drop(refused);
        let asked = Asked {
            verb: "request",
            subject: path.to_owned(),
        };
        self.record
            .write(&Entry::new(&asked, self.asker(), Err(failure)));
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
