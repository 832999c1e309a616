//! The verbs that take a policy, given a directory: without root.

use super::{Folder, transcript};

const MAIN: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: ssh, proto: tcp, port: ssh, from: 192.0.2.0/24, action: pass}
";

const WEB: &str = "\
version: 1
sets: {bad: {type: cidr, file: lists/bad.txt}}
rules:
  - {name: bad, from: \"@bad\", action: drop}
  - {name: web, proto: tcp, port: [80, 443], action: pass}
tests:
  - {name: web, packet: \"tcp 203.0.113.1 > 198.51.100.1:443 syn\", expect: pass, by: web}
";

/// A folder with the policy in `policy/`, and beside its files what editors leave there.
fn policy(name: &str) -> Folder {
    let folder = Folder::new(name);
    std::fs::create_dir_all(folder.0.join("policy/rules.d/lists")).unwrap();
    folder.write("policy/firewall.yaml", MAIN);
    folder.write("policy/rules.d/20-mail.yaml", "version: 1\nrules: []\n");
    folder.write("policy/rules.d/10-web.yaml", WEB);
    folder.write("policy/rules.d/lists/bad.txt", "198.51.100.0/24\n");
    folder.write("policy/rules.d/10-web.yaml~", "not: read\n");
    folder.write("policy/rules.d/.10-web.yaml.swp", b"\xff");
    folder.write("policy/rules.d/README", "not read either\n");
    folder
}

#[test]
fn a_directory_is_a_policy_to_every_verb() {
    let folder = policy("directory");
    let mut screens = String::new();
    let one = std::fs::read_to_string(folder.0.join("policy/firewall.yaml")).unwrap();
    folder.write("one.yaml", one);
    for args in [
        &["check", "-v", "--lint", "policy"][..],
        &["check", "policy/"],
        &[
            "test",
            "-f",
            "policy",
            "tcp 203.0.113.1 > 198.51.100.1:443 syn",
        ],
        &[
            "test",
            "-f",
            "policy",
            "tcp 198.51.100.9 > 198.51.100.1:443 syn",
        ],
        &["diff", "one.yaml", "policy"],
        &["fmt", "policy"],
        &["fmt", "--check", "policy"],
    ] {
        screens.push_str(&transcript(&folder.0, args));
    }
    insta::assert_snapshot!("directory", screens);
}

#[test]
fn the_text_of_all_files_is_a_policy_too() {
    let folder = policy("directory-text");
    // The files that it names are looked for from where it lies, as for every file.
    std::fs::create_dir_all(folder.0.join("rules.d")).unwrap();
    std::fs::rename(
        folder.0.join("policy/rules.d/lists"),
        folder.0.join("rules.d/lists"),
    )
    .unwrap();
    let text = firewall_policy::bundle::join([
        firewall_policy::bundle::Part {
            path: "firewall.yaml",
            text: MAIN,
        },
        firewall_policy::bundle::Part {
            path: "rules.d/10-web.yaml",
            text: WEB,
        },
    ]);
    folder.write("running.yaml", text);
    let mut screens = String::new();
    for args in [
        &["check", "running.yaml"][..],
        &[
            "test",
            "-f",
            "running.yaml",
            "tcp 203.0.113.1 > 198.51.100.1:443 syn",
        ],
        &["fmt", "--check", "running.yaml"],
        &["fmt", "--write", "running.yaml"],
    ] {
        screens.push_str(&transcript(&folder.0, args));
    }
    insta::assert_snapshot!("directory_text", screens);
}

#[test]
fn fmt_writes_the_files_that_change() {
    let folder = policy("directory-fmt");
    transcript(&folder.0, &["fmt", "--write", "policy"]);
    folder.write(
        "policy/rules.d/20-mail.yaml",
        "rules:\n- {action: pass, name: mail, proto: tcp, port: 25} # both ways\nversion: 1\n",
    );
    let before = std::fs::read(folder.0.join("policy/rules.d/10-web.yaml")).unwrap();
    let mut screens = String::new();
    for args in [
        &["fmt", "--check", "policy"][..],
        &["fmt", "--write", "policy"],
        &["fmt", "--check", "policy"],
        &["fmt", "--write", "policy"],
    ] {
        screens.push_str(&transcript(&folder.0, args));
    }
    let after = std::fs::read_to_string(folder.0.join("policy/rules.d/20-mail.yaml")).unwrap();
    screens.push_str(&after);
    insta::assert_snapshot!("directory_fmt", screens);
    let untouched = std::fs::read(folder.0.join("policy/rules.d/10-web.yaml")).unwrap();
    assert_eq!(before, untouched);
}

#[test]
fn what_is_wrong_with_a_directory_is_said() {
    let mut screens = String::new();
    let mut case = |what: &str, change: &dyn Fn(&Folder)| {
        let folder = policy("directory-wrong");
        change(&folder);
        screens.push_str(&format!("# {what}\n"));
        screens.push_str(&transcript(&folder.0, &["check", "policy"]));
    };
    case("an error in the second file", &|folder| {
        folder.write(
            "policy/rules.d/20-mail.yaml",
            "version: 1\nrules: [{name: web, action: pass}]\n",
        );
    });
    case("a failing test", &|folder| {
        folder.write(
            "policy/rules.d/20-mail.yaml",
            "version: 1\ntests:\n- {name: mail, packet: \"tcp 203.0.113.1 > 198.51.100.1:80 syn\", expect: drop}\n",
        );
    });
    case("no main file", &|folder| {
        std::fs::remove_file(folder.0.join("policy/firewall.yaml")).unwrap();
    });
    case("another ending", &|folder| {
        folder.write("policy/rules.d/30-dns.yml", "version: 1\n");
    });
    case("an odd name", &|folder| {
        folder.write("policy/rules.d/30 dns\n.yaml", "version: 1\n");
    });
    case("a folder with the name of a file", &|folder| {
        std::fs::create_dir(folder.0.join("policy/rules.d/30-dns.yaml")).unwrap();
    });
    case("a link to nowhere", &|folder| {
        std::os::unix::fs::symlink("nowhere", folder.0.join("policy/rules.d/30-dns.yaml")).unwrap();
    });
    case("an empty file", &|folder| {
        folder.write("policy/rules.d/30-dns.yaml", "\n");
    });
    case("several files in one", &|folder| {
        folder.write(
            "policy/rules.d/30-dns.yaml",
            "version: 1\n--- # file: rules.d/40-web.yaml\nversion: 1\n",
        );
    });
    insta::assert_snapshot!("directory_wrong", screens);
}
