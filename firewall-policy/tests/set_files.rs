//! Set files: every published format that docs/policy.md names, what is refused, and what is
//! counted.

use firewall_policy::diag::Diagnostics;
use firewall_policy::rule::SetSize;
use firewall_policy::source::{Files, Read, read_policy};
use std::net::{Ipv4Addr, Ipv6Addr};

/// One file, whatever it is called.
struct One<'t>(&'t [u8]);

impl Files for One<'_> {
    fn open(&self, _path: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(self.0))
    }
}

fn read(list: &[u8]) -> Result<Read, Diagnostics> {
    let policy = "version: 1\ndefault: {in: pass}\n\
                  sets: {list: {type: cidr, file: list.txt}}\n\
                  rules: [{name: a, from: \"@list\", action: drop}]\n";
    read_policy("firewall.yaml", policy, &One(list))
}

/// The ranges of a list that reads without a finding.
fn ranges(list: impl AsRef<[u8]>) -> Vec<String> {
    let read = read(list.as_ref()).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    assert!(read.warnings.is_empty(), "{}", read.warnings.render(false));
    let set = &read.policy.rules[0].matches.src;
    let v4 = set.v4.ranges().iter();
    let v4 = v4.map(|&(a, b)| format!("{}-{}", Ipv4Addr::from(a), Ipv4Addr::from(b)));
    let v6 = set.v6.ranges().iter();
    let v6 = v6.map(|&(a, b)| format!("{}-{}", Ipv6Addr::from(a), Ipv6Addr::from(b)));
    v4.chain(v6).collect()
}

fn errors(list: impl AsRef<[u8]>) -> Diagnostics {
    read(list.as_ref()).expect_err("the list has errors")
}

#[test]
fn one_entry_a_line_with_comments_of_all_kinds() {
    let list = "\u{feff}# hash\r\n; semicolon\r\n// slashes\r\n\r\n   \t\r\n\
                192.0.2.0/24\r\n198.51.100.7 # behind\n  198.51.100.9;behind\n\
                203.0.113.1-203.0.113.9 // behind\n203.0.113.20 - 203.0.113.30\n\
                2001:db8::/32\n2001:db9::1-2001:db9::f # both\n192.0.2.77";
    assert_eq!(
        ranges(list),
        [
            "192.0.2.0-192.0.2.255",
            "198.51.100.7-198.51.100.7",
            "198.51.100.9-198.51.100.9",
            "203.0.113.1-203.0.113.9",
            "203.0.113.20-203.0.113.30",
            "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::1-2001:db9::f",
        ]
    );
}

#[test]
fn comments_may_be_in_another_encoding() {
    assert_eq!(
        ranges(b"# caf\xe9\n192.0.2.1 # na\xefve\n"),
        ["192.0.2.1-192.0.2.1"]
    );
}

#[test]
fn firehol_netsets() {
    let list = "#\n# firehol_level1\n#\n# ipv4 hash:net ipset\n#\n# Maintainer      : FireHOL\n#\n\
                0.0.0.0/8\n5.134.128.0/19\n5.188.10.0/23\n";
    assert_eq!(
        ranges(list),
        [
            "0.0.0.0-0.255.255.255",
            "5.134.128.0-5.134.159.255",
            "5.188.10.0-5.188.11.255"
        ]
    );
}

