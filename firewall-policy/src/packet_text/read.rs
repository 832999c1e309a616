//! From text to [`PacketText`]. Strict, as the policy reader: an unknown word is an error with its
//! place and the nearest word that is known.

use super::content::{LONGEST, OF_V4, OF_V6};
use super::{Ingress, Kind, PacketText, SOURCE_PORT};
use crate::ast::Span;
use crate::content::{self, Payload};
use crate::diag::{Diagnostics, Severity, Sink, codes, show, suggest};
use crate::fields::{self, FRAGMENTS, Row};
use crate::rule::Mac;
use crate::vocabulary;
use crate::well_known_ports;
use firewall_common::abi::option_bit;
use firewall_common::field::Field;
use firewall_common::link::LLC_CUT;
use firewall_common::parse::fragment;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// The form that help shows.
const EXAMPLE: &str = "write `tcp 203.0.113.9:5000 > 198.51.100.80:22 syn`";

/// The same for frames that are not IP.
const FRAME_EXAMPLE: &str = "write `lldp 02:00:00:00:00:01 > 01:80:c2:00:00:0e`";

/// An echo request of either family.
const PING: &str = "ping";

/// SYN: what a `tcp` without flags is taken for, a new connection.
const SYN: u8 = 2;

/// What is wrong with the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TextError {
    /// Where, in bytes of the text.
    pub at: Range<usize>,
    /// What.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Reads a packet, for a caller whose text is the whole input.
///
/// # Errors
/// One finding with the text and a caret.
pub fn read(text: &str) -> Result<PacketText, Diagnostics> {
    parse(text).map_err(|error| {
        let mut sink = Sink::new("packet", text);
        let span = Span::at(text, error.at.start, error.at.end);
        sink.error(&codes::PACKET_TEXT, span, error.message)
            .help(error.help);
        sink.finish(Severity::Error)
    })
}

/// Reads a packet.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn parse(text: &str) -> Result<PacketText, TextError> {
    let mut words = Words::of(text);
    if let Some(ethertype) = frame_type(&mut words)? {
        return frame(&mut words, ethertype);
    }
    let (proto, proto_at) = protocol(&mut words)?;
    let mut src_word = words.need("the source address")?;
    if src_word.text == "from" {
        src_word = words.need("the source address")?;
    }
    let source = endpoint(src_word)?;
    let arrow = words.need("`>` and the destination")?;
    if !matches!(arrow.text, ">" | "->" | "to") {
        return Err(arrow.error("`>` stands between source and destination", EXAMPLE));
    }
    let dst_word = words.need("the destination address")?;
    let destination = endpoint(dst_word)?;
    let (src, dst) = addresses(&source, &destination, proto);
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(dst_word.error(
            "source and destination are of different address families",
            "write both as IPv4 or both as IPv6 addresses",
        ));
    }
    let is_ping = proto_at.text == PING;
    let proto = if is_ping && dst.is_ipv6() {
        Some(58)
    } else {
        proto
    };
    let mut packet = PacketText::new(src, dst, Kind::Other(0));
    packet.from_sets.extend(source.set);
    packet.to_sets.extend(destination.set);
    let mut extras = Extras::read(&mut words, &mut packet, proto)?;
    if is_ping {
        let kind = if dst.is_ipv6() { 128 } else { 8 };
        extras.icmp.get_or_insert((kind, 0, proto_at));
    }
    packet.kind = kind(
        &packet,
        proto,
        &proto_at,
        dst_word,
        (source.port, destination.port),
        &extras,
    )?;
    if let Some(at) = extras.established.filter(|_| !packet.can_be_established()) {
        return Err(at.error(
            "such a packet is never `established`",
            "a TCP packet with ack, UDP, an echo-reply or an ICMP error can be; a syn opens a \
             connection, and so is new",
        ));
    }
    for (row, value, at) in extras.numbers {
        check(&packet, row, value, at)?;
        packet.numbers.say(row, value);
    }
    Ok(packet)
}

