//! The compiler for the BPF target: one that has the source of `core`, and whose LLVM the linker
//! understands.
//!
//! Two routes: a rustup nightly with rust-src, or Debian's rustc-web, cargo-web and rust-web-src
//! of one version (with other sources than its own, `core` does not compile). The first is taken
//! where it is there already, the second is installed on Debian, the first elsewhere.
//! `FIREWALL_BPF_ROUTE=debian` or `nightly` forces one of them.

use super::{Remedy, State, apt, missing};
use crate::process;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// LLVM release of bpf-linker; it reads the bitcode of no newer one.
pub(super) const LLVM: u32 = 22;

/// The nightly that is installed where there is none; its LLVM is [`LLVM`].
const NIGHTLY: &str = "nightly-2026-05-20";

/// Oldest Rust release of Debian's packages that compiles the program.
const DEBIAN_FLOOR: (u32, u32) = (1, 95);

/// Debian's packages.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that can build for BPF.
pub(crate) struct Compiler {
    route: Route,
    /// Release, `1.96.0`.
    release: String,
    sysroot: PathBuf,
}

#[derive(Clone, PartialEq, Eq)]
enum Route {
    /// Name of a rustup toolchain.
    Nightly(String),
    /// `/usr/bin/cargo` and `/usr/bin/rustc`.
    Debian,
}

impl Compiler {
    /// The compiler to use, if one is complete.
    pub(crate) fn find() -> Result<Option<Self>> {
        let forced = forced()?;
        let nightly = || nightly().ok();
        let debian = || debian().ok();
        Ok(match forced.as_deref() {
            Some("nightly") => nightly(),
            Some(_) => debian(),
            None => nightly().or_else(debian),
        })
    }

    /// A name for the build folder: another compiler's results are of no use.
    pub(crate) fn name(&self) -> &str {
        match &self.route {
            Route::Nightly(_) => "nightly",
            Route::Debian => "debian",
        }
    }

    /// Folder of the compiler's own libraries and sources.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// This compiler's cargo, with nothing of the outer cargo in its environment.
    pub(crate) fn cargo(&self) -> Command {
        match &self.route {
            Route::Nightly(name) => {
                let mut command = Command::new("rustup");
                command.args(["run", name, "cargo"]);
                process::forget_outer_cargo(&mut command);
                command
            }
            Route::Debian => debians_own("/usr/bin/cargo"),
        }
    }

    /// `clippy` of this compiler, for the arguments of a build; `None` where it is not installed.
    pub(crate) fn clippy(&self) -> Option<Command> {
        let command = || {
            let mut command = match &self.route {
                Route::Nightly(_) => self.cargo(),
                // By its name: cargo would take that of rustup, where both are there.
                Route::Debian => debians_own("/usr/bin/cargo-clippy"),
            };
            command.arg("clippy");
            command
        };
        process::ask(command().arg("--version"))?;
        Some(command())
    }
}

/// A program of Debian's, with nothing of the outer cargo in its environment.
fn debians_own(program: &str) -> Command {
    let mut command = Command::new(program);
    process::forget_outer_cargo(&mut command);
    // -Z options on a release compiler; that is how the compiler builds its own core.
    command
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// How this compiler's clippy stands, for the table; `None` as long as there is no compiler, whose row
/// says what comes first. Lint alone uses it.
pub(super) fn survey_clippy() -> Result<Option<State>> {
    Ok(clippy_of(Compiler::find()?))
}

fn clippy_of(compiler: Option<Compiler>) -> Option<State> {
    let compiler = compiler?;
    if compiler.clippy().is_some() {
        return Some(State::Ready {
            version: compiler.release,
            origin: "the eBPF compiler's".to_owned(),
        });
    }
    let remedy = match compiler.route {
        Route::Nightly(name) => Remedy::Clippy(name),
        Route::Debian => Remedy::Packages(vec!["rust-web-clippy".to_owned()]),
    };
    Some(missing("not found", remedy))
}

/// How the compiler stands, for the table.
pub(super) fn survey() -> Result<State> {
    if let Some(compiler) = Compiler::find()? {
        let origin = match &compiler.route {
            Route::Nightly(name) => format!("rustup {name} with rust-src"),
            Route::Debian => format!("Debian's {}", DEBIAN.join(", ")),
        };
        return Ok(State::Ready {
            version: compiler.release,
            origin,
        });
    }
    let forced = forced()?;
    let rustup = process::find("rustup").is_some();
    let by_apt = forced.as_deref() != Some("nightly") && apt::is_present() && is_debian();
    let why = match (forced.as_deref(), nightly(), debian()) {
        (Some("debian"), _, Err(why)) | (Some("nightly"), Err(why), _) => why,
        (_, Err(first), Err(second)) => format!("{first}; {second}"),
        _ => String::new(),
    };
    let remedy = if by_apt {
        Remedy::Packages(DEBIAN.map(str::to_owned).to_vec())
    } else if rustup {
        Remedy::Rustup(NIGHTLY.to_owned())
    } else {
        Remedy::Manual("install rustup, or work on Debian 12 or newer".to_owned())
    };
    Ok(missing(&why, remedy))
}

fn forced() -> Result<Option<String>> {
    match std::env::var("FIREWALL_BPF_ROUTE") {
        Ok(route) if route == "debian" || route == "nightly" => Ok(Some(route)),
        Ok(other) => bail!("FIREWALL_BPF_ROUTE is `{other}`: it must be debian or nightly"),
        Err(_) => Ok(None),
    }
}

/// Whether packages of these names are Debian's.
fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian") || apt::candidate(DEBIAN[0]).is_some()
}

