//! Reads a policy file: every way in which that can go wrong has its own words.
//!
//! Used by the command line and by the daemon. Parses nothing. May import [`crate::failure`] only.
//!
//! Invariant: never holds more than [`LIMIT`] bytes of a file, however large the file is.

use crate::failure::{Exit, Failure};
use crate::format::{Numbers, bytes};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest policy file, in bytes. 100,000 rules take some 12 MB.
pub const LIMIT: u64 = 16 << 20;

/// Name on the command line and in messages for the standard input.
pub const STDIN: &str = "-";

/// A policy's text and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyFile {
    /// As the user named it.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Absolute folder against which set files are found.
    pub base: PathBuf,
}

impl PolicyFile {
    /// Reads `name`, or the standard input for `-`.
    ///
    /// # Errors
    /// Exit code 3: missing, unreadable, a directory, empty, not UTF-8, larger than [`LIMIT`].
    pub fn read(name: &str) -> Result<Self, Failure> {
        let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        if name == STDIN {
            let text = read_text("standard input", io::stdin().lock(), None)?;
            return Ok(Self {
                name: "<stdin>".to_owned(),
                text,
                base: here(),
            });
        }
        let path = Path::new(name);
        let file = File::open(path).map_err(|error| unreadable(name, &error))?;
        let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
        if metadata.is_dir() {
            return Err(
                invalid(format!("{name} is a directory, not a policy file")).help(format!(
                    "name a file in it, such as {}",
                    path.join("firewall.yaml").display()
                )),
            );
        }
        let text = read_text(name, file, metadata.is_file().then_some(metadata.len()))?;
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

fn read_text(name: &str, from: impl Read, size: Option<u64>) -> Result<String, Failure> {
    let too_large = |size: Option<u64>| {
        let what = match size {
            Some(size) => format!("{} policy file", bytes(size, Numbers::Si)),
            None => "policy too long".to_owned(),
        };
        invalid(format!("{name}: {what}; the limit is 16 MiB"))
            .help("put long address lists in a set file: sets: {NAME: {type: cidr, file: PATH}}")
    };
    if size.is_some_and(|size| size > LIMIT) {
        return Err(too_large(size));
    }
    let mut raw = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut raw)
        .map_err(|error| unreadable(name, &error))?;
    if raw.len() as u64 > LIMIT {
        return Err(too_large(None));
    }
    let text = String::from_utf8(raw).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        invalid(format!("{name} is not UTF-8 text (line {line}, byte {at})"))
            .help(format!("convert it: iconv -f latin1 -t utf-8 {name}"))
    })?;
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
