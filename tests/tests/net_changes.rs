//! Changes that race: commands side by side, a command beside the daemon's end, a file that is written while
//! rules come. None is lost, none undoes another, and every answer is true.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said};
use firewall_tests::netns::{INTERFACE, Pair};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const POLICY: &str = "\
# Kept.
version: 1
interfaces: [{match: wan0}]
default: {in: drop}   # closed
rules:
  # And this.
  - {name: syslog,   proto: udp, port: 514, action: pass}
";

fn begin(ctl: &Ctl<'_>, words: &[&str]) -> Child {
    let mut command = ctl.command(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// Names of the runtime rules in force, the first one first.
fn runtime(ctl: &Ctl<'_>) -> Vec<String> {
    let rules = ctl.json(&["get", "rules"]).unwrap();
    let rules = rules["rules"].as_array().unwrap().iter();
    let rules = rules.filter(|rule| rule["runtime"] == true);
    rules
        .map(|rule| rule["name"].as_str().unwrap().to_owned())
        .collect()
}

fn generation(ctl: &Ctl<'_>) -> u64 {
    let policy = ctl.json(&["get", "policy"]).unwrap();
    policy["generation"].as_u64().unwrap()
}

/// Waits until the daemon has read counters of the generation in force.
fn settled(ctl: &Ctl<'_>) {
    ctl.snapshot().unwrap();
}

#[test]
#[ignore = "needs root"]
fn twenty_rules_at_once_all_come_and_one_rule_comes_once() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    // The second time each is judged beside the policy in force: whether it cuts a session.
    for (session, base) in [(false, 6000), (true, 7000)] {
        if session {
            ctl.set("SSH_CONNECTION", "203.0.113.5 50000 198.51.100.1 22");
        }
        let ports: Vec<String> = (base..base + 20)
            .map(|port| format!("{port}/udp"))
            .collect();
        let children = ports.iter().map(|port| begin(&ctl, &["allow", port]));
        let children: Vec<Child> = children.collect();
        for output in children.into_iter().map(ended) {
            assert_eq!(code(&output), 0, "{}", said(&output));
        }
        settled(&ctl);
        let rules = runtime(&ctl);
        for port in base..base + 20 {
            let name = format!("allow-{port}-udp");
            assert_eq!(
                rules.iter().filter(|it| **it == name).count(),
                1,
                "{name}: {rules:?}"
            );
        }
    }
    let before = generation(&ctl);
    let children: Vec<Child> = (0..8)
        .map(|_| begin(&ctl, &["allow", "6003/udp"]))
        .collect();
    for output in children.into_iter().map(ended) {
        assert_eq!(code(&output), 0, "{}", said(&output));
        assert!(
            said(&output).contains("allow-6003-udp: already there"),
            "{}",
            said(&output)
        );
    }
    assert_eq!((generation(&ctl), runtime(&ctl).len()), (before, 40));
    let children: Vec<Child> = (0..8).map(|_| begin(&ctl, &["deny", "6003/udp"])).collect();
    let answers: Vec<Output> = children.into_iter().map(ended).collect();
    assert!(
        answers.iter().all(|output| code(output) == 0),
        "{answers:?}"
    );
    let added = answers
        .iter()
        .filter(|output| said(output).contains("added before"));
    assert_eq!(added.count(), 1, "{answers:?}");
    // The latest command wins, and renews what it finds.
    let moved = ctl.ok(&["allow", "6003/udp", "for", "1h"]).unwrap();
    assert!(
        moved.contains("already there, moved before all other rules"),
        "{moved}"
    );
    let children: Vec<Child> = (6000..6003)
        .map(|port| begin(&ctl, &["delete", &format!("allow-{port}-udp")]))
        .collect();
    for output in children.into_iter().map(ended) {
        assert_eq!(code(&output), 0, "{}", said(&output));
    }
    settled(&ctl);
    assert_eq!(runtime(&ctl).len(), 38);
}

#[test]
#[ignore = "needs root"]
fn rules_that_come_while_others_are_saved_stay() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    for round in 0..6 {
        let port = |number: u32| format!("{}/udp", 6000 + 10 * round + number);
        ctl.ok(&["allow", &port(0)]).unwrap();
        let (one, two) = (port(1), port(2));
        let children = [
            begin(&ctl, &["save"]),
            begin(&ctl, &["allow", &one]),
            begin(&ctl, &["save"]),
            begin(&ctl, &["allow", &two]),
        ];
        for output in children.map(ended) {
            assert_eq!(code(&output), 0, "{}", said(&output));
        }
    }
    ctl.ok(&["save"]).unwrap();
    ctl.ok(&["reload"]).unwrap();
    settled(&ctl);
    assert_eq!(runtime(&ctl), [""; 0]);
    let written = fs::read_to_string(&policy).unwrap();
    for round in 0..6 {
        for number in 0..3 {
            let name = format!("name: allow-{}-udp,", 6000 + 10 * round + number);
            assert_eq!(written.matches(&name).count(), 1, "{name}\n{written}");
        }
    }
    assert!(
        written.starts_with(&POLICY[..POLICY.find("  # And").unwrap()]),
        "{written}"
    );
    assert!(
        written.ends_with(&POLICY[POLICY.find("  # And").unwrap()..]),
        "{written}"
    );
    let listed = ctl.json(&["get", "rules"]).unwrap();
    assert_eq!(listed["rules"].as_array().unwrap().len(), 19);

    // A `save` that dies between the file and the daemon is in nobody's way.
    ctl.ok(&["allow", "6500/udp"]).unwrap();
    ctl.ok(&["allow", "6501/udp"]).unwrap();
    let rule = "  - {name: allow-6500-udp, proto: udp, port: 6500, action: pass}\n";
    fs::write(
        &policy,
        written.replacen("  # And", &format!("{rule}  # And"), 1),
    )
    .unwrap();
    let refused = ctl.run(&["reload"]).unwrap();
    let said = said(&refused);
    assert_eq!(code(&refused), 7, "{said}");
    assert!(said.contains("`allow-6501-udp` would be lost"), "{said}");
    ctl.ok(&["delete", "allow-6501-udp"]).unwrap();
    ctl.ok(&["reload"]).unwrap();
    settled(&ctl);
    assert_eq!(runtime(&ctl), [""; 0]);
    // Nor is the daemon's start.
    ctl.ok(&["allow", "6502/udp"]).unwrap();
    ctl.ok(&["save"]).unwrap();
    ctl.ok(&["allow", "6503/udp"]).unwrap();
    let text = fs::read_to_string(&policy).unwrap();
    let rule = "  - {name: allow-6503-udp, proto: udp, port: 6503, action: pass}\n";
    fs::write(
        &policy,
        text.replacen("  # And", &format!("{rule}  # And"), 1),
    )
    .unwrap();
    ctl.kill().unwrap();
    ctl.start(&policy).unwrap();
    settled(&ctl);
    assert_eq!(runtime(&ctl), [""; 0]);
    let status = ctl.json(&["status"]).unwrap();
    assert!(status["last_error"].is_null(), "{status}");
}

