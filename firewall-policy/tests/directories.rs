//! Policies of several files: what is wrong in any of them is said with its file and line, and what
//! they mean is what one file with the same rules in the same order means.

mod support;

use firewall_policy::bundle::{self, Part};
use firewall_policy::compile::compile;
use firewall_policy::fmt::canonical;
use firewall_policy::lint::lint;
use firewall_policy::policy_tests;
use firewall_policy::source::{Files, NoFiles, Read, read_policy};
use std::cell::RefCell;
use std::io;
use support::Fake;

const MAIN: &str = "\
version: 1
interfaces: [{match: eth0, zone: wan}]
default: {in: drop}
sets: {office: {type: cidr, elements: [192.0.2.0/24]}}
rules:
  - {name: ssh, proto: tcp, port: ssh, from: \"@office\", action: pass}
tests:
  - {name: ssh, packet: \"tcp 192.0.2.1 > 198.51.100.1:22 syn\", expect: pass, by: ssh}
";

/// The text of a directory.
fn directory(files: &[(&str, &str)]) -> String {
    let parts = files.iter().map(|&(path, text)| Part { path, text });
    bundle::join(parts)
}

fn errors(files: &[(&str, &str)]) -> String {
    read_policy("/etc/firewall", &directory(files), &Fake)
        .expect_err("broken")
        .render(false)
}

fn read(text: &str) -> Read {
    read_policy("/etc/firewall/", text, &Fake).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn files_mean_what_one_file_means() {
    let text = directory(&[
        ("firewall.yaml", MAIN),
        (
            "rules.d/10-web.yaml",
            "version: 1\nsets:\n  ports: {type: port, elements: [80, 443]}\nrules:\n\
             - {name: web, proto: tcp, port: \"@ports\", action: pass}\n",
        ),
        (
            "rules.d/20-office.yaml",
            "# A comment.\nversion: 1\nrules: [{name: office, from: \"@office\", action: pass}]\n\
             tests: [{name: web, packet: \"tcp 203.0.113.1 > 198.51.100.1:443 syn\", expect: pass, by: web}]\n",
        ),
    ]);
    let one = "\
version: 1
interfaces: [{match: eth0, zone: wan}]
default: {in: drop}
sets:
  office: {type: cidr, elements: [192.0.2.0/24]}
  ports: {type: port, elements: [80, 443]}
rules:
  - {name: ssh, proto: tcp, port: ssh, from: \"@office\", action: pass}
  - {name: web, proto: tcp, port: \"@ports\", action: pass}
  - {name: office, from: \"@office\", action: pass}
";
    let (many, one) = (read(&text), read(one));
    let places: Vec<String> = many
        .policy
        .rules
        .iter()
        .map(|rule| format!("{}:{}", rule.place.file, rule.place.line))
        .collect();
    assert_eq!(
        places,
        [
            "/etc/firewall/firewall.yaml:6",
            "/etc/firewall/rules.d/10-web.yaml:5",
            "/etc/firewall/rules.d/20-office.yaml:3"
        ]
    );
    let tables = |read: &Read| compile(&read.policy, &[0, 1, 2]).expect("small").bytes;
    assert_eq!(tables(&many), tables(&one));
    assert_eq!(many.tests.len(), 2);
    let tables = compile(&many.policy, &[0, 1, 2]).expect("small");
    assert!(policy_tests::failing(&many.tests, &many.policy, &tables).is_empty());
}

#[test]
fn every_mistake_names_its_file() {
    insta::assert_snapshot!(errors(&[
        ("firewall.yaml", MAIN),
        (
            "rules.d/10-web.yaml",
            "version: 1\ndefault: {in: pass}\nallow: all\nsets:\n  \
             office: {type: cidr, elements: [198.51.100.0/24]}\nrules:\n\
             - {name: web, proto: tcp, port: 80, action: dorp}\n\
             - {name: dns, proto: udp, port: 53, from: \"@ofice\", action: pass}\n",
        ),
        (
            "rules.d/20-more.yaml",
            "rules:\n- {name: ssh, proto: tcp, port: 2222, action: pass}\n\
             - {name: dns, proto: udp, port: 53, action: pass}\n\
             tests: {name: ssh, packet: \"tcp 192.0.2.1 > 198.51.100.1:22 syn\", expect: pass}\n",
        ),
    ]));
}

#[test]
fn what_cannot_be_read_names_its_file() {
    let fine = "version: 1\n";
    let mut screens = String::new();
    for broken in [
        "",
        "# version: 1\n",
        "version: 1\nrules:\n\t- {}\n",
        "version: 1\nrules: [{name: a, from: &x 192.0.2.1, action: pass}]\n",
        "version: 1\nrules: [{name: a, from: !x, action: pass}\n",
        "version: 1 # \u{7}\n",
        "version: 1\n---\nversion: 1\n",
        "version: 2\n",
        "- version: 1\n",
    ] {
        screens.push_str(&errors(&[
            ("firewall.yaml", MAIN),
            ("rules.d/10-fine.yaml", fine),
            ("rules.d/20-broken.yaml", broken),
        ]));
        screens.push('\n');
    }
    insta::assert_snapshot!(screens);
}

/// Notes what it is asked for.
struct Asked(RefCell<Vec<String>>);

impl Files for Asked {
    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + '_>> {
        self.0.borrow_mut().push(path.to_owned());
        Ok(Box::new(&b"192.0.2.0/24\n"[..]))
    }
}

#[test]
fn list_files_count_from_the_file_that_names_them() {
    let set = |name: &str, file: &str| {
        format!(
            "version: 1\nsets: {{{name}: {{type: cidr, file: {file}}}}}\n\
             rules: [{{name: {name}, from: \"@{name}\", action: drop}}]\n"
        )
    };
    let main = format!("{}default: {{in: pass}}\n", set("a", "sets.d/a.txt"));
    let text = directory(&[
        ("firewall.yaml", &main),
        ("rules.d/10-b.yaml", &set("b", "b.txt")),
        ("rules.d/20-c.yaml", &set("c", "../sets.d/c.txt")),
        ("rules.d/30-d.yaml", &set("d", "/srv/d.txt")),
    ]);
    let asked = Asked(RefCell::default());
    read_policy("DIR", &text, &asked).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        asked.0.into_inner(),
        [
            "sets.d/a.txt",
            "rules.d/b.txt",
            "rules.d/../sets.d/c.txt",
            "/srv/d.txt"
        ]
    );
    let missing = directory(&[
        ("firewall.yaml", "version: 1\ndefault: {in: pass}\n"),
        ("rules.d/10-b.yaml", &set("b", "b.txt")),
    ]);
    let errors = read_policy("DIR", &missing, &NoFiles).expect_err("no file");
    insta::assert_snapshot!(errors.render(false));
}

#[test]
fn lint_and_failing_tests_show_both_files() {
    let text = directory(&[
        ("firewall.yaml", MAIN),
        (
            "rules.d/10-web.yaml",
            "version: 1\nrules:\n- {name: inside, from: 192.0.2.7, proto: tcp, port: 22, action: drop}\n",
        ),
        (
            "rules.d/20-tests.yaml",
            "version: 1\ntests:\n\
             - {name: inside, packet: \"tcp 192.0.2.7 > 198.51.100.1:22 syn\", expect: drop}\n",
        ),
    ]);
    let read = read(&text);
    let tables = compile(&read.policy, &[0, 1]).expect("small");
    let mut screens = lint("/etc/firewall", &text, &read.policy, &tables)
        .findings
        .render(false);
    // The places of rules were made under the name with the slash: both name the same files.
    let failing = policy_tests::failing(&read.tests, &read.policy, &tables);
    screens.push_str(
        &policy_tests::findings("/etc/firewall", &text, &read.policy, &tables, &failing)
            .render(false),
    );
    insta::assert_snapshot!(screens);
}

#[test]
fn each_file_has_its_canonical_form() {
    let text = directory(&[
        ("firewall.yaml", &MAIN.replace("{in: drop}", "{ in: drop }")),
        (
            "rules.d/10-web.yaml",
            "# Web.\nrules:\n- action: pass\n  name: web # both\n  proto: tcp\n  port: [80,443]\n\
             version: 1",
        ),
    ]);
    let written = canonical("DIR", &text).unwrap_or_else(|errors| panic!("{errors}"));
    insta::assert_snapshot!(written);
    assert_eq!(canonical("DIR", &written).ok(), Some(written.clone()));
    assert_eq!(
        read(&text).policy.rules.len(),
        read(&written).policy.rules.len()
    );
}

#[test]
fn runtime_rules_come_first() {
    let rules = "version: 1\nrules:\n- {name: quick, from: 192.0.2.1, action: drop}\n";
    let file = "version: 1\ndefault: {in: drop}\n";
    let with_rules = "version: 1\ndefault: {in: drop}\nrules: [{name: ssh, action: pass}]\n";
    for (policy, expected) in [
        (file.to_owned(), vec!["quick <runtime>:3"]),
        (
            with_rules.to_owned(),
            vec!["quick <runtime>:3", "ssh fw.yaml:3"],
        ),
        (
            directory(&[("firewall.yaml", MAIN)]),
            vec!["quick <runtime>:3", "ssh fw.yaml/firewall.yaml:6"],
        ),
    ] {
        let text = bundle::with_runtime(Some(rules), &policy);
        let read =
            read_policy("fw.yaml", &text, &NoFiles).unwrap_or_else(|errors| panic!("{errors}"));
        let places: Vec<String> = read
            .policy
            .rules
            .iter()
            .map(|rule| format!("{} {}:{}", rule.name, rule.place.file, rule.place.line))
            .collect();
        assert_eq!(places, expected);
        let written = canonical("fw.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(bundle::runtime(&written).0.is_some(), "{written}");
    }
    let twice = bundle::with_runtime(Some(&rules.replace("quick", "ssh")), with_rules);
    let errors = read_policy("fw.yaml", &twice, &NoFiles).expect_err("two rules of one name");
    insta::assert_snapshot!(errors.render(false));
}

#[test]
fn too_many_files_are_refused() {
    let mut files = vec![("firewall.yaml", MAIN)];
    let names: Vec<String> = (0..bundle::MAX_FILES)
        .map(|n| format!("rules.d/{n}.yaml"))
        .collect();
    files.extend(names.iter().map(|name| (name.as_str(), "version: 1\n")));
    assert!(errors(&files).contains("the policy has 1001 files, the limit is 1000"));
    files.pop();
    read(&directory(&files));
}
