//! A mount namespace of this process's own, with an empty BPF file system and an empty list of
//! network namespaces: what is pinned or named in there is gone when the process is, however it
//! ends, and what the machine has pinned is out of reach.

use std::ffi::OsStr;
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Set for the process inside.
const INSIDE: &str = "FIREWALL_BENCH_INSIDE";

/// File systems that are empty inside.
const EMPTY: [(&str, &str); 2] = [("bpf", "/sys/fs/bpf"), ("tmpfs", "/run/netns")];

/// Starts this program again in a mount namespace of its own; does not come back if that works.
/// `None` inside, when everything is ready; otherwise an error has been shown.
///
/// `ctl`: the `firewall-ctl` under test; the test harness reads its path from the environment.
pub(crate) fn enter_or_wait(ctl: Option<&Path>) -> Option<ExitCode> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        eprintln!("error: {what}: {error}");
        Some(ExitCode::from(2))
    };
    if std::env::var_os(INSIDE).is_some() {
        for (kind, place) in EMPTY {
            if let Err(error) = mount(kind, place) {
                return failed(&format!("mount {kind} at {place}"), &error);
            }
        }
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        return failed(
            "this program loads programs into the kernel",
            &"run it as root",
        );
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed("find the program itself", &error),
    };
    let mut unshare = Command::new("unshare");
    if let Some(ctl) = ctl {
        unshare.env("FIREWALL_CTL", ctl);
    }
    let error = unshare
        .args(["--mount", "--propagation", "private", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    failed("start unshare (util-linux)", &error)
}

fn mount(kind: &str, place: impl AsRef<OsStr>) -> Result<(), Error> {
    std::fs::create_dir_all(place.as_ref())?;
    let status = Command::new("mount")
        .args(["-t", kind, "none"])
        .arg(place)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::other(status.to_string()))
    }
}
