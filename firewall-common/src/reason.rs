//! Why a packet passed or was dropped. Every packet is counted under exactly one reason.
//!
//! Codes are indices into the counter map and part of the ABI: append, never renumber.

use core::fmt;

/// A reason code, `0..Reason::COUNT`. An integer newtype, because it is read from kernel memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Reason(pub u8);

/// Who decides about packets with this reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Governs {
    /// The rules and the default of the policy.
    Rules,
    /// The essential group, which keeps a default-drop host alive.
    Essential,
    /// `packet.malformed`.
    Malformed,
    /// `packet.fragments`.
    Fragments,
    /// `packet.ip_options`.
    IpOptions,
    /// `packet.vlan_depth`.
    VlanDepth,
    /// `packet.ipv6_ext_max`.
    ExtMax,
    /// Nothing: dropped under every policy. Only `mode: audit` passes such packets, as it passes all.
    Nothing,
}

macro_rules! reasons {
    ($($code:literal $id:ident $name:literal $governs:ident $text:literal;)*) => {
        impl Reason {
            $(#[doc = $text] pub const $id: Self = Self($code);)*

            /// Every reason, in code order.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            /// The name in listings, metrics and JSON: lower case with dashes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 { $($code => $name,)* _ => "unknown" }
            }

            /// One line of documentation.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self.0 { $($code => $text,)* _ => "A reason that this version does not know." }
            }

            /// Which part of the policy decides about packets with this reason.
            #[must_use]
            #[inline(always)]
            pub const fn governed_by(self) -> Governs {
                match self.0 { $($code => Governs::$governs,)* _ => Governs::Nothing }
            }
        }

        const _: () = {
            let codes: &[u8] = &[$($code),*];
            let mut i = 0;
            while i < codes.len() {
                assert!(codes[i] as usize == i, "reason codes are indices: no gaps");
                i += 1;
            }
            assert!(codes.len() <= Reason::CAPACITY);
        };
    };
}

