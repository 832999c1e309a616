//! Facts about this machine, process and network namespace: CPUs, capabilities, interfaces,
//! default routes, the BPF file system, the lock between writers.
//!
//! Everything about the network comes from the calling thread's namespace, never from
//! `/sys/class/net` or `/proc/net`, which may show another one after `setns(2)`.

use super::KernelError;
use super::netlink::conntrack;
use super::netlink::links::{self, Link};
use super::netlink::neighbours::Neighbours;
use super::netlink::routes::{Hop, Leaving};
use super::netlink::watch::DefaultRoutes;
use super::netlink::wireguard;
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Uid, chownat, flock, fstat, openat,
    statat,
};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `statfs` type of a BPF file system.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// How long to wait for another writer.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Regions that a counter map needs: the highest possible CPU number plus one.
pub(crate) fn cpus() -> Result<u32, KernelError> {
    static CPUS: OnceLock<u32> = OnceLock::new();
    if let Some(cpus) = CPUS.get() {
        return Ok(*cpus);
    }
    const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
    let text =
        fs::read_to_string(POSSIBLE).map_err(KernelError::call(format!("read {POSSIBLE}")))?;
    let cpus = parse_last_cpu(&text)
        .ok_or_else(|| KernelError::State(format!("{POSSIBLE} holds no CPU list: {text}")))?
        + 1;
    Ok(*CPUS.get_or_init(|| cpus))
}

/// The last number of a CPU list such as `0-3,8-11`.
fn parse_last_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// Capability numbers.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The kernel's version, as `uname -r` says it.
pub(crate) fn kernel_release() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// Checks up front that this thread may load and attach programs.
pub(crate) fn require_privilege() -> Result<(), KernelError> {
    const STATUS: &str = "/proc/thread-self/status";
    let status = fs::read_to_string(STATUS).map_err(KernelError::call(format!("read {STATUS}")))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| KernelError::State(format!("{STATUS} has no CapEff line")))?;
    check_capabilities(effective, rustix::process::geteuid().is_root())
}

fn check_capabilities(effective: u64, is_root: bool) -> Result<(), KernelError> {
    let has = |cap: u32| effective >> cap & 1 == 1;
    // CAP_SYS_ADMIN includes the two that were split from it, not CAP_NET_ADMIN.
    let wanted = [
        ("CAP_BPF", CAP_BPF),
        ("CAP_NET_ADMIN", CAP_NET_ADMIN),
        ("CAP_PERFMON", CAP_PERFMON),
    ];
    let granted = |cap: u32| has(cap) || (cap != CAP_NET_ADMIN && has(CAP_SYS_ADMIN));
    if wanted.iter().all(|&(_, cap)| granted(cap)) {
        return Ok(());
    }
    let names: Vec<&str> = wanted
        .iter()
        .filter(|&&(_, cap)| granted(cap))
        .map(|&(name, _)| name)
        .collect();
    let have = if names.is_empty() {
        "none of them".to_owned()
    } else {
        names.join(" and ")
    };
    Err(KernelError::Privilege {
        needed: "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON".into(),
        have,
        // Root without them has no use for sudo.
        advice: if is_root {
            "In a container, start it with --cap-add=BPF --cap-add=NET_ADMIN --cap-add=PERFMON."
        } else {
            "Run with sudo, or join group firewall to use the daemon."
        },
    })
}

/// Checks that pins can be made at `root`: its parent folder is there, on a BPF file system.
pub(crate) fn require_bpffs(root: &Path) -> Result<(), KernelError> {
    let parent = root.parent().unwrap_or(root);
    let found = rustix::fs::statfs(parent);
    match found {
        Ok(facts) if (facts.f_type as u64) & 0xffff_ffff == BPF_FS_MAGIC => Ok(()),
        _ => Err(KernelError::Bpffs {
            path: root.to_owned(),
            mount: parent.to_owned(),
        }),
    }
}

/// The addresses of all interfaces of this network namespace.
pub(crate) fn own_addresses() -> Result<Vec<IpAddr>, KernelError> {
    let list = nix::ifaddrs::getifaddrs()
        .map_err(|error| KernelError::call("list the addresses of this host")(error.into()))?;
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(list.filter_map(address).collect())
}

/// The interfaces of this network namespace that have an address.
pub(crate) fn interfaces_with(address: IpAddr) -> Result<BTreeSet<u32>, KernelError> {
    super::netlink::addresses::interfaces_with(address)
        .map_err(KernelError::call("list the addresses of this host"))
}

