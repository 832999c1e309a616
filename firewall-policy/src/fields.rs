//! The match fields of the language, one row each: the key in a rule, how its values are written and
//! read, what they mean, the words of listings and of packets as text, and where the number stands in
//! a header. Reader, printers, schema, documents, `fmt`, explanations, packets as text, diff and
//! `firewall-import` loop over the rows, so that a new field that is a number in a header is one row.
//!
//! Imports `vocabulary` and nothing above it. Invariants: every kernel field has a row; the rows stand
//! in the order in which listings and the canonical form name the fields.

use crate::vocabulary::{self, Table};
use firewall_common::field::Field;
use firewall_common::key::Family;

/// One match field.
#[derive(Debug)]
pub struct Row {
    /// The kernel's field.
    pub field: Field,
    /// Its keys in a rule. The first is the one that the program writes, the others are other words
    /// for it. A field without keys cannot be named by a rule.
    pub keys: &'static [&'static str],
    /// What the key means, for the documents and the schema: no capital letter, no full stop.
    pub meaning: &'static str,
    /// What one value is, for messages: `a number of hops`.
    pub value: &'static str,
    /// Values as a rule has them, for messages.
    pub example: &'static str,
    /// How values are written.
    pub form: Form,
    /// First and last value that a packet can have; a rule can name these.
    pub range: (u32, u32),
    /// What packets have of which nothing is said.
    pub usual: Usual,
    /// The word in front of the values in listings.
    pub word: &'static str,
    /// The headers in which the field stands as a number. Empty for what is no such number, or comes
    /// from more than one place.
    pub places: &'static [Place],
}

/// How the values of a field are written in a rule.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Numbers, ranges, and names for some of the numbers.
    Numbers(Table),
    /// Numbers, ranges, names of services, sets of ports. Only of protocols that have ports.
    Ports,
    /// `{type, code}`, one or more. Only of ICMP and ICMPv6.
    Icmp,
    /// `{set, clear}`.
    Flags,
    /// Words alone, one or more.
    Words(Table),
    /// Names of zones.
    Zones,
    /// MAC addresses, one or more.
    Macs,
    /// Addresses and sets of addresses, of which the live ones are in the small field.
    Addresses,
}

/// What packets have in a field of which nothing is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usual {
    /// This; packets as text do not mention it.
    Is(u32),
    /// That depends on the packet; for one of a choice, what is nearest to this.
    Near(u32),
}

/// Headers in which numbers stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// IPv4's.
    Ipv4,
    /// IPv6's own.
    Ipv6,
    /// TCP's.
    Tcp,
}

/// A number's place in a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The header.
    pub header: Header,
    /// Its first bit, counted from the start of the header.
    pub bit: u32,
    /// How many bits it has.
    pub bits: u32,
    /// What the header's number leaves out of the field's.
    pub less: u32,
    /// What nft calls it; empty for what it cannot look at.
    pub nft: &'static str,
}

impl Place {
    const fn of(header: Header, bit: u32, bits: u32, nft: &'static str) -> Self {
        Self {
            header,
            bit,
            bits,
            less: 0,
            nft,
        }
    }

    const fn less(mut self, bytes: u32) -> Self {
        self.less = bytes;
        self
    }
}

/// Words for [`Field::State`].
pub const STATES: Table = &[
    (
        "established",
        firewall_common::field::state_field::ESTABLISHED,
    ),
    ("new", firewall_common::field::state_field::NEW),
    ("invalid", firewall_common::field::state_field::INVALID),
    ("related", firewall_common::field::state_field::RELATED),
];

/// Words for [`Field::Fragment`].
pub const FRAGMENTS: Table = &[("whole", 0), ("first", 1), ("later", 2)];

/// What most rows have.
const NUMBER: Row = Row {
    field: Field::Proto,
    keys: &[],
    meaning: "",
    value: "a number",
    example: "a number (1) or a range (0-9)",
    form: Form::Numbers(&[]),
    range: (0, 0),
    usual: Usual::Near(0),
    word: "",
    places: &[],
};

