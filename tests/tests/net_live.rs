//! Bans and live sets with real packets and commands: enforced at once, through changes of the
//! policy, without the daemon, over its death, and after the machine's next start.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, OUTSIDE_V4, OUTSIDE_V6, Pair};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  friends: {type: cidr, live: true, max: 1000, elements: [\"2001:db8::/64\"]}
rules:
  - {name: friends, proto: udp, port: 514, from: \"@friends\", action: pass}
";

/// The same, and a rule about this host.
const OTHER: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  foes: {type: cidr, live: true}
  friends: {type: cidr, live: true, max: 1000, timeout: 1h}
rules:
  - {name: foes, from: \"@foes\", action: drop}
  - {name: friends, proto: udp, port: 514, from: \"@friends\", to: \"@self\", action: pass}
";

const V4: (IpAddr, IpAddr) = (IpAddr::V4(OUTSIDE_V4), IpAddr::V4(INSIDE_V4));
const V6: (IpAddr, IpAddr) = (IpAddr::V6(OUTSIDE_V6), IpAddr::V6(INSIDE_V6));

/// A listener on port 514 of both families, and a sender.
struct Wire<'a> {
    pair: &'a Pair,
    inside: UdpSocket,
}

impl<'a> Wire<'a> {
    fn new(pair: &'a Pair) -> Self {
        let inside = pair.inside.run(|| UdpSocket::bind("[::]:514").unwrap());
        let wait = firewall_tests::patience(Duration::from_millis(150));
        inside.set_read_timeout(Some(wait)).unwrap();
        Self { pair, inside }
    }

    /// Whether a datagram comes through.
    fn passes(&self, (from, to): (IpAddr, IpAddr)) -> bool {
        self.pair.outside.run(|| {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.send_to(b"knock", (to, 514)).unwrap();
        });
        self.inside.recv_from(&mut [0; 16]).is_ok()
    }
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a verb and gives the time that the whole process took.
fn timed(ctl: &Ctl<'_>, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    ctl.ok(arguments).unwrap();
    start.elapsed()
}

#[test]
#[ignore = "needs root"]
fn bans_and_sets_are_enforced_from_the_command_on() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let wire = Wire::new(&pair);
    let nothing = ctl.run(&["ban", "192.0.2.9"]).unwrap();
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        said(&nothing).contains("no policy is loaded"),
        "{}",
        said(&nothing)
    );
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();

    // What the policy puts into a set is there from the start; the rest comes and goes.
    assert!(wire.passes(V6) && !wire.passes(V4));
    ctl.ok(&["set", "add", "friends", "192.0.2.0/24", "for", "2s"])
        .unwrap();
    let begin = Instant::now();
    assert!(wire.passes(V4));
    ctl.ok(&["ban", "192.0.2.9"]).unwrap();
    assert!(!wire.passes(V4), "a ban comes before the rules");
    ctl.ok(&["unban", "192.0.2.9"]).unwrap();
    if begin.elapsed() < Duration::from_millis(1_800) {
        assert!(wire.passes(V4));
    }
    while begin.elapsed() < Duration::from_millis(2_050) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!wire.passes(V4), "two seconds are over");

    // Another policy: sets keep their entries by name, bans stay, what the policy named goes.
    ctl.ok(&["set", "add", "friends", "192.0.2.9"]).unwrap();
    ctl.ok(&["ban", "2001:db8::/64", "for", "1h"]).unwrap();
    assert!(wire.passes(V4) && !wire.passes(V6));
    fs::write(&policy, OTHER).unwrap();
    ctl.ok(&["reload"]).unwrap();
    assert!(wire.passes(V4) && !wire.passes(V6));
    ctl.ok(&["unban", "--all"]).unwrap();
    assert!(!wire.passes(V6), "the policy no longer names it");
    // `@self` follows the addresses of the host.
    pair.inside.ip("addr add 192.0.2.81/24 dev wan0").unwrap();
    let other = (V4.0, IpAddr::from([192, 0, 2, 81]));
    pair.outside
        .ip("neigh replace 192.0.2.81 lladdr 02:00:00:00:00:80 dev wan0 nud permanent")
        .unwrap();
    let start = Instant::now();
    while !wire.passes(other) {
        assert!(
            start.elapsed() < firewall_tests::patience(Duration::from_secs(5)),
            "@self is late"
        );
    }

    // Without the daemon the table goes on, and the commands, too.
    ctl.kill().unwrap();
    assert!(wire.passes(V4));
    ctl.ok(&["set", "add", "foes", "192.0.2.9"]).unwrap();
    assert!(!wire.passes(V4));
    ctl.ok(&["set", "del", "foes", "192.0.2.9"]).unwrap();
    ctl.ok(&["ban", "192.0.2.0/24"]).unwrap();
    assert!(!wire.passes(V4));

    // A daemon that comes back finds what is there; only the machine's next start reads the copy.
    ctl.start(&policy).unwrap();
    assert!(!wire.passes(V4));
    let copy = ctl.folder().join("state/live");
    let start = Instant::now();
    while !fs::read_to_string(&copy).is_ok_and(|text| text.contains("banned 192.0.2.0/24 -")) {
        assert!(
            start.elapsed() < firewall_tests::patience(Duration::from_secs(15)),
            "no copy"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    ctl.kill().unwrap();
    ctl.forget_pins().unwrap();
    let start = Instant::now();
    while !(wire.passes(V4) && wire.passes(V6)) {
        assert!(
            start.elapsed() < firewall_tests::patience(Duration::from_secs(5)),
            "nothing is filtered"
        );
    }
    ctl.start(&policy).unwrap();
    assert!(!wire.passes(V4), "the ban is back");
    ctl.ok(&["unban", "192.0.2.0/24"]).unwrap();
    assert!(wire.passes(V4), "and so is the entry of the set");
}

#[test]
#[ignore = "needs root"]
fn commands_say_what_is_wrong_and_change_nothing() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let file = policy.to_str().unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", file]).unwrap();
    let list = ctl.folder().join("list.txt");
    let path = list.to_str().unwrap();
    fs::write(&list, "192.0.2.1\n# fine\nnot.an.address\n192.0.2.0/33\n").unwrap();
    let mut story = String::new();
    let mut fails = |ctl: &Ctl<'_>, arguments: &[&str], code: i32| {
        let output = ctl.run(arguments).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        let shown = arguments.join(" ").replace(path, "list.txt");
        let said = said(&output).replace(path, "list.txt");
        writeln!(story, "$ firewall-ctl {shown}   (exit {code})\n{said}").unwrap();
    };
    fails(&ctl, &["ban"], 2);
    fails(&ctl, &["ban", "192.0.2.1/24"], 2);
    fails(&ctl, &["ban", "192.0.2.1", "for", "ever"], 2);
    fails(&ctl, &["ban", "0.0.0.0/0"], 7);
    fails(&ctl, &["ban", "-f", path], 3);
    fails(&ctl, &["ban", "-f", "/nonexistent/list.txt"], 3);
    fails(&ctl, &["set", "add", "foes", "192.0.2.1"], 1);
    fails(&ctl, &["set", "load", "friends", path, "--atomic"], 3);
    let many: String = (0..1_001)
        .map(|n| format!("10.0.{}.{}\n", n / 256, n % 256))
        .collect();
    fs::write(&list, many).unwrap();
    fails(&ctl, &["set", "load", "friends", path], 1);
    fails(&ctl, &["set", "load", "friends", path, "--atomic"], 1);
    ctl.set("SSH_CONNECTION", "192.0.2.9 50000 192.0.2.80 22");
    fails(&ctl, &["ban", "192.0.2.0/24"], 7);
    // Behind sudo, which takes the variable away.
    let behind = ctl
        .run_under(
            &["sh", "-c", "env -u SSH_CONNECTION \"$@\"; exit $?", "sh"],
            &["ban", "192.0.2.0/24"],
        )
        .unwrap();
    assert_eq!(behind.status.code(), Some(7), "{behind:?}");
    insta::assert_snapshot!(story);
    let list = ctl.json(&["bans"]).unwrap();
    assert_eq!(list["count"], 0);
    let list = ctl.json(&["set", "list", "friends"]).unwrap();
    assert_eq!(list["count"], 1, "what the policy names: {list}");
}

