//! Bans and live sets on disk: what was told is kept, and what was taken back stays so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said, until};
use firewall_tests::netns::Pair;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::ffi::CStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: pass}
sets:
  friends: {type: cidr, live: true, max: 100}
rules:
  - {name: friends, from: '@friends', action: pass}
";

const WITHOUT: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: pass}
";

fn prefixes(ctl: &Ctl<'_>, arguments: &[&str]) -> Vec<String> {
    let list = ctl.json(arguments).unwrap();
    let entries = list["entries"].as_array().unwrap();
    let mut all: Vec<String> = entries
        .iter()
        .map(|entry| entry["prefix"].as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

fn bans(ctl: &Ctl<'_>) -> Vec<String> {
    prefixes(ctl, &["bans"])
}

fn friends(ctl: &Ctl<'_>) -> Vec<String> {
    prefixes(ctl, &["set", "list", "friends"])
}

fn warnings(ctl: &Ctl<'_>) -> Vec<String> {
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings = status["warnings"].as_array().unwrap();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    warnings.iter().map(text).collect()
}

fn copy(ctl: &Ctl<'_>) -> PathBuf {
    ctl.state().join("live")
}

/// Waits until the daemon has written the copy with some words.
fn kept(ctl: &Ctl<'_>, words: &str) {
    until(words, ctl, || {
        fs::read_to_string(copy(ctl)).is_ok_and(|text| text.contains(words))
    });
}

/// As the machine's next start: pins are gone, files are not.
fn restart(ctl: &mut Ctl<'_>) {
    ctl.kill().unwrap();
    ctl.forget_pins().unwrap();
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
#[ignore = "needs root"]
fn what_is_taken_back_without_the_daemon_stays_so() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1", "203.0.113.2"]).unwrap();
    kept(&ctl, "banned 203.0.113.2 -");
    ctl.kill().unwrap();
    ctl.ok(&["unban", "203.0.113.1"]).unwrap();
    ctl.ok(&["ban", "203.0.113.3"]).unwrap();
    restart(&mut ctl);
    ctl.start(&policy).unwrap();
    assert_eq!(bans(&ctl), ["203.0.113.2", "203.0.113.3"]);
    // Whoever takes the whole filter off takes its bans off.
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    ctl.start(&policy).unwrap();
    assert!(bans(&ctl).is_empty());
}

#[test]
#[ignore = "needs root"]
fn a_load_before_the_daemon_brings_the_copy_back_and_erases_nothing() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let load = ["load", "-i", "wan0", "-f", policy.to_str().unwrap()];
    ctl.ok(&load).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    ctl.ok(&["set", "add", "friends", "192.0.2.9"]).unwrap();
    ctl.forget_pins().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    ctl.ok(&load).unwrap();
    assert_eq!(bans(&ctl), ["203.0.113.1"]);
    assert_eq!(friends(&ctl), ["192.0.2.9"]);
    // The daemon's own copy is of another start of the machine: both count.
    fs::create_dir_all(ctl.state()).unwrap();
    fs::write(
        copy(&ctl),
        "# taken: another 1800000000000\nbanned 203.0.113.7 -\n",
    )
    .unwrap();
    ctl.start(&policy).unwrap();
    assert_eq!(bans(&ctl), ["203.0.113.1", "203.0.113.7"]);
    kept(&ctl, "banned 203.0.113.1 -");
}

/// What the policy names has no end, and what is in force is newer than a copy: neither becomes shorter by
/// what a copy says, nor the former by a command.
#[test]
#[ignore = "needs root"]
fn what_is_in_force_ends_no_earlier_for_what_a_copy_says() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let named = POLICY.replace("live: true", "live: true, elements: [192.0.2.50]");
    assert_ne!(named, POLICY);
    let policy = ctl.policy(&named).unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    ctl.ok(&["ban", "203.0.113.2", "for", "60s"]).unwrap();
    fs::create_dir_all(ctl.state()).unwrap();
    let text = "# taken: another 1800000000000\nbanned 203.0.113.1 1800000090000 90000\nbanned 203.0.113.2 \
                1800000090000 90000\nfriends 192.0.2.50 1800000090000 90000\n";
    fs::write(copy(&ctl), text).unwrap();
    let left = |ctl: &Ctl<'_>, set: &str, prefix: &str| {
        let report = ctl.json(&["set", "list", set]).unwrap();
        let entries = report["entries"].as_array().unwrap();
        let entry = entries.iter().find(|it| it["prefix"] == prefix).unwrap();
        entry["left"].as_f64()
    };
    ctl.start(&policy).unwrap();
    assert_eq!(left(&ctl, "friends", "192.0.2.50"), None);
    assert_eq!(left(&ctl, "banned", "203.0.113.1"), None);
    assert!(left(&ctl, "banned", "203.0.113.2").unwrap() > 60.0);
    let output = ctl
        .run(&["set", "add", "friends", "192.0.2.50", "for", "60s"])
        .unwrap();
    assert!(
        said(&output).contains("named by the policy"),
        "{}",
        said(&output)
    );
    assert_eq!(left(&ctl, "friends", "192.0.2.50"), None);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_placed_waits_in_the_copy_and_is_said() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(WITHOUT).unwrap();
    fs::create_dir_all(ctl.state()).unwrap();
    let text = b"# firewall-ctl: bans and live sets, version 1\nbanned 203.0.113.1 -\n\xff odd\n\
                 friends 192.0.2.9 -\nbanned 203.0.113.2 -\n";
    fs::write(copy(&ctl), text).unwrap();
    ctl.start(&policy).unwrap();
    assert_eq!(bans(&ctl), ["203.0.113.1", "203.0.113.2"]);
    kept(&ctl, "? friends 192.0.2.9 -");
    until("status says so", &ctl, || {
        let all = warnings(&ctl).join("\n");
        all.contains("`friends`") && all.contains("cannot be read")
    });
    assert_eq!(ctl.run(&["status"]).unwrap().status.code(), Some(1));
    // The set comes, and its entries with it; the odd line stays.
    fs::write(&policy, POLICY).unwrap();
    ctl.ok(&["reload"]).unwrap();
    until("the entry is back", &ctl, || friends(&ctl) == ["192.0.2.9"]);
    kept(&ctl, "\nfriends 192.0.2.9 -");
    assert!(fs::read_to_string(copy(&ctl)).unwrap().contains("odd"));
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_told_in_status() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    fs::create_dir_all(ctl.state()).unwrap();
    let small: &CStr = c"size=64k";
    mount(
        "tmpfs",
        ctl.state(),
        "tmpfs",
        MountFlags::empty(),
        Some(small),
    )
    .unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    kept(&ctl, "banned 203.0.113.1 -");
    // As much as there is room for.
    let mut filler = fs::File::create(ctl.state().join("filler")).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(1), &mut filler);
    assert!(filled.is_err());
    drop(filler);
    let before = fs::read(copy(&ctl)).unwrap();
    ctl.ok(&["ban", "203.0.113.2"]).unwrap();
    until("status says so", &ctl, || {
        warnings(&ctl)
            .iter()
            .any(|it| it.contains("cannot keep a copy"))
    });
    assert_eq!(ctl.run(&["status"]).unwrap().status.code(), Some(1));
    assert_eq!(
        fs::read(copy(&ctl)).unwrap(),
        before,
        "the former copy is whole"
    );
    fs::remove_file(ctl.state().join("filler")).unwrap();
    kept(&ctl, "banned 203.0.113.2 -");
    until("status is good again", &ctl, || warnings(&ctl).is_empty());
    let names: Vec<_> = fs::read_dir(ctl.state()).unwrap().collect();
    // The copy, the numbers of generations, the trail, and the history.
    assert_eq!(names.len(), 4, "nothing is left behind: {names:?}");
    ctl.kill().unwrap();
    unmount(ctl.state(), UnmountFlags::DETACH).unwrap();
}

