//! Writes the manual of the command line, one page a verb for section 8, into a folder:
//!
//! ```text
//! cargo run -p firewall-ctl --example manual -- FOLDER
//! man -l FOLDER/firewall-ctl-load.8
//! ```
//!
//! Each page is made of the command line's definition. `cargo xtask package` calls this.

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments
        .next()
        .map(PathBuf::from)
        .context("name a folder: cargo run -p firewall-ctl --example manual -- FOLDER")?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut command = firewall_ctl::cli::command();
    // Gives commands below others their names.
    command.build();
    page(&command, &folder)
}

/// The page of a command and those of the commands below it.
fn page(command: &Command, folder: &Path) -> Result<()> {
    let path = folder.join(format!("{}.8", name(command)));
    std::fs::write(&path, text(command)?).with_context(|| path.display().to_string())?;
    command
        .get_subcommands()
        .try_for_each(|below| page(below, folder))
}

/// `firewall-ctl-load` for `firewall-ctl load`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// One page.
fn text(command: &Command) -> Result<Vec<u8>> {
    let more = command.get_after_long_help().map(ToString::to_string);
    let has_arguments = command.get_arguments().next().is_some();
    let has_verbs = command.has_subcommands();
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .section("8")
        .manual("firewall")
        .source(format!("firewall {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if has_arguments {
        man.render_options_section(&mut page)?;
    }
    if has_verbs {
        man.render_subcommands_section(&mut page)?;
    }
    sections(&more.unwrap_or_default()).to_writer(&mut page)?;
    Ok(page)
}

/// What stands at the end of `--help`: paragraphs with a headline each, whose lines are kept as they are.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::default();
    for paragraph in text.split("\n\n") {
        let Some((headline, lines)) = paragraph.split_once('\n') else {
            continue;
        };
        let headline = headline.trim_end_matches(':').to_uppercase();
        let headline = match headline.as_str() {
            "EXIT CODES" => "EXIT STATUS",
            other => other,
        };
        roff.control("SH", [headline]).control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}
