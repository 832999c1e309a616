//! A real resolver behind the filter: unbound, asked by clients outside, asks a server that knows
//! every name and is far away. No answer is lost on the way in or out.
//!
//! `FIREWALL_SECONDS=N` says how long (default 10, for each way in which unbound opens its sockets).
//! Run by `cargo xtask test --long resolver`, which installs unbound.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, OUTSIDE_V4, OUTSIDE_V6, Pair};
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::{number, patience};
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DNS: u16 = 53;

/// Questions a second.
const RATE: u64 = 2_000;

/// How long the server's answer takes.
const FAR_AWAY: Duration = Duration::from_millis(80);

/// As long as a client waits.
const GIVES_UP: Duration = Duration::from_secs(5);

const POLICY: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: clients, proto: [tcp, udp], port: 53, state: new, action: pass}
";

/// Names that are known nowhere before: none is answered twice.
fn name(number: u64) -> Vec<u8> {
    let first = format!("q{number}");
    let mut name = vec![first.len() as u8];
    name.extend(first.as_bytes());
    name.extend(b"\x04zone\x07example\0");
    name
}

/// The number in such a name.
fn numbered(message: &[u8]) -> Option<u64> {
    let length = usize::from(*message.get(12)?);
    let label = std::str::from_utf8(message.get(13..13 + length)?).ok()?;
    label.strip_prefix('q')?.parse().ok()
}

fn question(number: u64) -> Vec<u8> {
    let mut message = (number as u16).to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(name(number));
    message.extend([0, 1, 0, 1]);
    message
}

/// The server's answer to any question: one address, if an address was asked for.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let section = question.get(12..end + 5)?;
    let is_address = section.ends_with(&[0, 1, 0, 1]);
    let has_options = question.get(10..12)? != [0, 0];
    let mut message = question.get(..2)?.to_vec();
    message.extend([0x84, 0, 0, 1, 0, u8::from(is_address), 0, 0, 0]);
    message.push(u8::from(has_options));
    message.extend(section);
    if is_address {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 1]);
    }
    if has_options {
        message.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0]);
    }
    Some(message)
}

/// What the server was asked.
#[derive(Default)]
struct Asked {
    questions: AtomicU64,
    names: Mutex<HashSet<u64>>,
}

fn socket(at: IpAddr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((at, port)).unwrap();
    sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(2)))
        .unwrap();
    socket
}

/// The server, at one address of the outside host, as long as the process lives.
fn serve(pair: &Pair, at: IpAddr, asked: &Arc<Asked>) {
    let (socket, asked) = (pair.outside.run(|| socket(at, DNS)), Arc::clone(asked));
    std::thread::spawn(move || {
        let mut late: VecDeque<(Instant, SocketAddr, Vec<u8>)> = VecDeque::new();
        let mut bytes = [0; 1_500];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut bytes)
                && let Some(answer) = answer(&bytes[..length])
            {
                asked.questions.fetch_add(1, Ordering::Relaxed);
                if let Some(number) = numbered(&bytes[..length]) {
                    asked.names.lock().unwrap().insert(number);
                }
                late.push_back((Instant::now() + FAR_AWAY, from, answer));
            }
            while late.front().is_some_and(|it| it.0 <= Instant::now()) {
                let (_, from, answer) = late.pop_front().unwrap();
                let _ = socket.send_to(&answer, from);
            }
        }
    });
}

/// unbound, ended when dropped.
struct Unbound(Child);