#[test]
fn spamhaus_text_and_json_lines() {
    let text = "; Spamhaus DROP List 2026/01/01 - (c) 2026\n; Expires: Thu\n\
                192.0.2.0/24 ; SBL123\n2001:db8::/32 ; SBL456\n";
    let json = "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL123\",\"rir\":\"arin\"}\n\
                {\"cidr\":\"2001:db8::/32\",\"sblid\":\"SBL456\",\"rir\":\"ripe, #2; //\"}\n\
                {\"type\":\"metadata\",\"timestamp\":1767225600,\"size\":2,\"records\":2}\n";
    let both = [
        "192.0.2.0-192.0.2.255",
        "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    assert_eq!(ranges(text), both);
    assert_eq!(ranges(json), both);
    let found = errors("{\"cidr\":\"192.0.2.1/24\"}\n{\"ip\":\"192.0.2.1\"}\n{\"cidr\":\n");
    insta::assert_snapshot!("json", found.render(false));
}

#[test]
fn dshield_block_list() {
    let list = "#\n#   DShield.org Recommended Block List\n#\n\
                Start\tEnd\tNetmask\tAttacks\tName\tCountry\temail\n\
                192.0.2.0\t192.0.2.255\t24\t3081\tEXAMPLE-NET\tUS\tabuse@example.net\n\
                198.51.100.0\t198.51.101.255\t23\t12\t\t\t\n";
    assert_eq!(
        ranges(list),
        ["192.0.2.0-192.0.2.255", "198.51.100.0-198.51.101.255"]
    );
    // Columns that do not say the same are not guessed at.
    let found = errors("192.0.2.0\t192.0.2.255\t25\t3081\n192.0.2.0\t192.0.2.255\n");
    insta::assert_snapshot!("dshield", found.render(false));
}

#[test]
fn ipset_save() {
    let list = "create blocked hash:net family inet hashsize 1024 maxelem 65536 comment\n\
                add blocked 192.0.2.0/24\n\
                add blocked 198.51.100.7 timeout 0 comment \"see # 12; nomatch // later\"\n\
                create blocked6 hash:net family inet6 hashsize 1024 maxelem 65536\n\
                add blocked6 2001:db8::/32\n";
    assert_eq!(
        ranges(list),
        [
            "192.0.2.0-192.0.2.255",
            "198.51.100.7-198.51.100.7",
            "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        ]
    );
    let found =
        errors("add blocked 192.0.2.128/25 nomatch\nadd blocked\nadd ports 192.0.2.1,tcp:80\n");
    insta::assert_snapshot!("ipset", found.render(false));
}

#[test]
fn csv_with_the_address_in_front() {
    let list = "# exported today\nip_address,country,score\n192.0.2.0/24,US,99\n\
                \"198.51.100.7\",\"NL, the\",1\n2001:db8::1,,\n";
    assert_eq!(
        ranges(list),
        [
            "192.0.2.0-192.0.2.255",
            "198.51.100.7-198.51.100.7",
            "2001:db8::1-2001:db8::1"
        ]
    );
    // A second address is not left out in silence, and a header comes first.
    let found = errors("192.0.2.1, 192.0.2.2\n192.0.2.3,x,2001:db8::/32\nip,country\n,x\n");
    insta::assert_snapshot!("csv", found.render(false));
}

#[test]
fn bad_lines_name_the_network_and_the_rest_is_counted() {
    let mut list = String::from("192.0.2.0/24\n\t 198.51.100.77/24 ; slip\n");
    for n in 0..100_000 {
        list.push_str(&format!("10.{}.{}.0/33\n", n / 256 % 256, n % 256));
    }
    let found = errors(&list);
    assert_eq!(found.count(), 21);
    let first = found.list.iter().find(|d| d.code == "FW0152");
    let first = first.expect("host bits are an error");
    assert_eq!(first.place.line, 2);
    assert_eq!(first.place.column, 3);
    assert_eq!(
        first.help.as_deref(),
        Some("the network is 198.51.100.0/24; the single address is 198.51.100.77")
    );
    let text = found.render(false);
    assert!(
        text.contains("error[FW0144]: `list.txt` has 99981 more lines that are not addresses"),
        "{text}"
    );
    assert!(text.contains("198.51.100.77/24 ; slip\n"), "{text}");
}

#[test]
fn duplicates_and_overlaps_are_folded_and_counted() {
    let list = "192.0.2.0/25\n192.0.2.128/25\n192.0.2.7\n192.0.2.7\n198.51.100.1\n2001:db8::/32\n";
    let read = read(list.as_bytes()).expect("a good list");
    assert_eq!(
        read.sets,
        [SetSize {
            name: "list".into(),
            entries: 6,
            ranges: 3
        }]
    );
}

#[test]
fn rules_share_the_ranges_of_a_set() {
    let policy = "version: 1\ndefault: {in: pass}\n\
                  sets: {list: {type: cidr, file: list.txt}}\n\
                  rules:\n- {name: a, from: \"@list\", action: drop}\n\
                  - {name: b, to: [\"@list\"], action: drop}\n";
    let read = read_policy("firewall.yaml", policy, &One(b"192.0.2.1\n")).expect("a good policy");
    let [a, b] = &read.policy.rules[..] else {
        panic!("two rules")
    };
    assert_eq!(
        a.matches.src.v4.ranges().as_ptr(),
        b.matches.dst.v4.ranges().as_ptr()
    );
}
