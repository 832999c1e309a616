//! From [`PacketText`] back to text, and from what the parser found to [`PacketText`].

use super::{Ingress, Kind, Numbers, PacketText, link};
use crate::content::option_words;
use crate::fields::{self, flag_words, icmp_words};
use crate::rule::Policy;
use crate::vocabulary;
use firewall_common::abi::option_bit;
use firewall_common::field::Field;
use firewall_common::flows::state_field;
use firewall_common::key::{Family, PacketKey};
use firewall_common::parse::fragment;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl PacketText {
    /// What the parser found in a packet that came in on an interface of zone `zone`, as text
    /// would say it. A field without value is left out.
    #[must_use]
    pub fn of_key(key: &PacketKey, zones: &[String]) -> Self {
        let (src, dst): (IpAddr, IpAddr) = match key.family() {
            Family::V4 => (
                Ipv4Addr::from(key.src_lo as u32).into(),
                Ipv4Addr::from(key.dst_lo as u32).into(),
            ),
            Family::V6 => (
                Ipv6Addr::from(key.src()).into(),
                Ipv6Addr::from(key.dst()).into(),
            ),
        };
        let value = |field: Field| Some(key.field(field)).filter(|&value| value < field.none());
        let proto = value(Field::Proto).unwrap_or(0) as u8;
        let ports = value(Field::SourcePort).zip(value(Field::DestinationPort));
        let kind = match (proto, ports, value(Field::Icmp)) {
            (6, Some((source, destination)), _) => Kind::Tcp {
                source: source as u16,
                destination: destination as u16,
                flags: value(Field::TcpFlags).unwrap_or(0) as u8,
            },
            (17, Some((source, destination)), _) => Kind::Udp {
                source: source as u16,
                destination: destination as u16,
            },
            (132, Some((source, destination)), _) => Kind::Sctp {
                source: source as u16,
                destination: destination as u16,
            },
            (1 | 58, _, Some(icmp)) => Kind::Icmp {
                kind: (icmp >> 8) as u8,
                code: icmp as u8,
            },
            _ => Kind::Other(proto),
        };
        let zone = value(Field::Zone).and_then(|zone| zones.get(zone as usize));
        let mut numbers = Numbers::default();
        for row in fields::numbers() {
            if let Some(value) = value(row.field) {
                numbers.say(row, value);
            }
        }
        Self {
            numbers,
            vlans: value(Field::Vlan).map(|id| id as u16).into_iter().collect(),
            fragment: value(Field::Fragment).unwrap_or(fragment::WHOLE),
            established: value(Field::State) == Some(state_field::ESTABLISHED),
            related: value(Field::State) == Some(state_field::RELATED),
            ingress: match zone {
                Some(zone) if !zone.is_empty() => Ingress::Zone(zone.clone()),
                _ => Ingress::Anywhere,
            },
            ..Self::new(src, dst, kind)
        }
    }
}

impl PacketText {
    /// As [`PacketText::of_key`], with the MAC address by its number in a policy.
    #[must_use]
    pub fn of_packet(key: &PacketKey, policy: &Policy) -> Self {
        Self {
            mac: policy.macs.get(key.field(Field::Mac) as usize).copied(),
            ..Self::of_key(key, &policy.zones)
        }
    }

    /// Protocol, addresses, ports, and what stands in the transport header.
    fn write_ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Frame { ethertype, to } = self.kind {
            let from = self.mac.unwrap_or(link::SENDER);
            return write!(f, "{} {from} > {to}", link::words(ethertype));
        }
        let proto = self.proto();
        match (
            self.kind,
            vocabulary::name(vocabulary::PROTOCOLS, proto.into()),
        ) {
            (Kind::Arp, _) => f.write_str("arp")?,
            (Kind::Other(1), _) if self.dst.is_ipv6() => f.write_str("proto 1")?,
            (Kind::Other(58), _) if self.dst.is_ipv4() => f.write_str("proto 58")?,
            (_, Some(name)) => f.write_str(name)?,
            _ => write!(f, "proto {proto}")?,
        }
        let (source, destination) = match self.kind {
            Kind::Tcp {
                source,
                destination,
                ..
            }
            | Kind::Udp {
                source,
                destination,
            }
            | Kind::Sctp {
                source,
                destination,
            } => (Some(source), Some(destination)),
            _ => (None, None),
        };
        write!(
            f,
            " {} > {}",
            endpoint(self.src, source),
            endpoint(self.dst, destination)
        )?;
        match self.kind {
            Kind::Tcp { flags, .. } => write!(f, " {}", flag_words(flags))?,
            Kind::Icmp { kind, code } => {
                write!(f, " {}", icmp_words(self.dst.is_ipv6(), kind))?;
                if code != 0 {
                    write!(f, " code {code}")?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The line that reads back as this value.
impl fmt::Display for PacketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_ends(f)?;
        match self.fragment {
            fragment::FIRST => f.write_str(" fragment first")?,
            fragment::LATER => f.write_str(" fragment later")?,
            _ => {}
        }
        if self.established {
            f.write_str(" established")?;
        }
        if self.related {
            f.write_str(" related")?;
        }
        for set in &self.from_sets {
            write!(f, " from @{set}")?;
        }
        for set in &self.to_sets {
            write!(f, " to @{set}")?;
        }
        if let Some(options) = self.options {
            f.write_str(" options")?;
            if options != option_bit::ANY {
                write!(f, " {}", option_words(options & !option_bit::ANY))?;
            }
        }
        if !self.payload.is_empty() {
            f.write_str(" payload ")?;
            for byte in &self.payload {
                write!(f, "{byte:02x}")?;
            }
        }
        for vlan in &self.vlans {
            write!(f, " vlan {vlan}")?;
        }
        for row in fields::numbers() {
            if let Some(value) = self.numbers.get(row.field) {
                write!(f, " {} {value}", row.word)?;
            }
        }
        if let Some(mac) = self
            .mac
            .filter(|_| !matches!(self.kind, Kind::Frame { .. }))
        {
            write!(f, " mac {mac}")?;
        }
        match &self.ingress {
            Ingress::Anywhere => Ok(()),
            Ingress::Zone(zone) => write!(f, " in zone {zone}"),
            Ingress::Interface(name) => write!(f, " on {name}"),
        }
    }
}

fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (_, None) => address.to_string(),
        (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
    }
}
