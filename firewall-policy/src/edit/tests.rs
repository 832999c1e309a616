//! Edits of odd texts.

use super::*;
use std::collections::HashSet;

const NOW: u64 = 1_800_000_000;
const WEB: &str = "{name: allow-80-tcp, proto: tcp, port: 80, action: pass}";

/// Names of the rules of a text.
fn names(policy: &str) -> HashSet<String> {
    let parts = bundle::parts(policy).into_iter();
    let rules = parts.filter_map(|part| tree::rules(part.text)).flatten();
    rules.map(|rule| rule.name).collect()
}

fn new(text: &str) -> NewRule<'_> {
    let name = text.split(['{', ':', ',']).nth(2).unwrap_or_default();
    NewRule {
        text,
        name: name.trim(),
        is_named: false,
        before: None,
    }
}

fn added(policy: &str, text: &str) -> Edited {
    let names = names(policy);
    add(policy, &new(text), &|name| names.contains(name), NOW).expect("a rule")
}

#[test]
fn a_rule_goes_before_the_one_that_is_named() {
    let base = "version: 1\nrules: []\n";
    let two = added(
        &added(base, WEB).text,
        "{name: b, proto: tcp, port: 81, action: drop}",
    );
    let before = |policy: &str, text: &str, name: &str| {
        let new = NewRule {
            before: Some(name),
            ..new(text)
        };
        add(policy, &new, &|_| false, NOW)
    };
    let mail = "{name: mail, proto: tcp, port: 25, action: pass}";
    let three = before(&two.text, mail, "allow-80-tcp").expect("a rule");
    assert_eq!(three.what, What::Added);
    let at = |text: &str, name: &str| text.find(name).expect("a rule");
    let order = |text: &str, names: [&str; 3]| {
        let places = names.map(|name| at(text, &format!("name: {name},")));
        assert!(places.is_sorted(), "{text}");
    };
    order(&three.text, ["b", "mail", "allow-80-tcp"]);
    // What is there moves, and stays one.
    let moved = before(&three.text, mail, "b").expect("a rule");
    assert_eq!(moved.what, What::Moved);
    order(&moved.text, ["mail", "b", "allow-80-tcp"]);
    assert_eq!(moved.text.matches("port: 25").count(), 1);
    let unknown = before(&two.text, mail, "nobody").expect_err("no such rule");
    assert_eq!(unknown, EditError::Unknown("nobody".to_owned()));
}

#[test]
fn a_rule_that_is_there_is_not_added_again() {
    let base = "version: 1\nrules:\n  - {name: web, proto: tcp, port: 80, action: pass}\n";
    let once = added(base, WEB);
    assert_eq!(
        (once.what, once.name.as_str()),
        (What::Added, "allow-80-tcp")
    );
    let again = added(&once.text, WEB);
    assert_eq!((again.what, &again.text), (What::Already, &once.text));

    // In other quotes and order.
    let other = "{action: pass, name: allow-80-tcp, port: '80', proto: 'tcp'}";
    let other = add(
        &once.text,
        &NewRule {
            text: other,
            name: "allow-80-tcp",
            is_named: false,
            before: None,
        },
        &|_| true,
        NOW,
    );
    assert_eq!(other.expect("a rule").what, What::Already);

    // Rules that decide alike stand in any order; one that decides otherwise is overtaken.
    let ssh = "{name: allow-ssh, proto: tcp, port: 22, action: pass}";
    let two = added(&once.text, ssh);
    assert_eq!(added(&two.text, WEB).what, What::Already);
    let deny = added(
        &two.text,
        "{name: deny-80-tcp, proto: tcp, port: 80, action: drop}",
    );
    let moved = added(&deny.text, WEB);
    assert_eq!(
        (moved.what, moved.name.as_str()),
        (What::Moved, "allow-80-tcp")
    );
    let at = |name: &str| moved.text.find(name).expect("a rule");
    assert!(at("allow-80-tcp") < at("deny-80-tcp") && at("deny-80-tcp") < at("allow-ssh"));
    assert_eq!(moved.text.matches("allow-80-tcp").count(), 1);
    let limit =
        "{name: limit-22, proto: tcp, port: 22, limit: {new: 6/30s, per: source}, action: pass}";
    let limit = added(&two.text, limit);
    assert_eq!(added(&limit.text, ssh).what, What::Moved);
}

#[test]
fn names_are_taken_once_and_ends_are_renewed() {
    let base = "version: 1\nrules:\n  - {name: allow-80-tcp, proto: udp, port: 80, action: pass}\n";
    let once = added(base, WEB);
    assert_eq!(once.name, "allow-80-tcp-2");
    assert!(
        once.rule.starts_with("{name: allow-80-tcp-2, proto"),
        "{}",
        once.rule
    );
    assert_eq!(added(&once.text, WEB).what, What::Already);

    let ends = |time: &str| {
        format!("{{name: allow-80-tcp, expires: {time}, proto: tcp, port: 80, action: pass}}")
    };
    let renewed = added(&once.text, &ends("2099-01-01T00:00:00Z"));
    assert_eq!(
        (renewed.what, renewed.name.as_str()),
        (What::Renewed, "allow-80-tcp-2")
    );
    assert!(renewed.text.contains("2099-01-01"), "{}", renewed.text);
    let for_good = added(&renewed.text, WEB);
    assert_eq!((for_good.what, &for_good.text), (What::Renewed, &once.text));

    // What has expired goes with the next change, and is in nobody's way.
    let expired = added(base, &ends("2020-01-01T00:00:00Z")).text;
    assert_eq!(unsaved(&expired, base, NOW), Ok(Vec::new()));
    let next = added(
        &expired,
        "{name: allow-81-tcp, proto: tcp, port: 81, action: pass}",
    );
    assert!(!next.text.contains("2020"), "{}", next.text);

    let named = NewRule {
        text: WEB,
        name: "allow-80-tcp",
        is_named: true,
        before: None,
    };
    let named = add(&once.text, &named, &|_| true, NOW).expect("a rule");
    assert_eq!(
        (named.what, named.name.as_str()),
        (What::Added, "allow-80-tcp")
    );
}

