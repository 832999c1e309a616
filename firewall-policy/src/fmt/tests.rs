//! The canonical form reads as the same policy, keeps every comment, and is its own canonical form.

use super::canonical;
use crate::diag::codes;
use crate::rule::{Place, Policy};
use crate::source::{Files, NoFiles, read_policy};
use crate::space::random;

/// The policy without the places of its rules.
fn meaning(text: &str, files: &dyn Files) -> Option<Policy> {
    let mut policy = read_policy("x.yaml", text, files).ok()?.policy;
    for rule in &mut policy.rules {
        rule.place = Place::default();
    }
    Some(policy)
}

/// Checks one text; false if it is no policy.
fn check(text: &str, files: &dyn Files) -> bool {
    let Some(policy) = meaning(text, files) else {
        return false;
    };
    let once = canonical("x.yaml", text).unwrap();
    let again = match read_policy("x.yaml", &once, files) {
        Ok(_) => meaning(&once, files).unwrap(),
        Err(errors) => panic!("{}\n{once}", errors.render(false)),
    };
    // Lines of listings are in the order of the keys, which is theirs, not the text's.
    assert_eq!(again, policy, "{text}=>\n{once}");
    assert_eq!(canonical("x.yaml", &once).unwrap(), once, "{text}");
    true
}

/// Set files of the shipped policies.
struct Shipped;

impl Files for Shipped {
    fn open(&self, _: &str) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        Ok(Box::new(&b"192.0.2.0/24\n"[..]))
    }
}

const SHIPPED: [&str; 4] = [
    include_str!("../../../rules/ddos-edge.yaml"),
    include_str!("../../../rules/router-bastion.yaml"),
    include_str!("../../../rules/web-server.yaml"),
    include_str!("../../../rules/workstation.yaml"),
];

#[test]
fn shipped_policies_and_examples_stay_what_they_are() {
    for text in SHIPPED {
        assert!(check(text, &Shipped));
    }
    let examples = codes::all().flat_map(|code| [code.wrong, code.right]);
    let sound = examples
        .filter(|example| !example.is_empty())
        .filter(|example| check(&codes::Code::complete(example), &Shipped))
        .count();
    assert!(sound > 40, "{sound}");
}

#[test]
fn every_comment_is_kept() {
    for text in SHIPPED {
        let words = |text: &str| -> Vec<String> {
            let mut words: Vec<String> = text
                .lines()
                .filter_map(|line| line.split_once('#'))
                .map(|(_, comment)| comment.trim().to_owned())
                .collect();
            words.sort();
            words
        };
        let once = canonical("x.yaml", text).unwrap();
        assert_eq!(words(&once), words(text));
    }
}

#[test]
fn random_policies_come_back() {
    let mut random = random(1);
    let mut below = move |end: u128| (random() % end) as usize;
    let mut sound = 0;
    for _ in 0..400 {
        let mut text = String::new();
        let comment = ["", "# word: [x]\n", "\n", "\n# a\n\n# b\n"];
        let mut sections = vec![
            "version: 1\n".to_owned(),
            format!("default: {}\n", ["{in: drop}", "pass", "{in: drop, essential: {arp: true, dhcp: false}}", "{log: 5/s, in: drop}"][below(4)]),
            "interfaces:\n  - {zone: wan, match: [eth0, \"ens*\"]}\n  - match: lan0 # \"quoted\"\n    zone: lan\n".to_owned(),
            "sets:\n  a: {elements: [10.0.0.0/8, \"2001:db8::/32\"], type: cidr}\n".to_owned(),
        ];
        let mut rules = String::from("rules:\n");
        for number in 0..1 + below(6) {
            let action = ["pass", "drop", "next"][below(3)];
            let field = [
                "from: \"@a\"",
                "to: [\"!@a\", 192.0.2.1]",
                "proto: tcp, port: [22, \"1024-\"]",
                "proto: icmp, icmp: [{type: 8}, {type: 3, code: [1, 2]}]",
                "zone: \"!wan\"",
                "proto: tcp, flags: {set: [syn], clear: [ack]}",
                "dscp: ef",
                "length: 0-100, ttl: 1",
                "comment: \"a: # \\\"b\\\" \\\\ \\n c\"",
                "comment: it's fine",
                "comment: 'x, [y]'",
                "enabled: false",
                "log: 10/s",
                "limit: {per: source/24, rate: 500k/s, burst: 9}, over: next",
                "expires: 2999-01-31, mode: audit, owner: ops, log: 7/m",
            ][below(15)];
            match below(3) {
                0 => rules.push_str(&format!("  - {{action: {action}, name: r{number}, {field}}}\n")),
                1 => rules.push_str(&format!(
                    "  - action: {action}  # why\n    # in between\n    {}\n    name: r{number}\n",
                    // As lines: commas between pairs only.
                    if field.contains('{') || field.contains(", ") { "enabled: true" } else { field }
                )),
                _ => rules.push_str(&format!(
                    "{}  - {{name: r{number}, comment: >-\n      {}, {field}, action: {action}}}\n",
                    ["", "\n", "  # x\n"][below(3)],
                    "unused"
                ).replace(", comment: >-\n      unused", "")),
            }
        }
        sections.push(rules);
        while !sections.is_empty() {
            text.push_str(comment[below(4)]);
            text.push_str(&sections.swap_remove(below(sections.len() as u128)));
        }
        text.push_str(comment[below(4)]);
        sound += usize::from(check(&text, &NoFiles));
    }
    assert!(sound > 250, "{sound}");
}

#[test]
fn the_form() {
    let text = "\
# The head.

rules: # first match
  - {action: pass, name: web, port: [80, 443], proto: tcp}   # both

  # Only from
  # inside.
  - name: ssh
    action: pass
    # the usual port
    proto: tcp
    port: ssh
    from: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]
default: {in: drop}
sets:
  bad:
    type: port
    elements:
      # Old ones
      - 17   # quote of the day
      - 19
      - 111 # rpcbind
version: 1
# The end.
";
    insta::assert_snapshot!(canonical("x.yaml", text).unwrap());
}

#[test]
fn the_table_of_flows_stands_behind_the_packet_section() {
    let text = "version: 1\nrules: []\nstate:\n  flows: 4096 # enough\npacket: {vlan_depth: 2}\n\
                default: {in: drop}\n";
    let out = canonical("x.yaml", text).unwrap();
    let sections: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split(':').next())
        .filter(|word| ["packet", "state", "rules"].contains(word))
        .collect();
    assert_eq!(sections, ["packet", "state", "rules"], "{out}");
    assert!(
        out.contains("state: {flows: 4096}") && out.contains("# enough"),
        "{out}"
    );
}
