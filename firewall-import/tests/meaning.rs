//! What the rules of other firewalls mean, in small texts: each once changed its meaning without a
//! word, or was described wrongly.

use firewall_import::{self as import, Effect, Imported, Options};
use firewall_policy::diff::diff;
use firewall_policy::rule::Policy;
use firewall_policy::source::{NoFiles, read_policy};
use std::fmt::Write as _;
use std::path::Path;

fn policy(imported: &Imported) -> Policy {
    match read_policy("imported", &imported.yaml, &NoFiles) {
        Ok(read) => read.policy,
        Err(faults) => panic!("{}\n{}", faults.render(false), imported.yaml),
    }
}

fn iptables(text: &str) -> Imported {
    import::iptables(Some(text), None, &Options::default()).expect(text)
}

/// The rules of a chain INPUT that drops.
fn input(rules: &str) -> Imported {
    iptables(&format!(
        "*filter\n:INPUT DROP [0:0]\n:c - [0:0]\n{rules}COMMIT\n"
    ))
}

/// The same of nft, in a table `inet filter`; `more` are other objects.
fn nft(more: &str, rules: &[&str]) -> Imported {
    let mut text = String::from(
        r#"{"nftables": [{"table": {"family": "inet", "name": "f", "handle": 1}},
        {"chain": {"family": "inet", "table": "f", "name": "in", "handle": 1, "type": "filter",
                   "hook": "input", "prio": 0, "policy": "drop"}}"#,
    );
    text.push_str(more);
    for (number, rule) in rules.iter().enumerate() {
        write!(
            text,
            r#", {{"rule": {{"family": "inet", "table": "f", "chain": "in", "handle": {}, "expr": [{rule}]}}}}"#,
            number + 2
        )
        .expect("a string");
    }
    text.push_str("]}");
    import::nft(&text, &Options::default()).expect(&text)
}

/// The effects of the entries about rules, as they stand.
fn effects(imported: &Imported) -> Vec<Effect> {
    let rules = imported.left_out.iter();
    let rules = rules.filter(|entry| entry.line > 0 || entry.place.contains("handle"));
    rules.map(|entry| entry.effect).collect()
}

#[track_caller]
fn says(imported: &Imported, text: &str) {
    // However a rule is broken into lines.
    let flat = |text: &str| -> String { text.chars().filter(|c| !"{}, \n".contains(*c)).collect() };
    assert!(
        flat(&imported.yaml).contains(&flat(text)),
        "{text}\n{}",
        imported.yaml
    );
}

/// Options behind `-j` count as those before it.
#[test]
fn words_stand_in_any_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iptables");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "v4") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let turned: String = text.lines().map(|line| turned(line) + "\n").collect();
        let (plain, turned) = (iptables(&text), iptables(&turned));
        let difference = diff(&policy(&plain), &policy(&turned));
        assert!(difference.is_empty(), "{}: {difference:?}", path.display());
        assert_eq!(plain.passes_more(), turned.passes_more());
        tried += 1;
    }
    assert!(tried > 10);
    let imported = input("-A INPUT -j ACCEPT -p tcp --dport 22\n");
    says(&imported, "default: {in: drop");
    says(&imported, "port: 22");
    // Several addresses in one option, as files have it that people write.
    let imported =
        input("-A INPUT -s 192.0.2.1,198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT\n");
    says(&imported, "from: [192.0.2.1, 198.51.100.0/24]");
    assert!(effects(&imported).is_empty());
}

/// A rule with its target first.
fn turned(line: &str) -> String {
    let Some((head, target)) = line.split_once(" -j ") else {
        return line.to_owned();
    };
    let mut words = head.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("-A"), Some(chain), Some(rest)) => format!("-A {chain} -j {target} {rest}"),
        _ => line.to_owned(),
    }
}

