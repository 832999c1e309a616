//! Two network namespaces joined by a veth pair, and what else a demo leaves on a machine: pins and
//! a temporary folder. All names carry the process id.
//!
//! Invariant: [`Stage`] removes all of it when dropped, and [`sweep`] removes what demos that were
//! killed outright have left. The host's own namespace gets no interface and no address.

use crate::process;
use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

/// Prefix of all names.
const PREFIX: &str = "fwt-demo-";

/// Name of the interface in both namespaces.
pub(super) const INTERFACE: &str = "wan0";

/// The server's addresses, from the blocks reserved for documentation.
pub(super) const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
pub(super) const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);
const CLIENT_V4: &str = "192.0.2.9/24";
const CLIENT_V6: &str = "2001:db8::9/64";

/// Hardware address of the client's interface: the tap knows the client's frames by it.
pub(super) const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x09];

/// A named network namespace.
#[derive(Clone)]
pub(super) struct Namespace(String);

impl Namespace {
    /// Runs `work` on a thread of its own inside the namespace. Sockets it opens, processes and
    /// threads it starts belong to the namespace.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let path = Path::new("/run/netns").join(&self.0);
        std::thread::spawn(move || {
            let namespace = File::open(&path).with_context(|| path.display().to_string())?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("entering {}", path.display()))?;
            work()
        })
    }

    /// The same, waiting for the result.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        join(self.spawn(work))
    }

    /// Runs `ip` with these words from a thread inside: `ip -netns` would mount file systems, which
    /// not every container lets it.
    fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        self.run(move || process::capture(&mut command).map(drop))
    }
}

/// The result of a thread; its panic is an error.
pub(super) fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the demo panicked"))?
}

/// Everything that a demo puts on the machine.
pub(super) struct Stage {
    pub(super) server: Namespace,
    pub(super) client: Namespace,
    /// Folder of pins.
    pub(super) pins: PathBuf,
    /// Folder of the socket and the daemon's log.
    pub(super) folder: PathBuf,
}

impl Stage {
    /// Makes the namespaces and the pair. The client's end stays down until [`Stage::connect`], so
    /// that no frame travels before the filter is in place.
    pub(super) fn build() -> Result<Self> {
        let name = format!("{PREFIX}{}", std::process::id());
        let stage = Self {
            server: Namespace(format!("{name}-server")),
            client: Namespace(format!("{name}-client")),
            pins: Path::new("/sys/fs/bpf").join(&name),
            folder: std::env::temp_dir().join(&name),
        };
        // From here on, an error drops the stage and so removes what was made.
        std::fs::create_dir(&stage.folder)
            .with_context(|| format!("making {}", stage.folder.display()))?;
        for namespace in [&stage.server, &stage.client] {
            process::capture(Command::new("ip").args(["netns", "add", &namespace.0]))?;
            namespace.run(quieten)?;
            namespace.ip("link set lo up")?;
        }
        let mac = CLIENT_MAC.map(|byte| format!("{byte:02x}")).join(":");
        stage.client.ip(&format!(
            "link add {INTERFACE} address {mac} type veth peer name {INTERFACE} netns {}",
            stage.server.0
        ))?;
        stage
            .server
            .ip(&format!("address add {SERVER_V4}/24 dev {INTERFACE}"))?;
        stage
            .server
            .ip(&format!("address add {SERVER_V6}/64 dev {INTERFACE} nodad"))?;
        stage.server.ip(&format!("link set {INTERFACE} up"))?;
        stage
            .client
            .ip(&format!("address add {CLIENT_V4} dev {INTERFACE}"))?;
        stage
            .client
            .ip(&format!("address add {CLIENT_V6} dev {INTERFACE} nodad"))?;
        Ok(stage)
    }

    /// Brings the client's end up.
    pub(super) fn connect(&self) -> Result<()> {
        self.client.ip(&format!("link set {INTERFACE} up"))
    }
}

/// No router solicitations: nobody would answer.
fn quieten() -> Result<()> {
    let file = "/proc/sys/net/ipv6/conf/default/router_solicitations";
    std::fs::write(file, "0").with_context(|| file.to_owned())
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.server.0);
        remove(&self.client.0);
        remove_folder(&self.pins);
        remove_folder(&self.folder);
    }
}

/// Removes what demos whose process is gone have left behind.
pub(super) fn sweep() {
    let is_left = |name: &str| {
        let id: Option<u32> = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|id| id.parse().ok());
        id.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
    };
    let left = |folder: &Path| -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
            .filter(|(_, name)| is_left(name))
            .collect()
    };
    for (_, name) in left(Path::new("/run/netns")) {
        println!("removing {name}, left by an earlier demo");
        remove(&name);
    }
    for folder in [Path::new("/sys/fs/bpf"), &std::env::temp_dir()] {
        for (path, _) in left(folder) {
            println!("removing {}, left by an earlier demo", path.display());
            remove_folder(&path);
        }
    }
}

/// Removes a namespace: its processes, its interface, its name. Failures are ignored, because
/// parts of it may never have been made.
fn remove(name: &str) {
    let processes = process::ask(Command::new("ip").args(["netns", "pids", name]));
    for id in processes.unwrap_or_default().split_whitespace() {
        // Our own threads are listed by our own id; they end with us.
        if let Some(id) = id.parse().ok().and_then(rustix::process::Pid::from_raw)
            && id != rustix::process::getpid()
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
    let _ = Namespace(name.to_owned()).ip(&format!("link delete {INTERFACE}"));
    process::ask(Command::new("ip").args(["netns", "delete", name]));
}

fn remove_folder(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("warning: cannot remove {}: {error}", path.display());
    }
}
