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

/// Where Debian installs that LLVM.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Debian packages that building it takes.
const PACKAGES: [&str; 2] = ["llvm-22-dev", "libpolly-22-dev"];

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

/// How the linker and what it is built with stand.
pub(super) fn survey(workspace: &Workspace) -> [Item; 2] {
    let linker = find(workspace);
    let llvm = llvm_version();
    let llvm_state = match (&linker, &llvm) {
        (_, Some(version)) => State::Ready {
            version: version.clone(),
            origin: LLVM_PREFIX.to_owned(),
        },
        (Some(_), None) => State::Unneeded("needed only to build bpf-linker"),
        (None, None) => missing("bpf-linker is built with it", packages_or_manual(&PACKAGES)),
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
            name: "LLVM 22 libraries",
            state: llvm_state,
        },
        Item {
            name: "bpf-linker",
            state: linker_state,
        },
    ]
}

/// Version of the LLVM that bpf-linker can be built with.
fn llvm_version() -> Option<String> {
    let prefix = Path::new(LLVM_PREFIX);
    let version = process::ask(Command::new(prefix.join("bin/llvm-config")).arg("--version"))?;
    let complete =
        prefix.join("include/llvm-c/Core.h").exists() && prefix.join("lib/libPolly.a").exists();
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
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("CARGO_TARGET_DIR", &build)
        .env_remove("RUSTFLAGS");
    process::run(&mut cargo).context("building bpf-linker")?;
    // Some 300 MB that serve nothing else.
    std::fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))
}
