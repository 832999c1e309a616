//! A process that holds programs for another one to measure: `firewall-bench hold` reads lines
//! `limited FILE` or `unlimited FILE` from its input, loads the policy in the file, and answers each
//! with `held` or with why not. Without limits every packet that may have an answer gets one.
//!
//! `FIREWALL_HOLD_OBJECT` names another BPF object of this tree's layout to load.
//!
//! Also built within other versions of the source tree, whose programs are measured beside these: it
//! uses nothing that they lack, and nothing of the benchmark but `age`, which each gives for itself.

use anyhow::{Context, Result};
use firewall_common::abi::InterfaceEntry;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_tests::policies::parse;
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// The word that asks for it.
const HOLD: &str = "hold";

/// The loopback interface, on which test runs take place.
const LOOPBACK: InterfaceEntry = InterfaceEntry {
    ifindex: 1,
    slot: 1,
    zone: 0,
};

/// Does it if the command line asks for it, until the input ends.
pub(crate) fn answer() -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != HOLD {
        return None;
    }
    Some(match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    })
}

fn hold() -> Result<()> {
    let mut held = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let answer = match load(&line?) {
            Ok(loaded) => {
                held.push(loaded);
                "held".to_owned()
            }
            Err(error) => format!("{error:#}").replace('\n', " "),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn load(line: &str) -> Result<Loaded> {
    let (limits, file) = line.split_once(' ').context("limits and a file")?;
    let policy = parse(&std::fs::read_to_string(file)?)?;
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    let mut tables = compile(&policy, &slots)?;
    if limits == "unlimited" {
        tables = tables.without_limits();
    }
    let rules = slots.len() as u32;
    let loaded = match std::env::var_os("FIREWALL_HOLD_OBJECT") {
        Some(object) => {
            let object = std::fs::read(object)?;
            Loaded::load_object(&object, &tables, rules, &[LOOPBACK])?
        }
        None => Loaded::load(&tables, rules, &[LOOPBACK])?,
    };
    crate::age(&loaded)?;
    Ok(loaded)
}
