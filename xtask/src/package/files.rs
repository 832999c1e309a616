//! What is in the package, and where it comes from: the one table of it.
//!
//! Invariant: nothing below `/etc`. What an administrator writes there is theirs, and nothing is filtered
//! before they do.

use crate::process;
use crate::setup::Toolchain;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages for users; the others are for developers.
const PAGES: [&str; 9] = [
    "bans",
    "install",
    "migrating",
    "observe",
    "performance",
    "policy",
    "quick",
    "reasons",
    "state",
];

/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/firewall-ctl"),
    ("zsh", "usr/share/zsh/vendor-completions/_firewall-ctl"),
    (
        "fish",
        "usr/share/fish/vendor_completions.d/firewall-ctl.fish",
    ),
];

/// Where the schema is installed: examples name it, for editors.
const SCHEMA: &str = "usr/share/firewall/schema/v1.json";

/// A folder that cargo-deb makes the package of.
struct Stage<'a> {
    folder: &'a Path,
    /// Source in the folder, place in the package, mode.
    assets: Vec<[String; 3]>,
}

impl Stage<'_> {
    /// Writes a file for a place in the package.
    fn write(&mut self, place: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.add(place, "644")?;
        fs::write(&path, content).with_context(|| path.display().to_string())
    }

    /// Copies one.
    fn copy(&mut self, from: &Path, place: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| from.display().to_string())?;
        self.write(place, content)
    }

    /// Notes a file, which is then written to the answer.
    fn add(&mut self, place: &str, mode: &str) -> Result<PathBuf> {
        // cargo-deb names units of sysusers and tmpfiles by their source: it has the name of the place.
        let source = format!("root/{place}");
        let path = self.folder.join(&source);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        self.assets
            .push([source, place.to_owned(), mode.to_owned()]);
        Ok(path)
    }
}

/// Fills the folder anew: files of the package, scripts, units, and what cargo-deb is told.
pub(super) fn stage(
    workspace: &Workspace,
    tools: &Toolchain,
    program: &Path,
    folder: &Path,
    epoch: u64,
) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let packaging = workspace.root.join("packaging");
    let mut stage = Stage {
        folder,
        assets: Vec::new(),
    };
    let binary = stage.add("usr/sbin/firewall-ctl", "755")?;
    let mut strip = Command::new(&tools.objcopy);
    process::run_quietly(strip.arg("--strip-all").arg(program).arg(&binary))?;
    for kind in ["sysusers.d", "tmpfiles.d"] {
        let place = format!("usr/lib/{kind}/firewall.conf");
        stage.copy(&packaging.join(kind).join("firewall.conf"), &place)?;
    }
    generated(workspace, program, &mut stage)?;
    documents(workspace, &mut stage)?;
    // By hand: cargo-deb gives it the name that packages with a revision have for it.
    let changes = stage.add("usr/share/doc/firewall/changelog.gz", "644")?;
    let plain = changes.with_extension("");
    fs::write(&plain, changelog(epoch)?)?;
    let mut gzip = Command::new("gzip");
    process::run_quietly(gzip.args(["--best", "--no-name"]).arg(&plain))?;

    copy_folder(&packaging.join("debian"), &folder.join("debian"))?;
    for unit in sorted(&packaging.join("systemd"))? {
        let name = name_of(&unit);
        let own = folder
            .join("systemd")
            .join(name.trim_end_matches(".service"));
        fs::create_dir_all(&own)?;
        fs::copy(&unit, own.join(&name)).with_context(|| unit.display().to_string())?;
    }
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let told = fs::read_to_string(packaging.join("deb.toml"))?;
    fs::write(folder.join("Cargo.toml"), manifest(&told, &stage.assets))?;
    Ok(())
}

/// What the program says of itself: manual, completions, schema.
fn generated(workspace: &Workspace, program: &Path, stage: &mut Stage<'_>) -> Result<()> {
    let manual = stage.folder.join("manual");
    let mut cargo = process::host_cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["run", "--quiet", "--package", "firewall-ctl"])
        .args(["--example", "manual", "--"])
        .arg(&manual);
    process::run(&mut cargo)?;
    for page in sorted(&manual)? {
        let name = name_of(&page);
        stage.copy(&page, &format!("usr/share/man/man8/{name}"))?;
    }
    for (shell, place) in COMPLETIONS {
        let script = process::capture(Command::new(program).args(["completions", shell]))?;
        stage.write(place, script)?;
    }
    let schema = process::capture(Command::new(program).arg("schema"))?;
    stage.write(SCHEMA, schema)
}

/// Pages and policies to read.
fn documents(workspace: &Workspace, stage: &mut Stage<'_>) -> Result<()> {
    for page in PAGES {
        let file = format!("{page}.md");
        let from = workspace.root.join("docs").join(&file);
        stage.copy(&from, &format!("usr/share/doc/firewall/{file}"))?;
    }
    let changes = workspace.root.join("CHANGELOG.md");
    stage.copy(&changes, "usr/share/doc/firewall/CHANGELOG.md")?;
    let rules = workspace.root.join("rules");
    for path in sorted(&rules)? {
        if path.is_dir() {
            for list in sorted(&path)? {
                let place = format!("{}/{}", name_of(&path), name_of(&list));
                stage.copy(&list, &format!("usr/share/firewall/examples/{place}"))?;
            }
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.replacen("../docs/schema/v1.json", &format!("/{SCHEMA}"), 1);
        let place = format!("usr/share/firewall/examples/{}", name_of(&path));
        stage.write(&place, text)?;
    }
    Ok(())
}

/// The manifest of a crate without code, whose only product is the package.
fn manifest(told: &str, assets: &[[String; 3]]) -> String {
    let mut text = format!(
        "[package]\nname = \"firewall\"\nversion = \"{}\"\nedition = \"2024\"\n\
         license = \"MIT OR Apache-2.0\"\n\
         description = \"XDP firewall: policies in YAML, enforced in the network driver\"\n\n\
         [workspace]\n\n{told}revision = \"\"\nassets = [\n",
        env!("CARGO_PKG_VERSION")
    );
    for [source, place, mode] in assets {
        text.push_str(&format!("    [\"{source}\", \"{place}\", \"{mode}\"],\n"));
    }
    text.push_str("]\n");
    text
}

/// Debian's changelog: its one entry has the time of the commit, and names the real one.
fn changelog(epoch: u64) -> Result<String> {
    let time = format!("--date=@{epoch}");
    let date = process::capture(
        Command::new("date")
            .args(["--utc", "--rfc-email", &time])
            .env("LC_ALL", "C"),
    )?;
    Ok(format!(
        "firewall ({}) unstable; urgency=medium\n\n  \
         * See /usr/share/doc/firewall/CHANGELOG.md.\n\n \
         -- The firewall authors <firewall@example.org>  {}\n",
        env!("CARGO_PKG_VERSION"),
        date.trim()
    ))
}

/// What is in a folder, by name.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Copies the files of a folder.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for path in sorted(from)? {
        fs::copy(&path, to.join(name_of(&path))).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