/// Whether a packet can have this number in its headers.
fn check(packet: &PacketText, row: &Row, value: u32, at: Word<'_>) -> Result<(), TextError> {
    if !row.places.iter().any(|place| packet.has(place.header)) {
        let word = row.word;
        return Err(at.error(
            format!("such a packet has no `{word}`"),
            format!("leave `{word}` out"),
        ));
    }
    let shortest = packet.shortest();
    if row.field == Field::Length && (value as usize) < shortest {
        return Err(at.error(
            format!("length {value} is shorter than the packet's headers"),
            format!("`length` is that of the IP packet: {shortest} to 65535 here"),
        ));
    }
    Ok(())
}

/// A word and where it stands.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    start: usize,
}

impl Word<'_> {
    fn error(&self, message: impl Into<String>, help: impl Into<String>) -> TextError {
        TextError {
            at: self.start..self.start + self.text.len(),
            message: message.into(),
            help: help.into(),
        }
    }

    /// A number of a field.
    fn number(&self, what: &str, last: u32) -> Result<u32, TextError> {
        let digits = self.text.bytes().all(|byte| byte.is_ascii_digit());
        match self.text.parse::<u32>() {
            Ok(number) if digits && number <= last => Ok(number),
            _ => Err(self.error(
                format!("`{}` is not a number for {what}", show(self.text)),
                format!("{what} is a number from 0 to {last}"),
            )),
        }
    }
}

/// The words that are left.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn next(&mut self) -> Option<Word<'t>> {
        let rest = &self.text[self.at..];
        let start = self.at + rest.len() - rest.trim_start().len();
        let word = self.text[start..].split_whitespace().next()?;
        self.at = start + word.len();
        Some(Word { text: word, start })
    }

    /// The next word, which must be there.
    fn need(&mut self, what: &str) -> Result<Word<'t>, TextError> {
        let end = self.text.trim_end().len();
        self.next().ok_or_else(|| TextError {
            at: end..end,
            message: format!("the packet ends where {what} should stand"),
            help: EXAMPLE.into(),
        })
    }
}

/// The type of a frame that is not IP, if the text is about one. (ARP has addresses of IP behind it.)
fn frame_type(words: &mut Words<'_>) -> Result<Option<u32>, TextError> {
    let start = words.at;
    let Some(word) = words.next() else {
        return Ok(None);
    };
    if word.text == "ethertype" {
        let word = words.need("an EtherType")?;
        let known = vocabulary::number(vocabulary::ETHERTYPES, word.text);
        let hex = word.text.strip_prefix("0x");
        let read = |digits: &str| u32::from_str_radix(digits, 16).ok();
        let number = known.or_else(|| hex.map_or_else(|| word.text.parse().ok(), read));
        let is_type = |number: &u32| {
            *number <= LLC_CUT || (0x600..=0xffff).contains(number) && !has_headers(*number)
        };
        return match number.filter(is_type) {
            Some(number) => Ok(Some(number)),
            None => Err(word.error(
                format!("`{}` is not the type of a frame that is not IP", show(word.text)),
                "write a word such as lldp, or a number: 0x88cc; IP packets begin with their protocol",
            )),
        };
    }
    let found = vocabulary::number(vocabulary::ETHERTYPES, word.text);
    if found.is_none() || word.text == "arp" {
        words.at = start;
        return Ok(None);
    }
    Ok(found)
}

/// Types of which the parser reads on: IP, and VLAN tags.
const fn has_headers(ethertype: u32) -> bool {
    matches!(ethertype, 0x0800 | 0x86dd | 0x8100 | 0x88a8 | 0x9100)
}

/// A frame that is not IP, behind its type: both MAC addresses or none, VLANs, and where it comes in.
fn frame(words: &mut Words<'_>, ethertype: u32) -> Result<PacketText, TextError> {
    let mut packet = PacketText::frame_of(ethertype);
    let start = words.at;
    let first = words.next();
    match first.and_then(|word| Mac::parse(word.text)) {
        None => words.at = start,
        Some(from) => {
            let arrow = words.need("`>` and the destination")?;
            if !matches!(arrow.text, ">" | "->" | "to") {
                return Err(arrow.error("`>` stands between source and destination", FRAME_EXAMPLE));
            }
            let word = words.need("the destination MAC address")?;
            let to = mac(word)?;
            packet.mac = Some(from);
            packet.kind = Kind::Frame { ethertype, to };
        }
    }
    while let Some(word) = words.next() {
        match word.text {
            "vlan" => {
                let id = words.need("a VLAN id")?.number("`vlan`", 4_095)?;
                packet.vlans.push(id as u16);
            }
            "mac" => packet.mac = Some(mac(words.need("a MAC address")?)?),
            "in" | "zone" | "on" => packet.ingress = ingress(word, words)?,
            _ => {
                return Err(word.error(
                    format!("unknown word `{}`", show(word.text)),
                    "known of a frame that is not IP: vlan, mac, in, on",
                ));
            }
        }
    }
    Ok(packet)
}

