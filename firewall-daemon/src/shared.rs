//! Large answers. Snapshots are shared by all who ask for the same at the same time: readers cost the
//! memory of one, however many there are and however slowly they read. Tables are answered one by one.
//!
//! Knows no route. Whoever waits for memory is idle: the firewall does not work for them yet. Invariant: of large snapshots one is in memory at a time, and of large tables two: one for
//! root and the daemon's user, one for all others. So it is also while one is made for a peer that has left.

use super::places::{Connection, blocking, current, working};
use firewall_api::failure::{Exit, Failure};
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// For how long an answer is news: samples are taken once a second.
const FRESH: Duration = Duration::from_millis(500);
/// How long somebody waits for the readers of the answer before: less than a client waits, 10 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long root waits for readers who may only look, before their connections are cut.
const GRACE: Duration = Duration::from_millis(50);
/// Bytes that a reader is given at a time.
const CHUNK: usize = 64 << 10;

/// Most bytes of a table that holds up no other one while its peer reads.
const SMALL: usize = 1 << 20;

/// An answer in memory.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Bytes,
    asked: usize,
    made: Instant,
    /// Those of its readers who may only look.
    readers: Mutex<Vec<Weak<Connection>>>,
    _memory: Option<OwnedSemaphorePermit>,
}

/// The large answers.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The last snapshot that was made.
    last: watch::Sender<Weak<Answer>>,
    memory: Arc<Semaphore>,
    /// Who of those that may only look waits for memory: one, so that root waits for one at most.
    next: Arc<Semaphore>,
    /// Of tables: for those who may only look, and for those who may change something.
    tables: [Arc<Semaphore>; 2],
}

/// Whose turn it is.
enum Turn {
    Shares(Arc<Answer>),
    Makes(OwnedSemaphorePermit),
}