/// The rows, in reading order.
pub static ROWS: [Row; Field::COUNT] = [
    Row {
        field: Field::Proto,
        keys: &["proto"],
        meaning: "protocol: `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, `esp`, `ah`, `gre` and more, or a \
                  number",
        value: "a protocol",
        example: "a protocol (tcp, udp, icmp) or its number",
        form: Form::Numbers(vocabulary::PROTOCOLS),
        range: (0, 255),
        ..NUMBER
    },
    Row {
        field: Field::Icmp,
        keys: &["icmp"],
        meaning: "ICMP types and codes: `{type, code}`, one of the two, or a list of them; needs \
                  `proto: icmp` or `proto: icmpv6`",
        form: Form::Icmp,
        range: (0, 65_535),
        word: "type",
        ..NUMBER
    },
    Row {
        field: Field::DestinationPort,
        keys: &["port", "to_port"],
        meaning: "destination port, also written `to_port`: numbers, ranges such as `8000-8010` or \
                  `1024-`, service names, `@sets`; needs `proto` of TCP, UDP or SCTP only",
        value: "a port",
        example: "a port (443), a range (8000-8010), a service name (https) or \"@set\"",
        form: Form::Ports,
        range: (1, 65_535),
        word: "port",
        ..NUMBER
    },
    Row {
        field: Field::SourcePort,
        keys: &["source_port"],
        meaning: "source port, written as `port`",
        value: "a port",
        example: "a port (443), a range (8000-8010), a service name (https) or \"@set\"",
        form: Form::Ports,
        range: (1, 65_535),
        usual: Usual::Near(40_000),
        word: "source port",
        ..NUMBER
    },
    Row {
        field: Field::TcpFlags,
        keys: &["flags"],
        meaning: "TCP flags: `{set: [...], clear: [...]}`, both must hold; needs `proto: tcp`",
        form: Form::Flags,
        range: (0, 255),
        // SYN.
        usual: Usual::Near(2),
        word: "flags",
        places: &[Place::of(Header::Tcp, 104, 8, "flags")],
        ..NUMBER
    },
    Row {
        field: Field::SourceSets,
        keys: &["from"],
        meaning: "source addresses: prefixes, ranges, `@sets`, or `!` and one of them",
        form: Form::Addresses,
        range: (0, 255),
        word: "from",
        ..NUMBER
    },
    Row {
        field: Field::DestinationSets,
        keys: &["to"],
        meaning: "destination addresses, written as `from`",
        form: Form::Addresses,
        range: (0, 255),
        word: "to",
        ..NUMBER
    },
    Row {
        field: Field::State,
        keys: &["state"],
        meaning: "`established`: belongs to a connection of this host, or answers one of its packets; `invalid`: belongs to no connection and opens none (TCP without SYN, ICMP errors, echo replies); `related`: UDP that answers a datagram from another port of the same host, or a question to a group; `new`: everything else; or a list of them",
        form: Form::Words(STATES),
        range: (0, 3),
        word: "state",
        ..NUMBER
    },
    Row {
        field: Field::Zone,
        keys: &["zone"],
        meaning: "the zone of the interface that the packet came in on",
        value: "a zone",
        example: "the name of a zone in `interfaces`",
        form: Form::Zones,
        range: (0, 254),
        word: "in zone",
        ..NUMBER
    },
    Row {
        field: Field::Vlan,
        keys: &["vlan"],
        meaning: "id of the outermost VLAN tag, 1 to 4095",
        value: "a VLAN id",
        example: "a VLAN id (10) or a range (10-19)",
        range: (1, 4_095),
        usual: Usual::Near(Field::Vlan.none()),
        word: "vlan",
        ..NUMBER
    },
    Row {
        field: Field::Mac,
        keys: &["mac"],
        meaning: "source MAC address, or a list of them: `02:00:00:00:00:01`; that of the last station on \
                  the way, which for other networks is the router",
        value: "a MAC address",
        example: "a MAC address (02:00:00:00:00:01)",
        form: Form::Macs,
        range: (0, 1_023),
        usual: Usual::Near(Field::Mac.none()),
        word: "mac",
        ..NUMBER
    },
    Row {
        field: Field::Dscp,
        keys: &["dscp"],
        meaning: "differentiated services code point, 0 to 63, or a name such as `ef`",
        value: "a code point",
        example: "a code point (46) or its name (ef)",
        form: Form::Numbers(vocabulary::DSCP),
        range: (0, 63),
        usual: Usual::Is(0),
        word: "dscp",
        places: &[
            Place::of(Header::Ipv4, 8, 6, "dscp"),
            Place::of(Header::Ipv6, 4, 6, "dscp"),
        ],
    },
    Row {
        field: Field::Ttl,
        keys: &["ttl"],
        meaning: "IPv4 time to live or IPv6 hop limit, 0 to 255",
        value: "a number of hops",
        example: "a number of hops (255) or a range (0-5)",
        range: (0, 255),
        usual: Usual::Near(64),
        word: "ttl",
        places: &[
            Place::of(Header::Ipv4, 64, 8, "ttl"),
            Place::of(Header::Ipv6, 56, 8, "hoplimit"),
        ],
        ..NUMBER
    },
    Row {
        field: Field::Length,
        keys: &["length"],
        meaning: "bytes of the IP packet, 0 to 65535",
        value: "a number of bytes",
        example: "a number of bytes (1500) or a range (0-64)",
        range: (0, 65_535),
        word: "length",
        places: &[
            Place::of(Header::Ipv4, 16, 16, "length"),
            // It does not count the header.
            Place::of(Header::Ipv6, 32, 16, "length").less(40),
        ],
        ..NUMBER
    },
    Row {
        field: Field::Fragment,
        keys: &["fragment"],
        meaning: "which part of a datagram it is: `whole`, `first` (with ports), `later` (without), or a \
                  list; `packet: {fragments}` decides first, and later ones come to the rules under `pass` \
                  alone",
        form: Form::Words(FRAGMENTS),
        range: (0, 2),
        word: "fragment",
        ..NUMBER
    },
];

/// How many fields are a number in a header.
pub const NUMBERS: usize = {
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        count += ROWS[at].is_number() as usize;
        at += 1;
    }
    count
};

