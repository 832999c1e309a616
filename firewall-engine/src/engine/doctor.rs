//! Problems of this machine that affect the filter, and the command that fixes each.
//!
//! Read-only: changes nothing, loads nothing.

use super::carrier;
use super::media::Tags;
use super::resolve::Present;
use super::{Engine, EngineError};
use crate::kernel::program::Framing;
use crate::kernel::{KernelError, ethtool, host, link};
use firewall_policy::rule::Mode;
use std::fs;
use std::io;
use std::path::Path;

/// The oldest kernel that has links for what takes note of leaving packets.
const TCX_FLOOR: (u32, u32) = (6, 6);

/// The oldest kernel that is supported.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// Whether the filter can work with it.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Check {
    fn good(what: &str, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ok: true,
            found: found.into(),
            advice: None,
        }
    }

    fn bad(what: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            ok: false,
            advice: Some(advice.into()),
            ..Self::good(what, found)
        }
    }
}

impl Engine {
    /// Looks at the machine and at interfaces: `named`, or those that are filtered, or all but the
    /// loopback interface.
    ///
    /// # Errors
    /// An interface that is not there, and what the system says.
    pub fn health(&self, named: &[String]) -> Result<Vec<Check>, EngineError> {
        let mut checks = vec![
            kernel(),
            state(),
            type_information(),
            self.bpf_file_system(),
            compiler(),
            privilege(),
            routing_headers(),
        ];
        let present = Present::now()?;
        // Without privilege nobody knows what is filtered; that is said above. Interfaces of another
        // namespace are not looked at: an index here is another interface's.
        let here = host::network_namespace()?;
        let observed = self.observe().ok().flatten();
        let observed = observed.filter(|observed| observed.record.namespace == here);
        let filtered: Vec<String> = observed
            .iter()
            .flat_map(|observed| &observed.links)
            .map(|link| link.name.clone())
            .collect();
        let names = match (named.is_empty(), filtered.is_empty()) {
            (false, _) => named.to_vec(),
            (true, false) => filtered,
            (true, true) => vec!["*".to_owned()],
        };
        for name in names {
            for (name, ifindex) in present.matching(&name)? {
                let ours = observed.iter().flat_map(|observed| &observed.links);
                let ours: Vec<u32> = ours
                    .filter(|link| link.ifindex == *ifindex)
                    .map(|link| link.program_id)
                    .collect();
                let is_wanted = !named.is_empty() || !ours.is_empty();
                checks.push(interface((name, *ifindex), (&ours, is_wanted), &present)?);
            }
        }
        Ok(checks)
    }

    fn bpf_file_system(&self) -> Check {
        const WHAT: &str = "BPF file system";
        match host::require_bpffs(self.root()) {
            Ok(()) => Check::good(WHAT, format!("pins go to {}", self.root().display())),
            Err(error) => {
                let mount = self.root().parent().unwrap_or(self.root());
                let advice = format!("mount -t bpf bpf {}", mount.display());
                Check::bad(WHAT, error.to_string(), advice)
            }
        }
    }
}

/// Major and minor number of a release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// By what rules look at `state`.
fn state() -> Check {
    let found = if version(&host::kernel_release()) >= TCX_FLOOR {
        "rules can look at `state` (TCX)"
    } else {
        "rules can look at `state` (clsact; from Linux 6.6 on it is TCX)"
    };
    Check::good("state", found)
}

fn kernel() -> Check {
    let release = host::kernel_release();
    let version = version(&release);
    if version >= KERNEL_FLOOR {
        Check::good("kernel", release)
    } else {
        let (major, minor) = KERNEL_FLOOR;
        let advice = format!("boot Linux {major}.{minor} or newer (apt install linux-image-amd64)");
        Check::bad("kernel", release, advice)
    }
}

fn type_information() -> Check {
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    let found = if Path::new(FILE).exists() {
        "the kernel describes its types (BTF)"
    } else {
        "the kernel does not describe its types; the filter does without"
    };
    Check::good("type information", found)
}

fn compiler() -> Check {
    const FILE: &str = "/proc/sys/net/core/bpf_jit_enable";
    const WHAT: &str = "BPF compiler";
    match fs::read_to_string(FILE).as_deref().map(str::trim) {
        Ok("0") => Check::bad(
            WHAT,
            "off: programs are interpreted, many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Check::good(WHAT, "programs run as machine code"),
        // Kernels that always compile have no such switch.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Check::good(WHAT, "the kernel has no switch for it")
        }
        Err(error) => Check::good(WHAT, format!("cannot look: {error}")),
    }
}

fn privilege() -> Check {
    match host::require_privilege() {
        Ok(()) => Check::good(
            "capabilities",
            "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there",
        ),
        Err(KernelError::Privilege {
            needed,
            have,
            advice,
        }) => Check::bad(
            "capabilities",
            format!("needs {needed}; this process has {have}"),
            advice,
        ),
        Err(error) => Check::bad(
            "capabilities",
            error.to_string(),
            "mount -t proc proc /proc",
        ),
    }
}

