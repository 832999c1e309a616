//! Processes killed at any moment (SIGKILL): the daemon, and commands that change something, while a sender
//! tries a closed port and a reader looks at every screen.
//!
//! The judges are the kernel's: a counter of nft behind the filter, netlink's answer to which program an
//! interface carries, and the names of pins.
//!
//! `FIREWALL_CASES=N` says how many rounds (20; `--long`: 1,000), `FIREWALL_SEED=N` picks other moments.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use firewall_tests::number;
use firewall_tests::random::Random;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Two policies of equal meaning for the closed port.
fn policy(more: &str) -> String {
    format!(
        "version: 1\ndefault: {{in: drop}}\nsets:\n  friends: {{type: cidr, live: true, max: 100000}}\nrules:\n  \
         - {{name: friends, from: '@friends', proto: tcp, port: 22, action: pass}}\n{more}"
    )
}

/// For how long after a change a screen may tell of what was before: the daemon reads once a second.
const LAG: Duration = Duration::from_secs(4);

/// Entries of a ban, and of a set.
const MANY: u32 = 20_000;

/// What is done in a round, and killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Change {
    Apply,
    Load,
    Ban,
    SetLoad,
    Save,
    Allow,
    Start,
    Stop,
}

const CHANGES: [Change; 8] = [
    Change::Apply,
    Change::Load,
    Change::Ban,
    Change::SetLoad,
    Change::Save,
    Change::Allow,
    Change::Start,
    Change::Stop,
];

/// When it was looked at, the program that the interface carried, and the generations that were pinned.
type Look = (Instant, Option<u64>, BTreeSet<u64>);

/// What the kernel has said, and when.
#[derive(Default)]
struct Truth {
    seen: Mutex<VecDeque<Look>>,
}

impl Truth {
    /// Looks: at the program that the interface carries, and at the generations that are pinned.
    fn look(&self, pair: &Pair, ctl: &Ctl<'_>) {
        let text = pair
            .inside
            .say(&["ip", "-json", "link", "show", "dev", "wan0"])
            .unwrap();
        let links: Value = serde_json::from_str(&text).unwrap();
        let program = links[0]["xdp"]["prog"]["id"].as_u64();
        let pins = fs::read_dir(ctl.pins()).into_iter().flatten();
        let names = pins.filter_map(|pin| pin.ok()?.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.strip_prefix("gen-")?.parse().ok());
        let mut seen = self.seen.lock().unwrap();
        seen.push_back((Instant::now(), program, numbers.collect()));
        while seen.len() > 1_000 {
            seen.pop_front();
        }
    }

    /// Whether an interface has carried a program, and a generation was pinned, since a moment.
    fn has_been(&self, since: Instant, program: u64, generation: u64) -> bool {
        let seen = self.seen.lock().unwrap();
        // The last look before that moment tells of it, too.
        let first = seen.iter().rposition(|(at, ..)| *at < since).unwrap_or(0);
        let programs: Vec<_> = seen.range(first..).collect();
        programs.iter().any(|it| it.1 == Some(program))
            && programs.iter().any(|it| it.2.contains(&generation))
    }
}

struct Bed<'a> {
    pair: &'a Pair,
    ctl: &'a Ctl<'a>,
    truth: Truth,
    ends: AtomicBool,
    read: AtomicU64,
    sent: AtomicU64,
    false_statements: Mutex<Vec<String>>,
}

/// Screens, and whether they are JSON that says what is filtered.
const SCREENS: [(&[&str], bool); 8] = [
    (&["-o", "json", "status"], true),
    (&["-o", "json", "top", "--once"], true),
    (&["status"], false),
    (&["stats"], false),
    (&["get", "rules"], false),
    (&["set", "list"], false),
    (&["-o", "json", "bans"], false),
    (&["get", "policy"], false),
];

