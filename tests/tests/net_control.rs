//! What the control plane says is what is: numbers of generations, what somebody has taken off or hidden,
//! and two daemons on the same pins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_engine::engine::Engine;
use firewall_tests::ctl::{Ctl, said, until};
use firewall_tests::netns::{INSIDE_V4, OUTSIDE_V4, Pair};
use firewall_tests::patience;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
  - {name: open, proto: udp, port: 514, action: pass}
";

/// A user with fewer rights, as the daemon's.
const NOBODY: u32 = 65_534;

/// Everything below a folder, links not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            all.extend(below(&path));
        }
        all.push(path);
    }
    all
}

fn owner(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().uid()
}

#[test]
#[ignore = "needs root"]
fn what_root_makes_is_the_folders_owners_and_nothing_elsewhere() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let elsewhere = ctl.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("secret"), "root's").unwrap();
    fs::create_dir_all(ctl.pins()).unwrap();
    symlink(&elsewhere, ctl.pins().join("trap")).unwrap();
    chown(ctl.pins(), Some(NOBODY), None).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-f", policy.to_str().unwrap()]).unwrap();
    let pins = below(ctl.pins());
    assert!(pins.len() > 10, "{pins:?}");
    for pin in pins {
        assert_eq!(owner(&pin), NOBODY, "{}", pin.display());
    }
    assert_eq!(owner(&elsewhere), 0);
    assert_eq!(owner(&elsewhere.join("secret")), 0);

    // And what outlives the pins: the folder of the number of the newest generation.
    let kept = below(&ctl.folder().join("var"));
    let ledger = kept.iter().find(|path| path.is_file()).unwrap();
    let state = ledger.parent().unwrap();
    chown(state, Some(NOBODY), None).unwrap();
    let target = ctl.folder().join("target");
    fs::write(&target, "root's").unwrap();
    fs::remove_file(ledger).unwrap();
    symlink(&target, ledger).unwrap();
    ctl.ok(&["ban", "203.0.113.9"]).unwrap();
    let copy = state.join("live");
    assert_eq!(owner(&copy), NOBODY, "{}", copy.display());
    let _ = ctl.run(&["load", "-f", policy.to_str().unwrap()]);
    let _ = ctl.run(&["unload", "--all"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "root's");
}

/// Whether a datagram to a port arrives.
fn arrives(pair: &Pair, port: u16) -> bool {
    let victim = pair
        .inside
        .run(|| UdpSocket::bind((INSIDE_V4, port)).unwrap());
    let wait = Some(Duration::from_millis(200));
    victim.set_read_timeout(wait).unwrap();
    let sender = pair
        .outside
        .run(|| UdpSocket::bind((OUTSIDE_V4, 0)).unwrap());
    sender.send_to(b"knock", (INSIDE_V4, port)).unwrap();
    victim.recv(&mut [0; 16]).is_ok()
}

