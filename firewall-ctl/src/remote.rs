//! A daemon's firewall behind the one door: typed calls over HTTP/1 on a unix socket, each with a
//! deadline.
//!
//! Blocking on the outside, so that verbs and the terminal view need no runtime of their own; one
//! connection for each call. May not import `cli`, `tui`, the engine or
//! the daemon.

mod upload;

use firewall_api::compared::{CompareRequest, Compared, Side};
use firewall_api::events::{EventsReport, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{FlowsForgotten, FlowsReport, FlowsRequest};
use firewall_api::history::{ConfirmRequest, HistoryReport, RollbackRequest};
use firewall_api::plan::{PlanReport, PlanRequest};
use firewall_api::report::{ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport};
use firewall_api::request::{
    ApplyRequest, ErrorReport, ReloadRequest, SESSION_HEADER, SnapshotRequest, no_daemon,
};
use firewall_api::rules::{RulesChange, RulesChanged, RulesEdit};
use firewall_api::sets::{SetChange, SetChanged, SetReport, SetRequest, SetsReport};
use firewall_api::source::{FileKept, NamedFile, PolicySource, missing_in};
use firewall_api::trial::{DoctorReport, DoctorRequest, Selftest, TraceRequest, Traced, Verified};
use firewall_api::view::Snapshot;
use firewall_api::watch::{WatchReport, WatchRequest};
use firewall_system::{process, set_files};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// Deadline of a reading call.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// Deadline of a call that compiles and loads a policy.
const APPLY_DEADLINE: Duration = Duration::from_secs(120);

/// Largest answer, in bytes: a snapshot with 100,000 rules and all ports.
const ANSWER_LIMIT: usize = 256 << 20;

/// A connection's two ends: where the daemon listens, and a runtime for waiting.
#[derive(Debug)]
pub struct Remote {
    socket: PathBuf,
    runtime: Runtime,
}

impl Remote {
    /// The firewall of the daemon on `socket`; `None` when no daemon listens there.
    ///
    /// # Errors
    /// Exit code 4 when the socket is there and may not be opened.
    pub fn connect(socket: &Path) -> Result<Option<Self>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
        match runtime.block_on(open(socket)) {
            Ok(_) => Ok(Some(Self {
                socket: socket.to_owned(),
                runtime,
            })),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(error) => Err(cannot_connect(socket, &error)),
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new(), READ_DEADLINE)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot encode: {error}")))?;
        self.call(Method::POST, path, body.into(), APPLY_DEADLINE)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<T, Failure> {
        let body = Full::new(body).map_err(|never| match never {}).boxed();
        let exchange = exchange(&self.socket, method, path, body);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(deadline, exchange).await });
        let answer = answer.map_err(|_| no_answer(path, deadline))?;
        document(path, answer?)
    }

    /// As [`Remote::post`], for what brings a policy: sends those files of it that the daemon has not.
    fn post_policy<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        (base, files): (&Path, &[NamedFile]),
    ) -> Result<T, Failure> {
        let failure = match self.post(path, body) {
            Err(failure) if !files.is_empty() => failure,
            answer => return answer,
        };
        let Some(missing) = missing_in(&failure) else {
            return Err(failure);
        };
        for file in files.iter().filter(|file| missing.contains(file)) {
            self.send_file(base, file)?;
        }
        self.post(path, body)
    }

    /// Sends a file from this side's folder.
    fn send_file(&self, base: &Path, file: &NamedFile) -> Result<FileKept, Failure> {
        let failed = |what: &dyn std::fmt::Display| {
            Failure::new(Exit::Config, format!("cannot send {}: {what}", file.path))
                .help("it is needed as it was when the policy was read: repeat the command")
        };
        let mut opened = set_files::open(&base.join(&file.path)).map_err(|error| failed(&error))?;
        let length = opened.metadata().map_err(|error| failed(&error))?.len();
        if length != file.bytes {
            return Err(failed(&"it has changed"));
        }
        self.put_file(file, &mut opened)
    }
}

