//! `cargo xtask setup`: finds or installs what building and testing need, and says what it found
//! and chose. Every other command calls [`ensure`], which is silent when nothing is missing.
//!
//! Invariant: idempotent, and each command that changes the machine is printed before it runs.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod apt;
mod compiler;
mod linker;

pub(crate) use compiler::Compiler;

/// Oldest kernel on which the filter runs.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Report only; exit code 1 if something is missing
    #[arg(long)]
    check: bool,
    /// Install what `cargo xtask lint` uses where it is present, too: cargo-deny (takes minutes) and
    /// clippy for the kernel program; and qemu for `cargo xtask vm`
    #[arg(long)]
    all: bool,
}

/// How much must be there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Compiling.
    Build,
    /// Compiling, and loading programs into this machine's kernel.
    Kernel,
    /// That, and what the tests drive.
    Test,
    /// That, and virtual machines with other kernels.
    Vm,
    /// That, and optional tools.
    All,
}

/// What the eBPF build uses.
pub(crate) struct Toolchain {
    /// Compiles `core` and the program for BPF.
    pub(crate) compiler: Compiler,
    /// Path of bpf-linker.
    pub(crate) linker: PathBuf,
    /// Path of LLVM's objcopy.
    pub(crate) objcopy: PathBuf,
    /// Path of LLVM's nm.
    pub(crate) nm: PathBuf,
}

/// One thing that is needed, and how it stands.
struct Item {
    name: &'static str,
    state: State,
}

enum State {
    /// Present: version, and where from.
    Ready { version: String, origin: String },
    /// Absent: why, and what set-up does about it.
    Missing { why: String, remedy: Remedy },
}

enum Remedy {
    /// Debian packages.
    Packages(Vec<String>),
    /// A rustup toolchain, to be installed with rust-src.
    Rustup(String),
    /// `cargo install` into the project's own tools folder.
    BpfLinker,
    /// `cargo install` for the user.
    CargoDeny,
    /// Clippy for a rustup toolchain.
    Clippy(String),
    /// `mount -t bpf`.
    MountBpffs,
    /// Nothing that set-up could do: what the user has to do.
    Manual(String),
}

impl Remedy {
    fn describe(&self) -> String {
        match self {
            Self::Packages(names) => format!("apt-get install {}", names.join(" ")),
            Self::Rustup(name) => format!("rustup toolchain install {name} with rust-src"),
            Self::BpfLinker => {
                format!(
                    "cargo install bpf-linker {} into target/tools",
                    linker::VERSION
                )
            }
            Self::CargoDeny => "cargo install cargo-deny".to_owned(),
            Self::Clippy(name) => format!("rustup component add clippy --toolchain {name}"),
            Self::MountBpffs => "mount -t bpf bpf /sys/fs/bpf".to_owned(),
            Self::Manual(what) => what.clone(),
        }
    }
}