impl Bed<'_> {
    /// Looks at a screen and holds it against the kernel. An error is no statement, a panic is.
    fn look_at(&self, words: &[&str], tells: bool) {
        let begin = Instant::now();
        let output = self.ctl.run(words).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut wrong = Vec::new();
        for lie in [
            "every packet passes",
            "nothing was loaded",
            "No policy is loaded",
            "panicked",
        ] {
            if text.contains(lie) || complaint.contains(lie) {
                wrong.push(lie.to_owned());
            }
        }
        if tells && let Ok(document) = serde_json::from_str::<Value>(&text) {
            let status = match document.get("status") {
                Some(status) => status,
                None => &document,
            };
            let interface = &status["interfaces"][0];
            let program = interface["program_id"].as_u64();
            let generation = status["generation"]["number"].as_u64();
            self.truth.look(self.pair, self.ctl);
            let (Some(program), Some(generation)) = (program, generation) else {
                wrong.push("not filtered".to_owned());
                self.tell(words, &text, &wrong);
                return;
            };
            if !self.truth.has_been(begin - LAG, program, generation) {
                wrong.push(format!("program {program} of generation {generation}"));
            }
        }
        self.read.fetch_add(1, Ordering::Relaxed);
        if !wrong.is_empty() {
            self.tell(words, &format!("{text}{complaint}"), &wrong);
        }
    }

    fn tell(&self, words: &[&str], text: &str, wrong: &[String]) {
        let what = format!("{words:?}: {wrong:?}\n{text}");
        self.false_statements.lock().unwrap().push(what);
    }

    /// The reader and the sender, until the end.
    fn read(&self) {
        let mut random = Random::new(7);
        while !self.ends.load(Ordering::Relaxed) {
            let (words, tells) = random.pick(&SCREENS);
            self.look_at(words, tells);
        }
    }

    fn send(&self) {
        let sender = self
            .pair
            .outside
            .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
        while !self.ends.load(Ordering::Relaxed) {
            // What the stack refuses for the answer to a former one is sent by the next.
            if sender.send_to(b"knock", (INSIDE_V4, 9)).is_ok() {
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn watch(&self) {
        while !self.ends.load(Ordering::Relaxed) {
            self.truth.look(self.pair, self.ctl);
            sleep(Duration::from_millis(20));
        }
    }

    fn strangers(&self) -> u64 {
        self.pair.inside.counted("inet fwt strangers").unwrap()
    }
}

/// The rounds.
struct Rounds<'a> {
    bed: &'a Bed<'a>,
    random: Random,
    daemon: Option<Child>,
    /// How long each change takes, as far as is known.
    takes: BTreeMap<Change, Duration>,
    files: [String; 2],
    list: String,
    round: u64,
}

impl Rounds<'_> {
    fn spawn(&self, words: &[&str]) -> Child {
        let log = self.bed.ctl.folder().join("daemon.log");
        let log = fs::File::options().create(true).append(true).open(log);
        let mut command = self.bed.ctl.command(words);
        if words[0] == "daemon" {
            command.arg("--state").arg(self.bed.ctl.state());
            command.stderr(log.unwrap());
        } else {
            command.stderr(Stdio::null());
        }
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    fn policy(&self) -> &str {
        &self.files[(self.round % 2) as usize]
    }

    fn words(&self, change: Change) -> Vec<&str> {
        match change {
            Change::Apply => vec!["apply", "--discard-runtime", "-f", self.policy()],
            Change::Load => vec![
                "load",
                "--discard-runtime",
                "-i",
                "wan0",
                "-f",
                self.policy(),
            ],
            Change::Ban => vec!["ban", "-f", &self.list],
            Change::SetLoad => vec!["set", "load", "friends", &self.list],
            Change::Save => vec!["save"],
            Change::Allow => vec!["allow", "8443/tcp"],
            Change::Start => vec!["daemon", "-i", "wan0", "-f", &self.files[0]],
            Change::Stop => Vec::new(),
        }
    }

    /// Whether the daemon answers.
    fn is_up(&self) -> bool {
        let output = self.bed.ctl.run(&["-o", "json", "status"]).unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        !status["daemon_pid"].is_null()
    }

    fn start(&mut self) {
        if self.daemon.is_none() {
            self.daemon = Some(self.spawn(&self.words(Change::Start)));
            let begin = Instant::now();
            while !self.is_up() {
                let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
                let late = begin.elapsed() > Duration::from_secs(60);
                assert!(
                    ended.is_none() && !late,
                    "{ended:?}\n{}",
                    self.bed.ctl.log()
                );
            }
        }
    }

    fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            daemon.wait().unwrap();
        }
    }

    /// Does one change and kills at a moment: who makes it, or the daemon.
    fn round(&mut self, change: Change) {
        match change {
            Change::Load | Change::Start => self.kill_daemon(),
            Change::Apply | Change::Stop => self.start(),
            _ => {}
        }
        let known = self.takes.get(&change).copied();
        let most = known.unwrap_or(Duration::from_secs(1)).as_micros() as u64;
        let moment = Duration::from_micros(self.random.below(most.max(1)));
        let begin = Instant::now();
        match change {
            Change::Stop => {
                let pid = Pid::from_child(self.daemon.as_ref().unwrap());
                kill_process(pid, Signal::TERM).unwrap();
                sleep(moment);
                self.kill_daemon();
            }
            Change::Start => {
                self.daemon = Some(self.spawn(&self.words(change)));
                sleep(moment);
                self.kill_daemon();
            }
            _ => {
                let mut child = self.spawn(&self.words(change));
                while begin.elapsed() < moment && child.try_wait().unwrap().is_none() {
                    sleep(Duration::from_millis(1));
                }
                if self.daemon.is_some() && self.random.one_in(2) {
                    self.kill_daemon();
                } else {
                    let _ = child.kill();
                }
                child.wait().unwrap();
            }
        }
    }

    /// How long a change takes that nobody kills.
    fn measure(&mut self, change: Change) {
        match change {
            Change::Load => self.kill_daemon(),
            Change::Apply => self.start(),
            _ => {}
        }
        let begin = Instant::now();
        match change {
            Change::Start => {
                self.kill_daemon();
                self.start();
            }
            Change::Stop => {
                self.takes.insert(change, Duration::from_millis(300));
                return;
            }
            _ => {
                let output = self.bed.ctl.run(&self.words(change)).unwrap();
                assert!(output.status.success(), "{change:?} {output:?}");
            }
        }
        self.takes.insert(change, begin.elapsed());
    }

    fn ok(&self, words: &[&str]) -> Output {
        let output = self.bed.ctl.run(words).unwrap();
        let log = || self.bed.ctl.log();
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", log());
        output
    }

    /// After a round everything can be used, and nothing of what was cut off is left.
    fn usable(&mut self, after: &str) {
        if let Some(daemon) = &mut self.daemon {
            let ended = daemon.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{after}: {ended:?}\n{}",
                self.bed.ctl.log()
            );
        }
        for file in &self.files {
            self.ok(&["check", file]);
        }
        self.round += 1;
        self.ok(&self.words(match self.daemon {
            Some(_) => Change::Apply,
            None => Change::Load,
        }));
        self.ok(&["unban", "--all"]);
        let one = format!("203.0.113.{}", self.round % 200);
        self.ok(&["ban", &one]);
        let listed = |ctl: &Ctl<'_>| {
            let report = ctl.json(&["bans"]).unwrap();
            let mut entries = report["entries"].as_array().unwrap().iter();
            entries.any(|entry| entry["prefix"] == *one)
        };
        assert!(listed(self.bed.ctl), "{after}: {one} is banned");
        self.ok(&["unban", &one]);
        // Of the pins that generation alone is left whose program the interface carries.
        self.bed.truth.look(self.bed.pair, self.bed.ctl);
        let status = self.bed.ctl.json(&["status"]).unwrap();
        let seen = self.bed.truth.seen.lock().unwrap();
        let (_, program, pinned) = seen.back().unwrap();
        let number = status["generation"]["number"].as_u64().unwrap();
        assert_eq!(*pinned, BTreeSet::from([number]), "{after}");
        let said = status["interfaces"][0]["program_id"].as_u64();
        assert_eq!(said, *program, "{after}");
        // What was being written is whole or as it was, and nothing lies about beside it.
        let beside: Vec<String> = fs::read_dir(self.bed.ctl.folder().join("policies"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["a.yaml", "b.yaml", "list.txt"].contains(&name.as_str()))
            .collect();
        assert_eq!(beside, [""; 0], "{after}");
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_that_is_killed_opens_a_port_tells_a_lie_or_leaves_a_ruin() {
    let rounds = number("FIREWALL_CASES", 20).unwrap();
    let seed = number("FIREWALL_SEED", 20).unwrap();
    let pair = Pair::new().unwrap();
    pair.inside
        .nft(
            "add table inet fwt; add counter inet fwt strangers; \
             add chain inet fwt pre { type filter hook prerouting priority raw; }; \
             add rule inet fwt pre udp dport 9 counter name strangers",
        )
        .unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let folder = ctl.folder().join("policies");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let more = "  - {name: more, proto: tcp, port: 80, action: pass}\n";
    let files = [write("a.yaml", &policy("")), write("b.yaml", &policy(more))];
    let addresses = (0..MANY).map(|n| format!("10.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255));
    let list = write("list.txt", &addresses.collect::<String>());
    let bed = Bed {
        pair: &pair,
        ctl: &ctl,
        truth: Truth::default(),
        ends: AtomicBool::new(false),
        read: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        false_statements: Mutex::default(),
    };
    // Without a filter it counts, so that nothing counted means something.
    let knock = pair
        .outside
        .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
    while bed.strangers() == 0 {
        let _ = knock.send_to(b"knock", (INSIDE_V4, 9));
        sleep(Duration::from_millis(10));
    }
    let mut all = Rounds {
        bed: &bed,
        random: Random::new(seed),
        daemon: None,
        takes: BTreeMap::new(),
        files,
        list,
        round: 0,
    };
    all.ok(&all.words(Change::Load));
    sleep(Duration::from_millis(100));
    let before = bed.strangers();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for work in [Bed::watch, Bed::read, Bed::send] {
            let bed = &bed;
            scope.spawn(move || work(bed));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for change in [Change::Start, Change::Apply, Change::Ban, Change::SetLoad] {
                all.measure(change);
            }
            for change in [Change::Allow, Change::Save, Change::Load, Change::Stop] {
                all.measure(change);
            }
            for number in 0..rounds {
                let change = CHANGES[(number % 8) as usize];
                all.round(change);
                all.usable(&format!("round {number} of seed {seed}, {change:?}"));
                assert_eq!(bed.strangers(), before, "round {number}, {change:?}");
                let lies = bed.false_statements.lock().unwrap();
                assert!(lies.is_empty(), "round {number}, {change:?}: {lies:#?}");
            }
        }));
        bed.ends.store(true, Ordering::Relaxed);
        all.kill_daemon();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    let (read, sent) = (bed.read.into_inner(), bed.sent.into_inner());
    println!(
        "{rounds} rounds in {:.0} s: {sent} packets sent, {read} screens read",
        begin.elapsed().as_secs_f64()
    );
    assert!(sent > 100 && read > 5);
    assert_eq!(pair.inside.counted("inet fwt strangers").unwrap(), before);
}
