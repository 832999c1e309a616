//! A remote firewall against the daemon's server with a firewall made of constants behind it:
//! requests, documents and failures arrive as they were sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_api::compared::{CompareRequest, Compared, Side};
use firewall_api::events::{EventCursor, EventsReport, EventsRequest};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{
    FlowProto, FlowSort, FlowsForgotten, FlowsReport, FlowsRequest, FlowsSummary,
};
use firewall_api::history::{ConfirmRequest, HistoryReport, RollbackRequest};
use firewall_api::plan::{PlanReport, PlanRequest};
use firewall_api::report::{
    Applied, ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport,
};
use firewall_api::request::{ApplyRequest, BODY_LIMIT, ReloadRequest, SnapshotRequest};
use firewall_api::rules::{RulesChange, RulesChanged, changed_meanwhile};
use firewall_api::session::Session;
use firewall_api::sets::{
    NewEntry, SetChange, SetChanged, SetEdit, SetReport, SetRequest, SetStep, SetsReport,
};
use firewall_api::source::{FileKept, NamedFile, PolicySource};
use firewall_api::trial::{
    Before, CheckView, DoctorReport, DoctorRequest, FrameTrace, Member, Selftest, TraceRequest,
    Traced, Verified,
};
use firewall_api::view::{SCHEMA, Snapshot, Status, Traffic};
use firewall_api::watch::{WatchReport, WatchRequest};
use firewall_ctl::remote::Remote;
use firewall_daemon::server::serve;
use firewall_policy::diag::Diagnostics;
use firewall_policy::source::{NoFiles, read_policy};
use firewall_system::file_store::FileStore;
use firewall_system::hash;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;

/// What is wrong with a policy.
fn findings() -> Diagnostics {
    let wrong = read_policy("web.yaml", "version: 1\nbroken: true\n", &NoFiles);
    wrong.expect_err("the policy is wrong")
}

/// Answers with what it was asked, or with constants; keeps files as a daemon does.
struct Constants {
    store: FileStore,
    /// Requests that brought a policy.
    policies: AtomicU64,
    /// Hashes and sizes of the files that came.
    files: Mutex<Vec<(String, u64)>>,
}

impl Constants {
    fn new(folder: &Path) -> Self {
        Self {
            store: FileStore::new(&folder.join("files")),
            policies: AtomicU64::new(0),
            files: Mutex::new(Vec::new()),
        }
    }

    fn take(&self, files: &[NamedFile]) -> Result<(), Failure> {
        self.policies.fetch_add(1, Ordering::SeqCst);
        self.store.require(files)
    }
}

impl Firewall for Constants {
    fn status(&self) -> Result<StatusReport, Failure> {
        Ok(StatusReport::of(
            &self.snapshot(&SnapshotRequest::default())?,
        ))
    }

    fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        Ok(Snapshot {
            schema: SCHEMA.to_owned(),
            time: 7.0,
            interval: request.ports as f64,
            status: Status {
                version: String::new(),
                daemon_pid: None,
                daemon_uptime: None,
                generation: None,
                interfaces: Vec::new(),
                last_error: None,
                warnings: Vec::new(),
                drift: Vec::new(),
                pending: None,
            },
            pass: Traffic::default(),
            drop: Traffic::default(),
            ports: Vec::new(),
            other_ports: Default::default(),
            rules: Vec::new(),
            reasons: Vec::new(),
            flows: None,
        })
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
        self.take(&request.files)?;
        if request.text.contains("broken") {
            return Err(Failure::policy(&findings()).outcome("nothing applied"));
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
        Err(Failure::new(Exit::Failed, request.verb()))
    }

    fn rollback(&self, request: &RollbackRequest) -> Result<ApplyReport, Failure> {
        let to = format!("{:?} {:?}", request.generation, request.confirm);
        Err(Failure::new(Exit::Config, to))
    }

