//! Problems of this machine that affect the filter, and the command that fixes each.
//!
//! Read-only: changes nothing, loads nothing.

use super::carrier::{self, Needs};
use super::resolve::Present;
use super::{Engine, EngineError, Observed};
use crate::kernel::link::Attached;
use crate::kernel::{KernelError, host, link};
use firewall_policy::rule::Mode;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The oldest kernel that has links for what takes note of leaving packets.
const TCX_FLOOR: (u32, u32) = (6, 6);

/// The oldest kernel that is supported.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// The exit code of who may not look at what is loaded.
const NO_PRIVILEGE: u8 = 4;

/// Most names and patterns of interfaces in one question.
const NAMES: usize = 256;

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
    /// An interface that is not there, more than 256 names, and what the system says.
    pub fn health(&self, named: &[String]) -> Result<Vec<Check>, EngineError> {
        if named.len() > NAMES {
            return Err(EngineError::Interface(format!(
                "{} names of interfaces are too many; name at most {NAMES}, or use a pattern such as \
                 `eth*`",
                named.len()
            )));
        }
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
        let observed = self.observe();
        checks.extend(in_force(&observed));
        let is_hidden = matches!(&observed, Err(error) if error.exit_code() == NO_PRIVILEGE);
        let observed = observed.ok().flatten();
        let observed = observed.filter(|observed| observed.record.namespace == here);
        let record = observed.as_ref().map(|observed| &observed.record);
        let needs = record.map_or_else(Needs::default, Needs::on_record);
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
        let mut looked_at = BTreeSet::new();
        for name in names {
            for (name, ifindex) in present.matching(&name)? {
                if !looked_at.insert(*ifindex) {
                    continue;
                }
                let ours = observed.iter().flat_map(|observed| &observed.links);
                let ours: Vec<u32> = ours
                    .filter(|link| link.ifindex == *ifindex)
                    .map(|link| link.program_id)
                    .collect();
                let is_wanted = !named.is_empty() || !ours.is_empty();
                let ours = Ours {
                    programs: &ours,
                    is_hidden,
                    is_wanted,
                    needs,
                };
                checks.push(interface((name, *ifindex), &ours, &present)?);
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

/// What is wrong with what is in force.
fn in_force(observed: &Result<Option<Observed>, EngineError>) -> Vec<Check> {
    const WHAT: &str = "in force";
    const ADVICE: &str = "apply the policy again (firewall-ctl reload), or run the daemon";
    match observed {
        Ok(None) => Vec::new(),
        Ok(Some(observed)) => {
            let wounds = observed.warnings.iter().filter(|_| !observed.is_whole);
            wounds
                .map(|wound| Check::bad(WHAT, wound, ADVICE))
                .collect()
        }
        // Who may not look is told above.
        Err(error) if error.exit_code() == NO_PRIVILEGE => Vec::new(),
        Err(error) => vec![Check::bad(WHAT, error.to_string(), "firewall-ctl status")],
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

/// What this firewall has to do with an interface.
struct Ours<'a> {
    /// Ids of its programs there.
    programs: &'a [u32],
    /// Whether nobody knows which ones are, because this process may not look.
    is_hidden: bool,
    /// Whether it is to be filtered, or is.
    is_wanted: bool,
    /// What the policy in force needs of it.
    needs: Needs,
}

/// Mode, driver, MTU, VLAN tags, limits, programs of others, and whether it can carry the filter at all.
fn interface(
    (name, ifindex): (&str, u32),
    ours: &Ours<'_>,
    present: &Present,
) -> Result<Check, EngineError> {
    let programs = link::programs_on(name, ifindex)?;
    let is_ours = |id: u32| ours.programs.contains(&id);
    if let Some(program) = programs.first().filter(|_| ours.is_hidden) {
        return Ok(hidden(name, program));
    }
    let filtered = programs.iter().find(|it| is_ours(it.program_id));
    let (mode, words) = match filtered {
        Some(program) if program.is_generic() => (Mode::Generic, "filtered in generic mode"),
        Some(_) => (Mode::Native, "filtered in native mode"),
        None => (Mode::Auto, "not filtered"),
    };
    let what = format!("interface {name}");
    // Nobody needs to mend what nobody wants to filter.
    let refused = |found: String, obstacle: &KernelError| match ours.is_wanted {
        true => Check::bad(&what, found, obstacle.to_string()),
        false => Check::good(&what, format!("{found}; {obstacle}")),
    };
    let carries = match carrier::ask((name, ifindex), present) {
        Ok(carries) => carries,
        Err(obstacle) => return Ok(refused(words.to_owned(), &obstacle)),
    };
    let mut found = format!("{words}; {}", carries.found);
    if let Some(obstacle) = carries.obstacle(mode, ours.needs) {
        return Ok(refused(found, &obstacle));
    }
    for limit in carries.limits(mode, ours.needs) {
        found = format!("{found}; {limit}");
    }
    let foreign = programs.iter().find(|it| !is_ours(it.program_id));
    Ok(match foreign {
        None => Check::good(&what, found),
        Some(program) => {
            let error = link::foreign_program(name, ifindex, program);
            Check::bad(&what, found, error.to_string())
        }
    })
}

/// An interface with a program of which nobody knows whose it is.
fn hidden(name: &str, program: &Attached) -> Check {
    let mode = if program.is_generic() {
        "generic"
    } else {
        "native"
    };
    Check::bad(
        &format!("interface {name}"),
        format!(
            "an XDP program (id {}) runs in {mode} mode; whether it is the filter, only root can see",
            program.program_id
        ),
        "sudo firewall-ctl doctor",
    )
}

#[cfg(test)]
mod tests {
    use super::{NAMES, unpacks};
    use crate::engine::Engine;
    use std::path::Path;

    #[test]
    fn an_interface_is_looked_at_once_however_often_it_is_named() {
        let engine = Engine::new(Path::new("/nonexistent/firewall"));
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            engine.health(&names)
        };
        let checks = named(&["lo", "*", "lo", "*"]).expect("checks");
        let mut whats: Vec<&str> = checks.iter().map(|check| check.what.as_str()).collect();
        whats.retain(|what| what.starts_with("interface "));
        assert_eq!(whats[0], "interface lo");
        let count = whats.len();
        whats.sort_unstable();
        whats.dedup();
        assert_eq!(whats.len(), count, "{whats:?}");
        assert!(named(&vec!["lo"; NAMES]).is_ok());
        let error = named(&vec!["lo"; NAMES + 1]).expect_err("too many");
        assert!(error.to_string().starts_with("257 names"), "{error}");
    }

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