#[test]
fn an_option_that_is_not_known_is_a_loss_by_its_verdict() {
    let imported = input(
        "-A INPUT -j DROP --wrong 5 -p tcp\n-A INPUT -p tcp --dport 25 -j ACCEPT --wrong\n\
         -A INPUT -p nowhere -j DROP\n-A INPUT -s example.net -j ACCEPT\n\
         -A INPUT -p tcp --dport 80 -j ACCEPT\n",
    );
    use Effect::{PassesLess, PassesMore};
    assert_eq!(
        effects(&imported),
        [PassesMore, PassesLess, PassesMore, PassesLess]
    );
    says(&imported, "port: 80");
    assert!(!imported.yaml.contains("port: 25"), "{}", imported.yaml);
    assert_eq!(
        (imported.rules, imported.exact, imported.passes_more()),
        (5, 1, 2)
    );
}

#[test]
fn the_protocol_of_ipv4_says_nothing_of_ipv6() {
    let imported = nft(
        "",
        &[
            r#"{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "protocol"}},
              "right": "tcp"}}, {"accept": null}"#,
        ],
    );
    says(&imported, "from: 0.0.0.0/0, action: pass");
    assert!(!imported.yaml.contains("::/0"), "{}", imported.yaml);
}

#[test]
fn thousands_of_pairs_are_a_few_rules() {
    let mut ipset = String::from("create pairs hash:ip,port family inet\n");
    let mut elements = Vec::new();
    for number in 0..4_500 {
        let (a, b, port) = (number / 250, number % 250 + 1, [22, 80, 443][number % 3]);
        writeln!(ipset, "add pairs 203.0.{a}.{b},tcp:{port}").expect("a string");
        elements.push(format!(r#"{{"concat": ["203.0.{a}.{b}", {port}]}}"#));
    }
    let options = Options {
        ipset: Some(ipset),
        ..Options::default()
    };
    let text =
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -m set --match-set pairs src,dst -j ACCEPT\nCOMMIT\n";
    let imported = import::iptables(Some(text), None, &options).expect("sound");
    assert_eq!(policy(&imported).rules.len(), 3, "{}", imported.yaml.len());
    assert!(effects(&imported).is_empty());
    let set = format!(
        r#", {{"set": {{"family": "inet", "table": "f", "name": "pairs", "handle": 9,
            "type": ["ipv4_addr", "inet_service"], "elem": [{}]}}}}"#,
        elements.join(", ")
    );
    let rule = r#"{"match": {"op": "==", "left": {"concat": [
        {"payload": {"protocol": "ip", "field": "saddr"}},
        {"payload": {"protocol": "tcp", "field": "dport"}}]}, "right": "@pairs"}}, {"accept": null}"#;
    let imported = nft(&set, &[rule]);
    assert_eq!(policy(&imported).rules.len(), 3);
    assert!(effects(&imported).is_empty());
}

#[test]
fn interfaces_that_no_rule_names_are_filtered_too() {
    let imported = input("-A INPUT -i wg0 -p tcp --dport 22 -j ACCEPT\n-A INPUT -i tun+ -j DROP\n");
    says(&imported, "match: \"*\"");
    says(&imported, "zone: wg0");
    assert!(effects(&imported).is_empty());
    // Ports of a bridge are filtered where their bridge is.
    let imported = input("-A INPUT -i br-lan -j ACCEPT\n-A INPUT -i eth1 -j REJECT\n");
    says(&imported, "match: default-route");
    assert_eq!(imported.passes_more(), 1);
    // Nothing is dropped elsewhere.
    let text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -p udp -j DROP\nCOMMIT\n";
    assert!(!iptables(text).yaml.contains("\"*\""));
}

