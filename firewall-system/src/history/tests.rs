//! What is kept, what goes, and what a crash, a full disk and damage leave.

use super::*;
use std::process::{Command, Stdio};
use std::time::Duration;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("fwt-history-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(FOLDER)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(generation: u64, text: &str, confirmed: bool) -> HistoryEntry {
    HistoryEntry {
        generation,
        time: 1_800_000_000.0,
        at: "2027-01-15T08:00:00Z".to_owned(),
        verb: "apply".to_owned(),
        why: Some("a line\nand another".to_owned()),
        asker: Asker {
            uid: Some(0),
            command: Some("firewall-ctl".to_owned()),
            ..Asker::default()
        },
        policy: "/etc/firewall/firewall.yaml".to_owned(),
        base: PathBuf::from("/etc/firewall"),
        files: Vec::new(),
        interfaces: Vec::new(),
        content_sha256: hash::of(text),
        sha256: hash::of(text),
        own_sha256: hash::of(text),
        bytes: text.len() as u64,
        rules: 1,
        runtime: 0,
        default: "drop".to_owned(),
        restores: None,
        confirmed,
    }
}

fn waiting(generation: u64) -> Waiting {
    Waiting {
        generation,
        back: generation - 1,
        seconds: 60,
        boot: "of-today".to_owned(),
        ends: 7,
        policy: "/etc/firewall".to_owned(),
        asker: Asker::default(),
    }
}

fn numbers(history: &History) -> Vec<u64> {
    let (entries, warnings) = history.list();
    assert_eq!(warnings, Vec::<String>::new());
    entries.iter().map(|entry| entry.generation).collect()
}