/// A copy that was taken by a clock which was years behind or ahead of today's.
#[test]
#[ignore = "needs root"]
fn a_wrong_clock_makes_no_ban_longer_and_loses_none() {
    let pair = Pair::new().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let years = Duration::from_secs(27 * 365 * 24 * 3600);
    for taken in [Duration::from_secs(60), now + years, now - years] {
        let mut ctl = Ctl::new(&pair.inside).unwrap();
        let policy = ctl.policy(POLICY).unwrap();
        fs::create_dir_all(ctl.state()).unwrap();
        let end = (taken + Duration::from_secs(3600)).as_millis();
        let text = format!(
            "# taken: another {}\nbanned 203.0.113.1 {end} 3600000\n",
            taken.as_millis()
        );
        fs::write(copy(&ctl), text).unwrap();
        ctl.start(&policy).unwrap();
        let list = ctl.json(&["bans"]).unwrap();
        let left = list["entries"][0]["left"].as_f64().unwrap();
        assert!((3000.0..=3600.0).contains(&left), "{taken:?}: {left}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_copy_that_is_no_file_is_refused_and_nobody_waits_for_it() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    fs::create_dir_all(ctl.state()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(copy(&ctl))
        .status();
    assert!(made.unwrap().success());
    ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    until("status says so", &ctl, || {
        warnings(&ctl)
            .iter()
            .any(|it| it.contains("not a regular file"))
    });
}

#[test]
#[ignore = "needs root"]
fn a_range_is_taken_back_exactly() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let ask = |ctl: &Ctl<'_>, words: &[&str]| {
        let output = ctl.run(words).unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
    };
    ask(&ctl, &["set", "add", "friends", "10.0.0.100-10.0.0.200"]);
    ask(&ctl, &["set", "del", "friends", "10.0.0.110-10.0.0.190"]);
    let rest: Vec<String> = friends(&ctl);
    let by_hand = ["10.0.0.100/30", "10.0.0.104/30", "10.0.0.108/31"];
    let above = ["10.0.0.191", "10.0.0.192/29", "10.0.0.200"];
    let mut wanted: Vec<&str> = by_hand.into_iter().chain(above).collect();
    wanted.sort_unstable();
    assert_eq!(rest, wanted);
    // Of a ban that is wider than the range the rest stays, for the time that it has.
    ask(&ctl, &["ban", "203.0.113.0/30", "for", "1h"]);
    ask(&ctl, &["unban", "203.0.113.1-203.0.113.2"]);
    assert_eq!(bans(&ctl), ["203.0.113.0", "203.0.113.3"]);
    let list = ctl.json(&["bans"]).unwrap();
    let left = list["entries"][0]["left"].as_f64().unwrap();
    assert!((3000.0..=3600.0).contains(&left), "{list}");
}