#[test]
fn a_group_of_essential_traffic_is_on_if_all_of_it_passes() {
    let six = |rules: &str| {
        let text = format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n");
        import::iptables(None, Some(&text), &Options::default()).expect("sound")
    };
    let imported = six("-A INPUT -i eth0 -p ipv6-icmp --icmpv6-type 134 -j DROP\n\
                        -A INPUT -p ipv6-icmp -j ACCEPT\n");
    says(&imported, "neighbour: false");
    let imported = six("-A INPUT -p ipv6-icmp -j ACCEPT\n");
    assert!(!imported.yaml.contains("neighbour"), "{}", imported.yaml);
    // Errors about a connection are part of it; others were dropped.
    let imported = six("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
    says(&imported, "icmp_error: false");
    says(&imported, "state: established");
    // A limit does not pass everything.
    let imported = six("-A INPUT -p ipv6-icmp -m limit --limit 10/s -j ACCEPT\n");
    says(&imported, "neighbour: false");
}

#[test]
fn what_nft_does_not_show_whole_is_no_harmless_loss() {
    let port = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                  "right": 22}}"#;
    let rules = [
        format!(r#"{{"xt": {{"type": "match", "name": "owner"}}}}, {port}, {{"drop": null}}"#),
        format!(r#"{port}, {{"xt": {{"type": "target", "name": "TARPIT"}}}}"#),
        format!(r#"{port}, {{"xt": null}}"#),
        format!(r#"{port}, {{"jump": {{"target": "__chain7"}}}}"#),
        format!(r#"{port}, {{"accept": null}}"#),
    ];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let imported = nft("", &rules);
    assert!(
        effects(&imported)
            .iter()
            .all(|effect| *effect != Effect::None),
        "{:?}",
        imported.left_out
    );
    assert!(effects(&imported).len() >= 4);
}

#[test]
fn dumps_of_both_families_in_one_text_are_two() {
    let (v4, v6) = (
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.0.2.0/24 -j ACCEPT\nCOMMIT\n",
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 2001:db8::/32 -j DROP\nCOMMIT\n",
    );
    let apart = import::iptables(Some(v4), Some(v6), &Options::default()).expect("sound");
    let joined = iptables(&format!("{v4}{v6}"));
    assert!(diff(&policy(&apart), &policy(&joined)).is_empty());
    assert_eq!(apart.left_out, joined.left_out);
    // Of one family twice, the second would replace the first.
    let error = import::iptables(Some(&format!("{v4}{v4}")), None, &Options::default());
    assert_eq!(error.expect_err("twice").line, 5);
}

#[test]
fn states_in_a_map_and_in_rules_of_their_own_are_no_losses() {
    let map = r#"{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [
        ["established", {"accept": null}], ["related", {"accept": null}],
        ["invalid", {"drop": null}]]}}}"#;
    let imported = nft("", &[map]);
    assert!(effects(&imported).is_empty(), "{:?}", imported.left_out);
    says(&imported, "state: invalid, action: drop");
    let apart = input(
        "-A INPUT -m state --state ESTABLISHED -j ACCEPT\n-A INPUT -m state --state RELATED -j ACCEPT\n",
    );
    assert!(effects(&apart).is_empty(), "{:?}", apart.left_out);
}

#[test]
fn maps_over_what_is_not_known_and_dormant_tables_keep_their_chains() {
    let chain = r#", {"chain": {"family": "inet", "table": "f", "name": "lan", "handle": 3}},
        {"rule": {"family": "inet", "table": "f", "chain": "lan", "handle": 40, "expr": [{"accept": null}]}}"#;
    let map = r#"{"vmap": {"key": {"meta": {"key": "oifname"}}, "data": {"set": [
        ["eth0", {"jump": {"target": "lan"}}]]}}}"#;
    let imported = nft(chain, &[map]);
    let lost: Vec<Effect> = effects(&imported);
    assert_eq!(lost, [Effect::PassesLess, Effect::Differs]);
    let dormant = r#"{"nftables": [
        {"table": {"family": "ip", "name": "t", "handle": 1, "flags": ["dormant"]}},
        {"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1, "type": "filter",
                   "hook": "input", "prio": 0, "policy": "drop"}}]}"#;
    let imported = import::nft(dormant, &Options::default()).expect("sound");
    says(&imported, "default: {in: pass}");
    let ports = r#"{"match": {"op": "==", "left": {"concat": [{"meta": {"key": "l4proto"}},
        {"payload": {"protocol": "th", "field": "dport"}}]}, "right": {"set": [
        {"concat": ["tcp", 22]}, {"concat": ["udp", 53]}]}}}, {"accept": null}"#;
    assert!(effects(&nft("", &[ports])).is_empty());
}

