//! Serves the daemon's interface to anyone who can open the socket; changes only for those who may.
//!
//! Knows HTTP, JSON and peers. What the calls do is behind [`Backend`]; may not import `state`,
//! nor the engine.
//!
//! Invariants: a slow or silent peer costs one of [`CONNECTIONS`] places for a bounded time and
//! holds up nobody; the body of a change is not read before its sender's right to it is known; every
//! answer is JSON.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use firewall_api::failure::{Exit, Failure};
use firewall_api::report::{ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport};
use firewall_api::request::{ApplyRequest, BODY_LIMIT, DEFAULT_PORTS, ErrorReport, ReloadRequest};
use firewall_api::view::Snapshot;
use hyper::body::Body as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Connections served at one time; more wait in the socket's queue.
pub const CONNECTIONS: usize = 64;

/// How long a peer may take to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection may live, request, work and answer together.
const DEADLINE: Duration = Duration::from_secs(130);

/// What the interface's calls do.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Everything, with the `ports` busiest ports.
    fn snapshot(&self, ports: usize) -> impl Future<Output = Result<Snapshot, Failure>> + Send;
    /// The policy in force.
    fn policy(&self) -> impl Future<Output = Result<PolicyReport, Failure>> + Send;
    /// Puts a policy in force.
    fn apply(
        &self,
        request: ApplyRequest,
    ) -> impl Future<Output = Result<ApplyReport, Failure>> + Send;
    /// Reads the daemon's policy file again and puts it in force.
    fn reload(
        &self,
        request: ReloadRequest,
    ) -> impl Future<Output = Result<ApplyReport, Failure>> + Send;
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// User id when it connected; `None` if the kernel did not say.
    pub uid: Option<u32>,
    /// Process id when it connected.
    pub pid: Option<i32>,
}

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self {
            uid: credentials.as_ref().map(tokio::net::unix::UCred::uid),
            pid: credentials.as_ref().and_then(tokio::net::unix::UCred::pid),
        }
    }

    /// Whether the peer may change anything: root, or who runs the daemon.
    fn may_change(self) -> bool {
        let own = firewall_engine::host::user();
        self.uid.is_some_and(|uid| uid == 0 || uid == own)
    }
}

/// Serves until the future is dropped.
pub async fn serve(listener: UnixListener, backend: impl Backend) {
    let app = router(backend);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let app = app.clone().layer(Extension(Peer::of(&stream)));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
            match tokio::time::timeout(DEADLINE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("a connection ended early: {error}"),
                Err(_) => warn!("a connection was cut after {} s", DEADLINE.as_secs()),
            }
            drop(place);
        });
    }
}

fn router<B: Backend>(backend: B) -> Router {
    let changes = Router::new()
        .route("/v1/apply", post(apply::<B>))
        .route("/v1/reload", post(reload::<B>))
        .route_layer(middleware::from_fn(guard));
    Router::new()
        .route("/v1/status", get(status::<B>))
        .route("/v1/snapshot", get(snapshot::<B>))
        .route("/v1/rules", get(rules::<B>))
        .route("/v1/reasons", get(reasons::<B>))
        .route("/v1/policy", get(policy::<B>))
        .merge(changes)
        .fallback(async |request: Request| {
            let what = format!("no such resource: {}", request.uri().path());
            error(StatusCode::NOT_FOUND, Failure::new(Exit::Usage, what))
        })
        .method_not_allowed_fallback(async |request: Request| {
            let what = format!(
                "{} does not allow {}",
                request.uri().path(),
                request.method()
            );
            error(
                StatusCode::METHOD_NOT_ALLOWED,
                Failure::new(Exit::Usage, what),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(backend)
}

/// Lets a change through to its handler: from a peer that may, and of a size that may be. Both are
/// known before the body arrives.
async fn guard(Extension(peer): Extension<Peer>, request: Request, next: Next) -> Response {
    if !peer.may_change() {
        let who = match peer.uid {
            Some(uid) => format!("user id {uid}"),
            None => "an unknown user".to_owned(),
        };
        let what = format!("{who} has read-only access");
        let failure = Failure::new(Exit::Privilege, what).help("run the command with sudo");
        return error(StatusCode::FORBIDDEN, failure);
    }
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        let what = format!("the request is larger than {} MiB", BODY_LIMIT >> 20);
        return error(
            StatusCode::PAYLOAD_TOO_LARGE,
            Failure::new(Exit::Usage, what),
        );
    }
    next.run(request).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotQuery {
    ports: Option<usize>,
}

async fn status<B: Backend>(State(backend): State<B>) -> Response {
    answer(
        backend
            .snapshot(0)
            .await
            .map(|snapshot| StatusReport::of(&snapshot)),
    )
}

async fn snapshot<B: Backend>(
    State(backend): State<B>,
    query: Result<Query<SnapshotQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => answer(backend.snapshot(query.ports.unwrap_or(DEFAULT_PORTS)).await),
        Err(rejection) => {
            let failure = Failure::new(Exit::Usage, rejection.body_text());
            error(StatusCode::BAD_REQUEST, failure)
        }
    }
}

async fn rules<B: Backend>(State(backend): State<B>) -> Response {
    answer(
        backend
            .snapshot(0)
            .await
            .map(|snapshot| RulesReport::of(&snapshot)),
    )
}

async fn reasons<B: Backend>(State(backend): State<B>) -> Response {
    answer(
        backend
            .snapshot(0)
            .await
            .map(|snapshot| ReasonsReport::of(&snapshot)),
    )
}

async fn policy<B: Backend>(State(backend): State<B>) -> Response {
    answer(backend.policy().await)
}

async fn apply<B: Backend>(
    State(backend): State<B>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<ApplyRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => {
            tracing::info!(
                uid = peer.uid,
                pid = peer.pid,
                policy = request.path,
                "apply"
            );
            answer(backend.apply(request).await)
        }
        Err(rejection) => rejected(&rejection),
    }
}

async fn reload<B: Backend>(
    State(backend): State<B>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<ReloadRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => {
            tracing::info!(uid = peer.uid, pid = peer.pid, "reload");
            answer(backend.reload(request).await)
        }
        Err(rejection) => rejected(&rejection),
    }
}

fn rejected(rejection: &JsonRejection) -> Response {
    error(
        rejection.status(),
        Failure::new(Exit::Usage, rejection.body_text()),
    )
}

fn answer<T: serde::Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(document) => Json(document).into_response(),
        Err(failure) => error(http_status(failure.exit_code), failure),
    }
}

fn error(status: StatusCode, failure: Failure) -> Response {
    (status, Json(ErrorReport { error: failure })).into_response()
}

fn http_status(exit: Exit) -> StatusCode {
    match exit {
        Exit::Usage => StatusCode::BAD_REQUEST,
        Exit::Config => StatusCode::UNPROCESSABLE_ENTITY,
        Exit::Privilege => StatusCode::FORBIDDEN,
        Exit::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
        Exit::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Exit::Refused | Exit::Changes => StatusCode::CONFLICT,
        Exit::Ok | Exit::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests;
