//! Large answers, shared by all who ask for the same at the same time: readers cost the memory of one,
//! however many there are and however slowly they read.
//!
//! Knows no route. Invariant: of large answers one is in memory at a time, also while it is made for a peer
//! that has left.

use super::places::blocking;
use firewall_api::failure::{Exit, Failure};
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// For how long an answer is news: samples are taken once a second.
const FRESH: Duration = Duration::from_millis(500);
/// How long somebody waits for the readers of the answer before: less than a client waits, 10 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that a reader is given at a time.
const CHUNK: usize = 64 << 10;

/// An answer in memory.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Bytes,
    asked: usize,
    made: Instant,
    _memory: OwnedSemaphorePermit,
}

/// The large answers.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    last: Arc<Mutex<Weak<Answer>>>,
    memory: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            last: Arc::default(),
            memory: Arc::new(Semaphore::new(1)),
        }
    }

    /// The answer to a request that `asked` tells from others: that of somebody else, or what `make`
    /// gives on a thread that may wait. `Ok(None)`: readers of another one are too slow.
    pub(super) async fn answer(
        &self,
        asked: usize,
        make: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static,
    ) -> Result<Option<Arc<Answer>>, Failure> {
        let turn = async {
            let last = self.last.lock().await;
            let fresh = last.upgrade().filter(|answer| answer.is_news(asked));
            let memory = match &fresh {
                Some(_) => None,
                None => Arc::clone(&self.memory).acquire_owned().await.ok(),
            };
            (last, fresh, memory)
        };
        let (mut last, memory) = match tokio::time::timeout(PATIENCE, turn).await {
            Ok((_, Some(answer), _)) => return Ok(Some(answer)),
            Ok((last, None, Some(memory))) => (last, memory),
            Ok((_, None, None)) | Err(_) => return Ok(None),
        };
        // Who has left takes no memory with him: it is held until the call ends.
        let made = blocking(move || {
            Ok::<_, Failure>(Arc::new(Answer {
                bytes: make()?.into(),
                asked,
                made: Instant::now(),
                _memory: memory,
            }))
        });
        let broken = |error| Failure::new(Exit::Failed, format!("the request broke off: {error}"));
        let answer = made.await.map_err(broken)??;
        *last = Arc::downgrade(&answer);
        Ok(Some(answer))
    }
}

impl Answer {
    fn is_news(&self, asked: usize) -> bool {
        self.asked == asked && self.made.elapsed() < FRESH
    }
}

/// One reader of an answer.
#[derive(Debug)]
pub(super) struct Reader {
    answer: Arc<Answer>,
    at: usize,
}

impl Reader {
    pub(super) fn of(answer: Arc<Answer>) -> Self {
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
    use super::*;

    async fn made(shared: &Shared, asked: usize, bytes: usize) -> Option<Arc<Answer>> {
        let answer = shared.answer(asked, move || Ok(vec![b'x'; bytes])).await;
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
            makes.answer(1, make).await
        });
        begun.await.expect("it is made");
        left.abort();
        assert!(left.await.is_err());
        assert_eq!(shared.memory.available_permits(), 0);
        drop(end);
        assert!(made(&shared, 2, 10).await.is_some());
    }

    #[tokio::test]
    async fn a_reader_gets_all_of_it_in_pieces() {
        let shared = Shared::new();
        let bytes = 3 * CHUNK + 5;
        let mut reader = Reader::of(made(&shared, 1, bytes).await.expect("an answer"));
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