/// Runs the command.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let need = if args.all { Need::All } else { Need::Test };
    if args.check {
        let items = survey(workspace, need)?;
        print(&items);
        let missing = items
            .iter()
            .any(|item| matches!(item.state, State::Missing { .. }));
        return Ok(if missing {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    }
    install(workspace, need)?;
    print(&survey(workspace, need)?);
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that all of `need` is there, installing what is missing.
pub(crate) fn ensure(workspace: &Workspace, need: Need) -> Result<Toolchain> {
    install(workspace, need)?;
    let compiler = Compiler::find()?;
    let [objcopy, nm] = ["llvm-objcopy", "llvm-nm"].map(linker::tool);
    match (compiler, linker::find(workspace), objcopy, nm) {
        (Some(compiler), Some(linker), Some(objcopy), Some(nm)) => Ok(Toolchain {
            compiler,
            linker: linker.path,
            objcopy,
            nm,
        }),
        _ => {
            bail!("the eBPF toolchain is incomplete after set-up: see `cargo xtask setup --check`")
        }
    }
}

/// Installs the Debian packages of programs that are missing: pairs of program and package. What
/// cannot be installed is said, and is no error: the caller can do without.
pub(crate) fn offer(wanted: &[(&str, &str)]) {
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(_, package)| (*package).to_owned())
        .collect();
    if missing.is_empty() {
        return;
    }
    if !apt::is_present() {
        println!("not installed, and no apt here: {}", missing.join(" "));
    } else if let Err(error) = apt::install(&missing) {
        println!("cannot install {}: {error:#}", missing.join(" "));
    }
}

/// cargo-deb at the one version that packages are made by, so that they are equal everywhere. Where there
/// is none it is installed for this project alone (some minutes).
pub(crate) fn cargo_deb(workspace: &Workspace) -> Result<PathBuf> {
    const VERSION: &str = "3.8.0";
    let own = workspace.tools().join("bin/cargo-deb");
    let is_right = |path: &PathBuf| {
        let version = process::ask(Command::new(path).args(["deb", "--version"]));
        version.is_some_and(|text| text.split_whitespace().any(|word| word == VERSION))
    };
    let mut found = [Some(own.clone()), process::find("cargo-deb")]
        .into_iter()
        .flatten();
    if let Some(path) = found.find(is_right) {
        return Ok(path);
    }
    let mut cargo = process::host_cargo();
    cargo
        .args(["install", "cargo-deb", "--version", VERSION, "--locked"])
        .arg("--root")
        .arg(workspace.tools())
        .env("CARGO_TARGET_DIR", workspace.target.join("tools-build"))
        .env_remove("RUSTFLAGS");
    process::run(&mut cargo)?;
    Ok(own)
}

/// Remedies what is missing, one round after the other: a package may be what the next needs.
fn install(workspace: &Workspace, need: Need) -> Result<()> {
    const ROUNDS: usize = 4;
    for round in 0..ROUNDS {
        let items = survey(workspace, need)?;
        let remedies: Vec<&Remedy> = items
            .iter()
            .filter_map(|item| match &item.state {
                State::Missing { remedy, .. } => Some(remedy),
                _ => None,
            })
            .collect();
        if remedies.is_empty() {
            return Ok(());
        }
        if round == 0 {
            println!("Something is missing; this is what set-up finds and does:");
            print(&items);
        }
        for remedy in &remedies {
            if let Remedy::Manual(what) = remedy {
                bail!("set-up cannot go on: {what}");
            }
        }
        let packages: Vec<String> = remedies
            .iter()
            .filter_map(|remedy| match remedy {
                Remedy::Packages(names) => Some(names.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        if packages.is_empty() {
            for remedy in remedies {
                apply(workspace, remedy)?;
            }
        } else {
            apt::install(&packages)?;
        }
    }
    bail!("something is still missing after {ROUNDS} rounds: see `cargo xtask setup --check`")
}

fn apply(workspace: &Workspace, remedy: &Remedy) -> Result<()> {
    match remedy {
        Remedy::Rustup(name) => process::run(Command::new("rustup").args([
            "toolchain",
            "install",
            name,
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ])),
        Remedy::BpfLinker => linker::install(workspace),
        Remedy::CargoDeny => {
            process::run(process::host_cargo().args(["install", "cargo-deny", "--locked"]))
        }
        Remedy::Clippy(name) => process::run(Command::new("rustup").args([
            "component",
            "add",
            "clippy",
            "--toolchain",
            name,
        ])),
        Remedy::MountBpffs => {
            process::run(process::as_root("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))
        }
        Remedy::Packages(_) | Remedy::Manual(_) => Ok(()),
    }
}

/// Looks at everything that `need` asks for.
fn survey(workspace: &Workspace, need: Need) -> Result<Vec<Item>> {
    let mut items = vec![
        host(),
        Item {
            name: "eBPF compiler",
            state: compiler::survey()?,
        },
    ];
    items.extend(linker::survey(workspace));
    if need >= Need::Kernel {
        items.push(kernel());
        items.push(bpffs());
        items.push(program("ip", "iproute2"));
    }
    if need >= Need::Test {
        items.push(program("tmux", "tmux"));
        // Hosts in the tests have cards to set, and firewalls whose rules are imported.
        for (name, package) in [
            ("ethtool", "ethtool"),
            ("ipset", "ipset"),
            ("iptables-restore", "iptables"),
            ("nft", "nftables"),
            // And daemons that must stay online, and who asks them.
            ("curl", "curl"),
            ("dhclient", "isc-dhcp-client"),
            ("dnsmasq", "dnsmasq-base"),
            ("hostapd", "hostapd"),
            ("keepalived", "keepalived"),
            ("wpa_supplicant", "wpasupplicant"),
        ] {
            items.push(program(name, package));
        }
    }
    if need >= Need::Vm {
        items.push(program("qemu-system-x86_64", "qemu-system-x86"));
        items.push(program("xz", "xz-utils"));
    }
    if need >= Need::All {
        items.push(cargo_deny());
        items.extend(compiler::survey_clippy()?.map(|state| Item {
            name: "eBPF clippy",
            state,
        }));
    }
    Ok(items)
}

fn host() -> Item {
    let version = process::ask(process::host_cargo().arg("--version"));
    let state = match version {
        Some(version) => ready(second_word(&version), "runs this program"),
        None => missing(
            "cargo does not answer",
            Remedy::Manual("install cargo".to_owned()),
        ),
    };
    Item {
        name: "host compiler",
        state,
    }
}

fn kernel() -> Item {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let (major, minor) = KERNEL_FLOOR;
    let mut parts = release.split(['.', '-']).map(str::parse::<u32>);
    let version = (
        parts.next().and_then(Result::ok),
        parts.next().and_then(Result::ok),
    );
    let state = match version {
        (Some(a), Some(b)) if (a, b) >= KERNEL_FLOOR => ready(release, "running"),
        _ => missing(
            &format!("this is Linux {release}"),
            Remedy::Manual(format!("boot Linux {major}.{minor} or newer")),
        ),
    };
    Item {
        name: "kernel",
        state,
    }
}

fn bpffs() -> Item {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some("/sys/fs/bpf") && words.next() == Some("bpf")
    });
    let state = if mounted {
        ready("mounted".to_owned(), "/sys/fs/bpf")
    } else if Path::new("/sys/fs/bpf").is_dir() {
        missing("not mounted", Remedy::MountBpffs)
    } else {
        missing(
            "/sys/fs/bpf does not exist",
            Remedy::Manual("mount sysfs on /sys, on a kernel with CONFIG_BPF_SYSCALL".to_owned()),
        )
    };
    Item {
        name: "bpffs",
        state,
    }
}

fn program(name: &'static str, package: &str) -> Item {
    let state = match process::find(name) {
        Some(path) => ready("present".to_owned(), &path.to_string_lossy()),
        None => missing("not found", packages_or_manual(&[package])),
    };
    Item { name, state }
}

fn cargo_deny() -> Item {
    let state = match process::ask(process::host_cargo().args(["deny", "--version"])) {
        Some(version) => ready(second_word(&version), "cargo deny"),
        None => missing("not found", Remedy::CargoDeny),
    };
    Item {
        name: "cargo-deny",
        state,
    }
}

/// Debian packages where there is apt, and a sentence where there is not.
fn packages_or_manual(packages: &[&str]) -> Remedy {
    if apt::is_present() {
        Remedy::Packages(packages.iter().map(|&name| name.to_owned()).collect())
    } else {
        Remedy::Manual(format!(
            "install what Debian calls {}",
            packages.join(" and ")
        ))
    }
}

fn ready(version: String, origin: &str) -> State {
    State::Ready {
        version,
        origin: origin.to_owned(),
    }
}

fn missing(why: &str, remedy: Remedy) -> State {
    State::Missing {
        why: why.to_owned(),
        remedy,
    }
}

/// The version in `program 1.2.3 (more)`.
fn second_word(text: &str) -> String {
    text.split_whitespace()
        .nth(1)
        .unwrap_or("unknown")
        .to_owned()
}

fn print(items: &[Item]) {
    let rows: Vec<[String; 4]> = items
        .iter()
        .map(|item| match &item.state {
            State::Ready { version, origin } => [
                item.name.to_owned(),
                version.clone(),
                origin.clone(),
                "none".to_owned(),
            ],
            State::Missing { why, remedy } => [
                item.name.to_owned(),
                "missing".to_owned(),
                why.clone(),
                remedy.describe(),
            ],
        })
        .collect();
    print_table(["TOOL", "FOUND", "WHERE, WHY", "ACTION"], &rows);
}

/// Prints columns as wide as their widest cell.
pub(crate) fn print_table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("  {}", padded.join("  ").trim_end());
    };
    line(head);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
}
