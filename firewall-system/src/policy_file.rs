//! Reads a policy's file, or the files of its directory: every way in which that can go wrong has
//! its own words.
//!
//! Used by the command line and by the daemon. Parses nothing.
//!
//! Invariant: never holds more than [`LIMIT`] bytes of a file, however large the file is.

use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{Numbers, bytes};
use firewall_api::source::{NamedFile, PolicySource};
use firewall_policy::bundle::{self, ENDING, FOLDER, MAIN, MAX_FILES, Part};
use firewall_policy::text::safe;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Largest policy, all files together, in bytes. 100,000 rules take some 12 MB.
pub const LIMIT: u64 = 16 << 20;

/// How long a daemon waits for a policy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Name on the command line and in messages for the standard input.
pub const STDIN: &str = "-";

/// A policy's text and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyFile {
    /// As the user named it.
    pub name: String,
    /// The whole text; that of several files is put together by [`bundle`].
    pub text: String,
    /// Absolute folder against which set files are found. For a directory, itself.
    pub base: PathBuf,
}

impl PolicyFile {
    /// Reads the file or the directory `name`, or the standard input for `-`.
    ///
    /// # Errors
    /// Exit code 3: missing, unreadable, empty, not UTF-8, larger than [`LIMIT`]; a directory without
    /// [`MAIN`], or with a file in [`FOLDER`] of which it cannot be said whether it counts.
    pub fn read(name: &str) -> Result<Self, Failure> {
        let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        if name == STDIN {
            let text = read_text("standard input", io::stdin().lock(), None)
                .and_then(|text| filled("standard input", text))?;
            return Ok(Self {
                name: "<stdin>".to_owned(),
                text,
                base: here(),
            });
        }
        Self::read_opened(name, File::open(name))
    }

    /// As [`PolicyFile::read`], where nobody can be waited for, as in a daemon: regular files and
    /// directories alone, and no longer than [`PATIENCE`].
    ///
    /// # Errors
    /// As [`PolicyFile::read`]; a pipe, a device; a file system that does not answer.
    pub fn read_in_time(name: &str) -> Result<Self, Failure> {
        let (done, answer) = channel();
        let wanted = name.to_owned();
        // One that hangs for ever goes on hanging, and nobody waits for it.
        let started = thread::Builder::new().spawn(move || {
            let opened = open_regular(Path::new(&wanted));
            let _ = done.send(Self::read_opened(&wanted, opened));
        });
        started.map_err(|error| unreadable(name, &error))?;
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(invalid(format!("{name} was not read within {seconds} s"))
                .help("its file system does not answer: put the policy on a local one"))
        })
    }

    /// As [`PolicyFile::read`], called by its whole path: for those who will look for it from another place.
    ///
    /// # Errors
    /// As [`PolicyFile::read`].
    pub fn read_as_absolute(name: &str) -> Result<Self, Failure> {
        let file = Self::read(name)?;
        Ok(match name {
            STDIN => file,
            name => Self {
                name: absolute(name),
                ..file
            },
        })
    }

    fn read_opened(name: &str, opened: io::Result<File>) -> Result<Self, Failure> {
        let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let path = Path::new(name);
        let file = opened.map_err(|error| unreadable(name, &error))?;
        let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
        if metadata.is_dir() {
            let base = here().join(path);
            return Ok(Self {
                name: name.to_owned(),
                text: read_directory(path)?,
                base: base.canonicalize().unwrap_or(base),
            });
        }
        let size = metadata.is_file().then_some(metadata.len());
        let text = read_text(name, file, size).and_then(|text| filled(name, text))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => here().join(parent),
            _ => here(),
        };
        let base = parent.canonicalize().unwrap_or(parent);
        Ok(Self {
            name: name.to_owned(),
            text,
            base,
        })
    }
}

impl PolicyFile {
    /// What a request carries, with the files that the text names.
    pub(crate) fn source(self, files: Vec<NamedFile>) -> PolicySource {
        PolicySource {
            path: self.name,
            text: self.text,
            base: self.base,
            files,
        }
    }
}