impl Firewall for Remote {
    fn status(&self) -> Result<StatusReport, Failure> {
        self.get("/v1/status")
    }

    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        self.get(&format!("/v1/snapshot?ports={}", request.ports))
    }

    fn rules(&self) -> Result<RulesReport, Failure> {
        self.get("/v1/rules")
    }

    fn reasons(&self) -> Result<ReasonsReport, Failure> {
        self.get("/v1/reasons")
    }

    fn policy(&self) -> Result<PolicyReport, Failure> {
        self.get("/v1/policy")
    }

    fn apply(&self, request: &ApplyRequest) -> Result<ApplyReport, Failure> {
        self.post_policy("/v1/apply", request, (&request.base, &request.files))
    }

    fn reload(&self, request: &ReloadRequest) -> Result<ApplyReport, Failure> {
        self.post("/v1/reload", request)
    }

    fn confirm(&self, request: &ConfirmRequest) -> Result<ApplyReport, Failure> {
        self.post(&format!("/v1/{}", request.verb()), request)
    }

    fn rollback(&self, request: &RollbackRequest) -> Result<ApplyReport, Failure> {
        self.post("/v1/rollback", request)
    }

    fn history(&self) -> Result<HistoryReport, Failure> {
        self.get("/v1/history")
    }

    fn generation(&self, number: u64) -> Result<PolicyReport, Failure> {
        self.get(&format!("/v1/history/{number}"))
    }

    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        let sides = [&request.old, &request.new].map(Side::policy);
        let brought = sides.into_iter().flatten().next();
        let none = PolicySource::default();
        let policy = brought.unwrap_or(&none);
        self.post_policy("/v1/compare", request, (&policy.base, &policy.files))
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure> {
        let policy = &request.policy;
        self.post_policy("/v1/plan", request, (&policy.base, &policy.files))
    }

    fn change_rules(&self, change: &RulesChange) -> Result<RulesChanged, Failure> {
        match &change.what {
            RulesEdit::Saved { policy, .. } => {
                self.post_policy("/v1/rules", change, (&policy.base, &policy.files))
            }
            _ => self.post("/v1/rules", change),
        }
    }

    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        self.get(&format!("/v1/flows?{}", request.query()))
    }

    fn forget_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        self.post("/v1/flows/forget", request)
    }

    fn sets(&self) -> Result<SetsReport, Failure> {
        self.get("/v1/sets")
    }

    fn set(&self, name: &str, request: &SetRequest) -> Result<SetReport, Failure> {
        let address = request.holding.map(|address| format!("holding={address}"));
        let port = request.port.map(|port| format!("port={port}"));
        let query: Vec<String> = address.into_iter().chain(port).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let name = path_segment(name);
        self.get(&format!("/v1/sets/{name}{mark}{}", query.join("&")))
    }

    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        self.post("/v1/sets", change)
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        self.get(&format!("/v1/events?{}", events_query(request)))
    }

    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        self.post("/v1/watch", request)
    }

    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        self.post("/v1/doctor", request)
    }

    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        self.post_policy("/v1/selftest", policy, (&policy.base, &policy.files))
    }

    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        self.post_policy("/v1/verify", policy, (&policy.base, &policy.files))
    }

    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        let policy = &request.policy;
        self.post_policy("/v1/trace", request, (&policy.base, &policy.files))
    }

    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure> {
        let path = format!("/v1/files/{}", path_segment(&file.sha256));
        let (mut feed, pieces) = upload::pieces(file.bytes);
        let exchange = exchange(&self.socket, Method::PUT, &path, pieces.boxed());
        let answer = self.runtime.block_on(async {
            let both = async { tokio::join!(exchange, feed.all_of(from)) };
            tokio::time::timeout(APPLY_DEADLINE, both).await
        });
        let (answer, fed) = answer.map_err(|_| no_answer(&path, APPLY_DEADLINE))?;
        fed.map_err(|error| {
            Failure::new(Exit::Config, format!("cannot read {}: {error}", file.path))
        })?;
        document(&path, answer?)
    }
}

