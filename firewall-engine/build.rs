//! Puts the BPF object where `kernel::object` includes it from.
//!
//! The object is made by `cargo xtask build`. Where there is none, an empty stub takes its place,
//! so that `cargo check`, clippy and every test without root need no BPF toolchain; loading the
//! stub is an error that names the command to run.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const OBJECT: &str = "firewall-ebpf.o";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=FIREWALL_BPF_OBJECT");

    let object = match env::var_os("FIREWALL_BPF_OBJECT") {
        Some(path) => Some(PathBuf::from(path)),
        None => target_dir(&out).map(|target| target.join("bpf").join(OBJECT)),
    };
    if let Some(object) = &object {
        // For a file that is not there yet, cargo runs this script again on every build: copying
        // only what changed keeps that from rebuilding the crate.
        println!("cargo:rerun-if-changed={}", object.display());
    }
    let bytes = match object {
        Some(path) if path.exists() => fs::read(path)?,
        _ => Vec::new(),
    };
    let copy = out.join(OBJECT);
    if fs::read(&copy).ok().as_ref() != Some(&bytes) {
        fs::write(copy, bytes)?;
    }
    Ok(())
}

/// The workspace's target folder: `OUT_DIR` is `<target>/[<triple>/]<profile>/build/<package>/out`.
/// Cargo marks the target folder with a `CACHEDIR.TAG`, but only where it made the folder itself.
fn target_dir(out: &Path) -> Option<PathBuf> {
    let marked = out
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    marked
        .or_else(|| out.ancestors().nth(4))
        .map(Path::to_owned)
}