/// How packets leave; `None` where no route leads there.
pub(crate) fn hop_of(leaving: &Leaving) -> Result<Option<Hop>, KernelError> {
    super::netlink::routes::hop_of(leaving)
        .map_err(KernelError::call("look up a route of this host"))
}

/// What this host knows of its neighbours.
pub(crate) fn neighbours() -> Result<Neighbours, KernelError> {
    Neighbours::now().map_err(KernelError::call("list the neighbours of this host"))
}

/// The peers of a WireGuard device.
pub(crate) fn wireguard(interface: u32) -> Result<wireguard::Device, KernelError> {
    wireguard::Device::of(interface).map_err(KernelError::call("ask WireGuard for its peers"))
}

/// The ends of a TCP connection as they stand in the packets that come in; `None`, if nothing translates
/// them.
pub(crate) fn untranslated(
    from: SocketAddr,
    to: SocketAddr,
) -> Result<Option<(SocketAddr, SocketAddr)>, KernelError> {
    let found = conntrack::untranslated((from.ip(), from.port()), (to.ip(), to.port()))
        .map_err(KernelError::call("ask the connection tracking"))?;
    Ok(found.map(|(from, to)| (SocketAddr::from(from), SocketAddr::from(to))))
}

/// As [`untranslated`], of datagrams; also if nothing translates them. `None`, if nothing tracks them.
pub(crate) fn datagrams(
    from: SocketAddr,
    to: SocketAddr,
) -> Result<Option<(SocketAddr, SocketAddr)>, KernelError> {
    let found = conntrack::datagrams((from.ip(), from.port()), (to.ip(), to.port()))
        .map_err(KernelError::call("ask the connection tracking"))?;
    Ok(found.map(|(from, to)| (SocketAddr::from(from), SocketAddr::from(to))))
}

/// Whether IPsec decrypts packets from one address to another by policies that belong to no xfrm interface.
pub(crate) fn decrypts_between(from: IpAddr, to: IpAddr) -> Result<bool, KernelError> {
    super::netlink::xfrm::decrypts_between(from, to)
        .map_err(KernelError::call("list the policies of IPsec"))
}

/// The PPPoE sessions of this host: of each, the name of the interface that it goes over.
pub(crate) fn pppoe() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/pppoe").unwrap_or_default();
    // `Id Address Device`
    let lines = text.lines().skip(1);
    let devices = lines.filter_map(|line| line.split_ascii_whitespace().nth(2));
    devices.map(str::to_owned).collect()
}

/// Whether somebody from outside may reach an SSH server of this host: whether something listens on its
/// port, and not to this host alone.
pub(crate) fn listens_for_ssh() -> bool {
    const LISTENING: &str = "0A";
    const PORT: &str = ":0016";
    /// 127.0.0.1 and ::1, as words of 32 bits in hexadecimal digits.
    const OWN: [&str; 2] = ["0100007F", "00000000000000000000000001000000"];
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = fs::read_to_string(table).unwrap_or_default();
        let mut lines = text.lines().skip(1).map(str::split_ascii_whitespace);
        lines.any(|mut words| {
            let address = words.nth(1).and_then(|own| own.strip_suffix(PORT));
            address.is_some_and(|address| !OWN.contains(&address))
                && words.nth(1) == Some(LISTENING)
        })
    })
}

/// The ports on which something of this host listens for others, by protocol, each once.
pub(crate) fn listening() -> Vec<(&'static str, u16)> {
    /// States of sockets that listen: of TCP, and of UDP without a peer.
    const TABLES: [(&str, &str, &str); 4] = [
        ("tcp", "/proc/net/tcp", "0A"),
        ("tcp", "/proc/net/tcp6", "0A"),
        ("udp", "/proc/net/udp", "07"),
        ("udp", "/proc/net/udp6", "07"),
    ];
    let mut found = BTreeSet::new();
    for (protocol, table, state) in TABLES {
        let text = fs::read_to_string(table).unwrap_or_default();
        let ports = text.lines().skip(1).filter_map(|line| port_of(line, state));
        found.extend(ports.map(|port| (protocol, port)));
    }
    found.into_iter().collect()
}

