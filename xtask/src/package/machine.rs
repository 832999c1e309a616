//! A Debian of its own with systemd as its first process, in namespaces of its own, and a peer at the other
//! end of a virtual cable.
//!
//! ```text
//! peer (network namespace, cl0) ── veth ── up0, machine (systemd-nspawn)
//! ```
//!
//! Invariant: it touches names that begin with `fwt-` and its own folder below the target folder, and
//! takes all of it away when it is dropped.

use super::folder;
use crate::process;
use crate::setup;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Network namespaces of the machine and its peer.
const OWN: &str = "fwt-package-own";
const PEER: &str = "fwt-package-peer";

/// The address that the peer knocks at.
const ADDRESS: &str = "198.51.100.80";

/// How long a start or an end may take: busy machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a real machine has and a container has not, and services to knock at: units of the test.
const UNITS: [(&str, &str); 6] = [
    (
        "fwt-bpffs.service",
        "[Unit]\nDefaultDependencies=no\nBefore=local-fs.target systemd-tmpfiles-setup.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/mount -t bpf -o mode=700,nosuid,nodev,noexec bpf /sys/fs/bpf\n\
         [Install]\nWantedBy=local-fs.target\n",
    ),
    (
        "fwt-network.service",
        "[Unit]\nDefaultDependencies=no\nAfter=network-pre.target\nBefore=network.target\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/sbin/ip addr add 198.51.100.80/24 dev up0\nExecStart=/sbin/ip link set up0 up\n\
         [Install]\nWantedBy=sysinit.target\n",
    ),
    (
        "fwt-22.socket",
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=22\n[Install]\nWantedBy=sysinit.target\n",
    ),
    (
        "fwt-22.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    ),
    (
        "fwt-80.socket",
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=80\n[Install]\nWantedBy=sysinit.target\n",
    ),
    (
        "fwt-80.service",
        "[Service]\nExecStart=/bin/sleep infinity\n",
    ),
];

/// What became of an attempt to connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Knock {
    /// A connection was made.
    Answered,
    /// Nothing came back.
    Silence,
    /// A refusal, or no way there.
    Refused,
}

/// The machine.
pub(super) struct Machine {
    root: PathBuf,
    nspawn: Option<Child>,
    /// Its first process, as this machine numbers it.
    leader: u32,
}

impl Machine {
    /// A new one, not started.
    pub(super) fn new(workspace: &Workspace) -> Result<Self> {
        if !process::is_root() {
            bail!("a machine with systemd needs root: sudo -E cargo xtask package --life");
        }
        setup::offer(&[
            ("debootstrap", "debootstrap"),
            ("systemd-nspawn", "systemd-container"),
            ("ip", "iproute2"),
        ]);
        let base = base(workspace)?;
        let root = folder(workspace).join("machine");
        let machine = Self {
            root: root.clone(),
            nspawn: None,
            leader: 0,
        };
        machine.clear();
        let mut copy = Command::new("cp");
        process::run_quietly(copy.args(["-a", "--reflink=auto"]).args([&base, &root]))?;
        for (name, text) in UNITS {
            fs::write(root.join("etc/systemd/system").join(name), text)?;
            if text.contains("[Install]") {
                let mut enable = Command::new("systemctl");
                enable
                    .arg("--root")
                    .arg(&root)
                    .args(["--quiet", "enable", name]);
                process::run_quietly(&mut enable)?;
            }
        }
        // It looks for snapshots of LVM on disks that are not the machine's, and may wait for them.
        let mut mask = Command::new("systemctl");
        mask.arg("--root").arg(&root);
        process::run_quietly(mask.args(["--quiet", "mask", "e2scrub_reap.service"]))?;
        Ok(machine)
    }

    /// A place in its file system.
    pub(super) fn path(&self, place: &str) -> PathBuf {
        self.root.join(place.trim_start_matches('/'))
    }

    /// Lays the cable. The machine's end is down: its own units set it up.
    pub(super) fn cable(&self) -> Result<()> {
        for namespace in [OWN, PEER] {
            ip(&["netns", "add", namespace])?;
        }
        ip(&[
            "link", "add", "up0", "netns", OWN, "type", "veth", "peer", "name", "cl0", "netns",
            PEER,
        ])?;
        ip(&["-n", PEER, "addr", "add", "198.51.100.1/24", "dev", "cl0"])?;
        ip(&["-n", PEER, "link", "set", "cl0", "up"])
    }

