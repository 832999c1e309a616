//! `cargo xtask layers`: the borders between crates and modules (ARCHITECTURE.md) as a check.
//!
//! What each crate imports is read from its source (`source`) and judged by the order of its floors
//! (`floors`, `graph`) and by what the modules' headers promise (`headers`); `words` finds what no
//! import shows, `sizes` what is too long.

mod floors;
mod graph;
mod headers;
mod sizes;
mod source;
mod words;

use crate::workspace::Workspace;
use anyhow::{Result, bail};
use floors::CRATES;
use graph::Graph;
pub(crate) use sizes::Findings;
use source::Crate;
use std::process::ExitCode;

/// What `cargo xtask layers` is asked for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print what every module imports, floor by floor
    #[arg(long)]
    print: bool,
}

/// Says what breaks the borders; before that what imports what, if asked for.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    if args.print {
        for floors in CRATES {
            let read = Crate::read(&workspace.root, floors.of)?;
            println!("{}", Graph::of(&read).print(floors));
        }
    }
    let found = check(workspace)?;
    found.show();
    if !found.offences.is_empty() {
        bail!("{} offences", found.offences.len());
    }
    println!("layers: no new circle, no upward import");
    Ok(ExitCode::SUCCESS)
}

/// Everything that is wrong, as `file:line: what`.
pub(crate) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut found = words::check(workspace)?;
    let read = |floors: &floors::Floors| Crate::read(&workspace.root, floors.of);
    let crates: Vec<Crate> = CRATES.iter().map(read).collect::<Result<_>>()?;
    for (of, floors) in crates.iter().zip(CRATES) {
        let graph = Graph::of(of);
        found.offences.extend(graph.upward(floors));
        found.offences.extend(graph.circles(floors));
        found.offences.extend(headers::check(of));
    }
    found.offences.extend(floors::crates_upward(&crates));
    found.extend(sizes::functions(&crates));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::workspace::Workspace;

    #[test]
    fn the_borders_hold() {
        let workspace = Workspace::find().expect("the workspace");
        let found = check(&workspace).expect("readable");
        assert_eq!(found.offences, Vec::<String>::new());
    }
}