/// The whole path of a policy's file or directory, as it is reached from here now. A link keeps its name, so
/// that what it leads to later counts then; what leads up (`..`) is followed now.
#[must_use]
pub fn absolute(name: &str) -> String {
    let here = Path::new(name);
    let whole = std::path::absolute(here).unwrap_or_else(|_| here.to_owned());
    let leads_up = whole.components().any(|part| part == Component::ParentDir);
    let whole = match (leads_up, whole.parent(), whole.file_name()) {
        (true, Some(folder), Some(file)) => folder.canonicalize().map(|it| it.join(file)),
        (true, ..) => whole.canonicalize(),
        _ => Ok(whole),
    };
    let whole = whole
        .ok()
        .and_then(|it| it.into_os_string().into_string().ok());
    whole.unwrap_or_else(|| name.to_owned())
}

/// Opens a regular file or a directory. A pipe is not waited for, nor is a device.
fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let kind = file.metadata()?.file_type();
    match kind.is_file() || kind.is_dir() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Where the files are looked for that a policy names which was read from `policy` as `text`.
#[must_use]
pub fn folder_of(policy: &str, text: &str) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    if bundle::is_bundle(text) {
        return here.join(policy);
    }
    match Path::new(policy).parent() {
        Some(parent) => here.join(parent),
        None => here,
    }
}

/// The text of all files of a policy's directory.
fn read_directory(directory: &Path) -> Result<String, Failure> {
    let main = directory.join(MAIN).metadata();
    if main.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(invalid(format!("{} has no {MAIN}", directory.display())).help(format!(
            "a policy's directory holds {MAIN} and, if wanted, {FOLDER}/*{ENDING}; or name a file"
        )));
    }
    let mut paths = vec![MAIN.to_owned()];
    paths.extend(names(&directory.join(FOLDER))?);
    let mut texts = Vec::with_capacity(paths.len());
    let mut total = 0;
    for path in &paths {
        let file = directory.join(path);
        let shown = file.display().to_string();
        let failed = |error: &io::Error| unreadable(&shown, error);
        // A pipe that nobody writes to would be waited for.
        if !file.metadata().map_err(|error| failed(&error))?.is_file() {
            return Err(
                invalid(format!("{shown} is not a regular file")).help(format!(
                    "move it out of the policy's directory: mv {shown} ELSEWHERE"
                )),
            );
        }
        let opened = open_regular(&file).map_err(|error| failed(&error))?;
        let text = read_text(&shown, opened, None)?;
        let text = match path == MAIN {
            true => filled(&shown, text)?,
            // A file that was cut off must not pass for one that adds nothing.
            false if text.trim().is_empty() => {
                return Err(invalid(format!("{shown} is empty"))
                    .help("write `version: 1` if it is to add nothing, or remove the file"));
            }
            false => text,
        };
        if let Some(line) = bundle::start_inside(&text) {
            return Err(invalid(format!(
                "{shown}, line {line}: this line stands between the files of a policy that were put \
                 into one"
            ))
            .help("take the file apart again, or remove the line"));
        }
        total += text.len() as u64;
        if total > LIMIT {
            return Err(too_large(&directory.display().to_string(), None));
        }
        texts.push(text);
    }
    let parts = paths.iter().zip(&texts);
    Ok(bundle::join(parts.map(|(path, text)| Part { path, text })))
}

/// The files of [`FOLDER`] that count, in lexical order of their bytes, as paths from the
/// directory.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: &io::Error| unreadable(&folder.display().to_string(), error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| failed(&error))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let shown = folder.join(&*name).display().to_string();
        // What editors and packages leave beside a file does not count; what was probably meant to
        // count is never passed over.
        if let Some(stem) = name.strip_suffix(".yml") {
            return Err(invalid(format!(
                "{shown}: the names of a policy's files end in {ENDING}"
            ))
            .help(format!(
                "rename it: mv {shown} {}",
                folder.join(format!("{stem}{ENDING}")).display()
            )));
        }
        if !name.ends_with(ENDING) {
            continue;
        }
        if !bundle::is_name(&name) {
            return Err(invalid(format!(
                "{}: this cannot be the name of a policy's file",
                safe(&shown)
            ))
            .help("rename it: a name has letters, digits and . _ - only"));
        }
        names.push(format!("{FOLDER}/{name}"));
        if names.len() >= MAX_FILES {
            return Err(invalid(format!(
                "{}: a policy has at most {MAX_FILES} files",
                folder.display()
            ))
            .help("put the rules of several files into one"));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn invalid(message: String) -> Failure {
    Failure::new(Exit::Config, message)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => invalid(format!("policy file {name} does not exist")).help(
            match std::env::current_dir() {
                Ok(here) if Path::new(name).is_relative() => {
                    format!("check the path: it is looked for in {}", here.display())
                }
                _ => "check the path".to_owned(),
            },
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Exit::Privilege,
            format!("policy file {name}: permission denied"),
        )
        .help(format!(
            "run with sudo, or make it readable: chmod a+r {name}"
        )),
        _ => invalid(format!("policy file {name}: {error}")),
    }
}

