//! The kernel behind the filter as the judge of what a frame is: two hosts with the same addresses
//! and the same raw sockets, one of them filtered. What arrives at a raw socket has been through the
//! whole stack (reassembly, options, extension headers), so its protocol and its ports are what the
//! kernel took the frame for, whatever a parser says.
//!
//! Nothing here uses the product's parser, nor the oracle: the policy is five lines, and judged by
//! what the sockets hand out.

mod beds;
mod frames;
mod hunt;
mod sockets;

pub use frames::Frames;
pub use hunt::{Finding, HuntOutcome, hunt};
pub use sockets::{Arrival, Sockets};

use crate::ctl::Ctl;
use crate::netns::{INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6, Pair, packet_socket};
use anyhow::{Context, Result, ensure};
use pnet_datalink::DataLinkSender;
use std::cell::RefCell;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::Stdio;

/// The only UDP port that is open.
pub const UDP: u16 = 53;

/// The only TCP ports that are open. Read as options, the first is one that a host skips.
pub const TCP: [u16; 2] = [25, 80];

/// From here nothing may come, in IPv4 and IPv6.
pub const STRANGERS: [&str; 2] = ["192.0.2.66", "2001:db8::66"];

/// Where the filter is, and who is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bed {
    /// On the interface of a host.
    Host,
    /// On a router, with the host behind it. Where the router tracks no connections, that host does.
    Router,
    /// On a port of the host's bridge.
    BridgePort,
}

/// How the filtered host is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Where the filter is.
    pub bed: Bed,
    /// Whether connections are tracked where it is: some rule of nft looks at `ct state`.
    pub conntrack: bool,
    /// Whether the program runs in the network stack, and not in the driver.
    pub generic: bool,
    /// `packet: {fragments: ...}`.
    pub fragments: &'static str,
}

impl Setting {
    /// All that are tried, one after the other.
    pub const ALL: [Self; 8] = [
        Self::new(Bed::Host, true, false, "pass"),
        Self::new(Bed::Host, false, false, "follow-first"),
        Self::new(Bed::Host, true, true, "follow-first"),
        Self::new(Bed::Host, false, true, "pass"),
        Self::new(Bed::Router, true, false, "follow-first"),
        Self::new(Bed::Router, false, true, "pass"),
        Self::new(Bed::BridgePort, true, false, "pass"),
        Self::new(Bed::BridgePort, false, true, "follow-first"),
    ];

    const fn new(bed: Bed, conntrack: bool, generic: bool, fragments: &'static str) -> Self {
        Self {
            bed,
            conntrack,
            generic,
            fragments,
        }
    }

    /// The policy: nothing is essential, so that what passes is what a rule lets in.
    fn policy(self) -> String {
        let mode = if self.generic { "generic" } else { "native" };
        format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}, mode: {mode}}}]\n\
             default: {{in: drop, essential: false}}\n\
             packet: {{fragments: {}}}\n\
             rules:\n\
             - {{name: strangers, from: [{}, \"{}\"], action: drop}}\n\
             - {{name: udp, proto: udp, port: {UDP}, action: pass}}\n\
             - {{name: tcp, proto: tcp, port: [{}, {}], action: pass}}\n\
             - {{name: ping, proto: icmp, icmp: {{type: echo-request}}, action: pass}}\n\
             - {{name: ping6, proto: icmpv6, icmp: {{type: echo-request}}, action: pass}}\n",
            self.fragments, STRANGERS[0], STRANGERS[1], TCP[0], TCP[1]
        )
    }
}

/// A host, the other end of its cable, and what listens.
pub struct Host {
    /// Both ends.
    pub pair: Pair,
    /// What listens inside, or behind it.
    pub sockets: Sockets,
    /// The host behind a router.
    _behind: Option<Namespace>,
    sender: RefCell<Box<dyn DataLinkSender>>,
}

impl Host {
    /// A host without a filter.
    ///
    /// # Errors
    /// What `ip`, `nft` or the kernel says.
    pub fn new(setting: Setting) -> Result<Self> {
        let pair = Pair::new()?;
        let behind = match setting.bed {
            Bed::Host => None,
            Bed::Router => Some(beds::route(&pair.inside)?),
            Bed::BridgePort => {
                beds::bridge(&pair.inside)?;
                None
            }
        };
        let host = behind.as_ref().unwrap_or(&pair.inside);
        // The addresses that the generators send to, and a way back to wherever they send from.
        for address in beds::ADDRESSES {
            host.ip(&format!("addr add {address} dev lo"))?;
        }
        for by in [IpAddr::from(OUTSIDE_V4), OUTSIDE_V6.into()] {
            pair.inside.ip(&format!("route add default via {by}"))?;
        }
        if setting.conntrack {
            track(&pair.inside)?;
        } else if let Some(behind) = &behind {
            track(behind)?;
        }
        let sockets = host.run(Sockets::open)?;
        let sender = RefCell::new(pair.outside.run(|| packet_socket(INTERFACE))?);
        Ok(Self {
            pair,
            sockets,
            _behind: behind,
            sender,
        })
    }

    /// Puts the filter in force.
    ///
    /// # Errors
    /// What `firewall-ctl load` says.
    pub fn filter(&self, setting: Setting) -> Result<Ctl<'_>> {
        let ctl = Ctl::new(&self.pair.inside)?;
        let path = ctl.policy(&setting.policy())?;
        let path = path.to_str().context("a path in UTF-8")?;
        ctl.ok(&["load", "-i", INTERFACE, "-f", path])?;
        Ok(ctl)
    }

    /// Sends frames from outside, and returns what has arrived.
    ///
    /// # Errors
    /// A frame that the cable does not take.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<Vec<Arrival>> {
        let mut sender = self.sender.borrow_mut();
        for frame in frames {
            sender
                .send_to(frame, None)
                .context("the frame was not taken")??;
        }
        self.sockets.arrivals()
    }
}

/// Tracks connections, with times so short that the table never fills.
fn track(host: &Namespace) -> Result<()> {
    let mut nft = host
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut text = nft.stdin.take().context("a pipe")?;
    text.write_all(
        b"table inet judge {\n chain in {\n  type filter hook input priority 0; policy accept;\n\
          ct state established counter\n }\n}\n",
    )?;
    drop(text);
    ensure!(nft.wait()?.success(), "nft does not take the rules");
    let short = "cd /proc/sys/net/netfilter && for f in nf_conntrack_*timeout*; do echo 1 > $f \
                 || true; done";
    let status = host
        .command("sh")
        .args(["-c", short])
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "the times of connections cannot be set");
    Ok(())
}
