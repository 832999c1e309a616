//! Headers to look up, as bytes and as the keys that the oracle judges.

use anyhow::{Result, bail};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_engine::kernel::bench::{HEADER, Header};
use firewall_tests::frames::{self, Frame, Ipv4};

/// TCP.
const TCP: u32 = 6;
/// UDP.
const UDP: u32 = 17;
/// ICMP.
const ICMP: u32 = 1;
/// Protocols without ports that frames are made of.
const OTHERS: [u32; 2] = [47, 50];

/// A stream of headers.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// What each frame looks like to the classifier.
    pub(crate) keys: Vec<PacketKey>,
    /// What follows the Ethernet header.
    pub(crate) headers: Vec<Header>,
    /// Whether they are IPv6.
    pub(crate) long: bool,
}

impl Traffic {
    /// The first `count` usable ones of `keys`, made into frames. Keys that no frame can have are
    /// changed to near ones first; those that a strict parser refuses are left out.
    pub(crate) fn of(keys: impl Iterator<Item = PacketKey>, count: usize) -> Result<Self> {
        let keys: Vec<PacketKey> = keys
            .map(normal)
            .filter(|key| !is_refused(key))
            .take(count)
            .collect();
        if keys.len() < count {
            bail!("only {} of {count} headers can be sent", keys.len());
        }
        let long = keys.iter().any(|key| key.family() == Family::V6);
        let headers = keys.iter().map(header).collect();
        Ok(Self {
            keys,
            headers,
            long,
        })
    }

    /// The frames, whole.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Frame> + '_ {
        self.headers.iter().map(|header| {
            if self.long {
                frames::ethernet(0x86dd, header)
            } else {
                frames::ethernet(0x0800, &header[..48])
            }
        })
    }
}

/// The nearest key that a frame can have.
pub(crate) fn normal(mut key: PacketKey) -> PacketKey {
    let proto = key.field(Field::Proto);
    let ports = [Field::SourcePort, Field::DestinationPort];
    let proto = match proto {
        TCP | UDP | ICMP => proto,
        _ if OTHERS.contains(&proto) => proto,
        _ if key.src_lo.is_multiple_of(2) => TCP,
        _ => UDP,
    };
    key.fields[Field::Proto as usize] = proto;
    for port in ports {
        let value = &mut key.fields[port as usize];
        *value = match (proto, *value) {
            (TCP | UDP, 0) => 1,
            (TCP | UDP, value) => value.min(0xffff),
            _ => port.none(),
        };
    }
    key
}

/// Whether the addresses are ones that the parser calls malformed.
fn is_refused(key: &PacketKey) -> bool {
    match key.family() {
        Family::V4 => {
            let (first, to) = (key.src_lo >> 24, key.dst_lo >> 24);
            first == 0 || first == 127 || first >= 224 || to == 127 || key.src_lo == key.dst_lo
        }
        Family::V6 => key.src() == key.dst(),
    }
}

fn header(key: &PacketKey) -> Header {
    let port = |field| key.field(field) as u16;
    let (source, destination) = (port(Field::SourcePort), port(Field::DestinationPort));
    let proto = key.field(Field::Proto) as u8;
    let payload = match u32::from(proto) {
        TCP => frames::tcp(source, destination, 0x10, &[]),
        UDP => frames::udp(source, destination, &[0; 12]),
        ICMP => vec![8, 0, 0, 0, 0, 1, 0, 1],
        _ => vec![0; 16],
    };
    let packet = match key.family() {
        Family::V4 => Ipv4::new(
            (key.src_lo as u32).to_be_bytes(),
            (key.dst_lo as u32).to_be_bytes(),
            proto,
        )
        .packet(&payload),
        Family::V6 => frames::ipv6(
            key.src().to_be_bytes(),
            key.dst().to_be_bytes(),
            proto,
            64,
            &payload,
        ),
    };
    let mut header = [0; HEADER];
    header[..packet.len()].copy_from_slice(&packet);
    header
}
