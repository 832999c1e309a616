//! Bad input, by the program as a user runs it: each has its exit code and its own words, and
//! nothing changes in the kernel, whether nothing is loaded or a policy is in force.
//!
//! What users read is kept as snapshots, one for each verb and state.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INTERFACE, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const GOOD: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: open, proto: udp, port: 514, action: pass}
";

/// Codes of `cli.md`: they never change.
const CONFIG: i32 = 3;
const PRIVILEGE: i32 = 4;
const UNREACHABLE: i32 = 5;
const UNSUPPORTED: i32 = 6;
const REFUSED: i32 = 7;

/// Who runs a command, in the story.
const ROOT: &str = "root";

/// Largest input, in bytes.
const LARGE: u64 = 100_000_000;
/// What refusing an input may take of a processor; and until it has one, in a row of other tests.
const WORK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of writable memory: far more than the program needs, less than the input.
const MEMORY: &str = "--data=100000000";

/// A policy that is wrong in one place.
fn bad_policies() -> Vec<(&'static str, String)> {
    let rule = |text: &str| GOOD.replace("{name: open, proto: udp, port: 514, action: pass}", text);
    vec![
        (
            "broken-yaml",
            rule("{name: open, proto: udp, port: 514, action: pass"),
        ),
        (
            "bad-indent",
            GOOD.replace("  - {", "- name: x\n   action: {"),
        ),
        (
            "unknown-key",
            rule("{name: open, proto: udp, prot: 514, action: pass}"),
        ),
        (
            "unknown-action",
            rule("{name: open, proto: udp, port: 514, action: dorp}"),
        ),
        (
            "unknown-set",
            rule("{name: open, from: \"@admin\", action: pass}").replace(
                "rules:",
                "sets: {admins: {type: cidr, elements: [192.0.2.0/24]}}\nrules:",
            ),
        ),
        (
            "port-70000",
            rule("{name: open, proto: udp, port: 70000, action: pass}"),
        ),
        (
            "host-bits",
            rule("{name: open, from: 192.0.2.1/24, action: pass}"),
        ),
        ("no-version", GOOD.replace("version: 1\n", "")),
        ("not-a-map", "just text\n".to_owned()),
    ]
}

/// Files that are no policy at all.
fn write_bad_files(folder: &Path) -> Vec<&'static str> {
    for (name, text) in bad_policies() {
        fs::write(folder.join(name).with_extension("yaml"), text).unwrap();
    }
    fs::write(folder.join("empty.yaml"), "").unwrap();
    fs::write(folder.join("blank.yaml"), " \n\n").unwrap();
    fs::write(folder.join("comment.yaml"), "# nothing yet\n").unwrap();
    fs::write(folder.join("latin1.yaml"), b"version: 1\n# caf\xe9\n").unwrap();
    fs::write(folder.join("nul.yaml"), b"version: 1\0\n").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let sparse = File::create(folder.join("sparse.yaml")).unwrap();
    sparse.set_len(LARGE).unwrap();
    let line = b"  - {name: one-of-very-many, proto: tcp, port: 443, action: pass}\n";
    let mut text = File::create(folder.join("large.yaml")).unwrap();
    let chunk = line.repeat(10_000);
    for _ in 0..LARGE / chunk.len() as u64 + 1 {
        text.write_all(&chunk).unwrap();
    }
    vec![
        "missing.yaml",
        "empty.yaml",
        "blank.yaml",
        "comment.yaml",
        "latin1.yaml",
        "nul.yaml",
        "folder",
        "sparse.yaml",
        "large.yaml",
    ]
}