#[test]
fn forwarded_packets_are_told_apart_by_own_addresses() {
    let imported = iptables(
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n\
         -A FORWARD -i lan0 -j ACCEPT\nCOMMIT\n",
    );
    says(&imported, "\"!@self\"");
    says(&imported, "port: 22");
    let imported = input("-A INPUT -p tcp --dport 22 -m addrtype --dst-type LOCAL -j ACCEPT\n");
    says(&imported, "to: \"@self\"");
    assert!(effects(&imported).is_empty());
}

#[test]
fn rates_are_limits() {
    let imported = input(
        "-A INPUT -p icmp --icmp-type 8 -m limit --limit 6/min --limit-burst 9 -j ACCEPT\n\
         -A INPUT -p udp --dport 53 -m hashlimit --hashlimit-above 50/sec --hashlimit-burst 100 \
         --hashlimit-mode srcip --hashlimit-srcmask 24 --hashlimit-name x -j DROP\n\
         -A INPUT -p udp --dport 53 -j ACCEPT\n\
         -A INPUT -p tcp --dport 22 -m recent --set --name s\n\
         -A INPUT -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name s -j DROP\n\
         -A INPUT -p tcp --dport 22 -j ACCEPT\n\
         -A INPUT -p tcp --dport 80 -j c\n\
         -A INPUT -p tcp --dport 80 -j ACCEPT\n\
         -A c -m limit --limit 25/sec --limit-burst 100 -j RETURN\n-A c -j DROP\n",
    );
    says(
        &imported,
        "limit: {rate: 6/m, burst: 9}, over: next, action: pass",
    );
    says(
        &imported,
        "port: 53, from: 0.0.0.0/0, limit: {rate: 50/s, per: source/24}, action: pass",
    );
    says(
        &imported,
        "port: 22, from: 0.0.0.0/0, limit: {rate: 3/m, per: source}, action: pass",
    );
    says(
        &imported,
        "port: 80, from: 0.0.0.0/0, limit: {rate: 25/s, burst: 100}, action: pass",
    );
    let meter = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
        "right": 22}}, {"set": {"op": "add", "elem": {"payload": {"protocol": "ip", "field": "saddr"}},
        "set": "@m", "stmt": [{"limit": {"rate": 10, "burst": 5, "per": "minute", "inv": true}}]}},
        {"drop": null}"#;
    let set = r#", {"set": {"family": "inet", "table": "f", "name": "m", "handle": 9,
        "type": "ipv4_addr", "flags": ["dynamic"]}}"#;
    let ssh = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
        "right": 22}}, {"limit": {"rate": 3, "burst": 5, "per": "minute"}}, {"accept": null}"#;
    let imported = nft(set, &[meter, ssh]);
    says(
        &imported,
        "limit: {rate: 10/m, burst: 5, per: source}, action: next",
    );
    says(
        &imported,
        "limit: {rate: 3/m, burst: 5}, over: next, action: pass",
    );
    assert!(effects(&imported).is_empty(), "{:?}", imported.left_out);
}

/// A return within a rate is neither a return of all packets nor of none.
#[test]
fn a_rate_that_no_limit_can_say_is_in_the_list() {
    let imported = input(
        "-A INPUT -p tcp --dport 80 -j c\n-A INPUT -p tcp --dport 80 -j ACCEPT\n\
         -A c -m limit --limit 25/sec -j RETURN\n-A c -s 192.0.2.0/24 -j DROP\n",
    );
    use Effect::{Differs, PassesMore};
    assert_eq!(effects(&imported), [Differs, PassesMore]);
}

