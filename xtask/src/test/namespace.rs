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

/// Says that what is tested has [`THREE`] alone. Test programs that need more for themselves, to make
/// namespaces, give it up in the thread that tests, or start `firewall-ctl` so.
pub(crate) const CAPABILITIES: &str = "FIREWALL_CAPABILITIES";

/// Puts a command into exactly the capabilities that the documents ask for.
const THREE: [&str; 4] = [
    "setpriv",
    "--bounding-set=-all,+bpf,+net_admin,+perfmon",
    "--inh-caps=-all,+bpf,+net_admin,+perfmon",
    "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
];

/// Modules of the program `kernel` whose tests make network namespaces.
const MAKE_NAMESPACES: [&str; 5] = [
    "kernel_bench",
    "kernel_plan",
    "kernel_policy_tests",
    "kernel_state",
    "kernel_syn",
];

/// Whether tests run with three capabilities as whole processes.
fn is_restricted(program: &Program, environment: &[(String, OsString)], words: &[&str]) -> bool {
    let makes = |word: &&str| {
        let mut modules = MAKE_NAMESPACES.iter();
        modules.any(|module| word.split("::").next() == Some(module))
    };
    environment.iter().any(|(name, _)| name == CAPABILITIES)
        && program.target == "kernel"
        && !words.iter().any(makes)
}

/// Variables that the user sets for tests, which sudo would drop.
const HANDED_ON: [&str; 4] = ["FIREWALL_", "INSTA_", "PROPTEST_", "RUST_"];

/// The command that runs tests of a program: all that `words` name, in one namespace.
pub(crate) fn command(
    program: &Program,
    environment: &[(String, OsString)],
    words: &[&str],
    limit: Option<Duration>,
) -> Command {
    let own = [("TMPDIR", "/run/tmp"), ("FIREWALL_STATE", "/run/state")];
    let own = own.map(|(name, value)| (name.to_owned(), OsString::from(value)));
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
        .args(
            THREE
                .iter()
                .filter(|_| is_restricted(program, environment, words)),
        )
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
