//! The match fields other than the two addresses, as one table: what the compiler, the walk, the
//! oracle, lint and diff loop over, so that a new field is one row here. How the policy language
//! writes a field is a row of `firewall-policy/src/fields.rs`.
//!
//! Every field is a number in `0..=none`, where `none` is the one value that stands for "this
//! packet has no such field" (a port of an ICMP packet, the VLAN of an untagged frame). A rule
//! that names a field never accepts `none`; a rule that does not name it accepts everything.

/// The table, handed to the macro `$then`: who asks for it makes code of each row.
///
/// A row: name, index, key in a policy file, the value that stands for "the packet has no such
/// field", and whether a datagram says what its answer will have there (`predicted`), or only the
/// answer itself does (`seen`). The rows stand in the order in which the walk takes the fields. A lane
/// is a run of neighbours: the fields with few classes stand where they can join either port.
macro_rules! field_table {
    ($then:ident) => {
        $then! {
            /// Source port of TCP, UDP or SCTP, 0 to 65,535.
            SourcePort(2, "source_port", 65_536, predicted);
            /// IP protocol number of the transport header (after IPv6 extension headers), 0 to 255.
            Proto(0, "proto", 256, predicted);
            /// Destination port of TCP, UDP or SCTP, 0 to 65,535.
            DestinationPort(1, "port", 65_536, predicted);
            /// ICMP or ICMPv6 type and code: `type << 8 | code`.
            Icmp(3, "icmp", 65_536, predicted);
            /// TCP flags, the low eight bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64,
            /// CWR 128.
            TcpFlags(4, "flags", 256, predicted);
            /// 0 new, 1 established, 2 invalid, 3 related: see [`crate::flows`].
            State(11, "state", 4, predicted);
            /// The policy's live sets that the source address is in: a bit for each, see
            /// [`crate::live`].
            SourceSets(12, "from", 256, predicted);
            /// Those that the destination address is in.
            DestinationSets(13, "to", 256, predicted);
            /// Zone number of the interface that the packet came in on, 0 to 254.
            Zone(5, "zone", 255, seen);
            /// 0 whole packet, 1 first fragment, 2 later fragment.
            Fragment(10, "fragment", 3, seen);
            /// VLAN id of the outermost tag, 0 to 4,095. VID 0 (priority tag) counts as untagged.
            Vlan(6, "vlan", 4_096, seen);
            /// The number that the policy has given to the source MAC address, 0 to 1,023.
            Mac(14, "mac", 1_024, seen);
            /// Differentiated services code point, 0 to 63.
            Dscp(7, "dscp", 64, seen);
            /// IPv4 time to live or IPv6 hop limit, 0 to 255.
            Ttl(8, "ttl", 256, seen);
            /// IP packet length in bytes: IPv4 total length, or 40 + IPv6 payload length (at most
            /// 65,535).
            Length(9, "length", 65_536, seen);
        }
    };
}
pub(crate) use field_table;

/// The fields as a type.
macro_rules! fields {
    ($(
        $(#[$doc:meta])*
        $name:ident($index:literal, $key:literal, $none:literal, $answer:ident);
    )*) => {
        /// One small match field. The discriminant is the index into tables by field.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum Field {
            $($(#[$doc])* $name = $index),*
        }

        impl Field {
            /// All fields, in the order in which the walk takes them.
            pub const WALK_ORDER: [Self; Self::COUNT] = [$(Self::$name),*];

            /// How many fields there are.
            pub const COUNT: usize = [$(Self::$name),*].len();

            /// The value that stands for "the packet has no such field". Values run from 0 to this
            /// one. Fields that every packet has keep one value to spare, so that all work alike.
            #[must_use]
            #[inline(always)]
            pub const fn none(self) -> u32 {
                match self {
                    $(Self::$name => $none),*
                }
            }

            /// The field's key in a policy file.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $key),*
                }
            }

            /// Whether a datagram says what its answer will have here.
            #[must_use]
            #[inline(always)]
            pub const fn is_predicted(self) -> bool {
                match self {
                    $(Self::$name => predicted!($answer)),*
                }
            }
        }
    };
}

/// The last column of the table.
macro_rules! predicted {
    (predicted) => {
        true
    };
    (seen) => {
        false
    };
}

field_table!(fields);

impl Field {
    /// All fields, in index order.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Proto; Self::COUNT];
        let mut at = 0;
        while at < Self::COUNT {
            all[Self::WALK_ORDER[at] as usize] = Self::WALK_ORDER[at];
            at += 1;
        }
        all
    };
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
    /// UDP that comes because of a datagram of this host, and answers it from elsewhere: see
    /// [`crate::flows`]. Under a policy without a rule that names it such packets are new.
    pub const RELATED: u32 = 3;
}