#[test]
fn rules_of_ufw_are_as_many_rules() {
    let text = "ufw limit ssh\nufw allow 443/tcp\nufw allow 60000:61000/udp\n\
                ufw allow from 203.0.113.0/24 to any port 5432 proto tcp comment 'office db'\n\
                ufw deny from 198.51.100.7\n";
    let imported = import::ufw(text, None, &Options::default()).expect("rules of ufw");
    assert_eq!((imported.rules, imported.passes_more()), (5, 0));
    let named = policy(&imported).rules;
    let own = named.iter().filter(|rule| rule.name.starts_with("ufw-"));
    let own_rules = own.count();
    assert_eq!(named.len() - own_rules, 5, "{}", imported.yaml);
    assert_eq!(imported.yaml.matches("# ufw's own rules").count(), 1);
    assert!(own_rules <= 12, "{}", imported.yaml);
    says(&imported, "name: office-db, comment: \"office db\"");
    says(&imported, "limit: {rate: 5/30s, per: source}, action: pass");
    says(&imported, "mld-query");
    let error = import::ufw("Status: inactive\n", None, &Options::default());
    assert_eq!(error.expect_err("no rules").line, 1);
}

/// Answers of protocols without connections here: a loss, unless they pass as what they are.
#[test]
fn answers_of_other_protocols_are_a_loss() {
    let rules = |policy: &str, more: &str| {
        format!(
            "*filter\n:INPUT {policy} [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j \
             ACCEPT\n{more}COMMIT\n"
        )
    };
    let lost = |text: &str| {
        let imported = iptables(text);
        let answers =
            |entry: &&import::LeftOut| entry.reason.contains("answers of other protocols");
        let found = imported.left_out.iter().find(answers);
        found.map(|entry| entry.effect)
    };
    let tcp = "-A INPUT -p tcp --dport 22 -j ACCEPT\n";
    assert_eq!(lost(&rules("DROP", tcp)), Some(Effect::PassesLess));
    assert_eq!(lost(&rules("ACCEPT", "")), None);
    let all = "-A INPUT -p tcp -j DROP\n-A INPUT -p udp -j DROP\n-A INPUT -p icmp -j DROP\n\
               -A INPUT -j ACCEPT\n";
    assert_eq!(lost(&rules("DROP", all)), None);
    let esp = "-A INPUT -p esp -j ACCEPT\n";
    assert_eq!(lost(&rules("DROP", esp)), Some(Effect::PassesLess));
    let only_tcp = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m conntrack --ctstate ESTABLISHED -j \
                    ACCEPT\nCOMMIT\n";
    assert_eq!(lost(only_tcp), None);
}

/// Of rules, of an ipset, and of a set of nft. `FIREWALL_CASES` says how long the list is.
#[test]
fn a_long_list_of_bans_is_one_rule_and_one_set() {
    let count = std::env::var("FIREWALL_CASES").ok();
    let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let bans = (0..count as u32).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + 2 * number));
    let bans: Vec<String> = bans.map(|address| address.to_string()).collect();
    let (mut rules, mut ipset) = (String::new(), String::from("create bad hash:ip\n"));
    for address in &bans {
        writeln!(rules, "-A bans -s {address}/32 -j DROP").expect("a string");
        writeln!(ipset, "add bad {address}").expect("a string");
    }
    let chain = "*filter\n:INPUT ACCEPT [0:0]\n:bans - [0:0]\n-A INPUT -j bans\n";
    let one = |imported: &Imported, began: std::time::Instant| {
        let took = began.elapsed();
        println!("{count} bans: {took:?}");
        assert_eq!(policy(imported).rules.len(), 1);
        assert_eq!(imported.yaml.matches("type: cidr").count(), 1);
        assert_eq!(imported.rules, imported.exact);
    };
    let began = std::time::Instant::now();
    let imported = iptables(&format!("{chain}{rules}COMMIT\n"));
    assert_eq!(imported.rules, count + 1);
    one(&imported, began);
    let options = Options {
        ipset: Some(ipset),
        ..Options::default()
    };
    let text = format!("{chain}-A bans -m set --match-set bad src -j DROP\nCOMMIT\n");
    let began = std::time::Instant::now();
    one(
        &import::iptables(Some(&text), None, &options).expect("sound"),
        began,
    );
    let set = format!(
        r#", {{"set": {{"family": "inet", "table": "f", "name": "bad", "handle": 9,
            "type": "ipv4_addr", "elem": ["{}"]}}}}"#,
        bans.join(r#"", ""#)
    );
    let rule = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "@bad"}}, {"drop": null}"#;
    let pass = r#"{"accept": null}"#;
    let began = std::time::Instant::now();
    one(&nft(&set, &[rule, pass]), began);
}

