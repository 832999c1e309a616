//! The client against the daemon's server with a backend made of constants: documents and failures
//! arrive as they were sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_api::failure::{Exit, Failure};
use firewall_api::report::{Applied, ApplyReport, PolicyReport};
use firewall_api::request::{ApplyRequest, ReloadRequest};
use firewall_api::view::Snapshot;
use firewall_ctl::client::Client;
use firewall_daemon::server::{Backend, serve};
use firewall_engine::sampler::{Facts, Sampler};
use std::path::PathBuf;
use tokio::net::UnixListener;

#[derive(Clone)]
struct Constants;

impl Backend for Constants {
    async fn snapshot(&self, ports: usize) -> Result<Snapshot, Failure> {
        let mut snapshot = Sampler::new().snapshot(&Facts::default(), 7.0, ports);
        snapshot.interval = ports as f64;
        Ok(snapshot)
    }

    async fn policy(&self) -> Result<PolicyReport, Failure> {
        Err(Failure::new(Exit::Failed, "no policy is loaded"))
    }

    async fn apply(&self, request: ApplyRequest) -> Result<ApplyReport, Failure> {
        if request.text.contains("broken") {
            return Err(Failure::new(Exit::Config, "1 error").outcome("nothing applied"));
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

    async fn reload(&self, _: ReloadRequest) -> Result<ApplyReport, Failure> {
        Err(Failure::new(Exit::Unsupported, "the driver refuses"))
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
                serve(listener, Constants).await;
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

fn apply_request(text: String) -> ApplyRequest {
    ApplyRequest {
        discard_runtime: false,
        change_of: None,
        path: "web.yaml".to_owned(),
        text,
        base: PathBuf::from("/"),
        color: false,
    }
}

#[test]
fn the_client_gets_documents_and_failures_as_they_are() {
    let server = Server::start("typed");
    let client = Client::require(&server.socket()).unwrap();
    assert_eq!(client.status().unwrap().time, 7.0);
    assert_eq!(client.snapshot(23).unwrap().interval, 23.0);
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
    let failure = client.reload(&ReloadRequest::default()).unwrap_err();
    assert_eq!(failure.exit_code, Exit::Unsupported);
}
