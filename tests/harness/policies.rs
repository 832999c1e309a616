//! The policies that ship in `rules/`.

use anyhow::{Context, Result, anyhow};
use firewall_policy::rule::Policy;
use firewall_policy::source::{Files, read_policy};
use std::path::{Path, PathBuf};

/// The folder of shipped policies.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules")
}

/// Reads files next to the policies.
#[derive(Debug)]
struct Folder(PathBuf);

impl Files for Folder {
    fn open(&self, path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(std::fs::File::open(self.0.join(path))?))
    }
}

/// Every shipped policy with its file name, in order of names.
///
/// # Errors
/// A policy that does not read, or a folder without policies.
pub fn shipped() -> Result<Vec<(String, Policy)>> {
    let mut names: Vec<String> = std::fs::read_dir(folder())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    if names.is_empty() {
        return Err(anyhow!("no policy in rules/"));
    }
    names
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(folder().join(&name)).context(name.clone())?;
            let read = read_policy(&name, &text, &Folder(folder()))
                .map_err(|diagnostics| anyhow!("{}", diagnostics.render(false)))?;
            Ok((name, read.policy))
        })
        .collect()
}

/// A policy from YAML text that names no files.
///
/// # Errors
/// The diagnostics of a policy that does not read.
pub fn parse(text: &str) -> Result<Policy> {
    read_policy("test.yaml", text, &firewall_policy::source::NoFiles)
        .map(|read| read.policy)
        .map_err(|diagnostics| anyhow!("{}", diagnostics.render(false)))
}