/// Where a packet comes in, behind `word`.
fn ingress(word: Word<'_>, words: &mut Words<'_>) -> Result<Ingress, TextError> {
    if word.text == "on" {
        return Ok(Ingress::Interface(words.need("an interface")?.text.into()));
    }
    let mut name = words.need("a zone")?;
    if word.text == "in" && name.text == "zone" {
        name = words.need("a zone")?;
    }
    Ok(Ingress::Zone(name.text.into()))
}

fn mac(word: Word<'_>) -> Result<Mac, TextError> {
    Mac::parse(word.text).ok_or_else(|| {
        word.error(
            format!("`{}` is not a MAC address", show(word.text)),
            "write six bytes: 02:00:00:00:00:01",
        )
    })
}

/// The protocol's number, `None` for ARP.
fn protocol<'t>(words: &mut Words<'t>) -> Result<(Option<u8>, Word<'t>), TextError> {
    let word = words.need("a protocol")?;
    if word.text == "arp" {
        return Ok((None, word));
    }
    if word.text == PING {
        return Ok((Some(1), word));
    }
    if word.text == "proto" {
        let word = words.need("a protocol number")?;
        return Ok((Some(word.number("`proto`", 255)? as u8), word));
    }
    if let Some(number) = vocabulary::number(vocabulary::PROTOCOLS, word.text) {
        return Ok((Some(number as u8), word));
    }
    let mut known: Vec<&str> = vocabulary::PROTOCOLS
        .iter()
        .map(|&(name, _)| name)
        .collect();
    known.extend(["arp", "proto", "ethertype"]);
    known.extend(vocabulary::ETHERTYPES.iter().map(|&(name, _)| name));
    let help = match suggest::nearest(word.text, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{EXAMPLE}; other protocols: `proto 47`"),
    };
    Err(word.error(format!("`{}` is not a protocol", show(word.text)), help))
}

/// One end of a packet.
struct End<'t> {
    /// `None`: any address of the set.
    address: Option<IpAddr>,
    set: Option<String>,
    port: Option<Word<'t>>,
}

/// Both addresses. That of a set is one for documentation, until the policy says which are in it
/// ([`PacketText::placed`]).
fn addresses(source: &End<'_>, destination: &End<'_>, proto: Option<u8>) -> (IpAddr, IpAddr) {
    let written = [source.address, destination.address];
    let is_v6 = match written.into_iter().flatten().next() {
        Some(address) => address.is_ipv6(),
        None => proto == Some(58),
    };
    let usual = |host: u16| -> IpAddr {
        match is_v6 {
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into(),
            false => Ipv4Addr::new(192, 0, 2, host as u8).into(),
        }
    };
    (
        source.address.unwrap_or_else(|| usual(1)),
        destination.address.unwrap_or_else(|| usual(2)),
    )
}

/// An address or a set, and the port behind it: `192.0.2.1:22`, `[2001:db8::1]:ssh`, `2001:db8::1`,
/// `@admins`, `@admins:5000`.
fn endpoint<'t>(word: Word<'t>) -> Result<End<'t>, TextError> {
    if let Some(rest) = word.text.strip_prefix('@') {
        let (name, text) = match rest.split_once(':') {
            Some((name, text)) => (name, Some(text)),
            None => (rest, None),
        };
        return Ok(End {
            address: None,
            set: Some(set_name(word, name)?),
            port: text.map(|text| Word {
                text,
                start: word.start + word.text.len() - text.len(),
            }),
        });
    }
    let (address, port) = address(word)?;
    Ok(End {
        address: Some(address),
        set: None,
        port,
    })
}