#[test]
fn other_forms_of_the_rules_are_read_or_answered_with_a_command() {
    let listed =
        iptables("-P INPUT DROP\n-N web\n-A INPUT -j web\n-A web -p tcp --dport 80 -j ACCEPT\n");
    says(&listed, "port: 80");
    let nft = import::nft("table inet filter {\n}\n", &Options::default());
    assert!(
        nft.expect_err("text")
            .help
            .contains("sudo nft -j list ruleset")
    );
}

/// What ipset masks when it looks, a policy holds as prefixes.
#[test]
fn masked_sets_hold_networks() {
    let rules = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m set --match-set m src -j ACCEPT\nCOMMIT\n";
    let of = |create: &str| {
        let options = Options {
            ipset: Some(format!("create m {create}\nadd m 203.0.113.0\n")),
            ..Options::default()
        };
        import::iptables(Some(rules), None, &options).expect("sound")
    };
    says(
        &of("hash:ip family inet netmask 24"),
        "from: 203.0.113.0/24",
    );
    says(
        &of("hash:ip family inet bitmask 255.255.0.0"),
        "from: 203.0.0.0/16",
    );
    says(&of("hash:ip family inet"), "from: 203.0.113.0,");
    // Holes are no prefix.
    let holes = of("hash:ip family inet bitmask 255.0.255.0");
    assert_eq!(effects(&holes), [Effect::PassesLess]);
}

