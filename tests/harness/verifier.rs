//! The table of docs/verifier.md: made, written, read again and compared.
//!
//! One section for each kernel that it was measured on. Invariant: writing one section leaves the
//! others as they are.

use crate::features;
use anyhow::{Context, Result};
use firewall_engine::kernel::verify::{Verified, verify};
use firewall_policy::tables::Tables;
use std::path::{Path, PathBuf};

/// Instructions that the verifier may process for any policy (P12). The kernel gives up at a
/// million.
pub const MOST_INSTRUCTIONS: u32 = 500_000;

/// By how many percent a count may differ from the table on the same kernel. Compilers differ.
const TOLERANCE: u64 = 10;

/// Policies that are measured for frames in several buffers, too.
const IN_BUFFERS: [&str; 3] = ["no rule", features::EVERYTHING, features::EVERYTHING_LARGE];

const HEAD: &str = "\
# What the verifier needs

For policies that use one feature each, and for all of them at once: how many instructions the kernel's verifier processes when the program is loaded (the kernel's limit is 1,000,000, the project's 500,000), how large the program is when dead code is gone and as machine code, the stack of each of its functions, and the processor time that loading takes. Fields that a policy does not use cost nothing, because the verifier removes their code.

Generated: `cargo xtask verify` measures and compares, `cargo xtask verify --write` renews the section of the running kernel. Times are of one run, and are not compared.
";

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the policy uses.
    pub name: String,
    /// What the kernel says.
    pub verified: Verified,
}

/// Where the table is kept.
#[must_use]
pub fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier.md")
}

/// Measures every row on this kernel. `each` sees a row when it is there.
///
/// # Errors
/// A policy that does not load.
pub fn measure(mut each: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, policy) in features::all()? {
        let mut tables = features::tables(&policy)?;
        let mut add = |tables: &Tables, name: String| -> Result<()> {
            let verified = verify(tables, policy.rules.len()).with_context(|| name.clone())?;
            let row = Row { name, verified };
            each(&row);
            rows.push(row);
            Ok(())
        };
        let jumbo = IN_BUFFERS
            .contains(&name.as_str())
            .then(|| format!("{name}, jumbo frames"));
        add(&tables, name)?;
        if let Some(name) = jumbo {
            tables.config.frags = 1;
            add(&tables, name)?;
        }
    }
    Ok(rows)
}

/// The heading of this kernel's section: version without what a distribution adds, and machine.
#[must_use]
pub fn heading() -> String {
    let name = rustix::system::uname();
    format!(
        "Linux {}, {}",
        kernel_version(),
        name.machine().to_string_lossy()
    )
}

/// The version of this kernel, `6.18.44`, without what a distribution adds.
#[must_use]
pub fn kernel_version() -> String {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    let version = &release[..end.unwrap_or(release.len())];
    version.trim_end_matches('.').to_owned()
}

/// A row of the table.
#[must_use]
pub fn line(row: &Row) -> String {
    let Verified {
        instructions,
        translated,
        compiled,
        stack,
        time,
    } = &row.verified;
    format!(
        "| {} | {instructions} | {translated} | {compiled} | {stack} | {} |",
        row.name,
        time.as_millis()
    )
}

/// `text` with the section `heading` renewed, or added at its end.
#[must_use]
pub fn with_section(text: &str, heading: &str, rows: &[Row]) -> String {
    let mut sections: Vec<(String, String)> = text
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(heading, body)| (heading.to_owned(), body.trim().to_owned()))
        .collect();
    let mut table = String::from(
        "| policy | instructions | program, bytes | machine code, bytes | stack, bytes | load, ms |\n\
         |---|---:|---:|---:|---|---:|",
    );
    for row in rows {
        table.push('\n');
        table.push_str(&line(row));
    }
    match sections.iter_mut().find(|(found, _)| found == heading) {
        Some((_, body)) => *body = table,
        None => sections.push((heading.to_owned(), table)),
    }
    let mut text = HEAD.to_owned();
    for (heading, body) in sections {
        text.push_str(&format!("\n## {heading}\n\n{body}\n"));
    }
    text
}

/// What is wrong with rows on this kernel: more than the bar, or not what the section of `text`
/// under `heading` says. Without such a section only the bar is held.
#[must_use]
pub fn complaints(text: &str, heading: &str, rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Row { name, verified } in rows {
        let count = verified.instructions;
        if count > MOST_INSTRUCTIONS {
            complaints.push(format!(
                "{name}: the verifier processes {count} instructions, the bar is \
                 {MOST_INSTRUCTIONS}"
            ));
        }
    }
    let start = format!("\n## {heading}\n");
    let Some((_, section)) = text.split_once(&start) else {
        return complaints;
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let kept = |name: &str| {
        section.lines().find_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            (cells.next()? == name).then(|| cells.next()?.parse::<u64>().ok())?
        })
    };
    for Row { name, verified } in rows {
        let count = u64::from(verified.instructions);
        match kept(name) {
            None => complaints.push(format!("{name}: docs/verifier.md has no such row")),
            Some(kept) if count.abs_diff(kept) * 100 > kept * TOLERANCE => {
                complaints.push(format!(
                    "{name}: the verifier processes {count} instructions, docs/verifier.md says \
                     {kept}"
                ));
            }
            Some(_) => {}
        }
    }
    complaints
}
