//! What the package is: lintian's opinion, its list of files, what its units may have, and whether it can
//! be made again.
//!
//! Everything here reads the finished package, so that it judges what users get.

use super::{bundle, epoch, files, folder, program};
use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{build, process};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The list of files, kept beside what the package is made of.
const LIST: &str = "packaging/files.txt";

/// Highest exposure of a unit, in tenths: `systemd-analyze security`.
const EXPOSURE: &str = "20";

/// Everything that is wrong with the package.
pub(super) fn all(workspace: &Workspace, package: &Path) -> Result<Vec<String>> {
    setup::offer(&[("lintian", "lintian"), ("dpkg-deb", "dpkg")]);
    let unpacked = folder(workspace).join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    process::run_quietly(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([package, &unpacked]),
    )?;
    let mut complaints = lintian(package)?;
    complaints.extend(listed(workspace, package)?);
    complaints.extend(configuration(package)?);
    complaints.extend(folders_of_this_machine(workspace, &unpacked)?);
    complaints.extend(exposure(&unpacked)?);
    println!("the package: {} complaints", complaints.len());
    Ok(complaints)
}

/// What lintian says, but for what it only informs of.
fn lintian(package: &Path) -> Result<Vec<String>> {
    let mut lintian = Command::new("lintian");
    lintian.arg("--allow-root").arg(package);
    let said = lintian.output().context("lintian does not start")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Ok(said
        .lines()
        .map(|line| format!("lintian: {line}"))
        .collect())
}

/// Mode, owner and name of every file, against the list that is kept.
fn listed(workspace: &Workspace, package: &Path) -> Result<Vec<String>> {
    let contents = process::capture(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let mut lines: Vec<String> = contents.lines().filter_map(listed_file).collect();
    lines.sort();
    let found = lines.join("\n") + "\n";
    let path = workspace.root.join(LIST);
    if std::env::var_os("FIREWALL_WRITE_DOCS").is_some() {
        fs::write(&path, &found).with_context(|| path.display().to_string())?;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let only_in = |these: &str, those: &str, sign: &str| -> Vec<String> {
        let those: Vec<&str> = those.lines().collect();
        let lines = these.lines().filter(|line| !those.contains(line));
        lines.map(|line| format!("{LIST}: {sign} {line}")).collect()
    };
    let mut complaints = only_in(&kept, &found, "-");
    complaints.extend(only_in(&found, &kept, "+"));
    if !complaints.is_empty() {
        complaints.push(format!(
            "{LIST} differs from the package; if that is right: \
             FIREWALL_WRITE_DOCS=1 cargo xtask package --check"
        ));
    }
    Ok(complaints)
}

/// `-rw-r--r-- root/root 123 2026-11-30 08:00 ./usr/...` without size and time.
fn listed_file(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [mode, owner, _, _, _, name @ ..] = &words[..] else {
        return None;
    };
    Some(format!("{mode} {owner} {}", name.join(" ")))
}

/// The package must leave `/etc` to its administrator.
fn configuration(package: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let contents = process::capture(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    if contents.contains(" ./etc") {
        complaints.push("the package has files in /etc".to_owned());
    }
    let control = process::capture(Command::new("dpkg-deb").arg("--info").arg(package))?;
    if control.contains("conffiles") {
        complaints.push("the package has configuration files".to_owned());
    }
    Ok(complaints)
}

/// Names of folders of the machine that built it have no business in the program.
fn folders_of_this_machine(workspace: &Workspace, unpacked: &Path) -> Result<Vec<String>> {
    let path = unpacked.join("usr/sbin/firewall-ctl");
    let program = fs::read(&path).with_context(|| path.display().to_string())?;
    let folders = [
        workspace.root.clone(),
        workspace.target.clone(),
        build::cargo_home(),
    ];
    let mut complaints = Vec::new();
    for folder in folders {
        let name = folder.as_os_str().as_encoded_bytes();
        if program.windows(name.len()).any(|bytes| bytes == name) {
            complaints.push(format!(
                "the program has the name of a folder of this machine in it: {}",
                folder.display()
            ));
        }
    }
    Ok(complaints)
}

/// What the units may do to the machine.
fn exposure(unpacked: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for unit in ["firewall.service", "firewall-early.service"] {
        let mut path = unpacked.join("usr/lib/systemd/system").join(unit);
        if !path.exists() {
            path = unpacked.join("lib/systemd/system").join(unit);
        }
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold"])
            .arg(EXPOSURE)
            .arg(&path)
            .output()
            .context("systemd-analyze does not start")?;
        let said = String::from_utf8_lossy(&judged.stdout);
        let last = said.lines().rev().find(|line| line.contains("exposure"));
        let last = last.unwrap_or("systemd-analyze says nothing of it");
        println!("{}", last.trim_start_matches(['→', ' ']));
        if !judged.status.success() {
            complaints.push(format!("{unit} may do too much: {last}"));
        }
    }
    Ok(complaints)
}

/// The same files make the same package.
pub(super) fn bundled_again(workspace: &Workspace, package: &Path) -> Result<Vec<String>> {
    let first = fs::read(package)?;
    let again = bundle(
        workspace,
        &folder(workspace).join("stage"),
        epoch(workspace)?,
    )?;
    Ok(compare(&first, &fs::read(again)?))
}

/// Program and package from nothing, in another folder.
pub(super) fn rebuilt(workspace: &Workspace, package: &Path) -> Result<Vec<String>> {
    let first = fs::read(package)?;
    let other = Workspace {
        root: workspace.root.clone(),
        target: folder(workspace).join("again"),
    };
    if other.target.exists() {
        fs::remove_dir_all(&other.target)?;
    }
    fs::create_dir_all(&other.target)?;
    let tools = setup::ensure(workspace, Need::Build)?;
    build::object(&other, &tools)?;
    program(&other, &other.target, true)?;
    let stage = folder(&other).join("stage");
    let built: PathBuf = other.programs(true).join("firewall-ctl");
    files::stage(workspace, &tools, &built, &stage, epoch(workspace)?)?;
    let again = fs::read(bundle(workspace, &stage, epoch(workspace)?)?)?;
    // What was found first stays the result.
    fs::write(package, &first)?;
    fs::remove_dir_all(&other.target)?;
    Ok(compare(&first, &again))
}

fn compare(first: &[u8], second: &[u8]) -> Vec<String> {
    if first == second {
        println!("a second package has the same {} bytes", first.len());
        return Vec::new();
    }
    vec![format!(
        "a second package differs ({} and {} bytes)",
        first.len(),
        second.len()
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_has_no_time_and_no_size() {
        let line = "-rwxr-xr-x root/root  10485760 2026-11-30 08:00 ./usr/sbin/firewall-ctl";
        let listed = listed_file(line).unwrap();
        assert_eq!(listed, "-rwxr-xr-x root/root ./usr/sbin/firewall-ctl");
        let link = "lrwxrwxrwx root/root 0 2026-11-30 08:00 ./a -> b";
        assert_eq!(listed_file(link).unwrap(), "lrwxrwxrwx root/root ./a -> b");
        assert_eq!(listed_file("nonsense"), None);
        assert_eq!(compare(b"a", b"a").len(), 0);
        assert_eq!(compare(b"a", b"b").len(), 1);
    }
}
