//! Serves the daemon's interface to every peer that can open the socket; changes need root.
//!
//! Knows HTTP, JSON and peers. What the calls do is behind [`Firewall`]; may not import `state`,
//! nor the engine.
//!
//! Invariants: a slow or silent peer takes a place of its own user's ([`super::places`]) for a bounded
//! time and delays no other; what was begun for a peer keeps that place until it ends; the body of a change is read only after its sender is authorised; every answer is JSON.

mod record;
mod upload;

use self::record::Caller;
pub(crate) use self::record::write;
pub use self::record::{HoldPeer, Record};
use super::places::{Places, blocking, working};
use super::shared::{Answer, Reader, Shared};
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Json, Router};
use firewall_api::audit::{Outcome, Recorded};
use firewall_api::compared::{CompareRequest, Side};
use firewall_api::events::EventsRequest;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::FlowsRequest;
use firewall_api::history::{ConfirmRequest, RollbackRequest};
use firewall_api::plan::PlanRequest;
use firewall_api::request::{
    ApplyRequest, BODY_LIMIT, ErrorReport, ReloadRequest, SET_LIMIT, SnapshotRequest,
};
use firewall_api::rules::RulesChange;
use firewall_api::sets::{SetChange, SetRequest};
use firewall_api::source::{FILE_LIMIT, FILES_MISSING, PolicySource};
use firewall_api::trial::{DoctorRequest, FRAMES_LIMIT, TraceRequest};
use firewall_api::watch::WatchRequest;
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tracing::{debug, warn};

/// How long a peer may take to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection may live, request, work and answer together.
const DEADLINE: Duration = Duration::from_secs(130);

/// Largest request with frames, in bytes: these in hexadecimal digits, and a policy.
const TRACE_LIMIT: usize = 2 * FRAMES_LIMIT + BODY_LIMIT;

/// Largest request of a live filter, in bytes: a few words.
const WATCH_LIMIT: usize = 16 << 10;

/// Largest request of `doctor`, in bytes: names of interfaces.
const DOCTOR_LIMIT: usize = 64 << 10;
/// Ports from which on a snapshot is a large answer, of which one is in memory at a time.
const LARGE: usize = 2_000;
/// All ports that there are, of TCP and UDP.
const ALL_PORTS: usize = 2 << 16;

/// The firewall that is asked. Its calls may take a while: each runs on a thread of its own.
pub type Backend = Arc<dyn Firewall>;

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
        let own = firewall_system::host::user();
        self.uid.is_some_and(|uid| uid == 0 || uid == own)
    }
}

/// Serves until `ending` says so. Who has asked for something by then gets an answer: the last receiver of
/// that goes with the last connection.
pub async fn serve(
    listener: UnixListener,
    backend: Backend,
    record: Record,
    mut ending: watch::Receiver<bool>,
) {
    let app = router(backend);
    let record = Arc::new(record);
    let places = Places::new(firewall_system::host::user());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = Peer::of(&stream);
        let caller = Caller::of(&stream, peer, &record);
        admit(stream, caller, &places, &app, ending.clone());
        // Where many come at once, those who have come are heard between.
        tokio::task::yield_now().await;
    }
}

/// Serves a connection in a task of its own, if there is a place for it.
fn admit(
    stream: UnixStream,
    caller: Caller,
    places: &Places,
    app: &Router,
    mut ending: watch::Receiver<bool>,
) {
    let peer = caller.peer;
    let socket = stream.as_fd().try_clone_to_owned().ok();
    let Some(place) = places.take(peer.uid, socket) else {
        tokio::spawn(refuse(stream));
        return;
    };
    let app = app.clone();
    tokio::spawn(async move {
        let connection = async move {
            // Who says nothing costs little more than a place.
            let heard = tokio::select! {
                heard = tokio::time::timeout(HEAD_DEADLINE, stream.readable()) => heard,
                _ = ending.wait_for(|ending| *ending) => return Ok(()),
            };
            if !heard.is_ok_and(|readable| readable.is_ok()) {
                return Ok(());
            }
            // Layers would make every route anew, for one request.
            let routes = TowerToHyperService::new(app);
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                let known = request.extensions_mut();
                known.insert(caller.clone());
                known.insert(peer);
                routes.call(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                served = connection.as_mut() => return served,
                _ = ending.wait_for(|ending| *ending) => {}
            }
            // Ends at once if nothing was asked for yet.
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        match tokio::time::timeout(DEADLINE, place.serve(connection)).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => debug!("a connection ended early: {error}"),
            Ok(Err(cut)) => debug!("a connection was cut: {cut}"),
            Err(_) => warn!("a connection was cut after {} s", DEADLINE.as_secs()),
        }
    });
}

