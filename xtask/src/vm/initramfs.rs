//! The guest's only file system: an archive in cpio's "newc" format (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst) that the kernel unpacks into memory.
//!
//! Programs of this machine go in with the libraries that they are linked to, at the same paths.

use crate::process;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of this machine, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Path in the guest.
    pub(super) to: String,
    from: PathBuf,
}

impl Program {
    pub(super) fn new(to: impl Into<String>, from: PathBuf) -> Self {
        Self {
            to: to.into(),
            from,
        }
    }
}

/// What goes into the archive.
pub(super) struct Content<'a> {
    /// Text of `/init`.
    pub(super) init: String,
    /// The file for `/bin/busybox`.
    pub(super) busybox: &'a Path,
    /// Programs with their libraries.
    pub(super) programs: &'a [Program],
    /// Kernel modules in the order of loading: `/modules/000-NAME.ko` and so on.
    pub(super) modules: &'a [PathBuf],
    /// Files, and folders with all that is in them, that stand in the guest where they stand here.
    pub(super) data: &'a [PathBuf],
    /// LLVM's objcopy, which takes the debug information out of programs.
    pub(super) objcopy: &'a Path,
}

impl Content<'_> {
    /// Writes the archive.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut archive = Archive::create(path)?;
        archive.file("/init", 0o755, self.init.as_bytes())?;
        archive.copy("/bin/busybox", 0o755, self.busybox)?;
        let mut libraries = BTreeSet::new();
        let stripped = path.with_extension("stripped");
        for program in self.programs {
            libraries.extend(linked(&program.from)?);
            process::run_quietly(
                Command::new(self.objcopy)
                    .arg("--strip-debug")
                    .args([&program.from, &stripped]),
            )?;
            archive.copy(&program.to, 0o755, &stripped)?;
        }
        fs::remove_file(&stripped).with_context(|| stripped.display().to_string())?;
        for library in libraries {
            archive.copy(&library, 0o755, Path::new(&library))?;
        }
        for (number, module) in self.modules.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            archive.copy(&format!("/modules/{number:03}-{name}"), 0o644, module)?;
        }
        for path in self.data {
            archive.tree(path)?;
        }
        archive.finish()
    }
}

/// The libraries that a program is linked to, its loader among them, as `ldd` finds them.
fn linked(program: &Path) -> Result<Vec<String>> {
    let text = process::capture(Command::new("ldd").arg(program))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let line = line.rsplit(" => ").next()?.trim();
            let path = line.split(" (").next()?;
            path.starts_with('/').then(|| path.to_owned())
        })
        .collect())
}

struct Archive {
    file: BufWriter<File>,
    /// Folders that are in it already.
    folders: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self {
            file: BufWriter::new(file),
            folders: BTreeSet::new(),
            entries: 0,
        })
    }

    /// One entry: header, name and content, each padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB")?;
        let links = 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(name);
        header.push('\0');
        for part in [header.as_bytes(), content] {
            self.file.write_all(part)?;
            let padding = part.len().next_multiple_of(4) - part.len();
            self.file.write_all(&[0; 3][..padding])?;
        }
        Ok(())
    }

    /// The folders above `path`.
    fn parents(&mut self, path: &Path) -> Result<()> {
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .filter(|folder| folder.parent().is_some() && !self.folders.contains(*folder))
            .map(Path::to_path_buf)
            .collect();
        missing.reverse();
        for folder in missing {
            self.entry(&relative(&folder), 0o040_755, &[])?;
            self.folders.insert(folder);
        }
        Ok(())
    }

    fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.parents(Path::new(path))?;
        self.entry(&relative(Path::new(path)), 0o100_000 | permissions, content)
    }

    fn copy(&mut self, path: &str, permissions: u32, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.file(path, permissions, &content)
    }

    /// A file of this machine, or a folder with all that is in it, at the same path.
    fn tree(&mut self, folder: &Path) -> Result<()> {
        if folder.is_file() {
            return self.copy(&folder.to_string_lossy(), 0o644, folder);
        }
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            self.tree(&entry?.path())?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.file.flush().context("writing the archive")
    }
}

/// Names in the archive have no slash in front.
fn relative(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_folders_come_first() {
        let path = std::env::temp_dir().join(format!("fwt-{}-cpio", std::process::id()));
        let mut archive = Archive::create(&path).unwrap();
        archive.file("/a/b/c", 0o644, b"hello").unwrap();
        archive.file("/a/b/d", 0o644, b"").unwrap();
        archive.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
        assert!(text.contains("hello\0\0\0"));
    }

    #[test]
    fn a_program_needs_its_loader_and_libraries() {
        let libraries = linked(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.iter().any(|path| path.contains("libc.so")));
        assert!(libraries.iter().any(|path| path.contains("ld-linux")));
    }
}