#[test]
#[ignore = "needs root"]
fn what_goes_or_is_renewed_while_it_is_saved_is_not_written_as_it_was() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    let holds = |name: &str| {
        let written = fs::read_to_string(&policy).unwrap();
        written.contains(&format!("name: {name},"))
    };
    let others: [&[&str]; 3] = [
        &["delete", "allow-6000-udp"],
        &["allow", "6000/udp", "for", "20m"],
        &["reload", "--discard-runtime"],
    ];
    for round in 0..18 {
        let other = others[round % 3];
        ctl.ok(&["allow", "6000/udp"]).unwrap();
        let save = begin(&ctl, &["save"]);
        // From before the file is read to behind the answer.
        sleep(Duration::from_millis(5 * (round as u64 / 3)));
        let changed = ended(begin(&ctl, other));
        let saved = ended(save);
        assert_eq!(code(&saved), 0, "{other:?}: {}", said(&saved));
        match other[0] {
            "delete" if code(&changed) == 0 => assert!(!holds("allow-6000-udp"), "{round}"),
            "delete" => {
                // It was saved before, or was gone.
                assert!(holds("allow-6000-udp"), "{}", said(&changed));
            }
            _ => assert_eq!(code(&changed), 0, "{other:?}: {}", said(&changed)),
        }
        // Whatever came first, all of it is read again.
        ctl.ok(&["save"]).unwrap();
        ctl.ok(&["reload"]).unwrap();
        settled(&ctl);
        assert_eq!(runtime(&ctl), [""; 0], "{other:?}");
        fs::write(&policy, POLICY).unwrap();
        ctl.ok(&["reload"]).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn rules_that_have_expired_are_in_nobodys_way() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["allow", "6000/udp", "for", "1s"]).unwrap();
    sleep(Duration::from_secs(2));
    let status = ctl.ok(&["status"]).unwrap();
    assert!(!status.contains("not saved"), "{status}");
    assert!(ctl.ok(&["save"]).unwrap().contains("nothing to save"));
    ctl.ok(&["reload"]).unwrap();
    settled(&ctl);
    assert_eq!(runtime(&ctl), [""; 0]);
    // The next rule takes them away, too.
    ctl.ok(&["allow", "6000/udp", "for", "1s"]).unwrap();
    sleep(Duration::from_secs(2));
    ctl.ok(&["allow", "6001/udp"]).unwrap();
    settled(&ctl);
    assert_eq!(runtime(&ctl), ["allow-6001-udp"]);
}

