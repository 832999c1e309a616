//! Small sets of iptables rules, each with one thing in it that is easily got wrong.

use super::*;

fn import(rules: &str) -> Imported {
    let text = format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n");
    let options = Options {
        language: Language { state: true },
        ..Options::default()
    };
    iptables(Some(&text), None, &options).expect("sound rules")
}

/// The effects of the entries about rules.
fn effects(imported: &Imported) -> Vec<Effect> {
    let rules = imported.left_out.iter().filter(|entry| entry.line > 0);
    rules.map(|entry| entry.effect).collect()
}

#[test]
fn a_text_of_another_kind_is_an_error_with_its_place() {
    for (text, line, column) in [
        ("", 1, 1),
        ("hello", 1, 1),
        ("*filter\n:INPUT DROP [0:0]\n", 1, 1),
        ("*filter\n*nat\nCOMMIT\n", 2, 1),
        ("*filter\n:INPUT LIKELY [0:0]\nCOMMIT\n", 2, 8),
        (
            "*filter\n:INPUT DROP [0:0]\n-A OUTPUT -j DROP\nCOMMIT\n",
            3,
            4,
        ),
        (
            "*filter\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT DROP [0:0]\nCOMMIT\n",
            4,
            1,
        ),
        ("Chain INPUT (policy ACCEPT)\n", 1, 1),
        (
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport http\"\nCOMMIT\n",
            3,
            29,
        ),
        (
            "*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a\nCOMMIT\n",
            5,
            1,
        ),
    ] {
        let error = iptables(Some(text), None, &Options::default()).expect_err(text);
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{text}: {error}"
        );
        assert!(!error.help.is_empty(), "{text}");
    }
}

#[test]
fn a_rule_that_is_not_known_whole_is_left_out_with_its_effect() {
    let imported = import(
        "-A INPUT -p tcp -m tcp --dport 80 -m recent --rcheck --name x -j DROP\n\
         -A INPUT -p tcp -m tcp --dport 22 -m quota --quota 5 -j ACCEPT\n\
         -A INPUT -p tcp -m tcp --dport 80 -j LOG\n\
         -A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n",
    );
    assert_eq!(
        effects(&imported),
        [Effect::PassesMore, Effect::PassesLess, Effect::None]
    );
    assert!(!imported.yaml.contains("port: 22"), "{}", imported.yaml);
    assert!(imported.yaml.contains("port: 80"), "{}", imported.yaml);
}

#[test]
fn what_follows_a_doubtful_return_is_doubtful_where_it_may_have_returned() {
    let imported = import(
        ":c - [0:0]\n\
         -A INPUT -p tcp -j c\n\
         -A c -p tcp -m tcp --dport 22 -m mark --mark 1 -j RETURN\n\
         -A c -j ACCEPT\n",
    );
    // Everything of TCP but port 22 is sure.
    assert_eq!(effects(&imported), [Effect::Differs, Effect::PassesLess]);
    assert!(imported.yaml.contains("port: \"!22\""), "{}", imported.yaml);
}

#[test]
fn a_return_takes_the_packets_out_of_the_rest_of_its_chain() {
    let imported = import(
        ":c - [0:0]\n\
         -A INPUT -j c\n\
         -A INPUT -s 10.0.0.0/8 -j ACCEPT\n\
         -A c -s 10.0.0.0/8 -p udp -j RETURN\n\
         -A c -p udp -j DROP\n",
    );
    assert!(effects(&imported).is_empty());
    assert!(
        imported
            .yaml
            .contains("proto: udp, from: [0.0.0.0/0, \"!10.0.0.0/8\"], action: drop"),
        "{}",
        imported.yaml
    );
}

#[test]
fn base_chains_that_follow_each_other_must_all_accept() {
    let text = "*mangle\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n\
                *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 23 -j DROP\nCOMMIT\n";
    let imported = iptables(Some(text), None, &Options::default()).expect("sound rules");
    let policy =
        firewall_policy::source::read_policy("", &imported.yaml, &firewall_policy::source::NoFiles)
            .expect("a policy")
            .policy;
    assert_eq!(
        policy.default_verdict,
        firewall_common::verdict::Verdict::DROP
    );
    let rules: Vec<&str> = policy
        .rules
        .iter()
        .map(|rule| rule.summary.as_str())
        .collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(
        rules[0].contains("port 23") && !rules[1].contains("port"),
        "{rules:?}"
    );
}

#[test]
fn a_text_that_is_no_ruleset_of_nft_is_an_error_with_its_place() {
    for (text, line, column) in [
        ("", 1, 1),
        ("table inet filter {}", 1, 1),
        ("# by hand\n#!/usr/sbin/nft -f\n", 2, 1),
        ("{\n  \"nftables\": [\n", 3, 1),
        ("{}", 1, 1),
        ("[]", 1, 1),
    ] {
        let error = nft(text, &Options::default()).expect_err(text);
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_chain_of_an_unknown_device_is_left_out() {
    let text = r#"{"nftables": [
        {"table": {"family": "netdev", "name": "t", "handle": 1}},
        {"chain": {"family": "netdev", "table": "t", "name": "c", "handle": 1, "type": "filter",
                   "hook": "ingress", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "netdev", "table": "t", "chain": "c", "handle": 2,
                  "expr": [{"drop": null}]}}]}"#;
    let imported = nft(text, &Options::default()).expect("a ruleset");
    assert_eq!(imported.left_out.len(), 1);
    assert_eq!(imported.left_out[0].effect, Effect::Differs);
    assert!(imported.yaml.contains("in: pass"), "{}", imported.yaml);
}

/// Of a new row of the table of fields, too.
#[test]
fn every_number_in_a_header_comes_over_from_nft() {
    for row in firewall_policy::fields::numbers() {
        for place in row.places {
            let value = row.range.1 - 1;
            let (protocol, _) = packets::NFT_HEADERS
                .iter()
                .find(|(_, header)| *header == place.header)
                .expect("a header of nft");
            for (op, written) in [
                ("==", value.to_string()),
                ("!=", format!("\"!{value}\"")),
                ("<", format!("{}-{}", row.range.0, value - 1)),
                (">", row.range.1.to_string()),
            ] {
                let text = format!(
                    r#"{{"nftables": [{{"table": {{"family": "inet", "name": "f"}}}},
                    {{"chain": {{"family": "inet", "table": "f", "name": "in", "type": "filter",
                        "hook": "input", "prio": 0, "policy": "accept"}}}},
                    {{"rule": {{"family": "inet", "table": "f", "chain": "in", "handle": 2, "expr": [
                        {{"match": {{"op": "{op}", "left": {{"payload":
                            {{"protocol": "{protocol}", "field": "{}"}}}}, "right": {}}}}},
                        {{"drop": null}}]}}}}]}}"#,
                    place.nft,
                    value - place.less
                );
                let imported = nft(&text, &Options::default()).expect(&text);
                let wanted = format!("{}: {written}", row.field.name());
                assert!(
                    imported.yaml.contains(&wanted),
                    "{wanted}: {}",
                    imported.yaml
                );
            }
        }
    }
}
