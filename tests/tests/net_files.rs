//! Files that a policy names: what others may write decides nothing, and what is no file is not waited for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::{Ctl, said};
use firewall_tests::netns::Pair;
use firewall_tests::patience;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  admins: {type: cidr, file: sets/admins.txt}
rules:
  - {name: admins, from: \"@admins\", action: pass}
";

const REFUSED: Option<i32> = Some(7);

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A policy with its set file, in folders that root alone writes.
fn written(ctl: &Ctl<'_>) -> (PathBuf, PathBuf) {
    let policy = ctl.policy(POLICY).unwrap();
    let folder = ctl.folder().join("sets");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("admins.txt");
    fs::write(&file, "192.0.2.7\n").unwrap();
    for (path, bits) in [(ctl.folder(), 0o755), (&folder, 0o755), (&file, 0o644)] {
        mode(path, bits);
    }
    (policy, file)
}

/// Whoever may write a set file, or replace it, decides whom the host lets in.
#[test]
#[ignore = "needs root"]
fn a_set_file_that_others_may_write_is_refused_and_check_warns() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let (policy, file) = written(&ctl);
    let own = policy.to_str().unwrap();
    let folder = file.parent().unwrap();
    let good = ctl.run(&["check", own]).unwrap();
    assert_eq!(said(&good).matches("warning").count(), 0, "{}", said(&good));
    ctl.ok(&["load", "-i", "wan0", "-f", own]).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();

    let wrong = |what: &str, verbs: &[&[&str]]| {
        let check = ctl.run(&["check", own]).unwrap();
        assert_eq!(check.status.code(), Some(0), "{what}: {}", said(&check));
        assert!(
            said(&check).contains("admins.txt"),
            "{what}: {}",
            said(&check)
        );
        for verb in verbs {
            let output = ctl.run(verb).unwrap();
            let text = said(&output);
            assert_eq!(output.status.code(), REFUSED, "{what}, {verb:?}: {text}");
            assert!(
                text.contains("admins.txt") && text.contains("chmod"),
                "{text}"
            );
        }
    };
    let load: &[&str] = &["load", "-i", "wan0", "-f", own];
    mode(&file, 0o646);
    wrong("a file for all", &[load]);
    mode(&file, 0o664);
    chown(&file, None, Some(65_534)).unwrap();
    wrong("a file for a group", &[load]);
    mode(&file, 0o644);
    chown(&file, Some(65_534), None).unwrap();
    wrong("somebody's file", &[load]);
    chown(&file, Some(0), Some(0)).unwrap();
    mode(folder, 0o777);
    wrong("a folder for all", &[load]);
    mode(folder, 0o755);
    ctl.ok(load).unwrap();
    ctl.ok(&["unload", "--all"]).unwrap();

    ctl.start(&policy).unwrap();
    mode(folder, 0o777);
    let ctl = &ctl;
    for verb in [&["apply", "-f", own][..], &["reload"]] {
        let output = ctl.run(verb).unwrap();
        assert_eq!(output.status.code(), REFUSED, "{verb:?}: {}", said(&output));
    }
    mode(folder, 0o755);
    ctl.ok(&["reload"]).unwrap();
}

/// A pipe or a device would be waited for, and with it every change of the daemon.
#[test]
#[ignore = "needs root"]
fn a_set_file_that_is_no_file_is_refused_where_the_daemon_opens_it() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let (policy, file) = written(&ctl);
    ctl.start(&policy).unwrap();
    for kind in ["pipe", "device"] {
        fs::remove_file(&file).unwrap();
        match kind {
            "pipe" => assert!(
                Command::new("mkfifo")
                    .arg(&file)
                    .status()
                    .unwrap()
                    .success()
            ),
            _ => symlink("/dev/zero", &file).unwrap(),
        }
        let start = Instant::now();
        let output = ctl.run(&["reload"]).unwrap();
        assert_eq!(output.status.code(), Some(3), "{kind}: {}", said(&output));
        assert!(said(&output).contains("regular file"), "{}", said(&output));
        assert!(start.elapsed() < patience(Duration::from_secs(5)), "{kind}");
        ctl.ok(&["ban", "203.0.113.9"]).unwrap();
    }
}
