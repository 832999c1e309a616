//! Frames that are not IP as text: `lldp`, `eapol 02:00:00:00:00:01 > 01:80:c2:00:00:03 vlan 10`,
//! `ethertype 0x88b5`; and their bytes, as those send them who speak these protocols.

use super::{Ingress, Kind, PacketText};
use crate::log::Event;
use crate::rule::{FrameKey, Mac};
use crate::vocabulary;
use firewall_common::field::Field;
use firewall_common::link::LLC_CUT;
use std::net::Ipv4Addr;

/// Where frames go of which nothing else is said: this station.
pub(super) const STATION: Mac = Mac(0x0200_0000_0002);

/// Where they come from.
pub(super) const SENDER: Mac = Mac(0x0200_0000_0001);

/// Frames are padded to so many bytes (IEEE 802.3), the check sequence not counted.
const SHORTEST: usize = 60;

/// The address to which such frames are sent: that of their group, where the standard has one
/// (IEEE 802.1X-2020 11.1.1, 802.3 annex 57A, 802.1AB 7.1, 802.1D 7.12.3, 1588 annex E, 802.1Q).
pub(super) const fn group(ethertype: u32) -> Mac {
    Mac(match ethertype {
        0x888e => 0x0180_c200_0003,
        0x8809 => 0x0180_c200_0002,
        0x88cc => 0x0180_c200_000e,
        0x42 => 0x0180_c200_0000,
        0x8808 => 0x0180_c200_0001,
        0x88f7 => 0x011b_1900_0000,
        0x88f5 => 0x0180_c200_0021,
        0x88f6 => 0x0180_c200_0020,
        0x8902 => 0x0180_c200_0030,
        0xfe => 0x0180_c200_0014,
        0x0806 | 0x8035 | 0x8863 | 0x0842 | 0x4305 => 0xffff_ffff_ffff,
        _ => STATION.0,
    })
}

impl PacketText {
    /// A frame that is not IP, with nothing said of it but its type.
    #[must_use]
    pub fn frame_of(ethertype: u32) -> Self {
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        let to = group(ethertype);
        Self::new(nobody, nobody, Kind::Frame { ethertype, to })
    }

    /// What rules look at in such a frame, and its addresses, as text would say it.
    #[must_use]
    pub fn of_frame(key: &FrameKey, (from, to): (Mac, Mac), zones: &[String]) -> Self {
        let ethertype = key.ethertype;
        let zone = zones.get(key.zone as usize).filter(|zone| !zone.is_empty());
        let is_tagged = key.vlan != Field::Vlan.none();
        Self {
            mac: Some(from),
            kind: Kind::Frame { ethertype, to },
            vlans: is_tagged.then_some(key.vlan as u16).into_iter().collect(),
            ingress: zone.map_or(Ingress::Anywhere, |zone| Ingress::Zone(zone.clone())),
            ..Self::frame_of(ethertype)
        }
    }
}

impl PacketText {
    /// What an event is about.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let key = &event.key;
        if !event.is_frame {
            return Self::of_key(key, &[]);
        }
        let seen = FrameKey {
            ethertype: key.field(Field::DestinationPort),
            vlan: key.field(Field::Vlan),
            zone: 0,
            mac: Field::Mac.none(),
        };
        Self::of_frame(&seen, (Mac(key.src_lo), Mac(key.dst_lo)), &[])
    }

    /// Source and destination as text: addresses of IP, or of a frame that is not IP its MAC addresses.
    #[must_use]
    pub fn ends(&self) -> (String, String) {
        match self.kind {
            Kind::Frame { to, .. } => (self.mac.unwrap_or(SENDER).to_string(), to.to_string()),
            _ => (self.src.to_string(), self.dst.to_string()),
        }
    }
}

/// A frame's type as the first words of a text.
pub(super) fn words(ethertype: u32) -> String {
    match vocabulary::name(vocabulary::ETHERTYPES, ethertype) {
        // With addresses of IP behind it.
        Some("arp") | None => {
            let digits = if ethertype < LLC_CUT { 2 } else { 4 };
            format!("ethertype 0x{ethertype:0digits$x}")
        }
        Some(word) => word.to_owned(),
    }
}

/// What stands behind the addresses and tags: EtherType or length, and content, padded.
pub(super) fn content(ethertype: u32, from: Mac, before: usize) -> Vec<u8> {
    let body = body(ethertype, from);
    let kind = if ethertype > LLC_CUT {
        ethertype as u16
    } else {
        body.len() as u16
    };
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(body);
    if ethertype != LLC_CUT && before + bytes.len() < SHORTEST {
        bytes.resize(SHORTEST - before, 0);
    }
    bytes
}

fn body(ethertype: u32, from: Mac) -> Vec<u8> {
    let mac = from.bytes();
    match ethertype {
        // Version 2, start, nothing in it.
        0x888e => vec![2, 1, 0, 0],
        0x8809 => lacp(mac),
        0x88cc => {
            let mut parts = vec![2, 7, 4];
            parts.extend(mac);
            parts.extend([4, 7, 3]);
            parts.extend(mac);
            // Two minutes; the end.
            parts.extend([6, 2, 0, 120, 0, 0]);
            parts
        }
        0x42 => {
            // A configuration of the root, which is the sender.
            let bridge = [&[0x80, 0], &mac[..]].concat();
            let mut parts = vec![0x42, 0x42, 3, 0, 0, 0, 0, 0];
            parts.extend(&bridge);
            parts.extend([0; 4]);
            parts.extend(&bridge);
            parts.extend([0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0]);
            parts
        }
        LLC_CUT => Vec::new(),
        // Of another service: an unnumbered information frame.
        point @ 0..=0xff => vec![point as u8, point as u8, 3],
        _ => Vec::new(),
    }
}

/// What one end of an aggregated link says of itself (IEEE 802.1AX, 6.4.2).
fn lacp(mac: [u8; 6]) -> Vec<u8> {
    let side = |kind: u8, mac: [u8; 6], state: u8| {
        let mut part = vec![kind, 20, 0xff, 0xff];
        part.extend(mac);
        part.extend([0, 1, 0, 0xff, 0, 1, state, 0, 0, 0]);
        part
    };
    let mut parts = vec![1, 1];
    parts.extend(side(1, mac, 0x07));
    parts.extend(side(2, [0; 6], 0));
    parts.extend([3, 16, 0, 0]);
    parts.resize(110, 0);
    parts
}
