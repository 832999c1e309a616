//! Numbers and their names as iptables writes them.
//!
//! May not import the writer. Invariant: a word that is not known is `None`, never a default.

use super::super::packets::{Family, Values};
use firewall_policy::range::RangeSet;
use firewall_policy::vocabulary;
use firewall_policy::well_known_ports;

/// The name of `/etc/protocols` that the policy language does not have; `iptables-save` prints it.
const PROTOCOLS: &[(&str, u128)] = &[("isis", 124)];

/// Names of `/etc/services` that the policy language does not have; people write them.
const SERVICES: &[(&str, u16)] = &[
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("gopher", 70),
    ("finger", 79),
    ("www", 80),
    ("kerberos5", 88),
    ("krb5", 88),
    ("kerberos-sec", 88),
    ("pop2", 109),
    ("pop-3", 110),
    ("sunrpc", 111),
    ("portmapper", 111),
    ("auth", 113),
    ("ident", 113),
    ("authentication", 113),
    ("nntp", 119),
    ("imap2", 143),
    ("snmptrap", 162),
    ("snmp-trap", 162),
    ("cmip-man", 163),
    ("xdmcp", 177),
    ("irc", 194),
    ("imap3", 220),
    ("microsoft-ds", 445),
    ("kpasswd", 464),
    ("ssmtp", 465),
    ("urd", 465),
    ("smtps", 465),
    ("isakmp", 500),
    ("exec", 512),
    ("login", 513),
    ("shell", 514),
    ("cmd", 514),
    ("printer", 515),
    ("spooler", 515),
    ("talk", 517),
    ("route", 520),
    ("router", 520),
    ("rip", 520),
    ("uucp", 540),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("rtsp", 554),
    ("nntps", 563),
    ("snntp", 563),
    ("kerberos-adm", 749),
    ("domain-s", 853),
    ("ftps-data", 989),
    ("ftps", 990),
    ("telnets", 992),
    ("ircs", 994),
    ("socks", 1080),
    ("openvpn", 1194),
    ("ms-sql-s", 1433),
    ("ms-sql-m", 1434),
    ("datametrics", 1645),
    ("radius", 1812),
    ("radius-acct", 1813),
    ("radacct", 1813),
    ("cisco-sccp", 2000),
    ("nfs", 2049),
    ("cvspserver", 2401),
    ("ipsec-nat-t", 4500),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("svn", 3690),
    ("iax", 4569),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
    ("mdns", 5353),
    ("postgresql", 5432),
    ("postgres", 5432),
    ("amqps", 5671),
    ("amqp", 5672),
    ("x11", 6000),
    ("redis", 6379),
    ("ircd", 6667),
    ("bacula-dir", 9101),
    ("bacula-fd", 9102),
    ("bacula-sd", 9103),
    ("git", 9418),
    ("zabbix-agent", 10050),
    ("zabbix-trapper", 10051),
    ("webmin", 10000),
    ("nbd", 10809),
    ("hkp", 11371),
    ("http-alt", 8080),
    ("webcache", 8080),
    ("tproxy", 8081),
    ("mqtt", 1883),
    ("secure-mqtt", 8883),
    ("ntp", 123),
    ("netbios-ns", 137),
    ("netbios-dgm", 138),
    ("netbios-ssn", 139),
    ("tftp", 69),
    ("time", 37),
    ("daytime", 13),
    ("discard", 9),
    ("echo", 7),
    ("chargen", 19),
    ("systat", 11),
    ("netstat", 15),
    ("qotd", 17),
    ("fsp", 21),
    ("whois", 43),
    ("tacacs", 49),
    ("ldap", 389),
    ("ldaps", 636),
    ("syslog", 514),
    ("syslog-tls", 6514),
    ("rsync", 873),
    ("biff", 512),
    ("who", 513),
    ("gdomap", 538),
    ("ptp-event", 319),
    ("ptp-general", 320),
    ("upnp", 1900),
    ("ssdp", 1900),
    ("l2f", 1701),
    ("l2tp", 1701),
    ("pptp", 1723),
    ("wap-wsp", 9200),
    ("distcc", 3632),
    ("epmd", 4369),
    ("munin", 4949),
    ("lrrd", 4949),
    ("sge-qmaster", 6444),
    ("afs3-fileserver", 7000),
    ("afs3-callback", 7001),
    ("f5-globalsite", 2792),
    ("gpsd", 2947),
    ("rtcm-sc104", 2101),
    ("gsiftp", 2811),
    ("hylafax", 4559),
    ("fax", 4557),
    ("noclog", 5354),
    ("hostmon", 5355),
    ("llmnr", 5355),
    ("canna", 5680),
    ("nrpe", 5666),
    ("nsca", 5667),
    ("mrtd", 5674),
    ("bgpd", 2605),
    ("ospfd", 2604),
    ("zebra", 2601),
    ("ripd", 2602),
    ("amanda", 10080),
    ("bprd", 13720),
    ("sieve", 4190),
    ("managesieve", 4190),
];

