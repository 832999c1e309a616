//! SHA-256 as text, by which files are named.

use sha2::{Digest, Sha256};

/// The SHA-256 of `bytes`, as 64 lower-case hexadecimal digits.
#[must_use]
pub fn of(bytes: impl AsRef<[u8]>) -> String {
    text(&Sha256::digest(bytes))
}

/// A digest as hexadecimal digits.
#[must_use]
pub fn text(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