    fn history(&self) -> Result<HistoryReport, Failure> {
        Ok(HistoryReport {
            schema: SCHEMA.to_owned(),
            time: 7.0,
            in_force: Some(42),
            pending: None,
            generations: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn generation(&self, number: u64) -> Result<PolicyReport, Failure> {
        Err(Failure::new(Exit::Config, number.to_string()))
    }

    fn compare(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        for side in [&request.old, &request.new] {
            self.take(side.policy().map_or(&[], |policy| &policy.files))?;
        }
        Err(Failure::new(Exit::Config, format!("{:?}", request.old)))
    }

    /// What was asked for, as the only protocol.
    fn plan(&self, request: &PlanRequest) -> Result<PlanReport, Failure> {
        self.take(&request.policy.files)?;
        Err(Failure::new(Exit::Config, format!("{:?}", request.session)))
    }

    fn change_rules(&self, _: &RulesChange) -> Result<RulesChanged, Failure> {
        Err(changed_meanwhile())
    }

    fn flows(&self, request: &FlowsRequest) -> Result<FlowsReport, Failure> {
        let mut summary = FlowsSummary::default();
        summary.proto.insert(format!("{request:?}"), 1);
        Ok(FlowsReport::new(7, 1, summary, None))
    }

    fn forget_flows(&self, request: &FlowsRequest) -> Result<FlowsForgotten, Failure> {
        Ok(FlowsForgotten {
            schema: String::new(),
            deleted: request.limit.unwrap_or_default(),
            sockets: 0,
        })
    }

    fn sets(&self) -> Result<SetsReport, Failure> {
        Ok(SetsReport {
            schema: String::new(),
            sets: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// The address that was asked for, as a number of entries.
    fn set(&self, name: &str, request: &SetRequest) -> Result<SetReport, Failure> {
        Ok(SetReport {
            schema: String::new(),
            set: name.to_owned(),
            count: 0,
            max: match request.holding {
                Some(IpAddr::V4(address)) => address.to_bits().into(),
                Some(IpAddr::V6(address)) => address.to_bits() as u64,
                None => 0,
            },
            entries: Vec::new(),
            refused: 0,
            live: true,
            nearest: None,
        })
    }

    /// What was asked for, as the name of the set.
    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        Ok(SetChanged::nothing(&format!("{change:?}")))
    }

    /// What was asked for, in the place of the schema.
    fn events(&self, request: &EventsRequest) -> Result<EventsReport, Failure> {
        Ok(EventsReport {
            schema: format!("{request:?}"),
            events: Vec::new(),
            cursor: EventCursor { ring: 1, next: 2 },
            missed: 0,
            unlogged: 0,
            oldest: None,
        })
    }

    fn watch(&self, request: &WatchRequest) -> Result<WatchReport, Failure> {
        Err(Failure::new(Exit::Refused, format!("{request:?}")))
    }

    /// One check for each interface.
    fn doctor(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        let check = |name: &String| CheckView {
            what: name.clone(),
            ok: true,
            found: String::new(),
            advice: None,
        };
        Ok(DoctorReport {
            schema: String::new(),
            checks: request.interfaces.iter().map(check).collect(),
            selftest: None,
        })
    }

    fn selftest(&self, policy: &PolicySource) -> Result<Selftest, Failure> {
        self.take(&policy.files)?;
        Ok(Selftest {
            milliseconds: 0.0,
            failed: policy.text.len(),
            rows: Vec::new(),
        })
    }

    fn verify(&self, policy: &PolicySource) -> Result<Verified, Failure> {
        self.take(&policy.files)?;
        Ok(Verified {
            schema: String::new(),
            instructions: policy.text.len() as u32,
        })
    }

    /// What was asked for, as the only verdict.
    fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        self.take(&request.policy.files)?;
        Ok(Traced {
            schema: String::new(),
            frames: vec![FrameTrace {
                verdict: format!("{request:?}"),
                reason: None,
                rule: None,
                flow_full: false,
            }],
        })
    }

    fn put_file(&self, file: &NamedFile, from: &mut dyn Read) -> Result<FileKept, Failure> {
        let put = self.store.put(&file.sha256, file.bytes, from);
        if let Ok(kept) = &put {
            let came = (kept.sha256.clone(), kept.bytes);
            self.files.lock().unwrap().push(came);
        }
        put
    }
}

/// A server in a thread of its own; ends with the process, its folder with the test.
struct Server {
    folder: PathBuf,
    behind: Arc<Constants>,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fwt-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let behind = Arc::new(Constants::new(&folder));
        let server = Self { folder, behind };
        let (ready, wait) = std::sync::mpsc::channel();
        let (socket, behind) = (server.socket(), Arc::clone(&server.behind));
        let record = server.folder.join("record");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let (_open, ending) = tokio::sync::watch::channel(false);
                let trail = firewall_system::trail::Trail::in_folder(&record);
                let nobody =
                    |_: std::os::fd::BorrowedFd<'_>| Err(std::io::ErrorKind::Unsupported.into());
                let record = firewall_daemon::server::Record::new(Arc::new(trail), nobody);
                serve(listener, behind, record, ending).await;
            });
        });
        wait.recv().unwrap();
        server
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    fn firewall(&self) -> Remote {
        let remote = Remote::connect(&self.socket()).unwrap();
        remote.expect("a server listens")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn apply_request(text: String) -> ApplyRequest {
    ApplyRequest::new(PolicySource {
        path: "web.yaml".to_owned(),
        text,
        ..PolicySource::default()
    })
}

#[test]
fn documents_and_failures_arrive_as_they_are() {
    let server = Server::start("typed");
    let client = server.firewall();
    assert_eq!(client.status().unwrap().time, 7.0);
    assert_eq!(
        client
            .snapshot(&SnapshotRequest {
                ports: 23,
                over: None
            })
            .unwrap()
            .interval,
        23.0
    );
    assert!(client.rules().unwrap().rules.is_empty());
    assert!(!client.reasons().unwrap().reasons.is_empty());
    assert_eq!(client.policy().unwrap_err().message, "no policy is loaded");
    // Larger than one read of the socket, and full of what JSON escapes.
    let text = "\"\n".repeat(4 << 20);
    let report = client.apply(&apply_request(text)).unwrap();
    assert_eq!(report.applied.generation, 8 << 20);
    let failure = client
        .apply(&apply_request("broken".to_owned()))
        .unwrap_err();
    assert_eq!(failure.exit_code, Exit::Config);
    assert_eq!(failure.outcome.as_deref(), Some("nothing applied"));
    // The colours are those of the terminal here, of which the request says nothing.
    for color in [false, true] {
        let shown = failure.to_text(color);
        assert!(shown.starts_with(&findings().render(color)), "{shown}");
    }
    assert_ne!(findings().render(true), findings().render(false));
    let failure = client.reload(&ReloadRequest::default()).unwrap_err();
    assert_eq!(failure.exit_code, Exit::Unsupported);
}

#[test]
fn requests_about_the_history_arrive_as_they_are() {
    let server = Server::start("history");
    let client = server.firewall();
    for cancels in [false, true] {
        let request = ConfirmRequest {
            cancels,
            ..ConfirmRequest::default()
        };
        let failure = client.confirm(&request).unwrap_err();
        assert_eq!(failure.message, request.verb());
    }
    let request = RollbackRequest {
        generation: Some(41),
        confirm: Some(60),
        ..RollbackRequest::default()
    };
    let failure = client.rollback(&request).unwrap_err();
    assert_eq!(failure.message, "Some(41) Some(60)");
    assert_eq!(client.history().unwrap().in_force, Some(42));
    assert_eq!(client.generation(41).unwrap_err().message, "41");
    // Files of the policy that is compared are sent once they are missed.
    let folder = server.folder.join("policies");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("list.txt"), "192.0.2.1\n").unwrap();
    let file = NamedFile {
        path: "list.txt".to_owned(),
        sha256: hash::of("192.0.2.1\n"),
        bytes: 10,
    };
    let request = CompareRequest {
        old: Side::Generation(41),
        new: Side::Policy(PolicySource {
            base: folder,
            files: vec![file],
            ..PolicySource::default()
        }),
        all: false,
    };
    let failure = client.compare(&request).unwrap_err();
    assert_eq!(failure.message, "Generation(41)");
    let request = PlanRequest {
        policy: PolicySource::default(),
        session: Session::Unclear,
        all: true,
    };
    assert_eq!(client.plan(&request).unwrap_err().message, "Unclear");
}

#[test]
fn requests_arrive_as_they_are() {
    let server = Server::start("requests");
    let client = server.firewall();
    for request in [
        FlowsRequest::default(),
        FlowsRequest {
            proto: Some(FlowProto::Icmpv6),
            from: Some("2001:db8::/32".parse().unwrap()),
            to: Some("192.0.2.7".parse().unwrap()),
            port: Some(65_535),
            sort: FlowSort::Remote,
            limit: Some(0),
        },
    ] {
        let report = client.flows(&request).unwrap();
        assert_eq!(report.summary.proto[&format!("{request:?}")], 1);
        let forgotten = client.forget_flows(&request).unwrap();
        assert_eq!(forgotten.deleted, request.limit.unwrap_or_default());
    }
    for name in ["banned", "@self", "../status", "a b?c=d#e", "\u{e9}%2F"] {
        let all = client.set(name, &SetRequest::default()).unwrap();
        assert_eq!((all.set.as_str(), all.max), (name, 0));
        for (address, number) in [("0.0.1.2", 258), ("2001:db8::7", 7)] {
            let holding = Some(address.parse().unwrap());
            let port = None;
            let report = client.set(name, &SetRequest { holding, port }).unwrap();
            assert_eq!((report.set.as_str(), report.max), (name, number));
        }
    }
    assert!(client.sets().unwrap().sets.is_empty());
    let entry = |seconds| NewEntry {
        prefix: "192.0.2.0/24".to_owned(),
        seconds,
    };
    let long = NewEntry {
        prefix: "9".repeat(1 << 20),
        seconds: Some(1),
    };
    let large = vec![long; 2 + (BODY_LIMIT >> 20)];
    for (what, session) in [
        (SetEdit::Clear, Session::None),
        (SetEdit::Replace(vec![entry(None)]), Session::Unclear),
        (
            SetEdit::Steps(vec![
                SetStep::Add(entry(Some(60))),
                SetStep::Remove("2001:db8::1".to_owned()),
            ]),
            Session::From("2001:db8::7".parse().unwrap()),
        ),
        // Larger than the limit of other requests.
        (SetEdit::Replace(large), Session::None),
    ] {
        let change = SetChange {
            set: "blocked".to_owned(),
            what,
            session,
            i_know: true,
        };
        assert!(client.change_set(&change).unwrap().set == format!("{change:?}"));
    }
}

#[test]
fn questions_about_events_the_machine_and_frames_arrive_as_they_are() {
    let server = Server::start("questions");
    let client = server.firewall();
    for request in [
        EventsRequest::default(),
        EventsRequest {
            after: Some(EventCursor { ring: 7, next: 9 }),
            last: Some(0),
            wait: Some(0.25),
            interface: Some("a b&c=d".to_owned()),
            rule: Some("\u{e9}%2F?#".to_owned()),
            verdict: Some("drop".to_owned()),
            from: Some("2001:db8::/32".parse().unwrap()),
            to: Some("192.0.2.7".parse().unwrap()),
            port: "65535".parse().ok(),
            since: Some("2026-11-30T12:00:00.000Z".to_owned()),
            reason: Some("rule,frag-tiny".to_owned()),
            protocol: Some("0x88cc".to_owned()),
            source_port: "8000-8100".parse().ok(),
            destination_port: "https".parse().ok(),
            not: Some("from,port".to_owned()),
        },
    ] {
        let report = client.events(&request).unwrap();
        assert_eq!(report.schema, format!("{request:?}"));
        assert_eq!(report.cursor.next, 2);
        let request = WatchRequest {
            id: Some("1f".to_owned()),
            stop: true,
            events: request,
            modest: None,
        };
        // Whether whoever asks may change something is not theirs to say.
        let modest = WatchRequest {
            modest: Some(1_000),
            ..request.clone()
        };
        for asked in [&request, &modest] {
            let failure = client.watch(asked).unwrap_err();
            assert_eq!(
                (failure.exit_code, failure.message),
                (Exit::Refused, format!("{request:?}"))
            );
        }
    }
    let request = DoctorRequest {
        interfaces: vec!["eth*".to_owned(), "a,b c".to_owned()],
    };
    let checks = client.doctor(&request).unwrap().checks;
    let names: Vec<String> = checks.into_iter().map(|check| check.what).collect();
    assert_eq!(names, request.interfaces);
    let request = TraceRequest {
        zone: 3,
        earlier: Before {
            sent: vec!["00ff".to_owned()],
            members: vec![Member {
                set: "blocked".to_owned(),
                prefix: "192.0.2.0/24".to_owned(),
            }],
            banned: vec!["198.51.100.7".to_owned()],
        },
        frames: vec!["ab".repeat(1 << 19); 2 + (BODY_LIMIT >> 20)],
        in_sequence: true,
        ..TraceRequest::default()
    };
    let traced = client.trace(&request).unwrap();
    assert!(traced.frames[0].verdict == format!("{request:?}"));
}

/// A policy that names one file of this folder.
fn naming(folder: &Path, bytes: &[u8]) -> PolicySource {
    std::fs::write(folder.join("list.txt"), bytes).unwrap();
    PolicySource {
        path: "web.yaml".to_owned(),
        text: "x".to_owned(),
        base: folder.to_owned(),
        files: vec![NamedFile {
            path: "list.txt".to_owned(),
            sha256: hash::of(bytes),
            bytes: bytes.len() as u64,
        }],
    }
}

#[test]
fn files_are_sent_once_and_only_when_they_are_missing() {
    let server = Server::start("files");
    let client = server.firewall();
    let came = || server.behind.files.lock().unwrap().clone();
    let asked = || server.behind.policies.load(Ordering::SeqCst);
    // More than one piece, and more than the socket takes at a time.
    let bytes: Vec<u8> = (0..3 << 20).map(|i| (i % 251) as u8).collect();
    let policy = naming(&server.folder, &bytes);
    assert_eq!(client.verify(&policy).unwrap().instructions, 1);
    assert_eq!(came(), [(hash::of(&bytes), 3 << 20)]);
    assert_eq!(asked(), 2);
    assert_eq!(client.selftest(&policy).unwrap().failed, 1);
    client.apply(&ApplyRequest::new(policy.clone())).unwrap();
    assert_eq!((came().len(), asked()), (1, 4), "sent once");
    let other = naming(&server.folder, b"");
    let request = TraceRequest {
        policy: other,
        ..TraceRequest::default()
    };
    client.trace(&request).unwrap();
    assert_eq!(came()[1..], [(hash::of(b""), 0)]);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_passed_off_as_the_other() {
    let server = Server::start("changing");
    let client = server.firewall();
    let policy = naming(&server.folder, b"192.0.2.1\n");
    for (bytes, says) in [
        (&b"192.0.2.10\n"[..], "it has changed"),
        (b"192.0.2.2\n", "is not the file of 10 bytes"),
    ] {
        std::fs::write(server.folder.join("list.txt"), bytes).unwrap();
        let failure = client.verify(&policy).unwrap_err();
        assert_eq!(failure.exit_code, Exit::Config, "{failure}");
        assert!(failure.message.contains(says), "{failure}");
    }
    std::fs::remove_file(server.folder.join("list.txt")).unwrap();
    let failure = client.verify(&policy).unwrap_err();
    assert_eq!(failure.exit_code, Exit::Config, "{failure}");
    assert!(server.behind.files.lock().unwrap().is_empty());
}
