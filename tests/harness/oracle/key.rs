//! A packet in the form in which the rule oracle takes it.

use super::{Packet, Part};
use firewall_common::field::Field;
use firewall_common::key::{Family, PacketKey};
use std::net::IpAddr;

pub(super) fn of(packet: &Packet, zone: u32) -> PacketKey {
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
    put(Field::Proto, packet.proto.into());
    put(Field::Ttl, packet.ttl.into());
    put(Field::Dscp, packet.dscp.into());
    put(Field::Length, packet.length as u32);
    put(Field::Zone, zone);
    let part = match packet.part {
        Part::Whole => 0,
        Part::First => 1,
        Part::Later => 2,
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
    key
}