/// Whether the protected host gets an answer from outside.
fn reaches_outside(pair: &Pair) -> bool {
    let listener = pair
        .outside
        .run(|| TcpListener::bind((OUTSIDE_V4, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let wait = Duration::from_millis(300);
    let inside = &pair.inside;
    inside.run(|| TcpStream::connect_timeout(&to, wait).is_ok())
}

fn status(ctl: &Ctl<'_>) -> (Option<i32>, Value) {
    let output = ctl.run(&["-o", "json", "status"]).unwrap();
    let status = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), status)
}

fn generation(ctl: &Ctl<'_>) -> u64 {
    status(ctl).1["generation"]["number"].as_u64().unwrap()
}

/// Packets that a rule has counted, by the daemon's last sample.
fn hits(ctl: &Ctl<'_>, rule: &str) -> u64 {
    let snapshot = ctl.snapshot().unwrap();
    let rules = snapshot["rules"].as_array().unwrap();
    let found = rules.iter().find(|it| it["name"] == rule).unwrap();
    found["hits"]["total"]["packets"].as_u64().unwrap()
}

/// Numbers began at 1 again after `unload`, so that the daemon took the counters and bans of the new
/// generation for those of the former one.
#[test]
#[ignore = "needs root"]
fn numbers_never_fall_and_the_daemon_goes_on_after_unload_and_load() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let load = ["load", "-i", "wan0", "-f", policy.to_str().unwrap()];
    ctl.start(&policy).unwrap();
    let mut last = generation(&ctl);
    for round in 1..=3 {
        ctl.ok(&["unload", "--all"]).unwrap();
        ctl.ok(&["apply", "-f", policy.to_str().unwrap()]).unwrap();
        until("another generation", &ctl, || {
            status(&ctl).1["generation"]["number"].as_u64() > Some(last)
        });
        last = generation(&ctl);
        assert!(arrives(&pair, 514));
        until("the daemon counts", &ctl, || hits(&ctl, "open") == 1);
        let ban = format!("203.0.113.{round}");
        ctl.ok(&["ban", &ban]).unwrap();
        let copy = ctl.state().join("live");
        let start = Instant::now();
        while !fs::read_to_string(&copy).is_ok_and(|text| text.contains(&ban)) {
            let late = start.elapsed() > patience(Duration::from_secs(30));
            assert!(!late, "round {round}: the copy stands still");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // Without the daemon, too, and after the pins have gone with the machine.
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    ctl.ok(&load).unwrap();
    assert!(generation(&ctl) > last);
    last = generation(&ctl);
    ctl.forget_pins().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    ctl.ok(&load).unwrap();
    assert!(generation(&ctl) > last);
}

#[test]
#[ignore = "needs root"]
fn a_detached_link_is_said_logged_and_put_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let pin = ctl.pins().join("links/wan0");
    let engine = Engine::new(ctl.pins());
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    engine.detach_pinned(&pin).unwrap();
    assert!(arrives(&pair, 9), "nothing filters");
    let output = ctl.run(&["status"]).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("detached"), "{}", said(&output));
    assert!(!said(&output).contains("ACTIVE"), "{}", said(&output));

    ctl.start(&policy).unwrap();
    assert!(!arrives(&pair, 9), "the daemon's start puts it back");
    assert_eq!(status(&ctl).0, Some(0));
    engine.detach_pinned(&pin).unwrap();
    let start = Instant::now();
    until("it is put back", &ctl, || !arrives(&pair, 9));
    println!("put back after {:?}", start.elapsed());
    assert!(ctl.log().contains("detached"), "{}", ctl.log());
    assert!(ctl.log().contains("put back"), "{}", ctl.log());
    until("status is good again", &ctl, || status(&ctl).0 == Some(0));
}

/// Without the program on what leaves no reply is known as one.
#[test]
#[ignore = "needs root"]
fn a_lost_egress_program_is_said_and_put_back() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    let pin = ctl.pins().join("egress/wan0");
    assert!(pin.exists());
    let engine = Engine::new(ctl.pins());
    engine.detach_pinned(&pin).unwrap();
    let output = ctl.run(&["status"]).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("egress"), "{}", said(&output));
    let doctor = ctl.run(&["doctor", "-i", "wan0"]).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{}", said(&doctor));
    assert!(said(&doctor).contains("egress"), "{}", said(&doctor));

    ctl.start(&policy).unwrap();
    assert_eq!(status(&ctl).0, Some(0), "{}", ctl.log());
    // Detached, and with its pin.
    engine.detach_pinned(&pin).unwrap();
    until("it is put back", &ctl, || {
        ctl.log().contains("put back the egress")
    });
    until("status is good again", &ctl, || status(&ctl).0 == Some(0));
    fs::remove_file(&pin).unwrap();
    until("it is put back", &ctl, || pin.exists());
    until("status is good again", &ctl, || status(&ctl).0 == Some(0));
    assert!(reaches_outside(&pair));
}

/// Whoever removes pins is no `unload`: the filter comes back. `unload` is, and it stays off.
#[test]
#[ignore = "needs root"]
fn a_filter_whose_pins_are_removed_comes_back_and_an_unloaded_one_does_not() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    fs::remove_file(ctl.pins().join("links/wan0")).unwrap();
    until("it is put back", &ctl, || {
        ctl.log().contains("put back the filter")
    });
    until("it filters", &ctl, || {
        status(&ctl).0 == Some(0) && !arrives(&pair, 9)
    });
    // Maps that nobody can find any more are made anew.
    let last = generation(&ctl);
    let pin = ctl.pins().join(format!("gen-{last}/fw_rules"));
    fs::remove_file(&pin).unwrap();
    until("another generation", &ctl, || {
        status(&ctl).1["generation"]["number"].as_u64() > Some(last)
    });
    until("status is good again", &ctl, || status(&ctl).0 == Some(0));

    // Whoever asks right behind it is told so.
    ctl.ok(&["unload", "--all"]).unwrap();
    assert_eq!(status(&ctl).1["state"], "off");
    std::thread::sleep(Duration::from_secs(3));
    assert!(arrives(&pair, 9), "off is off\n{}", ctl.log());
    assert_eq!(status(&ctl).1["state"], "off");
}

