//! One door: a verb says the same whether a daemon answers or this host's own firewall does; requests
//! carry everything and open nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_policy::packet_text;
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use rustix::fs::inotify;
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A policy of which every verb has something to say.
const POLICY: &str = "\
version: 1
interfaces: [{match: wan0, zone: wan}]
default: {in: drop, log: 5/s}
sets:
  office: {type: cidr, file: office.txt}
  guests: {type: cidr, live: true, max: 100}
rules:
  - {name: office, from: '@office', proto: tcp, port: 22, action: pass}
  - {name: guests, from: '@guests', action: pass}
  - {name: tftp, proto: udp, port: 69, action: drop, log: 10/s}
  - {name: known, state: established, action: pass}
tests:
  - {name: office-in, packet: 'tcp 198.51.100.7:4000 > 192.0.2.80:22 syn in zone wan', expect: pass}
";

/// A packet that it passes.
const OFFICE: &str = "tcp 198.51.100.7:4000 > 192.0.2.80:22 in zone wan";

fn frame(packet: &str) -> Vec<u8> {
    packet_text::parse(packet).unwrap().frame()
}

/// A capture of packets.
fn pcap(packets: &[&str]) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    // Magic number, version 2.4, time zone, accuracy, longest frame, Ethernet.
    let mut capture = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for packet in packets {
        let frame = frame(packet);
        let length = frame.len() as u32;
        capture.extend(words(&[1, 0, length, length]));
        capture.extend(frame);
    }
    capture
}

/// The policy with its set file, in a folder.
fn write_policy(ctl: &Ctl<'_>) -> PathBuf {
    fs::write(ctl.folder().join("office.txt"), "198.51.100.0/24\n").unwrap();
    ctl.policy(POLICY).unwrap()
}

/// A command to this host's own firewall, whether a daemon runs or not.
fn local(pair: &Pair, ctl: &Ctl<'_>, words: &[&str]) -> Output {
    let mut command = pair
        .inside
        .command(std::env::var_os("FIREWALL_CTL").unwrap());
    command.arg("--root").arg(ctl.pins());
    command.args(["--socket", "/nowhere/control.sock", "-o", "json"]);
    command.args(words).output().unwrap()
}

/// A document without what is another one a moment later, and without what only a daemon knows.
fn lasting(document: &Value) -> Value {
    const VOLATILE: [&str; 10] = [
        "time",
        "interval",
        "rate",
        "milliseconds",
        "daemon_pid",
        "daemon_uptime",
        "reloads",
        "history",
        "last_hit",
        "idle",
    ];
    match document {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !VOLATILE.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), lasting(value)))
            .collect(),
        Value::Array(list) => list.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

/// What a command has printed, on either stream.
fn printed(output: &Output) -> Value {
    let text = match output.stdout.is_empty() {
        true => &output.stderr,
        false => &output.stdout,
    };
    let document = serde_json::from_slice(text);
    document.unwrap_or_else(|_| json!(String::from_utf8_lossy(text)))
}

/// An answer of the daemon's socket: its status and its body.
fn ask(socket: &Path, head: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A peer that refuses early closes before it has read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // The body may come in chunks: the document is from brace to brace.
    let document = body.find('{').zip(body.rfind('}'));
    let document = document
        .map(|(from, to)| &body[from..=to])
        .unwrap_or("null");
    (status, serde_json::from_str(document).unwrap())
}

fn socket(ctl: &Ctl<'_>) -> PathBuf {
    ctl.folder().join("control.sock")
}