/// A rustup nightly with rust-src, or why there is none.
fn nightly() -> Result<Compiler, String> {
    if process::find("rustup").is_none() {
        return Err("no rustup".to_owned());
    }
    let mut complaint = "rustup has no nightly".to_owned();
    for name in ["nightly", NIGHTLY] {
        let rustc = |arguments: &[&str]| {
            let mut command = Command::new("rustup");
            process::forget_outer_cargo(&mut command);
            // Asking must not install.
            command.env("RUSTUP_AUTO_INSTALL", "0");
            process::ask(command.args(["run", name, "rustc"]).args(arguments))
        };
        let (Some(version), Some(sysroot)) = (rustc(&["-vV"]), rustc(&["--print", "sysroot"]))
        else {
            continue;
        };
        match complete(
            Route::Nightly(name.to_owned()),
            &version,
            Path::new(sysroot.trim()),
        ) {
            Ok(compiler) => return Ok(compiler),
            Err(why) => complaint = format!("rustup {name}: {why}"),
        }
    }
    Err(complaint)
}

/// Debian's compiler with its sources, or why it does not serve.
fn debian() -> Result<Compiler, String> {
    let mut versions = Vec::new();
    for package in DEBIAN {
        match apt::installed(package) {
            Some(version) => versions.push(version),
            None => return Err(format!("{package} is not installed")),
        }
    }
    if versions.iter().any(|version| version != &versions[0]) {
        return Err(format!("{} have different versions", DEBIAN.join(", ")));
    }
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/rustc");
        process::forget_outer_cargo(&mut command);
        process::ask(command.args(arguments)).ok_or("/usr/bin/rustc does not answer")
    };
    let compiler = complete(
        Route::Debian,
        &rustc(&["-vV"])?,
        Path::new(rustc(&["--print", "sysroot"])?.trim()),
    )?;
    let mut parts = compiler.release.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= DEBIAN_FLOOR => Ok(compiler),
        _ => Err(format!("rustc-web {} is too old", compiler.release)),
    }
}

/// Checks that a compiler has the sources of `core`, and the right LLVM.
fn complete(route: Route, version: &str, sysroot: &Path) -> Result<Compiler, String> {
    let field = |name| version.lines().find_map(|line| line.strip_prefix(name));
    let release = field("release: ").unwrap_or("unknown").to_owned();
    let llvm = field("LLVM version: ").unwrap_or("unknown");
    if llvm.split('.').next() != Some(LLVM.to_string().as_str()) {
        return Err(format!(
            "rustc {release} has LLVM {llvm}, bpf-linker needs {LLVM}"
        ));
    }
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
    {
        return Err("no rust-src".to_owned());
    }
    Ok(Compiler {
        route,
        release,
        sysroot: sysroot.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn a_compiler_without_sources_does_not_serve() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(
            complete(Route::Debian, VERSION, nowhere).err().unwrap(),
            "no rust-src"
        );
    }

    #[test]
    fn a_compiler_that_is_not_there_yet_stops_nothing() {
        // A remedy that set-up cannot apply would end it before it has installed the compiler.
        assert!(clippy_of(None).is_none());
        let nowhere = Compiler {
            route: Route::Nightly("nightly-of-nowhere".to_owned()),
            release: "1.96.0".to_owned(),
            sysroot: PathBuf::from("/nonexistent"),
        };
        assert!(matches!(
            clippy_of(Some(nowhere)),
            Some(State::Missing {
                remedy: Remedy::Clippy(_),
                ..
            })
        ));
    }

    #[test]
    fn another_llvm_does_not_serve() {
        let newer = VERSION.replace("22.1.8", "23.0.1");
        let why = complete(Route::Debian, &newer, Path::new("/nonexistent"))
            .err()
            .unwrap();
        assert_eq!(why, "rustc 1.96.0 has LLVM 23.0.1, bpf-linker needs 22");
    }
}