/// A client whose request was begun before the end, and whose policy keeps the daemon at work meanwhile, bans
/// to the last moment.
#[test]
#[ignore = "needs root"]
fn a_ban_that_is_accepted_while_the_daemon_ends_is_in_the_copy() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(WITHOUT).unwrap();
    let pid = ctl.start(&policy).unwrap();
    ctl.ok(&["ban", "203.0.113.1"]).unwrap();
    kept(&ctl, "203.0.113.1");
    let mut large = format!("{WITHOUT}rules:\n");
    for number in 0..20_000 {
        let (high, low) = (number >> 8, number & 255);
        large.push_str(&format!(
            "  - {{name: r{number}, from: 10.1.{high}.{low}, proto: tcp, port: {}, action: drop}}\n",
            1 + number
        ));
    }
    fs::write(&policy, large).unwrap();
    let mut reload = ctl.command(&["reload"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let clients: Vec<_> = (2..20).map(|number| Asking::begin(&ctl, number)).collect();
    std::thread::sleep(Duration::from_millis(200));
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut accepted = Vec::new();
    for client in clients {
        std::thread::sleep(Duration::from_millis(50));
        accepted.extend(client.end());
    }
    ctl.ended().unwrap();
    let _ = reload.wait();
    assert!(!accepted.is_empty(), "{}", ctl.log());
    let text = fs::read_to_string(copy(&ctl)).unwrap();
    for address in accepted {
        assert!(text.contains(&address), "{address} is in no copy:\n{text}");
    }
}

/// A request to ban an address, of which the last byte is missing yet.
struct Asking {
    address: String,
    stream: UnixStream,
}

impl Asking {
    fn begin(ctl: &Ctl<'_>, number: u8) -> Self {
        let address = format!("203.0.113.{number}");
        let body = format!(
            r#"{{"set": "banned", "what": {{"steps": [{{"add": {{"prefix": "{address}"}}}}]}}, "i_know": true"#
        );
        let mut stream = UnixStream::connect(ctl.folder().join("control.sock")).unwrap();
        let length = body.len() + 1;
        let head = format!(
            "POST /v1/sets HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        Self { address, stream }
    }

    /// Sends the rest; the address, if that was accepted.
    fn end(mut self) -> Option<String> {
        self.stream.write_all(b"}").ok()?;
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(self.address)
    }
}
