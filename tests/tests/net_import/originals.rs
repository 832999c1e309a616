//! The firewalls that are imported, loaded as they are, or without the rules that the import left
//! out.

use firewall_import::LeftOut;
use firewall_tests::original::Original;
use std::collections::{BTreeMap, BTreeSet};

/// How the original's rules get into the kernel.
pub(crate) trait Load {
    /// Loads them, without the rules that `out` names.
    fn load(&self, host: &Original, out: &[&LeftOut]);
    /// Every text with values to aim at.
    fn texts(&self) -> Vec<&str>;
    fn families(&self) -> Vec<bool>;
}

/// The last line of a rule for which several lines stand: `lines 10-14`.
fn last(entry: &LeftOut) -> u32 {
    let lines = entry.place.split_once("lines ");
    let end = lines.and_then(|(_, lines)| lines.split_once('-'));
    end.and_then(|(_, last)| last.parse().ok())
        .unwrap_or(entry.line)
}

/// Rules with rates that no test exceeds: the policy judges each frame as the first one.
fn loosened(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (mut words, mut skips) = (Vec::new(), false);
        let mut rest = line.split(' ');
        while let Some(word) = rest.next() {
            let (option, value) = match word {
                "--limit" => (word, "10000/sec --limit-burst 10000"),
                "--hashlimit-above" | "--hashlimit-upto" => {
                    (word, "100000/sec --hashlimit-burst 100000")
                }
                "--hitcount" => (word, "250"),
                "--limit-burst" | "--hashlimit-burst" => ("", ""),
                _ => {
                    words.push(word);
                    continue;
                }
            };
            skips |= rest.next().is_none();
            words.extend([option, value].iter().filter(|word| !word.is_empty()));
        }
        assert!(!skips, "{line}");
        words.join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

/// The same of a rule of nft.
fn loosen(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => list.iter_mut().for_each(loosen),
        serde_json::Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                let bytes = value["rate_unit"]
                    .as_str()
                    .is_some_and(|unit| unit != "packets");
                if key == "limit" && value["rate"].is_u64() && !bytes {
                    value["rate"] = 1_000_000.into();
                    value["burst"] = 100_000.into();
                    value["per"] = "second".into();
                } else {
                    loosen(value);
                }
            }
        }
        _ => {}
    }
}

/// iptables-save and ip6tables-save.
pub(crate) struct Saved {
    pub(crate) v4: Option<String>,
    pub(crate) v6: Option<String>,
    pub(crate) ipset: Option<String>,
}

impl Load for Saved {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        if let Some(ipset) = &self.ipset {
            host.feed("ipset", &["restore"], ipset).unwrap();
        }
        for (program, text, v6) in [
            ("iptables-restore", &self.v4, false),
            ("ip6tables-restore", &self.v6, true),
        ] {
            let Some(text) = text else { continue };
            let both = self.v4.is_some() && self.v6.is_some();
            let here = |entry: &&&LeftOut| !both || entry.place.starts_with("ip6") == v6;
            let gone = out.iter().filter(here).filter(|entry| entry.line > 0);
            let gone: BTreeSet<u32> = gone.flat_map(|entry| entry.line..=last(entry)).collect();
            let lines = text.lines().zip(1u32..);
            let kept = lines.filter(|(_, number)| !gone.contains(number));
            let kept: Vec<&str> = kept.map(|(line, _)| line).collect();
            host.feed(program, &[], &format!("{}\n", loosened(&kept.join("\n"))))
                .unwrap();
        }
    }

    fn texts(&self) -> Vec<&str> {
        [&self.v4, &self.v6, &self.ipset]
            .into_iter()
            .filter_map(|text| text.as_deref())
            .collect()
    }

    fn families(&self) -> Vec<bool> {
        let mut families = Vec::new();
        families.extend(self.v4.is_some().then_some(false));
        families.extend(self.v6.is_some().then_some(true));
        families
    }
}

/// user.rules and user6.rules, behind what ufw loads before them.
pub(crate) struct Ufw {
    pub(crate) rules: [String; 2],
}