/// A request for events as the query of an address.
fn events_query(request: &EventsRequest) -> String {
    let pair =
        |name: &str, value: Option<String>| Some(format!("{name}={}", path_segment(&value?)));
    let pairs = [
        pair("after", request.after.map(|after| after.to_string())),
        pair("last", request.last.map(|last| last.to_string())),
        pair("wait", request.wait.map(|wait| wait.to_string())),
        pair("since", request.since.clone()),
        pair("interface", request.interface.clone()),
        pair("rule", request.rule.clone()),
        pair("verdict", request.verdict.clone()),
        pair("from", request.from.as_ref().map(ToString::to_string)),
        pair("to", request.to.as_ref().map(ToString::to_string)),
        pair("reason", request.reason.clone()),
        pair("protocol", request.protocol.clone()),
        pair("port", request.port.map(|ports| ports.to_string())),
        pair(
            "source_port",
            request.source_port.map(|ports| ports.to_string()),
        ),
        pair(
            "destination_port",
            request.destination_port.map(|ports| ports.to_string()),
        ),
        pair("not", request.not.clone()),
    ];
    pairs.into_iter().flatten().collect::<Vec<_>>().join("&")
}

fn no_answer(path: &str, deadline: Duration) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!(
            "the daemon did not answer {path} within {} s",
            deadline.as_secs()
        ),
    )
    .help("see its log; the filter stays active without the daemon")
}

/// The document of an answer, or its failure.
fn document<T: DeserializeOwned>(
    path: &str,
    (status, body): (StatusCode, Bytes),
) -> Result<T, Failure> {
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| foreign(path, &error));
    }
    match serde_json::from_slice::<ErrorReport>(&body) {
        Ok(report) => Err(report.into_failure()),
        Err(error) => Err(foreign(path, &error)),
    }
}

/// A name as one segment of a path, or a value of a query (RFC 3986).
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            other => segment.push_str(&format!("%{other:02X}")),
        }
    }
    segment
}

async fn open(socket: &Path) -> io::Result<UnixStream> {
    let connect = UnixStream::connect(socket);
    tokio::time::timeout(Duration::from_secs(2), connect)
        .await
        .map_err(io::Error::from)?
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: BoxBody<Bytes, io::Error>,
) -> Result<(StatusCode, Bytes), Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Unreachable,
            format!("lost the daemon during {path}: {error}"),
        )
        .help("whether it was done, `firewall-ctl status` says")
    };
    let stream = open(socket).await.map_err(|error| {
        if nobody_listens(&error) {
            no_daemon(socket)
        } else {
            cannot_connect(socket, &error)
        }
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| lost(&error))?;
    let mut request = Request::builder()
        .method(&method)
        .uri(path)
        .header(header::HOST, "firewall");
    if method != Method::GET
        && let Some(session) = process::own().ssh
        && let Ok(session) = HeaderValue::from_str(&session)
    {
        request = request.header(SESSION_HEADER, session);
    }
    let request = request
        .header(header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| lost(&error))?;
    let driver = tokio::spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| lost(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|error| lost(&error))?
        .to_bytes();
    driver.abort();
    Ok((status, body))
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn cannot_connect(socket: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot reach the daemon on {}: {error}", socket.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Privilege, what).help("run with sudo, or join group firewall")
        }
        _ => Failure::new(Exit::Unreachable, what),
    }
}

fn foreign(path: &str, error: &serde_json::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot parse the daemon's answer to {path}: {error}"),
    )
    .help("daemon and client are of different versions? Compare: firewall-ctl version, firewall-ctl status")
}

#[cfg(test)]
mod tests {
    use super::path_segment;

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        assert_eq!(path_segment("block-list_1"), "block-list_1");
        assert_eq!(path_segment("@self"), "%40self");
        assert_eq!(
            path_segment("../a b?c#d\u{e9}"),
            "%2E%2E%2Fa%20b%3Fc%23d%C3%A9"
        );
        assert_eq!(path_segment(""), "");
    }
}
