//! IPv4 (RFC 791, RFC 1122, RFC 1858, RFC 3128) and IPv6 with its extension headers (RFC 8200,
//! RFC 2675, RFC 4302, RFC 5095, RFC 5722, RFC 6946, RFC 7112).

use super::{Anomaly, Fragment, Knobs, Packet, Part, Read, be16};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The packet that `bytes` begin with; behind it there may be padding.
pub(super) fn v4(bytes: &[u8], knobs: &Knobs) -> Result<Packet, Anomaly> {
    if bytes.len() < 20 {
        return Err("truncated");
    }
    if bytes[0] / 16 != 4 {
        return Err("bad-version");
    }
    let source = Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]);
    let destination = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
    let mut packet = Packet::between(source.into(), destination.into());
    let header_length = usize::from(bytes[0] % 16) * 4;
    if header_length < 20 {
        return packet.ends("bad-header-len", knobs);
    }
    let length = usize::from(be16(bytes, 2));
    if length < header_length {
        return packet.ends("bad-length", knobs);
    }
    if length > bytes.len() {
        return packet.ends("truncated", knobs);
    }
    packet.payload = bytes[header_length..length].to_vec();
    packet.read = Read::Protocol;
    packet.proto = bytes[9];
    packet.ttl = bytes[8];
    packet.dscp = bytes[1] / 4;
    packet.length = length;

    if header_length > 20 {
        packet.options = named(&bytes[20..header_length]);
        match options(&bytes[20..header_length]) {
            Ok(found) => {
                packet.alert =
                    !found.is_empty() && found.iter().all(|option| *option == [148, 4, 0, 0]);
            }
            Err(anomaly) => packet.suffers(anomaly, knobs)?,
        }
        // IGMP, RSVP.
        let is_expected = packet.alert && [2, 46].contains(&bytes[9]);
        if !knobs.options_pass && !is_expected {
            return Err("ip-options");
        }
    }
    let reserved_source = source.is_loopback()
        || source.is_multicast()
        || source.octets()[0] >= 240
        || (source.octets()[0] == 0 && !source.is_unspecified());
    if reserved_source || destination.is_loopback() || source == destination {
        packet.suffers("bogon", knobs)?;
    }

    let flags = be16(bytes, 6);
    let more = flags & 0x2000 != 0;
    let offset = usize::from(flags & 0x1fff) * 8;
    let carried = packet.payload.len();
    packet.part = part(offset, more);
    if packet.part != Part::Whole {
        // Total length after reassembly: options need not be in every fragment.
        let whole = 20 + offset + carried;
        if let Some(anomaly) = objection(packet.proto, offset, more, carried, whole) {
            packet.suffers(anomaly, knobs)?;
        }
        packet.fragment = Some(Fragment {
            id: be16(bytes, 4).into(),
            offset,
            length: carried,
            more,
        });
    }
    if packet.part == Part::Later && !knobs.fragments_pass {
        return Err("fragment");
    }
    Ok(packet)
}

/// Options must fill their place one by one, and must not say where the packet goes. Returns those
/// that say anything.
fn options(options: &[u8]) -> Result<Vec<&[u8]>, Anomaly> {
    match *options {
        // The end, or the end-of-list option, behind which nothing counts.
        [] | [0, ..] => Ok(Vec::new()),
        [1, ref rest @ ..] => self::options(rest),
        [131 | 137, ..] => Err("source-route"),
        [_, length, ..] if length >= 2 && usize::from(length) <= options.len() => {
            let (option, rest) = options.split_at(usize::from(length));
            let mut found = self::options(rest)?;
            found.push(option);
            Ok(found)
        }
        _ => Err("bad-header-len"),
    }
}