/// A protocol by number or by the name of `/etc/protocols`.
pub(crate) fn protocol(text: &str) -> Option<u128> {
    let text = text.to_ascii_lowercase();
    let known = PROTOCOLS
        .iter()
        .find(|(name, _)| *name == text)
        .map(|&(_, number)| number)
        .or_else(|| vocabulary::number(vocabulary::PROTOCOLS, &text).map(u128::from));
    known.or_else(|| text.parse().ok().filter(|&number: &u128| number < 256))
}

/// `22`, `1024:`, `:1023`, `6000:6010`, and lists of these.
pub(crate) fn ports(text: &str) -> Option<Values> {
    let ranges: Option<Vec<(u128, u128)>> = text
        .split(',')
        .map(|part| match part.split_once([':', '-']) {
            // A name may have a dash of its own.
            _ if service(part).is_some() => port(part).map(|port| (port, port)),
            Some((first, last)) => {
                let first = if first.is_empty() {
                    Some(0)
                } else {
                    port(first)
                };
                let last = if last.is_empty() {
                    Some(65_535)
                } else {
                    port(last)
                };
                first.zip(last)
            }
            None => port(part).map(|port| (port, port)),
        })
        .collect();
    ranges.map(RangeSet::from_ranges)
}

fn port(text: &str) -> Option<u128> {
    match text.parse::<u16>() {
        Ok(port) => Some(port.into()),
        Err(_) => service(text).map(u128::from),
    }
}

/// The port of a service.
fn service(text: &str) -> Option<u16> {
    let lower = text.to_ascii_lowercase();
    let listed = SERVICES.iter().find(|(name, _)| *name == lower);
    listed
        .map(|&(_, port)| port)
        .or_else(|| well_known_ports::find(&lower).map(|(port, _)| port))
}

/// `a:b` with either end left out, or one value.
pub(crate) fn span(text: &str, separator: char, last: u128) -> Option<Values> {
    let number = |text: &str| text.parse::<u128>().ok().filter(|&value| value <= last);
    match text.split_once(separator) {
        None => number(text).map(|value| RangeSet::of(value, value)),
        Some((first, end)) => {
            let first = if first.is_empty() {
                Some(0)
            } else {
                number(first)
            };
            let end = if end.is_empty() {
                Some(last)
            } else {
                number(end)
            };
            first.zip(end).map(|(first, end)| RangeSet::of(first, end))
        }
    }
}

/// `FIN,SYN,RST,ACK`, `ALL`, `NONE`.
pub(crate) fn flag_mask(text: &str) -> Option<u128> {
    match text {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        names => names.split(',').try_fold(0, |mask, name| {
            let bit = vocabulary::number(vocabulary::FLAGS, &name.to_ascii_lowercase())?;
            Some(mask | u128::from(bit))
        }),
    }
}

/// The flag bytes of which the bits of `mask` are those of `set`.
pub(crate) fn flags(mask: u128, set: u128) -> Values {
    let values = (0..256).filter(|value| value & mask == set & mask);
    RangeSet::from_ranges(values.map(|value| (value, value)).collect())
}

