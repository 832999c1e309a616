//! Who may only look cannot harm: a crowd of clients that say nothing, are slow to say it, or are slow to read
//! a large answer, of root, of members of the group and of others, while root asks for `status`.
//!
//! `FIREWALL_CASES=N` says how many clients (100), and `FIREWALL_SECONDS=N` for how long (5). Where the number
//! is given, the machine is taken to be this test's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::Pair;
use firewall_tests::{number, patience};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const POLICY: &str = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nrules: []\n";

/// What the daemon may need of memory, in kB.
const MEMORY: u64 = 100_000;

/// How long root waits for `status`, on a machine that is its own; ten times as long in the ordinary run,
/// beside other tests.
const ANSWER: Duration = Duration::from_millis(200);

/// Time between two looks of a user at all of their clients.
const STEP: Duration = Duration::from_millis(100);

/// Clients that a user connects in such a time, at first and where some were cut: of eight users 1,600 a
/// second.
const AGAIN: usize = 20;

/// How a client is no good.
#[derive(Clone, Copy)]
enum Kind {
    Silent,
    SlowToSay,
    SlowToRead,
}

/// One client.
struct Client {
    kind: Kind,
    stream: UnixStream,
    said: usize,
}

const REQUEST: &[u8] = b"GET /v1/snapshot?ports=131072 HTTP/1.1\r\nHost: localhost\r\n\r\n";

impl Client {
    fn connect(socket: &Path, number: usize) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_nonblocking(true).unwrap();
        let kind = [Kind::Silent, Kind::SlowToSay, Kind::SlowToRead][number % 3];
        Some(Self {
            kind,
            stream,
            said: 0,
        })
    }

    /// Goes on, slowly; false if the daemon has ended it.
    fn step(&mut self) -> bool {
        let next = match self.kind {
            Kind::Silent => &[][..],
            Kind::SlowToSay => REQUEST.get(self.said..=self.said).unwrap_or_default(),
            Kind::SlowToRead => &REQUEST[self.said..],
        };
        if !next.is_empty() {
            match self.stream.write(next) {
                Ok(count) => self.said += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        match self.stream.read(&mut [0; 10]) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A user's clients, until the end.
fn crowd(
    socket: &Path,
    (uid, group, count): (u32, u32, usize),
    ends: &AtomicBool,
    cut: &AtomicU64,
) {
    set_thread_groups(&[]).unwrap();
    set_thread_gid(rustix::fs::Gid::from_raw(group)).unwrap();
    set_thread_uid(rustix::fs::Uid::from_raw(uid)).unwrap();
    let mut clients: Vec<Client> = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let wanted = (count - clients.len()).min(AGAIN);
        let more = (0..wanted).filter_map(|number| Client::connect(socket, number));
        clients.extend(more);
        let before = clients.len();
        clients.retain_mut(Client::step);
        cut.fetch_add((before - clients.len()) as u64, Ordering::Relaxed);
        sleep(STEP);
    }
}

/// How many threads have to get a processor, one after the other, until an answer is there.
const THREADS: u32 = 5;

/// How late this machine is at most to give a thread a processor, in microseconds, until the end.
fn lateness(ends: &AtomicBool, most: &AtomicU64) {
    const NAP: Duration = Duration::from_millis(5);
    while !ends.load(Ordering::Relaxed) {
        let begin = Instant::now();
        sleep(NAP);
        let late = begin.elapsed().saturating_sub(NAP).as_micros() as u64;
        most.fetch_max(late, Ordering::Relaxed);
    }
}

/// Ends the crowd when it is dropped, whatever has happened.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for `status` as root, by a connection of its own.
fn ask(socket: &Path) -> (Duration, Value) {
    let begin = Instant::now();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let took = begin.elapsed();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    (took, status)
}

/// The most memory that a process has had, in kB.
fn most_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.unwrap().split_whitespace().next();
    words.unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root"]
fn a_crowd_of_slow_clients_keeps_root_waiting_for_nothing() {
    let all = number("FIREWALL_CASES", 100).unwrap();
    let seconds = number("FIREWALL_SECONDS", 5).unwrap();
    let bar = match std::env::var_os("FIREWALL_CASES") {
        Some(_) => ANSWER,
        None => patience(ANSWER * 10),
    };
    let limit = getrlimit(Resource::Nofile);
    let mut more = limit;
    more.current = more.maximum;
    setrlimit(Resource::Nofile, more).unwrap();
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let pid = ctl.start(&policy).unwrap();
    let socket = ctl.folder().join("control.sock");
    // Whoever is in the group opens the socket; here also those who are not, which is worse.
    for path in [ctl.folder(), &socket] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    let (ends, cut) = (AtomicBool::new(false), AtomicU64::new(0));
    let late = AtomicU64::new(0);
    let mut times = Vec::new();
    scope(|threads| {
        // Root, four members of the group, and three others.
        let users = [0, 1001, 1002, 1003, 1004, 2001, 2002, 2003];
        for uid in users {
            let (socket, ends, cut) = (&socket, &ends, &cut);
            let count = (all as usize).div_ceil(users.len());
            let group = if uid < 2000 { 0 } else { uid };
            threads.spawn(move || crowd(socket, (uid, group, count), ends, cut));
        }
        let _ends = Ends(&ends);
        threads.spawn(|| lateness(&ends, &late));
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) {
            let (took, status) = ask(&socket);
            assert_eq!(status["state"], "active", "{status:#}");
            times.push(took);
            sleep(Duration::from_millis(50));
        }
    });
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    let memory = most_memory(pid);
    let late = Duration::from_micros(late.into_inner());
    println!(
        "{all} clients for {seconds} s, {} cut: root's status {} times, {median:?} mostly, {most:?} at \
         most, where a thread waited {late:?} for a processor; {memory} kB of memory at most",
        cut.into_inner(),
        times.len()
    );
    let bar = bar + late * THREADS;
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(most <= bar, "{most:?} is more than {bar:?}");
    assert!(memory <= MEMORY, "{memory} kB");
}