/// The examples of docs/bans.md, as they stand there.
#[test]
#[ignore = "needs root"]
fn fail2ban_and_feeds_do_as_the_page_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bans.md");
    let page = fs::read_to_string(page).unwrap();
    let block = |kind: &str, containing: &str| {
        let open = format!("```{kind}\n");
        let mut blocks = page.split(&open).skip(1);
        let block = blocks.find(|rest| rest.split("```").next().unwrap().contains(containing));
        block.unwrap().split("```").next().unwrap().to_owned()
    };
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    let banned = |ctl: &Ctl<'_>| {
        let bans = ctl.json(&["bans"]).unwrap();
        let list = bans["entries"].as_array().unwrap().clone();
        let text = |ban: &serde_json::Value| ban["prefix"].as_str().unwrap().to_owned();
        list.iter().map(text).collect::<Vec<_>>()
    };

    let actions = block("ini", "actionban");
    let action = |name: &str| -> Vec<String> {
        let line = actions.lines().find(|line| line.starts_with(name)).unwrap();
        let command = line.split_once(" = ").unwrap().1;
        let command = command
            .replace("<ip>", "203.0.113.9")
            .replace("<bantime>", "600");
        command.split(' ').skip(1).map(str::to_owned).collect()
    };
    let run = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ctl.ok(&words).unwrap();
    };
    run(action("actionban"));
    assert_eq!(banned(&ctl), ["203.0.113.9"]);
    run(action("actionunban"));
    assert!(banned(&ctl).is_empty());

    ctl.ok(&["ban", "198.51.100.7"]).unwrap();
    let feed = ctl.folder().join("decisions.txt");
    fs::write(&feed, block("text", "add ")).unwrap();
    ctl.ok(&["set", "feed", "banned", feed.to_str().unwrap()])
        .unwrap();
    let mut bans = banned(&ctl);
    bans.sort();
    assert_eq!(bans, ["2001:db8:bad::/48", "203.0.113.9"]);
}

