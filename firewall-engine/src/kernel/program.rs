//! A program that the verifier has accepted, bound to its maps. A candidate for test runs, with maps
//! of its own, is in [`loaded`].

mod loaded;

pub use loaded::{Loaded, Run};

use super::clock;
use super::fold::Folding;
use super::maps::BigMap;
use super::object::{self, Prepared};
use super::shared::Regions;
use super::sys::{Hook, LogLevel};
use super::{KernelError, counters, host, sys};
use firewall_common::abi::{ABI_VERSION, Config};
use firewall_common::flows;
use firewall_policy::clock::unix_time;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Room for the verifier's log. The kernel keeps its end when it is longer.
const LOG_SIZE: usize = 16 << 20;

/// What frames begin with, on the interfaces that a program is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Framing {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// The IP header.
    RawIp,
}

impl Framing {
    /// Each of them.
    pub(crate) const ALL: [Self; 2] = [Self::Ethernet, Self::RawIp];

    /// The constants of the program for such frames.
    pub(crate) fn of(self, config: &Config) -> Config {
        Config {
            raw_ip: u32::from(self == Self::RawIp),
            ..*config
        }
    }
}

/// The maps that a program is bound to.
#[derive(Debug)]
pub(crate) struct ProgramMaps<'a> {
    pub(crate) tables: &'a BigMap,
    pub(crate) interfaces: &'a BigMap,
    pub(crate) reasons: &'a BigMap,
    pub(crate) ports: &'a BigMap,
    pub(crate) rules: &'a BigMap,
    pub(crate) regions: &'a Regions,
}

/// A program in the kernel.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    id: u32,
}

impl Program {
    /// Loads a program of `object` with the constants of a compiled policy. What belongs to this
    /// machine and to the maps is filled in here.
    pub(crate) fn load(
        object: &[u8],
        hook: Hook,
        config: &Config,
        maps: &ProgramMaps<'_>,
    ) -> Result<Self, KernelError> {
        Self::load_by(Folding::wanted(), object, hook, config, maps)
    }

    fn load_by(
        folding: Folding,
        object: &[u8],
        hook: Hook,
        config: &Config,
        maps: &ProgramMaps<'_>,
    ) -> Result<Self, KernelError> {
        let fd = load_or_explain(&Self::prepare(object, hook, config, maps, folding)?)?;
        let id = sys::program_info(fd.as_fd())
            .map_err(KernelError::call("read the program's id"))?
            .id;
        Ok(Self { fd, id })
    }

    /// The program with all that belongs to a policy, to this machine and to the maps filled in.
    pub(super) fn prepare(
        object: &[u8],
        hook: Hook,
        config: &Config,
        maps: &ProgramMaps<'_>,
        folding: Folding,
    ) -> Result<Prepared, KernelError> {
        let mut config = match hook {
            Hook::Xdp => *config,
            Hook::Egress => flows::egress_config(config),
        };
        config.abi_version = ABI_VERSION;
        config.debug = u32::from(super::debug_log::wanted());
        config.cpus = host::cpus()?;
        // A generation brings the clock that its record names; what is only tried out has none.
        if config.expires != 0 && config.clock == [0; 2] {
            let clock = clock::offset();
            config.clock = [clock as u32, (clock >> 32) as u32];
        }
        config.tables_size = maps.tables.size() as u32;
        config.rules_stride = counters::stride_of(maps.rules)?;
        maps.regions.sizes(&mut config);
        let scratch = BigMap::scratch(&config)?;
        let maps: Vec<_> = [
            maps.tables,
            maps.interfaces,
            maps.reasons,
            maps.ports,
            maps.rules,
            &scratch,
        ]
        .into_iter()
        .chain(maps.regions.maps())
        .map(|map| (map.name(), map.fd()))
        .collect();
        let mut prepared = object::prepare(object, hook, &config, &maps, folding)?;
        prepared.keep(scratch.into_fd());
        Ok(prepared)
    }