/// A policy that takes a while.
fn large(rules: u32) -> String {
    let mut policy =
        "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\nrules:\n".to_owned();
    for number in 0..rules {
        let (a, b) = (number >> 8 & 0xff, number & 0xff);
        let port = 1 + number % 60_000;
        writeln!(
            policy,
            "  - {{name: r{number}, from: 10.{a}.{b}.0/24, to: 172.16.{b}.{a}, proto: tcp, port: {port}, action: pass}}"
        )
        .unwrap();
    }
    policy
}

#[test]
#[ignore = "needs root"]
fn what_is_asked_for_before_the_daemon_ends_is_done_and_answered() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let slow = ctl.folder().join("slow.yaml");
    fs::write(&slow, large(4_000)).unwrap();
    ctl.start(&policy).unwrap();
    let start = Instant::now();
    ctl.ok(&["apply", "-f", slow.to_str().unwrap()]).unwrap();
    let usual = start.elapsed();
    ctl.terminate().unwrap();
    // Until one ends while the change is under way.
    let mut was_busy = false;
    for tenths in [4, 6, 7, 8, 5, 9, 3, 7, 6, 8] {
        let pause = usual * tenths / 10;
        let pid = ctl.start(&policy).unwrap();
        let before = generation(&ctl);
        let mut change = begin(&ctl, &["-o", "json", "apply", "-f", slow.to_str().unwrap()]);
        // A peer that asks for nothing holds nobody up.
        let _silent = std::os::unix::net::UnixStream::connect(ctl.folder().join("control.sock"));
        sleep(pause);
        let is_asked = change.try_wait().unwrap().is_none();
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = ended(change);
        ctl.ended().unwrap();
        // Without the daemon the pins say what is in force.
        let after = generation(&ctl);
        match code(&output) {
            0 => {
                let document: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(document["generation"].as_u64(), Some(after), "{pause:?}");
                assert!(after > before, "{pause:?}");
                was_busy |= is_asked;
            }
            5 => assert_eq!(after, before, "{pause:?}: {}", said(&output)),
            other => panic!("{pause:?}: {other}: {}", said(&output)),
        }
        if was_busy {
            return;
        }
    }
    panic!("no change was under way when the daemon was told to end");
}