impl Shared {
    pub(super) fn new() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self {
            last: watch::Sender::new(Weak::new()),
            memory: one(),
            next: one(),
            tables: [one(), one()],
        }
    }

    /// The answer to a request that `asked` tells from others: that of somebody else, or what `make`
    /// gives on a thread that may wait. `Ok(None)`: readers of another one are too slow. Who may change
    /// something waits for no reader who may only look.
    pub(super) async fn answer(
        &self,
        (asked, may_change): (usize, bool),
        make: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Option<Arc<Answer>>, Failure> {
        let memory = match tokio::time::timeout(PATIENCE, self.turn(asked, may_change)).await {
            Ok(Some(Turn::Shares(answer))) => return Ok(Some(working(ready(answer)).await)),
            Ok(Some(Turn::Makes(memory))) => memory,
            Ok(None) | Err(_) => return Ok(None),
        };
        let answer = working(Answer::made(make, asked, memory, 0)).await?;
        self.last.send_replace(Arc::downgrade(&answer));
        Ok(Some(answer))
    }

    async fn turn(&self, asked: usize, may_change: bool) -> Option<Turn> {
        let mut made = self.last.subscribe();
        let mut memory = pin!(async {
            let _next = match may_change {
                true => None,
                false => Some(self.next.acquire().await.ok()?),
            };
            Arc::clone(&self.memory).acquire_owned().await.ok()
        });
        loop {
            let last = made.borrow_and_update().upgrade();
            if let Some(fresh) = last.filter(|answer| answer.is_news(asked)) {
                return Some(Turn::Shares(fresh));
            }
            tokio::select! {
                biased;
                memory = &mut memory => return memory.map(Turn::Makes),
                _ = made.changed() => {}
                () = tokio::time::sleep(GRACE), if may_change => {
                    if let Some(read) = made.borrow().upgrade() {
                        read.cut();
                    }
                }
            }
        }
    }

    /// A table of any length, as `make` gives it. `Ok(None)`: others of the same kind of users are too
    /// slow.
    pub(super) async fn table(
        &self,
        may_change: bool,
        make: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Option<Arc<Answer>>, Failure> {
        let memory = Arc::clone(&self.tables[usize::from(may_change)]).acquire_owned();
        let Ok(Ok(memory)) = tokio::time::timeout(PATIENCE, memory).await else {
            return Ok(None);
        };
        let made = working(Answer::made(make, 0, memory, SMALL));
        made.await.map(Some)
    }
}

impl Answer {
    /// What `make` gives on a thread that may wait. Memory is held until the call ends, whoever has left
    /// meanwhile; for an answer of more than `free` bytes until it is read.
    async fn made(
        make: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static,
        asked: usize,
        memory: OwnedSemaphorePermit,
        free: usize,
    ) -> Result<Arc<Self>, Failure> {
        let made = blocking(move || {
            let bytes = make()?;
            let memory = (bytes.len() > free).then_some(memory);
            Ok(Arc::new(Self {
                bytes: bytes.into(),
                asked,
                made: Instant::now(),
                readers: Mutex::default(),
                _memory: memory,
            }))
        });
        let broken = |error| Failure::new(Exit::Failed, format!("the request broke off: {error}"));
        made.await.map_err(broken)?
    }

    fn is_news(&self, asked: usize) -> bool {
        self.asked == asked && self.made.elapsed() < FRESH
    }

    /// Cuts the connections of its readers who may only look.
    fn cut(&self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in readers.drain(..) {
            if let Some(reader) = reader.upgrade() {
                reader.cut();
            }
        }
    }
}

/// One reader of an answer.
#[derive(Debug)]
pub(super) struct Reader {
    answer: Arc<Answer>,
    at: usize,
}

impl Reader {
    /// By the connection that this task serves; `may_change`: nobody cuts it.
    pub(super) fn of(answer: Arc<Answer>, may_change: bool) -> Self {
        if let Some(own) = current().filter(|_| !may_change) {
            let mut readers = answer
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            readers.push(Arc::downgrade(&own));
        }
        Self { answer, at: 0 }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let end = (self.at + CHUNK).min(self.answer.bytes.len());
        if self.at == end {
            return Poll::Ready(None);
        }
        let chunk = self.answer.bytes.slice(self.at..end);
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let left = self.answer.bytes.len() - self.at;
        hyper::body::SizeHint::with_exact(left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::{Cut, Places};
    use super::*;

    async fn made(shared: &Shared, asked: usize, bytes: usize) -> Option<Arc<Answer>> {
        let answer = shared.answer((asked, false), move || Ok(vec![b'x'; bytes]));
        let answer = answer.await;
        answer.expect("made")
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_for_the_same_share_one_answer() {
        let shared = Shared::new();
        let one = made(&shared, 7, 10).await.expect("an answer");
        let same = made(&shared, 7, 99).await.expect("an answer");
        assert!(Arc::ptr_eq(&one, &same));
        // Another one waits until the first has no reader, and not for ever.
        assert!(made(&shared, 8, 10).await.is_none());
        drop((one, same));
        assert!(made(&shared, 8, 10).await.is_some());
    }

    /// A reader who may only look and does not read held up root for as long as anybody waits.
    #[tokio::test(start_paused = true)]
    async fn root_waits_for_no_slow_reader_and_none_who_waits() {
        let (shared, places) = (Shared::new(), Places::new(0));
        let reads = |uid, asked| {
            let (shared, place) = (
                shared.clone(),
                places.take(Some(uid), None).expect("a place"),
            );
            tokio::spawn(place.serve(async move {
                let answer = made(&shared, asked, 10).await;
                let _reader = answer.map(|answer| Reader::of(answer, false));
                std::future::pending::<()>().await;
            }))
        };
        let slow = reads(1_000, 7);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _others = [8, 9, 10].map(|asked| reads(1_001, asked));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begin = Instant::now();
        let answer = shared.answer((11, true), || Ok(vec![b'x'; 10]));
        assert!(answer.await.expect("made").is_some());
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(slow.await.expect("no panic"), Err(Cut::Yielded));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_awaits_is_in_memory_until_it_is_made() {
        let shared = Shared::new();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let makes = shared.clone();
        let left = tokio::spawn(async move {
            let make = move || {
                let _ = begin.send(());
                let _ = ended.recv();
                Ok(Vec::new())
            };
            makes.answer((1, false), make).await
        });
        begun.await.expect("it is made");
        left.abort();
        assert!(left.await.is_err());
        assert_eq!(shared.memory.available_permits(), 0);
        drop(end);
        assert!(made(&shared, 2, 10).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_table_waits_for_one_that_is_read_and_root_for_its_own_only() {
        let shared = Shared::new();
        let table = async |may_change, bytes| {
            let answer = shared.table(may_change, move || Ok(vec![b'x'; bytes]));
            answer.await.expect("made")
        };
        let small = table(false, SMALL).await.expect("an answer");
        let large = table(false, SMALL + 1).await.expect("an answer");
        assert!(table(false, 1).await.is_none());
        assert!(table(true, SMALL + 1).await.is_some());
        drop((small, large));
        assert!(table(false, 1).await.is_some());
    }

    #[tokio::test]
    async fn a_reader_gets_all_of_it_in_pieces() {
        let shared = Shared::new();
        let bytes = 3 * CHUNK + 5;
        let mut reader = Reader::of(made(&shared, 1, bytes).await.expect("an answer"), true);
        assert_eq!(reader.size_hint().exact(), Some(bytes as u64));
        let mut got = Vec::new();
        let pieces =
            std::future::poll_fn(|context| match Pin::new(&mut reader).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    got.push(data.len());
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            });
        pieces.await;
        assert_eq!(got, [CHUNK, CHUNK, CHUNK, 5]);
    }
}
