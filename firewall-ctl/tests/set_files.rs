//! Set files from the disk, through the real program: what is no regular file, what is counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fwt-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    /// Checks a policy whose only set is the file `list`.
    fn check(&self, list: &Path) -> Output {
        let policy = self.0.join("policy.yaml");
        let text = format!(
            "version: 1\ndefault: {{in: pass}}\nsets: {{bad: {{type: cidr, file: {}}}}}\n\
             rules: [{{name: bad, from: \"@bad\", action: drop}}]\n",
            list.display()
        );
        std::fs::write(&policy, text).expect("written");
        Command::new(env!("CARGO_BIN_EXE_firewall-ctl"))
            .args(["check", "-v"])
            .arg(&policy)
            .output()
            .expect("the program starts")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = Folder::new("odd");
    let pipe = folder.0.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("coreutils").success());
    for path in [
        &pipe,
        &folder.0,
        Path::new("/dev/zero"),
        Path::new("/dev/null"),
    ] {
        let start = Instant::now();
        let output = folder.check(path);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(errors.contains("error[FW0143]"), "{errors}");
        assert!(errors.contains("not a regular file"), "{errors}");
        assert!(start.elapsed() < Duration::from_secs(20), "it waited");
    }
}

#[test]
fn verbose_check_says_what_folding_left() {
    let folder = Folder::new("fold");
    let list = folder.0.join("list.txt");
    let entries: String = (0..2_000)
        .map(|n| format!("10.0.{}.{}\n", n / 250, n % 250))
        .collect();
    std::fs::write(&list, entries).expect("written");
    let output = folder.check(&list);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("set bad: 2000 entries, 8 after folding\n"),
        "{text}"
    );
}
