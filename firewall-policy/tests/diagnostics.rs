//! Every diagnostic code, by the example in its own table: the wrong form gives that code and no
//! other error, the right form gives nothing. What users see is kept as snapshots.

mod support;

use firewall_policy::compile::compile;
use firewall_policy::diag::codes::{self, Code};
use firewall_policy::diag::{Diagnostics, Findings};
use firewall_policy::lint::{lint, lint_within};
use firewall_policy::policy_tests;
use firewall_policy::source::{MAX_POLICY_BYTES, read_policy, read_policy_bytes};
use std::collections::BTreeSet;
use std::path::Path;
use support::Fake;

/// Errors, failing tests, or else warnings.
fn findings(text: &str) -> Diagnostics {
    match read_policy("firewall.yaml", text, &Fake) {
        Ok(read) => {
            let read = policy_tests::in_time("firewall.yaml", text, read);
            let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
            let tables = compile(&read.policy, &slots).expect("examples are small");
            let failing = policy_tests::failing(&read.tests, &read.policy, &tables);
            if failing.is_empty() {
                return read.warnings;
            }
            policy_tests::findings("firewall.yaml", text, &read.policy, &tables, &failing)
        }
        Err(errors) => errors,
    }
}

fn rendered(text: &str) -> String {
    findings(text).render(false)
}

/// What lint finds in a policy.
fn linted(text: &str) -> Diagnostics {
    let read = read_policy("firewall.yaml", text, &Fake).expect("a valid policy");
    let slots: Vec<u32> = (0..read.policy.counters().len() as u32).collect();
    let tables = compile(&read.policy, &slots).expect("examples are small");
    lint("firewall.yaml", text, &read.policy, &tables).findings
}

/// What lint finds with hardly any steps.
fn undecided() -> Diagnostics {
    let text = Code::complete(
        "- {name: low, proto: udp, port: 1-1023, action: drop}\n\
         - {name: high, proto: udp, port: 1024-65535, action: pass}\n\
         - {name: dns, proto: udp, port: [53, 5353], action: pass}\n",
    );
    let read = read_policy("firewall.yaml", &text, &Fake).expect("a valid policy");
    let tables = compile(&read.policy, &[0, 1, 2]).expect("examples are small");
    lint_within("firewall.yaml", &text, &read.policy, &tables, 1).findings
}

/// So many rules that only count; `{}` is a number of its own for each.
fn counting(count: usize, matches: &str) -> String {
    (0..count)
        .map(|n| {
            let matches = matches.replace("{}", &(100 + n).to_string());
            format!("- {{name: r{n}, {matches}, action: next}}\n")
        })
        .collect()
}

/// Codes whose example is made here, because it is large or not text.
fn special(code: &Code) -> Option<Diagnostics> {
    match code.id {
        "FW0103" => Some(findings(&"#".repeat(MAX_POLICY_BYTES + 1))),
        "FW0215" => Some(undecided()),
        id if id >= "FW0210" => Some(linted(&Code::complete(code.wrong))),
        "FW0113" => read_policy_bytes("firewall.yaml", b"version: 1\n# caf\xe9\n", &Fake).err(),
        "FW0134" => {
            let zones: Vec<String> = (0..255)
                .map(|n| format!("{{match: eth{n}, zone: z{n}}}"))
                .collect();
            Some(findings(&Code::complete(&format!(
                "interfaces: [{}]\n",
                zones.join(",\n")
            ))))
        }
        "FW0179" => Some(findings(&Code::complete(&counting(
            65,
            "proto: tcp, port: 1-{}",
        )))),
        "FW0149" => {
            let rules: Vec<String> = (0..159)
                .map(|n| format!("- {{name: r{n}, from: [\"@wide\", \"::1\"], action: drop}}\n"))
                .collect();
            Some(findings(&Code::complete(&format!(
                "sets: {{wide: {{type: cidr, file: sets.d/wide.txt}}}}\nrules:\n{}",
                rules.concat()
            ))))
        }
        _ => None,
    }
}

#[test]
fn every_code_is_given_by_its_wrong_example_and_not_by_its_right_one() {
    for code in codes::all() {
        let found = special(code).unwrap_or_else(|| findings(&Code::complete(code.wrong)));
        let text = found.render(false);
        assert!(
            found.list.iter().any(|d| d.code == code.id),
            "{}:\n{text}",
            code.id
        );
        if code.id != "FW0144" {
            assert!(
                found.list.iter().all(|d| d.code == code.id),
                "{}:\n{text}",
                code.id
            );
        }
        let sent = serde_json::to_string(&Findings::from(&found)).expect("JSON");
        let received: Findings = serde_json::from_str(&sent).expect("findings");
        for color in [false, true] {
            let shown = received.render(color);
            assert_eq!(shown, Some(found.render(color)), "{}", code.id);
        }
        for diagnostic in &found.list {
            assert!(diagnostic.place.line >= 1 && diagnostic.place.column >= 1);
            assert!(
                diagnostic.help.is_some(),
                "{} says what to write instead",
                code.id
            );
            assert!(!diagnostic.place.file.is_empty());
        }
        insta::assert_snapshot!(code.id, text);
        if !code.right.is_empty() {
            let right = Code::complete(code.right);
            let right = if code.id >= "FW0210" {
                linted(&right).render(false)
            } else {
                rendered(&right)
            };
            assert_eq!(right, "", "the right example of {}", code.id);
        }
    }
}

