//! Who is logged in by SSH, or from elsewhere by whatever: what processes, `utmp` and logind say.
//!
//! Formats: utmp(5); `/run/systemd/sessions`, of which every line is `KEY=VALUE`. May not change anything.

use super::{Connection, Stat, is_alive, read, variable, way_of};
use std::fs;
use std::path::Path;

/// Files of those who are logged in.
const UTMP: [&str; 2] = ["/run/utmp", "/var/run/utmp"];

/// Bytes of a record of `utmp`, of which the numbers at its end are longer where no programs of 32 bits
/// share the file; where in it the kind, the user and the host stand.
const RECORD: usize = if cfg!(target_arch = "aarch64") {
    400
} else {
    384
};
const USER: std::ops::Range<usize> = 44..76;
const HOST: std::ops::Range<usize> = 76..332;
/// `USER_PROCESS`.
const LOGGED_IN: u16 = 7;

const SESSIONS: &str = "/run/systemd/sessions";

/// The connections of this host by which a user is logged in; of `None`, anybody.
pub(super) fn connections(user: Option<u32>) -> Vec<Connection> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<Connection> = Vec::new();
    for process in processes {
        let is_its = |stat: Stat| user.is_none_or(|user| user == stat.user);
        if !Stat::of(process).is_some_and(is_its) {
            continue;
        }
        let Some(connection) = variable(process).and_then(|text| read(&text)) else {
            continue;
        };
        if !found.contains(&connection) && way_of(process).has_server && is_alive(&connection) {
            found.push(connection);
        }
    }
    found
}

/// Whether a user, or of `None` anybody, is logged in from another host.
pub(super) fn is_remote(user: Option<u32>) -> bool {
    let name = user.and_then(name_of);
    let in_utmp = UTMP.iter().any(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        let mut records = bytes.chunks_exact(RECORD);
        records.any(|record| {
            let who = remote_user(record);
            who.is_some_and(|who| user.is_none() || name.as_deref().is_none_or(|name| who == name))
        })
    });
    in_utmp || is_in_sessions(Path::new(SESSIONS), user)
}

/// Whether a file of logind's says so. It keeps a pipe beside each, whose reader waits for the session's end.
fn is_in_sessions(folder: &Path, user: Option<u32>) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut texts = files.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| is_remote_session(&text, user))
}

/// The name of a user.
fn name_of(user: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut words = line.split(':');
        let (name, id) = (words.next()?, words.nth(1)?);
        (id == user.to_string()).then(|| name.to_owned())
    })
}

/// Who a record says is logged in from another host. (A display of this host begins with a colon; tmux
/// writes itself there.)
fn remote_user(record: &[u8]) -> Option<&str> {
    let kind = u16::from_ne_bytes(*record.first_chunk()?);
    let host = word(record.get(HOST)?);
    let is_here = host.is_empty() || host.starts_with(':') || host.starts_with("tmux(");
    (kind == LOGGED_IN && !is_here).then(|| word(&record[USER]))
}

/// Text up to its terminating zero.
fn word(bytes: &[u8]) -> &str {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).unwrap_or("?")
}

/// Whether logind says of a session that it comes from another host, and has not ended.
fn is_remote_session(text: &str, user: Option<u32>) -> bool {
    let says = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|it| it.0 == key).map(|it| it.1)
    };
    let is_its = user.is_none_or(|user| says("UID") == Some(&user.to_string()));
    says("REMOTE") == Some("1") && says("STATE") != Some("closing") && is_its
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_who_comes_from_where() {
        let record = |kind: u16, user: &str, host: &str| {
            let mut record = vec![0; RECORD];
            record[..2].copy_from_slice(&kind.to_ne_bytes());
            record[USER.start..][..user.len()].copy_from_slice(user.as_bytes());
            record[HOST.start..][..host.len()].copy_from_slice(host.as_bytes());
            record
        };
        for (kind, host, who) in [
            (LOGGED_IN, "203.0.113.9", Some("ann")),
            (LOGGED_IN, "203.0.113.9 via mosh [77]", Some("ann")),
            (LOGGED_IN, ":0", None),
            (LOGGED_IN, "", None),
            (LOGGED_IN, "tmux(77).%0", None),
            (8, "203.0.113.9", None),
        ] {
            assert_eq!(remote_user(&record(kind, "ann", host)), who, "{host}");
        }
        assert_eq!(remote_user(&[7]), None);
    }

    #[test]
    fn sessions_say_whose_they_are() {
        let text = "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nACTIVE=1\n\
                    STATE=active\nREMOTE=1\nREMOTE_HOST=203.0.113.9\n";
        assert!(is_remote_session(text, None));
        assert!(is_remote_session(text, Some(1_000)));
        assert!(!is_remote_session(text, Some(1_001)));
        assert!(!is_remote_session(
            &text.replace("REMOTE=1", "REMOTE=0"),
            None
        ));
        assert!(!is_remote_session(
            &text.replace("=active", "=closing"),
            None
        ));
    }

    #[test]
    fn pipes_among_the_sessions_are_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("firewall-logins-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.join("c1.ref"))
            .status();
        assert!(made.unwrap().success());
        // Somebody holds the other end, as logind's client does.
        let pipe = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.join("c1.ref"));
        fs::write(folder.join("c1"), "UID=1000\nREMOTE=0\nSTATE=active\n").unwrap();
        assert!(!is_in_sessions(&folder, None));
        fs::write(folder.join("7"), "UID=1000\nREMOTE=1\nSTATE=active\n").unwrap();
        assert!(is_in_sessions(&folder, Some(1_000)));
        drop(pipe);
        fs::remove_dir_all(&folder).unwrap();
    }
}
