//! `fragments: follow-first` by the book: every fragment that has passed is kept, and a new one is
//! held against each of them, byte by byte.
//!
//! Knows no bound on the number of datagrams: callers stay far below the product's.

use super::{Anomaly, Asked, Fragment, Packet, Part};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long a datagram is remembered.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pieces apart from each other that a datagram may come in.
const PIECES: usize = 8;

/// What is one datagram's: protocol (IPv4 alone), zone, VLAN, addresses, identification.
type Name = (Option<u8>, u32, Option<u16>, IpAddr, IpAddr, u32);

/// The datagrams whose first fragment has passed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The time of the next frame.
    pub now: Duration,
    /// What this host has asked for.
    pub asked: Asked,
    datagrams: HashMap<Name, Datagram>,
}

#[derive(Clone, Debug)]
struct Datagram {
    since: Duration,
    passed: Vec<Fragment>,
    condemned: Option<Anomaly>,
}

impl Datagram {
    /// What speaks against one more fragment.
    fn objection(&self, new: Fragment) -> Option<Anomaly> {
        // Data of a fragment but the last is whole units of 8 bytes, and so is what it rules out.
        let end = |of: &Fragment| (of.offset + of.length).next_multiple_of(8);
        for old in &self.passed {
            let overlaps = new.offset < end(old) && old.offset < end(&new);
            let behind_the_end = !old.more && end(&new) > end(old);
            let not_the_end = !new.more && (end(old) > end(&new) || !old.more);
            if overlaps || behind_the_end || not_the_end {
                return Some("frag-clash");
            }
        }
        let mut all = self.passed.clone();
        all.push(new);
        (pieces(&all).len() > PIECES).then_some("frag-scattered")
    }

    fn is_complete(&self) -> bool {
        self.passed.iter().any(|fragment| !fragment.more) && pieces(&self.passed).len() == 1
    }
}

/// Where runs of units begin that fragments which do not overlap cover.
fn pieces(fragments: &[Fragment]) -> Vec<usize> {
    let mut unit = vec![false; 8_194];
    for fragment in fragments {
        let last = (fragment.offset + fragment.length).div_ceil(8);
        unit[fragment.offset / 8 + 1..=last].fill(true);
    }
    (1..unit.len())
        .filter(|&at| unit[at] && !unit[at - 1])
        .collect()
}

impl Seen {
    /// What speaks against a fragment, where its first one decides: `passes` is what the rules say
    /// about a first one.
    pub(super) fn objection(
        &mut self,
        packet: &Packet,
        zone: u32,
        passes: bool,
    ) -> Option<Anomaly> {
        let fragment = packet.fragment?;
        let name = (
            packet.source.is_ipv4().then_some(packet.proto),
            zone,
            packet.vlan,
            packet.source,
            packet.destination,
            fragment.id,
        );
        let now = self.now;
        self.datagrams
            .retain(|_, datagram| now - datagram.since < PATIENCE);
        let Some(datagram) = self.datagrams.get_mut(&name) else {
            if packet.part == Part::Later {
                return Some("frag-orphan");
            }
            if passes {
                let datagram = Datagram {
                    since: now,
                    passed: vec![fragment],
                    condemned: None,
                };
                self.datagrams.insert(name, datagram);
            }
            return None;
        };
        if datagram.condemned.is_some() {
            return datagram.condemned;
        }
        // A second first fragment overlaps the first one.
        if let Some(objection) = datagram.objection(fragment) {
            datagram.condemned = Some(objection);
            datagram.since = now;
            return Some(objection);
        }
        datagram.passed.push(fragment);
        if datagram.is_complete() {
            self.datagrams.remove(&name);
        }
        None
    }
}
