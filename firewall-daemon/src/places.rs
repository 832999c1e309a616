//! Places for connections, by user: whoever may only look keeps nobody else out, and a peer that says
//! nothing keeps nobody of its own user out.
//!
//! Knows no HTTP. Invariants: root and the daemon's own user get a place whatever others do; a connection
//! for which the firewall works is never cut for another one; work keeps its place until it ends, also
//! when its peer has left.

use firewall_system::host::has_unread;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinError;

/// Connections at one time.
pub(super) const CONNECTIONS: usize = 64;
/// How many of them are kept for root and the daemon's own user.
const KEPT: usize = 24;
/// How many one user has who may only look.
const EACH: usize = 16;

/// How long a peer may take to read its answer.
const READING: Duration = Duration::from_secs(10);

/// The peer has not said yet what it wants, or is slow to say it.
const LISTENING: u8 = 0;
/// The firewall works for it.
const WORKING: u8 = 1;
/// It is to read its answer.
const ANSWERING: u8 = 2;
/// Its place has gone to another one.
const GONE: u8 = 3;
/// It has gone for root, who needed the memory of its answer.
const YIELDED: u8 = 4;

tokio::task_local! {
    /// The place of the connection that a task serves.
    static OWN: Arc<Place>;
}

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Connection {
    uid: Option<u32>,
    /// Its socket, to be asked whether its peer has said something that nobody has read yet.
    socket: Option<OwnedFd>,
    phase: AtomicU8,
    cut: Notify,
}

/// Everybody's places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The daemon's user, who is served like root.
    own: u32,
    /// Oldest first, by user.
    taken: Arc<Mutex<Taken>>,
}

/// Connections by user, the oldest first; `None`: nobody knows whose.
type Taken = HashMap<Option<u32>, Vec<Arc<Connection>>>;

/// Why a connection was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// Another one of its user's needed its place, and it was silent or slow to read.
    Replaced,
    /// Its peer has had [`READING`] for its answer.
    Slow,
    /// Root asked for another large answer, and its peer was slow to read its own.
    Yielded,
}

impl fmt::Display for Cut {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced => to.write_str("its user has too many, and it was idle"),
            Self::Yielded => {
                to.write_str("root asked for a large answer, and it was slow to read one")
            }
            Self::Slow => write!(
                to,
                "its peer has not read the answer in {} s",
                READING.as_secs()
            ),
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connection: Arc<Connection>,
    of: Places,
}

