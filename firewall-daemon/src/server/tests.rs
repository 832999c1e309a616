//! The HTTP side against a backend made of constants: statuses, JSON of errors, who may change
//! what, and peers that do not behave.

use super::*;
use firewall_api::compared::Compared;
use firewall_api::events::EventsReport;
use firewall_api::flows::{FlowsForgotten, FlowsReport};
use firewall_api::history::HistoryReport;
use firewall_api::plan::PlanReport;
use firewall_api::report::{
    Applied, ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport,
};
use firewall_api::rules::{RulesChange, RulesChanged, changed_meanwhile};
use firewall_api::sets::{SetChanged, SetReport, SetsReport};
use firewall_api::source::{FileKept, NamedFile, files_missing};
use firewall_api::trial::{DoctorReport, Selftest, Traced, Verified};
use firewall_api::view::Snapshot;
use firewall_api::watch::{NoSlot, WatchReport, no_slot};
use firewall_engine::sampler::{Facts, Sampler};
use firewall_system::trail::Trail;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as PlainStream;
use std::path::{Path as FolderPath, PathBuf};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Calls that wait: how many there are, and how many there have been at once.
struct Busy(Mutex<(usize, usize)>);

static BUSY: Busy = Busy(Mutex::new((0, 0)));

/// Calls for whole tables.
static TABLES: Busy = Busy(Mutex::new((0, 0)));

impl Busy {
    fn work(&self, time: Duration) {
        self.begin();
        std::thread::sleep(time);
        self.end();
    }

    fn begin(&self) {
        let mut busy = self.0.lock().unwrap();
        busy.0 += 1;
        busy.1 = busy.1.max(busy.0);
    }

    fn end(&self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

struct Constants;

impl Firewall for Constants {
    fn status(&self) -> Result<StatusReport, Failure> {
        Ok(StatusReport::of(
            &self.snapshot(&SnapshotRequest::default())?,
        ))
    }

    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        let mut snapshot = Sampler::new().snapshot(&Facts::default(), 7.0, request.ports);
        snapshot.interval = request.ports as f64;
        Ok(snapshot)
    }

    fn rules(&self) -> Result<RulesReport, Failure> {
        Ok(RulesReport::of(
            &self.snapshot(&SnapshotRequest::default())?,
        ))
    }

    fn reasons(&self) -> Result<ReasonsReport, Failure> {
        Ok(ReasonsReport::of(
            &self.snapshot(&SnapshotRequest::default())?,
        ))
    }

    fn policy(&self) -> Result<PolicyReport, Failure> {
        Err(Failure::new(Exit::Failed, "no policy is loaded"))
    }

    fn apply(&self, request: &ApplyRequest) -> Result<ApplyReport, Failure> {
        if request.text.contains("broken") {
            return Err(Failure::new(Exit::Config, "1 error").outcome("nothing applied"));
        }
        let applied = Applied {
            generation: request.text.len() as u64,
            before: None,
            changed: true,
            interfaces: Vec::new(),
            warnings: Vec::new(),
            seconds: 0.0,
            effect: None,
        };
        Ok(ApplyReport::new(&request.path, applied))
    }

    fn reload(&self, _: &ReloadRequest) -> Result<ApplyReport, Failure> {
        Err(Failure::new(Exit::Unsupported, "the driver refuses"))
    }

    fn confirm(&self, request: &ConfirmRequest) -> Result<ApplyReport, Failure> {
        let asker = request.asker.uid.is_some();
        Err(Failure::new(
            Exit::Failed,
            format!("{} by somebody known: {asker}", request.verb()),
        ))
    }

    fn rollback(&self, request: &RollbackRequest) -> Result<ApplyReport, Failure> {
        Err(Failure::new(
            Exit::Refused,
            format!("{:?}", request.generation),
        ))
    }

    fn history(&self) -> Result<HistoryReport, Failure> {
        Err(Failure::new(Exit::Failed, "nothing is kept"))
    }

    fn generation(&self, number: u64) -> Result<PolicyReport, Failure> {
        Err(Failure::new(
            Exit::Config,
            format!("no generation {number}"),
        ))
    }

    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        Err(Failure::new(Exit::Config, request.subject().to_owned()))
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure> {
        Err(Failure::new(Exit::Config, request.subject().to_owned()))
    }

    fn change_rules(&self, _: &RulesChange) -> Result<RulesChanged, Failure> {
        Err(changed_meanwhile())
    }

    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        if request.limit == Some(777) {
            TABLES.work(Duration::from_millis(20));
        }
        Err(Failure::new(Exit::Failed, "the policy keeps no flows"))
    }

    fn forget_flows(&self, _: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        Err(Failure::new(Exit::Failed, "the policy keeps no flows"))
    }

    fn sets(&self) -> Result<SetsReport, Failure> {
        panic!("a firewall that breaks off")
    }