    /// Lays it anew: with the machine's first process its end has gone.
    pub(super) fn cable_again(&self) -> Result<()> {
        for namespace in [OWN, PEER] {
            ip(&["netns", "del", namespace])?;
        }
        self.cable()
    }

    /// Switches it on. It runs when [`Machine::wait`] returns.
    pub(super) fn start(&mut self) -> Result<()> {
        let log = fs::File::create(self.root.with_extension("log"))?;
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "systemd-nspawn", "--quiet", "--boot"])
            .arg("--directory")
            .arg(&self.root)
            .args(["--register=no", "--keep-unit", "--capability=all"])
            // nspawn's own filter answers bpf(2) with EPERM, whatever the capabilities.
            .arg("--system-call-filter=bpf perf_event_open")
            .arg(format!("--network-namespace-path=/run/netns/{OWN}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("systemd-nspawn does not start")?;
        let pid = nspawn.id();
        self.nspawn = Some(nspawn);
        let children = format!("/proc/{pid}/task/{pid}/children");
        self.leader = within(PATIENCE, "the machine's first process", || {
            let text = fs::read_to_string(&children).ok()?;
            text.split_ascii_whitespace().next()?.parse().ok()
        })?;
        Ok(())
    }

    /// Waits until all units have been started.
    pub(super) fn wait(&self) -> Result<()> {
        within(PATIENCE, "the machine to come up", || {
            let state = self.run(&["systemctl", "is-active", "multi-user.target"]);
            state.ok()?.status.success().then_some(())
        })
    }

    /// Switches it off.
    pub(super) fn halt(&mut self) -> Result<()> {
        self.run(&["systemctl", "poweroff"])?;
        let Some(mut nspawn) = self.nspawn.take() else {
            return Ok(());
        };
        let ended = within(PATIENCE, "the machine to go down", || {
            nspawn.try_wait().ok().flatten().map(drop)
        });
        if ended.is_err() {
            let _ = nspawn.kill();
            let _ = nspawn.wait();
        }
        ended
    }

    /// Runs a command in it.
    pub(super) fn run(&self, words: &[&str]) -> Result<Output> {
        Command::new("nsenter")
            .args(["--target", &self.leader.to_string()])
            .args(["--mount", "--pid", "--net", "--uts", "--ipc"])
            .args([
                "--",
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8",
            ])
            .arg("DEBIAN_FRONTEND=noninteractive")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("nsenter does not start")
    }

    /// Runs a line of shell in it, and gives what it prints; an error if it fails.
    pub(super) fn shell(&self, line: &str) -> Result<String> {
        let output = self.run(&["bash", "-c", line])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` ended with {}: {text}{errors}", output.status);
        }
        Ok(text)
    }

    /// Has the peer connect to a port.
    pub(super) fn knock(&self, port: u16, seconds: &str) -> Result<Knock> {
        let line = format!("exec 3<>/dev/tcp/{ADDRESS}/{port}");
        let status = Command::new("ip")
            .args([
                "netns", "exec", PEER, "timeout", seconds, "bash", "-c", &line,
            ])
            .stderr(Stdio::null())
            .status()?;
        Ok(match status.code() {
            Some(0) => Knock::Answered,
            Some(124) => Knock::Silence,
            _ => Knock::Refused,
        })
    }

    /// Takes away what an earlier one has left, or this one.
    fn clear(&self) {
        for namespace in [OWN, PEER] {
            if Path::new("/run/netns").join(namespace).exists() {
                let _ = ip(&["netns", "del", namespace]);
            }
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut nspawn) = self.nspawn.take() {
            let _ = nspawn.kill();
            let _ = nspawn.wait();
        }
        self.clear();
    }
}

/// The Debian that machines are copies of: made once, kept in the target folder.
fn base(workspace: &Workspace) -> Result<PathBuf> {
    let base = folder(workspace).join("debian");
    if base.join("usr/bin/systemctl").exists() || base.join("bin/systemctl").exists() {
        return Ok(base);
    }
    let fresh = folder(workspace).join("debian.new");
    let _ = fs::remove_dir_all(&fresh);
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args([
            "--variant=minbase",
            "--include=systemd,systemd-sysv,dbus,iproute2",
        ])
        .arg(codename.unwrap_or("bookworm"))
        .arg(&fresh);
    process::run(&mut debootstrap)?;
    fs::rename(&fresh, &base)?;
    Ok(base)
}

fn ip(words: &[&str]) -> Result<()> {
    process::run_quietly(Command::new("ip").args(words))
}

/// Asks again and again until there is an answer.
pub(super) fn within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > patience {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        sleep(Duration::from_millis(100));
    }
}