impl Unbound {
    fn start(pair: &Pair, ctl: &Ctl<'_>, connects: bool) -> Self {
        let connect = if connects { "yes" } else { "no" };
        let text = format!(
            "server:
  username: \"\"
  chroot: \"\"
  directory: \"/tmp\"
  pidfile: \"\"
  use-syslog: no
  do-daemonize: no
  statistics-interval: 5
  num-threads: 1
  interface: {INSIDE_V4}
  interface: {INSIDE_V6}
  access-control: 0.0.0.0/0 allow
  access-control: ::0/0 allow
  outgoing-range: 16384
  num-queries-per-thread: 16384
  so-rcvbuf: 8m
  so-sndbuf: 8m
  module-config: \"iterator\"
  udp-connect: {connect}
remote-control:
  control-enable: no
stub-zone:
  name: \"example\"
  stub-addr: {OUTSIDE_V4}
  stub-addr: {OUTSIDE_V6}
  stub-prime: no
"
        );
        let file = ctl.folder().join("unbound.conf");
        std::fs::write(&file, text).unwrap();
        // A socket for each question that waits: what is beyond the limit, unbound refuses by itself. Of
        // the 16,384 that it may have, some 160 wait at once.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        let log = std::fs::File::create(ctl.folder().join("unbound.log")).unwrap();
        let child = pair
            .inside
            .command("unbound")
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unbound is installed: see `cargo xtask test --long`");
        Self(child)
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which questions a client has answers to, by their numbers.
fn listens(socket: &UdpSocket, over: &AtomicBool) -> HashSet<u64> {
    let (mut heard, mut bytes) = (HashSet::new(), [0; 1_500]);
    while !over.load(Ordering::Relaxed) {
        while let Ok(length) = socket.recv(&mut bytes) {
            // An answer with an address, and no error.
            if bytes[3] & 15 == 0 && bytes[7] == 1 {
                heard.extend(numbered(&bytes[..length]));
            }
        }
    }
    heard
}

/// Asks for `seconds`; how many questions there were, and how many had no answer.
fn ask(pair: &Pair, seconds: u64, first: u64) -> (u64, u64) {
    let clients = [
        (IpAddr::from(OUTSIDE_V4), IpAddr::from(INSIDE_V4)),
        (OUTSIDE_V6.into(), INSIDE_V6.into()),
    ]
    .map(|(own, resolver)| {
        let socket = pair.outside.run(|| socket(own, 0));
        socket.connect((resolver, DNS)).unwrap();
        socket
    });
    // Until it is there.
    let until = Instant::now() + patience(Duration::from_secs(20));
    loop {
        clients[0].send(&question(first)).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let mut answer = [0; 1_500];
        if clients[0].recv(&mut answer).is_ok() && answer[3] & 15 == 0 {
            break;
        }
        assert!(Instant::now() < until, "unbound does not answer");
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let heard = clients
            .each_ref()
            .map(|client| scope.spawn(|| listens(client, &over)));
        let (started, mut asked) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(seconds) {
            let due = started.elapsed().as_millis() as u64 * RATE / 1_000;
            while asked < due {
                asked += 1;
                let client = &clients[(asked % 2) as usize];
                client.send(&question(first + asked)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(patience(GIVES_UP));
        over.store(true, Ordering::Relaxed);
        let heard: HashSet<u64> = heard
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .filter(|number| *number > first)
            .collect();
        (asked, asked - heard.len() as u64)
    })
}

#[test]
#[ignore = "needs root"]
fn unbound_loses_no_answer() {
    let seconds = number("FIREWALL_SECONDS", 10).unwrap();
    let pair = Pair::new().unwrap();
    let asked = Arc::<Asked>::default();
    for at in [IpAddr::from(OUTSIDE_V4), OUTSIDE_V6.into()] {
        serve(&pair, at, &asked);
    }
    for (connects, first) in [(false, 1_000_000), (true, 2_000_000)] {
        let ctl = Ctl::new(&pair.inside).unwrap();
        let file = ctl.policy(POLICY).unwrap();
        ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
            .unwrap();
        let _unbound = Unbound::start(&pair, &ctl, connects);
        let before = asked.questions.load(Ordering::Relaxed);
        let (questions, lost) = ask(&pair, seconds, first);
        let snapshot = ctl.snapshot().unwrap();
        let stopped = reason(&snapshot, "no-match", "drop").0;
        let sent = asked.questions.load(Ordering::Relaxed) - before;
        let names = std::mem::take(&mut *asked.names.lock().unwrap()).len();
        println!(
            "unbound with connected sockets {connects}: {questions} questions in {seconds} s, {lost} \
             without an answer; it asked {sent} times for {names} names; {} answers passed by state, \
             {stopped} packets stopped",
            rule(&snapshot, "replies").0
        );
        if lost > 0 {
            let log = std::fs::read_to_string(ctl.folder().join("unbound.log"));
            println!("{}", log.unwrap());
        }
        assert!(questions > RATE * seconds * 9 / 10, "{questions} questions");
        assert_eq!((lost, stopped), (0, 0), "without an answer, stopped");
    }
}
