//! P7, P9 and P12: the real `firewall-ctl`, from command to enforced; and what the kernel's verifier
//! has to do for it.

use super::Context;
use crate::alone::{compiled, load};
use crate::child::{self, MEASURE};
use crate::live::ifindex;
use crate::measure::Series;
use crate::peers::five;
use crate::prefixes::{prefixes_v4, prefixes_v6};
use crate::report::{BenchReport, Mark};
use crate::sets::{blocklist_v4, blocklist_v6};
use crate::stop;
use anyhow::{Context as _, Result, ensure};
use firewall_engine::kernel::bench::{Subject, pinned_memory};
use firewall_policy::classbench::Profile;
use firewall_policy::rule::Policy;
use firewall_tests::ctl::Ctl;
use firewall_tests::frames::{self, Frame, Ipv4};
use firewall_tests::netns::{INTERFACE, Pair};
use firewall_tests::{features, policies};
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Instant;

/// `XDP_DROP`.
const DROP: u32 = 1;
/// Rounds of whole programs: each takes long enough to be told from noise.
const ROUNDS: usize = 5;
/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;

/// P7: a text file of a million prefixes, by `load`.
pub(crate) fn p7(context: &Context, report: &mut BenchReport) -> Result<()> {
    let count = context.many_prefixes();
    let prefixes = prefixes_v4(count, 1);
    let mut list = String::new();
    for (address, length) in &prefixes {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{}/{length}", Ipv4Addr::from(*address));
    }
    let pair = Pair::new()?;
    let ctl = Ctl::new(&pair.inside)?;
    fs::write(ctl.folder().join("list.txt"), list)?;
    let policy = ctl.policy(
        "version: 1\ndefault: {in: pass}\nsets: {listed: {type: cidr, file: list.txt}}\nrules:\n  \
         - {name: listed, from: \"@listed\", action: drop}\n",
    )?;
    let program = std::env::current_exe()?;
    let wrapper = [program.to_str().context("a path in UTF-8")?, MEASURE];
    let policy = policy.to_str().context("a path in UTF-8")?;
    let [mut seconds, mut peak, mut memory] = [const { Series(Vec::new()) }; 3];
    for _ in 0..rounds(context) {
        stop::check()?;
        let output = ctl.run_under(&wrapper, &["load", "-i", INTERFACE, "-f", policy])?;
        let taken = child::taken(&output)?;
        for (address, _) in prefixes.iter().step_by(prefixes.len() / 100) {
            ensure!(drops(&pair, &frame(*address, 80))?, "{address:08x} passes");
        }
        ensure!(
            !drops(&pair, &frame(0x0a00_0001, 80))?,
            "10.0.0.1 is dropped"
        );
        seconds.0.push(taken.seconds);
        peak.0.push(taken.peak as f64 / MIB);
        memory.0.push(pinned_memory(ctl.pins())? as f64 / MIB);
        ctl.ok(&["unload", "--all"])?;
    }
    let what = |text: &str| format!("{count} prefixes from a text file: {text}");
    report.bar(
        Mark::at_most("P7", &what("command to enforced"), "s", 2.0).moonshot(0.5),
        &seconds,
    );
    report.bar(
        Mark::at_most("P7", &what("kernel memory of all maps"), "MiB", 64.0).moonshot(24.0),
        &memory,
    );
    report.bar(
        Mark::at_most("P7", &what("most memory of the command"), "MiB", 300.0),
        &peak,
    );
    Ok(())
}

