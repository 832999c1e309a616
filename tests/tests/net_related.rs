//! `state: related` with those whom it is for: a TFTP transfer (curl and dnsmasq), whose server answers from
//! a port of its own, and a question to a group, which whoever is in it answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use firewall_tests::snapshot::rule;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The group of SSDP, and its port.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1900);

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn load(ctl: &Ctl<'_>, states: &str) {
    let text = format!(
        "version: 1\ninterfaces: [{{match: {INTERFACE}, mode: generic}}]\ndefault: {{in: drop}}\n\
         rules:\n- {{name: answers, state: {states}, action: pass}}\n"
    );
    let file = ctl.policy(&text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_file_comes_by_tftp() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let folder = ctl.folder().to_owned();
    let root = folder.join("tftp");
    fs::create_dir(&root).unwrap();
    // Several blocks of 512 bytes.
    let content: Vec<u8> = (0..3_000u32).map(|number| (number % 251) as u8).collect();
    fs::write(root.join("image"), &content).unwrap();
    let mut dnsmasq = pair.outside.command("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--port=0",
        "--enable-tftp",
        "--bind-interfaces",
        "--pid-file=",
    ]);
    dnsmasq.arg(format!("--interface={INTERFACE}"));
    dnsmasq.arg(format!("--tftp-root={}", root.display()));
    dnsmasq.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Server(dnsmasq.spawn().unwrap());

    let fetch = || {
        let mut curl = pair.inside.command("curl");
        curl.args(["--silent", "--max-time", "6"]);
        curl.arg(format!("tftp://{OUTSIDE_V4}/image"));
        curl.output().unwrap()
    };
    load(&ctl, "[established, related]");
    let deadline = Instant::now() + patience(Duration::from_secs(30));
    // Until the server is there.
    let mut got = fetch();
    while got.stdout != content && Instant::now() < deadline {
        got = fetch();
    }
    assert_eq!(got.stdout, content, "{got:?}");
    load(&ctl, "established");
    assert_ne!(fetch().stdout, content, "the test shows nothing");
}

#[test]
#[ignore = "needs root"]
fn members_of_a_group_answer_a_question() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let wait = Some(Duration::from_millis(500));
    let (asker, other) = pair.inside.run(|| {
        let socket = |port: u16| {
            let socket = UdpSocket::bind((INSIDE_V4, port)).unwrap();
            socket.set_read_timeout(wait).unwrap();
            socket
        };
        (socket(50_000), socket(50_001))
    });
    let (member, port) = pair.outside.run(|| {
        let member = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.1)).unwrap();
        member.join_multicast_v4(&GROUP.0, &OUTSIDE_V4).unwrap();
        member
            .set_read_timeout(Some(patience(Duration::from_secs(10))))
            .unwrap();
        (member, UdpSocket::bind((OUTSIDE_V4, 0)).unwrap())
    });
    for namespace in [&pair.inside, &pair.outside] {
        namespace
            .ip(&format!("route add 224.0.0.0/4 dev {INTERFACE}"))
            .unwrap();
    }
    let is_heard = |socket: &UdpSocket| {
        let to = socket.local_addr().unwrap();
        port.send_to(b"here", to).unwrap();
        socket.recv_from(&mut [0; 16]).is_ok()
    };
    let ask = || {
        asker.send_to(b"who", GROUP).unwrap();
        let mut question = [0; 16];
        let (_, from) = member.recv_from(&mut question).unwrap();
        assert_eq!(from, SocketAddr::from((INSIDE_V4, 50_000)));
    };
    load(&ctl, "[established, related]");
    assert!(!is_heard(&asker), "nobody has asked");
    ask();
    assert!(is_heard(&asker));
    // The question came from one port.
    assert!(!is_heard(&other));
    assert!(rule(&ctl.snapshot().unwrap(), "answers").0 >= 1);

    load(&ctl, "established");
    ask();
    assert!(!is_heard(&asker), "it is no answer of the group's address");
}