/// Tells a peer that its user has too many connections.
async fn refuse(stream: UnixStream) {
    let what = "your user has too many connections to the daemon at one time";
    let failure =
        Failure::new(Exit::Unreachable, what).help("wait for those to end, and try again");
    let body = serde_json::to_string(&ErrorReport::new(failure)).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A peer that does not listen misses nothing.
    let _ = tokio::time::timeout(HEAD_DEADLINE, stream.writable()).await;
    let _ = stream.try_write(text.as_bytes());
}

/// A request that changes something.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// What it asks for: one of a few words, however its path is written.
    route: &'static str,
    /// The largest one, in bytes.
    limit: usize,
}

/// All of them, and who handles each.
fn changes() -> [(Change, MethodRouter<Backend>); 14] {
    let change = |route, limit| Change { route, limit };
    [
        (change("/v1/apply", BODY_LIMIT), post(apply)),
        (change("/v1/reload", BODY_LIMIT), post(reload)),
        (change("/v1/confirm", BODY_LIMIT), post(confirm)),
        (change("/v1/cancel", BODY_LIMIT), post(cancel)),
        (change("/v1/rollback", BODY_LIMIT), post(rollback)),
        (change("/v1/compare", BODY_LIMIT), post(compare)),
        (change("/v1/plan", BODY_LIMIT), post(plan)),
        (change("/v1/rules", BODY_LIMIT), post(change_rules)),
        (change("/v1/flows/forget", BODY_LIMIT), post(forget_flows)),
        (change("/v1/sets", SET_LIMIT), post(change_set)),
        (change("/v1/selftest", BODY_LIMIT), post(selftest)),
        (change("/v1/verify", BODY_LIMIT), post(verify)),
        (change("/v1/trace", TRACE_LIMIT), post(trace)),
        (
            change("/v1/files/{sha256}", FILE_LIMIT as usize),
            put(upload::put_file),
        ),
    ]
}

fn router(backend: Backend) -> Router {
    let add = |router: Router<Backend>, (change, handler): (Change, MethodRouter<Backend>)| {
        let limited = handler.layer(DefaultBodyLimit::max(change.limit));
        let guarded = limited.route_layer(middleware::from_fn_with_state(change, guard));
        router.route(change.route, guarded)
    };
    let changes = changes().into_iter().fold(Router::new(), add);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/rules", get(rules))
        .route("/v1/reasons", get(reasons))
        .route("/v1/policy", get(policy))
        .route("/v1/history", get(history))
        .route("/v1/history/{number}", get(generation))
        .route("/v1/flows", get(flows))
        .route("/v1/sets", get(sets))
        .route("/v1/sets/{name}", get(set))
        .route("/v1/events", get(events))
        .route(
            "/v1/watch",
            post(watch).layer(DefaultBodyLimit::max(WATCH_LIMIT)),
        )
        .route(
            "/v1/doctor",
            post(doctor).layer(DefaultBodyLimit::max(DOCTOR_LIMIT)),
        )
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
        .layer(Extension(Shared::new()))
        .with_state(backend)
}

/// Lets a change through to its handler: from a peer that may, and of a size that may be. Both are
/// known before the body arrives.
async fn guard(
    State(change): State<Change>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = caller.with_session(request.headers());
    let peer = caller.peer;
    if !peer.may_change() {
        let who = match peer.uid {
            Some(uid) => format!("user id {uid}"),
            None => "an unknown user".to_owned(),
        };
        let what = format!("{who} has read-only access");
        let failure = Failure::new(Exit::Privilege, what).help("run the command with sudo");
        let route = change.route.split("/{").next().unwrap_or_default();
        caller.note_refused(route, &failure).await;
        return error(StatusCode::FORBIDDEN, failure);
    }
    if request.body().size_hint().lower() > change.limit as u64 {
        let what = format!("the request is larger than {} MiB", change.limit >> 20);
        return error(
            StatusCode::PAYLOAD_TOO_LARGE,
            Failure::new(Exit::Usage, what),
        );
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

async fn status(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.status()).await
}

async fn snapshot(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    Extension(shared): Extension<Shared>,
    query: Result<Query<SnapshotRequest>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) if request.ports > LARGE => {
            large_snapshot(backend, peer, &shared, request).await
        }
        Ok(Query(request)) => ask(backend, move |firewall| firewall.snapshot(&request)).await,
        Err(rejection) => wrong_query(&rejection),
    }
}