/// Each rule of the original has its own bucket, and each rule here too: what is joined or divided says so.
#[test]
fn a_rate_is_shared_by_whom_the_original_shared_it() {
    let two = input(
        "-A INPUT -s 198.51.100.1/32 -p tcp -m tcp --dport 25 -m limit --limit 5/min -j ACCEPT\n\
         -A INPUT -s 198.51.100.2/32 -p tcp -m tcp --dport 25 -m limit --limit 5/min -j ACCEPT\n",
    );
    assert_eq!(policy(&two).rules.len(), 2, "{}", two.yaml);
    let one = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 25 -m limit --limit 5/min -j \
               ACCEPT\nCOMMIT\n";
    let both = import::iptables(Some(one), Some(one), &Options::default()).expect("sound");
    assert_eq!(policy(&both).rules.len(), 2, "{}", both.yaml);
    assert!(effects(&both).is_empty());
    let limit = r#"{"limit": {"rate": 3, "burst": 5, "per": "minute"}}"#;
    let ssh = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
        "right": 22}}"#;
    let shared = nft("", &[&format!(r#"{ssh}, {limit}, {{"accept": null}}"#)]);
    assert_eq!(policy(&shared).rules.len(), 1, "{}", shared.yaml);
    // The families part by a rule before it, so that each has the rate.
    let before = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}, {"drop": null}"#;
    let chain = r#", {"chain": {"family": "inet", "table": "f", "name": "ssh", "handle": 30}},
        {"rule": {"family": "inet", "table": "f", "chain": "ssh", "handle": 31, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}}, {"return": null}]}},
        {"rule": {"family": "inet", "table": "f", "chain": "ssh", "handle": 32, "expr": [
        {"limit": {"rate": 3, "burst": 5, "per": "minute"}}, {"accept": null}]}}"#;
    let jump = format!(r#"{ssh}, {{"jump": {{"target": "ssh"}}}}"#);
    let parted = nft(chain, &[&jump, before]);
    let more = parted
        .left_out
        .iter()
        .filter(|entry| entry.reason.contains("its one rate"));
    assert_eq!(more.count(), 1, "{}", parted.yaml);
    // A rate that counts what conditions behind it leave out is another one.
    let late = nft("", &[&format!(r#"{limit}, {ssh}, {{"accept": null}}"#)]);
    assert_eq!(effects(&late), [Effect::Differs]);
    let late = input("-A INPUT -p tcp -m limit --limit 5/min -m tcp --dport 25 -j ACCEPT\n");
    assert_eq!(effects(&late), [Effect::Differs]);
}

/// nft adds the protocol to `reject with tcp reset`, and the family to its ICMP kin, and lists neither.
#[test]
fn a_reject_is_for_the_packets_that_its_answer_is_for() {
    for (kind, rest) in [
        ("tcp reset", "proto: tcp"),
        ("icmp", "from: 0.0.0.0/0"),
        ("icmpv6", "\"::/0\""),
    ] {
        let reject = format!(r#"{{"reject": {{"type": "{kind}", "expr": "port-unreachable"}}}}"#);
        let imported = nft("", &[&reject, r#"{"accept": null}"#]);
        says(&imported, rest);
        assert!(effects(&imported).is_empty());
    }
}

#[test]
fn what_this_host_redirects_of_its_own_is_no_difference() {
    for (chain, effect) in [("PREROUTING", Effect::Differs), ("OUTPUT", Effect::None)] {
        let imported = iptables(&format!(
            "*nat\n:{chain} ACCEPT [0:0]\n-A {chain} -p tcp --dport 8080 -j REDIRECT --to-ports 80\n\
             COMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
        ));
        assert_eq!(effects(&imported), [effect], "{chain}");
    }
}

#[test]
fn what_nat_drops_passes_more() {
    let text = r#"{"nftables": [{"table": {"family": "ip", "name": "n", "handle": 1}},
        {"chain": {"family": "ip", "table": "n", "name": "pre", "handle": 1, "type": "nat",
                   "hook": "prerouting", "prio": -100, "policy": "drop"}},
        {"rule": {"family": "ip", "table": "n", "chain": "pre", "handle": 2, "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
            {"drop": null}]}}]}"#;
    for (hook, count) in [
        ("prerouting", 2),
        ("input", 2),
        ("output", 0),
        ("postrouting", 0),
    ] {
        let text = text.replace("prerouting", hook);
        let imported = import::nft(&text, &Options::default()).expect("sound");
        assert_eq!(
            imported.passes_more(),
            count,
            "{hook}: {:?}",
            imported.left_out
        );
        // What leaves is not filtered.
        let nothing = count == 0;
        let none = |effect: &Effect| *effect == Effect::None;
        assert_eq!(effects(&imported).iter().all(none), nothing, "{hook}");
    }
    let imported =
        iptables("*nat\n:PREROUTING DROP [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n");
    let lost = imported
        .left_out
        .iter()
        .filter(|entry| entry.text == "policy DROP");
    let effects: Vec<Effect> = lost.map(|entry| entry.effect).collect();
    assert_eq!(effects, [Effect::PassesMore]);
}

/// A set that rules fill and others ask is not what it was when it was saved.
#[test]
fn sets_that_rules_fill_differ() {
    let fill = "-A INPUT -p tcp -m tcp --dport 23 -j SET --add-set scanners src\n";
    let ask = "-A INPUT -m set --match-set scanners src -j DROP\n";
    let options = Options {
        ipset: Some("create scanners hash:ip\nadd scanners 192.0.2.1\n".into()),
        ..Options::default()
    };
    let of = |rules: &str| {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n{rules}COMMIT\n");
        effects(&import::iptables(Some(&text), None, &options).expect("sound"))
    };
    assert_eq!(of(fill), [Effect::None]);
    assert_eq!(of(&format!("{fill}{ask}")), [Effect::Differs]);
    let set = r#", {"set": {"family": "inet", "table": "f", "name": "m", "handle": 9,
        "type": "ipv4_addr", "flags": ["dynamic"]}}"#;
    let add = r#"{"set": {"op": "add", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@m"}}"#;
    let asks = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "@m"}}, {"accept": null}"#;
    assert_eq!(effects(&nft(set, &[add])), [Effect::None]);
    assert!(effects(&nft(set, &[add, asks])).contains(&Effect::Differs));
}