/// P10 of the performance page, and E4: whole processes, from the command to the packet.
#[test]
#[ignore = "needs root"]
fn a_hundred_thousand_bans_and_a_set_of_a_million() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let text = POLICY.replace("max: 1000", "max: 1100000");
    let policy = ctl.policy(&text).unwrap();
    let file = policy.to_str().unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", file]).unwrap();
    let list = |name: &str, count: u32, base: u32| {
        let path = ctl.folder().join(name);
        let mut text = String::new();
        for n in 0..count {
            let [a, b, c, d] = (base + n * 3).to_be_bytes();
            writeln!(text, "{a}.{b}.{c}.{d}").unwrap();
        }
        fs::write(&path, text).unwrap();
        path
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let million = text(&list("million.txt", 1_000_000, 0x0b00_0000));
    let loaded = timed(&ctl, &["set", "load", "friends", &million]);
    let added = timed(&ctl, &["set", "add", "friends", "192.0.2.9"]);
    let bans = text(&list("bans.txt", 100_000, 0x2c00_0000));
    let batch = timed(&ctl, &["ban", "-f", &bans]);
    let one = timed(&ctl, &["ban", "198.51.100.1"]);
    println!(
        "a million loaded in {loaded:?}, one added in {added:?}; 100,000 banned in {batch:?}, one in {one:?}"
    );
    let wire = Wire::new(&pair);
    assert!(wire.passes(V4));
    let sets = ctl.json(&["set", "list"]).unwrap();
    assert_eq!(sets["sets"][0]["entries"], 100_001);
    assert_eq!(sets["sets"][1]["entries"], 1_000_002);
}

