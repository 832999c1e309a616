//! The words of the language that stand for numbers: what the reader takes, printers write, the schema
//! suggests and `firewall-import` translates into.
//!
//! May import only `firewall_common`. Invariant: within a table no word stands twice; of two words for one number the
//! first is the one that is written.

use firewall_common::abi::{essential_bit, option_bit};

/// Words and their numbers.
pub type Table = &'static [(&'static str, u32)];

/// The number of a word.
#[must_use]
pub fn number(table: Table, word: &str) -> Option<u32> {
    table
        .iter()
        .find(|(name, _)| *name == word)
        .map(|&(_, number)| number)
}

/// The first word of a number.
#[must_use]
pub fn name(table: Table, number: u32) -> Option<&'static str> {
    table
        .iter()
        .find(|&&(_, value)| value == number)
        .map(|&(name, _)| name)
}

/// Transport protocols: `proto`.
pub const PROTOCOLS: Table = &[
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("icmpv6", 58),
    ("sctp", 132),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6", 41),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("dccp", 33),
    ("udplite", 136),
    // The other names of /etc/protocols, which every program takes; but for `isis`, which is a frame.
    ("ipv6-icmp", 58),
    ("icmp6", 58),
    ("ipencap", 4),
    ("ip-in-ip", 4),
    ("ipsec-esp", 50),
    ("ipv6-crypt", 50),
    ("ipsec-ah", 51),
    ("ipv6-auth", 51),
    ("ospfigp", 89),
    ("hopopt", 0),
    ("ggp", 3),
    ("st", 5),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("skip", 57),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ax.25", 93),
    ("etherip", 97),
    ("encap", 98),
    ("ipcomp", 108),
    ("comp", 108),
    ("l2tp", 115),
    ("fc", 133),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

/// Essential groups, each its bit in the configuration: `essential`.
pub const ESSENTIAL: Table = &[
    ("arp", essential_bit::ARP),
    ("neighbour", essential_bit::NEIGHBOUR),
    ("multicast", essential_bit::MULTICAST),
    ("icmp_error", essential_bit::ICMP_ERROR),
    ("dhcp", essential_bit::DHCP),
    ("link", essential_bit::LINK),
    ("igmp", essential_bit::IGMP),
];

/// TCP flags, each its bit in the header: `flags`.
pub const FLAGS: Table = &[
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ece", 64),
    ("cwr", 128),
];

/// Options of IPv4 and extension headers of IPv6, each its bit of
/// [`firewall_common::abi::option_bit`]: `options`.
pub const OPTIONS: Table = &[
    ("any", option_bit::ANY),
    ("router-alert", option_bit::ROUTER_ALERT),
    ("source-route", option_bit::SOURCE_ROUTE),
    ("record-route", option_bit::RECORD_ROUTE),
    ("timestamp", option_bit::TIMESTAMP),
    ("hop-by-hop", option_bit::HOP_BY_HOP),
    ("destination", option_bit::DESTINATION),
    ("routing", option_bit::ROUTING),
    ("fragment", option_bit::FRAGMENT),
    ("ah", option_bit::AUTHENTICATION),
];

/// Types of ICMP: `icmp.type`.
pub const ICMP_TYPES: Table = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("source-quench", 4),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
    ("ping", 8),
    ("pong", 0),
    ("ttl-exceeded", 11),
];

/// Codes of ICMP, those of destination-unreachable: `icmp.code`.
pub const ICMP_CODES: Table = &[
    ("network-unreachable", 0),
    ("host-unreachable", 1),
    ("protocol-unreachable", 2),
    ("port-unreachable", 3),
    ("fragmentation-needed", 4),
    ("admin-prohibited", 13),
    ("net-unreachable", 0),
    ("prot-unreachable", 2),
    ("frag-needed", 4),
    ("source-route-failed", 5),
    ("network-unknown", 6),
    ("host-unknown", 7),
    ("network-prohibited", 9),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("tos-network-unreachable", 11),
    ("tos-host-unreachable", 12),
    ("communication-prohibited", 13),
    ("host-precedence-violation", 14),
    ("precedence-cutoff", 15),
];

/// Types of ICMPv6: `icmp.type`.
pub const ICMPV6_TYPES: Table = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-query", 130),
    ("mld-report", 131),
    ("mld-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbor-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("mld2-report", 143),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("mld2-listener-report", 143),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("certificate-path-solicitation", 148),
    ("certificate-path-advertisement", 149),
    ("ping", 128),
    ("pong", 129),
    ("ttl-exceeded", 3),
];

/// Codes of ICMPv6, those of destination-unreachable: `icmp.code`.
pub const ICMPV6_CODES: Table = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("address-unreachable", 3),
    ("port-unreachable", 4),
    ("communication-prohibited", 1),
    ("beyond-scope", 2),
    ("addr-unreachable", 3),
    ("policy-fail", 5),
    ("failed-policy", 5),
    ("reject-route", 6),
];

/// Differentiated services code points: `dscp`.
pub const DSCP: Table = &[
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
    ("be", 0),
    ("df", 0),
    ("lephb", 1),
    ("voice-admit", 44),
];

/// Types of frames that are not IP: EtherTypes, and below 256 the destination service access points of
/// LLC frames (IEEE 802.2): `ethertype`.
pub const ETHERTYPES: Table = &[
    ("eapol", 0x888e),
    ("slow", 0x8809),
    ("lacp", 0x8809),
    ("lldp", 0x88cc),
    ("stp", 0x42),
    ("ptp", 0x88f7),
    ("pppoe-discovery", 0x8863),
    ("pppoe-session", 0x8864),
    ("batman", 0x4305),
    ("arp", 0x0806),
    ("rarp", 0x8035),
    ("wol", 0x0842),
    ("mpls", 0x8847),
    ("mpls-multicast", 0x8848),
    ("macsec", 0x88e5),
    ("preauth", 0x88c7),
    ("cfm", 0x8902),
    ("mvrp", 0x88f5),
    ("mmrp", 0x88f6),
    ("pause", 0x8808),
    ("profinet", 0x8892),
    ("ethercat", 0x88a4),
    ("powerlink", 0x88ab),
    ("mrp", 0x88e3),
    ("homeplug-av", 0x88e1),
    ("aoe", 0x88a2),
    ("fcoe", 0x8906),
    ("fip", 0x8914),
    ("roce", 0x8915),
    ("hsr", 0x892f),
    ("trill", 0x22f3),
    ("nsh", 0x894f),
    ("ipx", 0x8137),
    ("appletalk", 0x809b),
    ("aarp", 0x80f3),
    ("loopback", 0x9000),
    ("isis", 0xfe),
    ("snap", 0xaa),
    ("netbeui", 0xf0),
];

/// A frame's type as rules and packets write it: a word, or a number in hexadecimal.
#[must_use]
pub fn ethertype(number: u32) -> String {
    match name(ETHERTYPES, number) {
        Some(word) => word.to_owned(),
        None if number < 0x100 => format!("0x{number:02x}"),
        None => format!("0x{number:04x}"),
    }
}
