//! Kernels from Debian's archive, whatever release this machine runs.
//!
//! The archive's address is asked of this machine's apt, and apt itself downloads and checks the
//! signatures, in a folder of its own with a list of sources of its own. Nothing is installed and
//! the machine's lists are not touched.
//!
//! Invariant: [`kernel`] gives a kernel that was fetched and unpacked whole, or an error.

use super::{empty_folder, quietly};
use crate::process;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that leads to the kernel for virtual machines: small, with all that the tests need.
pub(super) const CLOUD: &str = "linux-image-cloud-amd64";

/// The package that leads to the kernel for machines: with the drivers of their cards.
pub(super) const FULL: &str = "linux-image-amd64";

/// Debian's keys, by the package `debian-archive-keyring`.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// An unpacked kernel.
pub(super) struct Kernel {
    /// Debian's version of the package.
    pub(super) version: String,
    /// Where it is unpacked.
    pub(super) folder: PathBuf,
    /// The image to boot.
    pub(super) image: PathBuf,
    /// A statically linked busybox.
    pub(super) busybox: PathBuf,
}

/// The newest kernel in `suites` to which the package `meta` leads, in `folder`: what is there from the last
/// time, unless `fetch`.
pub(super) fn kernel(folder: &Path, meta: &str, suites: &[&str], fetch: bool) -> Result<Kernel> {
    // Written last, so that it stands for a folder that is whole.
    let stamp = folder.join("version");
    if fetch || !stamp.exists() {
        empty_folder(folder)?;
        let version = unpack(folder, meta, suites)?;
        fs::write(&stamp, version).with_context(|| stamp.display().to_string())?;
    }
    let version = fs::read_to_string(&stamp).with_context(|| stamp.display().to_string())?;
    let mut files = Vec::new();
    walk(&folder.join("root"), &mut files)?;
    let find = |what: &str, is: &dyn Fn(&str) -> bool| {
        let found = files.iter().find(|path| is(&path.to_string_lossy()));
        found
            .cloned()
            .with_context(|| format!("{meta} {version} holds no {what}"))
    };
    Ok(Kernel {
        image: find("kernel image", &|path| path.contains("/vmlinuz"))?,
        busybox: find("busybox", &|path| path.ends_with("/bin/busybox"))?,
        folder: folder.to_path_buf(),
        version,
    })
}

impl Kernel {
    /// The files of the modules `wanted` and of all that they depend on, in the order in which
    /// they can be loaded. What is built into the kernel has no file.
    pub(super) fn modules(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        walk(&self.folder.join("root"), &mut files)?;
        files.retain(|path| module_name(path).is_some());
        let mut order = Vec::new();
        for name in wanted {
            self.add_module(name, &files, &mut order)?;
        }
        Ok(order)
    }

    fn add_module(&self, name: &str, files: &[PathBuf], order: &mut Vec<PathBuf>) -> Result<()> {
        let Some(file) = files
            .iter()
            .find(|path| module_name(path).as_deref() == Some(name))
        else {
            return Ok(());
        };
        let plain = self.folder.join("modules").join(format!("{name}.ko"));
        if order.contains(&plain) {
            return Ok(());
        }
        decompress(file, &plain)?;
        for dependency in dependencies(&fs::read(&plain)?) {
            self.add_module(&dependency, files, order)?;
        }
        order.push(plain);
        Ok(())
    }
}

/// `veth` of `veth.ko.xz`; modules write dashes and underscores as they like.
fn module_name(path: &Path) -> Option<String> {
    let (name, extension) = path.file_name()?.to_str()?.split_once('.')?;
    extension.starts_with("ko").then(|| name.replace('-', "_"))
}

/// The modules that one depends on, as it says itself in its section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let list = module
        .split(|&byte| byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .unwrap_or_default();
    String::from_utf8_lossy(list)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn decompress(file: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a module's folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let program = match file.extension().and_then(|e| e.to_str()) {
        Some("ko") => return fs::copy(file, to).map(drop).context("copying a module"),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{}: an unknown kind of compression", file.display()),
    };
    let output = Command::new(program)
        .arg("--decompress")
        .arg("--stdout")
        .arg(file)
        .output()
        .with_context(|| format!("cannot start {program}, which unpacks kernel modules"))?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}", file.display());
    }
    fs::write(to, output.stdout).with_context(|| to.display().to_string())
}