    /// Opens a pinned program.
    pub(crate) fn open(pin: &Path) -> Result<Self, KernelError> {
        let fd = sys::open_pin(pin)
            .map_err(KernelError::call(format!("open program {}", pin.display())))?;
        let id = sys::program_info(fd.as_fd())
            .map_err(KernelError::call(format!(
                "read the id of program {}",
                pin.display()
            )))?
            .id;
        Ok(Self { fd, id })
    }

    /// Pins it at `path`.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), KernelError> {
        sys::pin(self.fd(), path).map_err(KernelError::call(format!("pin {}", path.display())))
    }

    /// Its id in the kernel.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads without a log, which is faster; loads once more with it to explain a refusal.
pub(super) fn load_or_explain(prepared: &Prepared) -> Result<OwnedFd, KernelError> {
    let program = prepared.program();
    let error = match sys::program_load(&program, LogLevel::Steps, &mut []) {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // Not the verifier's business: no privilege, no memory.
    if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOMEM)) {
        return Err(KernelError::Call {
            what: "load the program".into(),
            error,
        });
    }
    let mut log = vec![0; LOG_SIZE];
    if let Ok(fd) = sys::program_load(&program, LogLevel::Steps, &mut log) {
        return Ok(fd);
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    log.truncate(end);
    let log = String::from_utf8_lossy(&log);
    let summary = last_meaningful_line(&log).unwrap_or_else(|| error.to_string());
    let log = save_log(&log).map_err(KernelError::call("save the verifier's log"))?;
    Err(KernelError::Verifier { summary, log })
}

/// The line of a verifier's log that says what is wrong: the last one that is neither statistics
/// nor an instruction, a state of registers or a source line.
fn last_meaningful_line(log: &str) -> Option<String> {
    /// The one complaint that the kernel writes behind an instruction, on the same line.
    const TOO_LARGE: &str = "BPF program is too large";
    const NOISE: [&str; 8] = [
        "processed ",
        "verification time",
        "stack depth",
        "max_states",
        "insns ",
        "from ",
        "mark_precise",
        ";",
    ];
    let is_noise = |line: &str| {
        let after_number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_instruction = after_number.len() < line.len() && after_number.starts_with(':');
        let is_state = line.starts_with('R')
            && line
                .split_once('=')
                .is_some_and(|(register, _)| !register.contains(' '));
        let is_other = line.is_empty() || NOISE.iter().any(|start| line.starts_with(start));
        is_instruction || is_state || is_other
    };
    log.lines()
        .map(str::trim)
        .map(|line| line.find(TOO_LARGE).map_or(line, |start| &line[start..]))
        .rfind(|line| !is_noise(line))
        .map(str::to_owned)
}

/// Saves a log in a new file that nobody else can have prepared.
fn save_log(log: &str) -> io::Result<PathBuf> {
    let stamp = unix_time();
    let path = std::env::temp_dir().join(format!(
        "firewall-verifier-{}-{}.log",
        std::process::id(),
        stamp.as_nanos()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(log.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::last_meaningful_line;

    #[test]
    fn the_verifiers_complaint_is_found() {
        let log = "0: R1=ctx() R10=fp0\n1: (79) r2 = *(u64 *)(r1 +0)\n\
                   invalid bpf_context access off=0 size=8\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("invalid bpf_context access off=0 size=8")
        );
        let log = "R1 type=ctx expected=fp\n5: R0_w=0 R10=fp0\n\
                   from 3 to 9: R1=ctx() R10=fp0\n; let x = 1; @ main.rs:7\n\
                   R0=inv(id=0) R1=ctx()\nprocessed 9 insns\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("R1 type=ctx expected=fp")
        );
        let log = "1682: (2d) if r6 > r9 goto pc+1 BPF program is too large. Processed 1000001 insn\n\
                   processed 1000001 insns (limit 1000000)\n";
        assert_eq!(
            last_meaningful_line(log).as_deref(),
            Some("BPF program is too large. Processed 1000001 insn")
        );
        assert_eq!(last_meaningful_line("\nprocessed 0 insns\n"), None);
    }
}
