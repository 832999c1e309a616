//! The test programs: built by cargo, asked for the tests in them.
//!
//! A test that needs root is named by the file that it stands in and its own path,
//! `net_live::bans_end`. The files of the package `firewall-tests` are modules of two programs,
//! `kernel` and `net`; elsewhere a file is a program.
//!
//! Invariant: every test of a program that needs root is in the list, or there is an error.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The programs whose modules are files of their own.
const JOINED: [&str; 2] = ["kernel", "net"];

/// Stands in the reason of `#[ignore]`, before why nothing else may run beside a test.
const ALONE: &str = "alone: ";

/// What cargo built.
#[derive(Default)]
pub(crate) struct Built {
    /// The test programs that need root.
    pub(crate) programs: Vec<Program>,
    /// Folder of the BPF object that is inside the programs.
    pub(crate) object: Option<PathBuf>,
}

/// A test program that needs root.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Name of the target.
    pub(crate) target: String,
    /// The program.
    pub(crate) file: PathBuf,
    /// Folder of its package, in which its tests run.
    pub(crate) folder: PathBuf,
}

/// A test that needs root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Test {
    /// As its program names it.
    pub(crate) name: String,
    /// The file that it stands in: `net_live`.
    pub(crate) module: String,
    /// Why nothing else may run beside it.
    pub(crate) alone: Option<String>,
}

impl Test {
    /// Whether it is run by `--long` alone.
    pub(crate) fn is_long(&self) -> bool {
        self.module.starts_with("long_")
    }

    /// The name by which it is shown and chosen.
    pub(crate) fn title(&self) -> String {
        if self.name.starts_with(&format!("{}::", self.module)) {
            self.name.clone()
        } else {
            format!("{}::{}", self.module, self.name)
        }
    }
}

/// Whether the tests of a target load programs into the kernel.
pub(crate) fn needs_root(target: &str) -> bool {
    JOINED.contains(&target) || target.starts_with("kernel_") || target.starts_with("net_")
}