/// The SHA-256 of a file, by a program that others wrote.
fn sha256(bytes: &[u8]) -> String {
    let path = std::env::temp_dir().join(firewall_tests::netns::unique("sum"));
    fs::write(&path, bytes).unwrap();
    let output = Command::new("sha256sum").arg(&path).output().unwrap();
    fs::remove_file(path).unwrap();
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

/// How many files were sent to the daemon.
fn sent(ctl: &Ctl<'_>) -> usize {
    ctl.log().matches("put a file").count()
}

#[test]
#[ignore = "needs root"]
fn every_verb_says_the_same_with_and_without_a_daemon() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = write_policy(&ctl);
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.9"]).unwrap();
    ctl.ok(&["set", "add", "guests", "198.51.100.200"]).unwrap();
    pair.outside.run(|| {
        let socket = UdpSocket::bind((OUTSIDE_V4, 4000)).unwrap();
        for port in [69, 69, 70] {
            socket.send_to(b"line", (INSIDE_V4, port)).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    pair.outside.ip("link set wan0 down").unwrap();
    let other = ctl.folder().join("other.yaml");
    fs::write(
        &other,
        POLICY
            .replace("port: 22", "port: 2222")
            .replace("80:22", "80:2222"),
    )
    .unwrap();
    let other = other.to_str().unwrap();
    let capture = ctl.folder().join("mixed.pcap");
    fs::write(
        &capture,
        pcap(&["udp 192.0.2.9:1 > 192.0.2.80:69", OFFICE, OFFICE]),
    )
    .unwrap();
    let capture = capture.to_str().unwrap();
    let verbs: &[&[&str]] = &[
        &["status"],
        &["top", "--once"],
        &["get", "rules"],
        &["get", "reasons"],
        &["get", "interfaces"],
        &["get", "policy"],
        &["flows"],
        &["bans"],
        &["set", "list"],
        &["set", "list", "guests"],
        &["observe"],
        &["observe", "--rule", "tftp", "-n", "1"],
        &["doctor"],
        &["doctor", "-i", "wan0"],
        &["doctor", "-i", "nothere"],
        &["doctor", "--selftest"],
        &["doctor", "--selftest", "-f", other],
        &["check", "--kernel", other],
        &["test", "--live", OFFICE],
        &[
            "test",
            "--live",
            "udp 192.0.2.9:53 > 192.0.2.80:4000 established in zone wan",
        ],
        &["test", "--live", "-f", other, OFFICE],
        &["test", "--live", "--pcap", capture],
        &["diff", other],
        &["explain", "rule"],
    ];
    for words in verbs {
        let mut all = vec!["-o", "json"];
        all.extend(*words);
        let (mut there, mut here) = (Value::Null, Value::Null);
        // The daemon's counters are up to a second old.
        for _ in 0..10 {
            let answers = (ctl.run(&all).unwrap(), local(&pair, &ctl, words));
            let codes = (answers.0.status.code(), answers.1.status.code());
            assert_eq!(codes.0, codes.1, "{words:?}: {answers:?}");
            (there, here) = (lasting(&printed(&answers.0)), lasting(&printed(&answers.1)));
            if there == here {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(format!("{there:#}"), format!("{here:#}"), "{words:?}");
        let is_document = there.is_object() || there.to_string().contains("firewall/v1");
        assert!(is_document, "{words:?}: {there}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_status_over_http_is_what_the_verb_prints() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = write_policy(&ctl);
    ctl.start(&policy).unwrap();
    pair.outside.ip("link set wan0 down").unwrap();
    let (mut http, mut verb) = (Value::Null, Value::Null);
    for _ in 0..10 {
        let (status, document) = ask(&socket(&ctl), "GET /v1/status", b"");
        assert_eq!(status, 200);
        http = document;
        verb = ctl.json(&["status"]).unwrap();
        // The moment of a sample is reckoned from now, by clocks that run apart by a fraction of a
        // microsecond.
        let moments = [&http, &verb].map(|document| document["time"].as_f64().unwrap());
        if (moments[0] - moments[1]).abs() < 0.001 {
            http["time"] = verb["time"].clone();
        }
        let uptime = verb["daemon_uptime"].clone();
        for document in [&mut http, &mut verb] {
            assert!(document["daemon_uptime"].as_f64().unwrap() > 0.0);
            document["daemon_uptime"] = uptime.clone();
        }
        if http == verb {
            break;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(format!("{http:#}"), format!("{verb:#}"));
    assert_eq!(http["flows"]["capacity"], verb["flows"]["capacity"]);
    assert!(http["flows"]["capacity"].as_u64().unwrap() > 0, "{http:#}");
}

/// What is opened of a folder, as the kernel tells.
struct Watch(std::os::fd::OwnedFd);

impl Watch {
    fn new(paths: &[&Path]) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        for path in paths {
            inotify::add_watch(&watch, *path, inotify::WatchFlags::OPEN).unwrap();
        }
        Self(watch)
    }

    /// Whether something was opened since this was asked last.
    fn opened(&self) -> bool {
        let mut events = [0_u8; 4096];
        match rustix::io::read(&self.0, &mut events) {
            Ok(count) => count > 0,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "needs root"]
fn requests_open_no_path_that_they_name() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let secret = ctl.folder().join("secret");
    let pipe = ctl.folder().join("pipe");
    fs::write(&secret, "192.0.2.0/24\n").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let naming = |path: &Path| {
        format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}}}]\ndefault: {{in: drop}}\n\
             sets:\n  s: {{type: cidr, file: {}}}\nrules:\n  - {{name: s, from: '@s', action: pass}}\n",
            path.display()
        )
    };
    // The daemon looks after its own files, so they are others.
    let list = ctl.folder().join("list");
    fs::write(&list, "192.0.2.0/24\n").unwrap();
    let own = ctl.policy(&naming(&list)).unwrap();
    ctl.start(&own).unwrap();
    let shadow = Path::new("/etc/shadow");
    let watch = Watch::new(&[&secret, &pipe, shadow]);
    let _ = watch.opened();
    let socket = socket(&ctl);
    let bytes = b"198.51.100.0/24\n";
    let hash = sha256(bytes);
    let put = format!("PUT /v1/files/{hash}");
    assert_eq!(ask(&socket, &put, bytes).0, 200);
    let packet = frame("udp 198.51.100.7:1 > 192.0.2.80:9");
    let packet: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
    let roads = ["/v1/apply", "/v1/verify", "/v1/selftest", "/v1/trace"];
    for path in [shadow, &secret, &pipe] {
        let file = |sha256: &str| json!([{"path": path, "sha256": sha256, "bytes": bytes.len()}]);
        for road in roads {
            let post = |files: Value| {
                let policy =
                    json!({"path": path, "text": naming(path), "base": "/", "files": files});
                let body = match road {
                    "/v1/trace" => json!({"policy": policy, "frames": [packet]}),
                    _ => policy,
                };
                let head = format!("POST {road}");
                ask(&socket, &head, body.to_string().as_bytes())
            };
            // Named and not brought; brought, and its bytes not there; both.
            let (status, answer) = post(json!([]));
            assert_eq!(status, 422, "{road}: {answer:#}");
            let shown = answer.to_string();
            assert!(shown.contains("did not come with the request"), "{shown}");
            assert!(!shown.contains("root:"), "{shown}");
            let (status, answer) = post(file(&"0".repeat(64)));
            assert_eq!(
                (status, &answer["error"]["code"]),
                (409, &json!("files-missing"))
            );
            let (status, answer) = post(file(&hash));
            assert_eq!(status, 200, "{road}: {answer:#}");
            if road == "/v1/trace" {
                // By the bytes that were brought.
                assert_eq!(answer["frames"][0]["verdict"], "pass");
            }
        }
    }
    assert!(!watch.opened(), "a request has opened what it names");
    let in_force = ctl.json(&["get", "policy"]).unwrap();
    assert_eq!(in_force["files"][0]["sha256"], json!(hash));
    // Only the daemon's own file is read from the disk: a watch sees that.
    let watch = Watch::new(&[&list]);
    ctl.ok(&["reload"]).unwrap();
    assert!(watch.opened(), "the watch sees what is opened");
}

/// A list of addresses of more than a megabyte.
fn long_list(entries: u32) -> String {
    let mut list = String::new();
    for number in 0..entries {
        let [_, b, c, d] = number.to_be_bytes();
        let _ = writeln!(list, "100.{b}.{c}.{d} # entry");
    }
    list
}

/// A policy with a set file, and a rule for a port.
fn with_list(ctl: &Ctl<'_>, port: u16) -> String {
    let path = ctl.folder().join("sent.yaml");
    let text = format!(
        "version: 1\ndefault: {{in: drop}}\nsets:\n  s: {{type: cidr, file: list.txt}}\nrules:\n  \
         - {{name: s, from: '@s', proto: tcp, port: {port}, action: pass}}\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn apply_list(ctl: &Ctl<'_>, port: u16) {
    ctl.ok(&["apply", "-f", &with_list(ctl, port)]).unwrap();
}

#[test]
#[ignore = "needs root"]
fn files_are_sent_when_they_are_missing_and_never_twice() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let base = ctl.policy("version: 1\ndefault: {in: pass}\n").unwrap();
    ctl.start(&base).unwrap();
    let list = ctl.folder().join("list.txt");
    fs::write(&list, long_list(60_000)).unwrap();
    assert!(fs::metadata(&list).unwrap().len() > 1 << 20);
    apply_list(&ctl, 80);
    assert_eq!(sent(&ctl), 1);
    // Another text with the same file; questions about it; a rule more; the same once more.
    apply_list(&ctl, 81);
    let path = with_list(&ctl, 82);
    ctl.ok(&["check", "--kernel", &path]).unwrap();
    ctl.ok(&["doctor", "--selftest", "-f", &path]).unwrap();
    ctl.ok(&["allow", "443/tcp"]).unwrap();
    ctl.ok(&["delete", "allow-443-tcp"]).unwrap();
    assert_eq!(sent(&ctl), 1, "{}", ctl.log());
    // The kernel goes by the bytes that were sent.
    let packet = "tcp 100.0.0.7:1 > 192.0.2.80:81 syn";
    let live = ctl.json(&["test", "--live", packet]).unwrap();
    assert_eq!(live["live"]["verdict"], "pass", "{live:#}");
    fs::write(&list, long_list(60_001)).unwrap();
    apply_list(&ctl, 83);
    assert_eq!(sent(&ctl), 2);

    // What is in force needs nobody's files any more: not for a change, nor to be applied again.
    fs::remove_file(&list).unwrap();
    ctl.ok(&["allow", "8080/tcp"]).unwrap();
    assert_eq!(sent(&ctl), 2);
    // A daemon that starts anew has them still.
    ctl.kill().unwrap();
    fs::write(&list, long_list(60_001)).unwrap();
    ctl.start(&base).unwrap();
    let path = with_list(&ctl, 84);
    ctl.ok(&["apply", "-f", &path, "--discard-runtime"])
        .unwrap();
    assert_eq!(sent(&ctl), 0, "{}", ctl.log());
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_was_sent_is_applied_again_without_its_files() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let base = ctl.policy("version: 1\ndefault: {in: pass}\n").unwrap();
    ctl.start(&base).unwrap();
    let folder = ctl.folder().join("sent");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("list.txt"), "198.51.100.0/24\n").unwrap();
    // The addresses of this host decide who is answered: another one has the policy applied again.
    let text = "version: 1\ndefault: {in: drop}\nsets:\n  s: {type: cidr, file: list.txt}\nrules:\n  \
                - {name: s, from: '@s', proto: tcp, port: 80, action: pass}\n  \
                - {name: no, proto: tcp, port: 81, action: reject}\n";
    let path = folder.join("firewall.yaml");
    fs::write(&path, text).unwrap();
    ctl.ok(&["apply", "-f", path.to_str().unwrap()]).unwrap();
    let generation = || {
        let status = ctl.run(&["-o", "json", "status"]).unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["last_error"], Value::Null, "{status:#}");
        status["generation"]["number"].as_u64().unwrap()
    };
    let before = generation();
    fs::remove_dir_all(&folder).unwrap();
    pair.inside
        .ip("link set wan0 address 02:00:00:00:77:77")
        .unwrap();
    let deadline = std::time::Instant::now() + patience(Duration::from_secs(20));
    while generation() == before {
        assert!(std::time::Instant::now() < deadline, "{}", ctl.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let policy = ctl.json(&["get", "policy"]).unwrap();
    assert_eq!(policy["files"][0]["path"], "list.txt");
}

#[test]
#[ignore = "needs root"]
fn wrong_bytes_names_and_sizes_are_refused_and_leave_nothing() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let base = ctl.policy("version: 1\ndefault: {in: pass}\n").unwrap();
    ctl.start(&base).unwrap();
    let socket = socket(&ctl);
    let hash = sha256(b"right");
    let put = |name: &str, body: &[u8]| ask(&socket, &format!("PUT /v1/files/{name}"), body).0;
    assert_eq!(put(&hash, b"wrong"), 422);
    assert_eq!(put(&hash, b""), 422);
    assert_eq!(put("..%2F..%2F..%2Fetc%2Fcron.d%2Fx", b"right"), 400);
    assert_eq!(put(&hash.to_uppercase(), b"right"), 400);
    let kept = ctl.folder().join("state/files");
    let names = || fs::read_dir(&kept).map_or(0, Iterator::count);
    assert_eq!(names(), 0);
    let mut stream = UnixStream::connect(&socket).unwrap();
    let head =
        format!("PUT /v1/files/{hash} HTTP/1.1\r\nHost: x\r\nContent-Length: 268435457\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // A file that a request says to be larger than any may be.
    let file = json!([{"path": "x", "sha256": hash, "bytes": (256_u64 << 20) + 1}]);
    let body = json!({"path": "x", "text": "version: 1\n", "base": "/", "files": file});
    let (status, answer) = ask(&socket, "POST /v1/apply", body.to_string().as_bytes());
    assert_eq!(status, 422, "{answer:#}");
    assert_eq!(names(), 0);
    assert_eq!(put(&hash, b"right"), 200);
    assert_eq!(names(), 1);
    // None of this was a failed change.
    assert_eq!(ctl.json(&["status"]).unwrap()["last_error"], Value::Null);
}

#[test]
#[ignore = "needs root"]
fn beside_a_daemon_load_refuses_and_unload_acts() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = write_policy(&ctl);
    let path = policy.to_str().unwrap();
    ctl.start(&policy).unwrap();
    let before = ctl.json(&["get", "policy"]).unwrap()["generation"].clone();
    let load = ctl.run(&["load", "-i", INTERFACE, "-f", path]).unwrap();
    assert_eq!(load.status.code(), Some(7));
    let said = String::from_utf8_lossy(&load.stderr);
    assert!(said.contains("firewall-ctl apply -f"), "{said}");
    assert!(said.contains("stop the daemon"), "{said}");
    assert_eq!(ctl.json(&["get", "policy"]).unwrap()["generation"], before);
    ctl.ok(&["unload", "--all"]).unwrap();
    let status = local(&pair, &ctl, &["status"]);
    assert_eq!(printed(&status)["state"], "off");
    // Nothing in force, and nobody who keeps it so: what takes time has exit code 5.
    ctl.kill().unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", path]).unwrap();
    for words in [
        &["apply", "-f", path][..],
        &["reload"],
        &["allow", "80/tcp"],
        &["delete", "1"],
        &["save"],
    ] {
        let output = ctl.run(words).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{words:?}: {said}");
        assert!(said.contains("no daemon listens on"), "{words:?}: {said}");
    }
}