fn too_large(name: &str, size: Option<u64>) -> Failure {
    let what = match size {
        Some(size) => format!("{} policy file", bytes(size, Numbers::Si)),
        None => "policy too long".to_owned(),
    };
    invalid(format!("{name}: {what}; the limit is 16 MiB"))
        .help("put long address lists in a set file: sets: {NAME: {type: cidr, file: PATH}}")
}

fn read_text(name: &str, from: impl Read, size: Option<u64>) -> Result<String, Failure> {
    if size.is_some_and(|size| size > LIMIT) {
        return Err(too_large(name, size));
    }
    let mut raw = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut raw)
        .map_err(|error| unreadable(name, &error))?;
    if raw.len() as u64 > LIMIT {
        return Err(too_large(name, None));
    }
    let text = String::from_utf8(raw).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        // The byte order mark of an editor on Windows.
        let encoding = match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "utf-16",
            _ => "latin1",
        };
        invalid(format!("{name} is not UTF-8 text (line {line}, byte {at})"))
            .help(format!("convert it: iconv -f {encoding} -t utf-8 {name}"))
    })?;
    Ok(text)
}

/// A policy's text, unless there is nothing in it.
fn filled(name: &str, text: String) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Err(invalid(format!("policy file {name} is empty"))
            .help("the smallest policy is `version: 1` and `default: {in: pass}`, each on a line of its own"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_leads_to_the_same_file() {
        let folder = std::env::temp_dir().join(format!("fwt-{}-absolute", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("a/b")).expect("a folder");
        std::os::unix::fs::symlink("a/b", folder.join("link")).expect("a link");
        std::fs::write(folder.join("a/p.yaml"), "x").expect("a file");
        std::os::unix::fs::symlink("a/p.yaml", folder.join("now.yaml")).expect("a link");
        let folder = folder.canonicalize().expect("a folder");
        let of = |name: &str| absolute(folder.join(name).to_str().expect("text"));
        let is = |name: &str| folder.join(name).to_str().map(str::to_owned).expect("text");
        assert_eq!(of("now.yaml"), is("now.yaml"), "a link keeps its name");
        assert_eq!(of("./a//p.yaml"), is("a/p.yaml"));
        // `..` of a link is beside what the link leads to.
        assert_eq!(of("link/../p.yaml"), is("a/p.yaml"));
        assert_eq!(of("a/b/.."), is("a"));
        assert!(Path::new(&absolute("p.yaml")).is_absolute());
        assert_eq!(of("nowhere/../p.yaml"), is("nowhere/../p.yaml"));
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn an_endless_input_is_refused_and_never_held_whole() {
        let failure = read_text("<stdin>", io::repeat(b'a'), None).unwrap_err();
        assert_eq!(failure.exit_code, Exit::Config);
        assert_eq!(
            failure.message,
            "<stdin>: policy too long; the limit is 16 MiB"
        );
    }

    #[test]
    fn a_large_file_is_refused_unread() {
        struct Untouched;
        impl Read for Untouched {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("read although its size is known");
            }
        }
        let failure = read_text("big.yaml", Untouched, Some(100_000_000)).unwrap_err();
        assert_eq!(
            failure.message,
            "big.yaml: 100.0 MB policy file; the limit is 16 MiB"
        );
    }

    #[test]
    fn says_where_the_text_stops_being_utf8() {
        let failure = read_text("x.yaml", &b"version: 1\n# caf\xe9\n"[..], None).unwrap_err();
        assert_eq!(
            failure.message,
            "x.yaml is not UTF-8 text (line 2, byte 16)"
        );
    }
}