#[test]
fn rules_are_deleted_by_name_and_saved_by_what_they_say() {
    let base = "version: 1\n";
    let ssh = "{name: allow-ssh, proto: tcp, port: 22, action: pass}";
    let both = added(&added(base, WEB).text, ssh).text;
    assert_eq!(
        delete(&both, "nobody", NOW),
        Err(EditError::Unknown("nobody".to_owned()))
    );
    let one = delete(&both, "allow-80-tcp", NOW).expect("a rule");
    assert_eq!((one.what, one.rule.as_str()), (What::Deleted, WEB));
    assert_eq!(
        delete(&one.text, "allow-ssh", NOW).expect("a rule").text,
        base
    );

    let file = with_rules(base, &[WEB]).expect("a place");
    let left = saved(&both, &file, NOW).expect("rules");
    assert_eq!(left, added(&file, ssh).text);
    let file = with_rules(&file, &[ssh]).expect("a place");
    assert_eq!(saved(&left, &file, NOW).expect("rules"), file);
    // One of the same name that says something else is not the same.
    let other = with_rules(
        base,
        &["{name: allow-ssh, proto: tcp, port: 23, action: pass}"],
    );
    let left = unsaved(&both, &other.expect("a place"), NOW).expect("rules");
    assert_eq!(left.len(), 2);
}

#[test]
fn what_others_wrote_into_the_runtime_part_is_not_lost() {
    let block = "version: 1\nrules:\n- name: a\n  from:\n  - 192.0.2.1\n  comment: 'x: y'\n  action: drop\n";
    let policy = bundle::with_runtime(Some(block), "version: 1\n");
    let both = added(&policy, WEB).text;
    let kept = "  - {name: a, from: [192.0.2.1], comment: \"x: y\", action: drop}\n";
    assert!(both.contains(kept), "{both}");
    let more = "version: 1\nsets: {a: {type: cidr, elements: [192.0.2.1]}}\n";
    let policy = bundle::with_runtime(Some(more), "version: 1\n");
    assert_eq!(
        add(&policy, &new(WEB), &|_| false, NOW),
        Err(EditError::MoreThanRules)
    );
    assert!(add("", &new("no rule"), &|_| false, NOW).is_err());
    assert!(add("", &new("{name: a}\n  - {name: b}"), &|_| false, NOW).is_err());
}

/// Files of every form; what is added stands in the golden file, and all else is as it was.
#[test]
fn rules_go_to_the_front_of_a_file_and_every_other_byte_stays() {
    let rules = [
        "{name: b, action: drop}",
        "{name: a, proto: tcp, port: 80, action: pass}",
    ];
    let mut screen = String::new();
    for text in [
        "version: 1\ndefault: {in: drop} # closed",
        "version: 1\ndefault: {in: drop} # closed\n",
        "version: 1\r\ndefault: {in: drop}\r\n",
        "version: 1\r\nrules:\r\n  # First.\r\n  - {name: x,   action: pass}\r\n",
        "version: 1\nrules: [] # none yet\ndefault: {in: drop}\n",
        "version: 1\nrules: [\n  # one\n  {name: x, action: pass}, {name: y, action: pass}\n]\n",
        "version: 1\nrules:\ndefault: {in: drop}\n",
        "version: 1\nrules: # none\n\n\ndefault: {in: drop}\n",
        "version: 1\nrules:",
        "{version: 1, default: {in: drop}}\n",
        "{version: 1, 'rules': [{name: x, action: pass}], default: {in: drop}}",
        "\u{feff}# Head.\n\n---\nversion: 1\n\"rules\" :\n# Remote.\n- name: ssh\n  port:   ssh # only this\n  action: pass\ntests: []\n# Tail.",
        "  version: 1\n  rules:\n   -   {name: x, action: pass}\n",
        "version: 1\ndefault: {in: drop}\nsets:\n  a: {type: cidr, elements: [192.0.2.1]}\n\n\n",
        // What cannot be had by adding bytes.
        "version: 1\nrules: ~\n",
        "version: 1\ndefault: {in: drop}\n...\n",
        "? version\n: 1\n? rules\n: - {name: x, action: pass}\n",
        "version: 1\nrules: none\n",
        "version: [\n",
        "",
    ] {
        screen.push_str(&format!("{text:?}\n"));
        match with_rules(text, &rules) {
            Ok(written) => {
                let added = written.len() - text.len();
                let front = written.bytes().zip(text.bytes());
                let at = front.take_while(|(one, other)| one == other).count();
                let is_inserted = (0..=at).any(|at| {
                    written.get(..at) == text.get(..at)
                        && written.get(at + added..) == text.get(at..)
                });
                assert!(is_inserted, "{text:?}\n{written:?}");
                screen.push_str(&written.replace('\r', "<CR>"));
                screen.push_str("<END>\n");
            }
            Err(unplaced) => screen.push_str(&format!("{unplaced}\n")),
        }
    }
    insta::assert_snapshot!(screen);
}
