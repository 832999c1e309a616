//! A daemon's firewall behind the one door: typed calls over HTTP/1 on a unix socket, each with a
//! deadline.
//!
//! Blocking on the outside, so that verbs and the terminal view need no runtime of their own; one
//! connection for each call. May not import `cli`, `tui`, the engine or
//! the daemon.

use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{FlowsForgotten, FlowsReport, FlowsRequest};
use firewall_api::report::{ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport};
use firewall_api::request::{ApplyRequest, ErrorReport, ReloadRequest, SnapshotRequest, no_daemon};
use firewall_api::sets::{SetChange, SetChanged, SetReport, SetRequest, SetsReport};
use firewall_api::view::Snapshot;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
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
        let exchange = exchange(&self.socket, method, path, body);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(deadline, exchange).await });
        let Ok(answer) = answer else {
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "the daemon did not answer {path} within {} s",
                    deadline.as_secs()
                ),
            )
            .help("see its log; the filter stays active without the daemon"));
        };
        let (status, body) = answer?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| foreign(path, &error));
        }
        match serde_json::from_slice::<ErrorReport>(&body) {
            Ok(report) => Err(report.into_failure()),
            Err(error) => Err(foreign(path, &error)),
        }
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
        self.post("/v1/apply", request)
    }

    fn reload(&self, request: &ReloadRequest) -> Result<ApplyReport, Failure> {
        self.post("/v1/reload", request)
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
        let query = request.holding.map(|address| format!("?holding={address}"));
        let query = query.unwrap_or_default();
        self.get(&format!("/v1/sets/{}{query}", path_segment(name)))
    }

    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        self.post("/v1/sets", change)
    }
}

/// A name as one segment of a path (RFC 3986).
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
    body: Bytes,
) -> Result<(StatusCode, Bytes), Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Unreachable,
            format!("lost the daemon during {path}: {error}"),
        )
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
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "firewall")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
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
