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

/// Builds the kernel program of the product into [`Workspace::bpf_object`].
pub(crate) fn object(workspace: &Workspace, tools: &Toolchain) -> Result<()> {
    kernel_program(workspace, tools, "firewall-ebpf", &workspace.bpf_object())
}

/// Builds the programs of the benchmark into [`Workspace::bench_object`].
pub(crate) fn bench_object(workspace: &Workspace, tools: &Toolchain) -> Result<()> {
    kernel_program(
        workspace,
        tools,
        "firewall-bench",
        &workspace.bench_object(),
    )
}

/// Builds a program of the package `firewall-ebpf` for the BPF target into `object`.
fn kernel_program(
    workspace: &Workspace,
    tools: &Toolchain,
    name: &str,
    object: &Path,
) -> Result<()> {
    let package = workspace.root.join("firewall-ebpf");
    let build = workspace.target.join("bpf").join(tools.compiler.name());
    let mut cargo = tools.compiler.cargo();
    cargo
        .current_dir(&package)
        .args(["build", "--release", "--locked", "-Z", "build-std=core"])
        .args(["--bin", name])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&build)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustflags(workspace, tools).join("\x1f"),
        );
    process::run(&mut cargo).with_context(|| format!("building the eBPF object {name}"))?;

    let built = build.join("bpfel-unknown-none/release").join(name);
    publish(tools, &built, object)
}

/// Makes `object` of what the linker left. BTF stays; DWARF has done its service, is ten times as
/// large as the rest, and holds hashes of source paths, as some symbols do.
fn publish(tools: &Toolchain, built: &Path, object: &Path) -> Result<()> {
    let names = object.with_extension("symbols");
    let renamed: String =
        process::capture(Command::new(&tools.nm).arg("--just-symbol-name").arg(built))?
            .lines()
            .filter(|name| name.starts_with("_R"))
            .map(|name| format!("{name} {}\n", without_hashes(name)))
            .collect();
    std::fs::write(&names, renamed).with_context(|| names.display().to_string())?;

    // Made beside the object and renamed: a reader sees the old object or the new one.
    let fresh = object.with_extension("o.new");
    let mut strip = Command::new(&tools.objcopy);
    strip
        .arg("--strip-debug")
        .arg("--redefine-syms")
        .arg(&names)
        .arg(built)
        .arg(&fresh);
    process::run_quietly(&mut strip)?;
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    if object.exists() && read(object)? == read(&fresh)? {
        return std::fs::remove_file(&fresh).with_context(|| fresh.display().to_string());
    }
    std::fs::rename(&fresh, object).with_context(|| format!("writing {}", object.display()))
}

/// A mangled name without the crates' disambiguators, which hash where the sources are:
/// `Cs` base-62-number `_` before the crate's name becomes `C` (Rust RFC 2603).
fn without_hashes(name: &str) -> String {
    let mut parts = name.split("Cs");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push('C');
        match part.split_once('_') {
            Some((hash, rest))
                if hash.chars().all(|c| c.is_ascii_alphanumeric())
                    && rest.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                result.push_str(rest);
            }
            _ => {
                result.push('s');
                result.push_str(part);
            }
        }
    }
    result
}

/// Cargo's own folder, which holds the sources of dependencies.
pub(crate) fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

/// Compiler flags of the object: BTF needs debug information, which names source files; the
/// prefixes of this machine are taken out of those names.
fn rustflags(workspace: &Workspace, tools: &Toolchain) -> Vec<String> {
    // Processor v3 (kernel 5.1) has 32-bit arithmetic: without it every `u32` costs two shifts.
    let mut flags = [
        "-C",
        "debuginfo=2",
        "-C",
        "target-cpu=v3",
        "-C",
        "link-arg=--btf",
    ]
    .map(str::to_owned)
    .to_vec();
    flags.push(format!(
        "--cfg=bpf_target_arch=\"{}\"",
        std::env::consts::ARCH
    ));
    let cargo_home = cargo_home();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_lose_their_hashes_only() {
        let first =
            "_RINvNtCsdSpawPqyvDg_13firewall_ebpf6kernel4stepNtCs3qGJ6EtAHRy_15firewall_commonE";
        let second =
            "_RINvNtCskq68xSfcY5V_13firewall_ebpf6kernel4stepNtCs4VUbioOVL0v_15firewall_commonE";
        let bare = "_RINvNtC13firewall_ebpf6kernel4stepNtC15firewall_commonE";
        assert_eq!(without_hashes(first), bare);
        assert_eq!(without_hashes(second), bare);
        assert_eq!(without_hashes("_RNvC3abc4theCs_x"), "_RNvC3abc4theCs_x");
    }
}
