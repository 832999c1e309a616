//! The body of a request that is read while it is sent: a file, in pieces.
//!
//! Invariant: never more than a few pieces are in memory.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Pieces on their way.
const PIECES: usize = 4;

/// What is sent.
pub(super) struct Pieces {
    left: u64,
    pieces: Receiver<Bytes>,
}

/// Where it comes from.
pub(super) struct Feed {
    left: u64,
    pieces: Option<Sender<Bytes>>,
}

/// A body of so many bytes, and what feeds it.
pub(super) fn pieces(bytes: u64) -> (Feed, Pieces) {
    let (sender, pieces) = channel(PIECES);
    let feed = Feed {
        left: bytes,
        pieces: Some(sender),
    };
    let body = Pieces {
        left: bytes,
        pieces,
    };
    (feed, body)
}

impl Feed {
    /// Reads what is to be sent, until it is all there or nobody wants more of it.
    pub(super) async fn all_of(&mut self, from: &mut dyn Read) -> io::Result<()> {
        // The end of the pieces is told by dropping their sender.
        let Some(pieces) = self.pieces.take() else {
            return Ok(());
        };
        let mut piece = vec![0; PIECE];
        while self.left > 0 {
            let most = PIECE.min(usize::try_from(self.left).unwrap_or(PIECE));
            let count = from.read(&mut piece[..most])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= count as u64;
            if pieces
                .send(Bytes::copy_from_slice(&piece[..count]))
                .await
                .is_err()
            {
                break;
            }
        }
        Ok(())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.pieces.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