/// What a user reads, with what differs from run to run taken out.
fn redacted(ctl: &Ctl<'_>, text: &str) -> String {
    let text = text
        .replace(ctl.folder().to_str().unwrap(), "DIR")
        .replace(ctl.pins().to_str().unwrap(), "PINS");
    let mut lines = Vec::new();
    // Where there is no journal, the log says what is on record: when, and by which process.
    for line in text
        .lines()
        .filter(|it| !it.contains(" INFO start daemon "))
    {
        // A namespace may be born with interfaces of tunnels.
        let line = match line.split_once("There are: ") {
            Some((start, names)) => {
                let names: Vec<&str> = names.split(", ").collect();
                assert!(names.contains(&INTERFACE), "{line}");
                format!("{start}There are: INTERFACES")
            }
            None => line.to_owned(),
        };
        let line = match line.split_once("(id ") {
            Some((start, rest)) => {
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{start}(id N{rest}")
            }
            None => line,
        };
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// The story of many commands, for a snapshot.
#[derive(Default)]
struct Story(String);

impl Story {
    /// Notes a command by `who` that must fail with `code`.
    fn note(&mut self, ctl: &Ctl<'_>, who: &str, arguments: &[&str], output: &Output, code: i32) {
        let words = redacted(ctl, &arguments.join(" "));
        let errors = redacted(ctl, &String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{words}\n{errors}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "", "{words}: nothing to say on the standard output");
        self.0.push_str(&format!(
            "{who}$ firewall-ctl {words}\n{errors}\n--- exit {code}\n\n"
        ));
    }

    /// Runs a verb that must fail with `code`, within [`WORK`], [`PATIENCE`] and [`MEMORY`].
    fn fails(&mut self, ctl: &Ctl<'_>, arguments: &[&str], code: i32) {
        let start = Instant::now();
        // Who takes more is killed.
        let work = format!("--cpu={}", patience(WORK).as_secs());
        let output = ctl
            .run_under(&["prlimit", MEMORY, &work], arguments)
            .unwrap();
        let took = start.elapsed();
        assert!(took < patience(PATIENCE), "{arguments:?} took {took:?}");
        self.note(ctl, ROOT, arguments, &output, code);
    }

    /// Runs a verb that must fail for who has no privilege.
    fn fails_for_nobody(&mut self, ctl: &Ctl<'_>, arguments: &[&str]) {
        let output = ctl.run_unprivileged(arguments).unwrap();
        self.note(ctl, "nobody", arguments, &output, PRIVILEGE);
    }

    /// Every bad policy and every bad file as the last argument.
    fn all_files_fail(&mut self, ctl: &Ctl<'_>, arguments: &[&str], files: &[String]) {
        for file in files {
            let mut arguments = arguments.to_vec();
            arguments.push(file);
            self.fails(ctl, &arguments, CONFIG);
        }
    }
}

/// Paths of all bad files, made in the user's folder.
fn bad_files(ctl: &Ctl<'_>) -> Vec<String> {
    let others = write_bad_files(ctl.folder());
    let policies = bad_policies()
        .into_iter()
        .map(|(name, _)| format!("{name}.yaml"));
    policies
        .chain(others.into_iter().map(str::to_owned))
        .map(|name| ctl.folder().join(name).to_str().unwrap().to_owned())
        .collect()
}

/// Everything that must not change.
#[derive(PartialEq, Debug)]
struct Kernel {
    pins: Vec<String>,
    generation: Value,
    interfaces: Vec<Value>,
    programs: String,
}

impl Kernel {
    fn now(pair: &Pair, ctl: &Ctl<'_>) -> Self {
        let output = ctl.run(&["-o", "json", "status"]).unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let interfaces = status["interfaces"].as_array().unwrap().iter();
        let shown = pair.inside.run(|| {
            let output = Command::new("ip")
                .args(["-d", "link", "show", INTERFACE])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        Self {
            pins: pins(ctl.pins()),
            generation: status["generation"].clone(),
            interfaces: interfaces
                .map(|interface| {
                    let fact = |name: &str| interface[name].clone();
                    Value::from(["name", "link_id", "program_id", "mode"].map(fact).to_vec())
                })
                .collect(),
            programs: shown
                .lines()
                .filter(|line| line.contains("xdp"))
                .map(str::to_owned)
                .collect(),
        }
    }

    fn is_untouched(&self) -> bool {
        self.pins.is_empty()
            && self.generation.is_null()
            && self.interfaces.is_empty()
            && self.programs.is_empty()
    }
}

/// Everything below a folder, sorted.
fn pins(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(pins(&path));
        }
    }
    found.sort();
    found
}

/// Two ports, of which the good policy opens one.
struct Probe {
    open: UdpSocket,
    closed: UdpSocket,
    sender: UdpSocket,
}

impl Probe {
    fn new(pair: &Pair) -> Self {
        let (open, closed) = pair.inside.run(|| {
            let bind = |port: u16| UdpSocket::bind((INSIDE_V4, port)).unwrap();
            (bind(514), bind(9))
        });
        open.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        closed.set_nonblocking(true).unwrap();
        let sender = pair
            .outside
            .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
        Self {
            open,
            closed,
            sender,
        }
    }

    /// What arrives of one packet to each port: to the open one, to the closed one.
    fn arrives(&self) -> (bool, bool) {
        // The cable keeps the order: when the second has arrived, so would the first.
        self.sender.send_to(&[1], (INSIDE_V4, 9)).unwrap();
        self.sender.send_to(&[2], (INSIDE_V4, 514)).unwrap();
        let mut buffer = [0; 8];
        let open = self.open.recv(&mut buffer).is_ok();
        (open, self.closed.recv(&mut buffer).is_ok())
    }
}

fn snapshot(name: &str, story: &Story) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => true }, {
        insta::assert_snapshot!(name, story.0);
    });
}