/// P9: `apply` of many rules while the daemon runs.
pub(crate) fn p9(context: &Context, report: &mut BenchReport) -> Result<()> {
    let count = context.many_rules();
    let rules = context.sets.rules(Profile::Acl, count)?;
    let pair = Pair::new()?;
    let mut ctl = Ctl::new(&pair.inside)?;
    // Two policies in turn, told apart by what happens to one frame.
    let probe = frame(0xc633_6407, 9);
    let mut files = Vec::new();
    for (name, action) in [("drops.yaml", "drop"), ("passes.yaml", "pass")] {
        let path = ctl.folder().join(name);
        fs::write(&path, yaml(&rules, action)?)?;
        files.push(path.to_str().context("a path in UTF-8")?.to_owned());
    }
    let first = ctl.policy("version: 1\ndefault: {in: pass}\nrules: []\n")?;
    ctl.start(&first)?;
    let mut seconds = Series::default();
    // The first round warms up.
    for round in 0..=2 * rounds(context) {
        stop::check()?;
        let start = Instant::now();
        ctl.ok(&["apply", "-f", &files[round % 2]])?;
        let took = start.elapsed().as_secs_f64();
        ensure!(
            drops(&pair, &probe)? == (round % 2 == 0),
            "the policy is not in force when apply says so"
        );
        if round > 0 {
            seconds.0.push(took * 1e3);
        }
    }
    let what = format!("apply of {count} rules: command to enforced");
    report.bar(
        Mark::at_most("P9", &what, "ms", 500.0).moonshot(100.0),
        &seconds,
    );
    Ok(())
}

/// P12: what the verifier processes, for everything that is shipped and for large tables.
pub(crate) fn p12(context: &Context, report: &mut BenchReport) -> Result<()> {
    let many = context.many_prefixes();
    let mut policies: Vec<(String, Policy)> = policies::shipped()?;
    policies.push((features::EVERYTHING.into(), features::everything(1)?));
    let mut all = features::everything(context.many_rules())?;
    all.rules.extend(blocklist_v4(&prefixes_v4(many, 1)).rules);
    all.rules.extend(blocklist_v6(&prefixes_v6(many, 1)).rules);
    policies.push((
        format!("{}, many rules, large sets", features::EVERYTHING),
        all,
    ));
    let (mut most, mut slowest) = (0.0f64, 0.0f64);
    for (name, policy) in &policies {
        stop::check()?;
        eprintln!("  {name}");
        let mut tables = compiled(policy)?;
        // What jumbo frames add is little, and the largest program has it.
        tables.config.frags = u32::from(name.starts_with(features::EVERYTHING));
        let start = Instant::now();
        let loaded = load(policy, &tables, None)?;
        let seconds = start.elapsed().as_secs_f64();
        let processed = f64::from(loaded.verified_instructions()?);
        (most, slowest) = (most.max(processed), slowest.max(seconds));
        report.row(
            "P12",
            format!("{name}: load"),
            "ms",
            &Series(vec![seconds * 1e3]),
        );
        report.row(
            "P12",
            format!("{name}: verifier"),
            "instructions",
            &Series(vec![processed]),
        );
    }
    report.bar(
        Mark::at_most("P12", "most instructions processed", "", 500_000.0),
        &Series(vec![most]),
    );
    report.bar(
        Mark::at_most("P12", "longest load, maps filled included", "s", 1.0),
        &Series(vec![slowest]),
    );
    Ok(())
}

pub(super) fn rounds(context: &Context) -> usize {
    context.rounds.min(ROUNDS)
}

/// Whether the program on the receiving interface drops a frame.
pub(super) fn drops(pair: &Pair, frame: &Frame) -> Result<bool> {
    pair.inside.run(|| {
        let subject = Subject::attached(INTERFACE, ifindex(INTERFACE)?)?;
        Ok(subject.run(frame, 1)?.0 == DROP)
    })
}

/// A TCP packet from an address to a port.
pub(super) fn frame(source: u32, port: u16) -> Frame {
    let packet = Ipv4::new(source.to_be_bytes(), [192, 0, 2, 80], 6);
    frames::ethernet(
        0x0800,
        &packet.packet(&frames::tcp(40_000, port, 0x10, &[])),
    )
}

/// A policy file with these rules behind one that does `action` to packets for TCP port 9.
fn yaml(policy: &Policy, action: &str) -> Result<String> {
    let mut text = format!(
        "version: 1\ndefault: {{in: pass}}\nrules:\n  \
         - {{name: probe, proto: tcp, port: 9, action: {action}}}\n"
    );
    for (index, rule) in five::rules(policy)?.into_iter().enumerate() {
        let action = policy.rules[index].action;
        let matches = rule.yaml();
        let comma = if matches.is_empty() { "" } else { ", " };
        let _ = writeln!(
            text,
            "  - {{name: r{index}, {matches}{comma}action: {action}}}"
        );
    }
    Ok(text)
}
