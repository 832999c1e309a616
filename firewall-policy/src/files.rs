//! The files that a policy names, as whoever reads the policy hands them in.
//!
//! Imports nothing.

use std::io;

/// Opens the files that a policy names (`sets.x.file`). The host program opens them on the disk;
/// tests hand in text.
pub trait Files {
    /// The bytes of `path`, which is relative to the folder of the policy's file, or to the policy's
    /// directory, unless absolute. They are
    /// read once, from front to back, in large pieces, and never held as a whole.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + '_>>;

    /// Where `path` is looked for, for messages.
    fn full(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The present, in seconds since the Unix epoch, for rules that expire. 0, the default: none has.
    fn now(&self) -> u64 {
        0
    }
}

/// No files at all: for policies without file-backed sets.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn open(&self, _path: &str) -> io::Result<Box<dyn io::Read + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }
}
