//! `PUT /v1/files/SHA256`: the bytes of a file that a policy names, passed on as they come.
//!
//! Invariant: never holds more than a few pieces of a file, however large it is.

use super::{Backend, Peer, ask, error};
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use firewall_api::failure::{Exit, Failure};
use firewall_api::source::NamedFile;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use std::io::{self, Read};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces on their way; the peer waits beyond that.
const PIECES: usize = 4;

/// Takes the bytes of a file. Its path is nobody's business: it is kept by its hash.
pub(super) async fn put_file(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    Path(sha256): Path<String>,
    request: Request,
) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let Some(bytes) = length else {
        let failure = Failure::new(Exit::Usage, "say how many bytes come: Content-Length");
        return error(StatusCode::LENGTH_REQUIRED, failure);
    };
    tracing::info!(uid = peer.uid, pid = peer.pid, sha256, bytes, "put a file");
    let (pieces, incoming) = channel(PIECES);
    let pump = tokio::spawn(pump(request.into_body(), pieces));
    let file = NamedFile {
        path: String::new(),
        sha256,
        bytes,
    };
    let answer = ask(backend, move |firewall| {
        let mut incoming = Incoming {
            pieces: incoming,
            piece: Bytes::new(),
        };
        firewall.put_file(&file, &mut incoming)
    })
    .await;
    pump.abort();
    answer
}

/// Passes pieces on until the last one, or until nobody wants them.
async fn pump(mut body: Body, pieces: Sender<io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let piece = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(piece)) => Ok(piece),
            // Trailers are no bytes of the file.
            Ok(Err(_)) => continue,
            Err(broken) => Err(io::Error::other(broken)),
        };
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
}

/// The pieces, for a reader that waits.
struct Incoming {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(to.len());
        to[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
