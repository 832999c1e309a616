//! A remote firewall against the daemon's server with a firewall made of constants behind it:
//! requests, documents and failures arrive as they were sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Firewall;
use firewall_api::flows::{
    FlowProto, FlowSort, FlowsForgotten, FlowsReport, FlowsRequest, FlowsSummary,
};
use firewall_api::report::{
    Applied, ApplyReport, PolicyReport, ReasonsReport, RulesReport, StatusReport,
};
use firewall_api::request::{ApplyRequest, BODY_LIMIT, ReloadRequest, SnapshotRequest};
use firewall_api::sets::{
    NewEntry, Session, SetChange, SetChanged, SetEdit, SetReport, SetRequest, SetStep, SetsReport,
};
use firewall_api::view::Snapshot;
use firewall_ctl::remote::Remote;
use firewall_daemon::server::serve;
use firewall_engine::sampler::{Facts, Sampler};
use firewall_policy::diag::Diagnostics;
use firewall_policy::source::{NoFiles, read_policy};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;

/// What is wrong with a policy.
fn findings() -> Diagnostics {
    let wrong = read_policy("web.yaml", "version: 1\nbroken: true\n", &NoFiles);
    wrong.expect_err("the policy is wrong")
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
            return Err(Failure::policy(&findings()).outcome("nothing applied"));
        }
        let applied = Applied {
            generation: request.text.len() as u64,
            changed: true,
            interfaces: Vec::new(),
            warnings: Vec::new(),
            seconds: 0.0,
        };
        Ok(ApplyReport::new(&request.path, applied))
    }

    fn reload(&self, _: &ReloadRequest) -> Result<ApplyReport, Failure> {
        Err(Failure::new(Exit::Unsupported, "the driver refuses"))
    }

    /// What was asked for, as the only protocol.
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
        })
    }

    /// What was asked for, as the name of the set.
    fn change_set(&self, change: &SetChange) -> Result<SetChanged, Failure> {
        Ok(SetChanged::nothing(&format!("{change:?}")))
    }
}

/// A server in a thread of its own; ends with the process, its folder with the test.
struct Server {
    folder: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fwt-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let server = Self { folder };
        let (ready, wait) = std::sync::mpsc::channel();
        let socket = server.socket();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                serve(listener, Arc::new(Constants)).await;
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
    ApplyRequest {
        discard_runtime: false,
        change_of: None,
        path: "web.yaml".to_owned(),
        text,
        base: PathBuf::from("/"),
    }
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
            let report = client.set(name, &SetRequest { holding }).unwrap();
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
