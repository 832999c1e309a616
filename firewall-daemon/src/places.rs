//! Places for connections, by user: whoever may only look keeps nobody else out, and a peer that says
//! nothing keeps nobody of its own user out.
//!
//! Knows no HTTP. Invariant: root and the daemon's own user get a place whatever others do; a connection
//! for which the firewall works is never cut for another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

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

tokio::task_local! {
    /// The connection that a task serves.
    static OWN: Arc<Connection>;
}

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Connection {
    uid: Option<u32>,
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

    /// A place for a connection of a user. Where there is none, one of the same user's that is silent
    /// or slow to read is cut; `None` if there is none of these either.
    pub(super) fn take(&self, uid: Option<u32>) -> Option<Place> {
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
            let idle = |phase| {
                let of_phase = |it: &Arc<Connection>| it.phase.load(Ordering::Acquire) == phase;
                mine.iter().position(of_phase)
            };
            let goes = idle(LISTENING).or_else(|| idle(ANSWERING))?;
            mine.remove(goes).cut.notify_one();
        }
        let connection = Arc::new(Connection {
            uid,
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
    /// Serves a connection, until it ends or its place is needed. `None`: it was cut.
    pub(super) async fn serve<T>(self, connection: impl Future<Output = T>) -> Option<T> {
        let own = Arc::clone(&self.connection);
        tokio::select! {
            done = OWN.scope(own, connection) => Some(done),
            () = self.connection.cut.notified() => None,
            () = self.connection.is_slow_to_read() => None,
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

/// Does work for the connection that this task serves, which is not cut meanwhile.
pub(super) async fn working<T>(work: impl Future<Output = T>) -> T {
    let note = |phase| {
        // Outside of a connection, as in tests, there is nobody to cut.
        let _ = OWN.try_with(|own| own.phase.store(phase, Ordering::Release));
    };
    note(WORKING);
    let done = work.await;
    note(ANSWERING);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_UID: u32 = 999;

    fn fill(places: &Places, uid: u32) -> Vec<Place> {
        (0..1_000)
            .map_while(|_| {
                let place = places.take(Some(uid))?;
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
        let place = places.take(Some(1_000)).expect("a place");
        let answers = async {
            working(std::future::ready(())).await;
            std::future::pending::<()>().await;
        };
        assert!(place.serve(answers).await.is_none());
        assert!(places.lock().is_empty());
    }

    #[tokio::test]
    async fn the_oldest_silent_connection_of_a_user_gives_way() {
        let places = Places::new(OWN_UID);
        let mut silent = Vec::new();
        for _ in 0..10_000 {
            let place = places.take(Some(0)).expect("root finds a place");
            silent.push(tokio::spawn(place.serve(std::future::pending::<()>())));
        }
        let count = places.lock().get(&Some(0)).map_or(0, Vec::len);
        assert_eq!(count, CONNECTIONS);
        // The first ones have been cut, the last ones live.
        let first = silent.swap_remove(0).await.expect("no panic");
        assert!(first.is_none(), "cut");
        // Of those for which the firewall works none is.
        let busy = Places::new(OWN_UID);
        let held = fill(&busy, 1_000);
        assert_eq!(held.len(), EACH);
        assert!(busy.take(Some(1_000)).is_none());
        held[3].connection.phase.store(ANSWERING, Ordering::Release);
        assert!(busy.take(Some(1_000)).is_some());
    }
}