/// An address, and the port behind it.
fn address<'t>(word: Word<'t>) -> Result<(IpAddr, Option<Word<'t>>), TextError> {
    let bad = |part: &str| {
        word.error(
            format!("`{}` is not an address", show(part)),
            "write 203.0.113.9:5000 or [2001:db8::1]:443, without port 203.0.113.9 or 2001:db8::1, \
             or a set: @admins",
        )
    };
    let port = |text: &'t str, offset: usize| Word {
        text,
        start: word.start + offset,
    };
    if let Some(inner) = word.text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']').ok_or_else(|| bad(word.text))?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad(address))?;
        return match rest.strip_prefix(':') {
            Some(text) => {
                let offset = word.text.len() - text.len();
                Ok((address.into(), Some(port(text, offset))))
            }
            None if rest.is_empty() => Ok((address.into(), None)),
            None => Err(bad(word.text)),
        };
    }
    if let Ok(address) = word.text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    let (address, text) = word.text.rsplit_once(':').ok_or_else(|| bad(word.text))?;
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => Ok((v4.into(), Some(port(text, address.len() + 1)))),
        Ok(IpAddr::V6(_)) => Err(word.error(
            "an IPv6 address before a port stands in brackets",
            format!("write [{}]:{}", show(address), show(text)),
        )),
        Err(_) => Err(bad(address)),
    }
}

/// A port's number: digits, or the name of a service.
fn port(word: Word<'_>) -> Result<u16, TextError> {
    if let Some((port, _)) = well_known_ports::find(word.text) {
        return Ok(port);
    }
    let digits = !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit());
    match word.text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ => Err(word.error(
            format!("`{}` is not a port", show(word.text)),
            match suggest::nearest(word.text, well_known_ports::names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write a number from 0 to 65535, or the name of a service".into(),
            },
        )),
    }
}

/// What is said behind the addresses and cannot be put into the packet at once.
#[derive(Default)]
struct Extras<'t> {
    flags: Option<u8>,
    icmp: Option<(u8, u8, Word<'t>)>,
    numbers: Vec<(&'static Row, u32, Word<'t>)>,
    established: Option<Word<'t>>,
}

impl<'t> Extras<'t> {
    fn read(
        words: &mut Words<'t>,
        packet: &mut PacketText,
        proto: Option<u8>,
    ) -> Result<Self, TextError> {
        let mut extras = Self::default();
        while let Some(word) = words.next() {
            match word.text {
                "vlan" => {
                    let id = words.need("a VLAN id")?.number("`vlan`", 4_095)?;
                    packet.vlans.push(id as u16);
                }
                "fragment" => {
                    let word = words.need("`first` or `later`")?;
                    let known = vocabulary::number(FRAGMENTS, word.text);
                    let part = known.filter(|&part| part != fragment::WHOLE);
                    packet.fragment = part.ok_or_else(|| {
                        word.error(
                            format!("unknown fragment `{}`", show(word.text)),
                            "write `fragment first` or `fragment later`",
                        )
                    })?;
                }
                "established" => {
                    packet.established = true;
                    extras.established = Some(word);
                }
                "related" => {
                    let is_whole_udp = proto == Some(17) && packet.fragment != fragment::LATER;
                    if packet.established || !is_whole_udp {
                        return Err(word.error(
                            "such a packet is never `related`",
                            "UDP alone can be, and what is `established` is not",
                        ));
                    }
                    packet.related = true;
                }
                "from" => packet.from_sets.push(set(words)?),
                "to" => packet.to_sets.push(set(words)?),
                "options" => packet.options = Some(options(words, packet.dst.is_ipv4())?),
                "payload" => {
                    let at = words.need("bytes in hexadecimal")?;
                    packet.payload = payload(at, proto, packet.fragment)?;
                }
                "in" | "zone" | "on" => packet.ingress = ingress(word, words)?,
                "mac" => packet.mac = Some(mac(words.need("a MAC address")?)?),
                "type" | "code" => extras.icmp_part(word, words)?,
                _ => match fields::numbers().find(|row| row.word == word.text) {
                    Some(row) => extras.number(row, words)?,
                    None => extras.other(word, packet, proto)?,
                },
            }
        }
        Ok(extras)
    }