/// The port of a line of such a table, if the socket is in a state and not for this host alone.
fn port_of(line: &str, state: &str) -> Option<u16> {
    /// ::1, and 127.0.0.1 as an IPv6 address, as words of 32 bits in hexadecimal digits.
    const OWN_V6: [&str; 2] = [
        "00000000000000000000000001000000",
        "0000000000000000FFFF00000100007F",
    ];
    let mut words = line.split_ascii_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    let is_own = OWN_V6.contains(&address) || address.len() == 8 && address.ends_with("7F");
    if is_own || words.nth(1) != Some(state) {
        return None;
    }
    u16::from_str_radix(port, 16).ok()
}

/// The gateways of all routes of this network namespace.
pub(crate) fn gateways() -> Result<BTreeSet<IpAddr>, KernelError> {
    super::netlink::routes::gateways().map_err(KernelError::call("list the routes of this host"))
}

/// The resolvers that programs of this host ask, as far as its files say; none if they do not.
pub(crate) fn resolvers() -> BTreeSet<IpAddr> {
    // systemd's stub has the real ones in a file of its own.
    const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts = FILES.map(|file| fs::read_to_string(file).unwrap_or_default());
    texts.iter().flat_map(|text| nameservers(text)).collect()
}

fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|&word| word == "nameserver");
        let address = address.and_then(|_| words.next()?.split('%').next());
        address?.parse().ok()
    })
}

/// The IPv4 addresses of this host, and the lengths of the networks that they lie in.
pub(crate) fn own_networks() -> Result<Vec<(Ipv4Addr, u32)>, KernelError> {
    let list = nix::ifaddrs::getifaddrs()
        .map_err(|error| KernelError::call("list the networks of this host")(error.into()))?;
    let network = |entry: nix::ifaddrs::InterfaceAddress| {
        let address = entry.address?.as_sockaddr_in()?.ip();
        let mask = entry.netmask?.as_sockaddr_in()?.ip();
        Some((address, u32::from(mask).leading_ones()))
    };
    Ok(list.filter_map(network).collect())
}

/// All interfaces of this network namespace, and how they lie over each other.
pub(crate) fn links() -> Result<Vec<Link>, KernelError> {
    links::links().map_err(KernelError::call("list the interfaces of this host"))
}

/// Whether IPsec decrypts what comes in to this network namespace by policies that belong to no xfrm
/// interface; false if this process may not know.
pub(crate) fn decrypts() -> bool {
    super::netlink::xfrm::decrypts().unwrap_or(false)
}

/// A lock on a folder of pins. Released when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _folder: File,
}

impl Drop for Lock {
    /// Before others may change something: pins that root has made belong to the folder's owner, who is
    /// the daemon's user where there is one. Otherwise the daemon could not open them.
    fn drop(&mut self) {
        if let Ok(owner) = self._folder.metadata()
            && owner.uid() != 0
            && rustix::process::geteuid().is_root()
            && let Err(error) = hand_over(self._folder.as_fd(), (owner.uid(), owner.gid()))
        {
            tracing::warn!(
                "pins cannot be handed over to user id {}, who owns their folder: {error}",
                owner.uid()
            );
        }
    }
}

/// Gives an owner all that lies below a folder. By descriptors, because the owner may put a link to
/// anywhere in a folder's place meanwhile; what lies elsewhere, or has another name, is not handed over.
fn hand_over(folder: BorrowedFd<'_>, owner: (u32, u32)) -> io::Result<()> {
    let device = fstat(folder)?.st_dev;
    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let facts = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = FileType::from_raw_mode(facts.st_mode).is_dir();
        if facts.st_dev != device || !is_folder && facts.st_nlink > 1 {
            continue;
        }
        if (facts.st_uid, facts.st_gid) != owner {
            let no_link = AtFlags::SYMLINK_NOFOLLOW;
            chownat(folder, name, Some(user), Some(group), no_link)?;
        }
        if is_folder {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = openat(folder, name, flags, Mode::empty())?;
            hand_over(below.as_fd(), owner)?;
        }
    }
    Ok(())
}

/// Identity of the machine's present start; empty if the kernel does not say.
pub(crate) fn boot() -> String {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(BOOT).unwrap_or_default();
    text.trim().to_owned()
}

/// The mode of a folder of pins that was made here. The sticky bit says so: whoever takes the last pin
/// away removes such a folder, and leaves one alone that an administrator has made.
const MADE_HERE: u32 = 0o1700;