/// Names of ICMP messages that the policy language does not have.
const ICMP: &[(&str, u128, Option<u128>)] = &[
    ("ping", 8, None),
    ("pong", 0, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("TOS-network-unreachable", 3, Some(11)),
    ("TOS-host-unreachable", 3, Some(12)),
    ("communication-prohibited", 3, Some(13)),
    ("host-precedence-violation", 3, Some(14)),
    ("precedence-cutoff", 3, Some(15)),
    ("source-quench", 4, None),
    ("network-redirect", 5, Some(0)),
    ("host-redirect", 5, Some(1)),
    ("TOS-network-redirect", 5, Some(2)),
    ("TOS-host-redirect", 5, Some(3)),
    ("ttl-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("ip-header-bad", 12, Some(0)),
    ("required-option-missing", 12, Some(1)),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

/// The same of ICMPv6.
const ICMPV6: &[(&str, u128, Option<u128>)] = &[
    ("no-route", 1, Some(0)),
    ("communication-prohibited", 1, Some(1)),
    ("beyond-scope", 1, Some(2)),
    ("address-unreachable", 1, Some(3)),
    ("port-unreachable", 1, Some(4)),
    ("failed-policy", 1, Some(5)),
    ("reject-route", 1, Some(6)),
    ("ttl-exceeded", 3, None),
    ("ttl-zero-during-transit", 3, Some(0)),
    ("ttl-zero-during-reassembly", 3, Some(1)),
    ("bad-header", 4, Some(0)),
    ("unknown-header-type", 4, Some(1)),
    ("unknown-option", 4, Some(2)),
    ("ping", 128, None),
    ("pong", 129, None),
    ("neighbour-solicitation", 135, None),
    ("neighbour-advertisement", 136, None),
    ("mld-listener-query", 130, None),
    ("mld-listener-report", 131, None),
    ("mld-listener-done", 132, None),
    ("mld2-listener-report", 143, None),
];

/// A type, `type/code`, or a name.
pub(crate) fn icmp(text: &str, family: Family) -> Option<Values> {
    let whole = |kind: u128| RangeSet::of(kind << 8, kind << 8 | 255);
    let one = |kind: u128, code: u128| RangeSet::of(kind << 8 | code, kind << 8 | code);
    if let Some((kind, code)) = text.split_once('/') {
        let (kind, code): (u8, u8) = (kind.parse().ok()?, code.parse().ok()?);
        return Some(one(kind.into(), code.into()));
    }
    if let Ok(kind) = text.parse::<u8>() {
        return Some(whole(kind.into()));
    }
    let table = match family {
        Family::V4 => vocabulary::ICMP_TYPES,
        Family::V6 => vocabulary::ICMPV6_TYPES,
    };
    if let Some(kind) = vocabulary::number(table, text) {
        return Some(whole(kind.into()));
    }
    let names: &[(&str, u128, Option<u128>)] = match family {
        Family::V4 => ICMP,
        Family::V6 => ICMPV6,
    };
    let (_, kind, code) = names.iter().find(|(name, ..)| *name == text)?;
    Some(code.map_or_else(|| whole(*kind), |code| one(*kind, code)))
}

/// A code point: a number in any base, or the name of a class.
pub(crate) fn dscp(text: &str) -> Option<u128> {
    let lower = text.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => lower.parse().ok(),
    };
    number
        .filter(|&code| code < 64)
        .or_else(|| match lower.as_str() {
            "be" => Some(0),
            word => vocabulary::number(vocabulary::DSCP, word).map(u128::from),
        })
}

/// Why a rule with an extension is not exact.
pub(crate) fn unknown(module: &str) -> String {
    let what = match module {
        "limit" | "hashlimit" => "rates are not converted; write a `limit` by hand",
        "connlimit" => {
            "open connections are not counted; limit how fast they come: `limit: {new: 50/m, per: source}`"
        }
        "recent" => "sources are not remembered; write a `limit` with `per: source` by hand",
        "string" | "bpf" | "u32" => {
            "contents are matched at a place behind the header of TCP or UDP alone: write `payload` by hand"
        }
        "owner" | "cgroup" => "the receiving process is not known on arrival",
        "mark" | "connmark" => "packets have no marks on arrival",
        "pkttype" => "the packet type is not matched",
        "physdev" => "bridge ports are not distinguished",
        "rpfilter" => "reverse-path lookups are not made",
        "time" => "a policy does not match the time of day",
        "statistic" => "a policy does not match at random",
        "policy" => "IPsec state is not known on arrival",
        "geoip" => "countries are not known; use a set of prefixes",
        _ => "",
    };
    if what.is_empty() {
        format!("a policy has nothing like `-m {module}`")
    } else {
        format!("{what} (-m {module})")
    }
}
