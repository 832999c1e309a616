//! The engine against the real kernel: veth pairs in namespaces of their own, pins in folders of
//! their own.

use crate::common::{
    NOTHING_ASKED, Root, in_namespace, in_namespace_whole, ip, new_namespace, policy, request,
    send, veth,
};
use firewall_common::abi::Counter;
use firewall_common::reason::Reason;
use firewall_engine::engine::{Counters, Engine, EngineError, Record};
use firewall_engine::kernel::KernelError;
use firewall_policy::rule::Mode;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::os::fd::AsFd;
use std::thread;

pub(crate) const WEB: &str = "name: web, proto: udp, port: 443, action: pass";
const FRAME: u64 = 52;

fn rule(record: &Record, counters: &Counters, name: &str) -> Counter {
    let rule = record.rules.iter().find(|rule| rule.name == name).unwrap();
    counters.rules[rule.slot as usize]
}

pub(crate) fn web_hits(engine: &Engine) -> u64 {
    let record = engine.observe().unwrap().unwrap().record;
    rule(&record, &engine.counters().unwrap(), "web").packets
}

#[test]
#[ignore = "needs root"]
fn a_policy_is_enforced_counted_and_removed() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        assert!(engine.observe().unwrap().is_none());

        let applied = engine
            .apply(&request(policy(&["fwt-b"], NOTHING_ASKED, &[WEB])))
            .unwrap();
        assert_eq!((applied.generation, applied.changed), (1, true));
        assert_eq!(applied.warnings, [""; 0]);
        assert_eq!(applied.interfaces[0].name, "fwt-b");
        assert_eq!(applied.interfaces[0].mode, Mode::Native);

        send(2, 443, 7);
        let observed = engine.observe().unwrap().unwrap();
        assert_eq!(observed.warnings, [""; 0]);
        assert_eq!(observed.links.len(), 1);
        assert_eq!(observed.links[0].name, "fwt-b");
        assert_eq!(observed.record.rules[0].place, "fwt.yaml:5");
        let counters = engine.counters().unwrap();
        let expected = Counter {
            packets: 7,
            bytes: 7 * FRAME,
        };
        assert_eq!(rule(&observed.record, &counters, "web"), expected);
        assert_eq!(counters.ports[443][2], expected);
        let slot = observed.record.interfaces[0].slot as usize;
        assert_eq!(
            counters.reasons[slot * Reason::CAPACITY + Reason::RULE.0 as usize][0],
            expected
        );

        assert_eq!(
            root.pins(),
            [
                "gen-1/fw_interfaces",
                "gen-1/fw_live",
                "gen-1/fw_ports",
                "gen-1/fw_reasons",
                "gen-1/fw_rules",
                "gen-1/fw_tables",
                "gen-1/fw_watch",
                "gen-1/prog",
                "gen-1/record",
                "links/fwt-b"
            ]
        );
        assert_eq!(engine.unload(None).unwrap(), ["fwt-b"]);
        assert!(!root.path().exists());
        assert!(engine.observe().unwrap().is_none());
        assert_eq!(engine.unload(None).unwrap(), [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn the_same_policy_again_changes_nothing() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        let request = request(policy(&["fwt-b"], "pass", &[WEB]));
        engine.apply(&request).unwrap();
        let before = engine.observe().unwrap().unwrap();
        let pins = root.pins();
        let again = root.engine().apply(&request).unwrap();
        assert_eq!((again.generation, again.changed), (1, false));
        let after = engine.observe().unwrap().unwrap();
        assert_eq!((after.record, after.links), (before.record, before.links));
        assert_eq!(root.pins(), pins);
    });
}

#[test]
#[ignore = "needs root"]
fn counters_follow_rule_names_through_changes() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let link = engine.observe().unwrap().unwrap().links[0].clone();
        send(2, 443, 5);

        // Another rule comes in behind: a new generation, the same link, counting goes on.
        let other = "name: other, proto: udp, port: 53, action: drop";
        let applied = engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB, other])))
            .unwrap();
        assert_eq!((applied.generation, applied.changed), (2, true));
        let now = engine.observe().unwrap().unwrap().links[0].clone();
        assert_eq!((now.link_id, now.ifindex), (link.link_id, link.ifindex));
        assert_ne!(now.program_id, link.program_id);
        assert_eq!(web_hits(&engine), 5);
        send(2, 443, 3);
        assert_eq!(web_hits(&engine), 8);
        assert!(root.pins().iter().all(|pin| !pin.starts_with("gen-1/")));

        // A rule that goes and comes back starts from zero, in whatever slot.
        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[other])))
            .unwrap();
        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB, other])))
            .unwrap();
        assert_eq!(web_hits(&engine), 0);
    });
}

#[test]
#[ignore = "needs root"]
fn totals_survive_when_the_counter_map_grows() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        send(2, 443, 9);
        let slots = engine.counters().unwrap().rules.len();

        let many: Vec<String> = (0..700)
            .map(|i| format!("name: r{i}, proto: udp, port: {}, action: drop", 10_000 + i))
            .collect();
        let mut rules = vec![WEB];
        rules.extend(many.iter().map(String::as_str));
        engine
            .apply(&request(policy(&["fwt-b"], "pass", &rules)))
            .unwrap();
        assert!(engine.counters().unwrap().rules.len() > slots);
        assert_eq!(web_hits(&engine), 9);
        send(2, 443, 2);
        assert_eq!(web_hits(&engine), 11);

        // And once more with the carried totals in a map that stays.
        engine
            .apply(&request(policy(&["fwt-b"], "drop", &rules)))
            .unwrap();
        assert_eq!(web_hits(&engine), 11);
    });
}