/// A snapshot that is shared by all who ask for as many ports at the same time.
async fn large_snapshot(
    backend: Backend,
    peer: Peer,
    shared: &Shared,
    request: SnapshotRequest,
) -> Response {
    let ports = request.ports.min(ALL_PORTS);
    let request = SnapshotRequest { ports, ..request };
    let make = move || json(&backend.snapshot(&request)?);
    let asked = (ports, peer.may_change());
    large(shared.answer(asked, make).await, peer)
}

/// A table of any length: one is made at a time.
async fn table<T: Serialize>(
    backend: Backend,
    peer: Peer,
    shared: &Shared,
    call: impl FnOnce(&dyn Firewall) -> Result<T, Failure> + Send + 'static,
) -> Response {
    let make = move || json(&call(&*backend)?);
    large(shared.table(peer.may_change(), make).await, peer)
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(document).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// A large answer, as its peer reads it.
fn large(made: Result<Option<Arc<Answer>>, Failure>, peer: Peer) -> Response {
    match made {
        Ok(Some(answer)) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, Body::new(Reader::of(answer, peer.may_change()))).into_response()
        }
        Ok(None) => {
            let what = "others are reading a large answer, and are slow";
            let failure = Failure::new(Exit::Unreachable, what).help("try again in a while");
            error(StatusCode::SERVICE_UNAVAILABLE, failure)
        }
        Err(failure) => answer::<()>(Err(failure)),
    }
}

async fn rules(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.rules()).await
}

async fn reasons(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.reasons()).await
}

async fn policy(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.policy()).await
}

async fn history(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.history()).await
}

async fn generation(State(backend): State<Backend>, Path(number): Path<String>) -> Response {
    match number.parse() {
        Ok(number) => ask(backend, move |firewall| firewall.generation(number)).await,
        Err(_) => {
            let what = format!("`{number}` is no number of a generation");
            error(StatusCode::BAD_REQUEST, Failure::new(Exit::Usage, what))
        }
    }
}

async fn flows(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    Extension(shared): Extension<Shared>,
    query: Result<Query<FlowsRequest>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) => {
            let call = move |firewall: &dyn Firewall| firewall.flows(&request);
            table(backend, peer, &shared, call).await
        }
        Err(rejection) => wrong_query(&rejection),
    }
}

async fn sets(State(backend): State<Backend>) -> Response {
    ask(backend, |firewall| firewall.sets()).await
}

async fn set(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    Extension(shared): Extension<Shared>,
    Path(name): Path<String>,
    query: Result<Query<SetRequest>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) => {
            let call = move |firewall: &dyn Firewall| firewall.set(&name, &request);
            table(backend, peer, &shared, call).await
        }
        Err(rejection) => wrong_query(&rejection),
    }
}

async fn events(
    State(backend): State<Backend>,
    query: Result<Query<EventsRequest>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) => ask(backend, move |firewall| firewall.events(&request)).await,
        Err(rejection) => wrong_query(&rejection),
    }
}

/// Arms a filter, which every peer may: it looks on, for a few seconds, and stops no packet. Peers who may
/// change nothing take half of the slots at most, and no user of them all of those.
async fn watch(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<WatchRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => {
            // (Those whom the kernel does not name are one user.)
            let modest = (!peer.may_change()).then(|| peer.uid.unwrap_or(u32::MAX));
            let request = WatchRequest { modest, ..request };
            ask(backend, move |firewall| firewall.watch(&request)).await
        }
        Err(rejection) => rejected(&rejection),
    }
}

async fn doctor(
    State(backend): State<Backend>,
    body: Result<Json<DoctorRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => ask(backend, move |firewall| firewall.doctor(&request)).await,
        Err(rejection) => rejected(&rejection),
    }
}

async fn selftest(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<PolicySource>, JsonRejection>,
) -> Response {
    attempt(backend, peer, "self-test", body, |firewall, policy| {
        firewall.selftest(&policy)
    })
    .await
}

async fn verify(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<PolicySource>, JsonRejection>,
) -> Response {
    attempt(backend, peer, "verify", body, |firewall, policy| {
        firewall.verify(&policy)
    })
    .await
}

async fn trace(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<TraceRequest>, JsonRejection>,
) -> Response {
    attempt(backend, peer, "trace frames", body, |firewall, request| {
        firewall.trace(&request)
    })
    .await
}

async fn apply(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ApplyRequest>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.apply(&request)
    })
    .await
}

async fn reload(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ReloadRequest>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.reload(&request)
    })
    .await
}

async fn confirm(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ConfirmRequest>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.confirm(&request)
    })
    .await
}