reasons! {
    0  RULE            "rule"             Rules     "A rule with action pass or drop matched.";
    1  NO_MATCH        "no-match"         Rules     "No rule matched: the policy's default decided.";
    2  NON_IP          "non-ip"           Rules     "The frame is neither IPv4 nor IPv6 nor essential, and no rule with `ethertype` matched: the policy's default decided.";
    3  ARP             "arp"              Essential "ARP for IPv4 over Ethernet.";
    4  NEIGHBOUR       "neighbour"        Essential "IPv6 neighbour discovery or router advertisement with hop limit 255.";
    5  MULTICAST       "multicast-listener" Essential "IPv6 multicast listener discovery.";
    6  ICMP_ERROR      "icmp-error"       Essential "ICMP or ICMPv6 error (unreachable, too big, time exceeded, parameter problem) about a sent packet.";
    7  DHCP            "dhcp"             Essential "DHCP or DHCPv6 answer to a request sent on this interface.";
    8  TRUNCATED       "truncated"        Malformed "The frame ends inside a header that it announces.";
    9  BAD_VERSION     "bad-version"      Malformed "The IP version does not fit the EtherType.";
    10 BAD_HEADER_LEN  "bad-header-len"   Malformed "IPv4 header length below 20, or TCP data offset below 20 or past the packet.";
    11 BAD_LENGTH      "bad-length"       Malformed "IP, UDP or TCP length contradicts the bytes that are there.";
    12 VLAN_DEPTH      "vlan-depth"       VlanDepth "More VLAN tags than packet.vlan_depth.";
    13 IP_OPTIONS      "ip-options"       IpOptions "IPv4 header with options.";
    14 SOURCE_ROUTE    "source-route"     Malformed "Loose or strict source route, an IPv6 routing header with segments left, or one of type 0 (RFC 5095).";
    15 EXT_CHAIN       "ext-chain"        ExtMax    "More IPv6 extension headers than packet.ipv6_ext_max.";
    16 EXT_ORDER       "ext-order"        Malformed "An IPv6 extension header where RFC 8200 forbids it.";
    17 JUMBOGRAM       "jumbogram"        Malformed "IPv6 payload length 0: a jumbogram, or a forgery of one.";
    18 FRAG_TINY       "frag-tiny"        Malformed "A first fragment too short for its transport header (RFC 1858, RFC 7112).";
    19 FRAG_OVERLAP    "frag-overlap"     Malformed "A fragment at offset 8 of a TCP packet, which rewrites its header (RFC 3128).";
    20 FRAG_OVERSIZE   "frag-oversize"    Malformed "A fragment that reaches past 65,535 bytes.";
    21 FRAGMENT        "fragment"         Fragments "A fragment, under packet.fragments.";
    22 TCP_FLAGS       "tcp-flags"        Malformed "TCP flags that no host sends: none, SYN with FIN or RST, FIN without ACK.";
    23 PORT_ZERO       "port-zero"        Malformed "TCP port 0, or UDP destination port 0. UDP from port 0, which asks for no answer (RFC 768), goes to the rules.";
    24 BOGON           "bogon"            Malformed "Source address that cannot come from a network: loopback, multicast, broadcast, 240.0.0.0/4, 0.0.0.0/8 (but 0.0.0.0), IPv4-mapped (::ffff:0:0/96), equal to the destination, or :: outside of neighbour discovery. Destination that no network leads to: 127.0.0.0/8, ::1, IPv4-mapped.";
    25 ND_SPOOF        "nd-spoof"         Malformed "Neighbour discovery with a hop limit other than 255, or in a fragment (RFC 6980).";
    26 INTERNAL        "internal"         Nothing   "The program reached a state that its compiler excludes. Always dropped; a bug report is welcome.";
    27 FRAG_ORPHAN     "frag-orphan"      Fragments "A later fragment whose first fragment has not passed: dropped, not seen yet, or forgotten (follow-first).";
    28 FRAG_CLASH      "frag-clash"       Fragments "A fragment that claims bytes twice (RFC 5722), is a second first one (RFC 3128) or a second last one; and all that follow of its datagram (follow-first).";
    29 FRAG_SCATTERED  "frag-scattered"   Fragments "A fragment of a datagram that has come in more than 8 pieces apart from each other; and all that follow of it (follow-first).";
    30 FRAG_BUSY       "frag-busy"        Fragments "A fragment whose table entry was locked by another processor for too long (follow-first).";
    31 LIMIT           "limit"            Rules     "A rule matched, and the packet exceeds its rate limit.";
    32 REJECT          "reject"           Rules     "A rule with action reject matched: dropped, and answered with a TCP reset or an ICMP error.";
    33 REJECT_SILENT   "reject-silent"    Rules     "A rule with action reject matched a packet that must not be answered: an ICMP error or answer, a TCP reset, a later fragment, a packet from or to a group, to another station, or with a wrong checksum.";
    34 REJECT_LIMIT    "reject-limit"     Rules     "A rule with action reject matched, and the limit of answers is used up: dropped without an answer.";
    35 SYN_COOKIE      "syn-cookie"       Rules     "A rule with syn_protect passed a SYN to a port under a SYN flood: answered with a SYN cookie on behalf of the host. A client that returns the cookie is let in.";
    36 SYN_FORGED      "syn-forged"       Rules     "A rule with syn_protect passed an acknowledgement to a port under a SYN flood; it belongs to no connection and carries no valid cookie.";
    37 BANNED          "banned"           Rules     "The source address is banned: by a command, or by a rule's `limit`.";
    38 FRAG_HIDDEN     "frag-hidden"      Nothing   "An IPv6 fragment header behind anything but one hop-by-hop header. Linux with connection tracking parses the rest differently from RFC 8200: another protocol, another port.";
    39 LINK            "link"             Essential "A frame of the link itself: 802.1X, Slow Protocols (LACP), LLDP or spanning tree.";
    40 IGMP            "igmp"             Essential "IPv4 multicast group membership (IGMP) of this link: TTL 1 and router alert.";
}

impl Reason {
    /// Whether a rule has decided: the counter of a rule says which.
    #[must_use]
    pub const fn is_by_rule(self) -> bool {
        matches!(
            self,
            Self::RULE | Self::LIMIT | Self::SYN_COOKIE | Self::SYN_FORGED
        ) || self.is_reject()
    }

    /// Whether a rule has rejected the packet, be it without an answer.
    #[must_use]
    pub const fn is_reject(self) -> bool {
        matches!(
            self,
            Self::REJECT | Self::REJECT_SILENT | Self::REJECT_LIMIT
        )
    }

    /// How many reason codes the counter map has room for.
    pub const CAPACITY: usize = 64;
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