/// M10: nobody keeps `@self` up to date without the daemon (VRRP moves an address): `status` says so.
#[test]
#[ignore = "needs root"]
fn without_the_daemon_status_says_that_self_is_stale() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let file = ctl.policy(OTHER).unwrap();
    let words = ["load", "-f", file.to_str().unwrap()];
    let is_stale = |ctl: &Ctl<'_>| {
        let output = ctl.run(&["status"]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let says = text.contains("`@self` does not hold");
        assert_eq!(says, !text.contains("Drift none"), "{text}");
        assert_eq!(output.status.code(), Some(i32::from(says)), "{text}");
        says
    };
    ctl.ok(&words).unwrap();
    assert!(!is_stale(&ctl));
    for (verb, address) in [("add", "192.0.2.200/32"), ("del", "192.0.2.200/32")] {
        let words_of_ip = format!("addr {verb} {address} dev wan0");
        pair.inside.ip(&words_of_ip).unwrap();
        assert!(is_stale(&ctl), "{verb}");
        ctl.ok(&words).unwrap();
        assert!(!is_stale(&ctl), "{verb}");
    }
    // The daemon mends it by itself.
    pair.inside.ip("addr add 192.0.2.201/32 dev wan0").unwrap();
    assert!(is_stale(&ctl));
    ctl.start(&file).unwrap();
    let deadline = Instant::now() + firewall_tests::patience(Duration::from_secs(10));
    while is_stale(&ctl) {
        assert!(Instant::now() < deadline, "{}", ctl.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs root"]
fn a_static_set_in_force_is_listed_and_asked_with_and_without_a_daemon() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let list = ctl.folder().join("list.txt");
    fs::write(&list, "203.0.113.0/28\n198.51.100.7\n").unwrap();
    let policy = ctl
        .policy(
            "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nsets:\n  listed: {type: \
             cidr, file: list.txt}\n  ports: {type: port, elements: [80, 5000-5010]}\n  guests: {type: \
             cidr, live: true, max: 10}\nrules:\n  - {name: a, from: \"@listed\", action: pass}\n  \
             - {name: b, proto: tcp, port: \"@ports\", action: pass}\n  - {name: c, from: \
             \"@guests\", action: pass}\n",
        )
        .unwrap();
    let ask = |ctl: &Ctl<'_>| {
        let mut told = Vec::new();
        for words in [
            &["set", "list"][..],
            &["set", "list", "listed"],
            &["set", "list", "ports"],
            &["set", "get", "listed", "203.0.113.9"],
            &["set", "get", "@listed", "203.0.113.16"],
            &["set", "get", "ports", "5003"],
            &["set", "get", "ports", "81"],
            &["set", "get", "guests", "192.0.2.1"],
            &["set", "get", "banned", "192.0.2.9"],
            &["set", "get", "nobody", "192.0.2.1"],
            &["set", "get", "listed", "everywhere"],
            &["set", "add", "listed", "192.0.2.1"],
        ] {
            let output = ctl.run(words).unwrap();
            let both = [&output.stdout[..], &output.stderr[..]].concat();
            let code = output.status.code();
            told.push(format!(
                "$ {} -> {code:?}\n{}",
                words.join(" "),
                String::from_utf8_lossy(&both)
            ));
        }
        told.join("")
    };
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    ctl.ok(&["set", "add", "guests", "192.0.2.0/24"]).unwrap();
    ctl.ok(&["ban", "192.0.2.9"]).unwrap();
    let alone = ask(&ctl);
    // What is in force is what was read, whatever becomes of the file.
    fs::write(&list, "192.0.2.0/24\n").unwrap();
    assert_eq!(ask(&ctl), alone);
    fs::write(&list, "203.0.113.0/28\n198.51.100.7\n").unwrap();
    ctl.start(&policy).unwrap();
    fs::remove_file(&list).unwrap();
    assert_eq!(ask(&ctl), alone);
    insta::assert_snapshot!(alone);
}