#[test]
#[ignore = "needs root"]
fn load_with_nothing_loaded() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(GOOD).unwrap();
    let good = good.to_str().unwrap();
    let files = bad_files(&ctl);
    let probe = Probe::new(&pair);
    let mut story = Story::default();
    story.all_files_fail(&ctl, &["load", "-i", "wan0", "-f"], &files);
    story.fails(&ctl, &["load", "-i", "wan1", "-f", good], CONFIG);
    story.fails(&ctl, &["load", "-i", "wan0,eth7", "-f", good], CONFIG);
    let elsewhere = ctl.folder().join("elsewhere.yaml");
    fs::write(&elsewhere, GOOD.replace("wan0", "eth7")).unwrap();
    story.fails(&ctl, &["load", "-f", elsewhere.to_str().unwrap()], CONFIG);
    fs::write(&elsewhere, GOOD.replace("wan0", "wwan*")).unwrap();
    story.fails(&ctl, &["load", "-f", elsewhere.to_str().unwrap()], CONFIG);
    let nobody = ["load", "-i", "wan0", "-f", good];
    story.fails_for_nobody(&ctl, &nobody);
    let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let output = ctl.run_under(&bare, &nobody).unwrap();
    story.note(
        &ctl,
        "root without capabilities",
        &nobody,
        &output,
        PRIVILEGE,
    );
    assert!(Kernel::now(&pair, &ctl).is_untouched());
    assert_eq!(probe.arrives(), (true, true));
    snapshot("load_with_nothing_loaded", &story);
}

#[test]
#[ignore = "needs root"]
fn load_over_a_policy_in_force() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(GOOD).unwrap();
    let good = good.to_str().unwrap();
    let files = bad_files(&ctl);
    let probe = Probe::new(&pair);
    ctl.ok(&["load", "-f", good]).unwrap();
    let before = Kernel::now(&pair, &ctl);
    assert!(!before.is_untouched());
    let mut story = Story::default();
    for file in &files {
        story.fails(&ctl, &["load", "-f", file], CONFIG);
        assert_eq!(Kernel::now(&pair, &ctl), before, "{file}");
        assert_eq!(probe.arrives(), (true, false), "{file}");
    }
    story.fails(&ctl, &["load", "-i", "wan1", "-f", good], CONFIG);
    let nobody = ["load", "-f", good];
    story.fails_for_nobody(&ctl, &nobody);
    let unload = ["unload", "--all"];
    story.fails_for_nobody(&ctl, &unload);
    assert_eq!(Kernel::now(&pair, &ctl), before);
    assert_eq!(probe.arrives(), (true, false));
    snapshot("load_over_a_policy_in_force", &story);
}

#[test]
#[ignore = "needs root"]
fn apply_through_the_daemon() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(GOOD).unwrap();
    let files = bad_files(&ctl);
    let probe = Probe::new(&pair);
    let mut story = Story::default();
    let path = good.to_str().unwrap().to_owned();
    story.fails(&ctl, &["apply", "-f", &path], UNREACHABLE);
    assert!(Kernel::now(&pair, &ctl).is_untouched());

    ctl.start(&good).unwrap();
    let before = Kernel::now(&pair, &ctl);
    assert!(!before.is_untouched());
    for file in &files {
        story.fails(&ctl, &["apply", "-f", file], CONFIG);
        assert_eq!(Kernel::now(&pair, &ctl), before, "{file}");
        assert_eq!(probe.arrives(), (true, false), "{file}");
    }
    let nobody = ["apply", "-f", &path];
    story.fails_for_nobody(&ctl, &nobody);
    story.fails(&ctl, &["load", "-f", &path], REFUSED);
    assert_eq!(Kernel::now(&pair, &ctl), before);
    assert_eq!(probe.arrives(), (true, false));
    snapshot("apply_through_the_daemon", &story);
}

