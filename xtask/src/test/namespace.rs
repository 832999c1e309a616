//! Where a test that needs root runs: mount, network and process namespaces of its own, made by
//! util-linux's `unshare`, with `/sys`, BPF file system, `/run` and folder for files of its own.
//!
//! Invariant: when a test's command ends, or this program does, nothing of the test is left: its
//! processes are killed with the first of them, and its files, pins and links go with its mounts.

use super::programs::Program;
use crate::process;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs its arguments after the first, which is how many seconds they may take: 0 for any number.
/// What they print goes to standard output.
const SCRIPT: &str = r#"
exec 2>&1
limit=$1
shift
set -e
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
mkdir -m 1777 "$TMPDIR"
ip link set lo up
set +e
timeout --signal KILL "$limit" "$@"
code=$?
for log in "$TMPDIR"/firewall-verifier-*.log; do
    if [ $code != 0 ] && [ -e "$log" ]; then
        echo "the end of $log:"
        tail -n 12 "$log" | cut -c 1-600
    fi
done
exit $code
"#;

/// Variables that the user sets for tests, which sudo would drop.
const HANDED_ON: [&str; 4] = ["FIREWALL_", "INSTA_", "PROPTEST_", "RUST_"];

/// The command that runs tests of a program: all that `words` name, in one namespace.
pub(crate) fn command(
    program: &Program,
    environment: &[(String, OsString)],
    words: &[&str],
    limit: Option<Duration>,
) -> Command {
    let own = [("TMPDIR".to_owned(), OsString::from("/run/tmp"))];
    let variables = environment.iter().chain(&own);
    let mut command;
    if process::is_root() {
        command = Command::new("setpriv");
        command.envs(variables.map(|(name, value)| (name, value)));
    } else {
        // Cargo builds as the user; only the test programs run as root.
        command = Command::new("sudo");
        command.arg("env");
        let outer = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            HANDED_ON.iter().any(|start| name.starts_with(start))
        });
        for (name, value) in outer {
            command.arg(setting(&name, &value));
        }
        for (name, value) in variables {
            command.arg(setting(name.as_ref(), value));
        }
        command.arg("setpriv");
    }
    // The process ends with the one that started it, and with it all in its namespace.
    command
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private"])
        .args(["sh", "-c", SCRIPT, "sh"])
        .arg(limit.map_or(0, |limit| limit.as_secs()).to_string())
        .arg(&program.file)
        .args(["--include-ignored", "--test-threads=1", "--exact"])
        .args(words)
        .current_dir(&program.folder)
        .stdin(Stdio::null());
    command
}

fn setting(name: &std::ffi::OsStr, value: &std::ffi::OsStr) -> OsString {
    let mut word = name.to_owned();
    word.push("=");
    word.push(value);
    word
}