#[test]
#[ignore = "needs root"]
fn a_policy_is_known_by_its_whole_path() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let folder = ctl.folder().canonicalize().unwrap();
    let etc = folder.join("etc");
    fs::create_dir_all(etc.join("below")).unwrap();
    let real = etc.join("real.yaml");
    let crlf = POLICY.replace('\n', "\r\n").trim_end().to_owned();
    fs::write(&real, &crlf).unwrap();
    std::os::unix::fs::symlink("real.yaml", etc.join("linked.yaml")).unwrap();
    let path = |ctl: &Ctl<'_>| {
        let policy = ctl.json(&["get", "policy"]).unwrap();
        policy["policy"].as_str().unwrap().to_owned()
    };
    let from = |ctl: &Ctl<'_>, folder: &Path, words: &[&str]| {
        let output = ctl.command(words).current_dir(folder).output().unwrap();
        assert_eq!(code(&output), 0, "{words:?}: {}", said(&output));
        said(&output)
    };

    // The daemon is started with a path from its own folder.
    ctl.start_in(&etc, Path::new("linked.yaml")).unwrap();
    let linked = etc.join("linked.yaml").display().to_string();
    assert_eq!(path(&ctl), linked);
    // The same policy by another path: nothing changes but where it is looked for.
    let before = generation(&ctl);
    let below = etc.join("below");
    let answer = from(&ctl, &below, &["apply", "-f", "../real.yaml"]);
    assert!(answer.contains("unchanged"), "{answer}");
    assert_eq!(path(&ctl), real.display().to_string());
    let rules = ctl.json(&["get", "rules"]).unwrap();
    let place = rules["rules"][0]["place"].as_str().unwrap();
    assert_eq!(
        (place, generation(&ctl)),
        (&*format!("{}:7", real.display()), before)
    );

    // What is saved is saved where the daemon reads it again, from wherever that is asked.
    from(&ctl, &below, &["allow", "6000/udp"]);
    let answer = from(&ctl, Path::new("/"), &["save"]);
    assert!(answer.contains(&format!("saved to {linked}")), "{answer}");
    let rule = "  - {name: allow-6000-udp, proto: udp, port: 6000, action: pass}\r\n";
    let wanted = crlf.replacen("  # And", &format!("{rule}  # And"), 1);
    assert_eq!(fs::read_to_string(&real).unwrap(), wanted);
    assert!(etc.join("linked.yaml").is_symlink());
    from(&ctl, Path::new("/"), &["reload"]);

    // Another policy in force is none that the daemon will read again.
    let other = folder.join("other.yaml");
    fs::write(&other, POLICY.replace("514", "515")).unwrap();
    from(&ctl, &folder, &["apply", "-f", "other.yaml"]);
    from(&ctl, &folder, &["allow", "6001/udp"]);
    let refused = ctl.run(&["save"]).unwrap();
    let refusal = said(&refused);
    assert_eq!(code(&refused), 7, "{refusal}");
    assert!(
        refusal.contains(&format!("the daemon reads {linked} again")),
        "{refusal}"
    );
    assert!(
        refusal.contains(&format!("that of {}", other.display())),
        "{refusal}"
    );
    assert_eq!(fs::read_to_string(&real).unwrap(), wanted);
    assert!(!fs::read_to_string(&other).unwrap().contains("6001"));

    // Without the daemon, too.
    ctl.kill().unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();
    from(
        &ctl,
        &etc,
        &["load", "-i", INTERFACE, "-f", "./below/../real.yaml"],
    );
    assert_eq!(path(&ctl), real.display().to_string());
}

#[test]
#[ignore = "needs root"]
fn a_file_that_has_changed_is_saved_to_if_it_says_the_same() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    ctl.start(&policy).unwrap();
    ctl.ok(&["allow", "6000/udp"]).unwrap();
    // A comment more says the same.
    fs::write(&policy, format!("{POLICY}# Edited.")).unwrap();
    ctl.ok(&["save"]).unwrap();
    assert!(fs::read_to_string(&policy).unwrap().ends_with("# Edited."));
    // A layout that rules cannot be added to is refused, with what to do.
    let odd = "version: 1\ninterfaces: [{match: wan0}]\ndefault: {in: drop}\n...\n";
    fs::write(&policy, odd).unwrap();
    ctl.ok(&["reload"]).unwrap();
    ctl.ok(&["allow", "6000/udp"]).unwrap();
    let refused = ctl.run(&["save"]).unwrap();
    assert_eq!(code(&refused), 7, "{}", said(&refused));
    assert!(
        said(&refused).contains("write `rules: []` where the rules are to stand"),
        "{}",
        said(&refused)
    );
    assert_eq!(fs::read_to_string(&policy).unwrap(), odd);
    fs::write(&policy, odd.replace("...", "rules: []\n...")).unwrap();
    ctl.ok(&["save"]).unwrap();
    ctl.ok(&["reload"]).unwrap();
}
