//! Where the verifier's work goes: for each instruction of the program for one row of
//! docs/verifier.md, how often the verifier of this kernel has processed it.
//!
//! `verifier_steps "everything at once"`; ` jumbo` behind a row's name measures it for frames in several
//! buffers. Prints a line for each instruction: function that was being proved, number, times,
//! place in the source, text.

use anyhow::{Context, Result};
use firewall_engine::kernel::verify;
use firewall_tests::features;
use std::collections::BTreeMap;

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1).context("which row?")?;
    let (name, jumbo) = match wanted.strip_suffix(" jumbo") {
        Some(name) => (name, 1),
        None => (wanted.as_str(), 0),
    };
    let policy = match name {
        features::EVERYTHING => features::everything(1)?,
        features::EVERYTHING_LARGE => features::everything(10_000)?,
        _ => {
            let mut rows = features::all()?.into_iter();
            let found = rows.find(|(row, _)| row == name);
            found.context("no such row")?.1
        }
    };
    let mut tables = features::tables(&policy)?;
    tables.config.frags = jumbo;
    let log = verify::steps(&tables, policy.rules.len())?;
    let mut proved = "fw_xdp";
    let mut place = "";
    let mut places: BTreeMap<u32, (&str, &str)> = BTreeMap::new();
    let mut times: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    for line in log.lines() {
        if let Some(rest) = line.strip_prefix("Validating ") {
            proved = rest.split("()").next().unwrap_or(rest);
        } else if line.starts_with("; ") {
            place = line.rsplit_once(" @ ").map_or(line, |(_, place)| place);
        } else if let Some((number, text)) = line.split_once(": (")
            && let Ok(number) = number.parse()
        {
            let text = text.split(" ;").next().unwrap_or(text);
            places.entry(number).or_insert((place, text));
            *times.entry((proved, number)).or_default() += 1;
        } else if line.starts_with("processed ") {
            println!("{line}");
        }
    }
    for ((proved, number), times) in times {
        let (place, text) = places[&number];
        println!("{proved}\t{number}\t{times}\t{place}\t({text}");
    }
    Ok(())
}