/// Which options there are, up to one that is not in order, or says where the packet goes.
fn named(options: &[u8]) -> u32 {
    const ANY: u32 = 1;
    let (found, rest) = match *options {
        [1, ref rest @ ..] => (0, rest),
        [131 | 137, ..] => (4, &[][..]),
        [kind, length, ..] if kind != 0 && length >= 2 && usize::from(length) <= options.len() => {
            let (option, rest) = options.split_at(usize::from(length));
            let found = match (option[0], option == [148, 4, 0, 0]) {
                (_, true) => 2,
                (7, _) => 8,
                (68, _) => 16,
                _ => 0,
            };
            (found, rest)
        }
        _ => return ANY,
    };
    found | named(rest) | ANY
}

/// Which part of a datagram it is.
const fn part(offset: usize, more: bool) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}

/// Why no datagram can have a fragment like this. `whole` is what the datagram's length field would
/// have to hold.
fn objection(
    proto: u8,
    offset: usize,
    more: bool,
    payload: usize,
    whole: usize,
) -> Option<Anomaly> {
    if payload == 0 || (more && !payload.is_multiple_of(8)) {
        return Some("bad-length");
    }
    if whole > 65_535 {
        return Some("frag-oversize");
    }
    // RFC 3128: it would write over the flags of the TCP header in the first one.
    (offset == 8 && proto == 6).then_some("frag-overlap")
}

/// The packet that `bytes` begin with; behind it there may be padding.
pub(super) fn v6(bytes: &[u8], knobs: &Knobs) -> Result<Packet, Anomaly> {
    if bytes.len() < 40 {
        return Err("truncated");
    }
    if bytes[0] / 16 != 6 {
        return Err("bad-version");
    }
    let address = |at: usize| {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().expect("16 bytes");
        Ipv6Addr::from(octets)
    };
    let (source, destination) = (address(8), address(24));
    let mut packet = Packet::between(source.into(), destination.into());
    let payload_length = usize::from(be16(bytes, 4));
    let next = bytes[6];
    if payload_length == 0 && next != 59 {
        return packet.ends("jumbogram", knobs);
    }
    if 40 + payload_length > bytes.len() {
        return packet.ends("truncated", knobs);
    }
    packet.ttl = bytes[7];
    // Version, traffic class and flow label: 4, 8 and 20 bits. The class begins with the DSCP.
    packet.dscp = (be16(bytes, 0) >> 6 & 63) as u8;
    packet.length = (40 + payload_length).min(65_535);
    let body = &bytes[40..40 + payload_length];
    // Padding of two bytes, as one option or as two, before or behind the alert.
    packet.alert = next == 0
        && matches!(
            body,
            [58, 0, 5, 2, 0, 0, 0 | 1, 0, ..] | [58, 0, 0 | 1, 0, 5, 2, 0, 0, ..]
        );
    let chain = Chain {
        body,
        count: 0,
        part: None,
        fragment: None,
        hides: false,
        options: 0,
        anomaly: None,
    }
    .follow(next, body, knobs)?;
    packet.anomaly = chain.anomaly;
    packet.options = chain.options;
    packet.part = chain.part;
    packet.has_fragment_header = chain.has_fragment_header;
    packet.fragment = chain.fragment;
    match chain.rest {
        None => packet.read = Read::Header,
        Some((proto, payload)) => {
            packet.read = Read::Protocol;
            packet.proto = proto;
            packet.payload = payload.to_vec();
        }
    }
    if packet.part == Part::Later && !knobs.fragments_pass {
        return Err("fragment");
    }

    let never = |address: Ipv6Addr| address.is_loopback() || address.to_ipv4_mapped().is_some();
    if source.is_multicast() || never(source) || never(destination) || source == destination {
        packet.suffers("bogon", knobs)?;
    }
    Ok(packet)
}

/// A chain of extension headers on the way.
#[derive(Clone, Copy)]
struct Chain<'a> {
    /// All that follows the fixed header.
    body: &'a [u8],
    /// Extension headers so far.
    count: usize,
    /// What the fragment header said, if there was one.
    part: Option<Part>,
    fragment: Option<Fragment>,
    /// Whether a fragment header is hidden by what stands in front of it: a kernel that puts fragments
    /// together before it looks at headers gets lost there. All but one hop-by-hop header hides.
    hides: bool,
    /// As [`Packet::options`].
    options: u32,
    /// The first thing that is wrong with it, if rules judge it all the same.
    anomaly: Option<Anomaly>,
}