#[test]
#[ignore = "needs root"]
fn interfaces_are_added_by_name_and_taken_off_one_by_one() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d.7", 3);
        let mut engine = root.engine();
        let named = |names: &[&str]| {
            let mut request = request(policy(&[], "pass", &[WEB]));
            request.interfaces = names.iter().map(|&name| name.to_owned()).collect();
            request
        };
        engine.apply(&named(&["fwt-b"])).unwrap();
        let applied = engine.apply(&named(&["fwt-d.7"])).unwrap();
        assert_eq!(applied.interfaces.len(), 2);
        assert_eq!(
            applied.warnings,
            [
                "fwt-b was filtered before and gets this policy as well; `unload -i fwt-b` takes it \
              off"
            ]
        );
        send(2, 443, 1);
        send(3, 443, 2);
        assert_eq!(web_hits(&engine), 3);

        let error = engine.unload(Some(&["fwt-x".to_owned()])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fwt-x is not filtered; filtered are: fwt-b, fwt-d.7"
        );
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            engine.unload(Some(&["fwt-b".to_owned()])).unwrap(),
            ["fwt-b"]
        );
        let observed = engine.observe().unwrap().unwrap();
        assert_eq!(observed.warnings, [""; 0]);
        assert_eq!(observed.links.len(), 1);
        send(2, 443, 1);
        assert_eq!(web_hits(&engine), 3);
        engine.unload(Some(&["fwt-d.7".to_owned()])).unwrap();
        assert!(!root.path().exists());

        // What the policy names is all there is.
        engine
            .apply(&request(policy(&["fwt-*"], "pass", &[WEB])))
            .unwrap();
        assert_eq!(engine.observe().unwrap().unwrap().links.len(), 4);
        let applied = engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        assert_eq!(applied.warnings.len(), 3);
        assert_eq!(engine.observe().unwrap().unwrap().links.len(), 1);
    });
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_goes_and_comes_back_is_filtered_again() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d", 3);
        let mut engine = root.engine();
        let wanted = request(policy(&["fwt-b", "fwt-d"], "pass", &[WEB]));
        engine.apply(&wanted).unwrap();
        send(3, 443, 3);
        ip("link del fwt-b");
        let observed = engine.observe().unwrap().unwrap();
        assert_eq!(observed.links.len(), 1);
        assert_eq!(
            observed.warnings,
            ["fwt-b is gone, and its filter with it; apply the policy again when it is back"]
        );
        assert_eq!(engine.apply(&wanted).unwrap_err().exit_code(), 3);

        veth("fwt-a", "fwt-b", 2);
        assert!(engine.apply(&wanted).unwrap().changed);
        send(2, 443, 2);
        assert_eq!(web_hits(&engine), 5);
        let observed = engine.observe().unwrap().unwrap();
        assert_eq!((observed.links.len(), observed.warnings.len()), (2, 0));

        // A renamed interface keeps its link, and its old name may be taken by another.
        let link = observed
            .links
            .iter()
            .find(|link| link.name == "fwt-b")
            .unwrap()
            .link_id;
        ip("link set fwt-b down");
        ip("link set fwt-b name fwt-new");
        ip("link set fwt-new up");
        veth("fwt-e", "fwt-b", 4);
        engine
            .apply(&request(policy(&["fwt-b", "fwt-new"], "pass", &[WEB])))
            .unwrap();
        let observed = engine.observe().unwrap().unwrap();
        assert_eq!(observed.warnings, [""; 0]);
        let find = |name: &str| {
            observed
                .links
                .iter()
                .find(|link| link.name == name)
                .unwrap()
        };
        assert_eq!(find("fwt-new").link_id, link);
        assert_ne!(find("fwt-b").link_id, link);
        assert_eq!(engine.unload(None).unwrap().len(), 2);
        assert!(!root.path().exists());
    });
}

#[test]
#[ignore = "needs root"]
fn writers_take_turns() {
    let rounds = if std::env::var_os("FIREWALL_EMULATED").is_some() {
        1
    } else {
        5
    };
    in_namespace(move || {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        thread::scope(|scope| {
            for worker in 0..4 {
                let root = &root;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let name = format!("name: r{worker}-{round}, action: pass");
                        let text = policy(&["fwt-b"], "pass", &[&name]);
                        // Who has waited for too long says so, and tries again.
                        let applied = || root.engine().apply(&request(text.clone()));
                        let busy = |error: &EngineError| {
                            matches!(error, EngineError::Kernel(KernelError::Busy { .. }))
                        };
                        while applied().is_err_and(|error| {
                            assert!(busy(&error), "{error}");
                            true
                        }) {}
                    }
                });
            }
        });
        let observed = root.engine().observe().unwrap().unwrap();
        assert_eq!(observed.record.generation, 4 * rounds);
        assert_eq!(observed.warnings, [""; 0]);
        assert_eq!(root.pins().len(), 10);
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_does_not_touch_the_pins_of_another() {
    in_namespace_whole(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        root.engine()
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let home = fs::File::open("/proc/thread-self/ns/net").unwrap();
        let away = new_namespace();
        move_into_link_name_space(away.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        veth("fwt-a", "fwt-b", 2);
        let error = root
            .engine()
            .apply(&request(policy(&["fwt-b"], "drop", &[])))
            .unwrap_err();
        assert!(
            error.to_string().contains("another network namespace"),
            "{error}"
        );
        move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        assert_eq!(
            root.engine().observe().unwrap().unwrap().record.generation,
            1
        );
    });
}
