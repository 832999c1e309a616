//! `cargo xtask build`: the eBPF object, then the host programs with that object inside.
//!
//! Invariant: the object depends on the sources and the compiler only. It carries no path of this
//! machine, and it is replaced only when its bytes change, so that nothing is rebuilt in vain.

use crate::process;
use crate::setup::{self, Need, Toolchain};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Arguments of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the host programs with optimisation (the eBPF object always is)
    #[arg(long)]
    release: bool,
    /// Build the eBPF object only
    #[arg(long)]
    object: bool,
}

/// Builds, and prints where the results are.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let tools = setup::ensure(workspace, Need::Build)?;
    if args.object {
        object(workspace, &tools)?;
    } else {
        all(workspace, &tools, args.release)?;
        println!(
            "{}",
            workspace
                .programs(args.release)
                .join("firewall-ctl")
                .display()
        );
    }
    println!("{}", workspace.bpf_object().display());
    Ok(ExitCode::SUCCESS)
}

/// The object and the host programs.
pub(crate) fn all(workspace: &Workspace, tools: &Toolchain, release: bool) -> Result<()> {
    object(workspace, tools)?;
    let mut cargo = process::host_cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--package", "firewall-ctl"]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)
}

/// Builds `firewall-ebpf` for the BPF target into [`Workspace::bpf_object`].
pub(crate) fn object(workspace: &Workspace, tools: &Toolchain) -> Result<()> {
    let package = workspace.root.join("firewall-ebpf");
    let build = workspace.target.join("bpf").join(tools.compiler.name());
    let mut cargo = tools.compiler.cargo();
    cargo
        .current_dir(&package)
        .args(["build", "--release", "--locked", "-Z", "build-std=core"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&build)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustflags(workspace, tools).join("\x1f"),
        );
    process::run(&mut cargo).context("building the eBPF object")?;

    // Beside the object and renamed: a reader sees the old object or the new one. BTF stays; DWARF
    // has done its service, is ten times as large as the rest, and holds hashes of source paths.
    let object = workspace.bpf_object();
    let fresh = object.with_extension("o.new");
    let mut strip = Command::new(&tools.objcopy);
    strip
        .arg("--strip-debug")
        .arg(build.join("bpfel-unknown-none/release/firewall-ebpf"))
        .arg(&fresh);
    process::run_quietly(&mut strip)?;
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    if object.exists() && read(&object)? == read(&fresh)? {
        return std::fs::remove_file(&fresh).with_context(|| fresh.display().to_string());
    }
    std::fs::rename(&fresh, &object).with_context(|| format!("writing {}", object.display()))
}

/// Compiler flags of the object: BTF needs debug information, which names source files; the
/// prefixes of this machine are taken out of those names.
fn rustflags(workspace: &Workspace, tools: &Toolchain) -> Vec<String> {
    let mut flags = ["-C", "debuginfo=2", "-C", "link-arg=--btf"]
        .map(str::to_owned)
        .to_vec();
    flags.push(format!(
        "--cfg=bpf_target_arch=\"{}\"",
        std::env::consts::ARCH
    ));
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let prefixes = [
        (cargo_home.as_path(), "/cargo"),
        (tools.compiler.sysroot(), "/rust"),
        (workspace.root.as_path(), "/firewall"),
    ];
    for (prefix, name) in prefixes {
        flags.push(format!("--remap-path-prefix={}={name}", prefix.display()));
    }
    flags
}