/// The fields that are a number in a header, in reading order.
pub const NUMBER_FIELDS: [Field; NUMBERS] = {
    let mut fields = [Field::Proto; NUMBERS];
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        if ROWS[at].is_number() {
            fields[count] = ROWS[at].field;
            count += 1;
        }
        at += 1;
    }
    fields
};

/// The keys of all fields, in reading order.
pub(crate) const KEYS: [&str; KEY_COUNT] = {
    let mut keys = [""; KEY_COUNT];
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        let mut key = 0;
        while key < ROWS[at].keys.len() {
            keys[count] = ROWS[at].keys[key];
            count += 1;
            key += 1;
        }
        at += 1;
    }
    keys
};

const KEY_COUNT: usize = {
    let (mut count, mut at) = (0, 0);
    while at < ROWS.len() {
        count += ROWS[at].keys.len();
        at += 1;
    }
    count
};

/// The rows of the fields that are a number in a header.
pub fn numbers() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.is_number())
}

/// The row of a field.
#[must_use]
pub fn of(field: Field) -> &'static Row {
    // Every field has a row: a test sees to it.
    ROWS.iter()
        .find(|row| row.field == field)
        .unwrap_or(&ROWS[0])
}

/// The row with a key.
#[must_use]
pub fn by_key(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.keys.contains(&key))
}

impl Row {
    /// Whether it is a number in a header.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self.form, Form::Numbers(_)) && !self.places.is_empty()
    }

    /// Its place in the header of TCP, if it stands nowhere else.
    #[must_use]
    pub const fn is_of_tcp(&self) -> bool {
        matches!(
            self.places,
            [Place {
                header: Header::Tcp,
                ..
            }]
        )
    }

    /// Whether it stands in a header.
    #[must_use]
    pub fn is_in(&self, header: Header) -> bool {
        self.places.iter().any(|place| place.header == header)
    }

    /// Whether every packet of a family has it, be it of whatever protocol.
    #[must_use]
    pub(crate) fn is_of_all(&self, family: Family) -> bool {
        self.is_in(match family {
            Family::V4 => Header::Ipv4,
            Family::V6 => Header::Ipv6,
        })
    }

    /// Names for some of the numbers, or the words.
    #[must_use]
    pub const fn names(&self) -> Table {
        match self.form {
            Form::Numbers(names) | Form::Words(names) => names,
            _ => &[],
        }
    }

    /// What one value is called; `zones` are those of the policy.
    #[must_use]
    pub(crate) fn show(&self, value: u32, zones: &[String]) -> String {
        match self.form {
            Form::Flags => flag_words(value as u8),
            Form::Words(words) => {
                vocabulary::name(words, value).map_or(value.to_string(), Into::into)
            }
            Form::Zones => match zones.get(value as usize) {
                Some(zone) if !zone.is_empty() => zone.clone(),
                _ => "(none)".into(),
            },
            _ => value.to_string(),
        }
    }
}

/// TCP flags as `syn+ack`, or `none`.
#[must_use]
pub(crate) fn flag_words(flags: u8) -> String {
    let set: Vec<&str> = vocabulary::FLAGS
        .iter()
        .filter(|&&(_, bit)| u32::from(flags) & bit != 0)
        .map(|&(name, _)| name)
        .collect();
    if set.is_empty() {
        "none".into()
    } else {
        set.join("+")
    }
}

/// An ICMP type as a word, or as `type 42`.
#[must_use]
pub(crate) fn icmp_words(v6: bool, kind: u8) -> String {
    let table = if v6 {
        vocabulary::ICMPV6_TYPES
    } else {
        vocabulary::ICMP_TYPES
    };
    vocabulary::name(table, kind.into()).map_or(format!("type {kind}"), Into::into)
}

#[cfg(test)]
mod tests {
    use super::{Form, ROWS, Usual, of};
    use firewall_common::field::Field;

    /// What the rows say of one field agrees with what the kernel says, and with what they say of it
    /// elsewhere.
    #[test]
    fn every_kernel_field_has_one_row_that_fits_it() {
        for field in Field::ALL {
            let row = of(field);
            assert_eq!(row.field, field);
            assert_eq!(ROWS.iter().filter(|row| row.field == field).count(), 1);
            let (first, last) = row.range;
            assert!(first <= last && last < field.none(), "{field:?}: range");
            if let Some(&key) = row.keys.first() {
                assert_eq!(key, field.name());
                assert!(
                    !row.meaning.is_empty() && !row.meaning.ends_with('.'),
                    "{key}"
                );
            }
            if let Usual::Is(value) = row.usual {
                assert!(row.range.0 <= value && value <= last, "{field:?}: usual");
            }
            for place in row.places {
                let most = (1u64 << place.bits) - 1 + u64::from(place.less);
                assert!(u64::from(last) <= most, "{field:?}: {place:?} is too short");
            }
            let names = row.names();
            assert!(names.iter().all(|&(_, number)| number <= last), "{field:?}");
            assert!(
                !matches!(row.form, Form::Numbers(_))
                    || row.keys.is_empty() == row.meaning.is_empty()
            );
        }
    }
}
