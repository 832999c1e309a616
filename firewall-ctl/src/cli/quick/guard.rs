//! Whether a change would keep out the person who makes it: the connection that SSH says this
//! command came over, opened anew, before and after. May not change anything.

use super::super::context::Context;
use super::super::policy;
use crate::api::report::PolicyReport;
use crate::engine::Compiled;
use crate::failure::{Exit, Failure};
use crate::policy_file::{PolicyFile, folder_of};
use firewall_common::verdict::Verdict;
use firewall_policy::explain::{explain, zone_of};
use firewall_policy::host::memory_of;
use firewall_policy::packet_text;
use std::net::IpAddr;

/// Refuses `text` if it takes away the way in that the policy in force gives.
pub(super) fn check(before: &PolicyReport, text: &str, context: &Context) -> Result<(), Failure> {
    let Some(packet) = connection().and_then(|connection| opening(&connection)) else {
        return Ok(());
    };
    let compile = |text: &str| {
        let file = PolicyFile {
            name: before.policy.clone(),
            base: folder_of(&before.policy, text),
            text: text.to_owned(),
        };
        policy::compile_text(file, context)
    };
    // What cannot be judged here, such as a list that only the daemon may read, it judges.
    let (Ok(old), Ok(new)) = (compile(&before.text), compile(text)) else {
        return Ok(());
    };
    let lost = |zone: &String| passes(&old, &packet, zone) && !passes(&new, &packet, zone);
    if new.policy.zones.iter().any(lost) {
        return Err(Failure::new(
            Exit::Refused,
            format!("this would keep out the connection that you work over ({packet})"),
        )
        .help("allow your address first, or add --i-know if there is another way in")
        .outcome("nothing changed"));
    }
    Ok(())
}

/// `$SSH_CONNECTION`: `sudo` takes it away, so it is looked for in the environment of the processes
/// that this one descends from, too.
fn connection() -> Option<String> {
    const NAME: &str = "SSH_CONNECTION";
    const MOST: usize = 32;
    if let Ok(own) = std::env::var(NAME) {
        return Some(own);
    }
    let mut process = std::process::id();
    for _ in 0..MOST {
        process = parent(process).filter(|&parent| parent > 1)?;
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let found = environment.split(|&byte| byte == 0).find_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            pair.strip_prefix(NAME)?.strip_prefix('=')
        });
        if let Some(connection) = found {
            return Some(connection.to_owned());
        }
    }
    None
}

/// The process that another one was started from.
fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything; state and parent follow it.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The first packet of the connection in `$SSH_CONNECTION`, as text.
fn opening(connection: &str) -> Option<String> {
    let mut words = connection.split_ascii_whitespace();
    let mut end = || {
        let address = words.next()?;
        let address = address.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        let port: u16 = words.next()?.parse().ok()?;
        Some(match address.to_canonical() {
            IpAddr::V4(address) => format!("{address}:{port}"),
            IpAddr::V6(address) => format!("[{address}]:{port}"),
        })
    };
    let (from, to) = (end()?, end()?);
    Some(format!("tcp {from} > {to} syn"))
}

/// Whether a packet that comes in from a zone passes.
fn passes(compiled: &Compiled, packet: &str, zone: &str) -> bool {
    let Compiled { policy, tables, .. } = compiled;
    let mut text = packet.to_owned();
    if policy.live.iter().any(|set| set.name == "self") {
        text.push_str(" to @self");
    }
    if !zone.is_empty() {
        text.push_str(&format!(" in zone {zone}"));
    }
    let Ok(packet) = packet_text::parse(&text) else {
        return false;
    };
    let (Ok(zone), Ok(earlier)) = (zone_of(policy, &packet.ingress), packet.earlier(policy)) else {
        return false;
    };
    let memory = memory_of(tables, &earlier);
    let judged = explain(policy, tables, &memory, &packet.frame(), zone, 0);
    judged.outcome.verdict == Verdict::PASS
}

#[cfg(test)]
mod tests {
    use super::opening;

    #[test]
    fn the_connection_as_ssh_names_it() {
        let text = |connection: &str| opening(connection).unwrap_or_default();
        assert_eq!(
            text("203.0.113.9 50000 198.51.100.1 22"),
            "tcp 203.0.113.9:50000 > 198.51.100.1:22 syn"
        );
        assert_eq!(
            text("::ffff:203.0.113.9 50000 ::ffff:198.51.100.1 22"),
            "tcp 203.0.113.9:50000 > 198.51.100.1:22 syn"
        );
        assert_eq!(
            text("fe80::1%eth0 50000 fe80::2%eth0 2222"),
            "tcp [fe80::1]:50000 > [fe80::2]:2222 syn"
        );
        assert_eq!(text("203.0.113.9"), "");
    }
}
