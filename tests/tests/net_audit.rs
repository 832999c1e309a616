//! The trail of changes: who, what, and what came of it, for every verb, with the daemon and without, also
//! for what was refused or failed, on a full disk, and in the journal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INTERFACE, Pair};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}]
default: {in: drop}
sets:
  guests: {type: cidr, live: true, max: 100}
rules:
  - {name: guests, from: '@guests', action: pass}
  - {name: known, state: established, action: pass}
";

const SESSION: &str = "203.0.113.5 50000 198.51.100.1 22";

/// Every `audit.jsonl` below a folder.
fn trails(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(trails(&path));
        } else if path.ends_with("audit.jsonl") {
            found.push(path);
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<Value> {
    let texts = trails(folder).into_iter().map(|path| {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{}", path.display());
        fs::read_to_string(path).unwrap()
    });
    let texts: String = texts.collect();
    let lines = texts.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What differs in no run.
fn short(entry: &Value) -> (String, String, u64) {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    (
        text("verb"),
        text("result"),
        entry["exit_code"].as_u64().unwrap(),
    )
}

fn is(verb: &str, result: &str, exit: u64) -> (String, String, u64) {
    (verb.to_owned(), result.to_owned(), exit)
}

#[test]
#[ignore = "needs root"]
fn every_change_is_on_record_with_who_asked_for_it() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let broken = ctl.folder().join("broken.yaml");
    fs::write(
        &broken,
        "version: 1\ndefault: {in: drop}\nrules: [{name: a, action: \"\u{202e}\"}]\n",
    )
    .unwrap();
    let file = policy.to_str().unwrap();
    ctl.start(&policy).unwrap();
    ctl.set("SSH_CONNECTION", SESSION);
    let codes = [
        (&["apply", "-f", file][..], 0),
        (&["apply", "-f", broken.to_str().unwrap()], 3),
        (&["allow", "80/tcp"], 0),
        (&["allow", "80/tcp"], 0),
        (&["reload"], 7),
        (&["save"], 0),
        (&["reload"], 0),
        (&["ban", "192.0.2.66", "for", "1h"], 0),
        (&["ban", "203.0.113.5"], 7),
        (&["set", "add", "guests", "192.0.2.1", "192.0.2.2"], 0),
        (&["delete", "nobody"], 1),
        (&["flows", "delete", "--port", "53"], 0),
    ];
    for (words, code) in codes {
        let output = ctl.run(words).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    }
    // Who may only look leaves one entry, however often he tries.
    let socket = ctl.folder().join("control.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(ctl.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    for _ in 0..3 {
        let output = ctl.run_unprivileged(&["allow", "81/tcp"]).unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
    let found = entries(&ctl.state());
    let got: Vec<_> = found.iter().map(short).collect();
    let wanted = [
        is("start", "done", 0),
        is("apply", "unchanged", 0),
        is("apply", "failed", 3),
        is("add rule", "done", 0),
        is("add rule", "unchanged", 0),
        is("reload", "refused", 7),
        is("save", "done", 0),
        is("reload", "unchanged", 0),
        is("change set", "done", 0),
        is("change set", "refused", 7),
        is("change set", "done", 0),
        is("delete rule", "failed", 1),
        is("forget flows", "unchanged", 0),
        is("request", "refused", 4),
    ];
    assert_eq!(got, wanted, "{found:#?}");
    let added = &found[3];
    assert_eq!(added["uid"], 0);
    assert_eq!(added["ssh"], "203.0.113.5 50000");
    assert_eq!(added["command"], "firewall-ctl");
    assert_eq!(
        added["after"].as_u64(),
        added["before"].as_u64().map(|before| before + 1)
    );
    assert!(
        added["subject"].as_str().unwrap().contains("port: 80"),
        "{added}"
    );
    let failed = &found[2];
    assert!(
        failed["subject"].as_str().unwrap().ends_with("broken.yaml"),
        "{failed}"
    );
    assert!(
        failed["detail"].as_str().unwrap().contains("\\u{202e}"),
        "{failed}"
    );
    assert!(
        found[8]["subject"]
            .as_str()
            .unwrap()
            .contains("+192.0.2.66 for 3600 s"),
        "{found:?}"
    );
    assert_eq!(found[13]["uid"], 65_534);

    // A login that `sudo` does not hide, where the kernel keeps it.
    let login = "echo 4242 2>/dev/null >/proc/self/loginuid; exec \"$@\"";
    ctl.run_under(&["sh", "-c", login, "sh"], &["allow", "82/tcp"])
        .unwrap();
    let last = entries(&ctl.state()).pop().unwrap();
    if !last["login_uid"].is_null() {
        assert_eq!(last["login_uid"], 4242, "{last}");
    }

    // The daemon's end, and what is done without it.
    ctl.terminate().unwrap();
    let last = entries(&ctl.state()).pop().unwrap();
    assert_eq!(short(&last), is("stop", "unchanged", 0));
    for words in [
        &["ban", "192.0.2.67"][..],
        &["unload", "-i", INTERFACE],
        // It lets nobody reach the SSH server of the session.
        &["load", "-i", INTERFACE, "-f", file, "--i-know"],
        &["load", "-i", INTERFACE, "-f", broken.to_str().unwrap()],
        &["unload", "--all"],
    ] {
        ctl.run(words).unwrap();
    }
    let found = entries(&ctl.folder().join("var"));
    let got: Vec<_> = found.iter().map(short).collect();
    let wanted = [
        is("change set", "done", 0),
        is("unload", "done", 0),
        is("load", "done", 0),
        is("load", "failed", 3),
        is("unload", "done", 0),
    ];
    assert_eq!(got, wanted, "{found:#?}");
    assert!(
        found[1]["before"].is_u64() && found[1]["after"].is_null(),
        "{found:?}"
    );
    assert_eq!(found[2]["ssh"], "203.0.113.5 50000");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_keeps_no_change_from_being_made_and_is_said() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    let state = ctl.state();
    fs::create_dir(&state).unwrap();
    let size = Some(c"size=256k");
    mount("none", &state, "tmpfs", MountFlags::empty(), size).unwrap();
    ctl.start(&policy).unwrap();
    let full = state.join("full");
    let _ = fs::write(&full, vec![0; 1 << 20]);
    ctl.ok(&["allow", "80/tcp"]).unwrap();
    // What the file has room for in its last block is still on record.
    let mut banned = 0;
    let text = loop {
        banned += 1;
        ctl.ok(&["ban", &format!("192.0.2.{banned}")]).unwrap();
        let status = ctl.run(&["status"]).unwrap();
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        if text.contains("changes are not on record") {
            assert_eq!(status.status.code(), Some(1), "{text}");
            break text;
        }
        assert!(banned < 100, "{text}");
    };
    assert!(text.contains("No space left"), "{text}");
    let bans = ctl.ok(&["bans"]).unwrap();
    assert!(bans.contains(&format!("192.0.2.{banned}")), "{bans}");
    fs::remove_file(&full).unwrap();
    ctl.ok(&["allow", "81/tcp"]).unwrap();
    let found = entries(&state);
    assert_eq!(found.len(), banned + 2, "all but one: {found:#?}");
    assert_eq!(found.last().unwrap()["verb"], "add rule");
    let status = ctl.run(&["status"]).unwrap();
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(!text.contains("on record"), "{text}");
    ctl.kill().unwrap();
    unmount(&state, UnmountFlags::DETACH).unwrap();
}

#[test]
#[ignore = "needs root"]
fn the_journal_has_each_part_in_a_field() {
    let pair = Pair::new().unwrap();
    let mut ctl = Ctl::new(&pair.inside).unwrap();
    let policy = ctl.policy(POLICY).unwrap();
    // `/run` is this test's own.
    fs::create_dir_all("/run/systemd/journal").unwrap();
    let path = Path::new("/run/systemd/journal/socket");
    let _ = fs::remove_file(path);
    let journal = UnixDatagram::bind(path).unwrap();
    journal
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let next = || {
        let mut text = [0; 65_536];
        let length = journal.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        let fields = text.lines().map(|line| line.split_once('=').unwrap());
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        fields.collect::<BTreeMap<String, String>>()
    };
    ctl.start(&policy).unwrap();
    assert_eq!(next()["FIREWALL_VERB"], "start");
    ctl.set("SSH_CONNECTION", SESSION);
    ctl.ok(&["ban", "192.0.2.66"]).unwrap();
    let banned = next();
    assert_eq!(banned["FIREWALL_VERB"], "change set");
    assert_eq!(banned["FIREWALL_RESULT"], "done");
    assert_eq!(banned["FIREWALL_UID"], "0");
    assert_eq!(banned["FIREWALL_SSH"], "203.0.113.5 50000");
    assert_eq!(banned["SYSLOG_IDENTIFIER"], "firewall");
    assert!(banned["MESSAGE"].starts_with("change set @banned: change +192.0.2.66: done"));
    drop(journal);
    fs::remove_file(path).unwrap();
    // Nobody listens: the log has it.
    ctl.ok(&["unban", "192.0.2.66"]).unwrap();
    assert!(
        ctl.log()
            .contains("change set @banned: change -192.0.2.66: done"),
        "{}",
        ctl.log()
    );
}
