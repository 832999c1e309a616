//! nftables and iptables: the same rules one by one, and nft's best structure for pairs of prefix
//! and port, the concatenated set.
//!
//! Each rule set ends with a counter that shows whether a frame came through.

use super::five::Five;
use super::{Missing, find, run};
use crate::live::{Cable, Contender};
use crate::traffic::Traffic;
use anyhow::{Context, Result};
use firewall_engine::kernel::bench::Bed;
use firewall_tests::netns::{INTERFACE, Namespace};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

/// Where nft's rules sit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// `table netdev`, ingress: before everything but XDP.
    Ingress,
    /// `table ip`, prerouting, priority raw.
    Prerouting,
}

impl Hook {
    fn chain(self) -> (&'static str, String) {
        match self {
            Self::Ingress => (
                "netdev",
                format!("type filter hook ingress device \"{INTERFACE}\" priority 0;"),
            ),
            Self::Prerouting => (
                "ip",
                "type filter hook prerouting priority -300;".to_owned(),
            ),
        }
    }
}

/// nft with these rules in this order, all of which drop.
pub(crate) fn nft(
    label: &str,
    object: &[u8],
    traffic: &Traffic,
    hook: Hook,
    rules: &[Five],
) -> Result<Contender> {
    let mut body = String::new();
    for rule in rules {
        // Writing to a string cannot fail.
        let _ = writeln!(body, "{} drop", rule.nft());
    }
    nft_chain(label, object, traffic, hook, "", &body)
}

/// nft with one rule that drops what a set of source prefixes and TCP ports holds.
pub(crate) fn nft_set(
    label: &str,
    object: &[u8],
    traffic: &Traffic,
    elements: &[String],
) -> Result<Contender> {
    let set = format!(
        "set pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ {} }} }}\n",
        elements.join(", ")
    );
    let rule = "ip saddr . tcp dport @pairs drop\n";
    nft_chain(label, object, traffic, Hook::Ingress, &set, rule)
}

fn nft_chain(
    label: &str,
    object: &[u8],
    traffic: &Traffic,
    hook: Hook,
    sets: &str,
    rules: &str,
) -> Result<Contender> {
    let program = find("nft", "nftables")?;
    let (family, chain) = hook.chain();
    let script = format!(
        "table {family} bench {{\n{sets}counter passed {{ }}\nchain in {{\n{chain}\n{rules}\
         counter name passed\n}}\n}}\n"
    );
    let cable = Cable::new(Bed::load(object, &traffic.headers, traffic.long, 0)?)?;
    feed(cable.inside(), &program, &["-f", "-"], &script)
        .map_err(|error| Missing(format!("nft {family} does not work here: {error:#}")))?;
    cable.take_frames()?;
    Contender::new(label, cable, Box::new(()), |cable| {
        let mut list = cable.inside().command(&program);
        let text = run(list.args(["list", "counter", family, "bench", "passed"]))?;
        number_after(&text, "packets ")
    })
}

/// iptables-legacy with these rules in the table raw, all of which drop.
pub(crate) fn iptables(
    label: &str,
    object: &[u8],
    traffic: &Traffic,
    rules: &[Five],
) -> Result<Contender> {
    let restore = find("iptables-legacy-restore", "iptables")?;
    let list = find("iptables-legacy", "iptables")?;
    let mut script = String::from("*raw\n:PREROUTING ACCEPT [0:0]\n");
    for rule in rules {
        let _ = writeln!(script, "-A PREROUTING {} -j DROP", rule.iptables());
    }
    // Without a target: counts what comes so far.
    script.push_str("-A PREROUTING\nCOMMIT\n");
    let cable = Cable::new(Bed::load(object, &traffic.headers, traffic.long, 0)?)?;
    feed(cable.inside(), &restore, &[], &script)
        .map_err(|error| Missing(format!("iptables-legacy does not work here: {error:#}")))?;
    cable.take_frames()?;
    Contender::new(label, cable, Box::new(()), |cable| {
        let mut command = cable.inside().command(&list);
        let text = run(command.args(["-t", "raw", "-L", "PREROUTING", "-v", "-x", "-n"]))?;
        let last = text.lines().last().context("no rules")?;
        number_after(last, "")
    })
}

fn number_after(text: &str, word: &str) -> Result<u64> {
    let (_, rest) = text.split_once(word).context("no counter")?;
    let number = rest.split_whitespace().next().context("no counter")?;
    number.parse().context("no counter")
}

/// Runs a program inside a namespace with `input` as its input.
fn feed(
    inside: &Namespace,
    program: &std::path::Path,
    arguments: &[&str],
    input: &str,
) -> Result<()> {
    let mut child = inside
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let fed = child
        .stdin
        .take()
        .context("no input")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .next()
            .unwrap_or_default()
    );
    Ok(fed?)
}