/// ufw's own rules for incoming packets, as they are shipped.
const BEFORE: [&str; 2] = [
    "-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p icmp --icmp-type destination-unreachable -j ACCEPT
-A INPUT -p icmp --icmp-type time-exceeded -j ACCEPT
-A INPUT -p icmp --icmp-type parameter-problem -j ACCEPT
-A INPUT -p icmp --icmp-type echo-request -j ACCEPT
-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT
-A INPUT -p udp -d 224.0.0.251 --dport 5353 -j ACCEPT
-A INPUT -p udp -d 239.255.255.250 --dport 1900 -j ACCEPT
-A INPUT -j ufw-user-input
COMMIT
",
    "-A INPUT -i lo -j ACCEPT
-A INPUT -m rt --rt-type 0 -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type echo-reply -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p icmpv6 --icmpv6-type destination-unreachable -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type packet-too-big -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type time-exceeded -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type parameter-problem -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type echo-request -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type router-solicitation -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type router-advertisement -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type neighbor-solicitation -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type neighbor-advertisement -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 141 -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 142 -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 130 -s fe80::/10 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 131 -s fe80::/10 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 132 -s fe80::/10 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 143 -s fe80::/10 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 148 -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 149 -m hl --hl-eq 255 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 151 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 152 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 153 -s fe80::/10 -m hl --hl-eq 1 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 144 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 145 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 146 -j ACCEPT
-A INPUT -p icmpv6 --icmpv6-type 147 -j ACCEPT
-A INPUT -p udp -s fe80::/10 --sport 547 -d fe80::/10 --dport 546 -j ACCEPT
-A INPUT -p udp -d ff02::fb --dport 5353 -j ACCEPT
-A INPUT -p udp -d ff02::f --dport 1900 -j ACCEPT
-A INPUT -j ufw6-user-input
COMMIT
",
];

impl Load for Ufw {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        for (number, text) in self.rules.iter().enumerate() {
            let v6 = number == 1;
            let here = |entry: &&&LeftOut| entry.line > 0 && entry.place.starts_with("ip6") == v6;
            let gone: BTreeMap<u32, bool> = out
                .iter()
                .filter(here)
                .map(|entry| (entry.line, entry.in_part))
                .collect();
            // The rules of a tuple stand behind it, up to an empty line. Of a limit that is carried
            // in part, the one that counts is left out.
            let (mut kept, mut skips) = (String::new(), None);
            for (line, number) in text.lines().zip(1u32..) {
                skips = match gone.get(&number) {
                    Some(&in_part) => Some(in_part),
                    None => skips.filter(|_| !line.is_empty()),
                };
                let skips = skips.is_some_and(|in_part| !in_part || line.contains("--update"));
                if line == "*filter" {
                    kept.push_str("*filter\n:INPUT DROP [0:0]\n");
                } else if line == "COMMIT" {
                    kept.push_str(BEFORE[usize::from(v6)]);
                } else if !skips {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            let program = ["iptables-restore", "ip6tables-restore"][number];
            host.feed(program, &[], &loosened(&kept)).unwrap();
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.rules.iter().map(String::as_str).collect()
    }

    fn families(&self) -> Vec<bool> {
        vec![false, true]
    }
}

/// A ruleset of nft as JSON, which `nft` takes as it gives it.
pub(crate) struct Listed {
    pub(crate) json: String,
}

impl Load for Listed {
    fn load(&self, host: &Original, out: &[&LeftOut]) {
        let gone: BTreeSet<&str> = out.iter().map(|entry| entry.place.as_str()).collect();
        let mut document: serde_json::Value = serde_json::from_str(&self.json).unwrap();
        let objects = document["nftables"].as_array_mut().unwrap();
        objects.retain(|object| {
            let rule = &object["rule"];
            let text = |key: &str| rule[key].as_str().unwrap_or_default();
            let place = format!(
                "{} {} {}, handle {}",
                text("family"),
                text("table"),
                text("chain"),
                rule["handle"].as_u64().unwrap_or_default()
            );
            !gone.contains(place.as_str())
        });
        for object in objects.iter_mut() {
            loosen(object);
        }
        // Maps go to chains, so chains come first.
        let kinds = ["metainfo", "table", "chain", "set", "map", "rule"];
        objects.sort_by_key(|object| kinds.iter().position(|kind| object.get(kind).is_some()));
        host.feed("nft", &["-j", "-f", "-"], &document.to_string())
            .unwrap();
    }

    fn texts(&self) -> Vec<&str> {
        vec![&self.json]
    }

    fn families(&self) -> Vec<bool> {
        vec![false, true]
    }
}