/// Files that went through Windows, lines of `nft -nn`, and files that were cut off.
#[test]
fn files_as_they_come() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    let plain = iptables(text);
    let windows = iptables(&format!("\u{feff}{}", text.replace('\n', "\r\n")));
    assert!(diff(&policy(&plain), &policy(&windows)).is_empty());
    assert_eq!(plain.left_out, windows.left_out);
    let json = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": 6}}, {"accept": null}"#;
    let words = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}},
        "right": ["established", "related"]}}, {"accept": null}"#;
    let (numbers, words) = (nft("", &[json]), nft("", &[words]));
    assert!(diff(&policy(&numbers), &policy(&words)).is_empty());
    assert_eq!(effects(&numbers), effects(&words));
    let cut = |text: &str| import::iptables(Some(text), None, &Options::default()).is_err();
    for end in 1..text.len() - 1 {
        if text.is_char_boundary(end) {
            assert!(cut(&text[..end]), "{}", &text[..end]);
        }
    }
    let ufw = "*filter\n:ufw-user-input - [0:0]\n### RULES ###\n\n### tuple ### allow tcp 22 0.0.0.0/0 any \
               0.0.0.0/0 in\n-A ufw-user-input -p tcp --dport 22 -j ACCEPT\n";
    let error = import::ufw(ufw, None, &Options::default()).expect_err("cut off");
    assert!(error.help.contains("cut off"), "{error}");
    assert!(import::ufw(&format!("{ufw}COMMIT\n"), None, &Options::default()).is_ok());
}

/// `u32` counts from the IP header: over one of IPv6, the way over the header of IPv4 leads elsewhere.
#[test]
fn bytes_at_a_place_of_ipv4_are_none_of_ipv6() {
    let rule = "-A INPUT -p udp -m udp --dport 27015 -m u32 --u32 \"0x0>>0x16&0x3c@0x8=0xffffffff\" -j ACCEPT";
    let text = format!("*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n");
    let v4 = iptables(&text);
    says(&v4, "payload: {bytes: \"ff ff ff ff\"}");
    let v6 = import::iptables(None, Some(&text), &Options::default()).expect("sound");
    assert!(!v6.yaml.contains("payload: {"), "{}", v6.yaml);
    assert!(effects(&v6).contains(&Effect::PassesLess), "{}", v6.yaml);
}

/// The rule of an earlier chain lets pass what a later one accepts: by its content, then all of it.
#[test]
fn what_passes_by_its_content_is_not_all_that_passes() {
    let chain = |name: &str, priority: i32, policy: &str| {
        format!(
            "{{\"chain\":{{\"family\":\"inet\",\"table\":\"t\",\"name\":\"{name}\",\"handle\":1,\"type\":\"filter\",\
             \"hook\":\"input\",\"prio\":{priority},\"policy\":\"{policy}\"}}}}"
        )
    };
    let rule = |chain: &str, handle: u32, content: &str| {
        format!(
            "{{\"rule\":{{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"{chain}\",\"handle\":{handle},\"expr\":[\
             {{\"match\":{{\"op\":\"==\",\"left\":{{\"payload\":{{\"protocol\":\"udp\",\"field\":\"dport\"}}}},\
             \"right\":27016}}}},{content}{{\"accept\":null}}]}}}}"
        )
    };
    let bytes = "{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"base\":\"th\",\"offset\":64,\"len\":32}},\
                 \"right\":84}},";
    let text = format!(
        "{{\"nftables\":[{{\"table\":{{\"family\":\"inet\",\"name\":\"t\",\"handle\":1}}}},{},{},{},{},{}]}}",
        chain("a", -10, "drop"),
        chain("b", 0, "drop"),
        rule("a", 3, ""),
        rule("b", 4, bytes),
        rule("b", 5, ""),
    );
    let imported = import::nft(&text, &Options::default()).expect("sound");
    let policy = policy(&imported);
    assert!(
        policy
            .rules
            .iter()
            .any(|rule| rule.matches.content.is_none()),
        "{}",
        imported.yaml
    );
}