#[test]
fn a_generation_is_read_as_it_was_kept() {
    let folder = Folder::new("read");
    let history = History::in_folder(&folder.0);
    assert_eq!(history.list(), (Vec::new(), Vec::new()));
    assert_eq!(history.read(1).unwrap_err().exit_code, Exit::Config);
    for text in [
        "version: 1\n",
        "",
        "--- # policy\nversion: 1",
        "a\r\n\u{feff}b",
    ] {
        let kept = entry(7, text, true);
        history.keep(&kept, text, &[]).unwrap();
        assert_eq!(history.read(7).unwrap(), (kept.clone(), text.to_owned()));
        assert_eq!(history.list().0, [kept]);
    }
    assert_eq!(folder.names(), ["7.yaml"]);
    let mode = fs::metadata(folder.0.join("gen/7.yaml")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn to_confirm_is_to_rename() {
    let folder = Folder::new("confirm");
    let history = History::in_folder(&folder.0);
    for (number, is_confirmed) in [(1, true), (2, false), (3, true), (4, false), (5, false)] {
        history
            .keep(&entry(number, "x", is_confirmed), "x", &[])
            .unwrap();
    }
    assert_eq!(history.is_confirmed(4), Some(false));
    history.confirm(4).unwrap();
    let all = [
        (1, Some(true)),
        (2, Some(false)),
        (4, Some(true)),
        (5, Some(true)),
        (6, None),
    ];
    for (number, wanted) in all {
        assert_eq!(history.is_confirmed(number), wanted, "{number}");
    }
    assert!(history.read(5).unwrap().0.confirmed);
    // A crash between writing one and removing the other leaves both: it is confirmed, and listed once.
    fs::copy(
        folder.0.join("gen/5.yaml"),
        folder.0.join("gen/5.tried.yaml"),
    )
    .unwrap();
    let (entries, _) = history.list();
    assert_eq!(entries.len(), 5);
    assert!(entries[0].confirmed);
}

#[test]
fn fifty_stay_and_renewals_go_first() {
    let folder = Folder::new("prune");
    let history = History::in_folder(&folder.0);
    history
        .keep(&entry(1, "first", true), "first", &[])
        .unwrap();
    for number in 2..=40 {
        let text = number.to_string();
        history
            .keep(&entry(number, &text, true), &text, &[])
            .unwrap();
    }
    // The clock is set again and again.
    for number in 41..=200 {
        history.keep(&entry(number, "40", true), "40", &[]).unwrap();
    }
    let left = numbers(&history);
    assert_eq!(left.len(), KEPT);
    assert_eq!(left.first(), Some(&200));
    assert!((1..=40).all(|number| left.contains(&number)), "{left:?}");
    // What was asked for goes by its age, but for what somebody needs.
    for number in 201..=300 {
        let text = number.to_string();
        let confirmed = number == 201;
        history
            .keep(&entry(number, &text, confirmed), &text, &[3])
            .unwrap();
    }
    let left = numbers(&history);
    assert_eq!(left.len(), KEPT);
    assert!(left.contains(&3) && left.contains(&201), "{left:?}");
    assert!(left.contains(&253) && !left.contains(&252), "{left:?}");
}

#[test]
fn large_files_let_go_of_the_oldest() {
    let folder = Folder::new("large");
    let history = History::in_folder(&folder.0);
    for number in 1..=8 {
        let text = number.to_string();
        let file = |name: &str, bytes| NamedFile {
            path: "list.txt".to_owned(),
            sha256: hash::of(name),
            bytes,
        };
        let kept = HistoryEntry {
            files: vec![file(&text, 256 << 20), file("shared", 1)],
            ..entry(number, &text, true)
        };
        history.keep(&kept, &text, &[]).unwrap();
    }
    assert_eq!(numbers(&history), [8, 7, 6]);
    assert_eq!(history.files().unwrap().len(), 6);
}

#[test]
fn damage_is_said_and_hides_nothing_else() {
    let folder = Folder::new("damage");
    let history = History::in_folder(&folder.0);
    for number in 1..=3 {
        history
            .keep(&entry(number, "text", true), "text", &[])
            .unwrap();
    }
    let path = |name: &str| folder.0.join(FOLDER).join(name);
    fs::write(path("2.yaml"), "# firewall generation: {\"gener").unwrap();
    for name in ["x.yaml", "04.yaml", "README", "-1.yaml"] {
        fs::write(path(name), "?").unwrap();
    }
    let (entries, warnings) = history.list();
    let left: Vec<u64> = entries.iter().map(|entry| entry.generation).collect();
    assert_eq!((left, warnings.len()), (vec![3, 1], 1), "{warnings:?}");
    assert!(warnings[0].contains("generation 2"), "{warnings:?}");
    // Another text than was kept is nobody's policy.
    let changed = fs::read_to_string(path("3.yaml")).unwrap() + "rules: []\n";
    fs::write(path("3.yaml"), changed).unwrap();
    assert_eq!(history.read(3).unwrap_err().exit_code, Exit::Config);
    fs::rename(path("1.yaml"), path("9.yaml")).unwrap();
    assert!(history.read(9).is_err(), "a name that lies");
    fs::write(folder.0.join(PENDING), "{").unwrap();
    assert!(history.waiting().is_err());
    history.wait_for(&waiting(3)).unwrap();
    assert_eq!(history.waiting().unwrap(), Some(waiting(3)));
    history.end_waiting().unwrap();
    history.end_waiting().unwrap();
    assert_eq!(history.waiting().unwrap(), None);
}

/// Whatever is written when the process is killed: what was kept before is there, and every file is whole.
#[test]
fn a_writer_that_is_killed_tears_nothing() {
    const ROUNDS: u64 = 40;
    let name = "history::tests::a_writer_that_is_killed_tears_nothing";
    if let Some(state) = std::env::var_os("FIREWALL_TEST_WRITER") {
        write_for_ever(&History::in_folder(Path::new(&state)));
    }
    let folder = Folder::new("killed");
    let history = History::in_folder(&folder.0);
    let mut newest = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("FIREWALL_TEST_WRITER", &folder.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 + 7 * (round % 11)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (entries, warnings) = history.list();
        assert_eq!(warnings, Vec::<String>::new());
        for entry in &entries {
            let (read, text) = history.read(entry.generation).unwrap();
            assert_eq!(read.bytes, text.len() as u64);
        }
        let now = entries.first().map_or(0, |entry| entry.generation);
        assert!(now >= newest, "{now} is older than {newest}");
        newest = now;
        history.waiting().unwrap();
    }
    assert!(newest > ROUNDS / 4, "the writer has written: {newest}");
    history
        .keep(&entry(newest + 1, "x", true), "x", &[])
        .unwrap();
    let names = folder.names();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

fn write_for_ever(history: &History) -> ! {
    let first = history.list().0.first().map_or(0, |it| it.generation);
    for number in first + 1.. {
        let text = format!("# {number}\n").repeat(2_000 * (number as usize % 5));
        history.wait_for(&waiting(number)).unwrap();
        let is_confirmed = number % 3 == 0;
        history
            .keep(&entry(number, &text, is_confirmed), &text, &[])
            .unwrap();
        history.confirm(number - 1).unwrap();
        history.end_waiting().unwrap();
    }
    unreachable!("numbers do not end")
}

#[test]
fn what_was_tried_last_is_known_as_such_however_much_comes_after_it() {
    let folder = Folder::new("tried");
    let history = History::in_folder(&folder.0);
    history
        .keep(&entry(1, "tried", false), "tried", &[])
        .unwrap();
    for number in 2..KEPT as u64 + 20 {
        let text = format!("rule {number}");
        history
            .keep(&entry(number, &text, true), &text, &[])
            .unwrap();
    }
    assert_eq!(history.is_confirmed(1), Some(false));
    assert_eq!(numbers(&history).len(), KEPT);
    history.forget_tried(1).unwrap();
    assert_eq!(history.is_confirmed(1), None);
}

#[test]
fn nobody_says_which_files_are_needed_while_one_cannot_be_read() {
    let folder = Folder::new("unread");
    let history = History::in_folder(&folder.0);
    let named = NamedFile {
        path: "friends.txt".to_owned(),
        sha256: hash::of("192.0.2.1"),
        bytes: 9,
    };
    let naming = HistoryEntry {
        files: vec![named.clone()],
        ..entry(1, "one", true)
    };
    history.keep(&naming, "one", &[]).unwrap();
    assert_eq!(history.files().unwrap(), std::slice::from_ref(&named));
    // A folder is no file: it stands for one that cannot be read just now.
    fs::create_dir(folder.0.join("gen/2.yaml")).unwrap();
    assert!(history.files().is_err());
    fs::remove_dir(folder.0.join("gen/2.yaml")).unwrap();
    // One that is damaged for good holds up nothing.
    fs::write(folder.0.join("gen/2.yaml"), "# firewall generation: {").unwrap();
    assert_eq!(history.files().unwrap(), [named]);
}
