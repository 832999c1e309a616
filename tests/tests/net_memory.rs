//! What does not fit changes nothing: a policy beyond a limit is refused before anything is
//! touched, and when memory ends half way (the kernel refuses a map, or kills the process), the
//! generation before goes on enforcing and the next command tidies up.
//!
//! Memory is limited by a memory cgroup around the command: the kernel charges the maps to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair, unique};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

const OLD: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: open, proto: udp, port: 514, action: pass}
";

/// Exit code of an invalid or too large policy.
const CONFIG: i32 = 3;

/// A memory cgroup, version 1 or 2, removed when dropped.
struct Cgroup {
    folder: PathBuf,
    limit: &'static str,
}

impl Cgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut found = None;
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, place, kind, options, ..] = words[..] else {
                continue;
            };
            let controllers = Path::new(place).join("cgroup.controllers");
            if kind == "cgroup" && options.split(',').any(|option| option == "memory") {
                found = Some((place, "memory.limit_in_bytes"));
            } else if kind == "cgroup2"
                && fs::read_to_string(controllers).is_ok_and(|list| list.contains("memory"))
            {
                // Makes it available below, where it is not yet.
                let _ = fs::write(Path::new(place).join("cgroup.subtree_control"), "+memory");
                found = Some((place, "memory.max"));
            }
        }
        let (place, limit) = found.expect("a memory cgroup is mounted");
        let folder = Path::new(place).join(unique("memory"));
        fs::create_dir(&folder).unwrap();
        Self { folder, limit }
    }

    /// Runs a verb with at most so many bytes, those of its maps included.
    fn run(&self, ctl: &Ctl<'_>, bytes: u64, arguments: &[&str]) -> Output {
        fs::write(self.folder.join(self.limit), bytes.to_string()).unwrap();
        // Without swap, where that can be said.
        let _ = fs::write(self.folder.join("memory.swap.max"), "0");
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec \"$@\"",
            self.folder.display()
        );
        ctl.run_under(&["sh", "-c", &enter, "sh"], arguments)
            .unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A killed process leaves its cgroup a moment later.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All pins, by name.
fn pins(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pins(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Generation, link and program in force, as the kernel has them.
fn in_force(ctl: &Ctl<'_>) -> (Value, Value, Value) {
    let status = ctl.json(&["status"]).unwrap();
    let interface = &status["interfaces"][0];
    let fields = [
        &status["generation"]["number"],
        &interface["link_id"],
        &interface["program_id"],
    ];
    assert!(fields.iter().all(|field| !field.is_null()), "{status}");
    let [generation, link, program] = fields.map(Clone::clone);
    (generation, link, program)
}

/// Which of the UDP ports 514 and 515 are open.
struct Doors {
    inside: [UdpSocket; 2],
    outside: UdpSocket,
}

impl Doors {
    fn new(pair: &Pair) -> Self {
        let inside = [514, 515].map(|port| {
            let socket = pair
                .inside
                .run(|| UdpSocket::bind((INSIDE_V4, port)).unwrap());
            socket
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            socket
        });
        let outside = pair
            .outside
            .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
        Self { inside, outside }
    }

    fn open(&self) -> [bool; 2] {
        for port in [514, 515] {
            self.outside.send_to(&[0; 10], (INSIDE_V4, port)).unwrap();
        }
        self.inside
            .each_ref()
            .map(|socket| socket.recv(&mut [0; 64]).is_ok())
    }
}

#[test]
#[ignore = "needs root"]
fn a_policy_beyond_a_limit_is_refused_before_anything_is_touched() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let doors = Doors::new(&pair);
    let policy = ctl.policy(OLD).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    let (before, found) = (in_force(&ctl), pins(ctl.pins()));
    assert_eq!(doors.open(), [true, false]);

    let mut rules = OLD.replace("514", "515");
    for number in 0..64 * 64 * 64 {
        rules.push_str(&format!("  - {{name: r{number}, action: pass}}\n"));
    }
    let mut entries = String::new();
    for number in 0..70_000 {
        // Neighbours do not touch.
        let address = Ipv4Addr::from((10 << 24) + number * 2);
        entries.push_str(&format!("{address}\n"));
    }
    fs::write(ctl.folder().join("list.txt"), entries).unwrap();
    let set = |options: &str| {
        OLD.replace(
            "rules:\n",
            &format!(
                "sets: {{list: {{type: cidr, file: list.txt{options}}}}}\nrules:\n  \
                 - {{name: list, from: \"@list\", action: pass}}\n"
            ),
        )
    };
    let copies: String = (0..300)
        .map(|n| format!("  - {{name: c{n}, from: [\"@list\", 10.0.0.0], action: pass}}\n"))
        .collect();
    let cases = [
        (
            rules,
            "the policy's list of ipv4 rules has 262145, the limit is 262144",
        ),
        (set(", max: 69999"), "FW0145"),
        (set("") + &copies, "FW0149"),
    ];
    for (text, words) in cases {
        let policy = ctl.policy(&text).unwrap();
        let output = ctl.run(&["load", "-f", policy.to_str().unwrap()]).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(CONFIG), "{errors}");
        assert!(errors.contains(words), "{errors}");
        assert!(errors.contains("generation 1 stays active"), "{errors}");
        assert_eq!(in_force(&ctl), before, "{words}");
        assert_eq!(pins(ctl.pins()), found, "{words}");
    }
    assert_eq!(doors.open(), [true, false]);
}