async fn cancel(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ConfirmRequest>, JsonRejection>,
) -> Response {
    let body = body.map(|Json(request)| {
        Json(ConfirmRequest {
            cancels: true,
            ..request
        })
    });
    change(backend, caller, body, |firewall, request| {
        firewall.confirm(&request)
    })
    .await
}

async fn rollback(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<RollbackRequest>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.rollback(&request)
    })
    .await
}

async fn compare(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<CompareRequest>, JsonRejection>,
) -> Response {
    attempt(backend, peer, "compare", body, |firewall, request| {
        firewall.compare(&request)
    })
    .await
}

async fn plan(
    State(backend): State<Backend>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<PlanRequest>, JsonRejection>,
) -> Response {
    attempt(backend, peer, "plan", body, |firewall, request| {
        firewall.plan(&request)
    })
    .await
}

async fn change_rules(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<RulesChange>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.change_rules(&request)
    })
    .await
}

async fn forget_flows(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<FlowsRequest>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.forget_flows(&request)
    })
    .await
}

async fn change_set(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SetChange>, JsonRejection>,
) -> Response {
    change(backend, caller, body, |firewall, request| {
        firewall.change_set(&request)
    })
    .await
}

/// Does what a peer asks for that changes something, and puts it on record.
async fn change<R, T>(
    backend: Backend,
    caller: Caller,
    body: Result<Json<R>, JsonRejection>,
    call: impl FnOnce(&dyn Firewall, R) -> Result<T, Failure> + Send + 'static,
) -> Response
where
    R: Recorded + Send + 'static,
    T: Outcome + Serialize + Send + 'static,
{
    match body {
        Ok(Json(request)) => {
            ask(backend, move |firewall| {
                let mut request = request;
                let asked = request.asked();
                let asker = caller.asker();
                request.told(&asker);
                let answer = call(firewall, request);
                caller.note(&asked, asker, &answer);
                answer
            })
            .await
        }
        Err(rejection) => rejected(&rejection),
    }
}

/// Does what a peer asks for that loads a program and changes nothing, and says so in the log.
async fn attempt<R, T>(
    backend: Backend,
    peer: Peer,
    what: &'static str,
    body: Result<Json<R>, JsonRejection>,
    call: impl FnOnce(&dyn Firewall, R) -> Result<T, Failure> + Send + 'static,
) -> Response
where
    R: Subject + Send + 'static,
    T: Serialize + Send + 'static,
{
    match body {
        Ok(Json(request)) => {
            let subject = request.subject();
            tracing::info!(uid = peer.uid, pid = peer.pid, subject, "{what}");
            ask(backend, move |firewall| call(firewall, request)).await
        }
        Err(rejection) => rejected(&rejection),
    }
}

/// Requests that the log names by what they are about.
trait Subject {
    /// What it is about.
    fn subject(&self) -> &str;
}

impl Subject for PolicySource {
    fn subject(&self) -> &str {
        &self.path
    }
}

impl Subject for CompareRequest {
    fn subject(&self) -> &str {
        match &self.new {
            Side::Policy(policy) => &policy.path,
            Side::InForce => "what is in force",
            Side::Generation(_) => "a generation",
        }
    }
}

impl Subject for PlanRequest {
    fn subject(&self) -> &str {
        &self.policy.path
    }
}

impl Subject for TraceRequest {
    fn subject(&self) -> &str {
        &self.policy.path
    }
}

/// Asks the firewall, on a thread that may wait.
async fn ask<T: Serialize + Send + 'static>(
    backend: Backend,
    call: impl FnOnce(&dyn Firewall) -> Result<T, Failure> + Send + 'static,
) -> Response {
    match working(blocking(move || call(&*backend))).await {
        Ok(result) => answer(result),
        Err(broken) => {
            let what = format!("the request broke off: {broken}");
            answer::<()>(Err(Failure::new(Exit::Failed, what)))
        }
    }
}

fn wrong_query(rejection: &QueryRejection) -> Response {
    let failure = Failure::new(Exit::Usage, rejection.body_text());
    error(StatusCode::BAD_REQUEST, failure)
}

fn rejected(rejection: &JsonRejection) -> Response {
    error(
        rejection.status(),
        Failure::new(Exit::Usage, rejection.body_text()),
    )
}

fn answer<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(document) => Json(document).into_response(),
        Err(failure) if &*failure.code == FILES_MISSING => error(StatusCode::CONFLICT, failure),
        Err(failure) => error(http_status(failure.exit_code), failure),
    }
}

fn error(status: StatusCode, failure: Failure) -> Response {
    (status, Json(ErrorReport::new(failure))).into_response()
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
