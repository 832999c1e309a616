//! A program's time and memory, from start to end: `firewall-bench measure PROGRAM ARGUMENTS`
//! starts it, waits, and prints both as the last line of its output.
//!
//! A process of its own does this because the kernel counts, as a program's memory, also what the
//! process had that started it: this one is small.

use anyhow::{Context, Result, ensure};
use firewall_engine::kernel::bench::wait_measured;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

/// The word that asks for it.
pub(crate) const MEASURE: &str = "measure";

/// What a program took.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Seconds from start to end.
    pub(crate) seconds: f64,
    /// Most bytes resident at any time.
    pub(crate) peak: u64,
}

/// Does it if the command line asks for it. The exit code is the program's.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != MEASURE {
        return None;
    }
    Some(match measure(&words.collect::<Vec<_>>()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    })
}

fn measure(words: &[OsString]) -> Result<u8> {
    let (program, arguments) = words.split_first().context("no program to measure")?;
    let start = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let (status, peak) = wait_measured(&child)?;
    let taken = Taken {
        seconds: start.elapsed().as_secs_f64(),
        peak,
    };
    println!("{}", serde_json::to_string(&taken)?);
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(2))
}

/// Reads what a measured program took from the output of this program.
pub(crate) fn taken(output: &Output) -> Result<Taken> {
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().context("no result")?).context(text.into_owned())
}
