//! A wall clock for the program under test alone, which a test sets while the program runs. The
//! machine's own clock belongs to everybody on it, and no namespace has one.
//!
//! It is put before the C library (`clock.c`), where Rust's `SystemTime` asks; the monotonic clock,
//! and what programs in the kernel read, stays the kernel's. Invariant: a clock that is not in effect
//! is an error, so no test passes because nothing was set.

use crate::ctl::Ctl;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = include_str!("clock.c");

/// A clock beside the true one.
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// Gives everything that `ctl` starts from now on this clock, which shows the true time.
    ///
    /// # Errors
    /// There is no C compiler (Rust links by one), or the program under test does not ask the C
    /// library for the time.
    pub fn of(ctl: &mut Ctl<'_>) -> Result<Self> {
        let folder = ctl.folder().to_owned();
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()
            .context("cannot start cc")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cc: {said}");
        let clock = Self {
            file: folder.join("clock"),
        };
        clock.set(0)?;
        ctl.set("LD_PRELOAD", library);
        ctl.set("FWT_CLOCK", &clock.file);
        Ok(clock)
    }

    /// Sets it this many seconds ahead of the true time, for running programs too.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // In one step: nobody reads half a number.
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string())?;
        Ok(fs::rename(new, &self.file)?)
    }
}