/// Whether a folder of pins was made by [`lock`].
pub(crate) fn is_made_here(root: &Path) -> bool {
    fs::symlink_metadata(root).is_ok_and(|it| it.mode() & 0o1000 != 0)
}

/// Locks a folder for as long as the answer lives; `None` if somebody else has it locked.
pub(crate) fn hold(folder: &Path) -> io::Result<Option<Lock>> {
    let open = File::open(folder)?;
    match flock(&open, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _folder: open })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The process that has a folder locked, as far as the kernel tells.
pub(crate) fn holder(folder: &Path) -> Option<u32> {
    let inode = fs::metadata(folder).ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 00:1f:5678 0 EOF`
        let (_, rest) = line.split_once("FLOCK")?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let [_, _, pid, file, ..] = words[..] else {
            return None;
        };
        let is_it = file.rsplit(':').next() == Some(inode.as_str());
        is_it.then(|| pid.parse().ok())?
    })
}

/// Makes the folder if it is missing and locks it, so that two writers do not interleave. The lock
/// is an `flock(2)` on the folder itself, hence there is no file to leave behind.
pub(crate) fn lock(root: &Path) -> Result<Lock, KernelError> {
    let call = |what: &str| KernelError::call(format!("{what} {}", root.display()));
    let start = Instant::now();
    loop {
        match DirBuilder::new().mode(MADE_HERE).create(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(call("make folder")(error));
            }
            _ => {}
        }
        let folder = match File::open(root) {
            // Another process removed it between the two calls.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            answer => answer.map_err(call("open folder"))?,
        };
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&folder, root) => return Ok(Lock { _folder: folder }),
            // Locked a folder that its last owner has removed meanwhile: once more.
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                if start.elapsed() > LOCK_PATIENCE {
                    let seconds = LOCK_PATIENCE.as_secs();
                    return Err(KernelError::Busy {
                        path: root.to_owned(),
                        seconds,
                    });
                }
                sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(call("lock folder")(error.into())),
        }
    }
}

/// Whether the open folder is the one that `path` names.
fn is_at(folder: &File, path: &Path) -> bool {
    match (folder.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Identity of the calling thread's network namespace.
pub(crate) fn network_namespace() -> Result<u64, KernelError> {
    const NAMESPACE: &str = "/proc/thread-self/ns/net";
    Ok(fs::metadata(NAMESPACE)
        .map_err(KernelError::call(format!("read {NAMESPACE}")))?
        .ino())
}

/// Indices of the interfaces that a default route of either family leaves through, of every table that
/// packets can be looked up in. `links` are all interfaces; `known` says what is known already.
pub(crate) fn default_routes(
    links: &[Link],
    known: Option<&DefaultRoutes>,
) -> Result<BTreeSet<u32>, KernelError> {
    let found = match known {
        Some(known) => known.now(links),
        None => super::netlink::routes::default_routes(links),
    };
    found.map_err(KernelError::call("list the routes of this host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_end_with_the_highest_cpu() {
        assert_eq!(parse_last_cpu("0-3\n"), Some(3));
        assert_eq!(parse_last_cpu("0"), Some(0));
        assert_eq!(parse_last_cpu("0,2-127"), Some(127));
        assert_eq!(parse_last_cpu(""), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert!(check_capabilities(u64::MAX, false).is_ok());
        let all = 1 << CAP_BPF | 1 << CAP_NET_ADMIN | 1 << CAP_PERFMON;
        assert!(check_capabilities(all, false).is_ok());
        assert!(check_capabilities(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN, false).is_ok());
        let error = check_capabilities(1 << CAP_NET_ADMIN, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (process has CAP_NET_ADMIN). Run with \
             sudo, or join group firewall to use the daemon."
        );
        assert_eq!(error.exit_code(), 4);
        let of_root = check_capabilities(0, true).unwrap_err().to_string();
        assert!(of_root.contains("has none of them"), "{of_root}");
        assert!(of_root.contains("--cap-add=BPF"), "{of_root}");
    }

    #[test]
    fn resolvers_as_their_file_names_them() {
        let text = "# nameserver 192.0.2.1\nnameserver 192.0.2.53\nsearch example\n\
                    nameserver fe80::1%eth0\nnameserver\nnameserver x\n  nameserver 2001:db8::1 # ours\n";
        let found: Vec<String> = nameservers(text)
            .map(|address| address.to_string())
            .collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1", "2001:db8::1"]);
    }
}