/// What is behind a chain of extension headers.
struct Payload<'a> {
    /// Protocol and bytes, if the chain could be followed so far.
    rest: Option<(u8, &'a [u8])>,
    part: Part,
    has_fragment_header: bool,
    fragment: Option<Fragment>,
    options: u32,
    anomaly: Option<Anomaly>,
}

impl<'a> Chain<'a> {
    fn suffers(&mut self, anomaly: Anomaly, knobs: &Knobs) -> Result<(), Anomaly> {
        if !knobs.malformed_judged {
            return Err(anomaly);
        }
        self.anomaly.get_or_insert(anomaly);
        Ok(())
    }

    /// The end, with what is behind it.
    fn payload(self, rest: Option<(u8, &'a [u8])>) -> Payload<'a> {
        let unseen = if rest.is_some() {
            Part::Whole
        } else {
            Part::Unknown
        };
        Payload {
            rest,
            part: self.part.unwrap_or(unseen),
            has_fragment_header: self.part.is_some(),
            fragment: self.fragment,
            options: self.options,
            anomaly: self.anomaly,
        }
    }

    /// Follows the chain from the header `rest` begins with, which is of kind `kind`.
    fn follow(mut self, kind: u8, rest: &'a [u8], knobs: &Knobs) -> Result<Payload<'a>, Anomaly> {
        let length = match (kind, rest) {
            (0 | 43 | 60, [_, units, ..]) => 8 + 8 * usize::from(*units),
            (51, [_, units, ..]) => 8 + 4 * usize::from(*units),
            (0 | 43 | 44 | 51 | 60, _) => 8,
            _ => return Ok(self.payload(Some((kind, rest)))),
        };
        if self.count == knobs.ipv6_ext_max {
            return Err("ext-chain");
        }
        if rest.len() < 8 || rest.len() < length {
            // A chain that does not end in the first fragment is cut on purpose (RFC 7112).
            let cut = match self.part {
                None => "truncated",
                Some(_) => "frag-tiny",
            };
            self.suffers(cut, knobs)?;
            return Ok(self.payload(None));
        }
        let (header, behind) = rest.split_at(length);
        let mut chain = Self {
            count: self.count + 1,
            hides: self.hides || kind != 0 || self.count > 0,
            ..self
        };
        chain.options |= 1 | match kind {
            0 => 32,
            43 => {
                128 | if header[2] == 0 || header[3] > 0 {
                    4
                } else {
                    0
                }
            }
            44 => 256,
            51 => 512,
            _ => 64,
        };
        match kind {
            0 if self.count > 0 => chain.suffers("ext-order", knobs)?,
            // Somebody else is to have it next; type 0 is abolished (RFC 5095).
            43 if header[2] == 0 || header[3] > 0 => chain.suffers("source-route", knobs)?,
            44 if self.hides => return Err("frag-hidden"),
            44 => {
                let offset = usize::from(be16(header, 2) / 8 * 8);
                let more = header[3] % 2 == 1;
                let part = part(offset, more);
                chain.part = Some(part);
                if part != Part::Whole {
                    // Payload length after reassembly: the headers in front, and the data up to here.
                    let before = self.body.len() - rest.len();
                    let whole = before + offset + behind.len();
                    if let Some(anomaly) = objection(header[0], offset, more, behind.len(), whole) {
                        chain.suffers(anomaly, knobs)?;
                    }
                    chain.fragment = Some(Fragment {
                        id: u32::from(be16(header, 4)) << 16 | u32::from(be16(header, 6)),
                        offset,
                        length: behind.len(),
                        more,
                    });
                }
                if part == Part::Later {
                    return Ok(chain.payload(Some((header[0], behind))));
                }
            }
            _ => {}
        }
        chain.follow(header[0], behind, knobs)
    }
}
