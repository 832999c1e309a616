//! What the kernel tests of this crate share: a thread in a network namespace of its own, a veth
//! pair in it, and a folder for pins that is removed whatever happens.

use firewall_engine::engine::{Engine, Request, Scope};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities,
};
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// Runs `test` on a thread in a new network namespace, which is gone when the thread ends.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    in_namespace_whole(|| {
        give_up_capabilities();
        test();
    });
}

/// As [`in_namespace`], of a test that does itself what the firewall never does, and needs all capabilities
/// for that: makes namespaces, or asks for all programs that there are.
pub(crate) fn in_namespace_whole(test: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(|| {
        let namespace = new_namespace();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Whether this run is about the three capabilities alone.
pub(crate) fn has_three_capabilities() -> bool {
    std::env::var_os("FIREWALL_CAPABILITIES").is_some()
}

/// Leaves this thread the three capabilities that the documents ask for, if the run is about that
/// (`cargo xtask test --capabilities`). Programs that it starts as root have theirs.
fn give_up_capabilities() {
    if !has_three_capabilities() {
        return;
    }
    let three = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    let sets = CapabilitySets {
        effective: three,
        permitted: three,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).unwrap();
}

/// A new network namespace, held by the returned file alone.
pub(crate) fn new_namespace() -> File {
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let mut holder = Command::new("unshare")
        .args(["--net", "sleep", "60"])
        .stdin(Stdio::null())
        .spawn()
        .expect("util-linux has unshare");
    let path = PathBuf::from(format!("/proc/{}/ns/net", holder.id()));
    while fs::read_link(&path).unwrap() == own {
        thread::sleep(Duration::from_millis(1));
    }
    let namespace = File::open(path).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    namespace
}

/// Runs `ip` with these words in the calling thread's namespace.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a pair of interfaces: frames sent to `near` arrive at `far` and nothing else does.
pub(crate) fn veth(near: &str, far: &str, network: u8) {
    ip(&format!("link add {near} type veth peer name {far}"));
    for interface in [near, far] {
        ip(&format!("link set {interface} addrgenmode none"));
        ip(&format!("link set {interface} up"));
    }
    ip(&format!("addr add 192.0.{network}.1/24 dev {near}"));
    ip(&format!(
        "neigh add 192.0.{network}.9 lladdr 02:00:00:00:00:09 dev {near}"
    ));
}

/// Sends UDP packets that arrive at the far end of the pair. Each has 10 bytes of payload: 52 bytes
/// of frame.
pub(crate) fn send(network: u8, port: u16, packets: u32) {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    for _ in 0..packets {
        socket
            .send_to(&[0; 10], (format!("192.0.{network}.9"), port))
            .unwrap();
    }
    // A veth hands frames over in a softirq that has run by now, or runs within a moment.
    thread::sleep(Duration::from_millis(20));
}

/// A folder for pins, removed with all that is in it.
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!(
            "/sys/fs/bpf/fwt-{}-{number}",
            std::process::id()
        )))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::new(&self.0)
    }

    /// Names of what stands for programs on what leaves.
    pub(crate) fn egress(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("egress")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// Where a program of the one generation there is pinned.
    pub(crate) fn program_of(&self, hook: &str) -> PathBuf {
        let pins = self.pins();
        let mut programs = pins.iter().filter(|pin| {
            pin.strip_prefix("gen-")
                .is_some_and(|pin| pin.ends_with(&format!("/{hook}")))
        });
        let found = self.0.join(programs.next().unwrap());
        assert!(programs.next().is_none(), "{pins:?}");
        found
    }

    /// Paths of everything that is pinned, relative to the root, sorted.
    pub(crate) fn pins(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.0, &self.0, &mut found);
        found.sort();
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.engine().unload(None);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A default of drop under which nothing but rules on state has what leaves taken note of.
pub(crate) const NOTHING_ASKED: &str = "drop, essential: {dhcp: false, icmp_error: false}";

/// A policy that passes or drops by default, with rules given as YAML lines.
pub(crate) fn policy(interfaces: &[&str], default: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| format!("  - {{{rule}}}\n"))
        .collect();
    let rules = if rules.is_empty() {
        " []\n".to_owned()
    } else {
        format!("\n{rules}")
    };
    let interfaces: Vec<String> = interfaces
        .iter()
        .map(|name| format!("{{match: \"{name}\"}}"))
        .collect();
    format!(
        "version: 1\ninterfaces: [{}]\ndefault: {{in: {default}}}\nrules:{rules}",
        interfaces.join(", ")
    )
}

/// A request for a policy text.
pub(crate) fn request(policy_text: impl Into<String>) -> Request {
    Request {
        policy_path: "fwt.yaml".into(),
        policy_text: policy_text.into(),
        base: PathBuf::from("/nonexistent"),
        scope: Scope::Present,
        ..Request::default()
    }
}