/// Every code has its golden output, and no golden output is left of a code that is gone.
#[test]
fn at_least_sixty_codes_have_golden_output() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let golden: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("snapshots")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let code = name
                .strip_prefix("diagnostics__FW")?
                .strip_suffix(".snap")?;
            Some(format!("FW{code}"))
        })
        .collect();
    let codes: BTreeSet<String> = codes::all().map(|code| code.id.to_owned()).collect();
    assert_eq!(golden, codes);
    assert!(codes.len() >= 60, "{}", codes.len());
}

#[test]
fn all_errors_of_a_policy_come_out_in_one_run_in_file_order() {
    let text = "\
version: 1
interfaces:
  - {match: wan0, zone: WAN, mode: turbo}
default: {in: dorp, log: yes}
packet: {fragments: folow-first, ipv6_ext_max: 17, vlan_depth: -1, tunnels: both}
sets:
  admins: {type: cidr, elements: [203.0.113.1/24, 2001:db8::/129]}
rules:
  - name: ssh-admins
    proto: tcp
    port: [22, 70000, 9-1]
    from: \"@admin\"
    action: dorp
  - {name: ssh-admins, proto: icmp, icmp: {type: echo}, action: pass, sate: new}
  - {proto: [tcp, upd], port: 1-, flags: {set: [sin]}, action: drop, log: 1/w, notify: [ops]}
";
    insta::assert_snapshot!(rendered(text));
}

