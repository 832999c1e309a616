//! Two hosts for a test: named network namespaces joined by a veth pair. `outside` sends, `inside`
//! is protected. Both ends are called `wan0`.
//!
//! Invariant: a [`Pair`] removes its namespaces, and with them the interfaces, when it is dropped.

use anyhow::{Context, Result, bail};
use pnet_datalink::{Channel, DataLinkSender, NetworkInterface};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Interface name in both namespaces.
pub const INTERFACE: &str = "wan0";
/// The protected host.
pub const INSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
/// The protected host.
pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);
/// The sender.
pub const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// The sender.
pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const INSIDE_MAC: &str = "02:00:00:00:00:80";
const OUTSIDE_MAC: &str = "02:00:00:00:00:09";

/// A name under the prefix `fwt-` that no other test of this run has.
#[must_use]
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("fwt-{}-{number}-{what}", std::process::id())
}

/// A named network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with its loopback interface up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(what: &str) -> Result<Self> {
        let name = unique(what);
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds the namespace open.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `ip` with these words inside.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, words: &str) -> Result<()> {
        let mut arguments = vec!["-n", &self.name];
        arguments.extend(words.split_whitespace());
        ip(&arguments)
    }

    /// Runs `work` on a thread inside and waits for it. Sockets and processes that it makes stay
    /// inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.path()).expect("a namespace can be entered");
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a program inside, which must succeed; what it prints.
    ///
    /// # Errors
    /// It cannot be started, or another exit code than 0.
    pub fn say(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words[0]).args(&words[1..]).output()?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Writes a setting below `/proc/sys/net`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(file);
        self.run(|| std::fs::write(&path, value))
            .with_context(|| file.to_owned())
    }

    /// Rules of nft, in the words of its files.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn nft(&self, rules: &str) -> Result<()> {
        self.say(&["nft", rules]).map(drop)
    }

    /// Packets that a named counter of nft has counted, as in `inet fwt strangers`.
    ///
    /// # Errors
    /// What `nft` says.
    pub fn counted(&self, counter: &str) -> Result<u64> {
        let mut words = vec!["nft", "list", "counter"];
        words.extend(counter.split_whitespace());
        let text = self.say(&words)?;
        let (_, rest) = text.split_once("packets ").context("a counter")?;
        let number = rest.split_whitespace().next().context("a number")?;
        Ok(number.parse()?)
    }

    /// Whether an interface leaves checksums and cutting into segments to the card: on between
    /// veths where nobody says otherwise.
    ///
    /// # Errors
    /// What `ethtool` says.
    pub fn offload(&self, interface: &str, on: bool) -> Result<()> {
        let on = if on { "on" } else { "off" };
        let mut words = vec!["ethtool", "-K", interface];
        for what in ["tx", "sg", "tso", "gso", "gro"] {
            words.extend([what, on]);
        }
        self.say(&words).map(drop)
    }

    /// A command whose process lives inside. (`ip netns exec` would hide the BPF file system.)
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--");
        command.arg(program.as_ref());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("iproute2 is needed")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn enter(path: &Path) -> Result<()> {
    let namespace = File::open(path).with_context(|| path.display().to_string())?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Two hosts on one cable.
#[derive(Debug)]
pub struct Pair {
    /// The sender.
    pub outside: Namespace,
    /// The protected host.
    pub inside: Namespace,
}

impl Pair {
    /// Makes both hosts. Neighbour entries are permanent, so that the cable carries what the test
    /// sends and little else.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        let pair = Self {
            outside: Namespace::new("out")?,
            inside: Namespace::new("in")?,
        };
        pair.outside.ip(&format!(
            "link add {INTERFACE} address {OUTSIDE_MAC} type veth peer name {INTERFACE} address \
             {INSIDE_MAC} netns {}",
            pair.inside.name
        ))?;
        let hosts = [
            (
                &pair.outside,
                OUTSIDE_V4,
                OUTSIDE_V6,
                INSIDE_V4,
                INSIDE_V6,
                INSIDE_MAC,
            ),
            (
                &pair.inside,
                INSIDE_V4,
                INSIDE_V6,
                OUTSIDE_V4,
                OUTSIDE_V6,
                OUTSIDE_MAC,
            ),
        ];
        for (host, v4, v6, peer_v4, peer_v6, peer_mac) in hosts {
            host.ip(&format!("link set {INTERFACE} addrgenmode none"))?;
            host.ip(&format!("addr add {v4}/24 dev {INTERFACE}"))?;
            host.ip(&format!("addr add {v6}/64 dev {INTERFACE} nodad"))?;
            host.ip(&format!("link set {INTERFACE} up"))?;
            for peer in [peer_v4.to_string(), peer_v6.to_string()] {
                host.ip(&format!(
                    "neigh replace {peer} lladdr {peer_mac} dev {INTERFACE} nud permanent"
                ))?;
            }
        }
        Ok(pair)
    }

    /// Puts frames on the cable from outside, byte for byte.
    ///
    /// # Errors
    /// No packet socket.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<()> {
        send_from(&self.outside, frames)
    }

    /// As [`Pair::send`], from inside.
    ///
    /// # Errors
    /// No packet socket.
    pub fn send_from_inside(&self, frames: &[Vec<u8>]) -> Result<()> {
        send_from(&self.inside, frames)
    }

    /// Addresses of the cable's ends as a frame begins: to inside, from outside.
    #[must_use]
    pub const fn macs() -> [u8; 12] {
        [2, 0, 0, 0, 0, 0x80, 2, 0, 0, 0, 0, 9]
    }
}

fn send_from(host: &Namespace, frames: &[Vec<u8>]) -> Result<()> {
    host.run(|| put(INTERFACE, frames))
}

/// Puts frames on an interface of this thread's namespace, byte for byte.
///
/// # Errors
/// No packet socket.
pub fn put(interface: &str, frames: &[Vec<u8>]) -> Result<()> {
    let mut sender = packet_socket(interface)?;
    for frame in frames {
        sender
            .send_to(frame, None)
            .context("the frame was not taken")??;
    }
    Ok(())
}

/// A socket that sends frames on an interface of this thread's namespace.
pub(crate) fn packet_socket(name: &str) -> Result<Box<dyn DataLinkSender>> {
    let config = pnet_datalink::Config::default();
    match pnet_datalink::channel(&interface(name)?, config)? {
        Channel::Ethernet(sender, _) => Ok(sender),
        _ => bail!("not an Ethernet interface"),
    }
}

/// An interface of this thread's namespace.
pub(crate) fn interface(name: &str) -> Result<NetworkInterface> {
    pnet_datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == name)
        .with_context(|| format!("no interface {name}"))
}
