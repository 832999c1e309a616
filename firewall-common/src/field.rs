//! The match fields other than the two addresses, as one table: what the compiler, the walk, the
//! oracle, lint and the printers loop over, so that a new field is one row here.
//!
//! Every field is a number in `0..=none`, where `none` is the one value that stands for "this
//! packet has no such field" (a port of an ICMP packet, the VLAN of an untagged frame). A rule
//! that names a field never accepts `none`; a rule that does not name it accepts everything.

/// One small match field. The discriminant is the index into tables by field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Field {
    /// IP protocol number of the transport header (after IPv6 extension headers), 0 to 255.
    Proto = 0,
    /// Destination port of TCP, UDP or SCTP, 0 to 65,535.
    DestinationPort = 1,
    /// Source port of TCP, UDP or SCTP, 0 to 65,535.
    SourcePort = 2,
    /// ICMP or ICMPv6 type and code: `type << 8 | code`.
    Icmp = 3,
    /// TCP flags, the low eight bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    TcpFlags = 4,
    /// Zone number of the interface that the packet came in on, 0 to 254.
    Zone = 5,
    /// VLAN id of the outermost tag, 0 to 4,095. VID 0 (priority tag) counts as untagged.
    Vlan = 6,
    /// Differentiated services code point, 0 to 63.
    Dscp = 7,
    /// IPv4 time to live or IPv6 hop limit, 0 to 255.
    Ttl = 8,
    /// IP packet length in bytes: IPv4 total length, or 40 + IPv6 payload length (at most 65,535).
    Length = 9,
    /// 0 whole packet, 1 first fragment, 2 later fragment.
    Fragment = 10,
    /// 0 new, 1 established, 2 invalid: see [`crate::flows`].
    State = 11,
    /// The policy's live sets that the source address is in: a bit for each, see [`crate::live`].
    SourceSets = 12,
    /// Those that the destination address is in.
    DestinationSets = 13,
}

impl Field {
    /// How many fields there are.
    pub const COUNT: usize = 14;

    /// All fields, in index order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Proto,
        Self::DestinationPort,
        Self::SourcePort,
        Self::Icmp,
        Self::TcpFlags,
        Self::Zone,
        Self::Vlan,
        Self::Dscp,
        Self::Ttl,
        Self::Length,
        Self::Fragment,
        Self::State,
        Self::SourceSets,
        Self::DestinationSets,
    ];

    /// The value that stands for "the packet has no such field". Values run from 0 to this one.
    /// Fields that every packet has keep one value to spare, so that all work alike.
    #[must_use]
    #[inline(always)]
    pub const fn none(self) -> u32 {
        match self {
            Self::DestinationPort | Self::SourcePort | Self::Icmp | Self::Length => 65_536,
            Self::Vlan => 4_096,
            Self::Dscp => 64,
            Self::Fragment | Self::State => 3,
            Self::Proto | Self::TcpFlags | Self::Ttl | Self::SourceSets | Self::DestinationSets => {
                256
            }
            Self::Zone => 255,
        }
    }

    /// The field's key in a policy file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            Self::DestinationPort => "port",
            Self::SourcePort => "source_port",
            Self::Icmp => "icmp",
            Self::TcpFlags => "flags",
            Self::Zone => "zone",
            Self::Vlan => "vlan",
            Self::Dscp => "dscp",
            Self::Ttl => "ttl",
            Self::Length => "length",
            Self::Fragment => "fragment",
            Self::State => "state",
            Self::SourceSets => "from",
            Self::DestinationSets => "to",
        }
    }
}

/// Values of [`Field::State`].
pub mod state_field {
    /// The packet belongs to nothing, and may open something; or nobody can tell.
    pub const NEW: u32 = 0;
    /// The packet belongs to a connection of this host, or answers what this host has sent.
    pub const ESTABLISHED: u32 = 1;
    /// The packet belongs to nothing, and opens nothing: TCP that is no SYN, an ICMP error, an echo
    /// reply.
    pub const INVALID: u32 = 2;
}
