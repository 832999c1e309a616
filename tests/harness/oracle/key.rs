//! A packet in the form in which the rule oracle takes it.

use super::{Packet, Part, Read};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use firewall_policy::rule::{AddrSet, Policy};
use std::net::IpAddr;

pub(super) fn of(policy: &Policy, packet: &Packet, zone: u32) -> PacketKey {
    let family = if packet.source.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut key = PacketKey::empty(family);
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (source, destination) = (number(packet.source), number(packet.destination));
    (key.src_hi, key.src_lo) = ((source >> 64) as u64, source as u64);
    (key.dst_hi, key.dst_lo) = ((destination >> 64) as u64, destination as u64);
    let mut put = |field: Field, value: u32| key.fields[field as usize] = value;
    if packet.read >= Read::Header {
        put(Field::Ttl, packet.ttl.into());
        put(Field::Dscp, packet.dscp.into());
        put(Field::Length, packet.length as u32);
    }
    if packet.read >= Read::Protocol {
        put(Field::Proto, packet.proto.into());
    }
    put(Field::Zone, zone);
    put(Field::Mac, station(policy, packet.station));
    put(Field::SourceSets, sets(policy, packet.source));
    put(Field::DestinationSets, sets(policy, packet.destination));
    let part = match packet.part {
        Part::Whole => 0,
        Part::First => 1,
        Part::Later => 2,
        Part::Unknown => 3,
    };
    put(Field::Fragment, part);
    if let Some(vlan) = packet.vlan {
        put(Field::Vlan, vlan.into());
    }
    if let Some((source, destination)) = packet.ports {
        put(Field::SourcePort, source.into());
        put(Field::DestinationPort, destination.into());
    }
    if let Some(flags) = packet.tcp_flags {
        put(Field::TcpFlags, flags.into());
    }
    if let Some((kind, code)) = packet.icmp {
        put(Field::Icmp, u32::from(kind) << 8 | u32::from(code));
    }
    key.content = contents(policy, packet);
    key
}

/// The conditions of the policy that hold of a packet, a bit for each.
fn contents(policy: &Policy, packet: &Packet) -> u16 {
    let bytes = packet.payload.as_slice();
    let is_known = packet.read == Read::All && packet.part != Part::Later;
    let payload = match packet.proto {
        6 if is_known => bytes.get(usize::from(bytes[12] / 16) * 4..),
        17 if is_known => {
            let length = usize::from(bytes[4]) * 256 + usize::from(bytes[5]);
            bytes.get(8..length.min(bytes.len()))
        }
        _ => None,
    };
    let mut found = 0;
    for (number, condition) in policy.contents.iter().enumerate() {
        let options = condition.options == 0 || condition.options & packet.options != 0;
        let is_there = condition.payload.as_ref().is_none_or(|wanted| {
            let from = wanted.offset as usize;
            payload.is_some_and(|payload| {
                wanted.bytes.iter().enumerate().all(|(at, byte)| {
                    let there = payload.get(from + at);
                    there.is_some() && (byte.is_none() || byte.as_ref() == there)
                })
            })
        });
        if options && is_there {
            found |= 1 << number;
        }
    }
    found
}

/// The number that the policy has for a station; one past all that it can have for others.
pub(super) fn station(policy: &Policy, mac: Option<[u8; 6]>) -> u32 {
    let known = |mac: [u8; 6]| policy.macs.iter().position(|known| known.bytes() == mac);
    mac.and_then(known).map_or(1_024, |number| number as u32)
}

/// The live sets that hold an address, a bit for each. Of what is in them only what the policy puts
/// there is known here.
fn sets(policy: &Policy, address: IpAddr) -> u32 {
    let holds = |set: &AddrSet| match address {
        IpAddr::V4(address) => {
            let mut ranges = set.v4.ranges().iter();
            ranges.any(|&(first, last)| (first..=last).contains(&address.to_bits()))
        }
        IpAddr::V6(address) => {
            let mut ranges = set.v6.ranges().iter();
            ranges.any(|&(first, last)| (first..=last).contains(&address.to_bits()))
        }
    };
    let sets = policy.live.iter().enumerate();
    sets.filter(|(_, set)| holds(&set.content))
        .fold(0, |mask, (bit, _)| mask | 1 << bit)
}
