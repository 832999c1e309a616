//! P10: bans and changes of a live set, by whole commands: from the start of the process to its end,
//! when the next packet meets what it changed.

use super::Context;
use super::control::{drops, frame, rounds};
use crate::child::{self, MEASURE};
use crate::measure::Series;
use crate::prefixes::prefixes_v4;
use crate::report::{BenchReport, Mark};
use crate::stop;
use anyhow::{Context as _, Result, ensure};
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INTERFACE, Pair};
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

/// Addresses of one batch.
const BANS: u32 = 100_000;
/// The first of them.
const FIRST: u32 = 0x2c00_0000;

/// Bans alone, and then beside a live set of many prefixes.
pub(crate) fn p10(context: &Context, report: &mut BenchReport) -> Result<()> {
    let count = context.many_prefixes();
    let pair = Pair::new()?;
    let ctl = Ctl::new(&pair.inside)?;
    let program = std::env::current_exe()?;
    let wrapper = [program.to_str().context("a path in UTF-8")?, MEASURE];
    let timed = |words: &[&str]| -> Result<f64> {
        stop::check()?;
        Ok(child::taken(&ctl.run_under(&wrapper, words)?)?.seconds)
    };
    let dropped = |address: u32| drops(&pair, &frame(address, 80));

    let policy = ctl.policy("version: 1\ndefault: {in: pass}\nrules: []\n")?;
    let policy = policy.to_str().context("a path in UTF-8")?;
    ctl.ok(&["load", "-i", INTERFACE, "-f", policy])?;
    let mut list = String::new();
    for address in FIRST..FIRST + BANS {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{}", Ipv4Addr::from(address));
    }
    let file = ctl.folder().join("bans.txt");
    fs::write(&file, list)?;
    let file = file.to_str().context("a path in UTF-8")?;
    let [mut one, mut many, mut add] = [const { Series(Vec::new()) }; 3];
    for round in 0..rounds(context) as u32 {
        let address = Ipv4Addr::from(0x2d00_0000 + round).to_string();
        one.0.push(timed(&["ban", &address])? * 1e3);
        ensure!(dropped(0x2d00_0000 + round)?, "{address} passes");
        many.0.push(timed(&["ban", "-f", file])?);
        for address in [FIRST, FIRST + BANS / 2, FIRST + BANS - 1] {
            ensure!(dropped(address)?, "{address:08x} passes");
        }
        ensure!(!dropped(FIRST + BANS)?, "more is banned than was asked for");
        ctl.ok(&["unban", "--all"])?;
        ensure!(!dropped(FIRST)?, "unban --all leaves something");
    }

    // Other prefixes than those of the file are added below.
    let prefixes = prefixes_v4(count, 1);
    let mut list = String::new();
    for (address, length) in &prefixes {
        let _ = writeln!(list, "{}/{length}", Ipv4Addr::from(*address));
    }
    let file = ctl.folder().join("list.txt");
    fs::write(&file, list)?;
    let text = format!(
        "version: 1\ndefault: {{in: pass}}\nsets: {{listed: {{type: cidr, live: true, max: {}}}}}\n\
         rules:\n  - {{name: listed, from: \"@listed\", action: drop}}\n",
        count + 1_000
    );
    let policy = ctl.policy(&text)?;
    let policy = policy.to_str().context("a path in UTF-8")?;
    ctl.ok(&["load", "-i", INTERFACE, "-f", policy])?;
    let file = file.to_str().context("a path in UTF-8")?;
    let mut load = Series::default();
    load.0.push(timed(&["set", "load", "listed", file])?);
    for (address, _) in prefixes.iter().step_by(prefixes.len() / 100) {
        ensure!(dropped(*address)?, "{address:08x} passes");
    }
    ensure!(!dropped(0x0a00_0001)?, "10.0.0.1 is dropped");
    for round in 0..rounds(context) as u32 {
        let address = Ipv4Addr::from(0x0a00_0001 + round).to_string();
        add.0
            .push(timed(&["set", "add", "listed", &address])? * 1e3);
        ensure!(dropped(0x0a00_0001 + round)?, "{address} passes");
    }
    report.bar(
        Mark::at_most("P10", "ban of one address, command to enforced", "ms", 5.0).moonshot(2.0),
        &one,
    );
    let what = format!("set add into a live set of {count} prefixes");
    report.bar(Mark::at_most("P10", &what, "ms", 5.0).moonshot(2.0), &add);
    report.bar(
        Mark::at_most("P10", "100,000 bans in one batch", "s", 1.0).moonshot(0.3),
        &many,
    );
    let what = format!("set load of {count} prefixes");
    report.row("P10", what, "s", &load);
    Ok(())
}