    /// A number of a header, or its name.
    fn number(&mut self, row: &'static Row, words: &mut Words<'t>) -> Result<(), TextError> {
        let word = words.need(row.value)?;
        let value = match vocabulary::number(row.names(), word.text) {
            Some(number) => number,
            None => word.number(&format!("`{}`", row.word), row.range.1)?,
        };
        self.numbers.push((row, value, word));
        Ok(())
    }

    fn icmp_part(&mut self, word: Word<'t>, words: &mut Words<'t>) -> Result<(), TextError> {
        let number = words
            .need("a number")?
            .number(&format!("`{}`", word.text), 255)? as u8;
        let (kind, code) = self.icmp.map_or((0, 0), |(kind, code, _)| (kind, code));
        self.icmp = Some(if word.text == "type" {
            (number, code, word)
        } else {
            (kind, number, word)
        });
        Ok(())
    }

    /// A flag of TCP or the name of an ICMP type.
    fn other(
        &mut self,
        word: Word<'t>,
        packet: &PacketText,
        proto: Option<u8>,
    ) -> Result<(), TextError> {
        let types = if packet.dst.is_ipv6() {
            vocabulary::ICMPV6_TYPES
        } else {
            vocabulary::ICMP_TYPES
        };
        match proto {
            Some(6) => {
                let mut bits = self.flags.unwrap_or(0);
                for part in word.text.split([',', '+']) {
                    if part == "none" {
                        continue;
                    }
                    match vocabulary::number(vocabulary::FLAGS, part) {
                        Some(bit) => bits |= bit as u8,
                        None => return Err(unknown(word, part, vocabulary::FLAGS)),
                    }
                }
                self.flags = Some(bits);
                Ok(())
            }
            Some(1 | 58) => match vocabulary::number(types, word.text) {
                Some(kind) => {
                    let code = self.icmp.map_or(0, |(_, code, _)| code);
                    self.icmp = Some((kind as u8, code, word));
                    Ok(())
                }
                None => Err(unknown(word, word.text, types)),
            },
            _ => Err(unknown(word, word.text, &[])),
        }
    }
}

/// What stands behind `options`, if that is a word of them: `router-alert`, `hop-by-hop,destination`.
fn options(words: &mut Words<'_>, is_v4: bool) -> Result<u32, TextError> {
    let start = words.at;
    let Some(word) = words.next() else {
        return Ok(option_bit::ANY);
    };
    let mut bits = option_bit::ANY;
    for part in word.text.split(',') {
        let Some(bit) = content::option(part) else {
            words.at = start;
            return Ok(option_bit::ANY);
        };
        bits |= bit;
    }
    let (fits, family) = match is_v4 {
        true => (OF_V4, "IPv4"),
        false => (OF_V6, "IPv6"),
    };
    if bits & !fits != 0 {
        return Err(word.error(
            format!("{family} has no `{}`", content::option_words(bits & !fits)),
            format!("{family} has {}", content::option_words(fits)),
        ));
    }
    Ok(bits)
}

/// Bytes behind the header of TCP or UDP.
fn payload(word: Word<'_>, proto: Option<u8>, part: u32) -> Result<Vec<u8>, TextError> {
    if !matches!(proto, Some(6 | 17)) || part == fragment::LATER {
        return Err(word.error(
            "such a packet has no payload that is looked at",
            "leave `payload` out: it follows the header of TCP or UDP",
        ));
    }
    let bytes = Payload::parse(word.text).and_then(|bytes| bytes.into_iter().collect());
    let fits = |bytes: &Vec<u8>| !bytes.is_empty() && bytes.len() <= LONGEST;
    bytes.filter(fits).ok_or_else(|| {
        word.error(
            format!("`{}` are not bytes in hexadecimal", show(word.text)),
            format!("write two digits a byte, at most {LONGEST} bytes: `payload ffffffff54`"),
        )
    })
}

/// The name of a set: `@self`.
fn set(words: &mut Words<'_>) -> Result<String, TextError> {
    let word = words.need("a set")?;
    set_name(word, word.text.strip_prefix('@').unwrap_or_default())
}

