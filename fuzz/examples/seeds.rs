//! Writes first inputs for every target into a folder: `seeds FOLDER`, one folder a target below it.
//!
//! They are what the repository has anyway: the examples of all diagnostic codes, the shipped
//! policies, the rules of other firewalls that `import` is tested with, and packets.

use firewall_policy::diag::codes::{self, Code};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let into = std::env::args_os().nth(1).map(PathBuf::from);
    let into = into.ok_or_else(|| io::Error::other("name the folder to write to"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut policies: Vec<String> = codes::all()
        .flat_map(|code| [code.wrong, code.right])
        .filter(|example| !example.is_empty())
        .map(Code::complete)
        .collect();
    policies.extend(texts(&root.join("rules"), "yaml")?);
    write(&into, "policy", &policies)?;
    write(&into, "fmt", &policies)?;
    let packets = PACKETS.map(String::from);
    write(&into, "packet_text", &packets)?;
    write(&into, "list_file", &LISTS.map(String::from))?;
    let rules = root.join("firewall-import/tests/data");
    for (target, folder, end) in [
        ("import_iptables", "iptables", "v4"),
        ("import_iptables", "iptables", "v6"),
        ("import_nft", "nft", "json"),
        ("import_ufw", "ufw", "rules"),
        ("import_ufw", "ufw", "added"),
        ("import_ufw", "ufw", "status"),
    ] {
        write(&into, target, &texts(&rules.join(folder), end)?)?;
    }
    Ok(())
}

const PACKETS: [&str; 8] = [
    "tcp 203.0.113.9:5000 > 198.51.100.80:22 syn",
    "tcp [2001:db8::1]:5000 > [2001:db8::2]:443 ack ttl 64 dscp 46 established",
    "udp 192.0.2.1 > 192.0.2.2:53 vlan 10 vlan 20 length 100 on eth0",
    "icmp 192.0.2.1 > 192.0.2.2 echo-request options",
    "icmpv6 fe80::1 > ff02::1 134/0 hops 255 zone lan",
    "gre 192.0.2.1 > 192.0.2.2 fragment later",
    "arp 192.0.2.1 > 192.0.2.2",
    "sctp 192.0.2.1:1 > 192.0.2.2:2 fragment first",
];

const LISTS: [&str; 4] = [
    "# comment\n192.0.2.0/24 ; inline\n\n198.51.100.7\r\n198.51.100.64-198.51.100.95\n2001:db8::/32\n",
    "22\nhttps\n8000-8010\n1024-\n",
    "192.0.2.0/24\n  10.0.0.1/8   # slip\nexample.net\n",
    "\u{1f}\u{8b}<!DOCTYPE html>\n",
];

fn texts(folder: &Path, end: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == end) {
            found.push(fs::read_to_string(path)?);
        }
    }
    Ok(found)
}

fn write(into: &Path, target: &str, texts: &[String]) -> io::Result<()> {
    let folder = into.join(target);
    fs::create_dir_all(&folder)?;
    let before = fs::read_dir(&folder)?.count();
    for (number, text) in texts.iter().enumerate() {
        fs::write(folder.join(format!("seed-{:03}", before + number)), text)?;
    }
    Ok(())
}