/// Downloads the newest kernel and busybox, and unpacks them below `folder/root`.
fn unpack(folder: &Path, meta: &str, suites: &[&str]) -> Result<String> {
    let apt = Apt::new(folder, suites)?;
    process::run(apt.command("apt-get").args(["update", "--quiet"]))?;
    let version = apt.newest(meta)?;
    let mut packages = BTreeSet::new();
    apt.closure(meta, &version, &mut packages)?;
    let mut download = apt.command("apt-get");
    download.args(["download", "--quiet", "busybox-static"]);
    for name in &packages {
        download.arg(format!("{name}={version}"));
    }
    let archives = folder.join("packages");
    empty_folder(&archives)?;
    process::run(download.current_dir(&archives))?;
    for entry in fs::read_dir(&archives)? {
        let (archive, root) = (entry?.path(), folder.join("root"));
        quietly(
            "dpkg-deb",
            &["--extract".as_ref(), archive.as_ref(), root.as_ref()],
        )?;
    }
    Ok(version)
}

/// apt with sources, lists and cache of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, suites: &[&str]) -> Result<Self> {
        let archive = debian_archive()?;
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists());
        let options = keyring.map_or(String::new(), |path| format!("[signed-by={path}] "));
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb {options}{archive} {suite} main\n"))
            .collect();
        let state = folder.join("apt");
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(name))?;
        }
        let list = state.join("sources.list");
        fs::write(&list, sources).with_context(|| list.display().to_string())?;
        let state = state.display();
        Ok(Self {
            options: vec![
                format!("Dir::Etc::sourcelist={state}/sources.list"),
                "Dir::Etc::sourceparts=/dev/null".to_owned(),
                "Dir::Etc::preferences=/dev/null".to_owned(),
                "Dir::Etc::preferencesparts=/dev/null".to_owned(),
                format!("Dir::State::lists={state}/lists"),
                format!("Dir::Cache={state}/cache"),
                "Acquire::Languages=none".to_owned(),
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
                "Acquire::Retries=3".to_owned(),
                // The folder may lie where apt's own user cannot write.
                "APT::Sandbox::User=root".to_owned(),
            ],
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// The highest version of a package in all suites.
    fn newest(&self, package: &str) -> Result<String> {
        let table = process::capture(self.command("apt-cache").args(["madison", package]))?;
        let mut newest: Option<&str> = None;
        for version in table.lines().filter_map(|line| line.split('|').nth(1)) {
            let version = version.trim();
            let is_newer = newest.is_none_or(|old| {
                process::ask(Command::new("dpkg").args(["--compare-versions", version, "gt", old]))
                    .is_some()
            });
            if is_newer {
                newest = Some(version);
            }
        }
        newest
            .map(str::to_owned)
            .with_context(|| format!("no suite has {package}"))
    }

    /// The packages of the same source and version that `package` consists of.
    fn closure(&self, package: &str, version: &str, found: &mut BTreeSet<String>) -> Result<()> {
        if !found.insert(package.to_owned()) {
            return Ok(());
        }
        let question = format!("{package}={version}");
        let text = process::capture(self.command("apt-cache").args(["show", &question]))?;
        for name in parts(&text, version) {
            self.closure(name, version, found)?;
        }
        Ok(())
    }
}

/// The packages that a package depends on in exactly `version`.
fn parts<'a>(text: &'a str, version: &str) -> Vec<&'a str> {
    let exactly = format!(" (= {version})");
    text.lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .flat_map(|list| list.split(", "))
        .filter_map(|word| word.strip_suffix(exactly.as_str()))
        .collect()
}

/// Where this machine's apt gets Debian from.
fn debian_archive() -> Result<String> {
    let format = "$(REPO_URI) $(ORIGIN) $(LABEL)";
    let table = process::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
    .context("apt-get names no sources: Debian's kernels are fetched by apt")?;
    table
        .lines()
        .find_map(|line| line.strip_suffix(" Debian Debian"))
        .map(str::to_owned)
        .context("no source of this machine's apt is Debian's archive: its kernels are needed")
}

/// All files below a folder.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_the_packages_of_its_version() {
        let text =
            "Package: a\nDepends: kmod, linux-image-x (= 7.3-1), linux-base (>= 4), b (= 9)\n";
        assert_eq!(parts(text, "7.3-1"), ["linux-image-x"]);
    }

    #[test]
    fn modules_name_what_they_need() {
        let module = b"\0license=GPL\0depends=stp,nf-tables\0name=x\0";
        assert_eq!(dependencies(module), ["stp", "nf_tables"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("/a/nf-x.ko.xz").as_deref(), Some("nf_x"));
        assert_eq!(name("/a/veth.ko").as_deref(), Some("veth"));
        assert_eq!(name("/a/modules.builtin"), None);
    }
}