#[test]
fn what_is_not_supported_yet_is_refused_with_a_way_round() {
    let rules: &[&str] = &[
        "observe: {http: true}",
        "fragments: first",
        "ipsec: true",
        "limit: {rate: 1/s, open: 50, per: source}",
        "notify: [ops]",
        "syn_protect: on",
    ];
    let sections: &[&str] = &[
        "default: reject\n",
        "interfaces: [{match: eth0, priority: 50}]\n",
        "alerts: []\n",
        "notify: {}\n",
    ];
    let rules = rules
        .iter()
        .map(|field| format!("- {{name: a, {field}, action: pass}}\n"));
    let sections = sections.iter().map(|section| (*section).to_string());
    let mut lines = Vec::new();
    for text in rules.chain(sections) {
        let found = findings(&Code::complete(&text));
        assert_eq!(found.list.len(), 1, "{}", found.render(false));
        assert_eq!(found.list[0].code, "FW0119", "{text}");
        let help = found.list[0].help.clone().unwrap_or_default();
        lines.push(format!("{}\n    {}", found.list[0].message, help));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_no_rate_of_a_log_is_explained() {
    let values = [
        "true",
        "no",
        "10",
        "0/s",
        "10/w",
        "\"10 / s\"",
        "[1/s]",
        "{rate: 1/s}",
    ];
    let rules = values.map(|value| format!("- {{name: a, log: {value}, action: pass}}\n"));
    let default = ["default: {in: drop, log: yes}\n".to_owned()];
    let said = rules.iter().chain(&default).map(|text| {
        let found = findings(&Code::complete(text));
        assert_eq!(found.list.len(), 1, "{}", found.render(false));
        let found = &found.list[0];
        let help = found.help.clone().unwrap_or_default();
        format!("{text}    {} {}\n    {help}\n", found.code, found.message)
    });
    insta::assert_snapshot!(said.collect::<String>());
}

#[test]
fn what_is_no_rate_of_bytes_is_explained() {
    let limits = [
        "rate: 1mb/s",
        "rate: 10 mbytes/second",
        "rate: 5Mbps",
        "rate: 64KB/s",
        "rate: 10Mbit",
        "rate: 10Mbit/w",
        "rate: 4bit/s",
        "rate: 0B/s",
        "rate: 1B/m",
        "rate: 101Gbit/s",
        "rate: 1TB/s",
        "rate: 1.5MB/s",
        "new: 10Mbit/s",
        "bytes: 10Mbit/s",
        "rate: 1MB/s, burst: 400",
        "rate: 1MB/s, burst: 0B",
        "rate: 8bit/s, burst: 1GB",
        "rate: 200/s, burst: 1MB",
    ];
    let said = limits.iter().map(|limit| {
        let found = findings(&Code::complete(&format!(
            "- {{name: a, limit: {{{limit}}}, action: pass}}\n"
        )));
        assert_eq!(found.list.len(), 1, "{limit}: {}", found.render(false));
        let found = &found.list[0];
        let help = found.help.clone().unwrap_or_default();
        format!(
            "{limit}\n    {} {}\n    {help}\n",
            found.code, found.message
        )
    });
    insta::assert_snapshot!(said.collect::<String>());
}

#[test]
fn set_file_errors_point_into_the_set_file() {
    let policy = |file: &str| {
        Code::complete(&format!(
            "sets: {{bad: {{type: cidr, file: {file}}}}}\nrules: [{{name: a, from: \"@bad\", action: drop}}]\n"
        ))
    };
    for file in [
        "bad", "empty", "secret", "binary", "missing", "packed", "long", "endless", "page",
    ] {
        let text = rendered(&policy(&format!("sets.d/{file}.txt")));
        insta::assert_snapshot!(format!("set_file_{file}"), text);
    }
}

#[test]
fn twenty_errors_are_shown_and_the_rest_counted() {
    let rules: String = (0..450)
        .map(|n| format!("- {{name: r{n}, port: 1, action: pass}}\n"))
        .collect();
    let found = findings(&Code::complete(&rules));
    assert_eq!(
        (found.list.len(), found.omitted, found.count()),
        (200, 250, 450)
    );
    let text = found.render(false);
    assert_eq!(text.matches("error[FW0163]").count(), 20);
    assert!(text.ends_with("... and 430 more\n"), "{text}");
}

#[test]
fn colour_adds_nothing_but_escapes() {
    let found = findings(&Code::complete("- {name: web, action: dorp}\n"));
    let colored = found.render(true);
    assert!(colored.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').expect("an escape ends with m").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, found.render(false));
    assert_eq!(found.to_string(), found.render(false));
}

#[test]
fn control_characters_of_the_text_never_reach_the_terminal() {
    let found = findings(&Code::complete(
        "- {name: \"\\e[2J\\u202e\\a\", action: \"\\e]0;x\\a\"}\n",
    ));
    assert_eq!(found.count(), 2);
    let text = found.render(false);
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    assert!(text.contains("`\\u{1b}[2J\\u{202e}\\u{7}`"), "{text}");
    let file = findings("version: 1\r\ndefault: {in: drpo}\r\n").render(false);
    assert!(!file.contains('\r'), "{file:?}");
}

#[test]
fn plain_data_for_json() {
    let found = findings(&Code::complete(
        "- {name: web, action: pass}\n- {name: web, action: dorp}\n",
    ));
    insta::assert_snapshot!(serde_json::to_string_pretty(&found).expect("plain data"));
}

#[test]
fn columns_count_characters() {
    let found = findings(&Code::complete(
        "- {name: a, comment: \"größer ☃\", action: dorp}\n",
    ));
    let place = &found.list[0].place;
    assert_eq!((place.line, place.column), (4, 42));
    insta::assert_snapshot!(found.render(false));
}

/// Too many rules for one packet: what the error names, and what to do about it. As many for many
/// packets are none of its business.
#[test]
fn rules_that_let_a_packet_go_on_are_named_with_what_to_do() {
    let both = |first: &str, more: &str| {
        let text = counting(40, first) + &more.replace("r0", "s0");
        rendered(&Code::complete(&text))
    };
    let other = counting(40, "from: 10.0.0.0/8, length: 1-{}");
    let others = other.replace("name: r", "name: s");
    let found = [
        // Equal but for their names.
        rendered(&Code::complete(&counting(65, "proto: udp"))),
        // Of two kinds, with nothing in common.
        both("proto: udp, source_port: 1-{}", &others),
        // By both families, but not by one packet.
        both(
            "from: 192.0.2.0/24, proto: udp, source_port: 1-{}",
            &others.replace("10.0.0.0/8", "\"2001:db8::/32\""),
        ),
        // Those with more to ask.
        rendered(&Code::complete(&counting(
            17,
            "proto: udp, port: 1-{}, log: 1/s",
        ))),
        // In audit mode, or until a time.
        rendered(&Code::complete(
            &counting(65, "proto: udp, port: 1-{}, mode: audit").replace("next", "drop"),
        )),
        rendered(&Code::complete(
            &counting(17, "proto: udp, port: 1-{}, expires: 2999-01-31").replace("next", "drop"),
        )),
        // What decides, and what is apart, may be as many as it likes.
        rendered(&Code::complete(
            &counting(1_000, "proto: udp, port: 1-{}, log: 1/s").replace("next", "drop"),
        )),
        rendered(&Code::complete(&counting(2_000, "proto: udp, port: {}"))),
    ];
    insta::assert_snapshot!(found.join("----\n"));
}

/// A list of nothing but exclusions means everything else. If nothing else is left, the rule matches
/// nothing, and nobody means that.
#[test]
fn sources_that_exclude_everything_are_an_error() {
    let rule = |from: &str| {
        let rules = format!("- {{name: a, from: {from}, action: pass}}\n");
        let text = format!("version: 1\ndefault: {{in: drop}}\nrules:\n{rules}");
        let list = findings(&text).list.into_iter();
        list.map(|finding| finding.code).collect::<Vec<_>>()
    };
    for nothing in [
        "[\"!0.0.0.0/0\", \"!::/0\"]",
        "[\"!0.0.0.0/1\", \"!128.0.0.0/1\", \"!::/0\"]",
        "[10.0.0.0/8, \"!10.0.0.0/8\"]",
    ] {
        assert_eq!(rule(nothing), ["FW0167"], "{nothing}");
    }
    // One family is left.
    assert!(rule("[\"!0.0.0.0/0\"]").is_empty());
}
