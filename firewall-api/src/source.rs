//! A policy as a request carries it: its text, and each file that it names by its SHA-256.
//!
//! Invariant: whoever gets a request takes its paths for labels in messages, and opens none of them.
//! The bytes of a file are found by their hash, or sent once.

use crate::failure::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Largest file that a policy names, in bytes.
pub const FILE_LIMIT: u64 = 256 << 20;

/// [`Failure::code`] of a request whose files are not all there.
pub const FILES_MISSING: &str = "files-missing";

/// A policy with everything that it needs.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySource {
    /// The file as the user named it: a label.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The folder in which the sender finds the files: a label.
    #[serde(default)]
    pub base: PathBuf,
    /// The files that the text names.
    #[serde(default)]
    pub files: Vec<NamedFile>,
}

/// A file that a policy names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// As the policy names it, from its folder: a label.
    pub path: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// How many these are.
    pub bytes: u64,
}

/// Answer to `PUT /v1/files/SHA256`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileKept {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// What it is kept by.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Whether a text is a SHA-256 as files are named by: 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The failure of a request that names files whose bytes are not there. Its diagnostics are the
/// files.
#[must_use]
pub fn files_missing(files: &[&NamedFile]) -> Failure {
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let list = files.iter().map(|file| serde_json::json!(file));
    Failure {
        code: FILES_MISSING.into(),
        diagnostics: list.collect(),
        ..Failure::new(
            Exit::Failed,
            format!("the bytes of {} are not here", names.join(", ")),
        )
        .help("send them: PUT /v1/files/SHA256, then repeat the request")
    }
}

/// The files that a failure asks for; `None` if it is another one.
#[must_use]
pub fn missing_in(failure: &Failure) -> Option<Vec<NamedFile>> {
    if &*failure.code != FILES_MISSING {
        return None;
    }
    let files = failure.diagnostics.iter();
    files
        .map(|file| serde_json::from_value(file.clone()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_name_files() {
        let hash = "0123456789abcdef".repeat(4);
        assert!(is_hash(&hash));
        for wrong in ["", "../../etc/shadow", &hash[1..], &hash.to_uppercase()] {
            assert!(!is_hash(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_survives_the_wire() {
        let file = NamedFile {
            path: "lists/block.txt".to_owned(),
            sha256: "0".repeat(64),
            bytes: 7,
        };
        let json = serde_json::to_string(&files_missing(&[&file])).unwrap();
        let failure: Failure = serde_json::from_str(&json).unwrap();
        assert_eq!(missing_in(&failure), Some(vec![file]));
        assert_eq!(missing_in(&Failure::new(Exit::Failed, "no")), None);
    }
}
