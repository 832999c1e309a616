//! FW0160 to FW0199: match fields and whole rules.

use super::{Code, codes};

codes! { FIELDS:
    PORT_ZERO "FW0160" "port 0"
        "Port 0 is reserved and no service listens on it. Packets that carry it are counted under \
         the reason port-zero and decided by `packet: {malformed: ...}`."
        wrong "- {name: zero, proto: tcp, port: 0, action: drop}\n"
        right "packet: {malformed: drop}\n";
    UNKNOWN_SERVICE "FW0161" "an unknown service name"
        "Service names come from a built-in catalogue. A port number always works."
        wrong "- {name: web, proto: tcp, port: htps, action: pass}\n"
        right "- {name: web, proto: tcp, port: https, action: pass}\n";
    SERVICE_PROTO "FW0162" "a service of another protocol"
        "The name belongs to a port of one protocol, but the rule matches another: most likely a \
         mistake. `quic` is UDP port 443."
        wrong "- {name: web, proto: udp, port: https, action: pass}\n"
        right "- {name: web, proto: udp, port: quic, action: pass}\n";
    PORT_NEEDS_PROTO "FW0163" "a port without a protocol that has ports"
        "Port 53 of TCP and of UDP are different things, and other protocols have no ports. Say \
         which one the rule is for."
        wrong "- {name: dns, port: 53, action: pass}\n"
        right "- {name: dns, proto: [tcp, udp], port: 53, action: pass}\n";
    ICMP_NEEDS_PROTO "FW0164" "icmp without its protocol"
        "ICMP and ICMPv6 number their types differently: type 8 is an echo request in one and \
         unassigned in the other. So `icmp` needs one of the two, and both need two rules."
        wrong "- {name: ping, icmp: {type: echo-request}, action: pass}\n"
        right "- {name: ping, proto: icmp, icmp: {type: echo-request}, action: pass}\n- {name: ping6, proto: icmpv6, icmp: {type: echo-request}, action: pass}\n";
    FIELD_NEEDS_TCP "FW0165" "a field of TCP without proto: tcp"
        "Only TCP has `flags`."
        wrong "- {name: syn, flags: {set: [syn]}, action: drop}\n"
        right "- {name: syn, proto: tcp, flags: {set: [syn]}, action: drop}\n";
    FLAGS_CONTRADICT "FW0166" "a flag both set and clear"
        "No packet has a flag set and clear at once, so the rule would never match."
        wrong "- {name: syn, proto: tcp, flags: {set: [syn], clear: [syn, ack]}, action: drop}\n"
        right "- {name: syn, proto: tcp, flags: {set: [syn], clear: [ack]}, action: drop}\n";
    NOTHING_LEFT "FW0167" "negation leaves nothing"
        "Elements with `!` are removed from the others of the same list, and nothing is left."
        wrong "- {name: lan, from: [10.1.0.0/16, \"!10.0.0.0/8\"], action: pass}\n"
        right "- {name: lan, from: [10.0.0.0/8, \"!10.1.0.0/16\"], action: pass}\n";
    ETHERTYPE "FW0168" "an `ethertype` that no rule can match so"
        "`ethertype` is for frames that are not IP, which have neither addresses of IP nor ports: beside \
         it a rule names `zone`, `vlan` and `mac`. Its values are EtherTypes from 0x600 on, and below \
         0x100 the service access points of LLC frames. IP and VLAN tags have keys of their own."
        wrong "- {name: lldp, ethertype: lldp, from: 192.0.2.0/24, action: drop}\n"
        right "- {name: lldp, ethertype: lldp, mac: 02:00:00:00:00:01, action: drop}\n";
    MAC "FW0169" "not the MAC address of a sender"
        "A MAC address is six bytes in hexadecimal, with `:` or `-` between them. `mac` is the source of \
         a frame, which is one station and never a group. A policy can name 1,024 addresses."
        wrong "- {name: printer, mac: 02:00:00:00:01, action: pass}\n"
        right "- {name: printer, mac: 02:00:00:00:00:01, action: pass}\n";
    NEVER_MATCHES "FW0170" "a rule that no packet can match"
        "The fields of the rule exclude each other: `from` and `to` of different address families, \
         ICMPv6 with IPv4 addresses, or `state: established` with a protocol that has no connections \
         here, such as SCTP, ESP or GRE."
        wrong "- {name: a, from: 10.0.0.0/8, to: \"2001:db8::/32\", action: pass}\n"
        right "- {name: a, from: 10.0.0.0/8, to: 192.0.2.0/24, action: pass}\n";
    RATE "FW0171" "not a rate, or not a burst"
        "A rate is a number of packets, a slash and a time: `200/s`, `6/30s`, `500k/s`, `10/m`; or of \
         bytes: `10Mbit/s`, `1MB/s`, `64KiB/s`. The time is up to a day, the rate up to 100M/s, of bytes up \
         to 100Gbit/s. A burst is the number of packets allowed at \
         once; the default is two seconds' worth of the rate, and at least the number of packets \
         in it."
        wrong "- {name: ssh, proto: tcp, port: ssh, limit: {rate: 10 per second}, action: pass}\n"
        right "- {name: ssh, proto: tcp, port: ssh, limit: {rate: 10/s}, action: pass}\n";
    LIMIT_WITHOUT_EFFECT "FW0172" "a limit that changes nothing"
        "A rule's action applies to packets within its limit; packets over the limit are dropped. \
         With `action: drop` both are dropped. With `action: pass` packets within the limit pass, \
         with `action: next` they continue with the next rules."
        wrong "- {name: syn, proto: tcp, limit: {rate: 200/s, per: source}, action: drop}\n"
        right "- {name: syn, proto: tcp, limit: {rate: 200/s, per: source}, action: next}\n";
    OVER_NEEDS_LIMIT "FW0173" "over without limit"
        "`over` is the action for packets over the rule's limit, and the rule has no limit."
        wrong "- {name: syn, proto: tcp, over: next, action: pass}\n"
        right "- {name: syn, proto: tcp, limit: {rate: 200/s}, over: next, action: pass}\n";
    PER_LENGTH "FW0174" "not a prefix length for a limit"
        "`source/24` limits each IPv4 /24 and, 32 bits more, each IPv6 /56; `source/24/48` sets \
         both lengths. `source` alone is /32 and /64, because a single IPv6 host usually has a \
         whole /64."
        wrong "- {name: syn, limit: {rate: 200/s, per: source/64}, action: next}\n"
        right "- {name: syn, limit: {rate: 200/s, per: source/32/64}, action: next}\n";
    SYN_PROTECT "FW0175" "protection against SYN floods without a TCP port"
        "`syn_protect` is for rules that pass TCP connections: the program answers SYNs on behalf \
         of the listening socket. A rule that drops, rejects or only counts has nothing to \
         protect."
        wrong "- {name: web, proto: udp, port: 443, syn_protect: auto, action: pass}\n"
        right "- {name: web, proto: tcp, port: 443, syn_protect: auto, action: pass}\n";
    EXPIRES "FW0176" "not a date, nor a time"
        "A rule expires at an absolute time: a date, which begins at 00:00 UTC, or an RFC 3339 \
         time with its time zone. A duration would start again with every reload."
        wrong "- {name: party, proto: udp, port: 5000, expires: 30d, action: pass}\n"
        right "- {name: party, proto: udp, port: 5000, expires: 2999-01-31T18:00:00+01:00, action: pass}\n";
    FORGED_BAN "FW0177" "a `ban` that a forged source could trigger"
        "The source of a UDP or ICMP packet can be forged, also of an established conversation, so \
         anybody could get another address banned: a resolver, a customer. So only TCP packets ban, \
         of sources that have an established connection. A `limit` alone drops the excess and bans \
         nobody."
        wrong "- {name: dns, proto: udp, port: 53, limit: {rate: 50/s, per: source}, ban: 10m, action: pass}\n"
        right "- {name: dns, proto: udp, port: 53, limit: {rate: 50/s, per: source}, action: pass}\n";
    CONTENT "FW0178" "a condition on payload or options that cannot be met"
        "`payload` names up to 16 bytes at an offset of what follows the header of TCP or UDP, in \
         hexadecimal (`??` is any byte) or as text. `options` names options of IPv4, or extension \
         headers of IPv6; what `packet` drops before the rules no rule can match. A policy has at most \
         16 different conditions."
        wrong "- {name: query, proto: udp, port: 27015, payload: {bytes: \"ff ff f\"}, action: drop}\n"
        right "- {name: query, proto: udp, port: 27015, payload: {bytes: \"ff ff ff ff\"}, action: drop}\n";
    WORST_PACKET "FW0179" "too many non-terminal rules for one packet"
        "Non-terminal rules add cost to every packet that they match: a counter, a limit, a log \
         event. So one packet can match at most 64 of them: rules with `action: next` or `over: \
         next`, in audit mode, or with an `expires`, a `payload` or `options`; and at most 16 with a \
         `limit`, a `log` or one of these, where one with a `limit` and a `log` counts twice. The total number in the policy \
         does not matter. The error names two of the most similar rules: merge them into one rule \
         with both lists."
        wrong "" right "- {name: seen, proto: tcp, port: [80, 443], action: next}\n";
}