/// Whether this host unpacks IPv6 in IPv6 behind routing headers, without a device for the tunnel.
fn routing_headers() -> Check {
    const WHAT: &str = "IPv6 routing headers";
    const FOLDER: &str = "/proc/sys/net/ipv6/conf";
    let names = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    let is_on = |name: &str, setting: &str| {
        let value = fs::read_to_string(format!("{FOLDER}/{name}/{setting}"));
        value.is_ok_and(|value| value.trim() != "0")
    };
    let found = unpacks(&names, is_on);
    Check::good(
        WHAT,
        if found.is_empty() {
            "not unpacked".to_owned()
        } else {
            let found = found.join(", ");
            format!(
                "packets in packets behind them are unpacked ({found}): rules see the outer packet, \
                 with `packet: {{tunnels: inner}}` both"
            )
        },
    )
}

/// The settings by which interfaces unpack: Linux asks that of the interface and that of all.
fn unpacks(names: &[String], is_on: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for setting in ["seg6_enabled", "rpl_seg_enabled"] {
        if !is_on("all", setting) {
            continue;
        }
        let names = names
            .iter()
            .filter(|name| !["all", "default"].contains(&name.as_str()) && is_on(name, setting));
        found.extend(names.map(|name| format!("net.ipv6.conf.{name}.{setting}")));
    }
    found
}

/// Driver, mode, MTU, VLAN tags, programs of others, and whether it can carry the filter at all. `ours`
/// are the ids of our programs on it; it is wanted if it is to be filtered, or is.
fn interface(
    (name, ifindex): (&str, u32),
    (ours, is_wanted): (&[u32], bool),
    present: &Present,
) -> Result<Check, EngineError> {
    let programs = link::programs_on(name, ifindex)?;
    let filtered = programs.iter().find(|p| ours.contains(&p.program_id));
    let mode = match filtered {
        Some(program) if program.is_generic() => "filtered in generic mode",
        Some(_) => "filtered in native mode",
        None => "not filtered",
    };
    // Some drivers have no name.
    let driver = ethtool::driver(name).unwrap_or_else(|_| "none".into());
    let mtu = link::mtu(name, ifindex)?;
    let buffers = if link::in_buffers(name, ifindex)? {
        " (frames in several buffers)"
    } else {
        ""
    };
    let tags = match Tags::of(name) {
        Tags::Seen => "seen".to_owned(),
        Tags::SeenIfSent => "seen, unless the other end offloads them".to_owned(),
        Tags::TakenOff => {
            format!("taken off before the filter (ethtool -K {name} rxvlan off)")
        }
    };
    let tags = match carrier::framing((name, ifindex), present) {
        Some(Framing::RawIp) => "no link header".to_owned(),
        _ => format!("VLAN tags {tags}"),
    };
    let found = format!("{mode}; driver {driver}; MTU {mtu}{buffers}; {tags}");
    let what = format!("interface {name}");
    let mode = match filtered {
        Some(program) if !program.is_generic() => Mode::Native,
        _ => Mode::Auto,
    };
    if let Some(obstacle) = carrier::obstacle((name, ifindex), mode, present) {
        // Nobody needs to mend what nobody wants to filter.
        return Ok(match is_wanted {
            true => Check::bad(&what, found, obstacle.to_string()),
            false => Check::good(&what, format!("{found}; {obstacle}")),
        });
    }
    let foreign = programs.iter().find(|p| !ours.contains(&p.program_id));
    Ok(match foreign {
        None => Check::good(&what, found),
        Some(program) => {
            let error = link::foreign_program(name, ifindex, program);
            Check::bad(&what, found, error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::unpacks;

    #[test]
    fn an_interface_unpacks_where_all_may() {
        let names = ["all", "default", "eth0", "lo"].map(str::to_owned);
        let on = |list: &[(&str, &str)]| {
            let list: Vec<(String, String)> = list
                .iter()
                .map(|(name, setting)| ((*name).to_owned(), (*setting).to_owned()))
                .collect();
            unpacks(&names, |name, setting| {
                list.contains(&(name.to_owned(), setting.to_owned()))
            })
        };
        assert!(on(&[]).is_empty());
        assert!(on(&[("eth0", "seg6_enabled")]).is_empty());
        assert!(on(&[("all", "seg6_enabled"), ("default", "seg6_enabled")]).is_empty());
        let both = on(&[
            ("all", "seg6_enabled"),
            ("eth0", "seg6_enabled"),
            ("all", "rpl_seg_enabled"),
            ("lo", "rpl_seg_enabled"),
        ]);
        let wanted = [
            "net.ipv6.conf.eth0.seg6_enabled",
            "net.ipv6.conf.lo.rpl_seg_enabled",
        ];
        assert_eq!(both, wanted);
    }
}