    fn set(&self, name: &str, _: &SetRequest) -> Result<SetReport, Failure> {
        if name == "large" {
            TABLES.work(Duration::from_millis(20));
        }
        Err(Failure::new(Exit::Failed, format!("no set `{name}`")))
    }

    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        Err(Failure::new(Exit::Refused, change.set.clone()))
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        if let Some(seconds) = request.wait {
            BUSY.work(Duration::from_secs_f64(seconds));
        }
        Err(Failure::new(Exit::Failed, format!("{:?}", request.last)))
    }

    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        Err(no_slot(match request.modest {
            Some(_) => NoSlot::Own(1),
            None => NoSlot::All,
        }))
    }

    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        Err(Failure::new(Exit::Config, request.interfaces.join(" ")))
    }

    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        let files: Vec<&NamedFile> = policy.files.iter().collect();
        Err(files_missing(&files))
    }

    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        Err(Failure::new(Exit::Config, policy.text.clone()))
    }

    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        Err(Failure::new(Exit::Usage, request.frames.join(" ")))
    }

    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure> {
        let mut text = String::new();
        let read = from.read_to_string(&mut text);
        read.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(FileKept {
            schema: text,
            sha256: file.sha256.clone(),
            bytes: file.bytes,
        })
    }
}

/// As on a kernel that holds no peers.
fn nobody(_: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A record in a folder that cannot be made.
fn no_record() -> Arc<Record> {
    let trail = Trail::in_folder(FolderPath::new("/proc/nowhere"));
    Arc::new(Record::new(Arc::new(trail), nobody))
}

/// The routes, as a user meets them who may change nothing.
fn for_a_stranger() -> Router {
    let stranger = Peer {
        uid: Some(firewall_system::host::user() + 1000),
        pid: None,
    };
    let (_client, server) = UnixStream::pair().unwrap();
    let caller = Caller::of(&server, stranger, &no_record());
    let app = router(Arc::new(Constants)).layer(Extension(caller));
    app.layer(Extension(stranger))
}

/// A server in a thread of its own; ends with the process, its folder with the test.
struct Server {
    folder: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fwt-api-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Self { folder };
        let (ready, wait) = std::sync::mpsc::channel();
        let socket = server.socket();
        let record = server.folder.join("record");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let (_open, ending) = watch::channel(false);
                let trail = Trail::in_folder(&record);
                let record = Record::new(Arc::new(trail), nobody);
                serve(listener, Arc::new(Constants), record, ending).await;
            });
        });
        wait.recv().unwrap();
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Sends bytes, returns what comes back until the server closes.
fn raw(socket: &std::path::Path, request: &str) -> String {
    let mut stream = PlainStream::connect(socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_refusal_is_json() {
    let server = Server::start("refusals");
    let socket = server.socket();
    let body = |length: usize, text: &str| {
        format!(
            "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{text}"
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let put = |length: usize, text: &str| {
        body(length, text).replace("POST /v1/apply", "PUT /v1/files/00")
    };
    for (request, status) in [
        (get("/v1/nothing"), "404"),
        (get("/v1/apply"), "405"),
        (get("/v1/snapshot?ports=many"), "400"),
        (get("/v1/snapshot?prots=1"), "400"),
        (get("/v1/flows?port=many"), "400"),
        (get("/v1/flows?from=example.org"), "400"),
        (get("/v1/flows?colour=red"), "400"),
        (get("/v1/sets/banned?holding=192.0.2.0/24"), "400"),
        (body(2, "{\""), "400"),
        (body(12, "{\"path\":\"x\"}"), "422"),
        (body(BODY_LIMIT + 1, ""), "413"),
        (get("/v1/events?last=few"), "400"),
        (get("/v1/events?after=7"), "400"),
        (get("/v1/verify"), "405"),
        (put(FILE_LIMIT as usize + 1, ""), "413"),
        (put(0, "").replace("Content-Length", "X-Length"), "411"),
        (
            body(8, "{\"x\": 1}").replace("/v1/apply", "/v1/doctor"),
            "422",
        ),
        (
            body(DOCTOR_LIMIT + 1, &"x".repeat(DOCTOR_LIMIT + 1))
                .replace("/v1/apply", "/v1/doctor"),
            "413",
        ),
    ] {
        let answer = raw(&socket, &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}\n{answer}"
        );
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let report: ErrorReport = serde_json::from_str(json).expect(json);
        assert_eq!(report.error.exit_code, Exit::Usage);
        assert!(!report.error.message.is_empty());
    }
}

#[test]
fn files_come_whole_or_not_at_all_and_missing_ones_are_named() {
    let server = Server::start("files");
    let socket = server.socket();
    let head = "PUT /v1/files/abc HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let answer = raw(&socket, &format!("{head}192.0.2.1\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(r#""schema":"192.0.2.1\n""#), "{answer}");
    assert!(answer.contains(r#""sha256":"abc","bytes":10"#), "{answer}");
    // A peer that leaves half-way gets no file kept.
    let mut stream = PlainStream::connect(&socket).unwrap();
    stream.write_all(format!("{head}192.").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let policy = r#"{"path":"x","text":"","files":[{"path":"a","sha256":"00","bytes":1}]}"#;
    let request = format!(
        "POST /v1/selftest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{policy}",
        policy.len()
    );
    let answer = raw(&socket, &request);
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains(r#""code":"files-missing""#), "{answer}");
    assert!(
        answer.contains(r#""diagnostics":[{"bytes":1,"path":"a","sha256":"00"}]"#),
        "{answer}"
    );
}

#[test]
fn a_failure_and_a_break_are_answers() {
    let server = Server::start("failures");
    let socket = server.socket();
    for (path, status, message) in [
        (
            "/v1/flows?proto=tcp&from=2001:db8::/32&limit=3",
            "500",
            "the policy keeps no flows",
        ),
        ("/v1/sets/a%20b", "500", "no set `a b`"),
        ("/v1/sets", "500", "the request broke off"),
    ] {
        let answer = raw(&socket, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(message), "{answer}");
    }
}

#[test]
fn only_root_and_the_daemons_user_may_change_anything() {
    let own = firewall_system::host::user();
    let peer = |uid| Peer { uid, pid: None };
    assert!(peer(Some(0)).may_change());
    assert!(peer(Some(own)).may_change());
    assert!(!peer(Some(own + 1000)).may_change());
    assert!(!peer(None).may_change());
}

#[tokio::test]
async fn a_stranger_may_look_and_not_change() {
    use axum::body::Body;
    use axum::http::Request;
    use hyper::service::Service as _;
    let service = TowerToHyperService::new(for_a_stranger());
    let call = |method: &str, path: &str| {
        // A body that would never end: it must not be waited for.
        let body = Body::new(Never);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .unwrap();
        service.call(request)
    };
    assert_eq!(call("GET", "/v1/status").await.unwrap().status(), 200);
    for path in [
        "POST /v1/apply",
        "POST /v1/reload",
        "POST /v1/flows/forget",
        "POST /v1/sets",
        "POST /v1/selftest",
        "POST /v1/verify",
        "POST /v1/trace",
        "PUT /v1/files/00",
    ] {
        let (method, path) = path.split_once(' ').unwrap();
        let answer = call(method, path).await.unwrap();
        assert_eq!(answer.status(), 403);
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16)
            .await
            .unwrap();
        let report: ErrorReport = serde_json::from_slice(&body).unwrap();
        assert_eq!(report.error.exit_code, Exit::Privilege);
    }
}

/// A body that never arrives.
struct Never;

impl hyper::body::Body for Never {
    type Data = hyper::body::Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[test]
fn silent_peers_hold_up_nobody() {
    let server = Server::start("silent");
    let socket = server.socket();
    // One less than all places: connected, half a request sent, then silence.
    let silent: Vec<PlainStream> = (0..crate::places::CONNECTIONS - 1)
        .map(|_| {
            let mut stream = PlainStream::connect(&socket).unwrap();
            stream.write_all(b"GET /v1/sta").unwrap();
            stream
        })
        .collect();
    let begin = std::time::Instant::now();
    let answer = raw(&socket, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    drop(silent);
}

/// Hyper drops a handler when its peer closes; the call that it made goes on.
#[test]
fn peers_that_leave_their_calls_behind_take_no_more_than_their_places() {
    let root = Peer {
        uid: Some(0),
        pid: None,
    };
    let stranger = Peer {
        uid: Some(firewall_system::host::user() + 1000),
        pid: None,
    };
    // As many threads for calls as there are places.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(crate::places::CONNECTIONS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let app = router(Arc::new(Constants));
        let places = Places::new(firewall_system::host::user());
        let (_open, ending) = watch::channel(false);
        let record = no_record();
        let connect = |peer| {
            let (client, server) = UnixStream::pair().unwrap();
            let caller = Caller::of(&server, peer, &record);
            admit(server, caller, &places, &app, ending.clone());
            client
        };
        for _ in 0..200 {
            let mut client = connect(stranger);
            let request = b"GET /v1/events?wait=3 HTTP/1.1\r\nHost: x\r\n\r\n";
            // Whoever is refused may be cut off before.
            let _ = client.write_all(request).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let begin = std::time::Instant::now();
        let mut client = connect(root);
        let request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(begin.elapsed() < Duration::from_secs(1));
    });
    let most = BUSY.0.lock().unwrap().1;
    assert!((1..=16).contains(&most), "{most} calls at once");
}

#[tokio::test]
async fn whole_tables_are_made_one_at_a_time() {
    use axum::body::Body;
    use axum::http::Request;
    use hyper::service::Service as _;
    let service = TowerToHyperService::new(for_a_stranger());
    let mut calls = tokio::task::JoinSet::new();
    for path in ["/v1/flows?limit=777", "/v1/sets/large"].repeat(5) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        calls.spawn(service.call(request));
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.unwrap().status(), 500, "as the firewall says");
    }
    assert_eq!(TABLES.0.lock().unwrap().1, 1, "calls at once");
}
