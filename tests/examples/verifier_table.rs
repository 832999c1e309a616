//! What `cargo xtask verify` runs: measures what the verifier needs for every feature, prints it,
//! and compares it with docs/verifier.md. With `--write` it renews the section of this kernel.

use anyhow::{Context, Result, bail};
use firewall_tests::verifier;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let write = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--write" => true,
        other => bail!("unknown arguments {other:?}; only --write is known"),
    };
    let (heading, path) = (verifier::heading(), verifier::document());
    println!("{heading}");
    println!("| policy | instructions | program | machine code | stack | load, ms |");
    let rows = verifier::measure(|row| println!("{}", verifier::line(row)))?;
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.with_context(|| path.display().to_string())?,
    };
    let mut compared = &*text;
    let renewed = verifier::with_section(&text, &heading, &rows);
    if write {
        std::fs::write(&path, &renewed).with_context(|| path.display().to_string())?;
        println!("written: {}", path.display());
        compared = &renewed;
    }
    let complaints = verifier::complaints(compared, &heading, &rows);
    for complaint in &complaints {
        println!("error: {complaint}");
    }
    if complaints.is_empty() {
        println!(
            "every row is within {} instructions",
            verifier::MOST_INSTRUCTIONS
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("if that is on purpose: cargo xtask verify --write");
    Ok(ExitCode::FAILURE)
}