/// A file system over the pins, or one that cannot be written to: the filter drops all the same, and
/// nobody may say that it does not.
#[test]
#[ignore = "needs root"]
fn a_hidden_or_read_only_bpf_file_system_is_no_open_firewall() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.ok(&["load", "-i", "wan0", "-f", policy.to_str().unwrap()])
        .unwrap();
    let bpffs = Path::new("/sys/fs/bpf");
    let wrong = |when: &str| {
        for verb in [
            &["status"][..],
            &["unload", "--all"],
            &["doctor", "-i", "wan0"],
        ] {
            let output = ctl.run(verb).unwrap();
            let text = said(&output);
            let code = output.status.code();
            assert!(
                code.is_some_and(|code| code != 0),
                "{when}: {verb:?} {text}"
            );
            assert!(!text.contains("every packet passes"), "{when}: {text}");
            assert!(!text.contains("nothing was loaded"), "{when}: {text}");
        }
        assert!(!arrives(&pair, 9), "{when}: it filters");
    };
    for kind in ["tmpfs", "bpf"] {
        mount(kind, bpffs, kind, MountFlags::empty(), None).unwrap();
        wrong(kind);
        let said = said(&ctl.run(&["status"]).unwrap());
        assert!(said.contains("wan0") && said.contains("umount"), "{said}");
        unmount(bpffs, UnmountFlags::DETACH).unwrap();
    }
    mount_remount(bpffs, MountFlags::RDONLY, "").unwrap();
    wrong("read-only");
    mount_remount(bpffs, MountFlags::empty(), "").unwrap();
    ctl.ok(&["status"]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(arrives(&pair, 9));
}

#[test]
#[ignore = "needs root"]
fn unload_goes_on_past_what_it_cannot_read_and_leaves_folders_of_others() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let load = ["load", "-i", "wan0", "-f", policy.to_str().unwrap()];
    // A folder that an administrator has made stays.
    fs::create_dir(ctl.pins()).unwrap();
    ctl.ok(&load).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(ctl.pins().exists(), "it was not ours");
    let left: Vec<_> = fs::read_dir(ctl.pins()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    fs::remove_dir(ctl.pins()).unwrap();

    // Something that is no link, among the links: a map of ours.
    ctl.ok(&load).unwrap();
    let (from, to) = (
        ctl.pins()
            .join(format!("gen-{}/fw_rules", generation(&ctl))),
        ctl.pins().join("links/odd"),
    );
    fs::rename(&from, &to).unwrap();
    let output = ctl.run(&["unload", "--all"]).unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("wan0") && text.contains("links/odd"),
        "{text}"
    );
    assert!(arrives(&pair, 9), "what is ours is off");
    fs::remove_file(&to).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists(), "it was ours");
}

#[test]
#[ignore = "needs root"]
fn a_second_daemon_on_the_same_pins_is_refused() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let pid = ctl.start(&policy).unwrap();
    let last = generation(&ctl);
    // With a state of its own, and the socket free: nothing else keeps them apart.
    fs::remove_file(ctl.folder().join("control.sock")).unwrap();
    let mut second = ctl.command(&["daemon", "-i", "wan0", "-f", policy.to_str().unwrap()]);
    second.arg("--state").arg(ctl.folder().join("other"));
    let output = second.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains(&format!("pid {pid}")), "{text}");
    assert_eq!(generation(&ctl), last, "it has changed nothing");
    // One that was killed holds nothing.
    ctl.kill().unwrap();
    ctl.start(&policy).unwrap();
    assert_eq!(status(&ctl).0, Some(0));
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    assert!(!ctl.pins().exists());
}

/// A pipe in the place of the policy would be waited for, and with it everything that is asked of the
/// daemon.
#[test]
#[ignore = "needs root"]
fn a_policy_that_is_no_file_is_refused_where_the_daemon_opens_it() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let last = generation(&ctl);
    fs::remove_file(&policy).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&policy).status();
    assert!(made.unwrap().success());
    for kind in ["pipe", "device"] {
        if kind == "device" {
            fs::remove_file(&policy).unwrap();
            symlink("/dev/zero", &policy).unwrap();
        }
        let start = Instant::now();
        let output = ctl.run(&["reload"]).unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains("regular file"), "{}", said(&output));
        assert!(start.elapsed() < patience(Duration::from_secs(5)), "{kind}");
    }
    assert_eq!(generation(&ctl), last);
}

