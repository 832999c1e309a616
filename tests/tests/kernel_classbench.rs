//! Filter sets like those of real networks: oracle, host and loaded program name the same rule for
//! every header. The small ClassBench sets in `firewall-policy/tests/data`, larger ones from a
//! seed, and one of them for IPv6.
//!
//! `FIREWALL_CLASSBENCH=DIR` adds all sets `*.rules` and `*.rules.gz` of a folder.

use anyhow::{Context, Result, ensure};
use firewall_common::key::PacketKey;
use firewall_policy::classbench::{Profile, generate, headers, in_v6, parse};
use firewall_policy::rule::Policy;
use firewall_policy::{host, oracle};
use firewall_tests::frames::Frame;
use firewall_tests::keyed;
use firewall_tests::trial::Trial;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Headers that are looked up as they are, and frames that are sent, for each set.
const HEADERS: usize = 65_536;

/// `wanted` frames with headers of the set.
fn frames(policy: &Policy, wanted: usize) -> Vec<(Frame, PacketKey)> {
    let mut frames = Vec::with_capacity(wanted);
    // Not every header can be in a frame: nothing comes from 127.0.0.1.
    for seed in 1.. {
        let left = wanted - frames.len();
        if left == 0 {
            break;
        }
        let mut keys = headers(policy, wanted, seed);
        // Of every four, one comes from elsewhere.
        for i in (0..keys.len()).step_by(4) {
            let other = keys[keys.len() - 1 - i];
            (keys[i].src_hi, keys[i].src_lo) = (other.src_hi, other.src_lo);
        }
        frames.extend(keys.iter().filter_map(keyed::frame).take(left));
    }
    frames
}

fn agree(name: &str, policy: &Policy) -> Result<()> {
    let tables = Trial::compile(policy)?;
    // The headers themselves, bogus addresses and ports included, which no frame could bring.
    let keys = headers(policy, HEADERS, 0);
    for (key, answer) in keys.iter().zip(oracle::evaluate_all(policy, &keys)) {
        let slot = host::lookup(&tables, key).hit.map(|hit| hit.slot as usize);
        let expected = answer.decided.map(|rule| policy.rules.len() - 1 - rule);
        ensure!(
            slot == expected,
            "{name}: {key:?}: {slot:?}, not {expected:?}"
        );
    }
    let frames = frames(policy, HEADERS);
    let decided = Trial::load(policy, tables, 0)
        .and_then(|mut trial| trial.run(&frames))
        .with_context(|| name.to_owned())?;
    println!(
        "{name}: {} rules, {} headers and {} frames ({decided} decided by a rule), no disagreement",
        policy.rules.len(),
        keys.len(),
        frames.len()
    );
    ensure!(decided * 2 > HEADERS, "{name}: hardly a rule decides");
    Ok(())
}

/// All sets of a folder, smallest first.
fn sets(folder: &Path) -> Result<Vec<(String, Policy)>> {
    let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(|entry| {
            Some((
                entry.as_ref().ok()?.metadata().ok()?.len(),
                entry.ok()?.path(),
            ))
        })
        .filter(|(_, path)| {
            let name = path.to_string_lossy();
            name.ends_with(".rules") || name.ends_with(".rules.gz")
        })
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no filter set in {}", folder.display());
    files
        .into_iter()
        .map(|(_, path)| {
            let text = if path.extension().is_some_and(|extension| extension == "gz") {
                let output = Command::new("gzip").arg("-dc").arg(&path).output()?;
                ensure!(output.status.success(), "gzip -dc {}", path.display());
                String::from_utf8(output.stdout)?
            } else {
                std::fs::read_to_string(&path)?
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let policy = parse(&text).with_context(|| format!("{name}"))?;
            Ok((name.into_owned(), policy))
        })
        .collect()
}

#[test]
#[ignore = "needs root"]
fn small_classbench_sets() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firewall-policy/tests/data");
    for (name, policy) in sets(&folder)? {
        agree(&name, &policy)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn sets_of_a_folder() -> Result<()> {
    let Some(folder) = std::env::var_os("FIREWALL_CLASSBENCH") else {
        println!("FIREWALL_CLASSBENCH names no folder");
        return Ok(());
    };
    for (name, policy) in sets(Path::new(&folder))? {
        agree(&name, &policy)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn large_sets_from_a_seed() -> Result<()> {
    for rules in [10_000, 100_000] {
        for profile in Profile::ALL {
            let name = format!("{} from a seed", profile.name());
            agree(&name, &generate(7, profile, rules))?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn sets_for_ipv6() -> Result<()> {
    for (rules, profile, below) in [
        (1_000, Profile::Acl, 0),
        (10_000, Profile::Fw, 48),
        (10_000, Profile::Ipc, 64),
        (100_000, Profile::Acl, 48),
    ] {
        let name = format!("{} for IPv6, {below} bits below", profile.name());
        agree(&name, &in_v6(&generate(7, profile, rules), below))?;
    }
    Ok(())
}
