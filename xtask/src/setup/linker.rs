//! bpf-linker, at the one version that the project is built and tested with.
//!
//! It is built against Debian's LLVM, into `target/tools`, unless the right one is on PATH.

use super::{Item, Remedy, State, compiler, missing, packages_or_manual, second_word};
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pinned version.
pub(super) const VERSION: &str = "0.13.0";

/// Where Debian installs that LLVM; the variable of this name overrides it.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Debian packages: the tools, and what building bpf-linker takes.
const PACKAGES: [&str; 3] = ["llvm-22", "llvm-22-dev", "libpolly-22-dev"];

/// A linker of the right version.
pub(super) struct Linker {
    pub(super) path: PathBuf,
}

/// The project's own linker, or the one on PATH, if it starts and has the right version.
pub(super) fn find(workspace: &Workspace) -> Option<Linker> {
    let own = workspace.tools().join("bin/bpf-linker");
    [Some(own), process::find("bpf-linker")]
        .into_iter()
        .flatten()
        .find(|path| version(path).as_deref() == Some(VERSION))
        .map(|path| Linker { path })
}

fn version(linker: &Path) -> Option<String> {
    process::ask(Command::new(linker).arg("--version")).map(|text| second_word(&text))
}

/// A tool of LLVM, all of which know BPF objects.
pub(super) fn tool(name: &str) -> Option<PathBuf> {
    let path = llvm_prefix().join("bin").join(name);
    path.exists().then_some(path)
}

/// How the linker and what it is built with stand.
pub(super) fn survey(workspace: &Workspace) -> [Item; 2] {
    let linker = find(workspace);
    // The finished linker needs LLVM's tools only; building it needs headers and libraries too.
    let (packages, why): (&[&str], _) = match linker {
        Some(_) => (&PACKAGES[..1], "its tools are not there"),
        None => (&PACKAGES, "bpf-linker is built with its libraries"),
    };
    let llvm_state = match llvm_version(linker.is_none()) {
        Some(version) => State::Ready {
            version,
            origin: llvm_prefix().to_string_lossy().into_owned(),
        },
        None => missing(why, packages_or_manual(packages)),
    };
    let linker_state = match linker {
        Some(linker) => State::Ready {
            version: VERSION.to_owned(),
            origin: linker.path.to_string_lossy().into_owned(),
        },
        None => missing(&format!("no version {VERSION}"), Remedy::BpfLinker),
    };
    [
        Item {
            name: "LLVM 22",
            state: llvm_state,
        },
        Item {
            name: "bpf-linker",
            state: linker_state,
        },
    ]
}

fn llvm_prefix() -> PathBuf {
    std::env::var_os("LLVM_PREFIX").map_or_else(|| PathBuf::from(LLVM_PREFIX), PathBuf::from)
}

/// Version of LLVM, if what is needed of it is there.
fn llvm_version(to_link_with: bool) -> Option<String> {
    let prefix = llvm_prefix();
    let version = process::ask(Command::new(prefix.join("bin/llvm-config")).arg("--version"))?;
    let libraries = ["include/llvm-c/Core.h", "lib/libPolly.a"];
    let complete = ["llvm-objcopy", "llvm-nm"]
        .iter()
        .all(|name| tool(name).is_some())
        && (!to_link_with || libraries.iter().all(|l| prefix.join(l).exists()));
    complete.then(|| version.trim().to_owned())
}

/// Builds and installs it for this project alone (a minute or two).
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let build = workspace.target.join("tools-build");
    let mut cargo = process::host_cargo();
    cargo
        .args([
            "install",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
            "--force",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{}", compiler::LLVM),
        ])
        .arg("--root")
        .arg(workspace.tools())
        .env("LLVM_PREFIX", llvm_prefix())
        .env("CARGO_TARGET_DIR", &build)
        .env_remove("RUSTFLAGS");
    process::run(&mut cargo).context("building bpf-linker")?;
    // Some 300 MB that serve nothing else.
    std::fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
}
