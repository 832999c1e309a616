//! Names of well-known services: for `port: https` in policies and for naming ports on screens.
//!
//! Names and numbers follow the IANA service registry where it has one, else common use.

/// Transport protocols of a service.
const TCP: u8 = 1;
const UDP: u8 = 2;
const SCTP: u8 = 4;
const BOTH: u8 = TCP | UDP;

struct Service {
    name: &'static str,
    port: u16,
    protos: u8,
}

const fn s(name: &'static str, port: u16, protos: u8) -> Service {
    Service { name, port, protos }
}

/// The catalogue. Where two names share a port, the first is shown on screens.
const SERVICES: &[Service] = &[
    s("ftp-data", 20, TCP),
    s("ftp", 21, TCP),
    s("ssh", 22, TCP),
    s("telnet", 23, TCP),
    s("smtp", 25, TCP),
    s("dns", 53, BOTH),
    s("dhcp-server", 67, UDP),
    s("dhcp-client", 68, UDP),
    s("tftp", 69, UDP),
    s("http", 80, TCP),
    s("kerberos", 88, BOTH),
    s("pop3", 110, TCP),
    s("rpcbind", 111, BOTH),
    s("ntp", 123, UDP),
    s("netbios-ns", 137, UDP),
    s("netbios-dgm", 138, UDP),
    s("netbios-ssn", 139, TCP),
    s("imap", 143, TCP),
    s("snmp", 161, UDP),
    s("snmp-trap", 162, UDP),
    s("bgp", 179, TCP),
    s("ldap", 389, BOTH),
    s("https", 443, TCP),
    s("quic", 443, UDP),
    s("http3", 443, UDP),
    s("smb", 445, TCP),
    s("submissions", 465, TCP),
    s("isakmp", 500, UDP),
    s("syslog", 514, UDP),
    s("submission", 587, TCP),
    s("ipp", 631, BOTH),
    s("ldaps", 636, TCP),
    s("dns-over-tls", 853, TCP),
    s("dns-over-quic", 853, UDP),
    s("rsync", 873, TCP),
    s("imaps", 993, TCP),
    s("pop3s", 995, TCP),
    s("openvpn", 1194, BOTH),
    s("mssql", 1433, TCP),
    s("radius", 1812, UDP),
    s("radius-acct", 1813, UDP),
    s("mqtt", 1883, TCP),
    s("ssdp", 1900, UDP),
    s("nfs", 2049, BOTH),
    s("etcd-client", 2379, TCP),
    s("etcd-peer", 2380, TCP),
    s("diameter", 3868, TCP | SCTP),
    s("mysql", 3306, TCP),
    s("rdp", 3389, BOTH),
    s("stun", 3478, BOTH),
    s("ipsec-nat-t", 4500, UDP),
    s("vxlan", 4789, UDP),
    s("sip", 5060, BOTH),
    s("sips", 5061, TCP),
    s("mdns", 5353, UDP),
    s("postgresql", 5432, TCP),
    s("amqp", 5672, TCP),
    s("vnc", 5900, TCP),
    s("redis", 6379, TCP),
    s("k8s-api", 6443, TCP),
    s("http-alt", 8080, TCP),
    s("https-alt", 8443, TCP),
    s("mqtts", 8883, TCP),
    s("prometheus", 9090, TCP),
    s("node-exporter", 9100, TCP),
    s("kafka", 9092, TCP),
    s("kubelet", 10250, TCP),
    s("memcached", 11211, BOTH),
    s("mongodb", 27017, TCP),
    s("m3ua", 2905, SCTP),
    s("s1ap", 36412, SCTP),
    s("ngap", 38412, SCTP),
    s("wireguard", 51820, UDP),
];

const fn bit(proto: u8) -> u8 {
    match proto {
        6 => TCP,
        17 => UDP,
        132 => SCTP,
        _ => 0,
    }
}

/// The service name of a port of an IP protocol (6 TCP, 17 UDP, 132 SCTP).
#[must_use]
pub fn name(proto: u8, port: u16) -> Option<&'static str> {
    let wanted = bit(proto);
    SERVICES
        .iter()
        .find(|s| s.port == port && s.protos & wanted != 0)
        .map(|s| s.name)
}

/// A service by name: its port, and the IP protocols that it uses.
#[must_use]
pub fn find(name: &str) -> Option<(u16, Vec<u8>)> {
    let service = SERVICES.iter().find(|s| s.name == name)?;
    let protos = [6, 17, 132]
        .into_iter()
        .filter(|&p| service.protos & bit(p) != 0)
        .collect();
    Some((service.port, protos))
}

/// Every service name.
pub fn names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|s| s.name)
}

#[cfg(test)]
mod tests {
    use super::{SERVICES, find, name, names};
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_words_that_no_range_looks_like() {
        let unique: HashSet<&str> = names().collect();
        assert_eq!(unique.len(), SERVICES.len());
        for name in unique {
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn looks_up_both_ways() {
        assert_eq!(name(6, 443), Some("https"));
        assert_eq!(name(17, 443), Some("quic"));
        assert_eq!(name(17, 22), None);
        assert_eq!(name(1, 22), None);
        assert_eq!(find("dns"), Some((53, vec![6, 17])));
        assert_eq!(find("https"), Some((443, vec![6])));
        assert_eq!(find("htps"), None);
    }
}