#[test]
#[ignore = "needs root"]
fn check_needs_no_privilege() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(GOOD).unwrap();
    let files = bad_files(&ctl);
    let mut story = Story::default();
    story.all_files_fail(&ctl, &["check"], &files);
    let private = ctl.folder().join("private.yaml");
    fs::write(&private, GOOD).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&private, mode).unwrap();
    let unreadable = ["check", private.to_str().unwrap()];
    story.fails_for_nobody(&ctl, &unreadable);
    let valid = ctl
        .run_unprivileged(&["check", good.to_str().unwrap()])
        .unwrap();
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");
    // As much text through a pipe, whose length nobody knows beforehand.
    let pipe = [
        "sh",
        "-c",
        "yes '# more' | head -c 100000000 | prlimit --data=100000000 \"$@\"",
        "sh",
    ];
    let start = Instant::now();
    let output = ctl.run_under(&pipe, &["check", "-"]).unwrap();
    assert!(
        start.elapsed() < patience(PATIENCE),
        "{:?}",
        start.elapsed()
    );
    story.note(&ctl, ROOT, &["check", "-"], &output, CONFIG);
    assert!(Kernel::now(&pair, &ctl).is_untouched());
    snapshot("check", &story);
}

#[test]
#[ignore = "needs root"]
fn a_daemon_does_not_start_on_bad_input() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let good = ctl.policy(GOOD).unwrap();
    let good = good.to_str().unwrap();
    let files = bad_files(&ctl);
    let mut story = Story::default();
    story.all_files_fail(&ctl, &["daemon", "-f"], &files);
    story.fails(&ctl, &["daemon", "-i", "wan1", "-f", good], CONFIG);
    let nobody = ["daemon", "-f", good];
    story.fails_for_nobody(&ctl, &nobody);
    assert!(Kernel::now(&pair, &ctl).is_untouched());
    assert!(!ctl.folder().join("control.sock").exists());
    snapshot("daemon", &story);
}

#[test]
#[ignore = "needs root"]
fn other_peoples_programs_are_named_and_stay() {
    let pair = Pair::new().unwrap();
    let (owner, ctl) = (
        Ctl::new(&pair.inside).unwrap(),
        Ctl::new(&pair.inside).unwrap(),
    );
    let good = ctl.policy(GOOD).unwrap();
    let good = good.to_str().unwrap();
    let theirs = owner.policy(GOOD).unwrap();
    owner.ok(&["load", "-f", theirs.to_str().unwrap()]).unwrap();
    let before = Kernel::now(&pair, &owner);
    let mut story = Story::default();
    let note = |story: &mut Story, arguments: &[&str]| {
        let output = ctl.run(arguments).unwrap();
        let mut text = Story::default();
        text.note(&ctl, ROOT, arguments, &output, UNSUPPORTED);
        story
            .0
            .push_str(&text.0.replace(owner.pins().to_str().unwrap(), "OWNER"));
    };
    // Held by a link, which nobody but its owner can take off.
    note(&mut story, &["load", "-f", good]);
    note(&mut story, &["load", "-f", good, "--replace"]);
    note(&mut story, &["daemon", "-f", good]);
    assert_eq!(Kernel::now(&pair, &owner), before);
    assert!(pins(ctl.pins()).is_empty());

    // Put there by `ip`: another end of the cable stands in for another interface.
    let pin = owner.pins().join("gen-1/prog");
    pair.inside
        .ip("link add fwt-x type veth peer name fwt-y")
        .unwrap();
    let attached = pair
        .inside
        .command("ip")
        .args(["link", "set", "dev", "fwt-x", "xdp", "pinned"])
        .arg(&pin)
        .output()
        .unwrap();
    assert!(attached.status.success(), "{attached:?}");
    note(&mut story, &["load", "-i", "fwt-x", "-f", good]);
    assert!(pins(ctl.pins()).is_empty());
    assert_eq!(Kernel::now(&pair, &owner), before);
    snapshot("other_peoples_programs", &story);
}
