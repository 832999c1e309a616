//! ufw's own rules, `before.rules` and `before6.rules` as they are shipped, in the words of iptables.
//!
//! May not import a reader or the writer. Invariant: in the order of the files. Loopback never comes to a
//! policy, source routes are dropped by its parser, and what is for another host is not for INPUT.

use super::super::packets::Family;

/// Family, rule, and whether it is there for forwarded packets, too.
pub(super) const OWN: &[(Family, &str, bool)] = &[
    (
        Family::V4,
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        true,
    ),
    (Family::V4, "-m conntrack --ctstate INVALID -j DROP", false),
    (
        Family::V4,
        "-p icmp --icmp-type destination-unreachable -j ACCEPT",
        true,
    ),
    (
        Family::V4,
        "-p icmp --icmp-type time-exceeded -j ACCEPT",
        true,
    ),
    (
        Family::V4,
        "-p icmp --icmp-type parameter-problem -j ACCEPT",
        true,
    ),
    (
        Family::V4,
        "-p icmp --icmp-type echo-request -j ACCEPT",
        true,
    ),
    (Family::V4, "-p udp --sport 67 --dport 68 -j ACCEPT", false),
    (
        Family::V4,
        "-p udp -d 224.0.0.251 --dport 5353 -j ACCEPT",
        false,
    ),
    (
        Family::V4,
        "-p udp -d 239.255.255.250 --dport 1900 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type echo-reply -j ACCEPT",
        true,
    ),
    (Family::V6, "-m conntrack --ctstate INVALID -j DROP", false),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type destination-unreachable -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type packet-too-big -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type time-exceeded -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type parameter-problem -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type echo-request -j ACCEPT",
        true,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type router-solicitation -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type router-advertisement -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type neighbor-solicitation -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type neighbor-advertisement -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 141 -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 142 -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 130 -s fe80::/10 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 131 -s fe80::/10 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 132 -s fe80::/10 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 143 -s fe80::/10 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 148 -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 149 -m hl --hl-eq 255 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 151 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 152 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p icmpv6 --icmpv6-type 153 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT",
        false,
    ),
    (Family::V6, "-p icmpv6 --icmpv6-type 144 -j ACCEPT", false),
    (Family::V6, "-p icmpv6 --icmpv6-type 145 -j ACCEPT", false),
    (Family::V6, "-p icmpv6 --icmpv6-type 146 -j ACCEPT", false),
    (Family::V6, "-p icmpv6 --icmpv6-type 147 -j ACCEPT", false),
    (
        Family::V6,
        "-p udp -s fe80::/10 --sport 547 -d fe80::/10 --dport 546 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p udp -d ff02::fb --dport 5353 -j ACCEPT",
        false,
    ),
    (
        Family::V6,
        "-p udp -d ff02::f --dport 1900 -j ACCEPT",
        false,
    ),
];
