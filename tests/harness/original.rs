//! Another firewall in a namespace of its own: takes the rules that were imported as they are, is
//! sent frames over virtual cables, and says which of them it let through.
//!
//! Every frame has a number of its own, in the IPv4 identification or the IPv6 flow label. A probe
//! behind all other rules (nft, priority 1000) puts the numbers of what comes by into a set, so
//! that nothing depends on who listens.

use crate::netns::{Namespace, packet_socket};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

/// The hardware address of every protected interface.
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x80];

/// A host with the original rules.
#[derive(Debug)]
pub struct Original {
    inside: Namespace,
    outside: Namespace,
}

impl Original {
    /// A host with these interfaces. Without `local` every address is its own; otherwise those
    /// are, and everything else is forwarded.
    ///
    /// # Errors
    /// What `ip`, `nft` or `sysctl` says.
    pub fn new(interfaces: &[String], local: &[String]) -> Result<Self> {
        let host = Self {
            inside: Namespace::new("orig")?,
            outside: Namespace::new("send")?,
        };
        let settings = [
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.conf.all.accept_local=1",
            "net.ipv4.conf.all.log_martians=0",
            "net.ipv6.conf.all.accept_ra=0",
            "net.ipv6.conf.default.accept_ra=0",
            "net.ipv6.conf.all.accept_redirects=0",
            "net.ipv4.conf.all.accept_redirects=0",
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
        ];
        for setting in settings {
            let (name, value) = setting.split_once('=').context("name=value")?;
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            host.inside
                .run(|| std::fs::write(&path, value))
                .with_context(|| path.clone())?;
        }
        for interface in interfaces {
            host.outside.ip(&format!(
                "link add {interface} type veth peer name {interface} address {} netns {}",
                INSIDE_MAC.map(|byte| format!("{byte:02x}")).join(":"),
                host.inside.name()
            ))?;
            for side in [&host.outside, &host.inside] {
                side.ip(&format!("link set {interface} addrgenmode none"))?;
                side.ip(&format!("link set {interface} up"))?;
            }
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter");
            host.inside.run(|| std::fs::write(&path, "0"))?;
        }
        if local.is_empty() {
            host.inside.ip("-4 route add local 0.0.0.0/0 dev lo")?;
            host.inside.ip("-6 route add local ::/0 dev lo")?;
        } else {
            host.inside.ip(&format!(
                "link add beyond type veth peer name beyond netns {}",
                host.outside.name()
            ))?;
            for side in [&host.outside, &host.inside] {
                side.ip("link set beyond up")?;
            }
            for address in local {
                let brd = if address.contains(':') {
                    "nodad"
                } else {
                    "brd +"
                };
                host.inside
                    .ip(&format!("addr add {address} {brd} dev beyond"))?;
            }
            host.inside.ip("-4 route add default dev beyond")?;
            host.inside.ip("-6 route add default dev beyond")?;
        }
        host.feed("nft", &["-f", "-"], &probe())?;
        Ok(host)
    }

    /// Runs a program inside with this text on its standard input.
    ///
    /// # Errors
    /// What the program says.
    pub fn feed(&self, program: &str, arguments: &[&str], text: &str) -> Result<()> {
        let mut child = self
            .inside
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{program} is needed"))?;
        let mut stdin = child.stdin.take().context("a pipe")?;
        stdin.write_all(text.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{program} {}: {}\n{text}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// What a program inside writes.
    ///
    /// # Errors
    /// What the program says.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.inside.command(program).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sends frames, each on an interface; the numbers of those that were let through, by family
    /// (IPv4 first).
    ///
    /// # Errors
    /// No packet socket, or `nft` fails.
    pub fn send(&self, frames: &[(String, Vec<u8>)]) -> Result<[BTreeSet<u32>; 2]> {
        self.outside.run(|| {
            let mut sockets = std::collections::BTreeMap::new();
            for (interface, frame) in frames {
                if !sockets.contains_key(interface) {
                    sockets.insert(interface, packet_socket(interface)?);
                }
                if let Some(socket) = sockets.get_mut(interface) {
                    socket
                        .send_to(frame, None)
                        .context("the frame was not taken")??;
                }
            }
            anyhow::Ok(())
        })?;
        // Frames over a virtual cable are worked on in the sender's time, or soon after.
        std::thread::sleep(crate::patience(std::time::Duration::from_millis(50)));
        Ok([self.seen("seen4")?, self.seen("seen6")?])
    }

    fn seen(&self, set: &str) -> Result<BTreeSet<u32>> {
        let text = self.ask("nft", &["-j", "list", "set", "inet", "fwt_probe", set])?;
        let document: Value = serde_json::from_str(&text)?;
        let objects = document["nftables"].as_array().context("a list")?;
        let elements = objects
            .iter()
            .filter_map(|object| object["set"]["elem"].as_array());
        let numbers = elements.flatten().map(|element| {
            let value = element["elem"]["val"].as_u64().or(element.as_u64());
            value.map(|number| number as u32).context("a number")
        });
        numbers.collect()
    }
}

/// Nothing leaves the host, so that no answer changes what comes next.
fn probe() -> String {
    let mut text = String::from(
        "table inet fwt_probe {\n\
         set seen4 { typeof ip id; flags dynamic; size 65535; }\n\
         set seen6 { typeof ip6 flowlabel; flags dynamic; size 65535; }\n\
         chain silence { type filter hook output priority -500; policy drop; }\n",
    );
    for hook in ["input", "forward"] {
        text.push_str(&format!(
            "chain {hook} {{ type filter hook {hook} priority 1000; policy accept;\n\
             add @seen4 {{ ip id }}\nadd @seen6 {{ ip6 flowlabel }}\n}}\n"
        ));
    }
    text.push_str("}\n");
    text
}