fn set_name(word: Word<'_>, name: &str) -> Result<String, TextError> {
    if !name.is_empty() {
        return Ok(name.to_owned());
    }
    Err(word.error(
        format!("`{}` is not a set", show(word.text)),
        "write `from @admins` or `to @self` behind the addresses",
    ))
}

/// An error for a word that means nothing here.
fn unknown(word: Word<'_>, part: &str, table: &[(&'static str, u32)]) -> TextError {
    let flags_or_types = table.iter().map(|&(name, _)| name);
    let known: Vec<&str> = flags_or_types.chain(super::words()).collect();
    word.error(
        format!("unknown word `{}`", show(part)),
        match suggest::nearest(part, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        },
    )
}

/// The source port of which nothing is said: of protocols whose clients or neighbours have one of their
/// own, that (RFC 2131, RFC 8415, RFC 6762).
const fn usual_source(proto: u8, destination: u16) -> u16 {
    match (proto, destination) {
        (17, 67) => 68,
        (17, 68) => 67,
        (17, 546) => 547,
        (17, 547) => 546,
        (17, 5353) => 5353,
        _ => SOURCE_PORT,
    }
}

/// A packet of a protocol that has ports.
fn with_ports(
    proto: u8,
    dst: Word<'_>,
    ports: (Option<Word<'_>>, Option<Word<'_>>),
    extras: &Extras<'_>,
) -> Result<Kind, TextError> {
    let Some(destination) = ports.1 else {
        return Err(dst.error(
            "the destination has no port",
            "write it behind a colon: 198.51.100.80:22, [2001:db8::1]:22",
        ));
    };
    let destination = port(destination)?;
    let usual = usual_source(proto, destination);
    let source = ports.0.map_or(Ok(usual), port)?;
    Ok(match proto {
        6 => Kind::Tcp {
            source,
            destination,
            flags: extras.flags.unwrap_or(SYN),
        },
        17 => Kind::Udp {
            source,
            destination,
        },
        _ => Kind::Sctp {
            source,
            destination,
        },
    })
}

fn kind(
    packet: &PacketText,
    proto: Option<u8>,
    proto_at: &Word<'_>,
    dst: Word<'_>,
    ports: (Option<Word<'_>>, Option<Word<'_>>),
    extras: &Extras<'_>,
) -> Result<Kind, TextError> {
    let v6 = packet.dst.is_ipv6();
    if let (Some((_, _, at)), false) = (extras.icmp, matches!(proto, Some(1 | 58))) {
        return Err(at.error("this is not an ICMP packet", "leave `type` and `code` out"));
    }
    let later = packet.fragment == fragment::LATER;
    let has_ports = matches!(proto, Some(6 | 17 | 132)) && !later;
    if let Some(port) = ports.0.or(ports.1).filter(|_| !has_ports) {
        return Err(port.error(
            if later {
                "a later fragment has no ports"
            } else {
                "this protocol has no ports"
            },
            "leave the port out",
        ));
    }
    let Some(proto) = proto else {
        return if v6 {
            Err(proto_at.error(
                "ARP is for IPv4",
                "write `icmpv6 ... neighbour-solicitation`",
            ))
        } else {
            Ok(Kind::Arp)
        };
    };
    if later {
        return Ok(Kind::Other(proto));
    }
    if has_ports {
        return with_ports(proto, dst, ports, extras);
    }
    // By number it is what it is, whether hosts send it or not.
    let by_number = proto_at.text.starts_with(|c: char| c.is_ascii_digit());
    match (proto, v6) {
        (1, true) | (58, false) if by_number => Ok(Kind::Other(proto)),
        (1, true) => Err(proto_at.error("ICMP does not run over IPv6", "write `icmpv6`")),
        (58, false) => Err(proto_at.error("ICMPv6 does not run over IPv4", "write `icmp`")),
        (1 | 58, _) => {
            // An echo request, unless said otherwise.
            let (kind, code) = extras
                .icmp
                .map_or((if v6 { 128 } else { 8 }, 0), |(kind, code, _)| {
                    (kind, code)
                });
            Ok(Kind::Icmp { kind, code })
        }
        _ => Ok(Kind::Other(proto)),
    }
}