/// Integration test targets of the workspace: package and name, sorted.
fn all_targets(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let text = process::capture(process::host_cargo().current_dir(&workspace.root).args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let mut all = Vec::new();
    for package in packages {
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| target["kind"][0] == "test") {
            if let (Some(package), Some(name)) = (package["name"].as_str(), target["name"].as_str())
            {
                all.push((package.to_owned(), name.to_owned()));
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Names of all integration test targets of the workspace.
pub(crate) fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let all = all_targets(workspace)?;
    let mut names: Vec<String> = all.into_iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// A build that goes on beside others. It is stopped when dropped.
pub(crate) struct Ahead(Child);

impl Ahead {
    /// Starts to build the tests of policies, which need no kernel program. What is wrong there, the
    /// build of everything says.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self> {
        const PACKAGE: &str = "firewall-policy";
        let all = all_targets(workspace)?;
        let mut cargo = process::host_cargo();
        cargo
            .current_dir(&workspace.root)
            .args(["test", "--workspace", "--no-run", "--quiet"]);
        for (package, name) in &all {
            let homonyms = all.iter().filter(|(_, other)| other == name).count();
            if package == PACKAGE && homonyms == 1 {
                cargo.args(["--test", name]);
            }
        }
        let child = cargo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start cargo")?;
        Ok(Self(child))
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.0.wait().context("waiting for cargo")?;
        Ok(())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the tests of the workspace, and the programs that they start: with `words` those targets
/// only.
pub(crate) fn build(workspace: &Workspace, words: &[&str]) -> Result<Built> {
    let mut cargo = process::host_cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["test", "--workspace", "--no-run"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(words);
    println!("+ {}", process::display(&cargo));
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build ({})", output.status);
    }
    let mut built = Built::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("what cargo says about a build")?;
        built.take(&message);
    }
    built.programs.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(built)
}

impl Built {
    /// Takes in one message of cargo.
    fn take(&mut self, message: &serde_json::Value) {
        let package = message["package_id"].as_str().unwrap_or_default();
        if message["reason"] == "build-script-executed" && package.contains("firewall-engine") {
            self.object = message["out_dir"].as_str().map(PathBuf::from);
        }
        let (Some(file), Some(target), Some(manifest)) = (
            message["executable"].as_str(),
            message["target"]["name"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            return;
        };
        if message["target"]["kind"][0] == "test" && needs_root(target) {
            let mut folder = PathBuf::from(manifest);
            folder.pop();
            self.programs.push(Program {
                target: target.to_owned(),
                file: file.into(),
                folder,
            });
        }
    }
}

impl Program {
    /// Its tests.
    pub(crate) fn tests(&self) -> Result<Vec<Test>> {
        let target = &self.target;
        let names = |more: &[&str]| -> Result<String> {
            let mut command = Command::new(&self.file);
            process::capture(command.args(["--list", "--format=terse"]).args(more))
        };
        // A test that a plain `cargo test` would run is not even started here.
        if names(&[])? != names(&["--ignored"])? {
            bail!("{target}: a test that needs root carries no #[ignore]");
        }
        // The reasons are shown where tests are left out, and nowhere else.
        let mut command = Command::new(&self.file);
        let text = process::capture(command.current_dir(&self.folder))?;
        let tests: Vec<Test> = text.lines().filter_map(|line| self.read(line)).collect();
        if tests.len() != names(&[])?.lines().count() {
            bail!("{target}: its list of tests cannot be read");
        }
        Ok(tests)
    }

    /// Reads `test live::bans_end ... ignored, needs root; alone: it measures a rate`.
    fn read(&self, line: &str) -> Option<Test> {
        let (name, reason) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
        let module = match name.split_once("::") {
            Some((module, _)) if JOINED.contains(&self.target.as_str()) => module,
            _ => &self.target,
        };
        let alone = reason.split_once(ALONE).map(|(_, why)| why.to_owned());
        Some(Test {
            name: name.to_owned(),
            module: module.to_owned(),
            alone,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn program(target: &str) -> Program {
        Program {
            target: target.to_owned(),
            file: PathBuf::new(),
            folder: PathBuf::new(),
        }
    }

    #[test]
    fn kernel_tests_are_told_by_their_names() {
        assert!(needs_root("kernel_agreement") && needs_root("net_http"));
        assert!(needs_root("kernel") && needs_root("net"));
        assert!(!needs_root("examples") && !needs_root("networks"));
    }

    #[test]
    fn tests_are_named_by_file_and_path() {
        let net = program("net");
        let test = net.read("test net_live::bans ... ignored, needs root");
        let test = test.unwrap();
        assert_eq!(
            (test.module.as_str(), test.alone.clone()),
            ("net_live", None)
        );
        assert_eq!(test.title(), "net_live::bans");
        let engine = program("kernel_engine");
        let line = "test engine::swap ... ignored, needs root; alone: it asks for all";
        let test = engine.read(line).unwrap();
        assert_eq!(test.title(), "kernel_engine::engine::swap");
        assert_eq!(test.alone.as_deref(), Some("it asks for all"));
        assert_eq!(net.read("running 3 tests"), None);
    }

    /// Cargo does not say that a file is in no program: its tests would never run.
    #[test]
    fn every_file_is_a_module_of_its_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(module) = name.strip_suffix(".rs") else {
                continue;
            };
            let Some((program, _)) = module.split_once('_') else {
                continue;
            };
            let program = if program == "long" { "net" } else { program };
            let list = std::fs::read_to_string(folder.join(format!("{program}.rs"))).unwrap();
            assert!(
                list.contains(&format!("\nmod {module};\n")),
                "add `mod {module};` to tests/tests/{program}.rs"
            );
            count += 1;
        }
        assert!(count >= 40, "{count} files only");
    }
}