const WITH_FILE: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  admins: {type: cidr, file: admins.txt}
rules:
  - {name: admins, from: \"@admins\", action: pass}
";

/// Two policies that let different people in have one text, and not one hash.
#[test]
#[ignore = "needs root"]
fn one_hash_covers_the_text_and_its_files() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(WITH_FILE).unwrap();
    let file = ctl.folder().join("admins.txt");
    let load = ["load", "-i", "wan0", "-f", policy.to_str().unwrap()];
    let hashes = |ctl: &Ctl<'_>| {
        let generation = &status(ctl).1["generation"];
        let text = |key: &str| generation[key].as_str().unwrap().to_owned();
        (text("content_sha256"), text("sha256"))
    };
    fs::write(&file, "192.0.2.9\n").unwrap();
    ctl.ok(&load).unwrap();
    let (content, text) = hashes(&ctl);
    let screen = said(&ctl.run(&["status"]).unwrap());
    assert!(screen.contains(&content[..12]), "{screen}");
    fs::write(&file, "192.0.2.10\n").unwrap();
    ctl.ok(&load).unwrap();
    assert_eq!(hashes(&ctl).1, text);
    assert_ne!(hashes(&ctl).0, content);
    fs::write(&file, "192.0.2.9\n").unwrap();
    ctl.ok(&load).unwrap();
    assert_eq!(hashes(&ctl), (content, text));
}

#[test]
#[ignore = "needs root"]
fn drift_names_the_file_and_what_a_restart_would_do() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(WITH_FILE).unwrap();
    let own = policy.to_str().unwrap().to_owned();
    let file = ctl.folder().join("admins.txt");
    fs::write(&file, "192.0.2.9\n").unwrap();
    ctl.start(&policy).unwrap();
    let drift = |ctl: &Ctl<'_>| {
        let list = status(ctl).1["drift"].as_array().cloned();
        let text = |it: &Value| format!("{}; {}", it["what"], it["restart"]);
        list.iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
            .join("\n")
    };
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(drift(&ctl), "");
    // A set file, then the daemon's own file, then a file that is not valid.
    fs::write(&file, "192.0.2.10\n").unwrap();
    until("the set file", &ctl, || {
        drift(&ctl).contains("admins.txt differs")
    });
    assert!(
        drift(&ctl).contains(&format!("applies {own}")),
        "{}",
        drift(&ctl)
    );
    let screen = said(&ctl.run(&["status"]).unwrap());
    assert!(screen.contains("Drift 1"), "{screen}");
    ctl.ok(&["reload"]).unwrap();
    until("none", &ctl, || drift(&ctl).is_empty());
    fs::write(&policy, format!("{WITH_FILE}# more\n")).unwrap();
    until("the file", &ctl, || {
        drift(&ctl).contains("policy.yaml differs")
    });
    fs::write(&policy, "version: 1\nodd: 1\n").unwrap();
    until("not valid", &ctl, || drift(&ctl).contains("is not valid"));
    assert!(
        drift(&ctl).contains("keeps what is in force"),
        "{}",
        drift(&ctl)
    );
    // Somebody else's file.
    fs::write(&policy, WITH_FILE).unwrap();
    let other = ctl.folder().join("other.yaml");
    fs::write(&other, POLICY).unwrap();
    ctl.ok(&["apply", "-f", other.to_str().unwrap()]).unwrap();
    until("another file", &ctl, || {
        drift(&ctl).contains("not the daemon's own file")
    });
    assert!(drift(&ctl).contains("other.yaml"), "{}", drift(&ctl));
}

/// Files that `check --kernel` and `test --live` send are of no policy in force, and stayed until another
/// one was applied.
#[test]
#[ignore = "needs root"]
fn files_that_nobody_needs_go_at_the_daemons_start() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(WITH_FILE).unwrap();
    fs::write(ctl.folder().join("admins.txt"), "192.0.2.9\n").unwrap();
    let files = ctl.state().join("files");
    fs::create_dir_all(&files).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    let sent = |name: &str, at: SystemTime| {
        let path = files.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_modified(at).unwrap();
        path
    };
    let old = sent(&"a".repeat(64), long_ago);
    let new = sent(&"b".repeat(64), SystemTime::now());
    let foreign = sent("README", long_ago);
    ctl.start(&policy).unwrap();
    until("the old one goes", &ctl, || !old.exists());
    assert!(new.exists() && foreign.exists());
    assert_eq!(fs::read_dir(&files).unwrap().count(), 3, "and admins.txt");
}
