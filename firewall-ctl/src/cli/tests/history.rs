//! Screens of the history, and of what waits to be confirmed.

use super::super::{apply, history};
use super::{screen, snapshot};
use firewall_api::history::{HistoryEntry, HistoryReport};
use firewall_api::report::{Applied, ApplyReport, StatusReport};
use firewall_api::session::Asker;
use firewall_api::view::{Pending, SCHEMA};

fn pending(left: f64) -> Pending {
    Pending {
        generation: 42,
        back: 41,
        seconds: 60,
        left,
    }
}

fn entry(generation: u64, verb: &str, user: (u32, Option<u32>)) -> HistoryEntry {
    let time = 1_800_000_000.0 - 3_600.0 * (42 - generation) as f64;
    HistoryEntry {
        generation,
        time,
        at: firewall_policy::time::print(time as u64),
        verb: verb.to_owned(),
        why: None,
        asker: Asker {
            uid: Some(user.0),
            login_uid: user.1,
            ..Asker::default()
        },
        policy: "/etc/firewall/firewall.yaml".to_owned(),
        base: "/etc/firewall".into(),
        files: Vec::new(),
        interfaces: Vec::new(),
        content_sha256: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
            .to_owned(),
        sha256: String::new(),
        own_sha256: String::new(),
        bytes: 0,
        rules: 12,
        runtime: 0,
        default: "drop".to_owned(),
        restores: None,
        confirmed: true,
    }
}

fn report() -> HistoryReport {
    HistoryReport {
        schema: SCHEMA.to_owned(),
        time: 1_800_000_026.0,
        in_force: Some(42),
        pending: Some(pending(34.0)),
        generations: vec![
            HistoryEntry {
                confirmed: false,
                why: Some("ticket 17: a new \u{1b}[2Jmail server".to_owned()),
                ..entry(42, "apply", (0, Some(1000)))
            },
            HistoryEntry {
                restores: Some(38),
                ..entry(41, "rollback", (0, None))
            },
            HistoryEntry {
                confirmed: false,
                ..entry(40, "apply", (0, Some(1001)))
            },
            HistoryEntry {
                runtime: 2,
                ..entry(39, "add rule", (0, Some(1000)))
            },
            entry(38, "start", (998, None)),
        ],
        warnings: Vec::new(),
    }
}

fn name(user: u32) -> Option<String> {
    let known = [(0, "root"), (998, "firewall-daemon"), (1000, "alice")];
    let known = known.into_iter().find(|(number, _)| *number == user);
    known.map(|(_, name)| name.to_owned())
}

#[test]
fn the_history_as_a_table() {
    let report = report();
    let narrow = history::table(&report, false, Some(80), &name);
    let whole = history::table(&report, false, None, &name);
    let wide = history::table(&report, true, None, &name);
    insta::assert_snapshot!("history", format!("{narrow}\n{whole}\n{wide}"));
}

#[test]
fn what_waits_to_be_confirmed() {
    let mut snapshot = snapshot();
    snapshot.status.pending = Some(pending(33.6));
    let status = screen(&StatusReport::of(&snapshot));
    let mut applied = ApplyReport::new(
        "/etc/firewall/firewall.yaml",
        Applied {
            generation: 42,
            before: Some(41),
            changed: true,
            interfaces: Vec::new(),
            warnings: Vec::new(),
            seconds: 0.012,
            effect: None,
        },
    );
    applied.pending = Some(pending(60.0));
    let tried = apply::line(&applied);
    applied.pending = None;
    applied.restores = Some(38);
    let restored = apply::line(&applied);
    insta::assert_snapshot!("pending", format!("{status}\n{tried}\n\n{restored}\n"));
}