impl Places {
    pub(super) fn new(own: u32) -> Self {
        Self {
            own,
            taken: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<u32>, Vec<Arc<Connection>>>> {
        // What a panic has left is whole: lists only grow and shrink.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_served_first(&self, uid: Option<u32>) -> bool {
        uid.is_some_and(|uid| uid == 0 || uid == self.own)
    }

    /// A place for a connection of a user. Where there is none, one of the same user's is cut: one that is
    /// silent, or slow to read, or of which nobody has heard yet; `None` if there is none of these.
    pub(super) fn take(&self, uid: Option<u32>, socket: Option<OwnedFd>) -> Option<Place> {
        let mut taken = self.lock();
        let (mut first, mut others) = (0, 0);
        for (who, all) in taken.iter() {
            match self.is_served_first(*who) {
                true => first += all.len(),
                false => others += all.len(),
            }
        }
        let own = taken.get(&uid).map_or(0, Vec::len);
        let is_full = match self.is_served_first(uid) {
            true => first + others >= CONNECTIONS,
            false => own >= EACH || others >= CONNECTIONS - KEPT,
        };
        if is_full {
            let mine = taken.get_mut(&uid)?;
            let is_silent = |it: &Arc<Connection>| it.is_silent() && it.passes(LISTENING, GONE);
            let silent = mine.iter().position(is_silent);
            let idle = |phase| mine.iter().position(|it| it.passes(phase, GONE));
            // Who has asked and was not heard yet is no idler, where many come at once.
            let goes = silent.or_else(|| idle(ANSWERING));
            let goes = goes.or_else(|| idle(LISTENING))?;
            mine.remove(goes).cut.notify_one();
        }
        let connection = Arc::new(Connection {
            uid,
            socket,
            phase: AtomicU8::new(LISTENING),
            cut: Notify::new(),
        });
        taken.entry(uid).or_default().push(Arc::clone(&connection));
        Some(Place {
            connection,
            of: self.clone(),
        })
    }
}

impl Connection {
    /// Ends it for root, unless the firewall works for it.
    pub(super) fn cut(&self) {
        if self.passes(ANSWERING, YIELDED) || self.passes(LISTENING, YIELDED) {
            self.cut.notify_one();
        }
    }

    /// Whether its peer has said nothing that waits to be read.
    fn is_silent(&self) -> bool {
        let socket = self.socket.as_ref();
        !socket.is_some_and(|socket| has_unread(socket.as_fd()))
    }

    /// Goes from one phase to another; false if it is in none of the first.
    fn passes(&self, from: u8, to: u8) -> bool {
        let phase = &self.phase;
        let passed = phase.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        passed.is_ok()
    }

    /// Ends when the peer has had [`READING`] for its answer.
    async fn is_slow_to_read(&self) {
        const STEP: Duration = Duration::from_secs(1);
        let mut since = Duration::ZERO;
        while since < READING {
            tokio::time::sleep(STEP).await;
            since = match self.phase.load(Ordering::Acquire) {
                ANSWERING => since + STEP,
                _ => Duration::ZERO,
            };
        }
    }
}

impl Place {
    /// Serves a connection, until it ends or is cut.
    pub(super) async fn serve<T>(self, connection: impl Future<Output = T>) -> Result<T, Cut> {
        let own = Arc::new(self);
        let it = Arc::clone(&own.connection);
        tokio::select! {
            done = OWN.scope(own, connection) => Ok(done),
            () = it.cut.notified() => Err(match it.phase.load(Ordering::Acquire) {
                YIELDED => Cut::Yielded,
                _ => Cut::Replaced,
            }),
            () = it.is_slow_to_read() => Err(Cut::Slow),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        let uid = self.connection.uid;
        if let Some(all) = taken.get_mut(&uid) {
            all.retain(|it| !Arc::ptr_eq(it, &self.connection));
            if all.is_empty() {
                taken.remove(&uid);
            }
        }
    }
}

/// The connection that this task serves.
pub(super) fn current() -> Option<Arc<Connection>> {
    OWN.try_with(|own| Arc::clone(&own.connection)).ok()
}

/// Does work for the connection that this task serves, which is not cut meanwhile. Never ends for one
/// whose place has gone: that is about to be cut.
pub(super) async fn working<T>(work: impl Future<Output = T>) -> T {
    // Outside of a connection, as in tests, there is nobody to cut.
    let Ok(own) = OWN.try_with(|own| Arc::clone(&own.connection)) else {
        return work.await;
    };
    if !own.passes(LISTENING, WORKING) && !own.passes(ANSWERING, WORKING) {
        return std::future::pending().await;
    }
    let done = work.await;
    own.passes(WORKING, ANSWERING);
    done
}

/// Makes a call on a thread that may wait. The connection that this task serves keeps its place until the
/// call has ended, also when its peer has left and nobody awaits this.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let place = OWN.try_with(Arc::clone).ok();
    let called = tokio::task::spawn_blocking(move || {
        let done = call();
        drop(place);
        done
    });
    called.await
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_UID: u32 = 999;

    fn fill(places: &Places, uid: u32) -> Vec<Place> {
        (0..1_000)
            .map_while(|_| {
                let place = places.take(Some(uid), None)?;
                place.connection.phase.store(WORKING, Ordering::Release);
                Some(place)
            })
            .collect()
    }

    #[test]
    fn no_user_has_all_places_and_root_always_finds_one() {
        let places = Places::new(OWN_UID);
        let mut held: Vec<Place> = Vec::new();
        for uid in 1_000..1_010 {
            let all = fill(&places, uid);
            assert!(all.len() <= EACH, "{uid}: {}", all.len());
            held.extend(all);
        }
        assert_eq!(held.len(), CONNECTIONS - KEPT);
        assert_eq!(fill(&places, 0).len(), KEPT);
        let of_own = fill(&places, 0);
        assert_eq!(of_own.len(), KEPT, "places come back");
        drop(held);
        assert_eq!(fill(&places, OWN_UID).len(), CONNECTIONS - KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut() {
        let places = Places::new(OWN_UID);
        let place = places.take(Some(1_000), None).expect("a place");
        let answers = async {
            working(std::future::ready(())).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(place.serve(answers).await, Err(Cut::Slow));
        assert!(places.lock().is_empty());
    }

    #[tokio::test]
    async fn work_keeps_its_place_when_its_peer_has_left() {
        let places = Places::new(OWN_UID);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let place = places.take(Some(1_000), None).expect("a place");
        let call = blocking(move || ended.recv());
        let served = tokio::spawn(place.serve(working(call)));
        let phase = || {
            let taken = places.lock();
            let all = taken.get(&Some(1_000))?;
            all.first().map(|it| it.phase.load(Ordering::Acquire))
        };
        while phase() != Some(WORKING) {
            tokio::task::yield_now().await;
        }
        served.abort();
        assert!(served.await.is_err());
        assert_eq!(phase(), Some(WORKING));
        drop(end);
        while phase().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn no_work_begins_for_a_connection_whose_place_has_gone() {
        let places = Places::new(OWN_UID);
        let place = places.take(Some(1_000), None).expect("a place");
        place.connection.phase.store(GONE, Ordering::Release);
        place.connection.cut.notify_one();
        let work = working(async { panic!("it works") });
        assert_eq!(place.serve(work).await, Err::<(), _>(Cut::Replaced));
    }

    /// A crowd that comes at once cut whoever had come before it, unheard.
    #[tokio::test]
    async fn who_has_asked_and_was_not_heard_yet_is_not_cut_for_who_says_nothing() {
        use std::io::Write as _;
        let places = Places::new(OWN_UID);
        let (mut peer, own) = std::os::unix::net::UnixStream::pair().expect("a pair");
        peer.write_all(b"GET").expect("room for three bytes");
        let asks = places.take(Some(0), Some(own.into())).expect("a place");
        let mut crowd = Vec::new();
        for _ in 0..1_000 {
            let (_, silent) = std::os::unix::net::UnixStream::pair().expect("a pair");
            let place = places.take(Some(0), Some(silent.into()));
            crowd.push(place.expect("root finds a place"));
            let gone = |place: &Place| place.connection.phase.load(Ordering::Acquire) == GONE;
            crowd.retain(|place| !gone(place));
        }
        assert_eq!(asks.connection.phase.load(Ordering::Acquire), LISTENING);
        assert_eq!(crowd.len(), CONNECTIONS - 1);
    }

    #[tokio::test]
    async fn the_oldest_silent_connection_of_a_user_gives_way() {
        let places = Places::new(OWN_UID);
        let mut silent = Vec::new();
        for _ in 0..10_000 {
            let place = places.take(Some(0), None).expect("root finds a place");
            silent.push(tokio::spawn(place.serve(std::future::pending::<()>())));
        }
        let count = places.lock().get(&Some(0)).map_or(0, Vec::len);
        assert_eq!(count, CONNECTIONS);
        // The first ones have been cut, the last ones live.
        let first = silent.swap_remove(0).await.expect("no panic");
        assert_eq!(first, Err(Cut::Replaced));
        // Of those for which the firewall works none is.
        let busy = Places::new(OWN_UID);
        let held = fill(&busy, 1_000);
        assert_eq!(held.len(), EACH);
        assert!(busy.take(Some(1_000), None).is_none());
        held[3].connection.phase.store(ANSWERING, Ordering::Release);
        assert!(busy.take(Some(1_000), None).is_some());
    }
}