#[test]
#[ignore = "needs root"]
fn memory_that_ends_half_way_leaves_the_old_generation_enforcing() {
    /// Bytes between two limits.
    const STEP: u64 = 1 << 20;
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let doors = Doors::new(&pair);
    let policy = ctl.policy(OLD).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    let (before, found) = (in_force(&ctl), pins(ctl.pins()));

    // Its tables and counters take more memory than all the rest of the command.
    let mut text = OLD.replace("port: 514", "port: 515");
    for number in 0..20_000 {
        text.push_str(&format!(
            "  - {{name: r{number}, proto: udp, port: 9, action: pass}}\n"
        ));
    }
    let policy = ctl.policy(&text).unwrap();
    let load = ["load", "-f", policy.to_str().unwrap()];
    let cgroup = Cgroup::new();
    let (mut refused, mut killed, mut limit) = (0, 0, 20 * STEP);
    let mut killed_late = false;
    loop {
        let output = cgroup.run(&ctl, limit, &load);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            break;
        }
        match (output.status.code(), output.status.signal()) {
            (None, Some(9)) => {
                killed += 1;
                // The policy was in force already: then it is so wholly, as is looked at below.
                killed_late = in_force(&ctl) != before;
                if killed_late {
                    break;
                }
            }
            (Some(1), None) => {
                assert!(errors.contains("memory"), "{limit} bytes: {errors}");
                assert_eq!(pins(ctl.pins()), found, "{limit} bytes: {errors}");
                refused += 1;
            }
            _ => panic!("{limit} bytes: {:?}: {errors}", output.status),
        }
        assert_eq!(in_force(&ctl), before, "{limit} bytes: {errors}");
        limit += STEP;
        assert!(limit < 1 << 30, "it never fits: {errors}");
    }
    println!("refused {refused} times, killed {killed} times, enough: {limit} bytes");
    assert!(refused + killed > 0, "the first limit was enough");
    let after = in_force(&ctl);
    assert_eq!(after.1, before.1, "the same link");
    assert_ne!(after.2, before.2, "another program");
    assert_eq!(doors.open(), [false, true]);
    // What killed commands had pinned is gone: one generation, and the link.
    let folders: Vec<PathBuf> = fs::read_dir(ctl.pins())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "links"))
        .collect();
    assert!(folders.len() == 1 || killed_late, "{folders:?}");
}
