//! Where things are: the source tree and the target folder.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// The source tree and the target folder of this run.
pub(crate) struct Workspace {
    /// Folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the user has put it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds both from what cargo tells the programs it runs.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        // Cargo runs this program as TARGET/PROFILE/xtask: that is right for CARGO_TARGET_DIR, for
        // build.target-dir of any configuration file, and for the default.
        let program = std::env::current_exe().context("the path of xtask itself")?;
        let target = program
            .ancestors()
            .nth(2)
            .context("xtask runs outside a target folder")?;
        Ok(Self {
            root,
            target: target.to_path_buf(),
        })
    }

    /// The finished eBPF object, which `firewall-engine/build.rs` embeds.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.target.join("bpf/firewall-ebpf.o")
    }

    /// The finished eBPF object of the benchmark.
    pub(crate) fn bench_object(&self) -> PathBuf {
        self.target.join("bpf/firewall-bench.o")
    }

    /// Tools that set-up built for this project alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The folder of host programs of a profile.
    pub(crate) fn programs(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }
}
