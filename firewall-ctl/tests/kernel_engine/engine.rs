//! The engine against the real kernel: veth pairs in namespaces of their own, pins in folders of
//! their own.

use crate::common::{Root, in_namespace, ip, new_namespace, policy, request, send, veth};
use firewall_common::abi::Counter;
use firewall_common::reason::Reason;
use firewall_ctl::engine::{Counters, Engine, EngineError, Record};
use firewall_ctl::kernel::KernelError;
use firewall_policy::rule::Mode;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::borrow::Cow;
use std::fs;
use std::os::fd::AsFd;
use std::thread;

const WEB: &str = "name: web, proto: udp, port: 443, action: pass";
const FRAME: u64 = 52;

fn rule(record: &Record, counters: &Counters, name: &str) -> Counter {
    let rule = record.rules.iter().find(|rule| rule.name == name).unwrap();
    counters.rules[rule.slot as usize]
}

fn web_hits(engine: &Engine) -> u64 {
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
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
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
fn a_failed_change_leaves_everything_as_it_was() {
    in_namespace(|| {
        let root = Root::new();
        let other = Root::new();
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d", 3);
        let mut engine = root.engine();

        // Nothing was there before: nothing is there after.
        let error = engine
            .apply(&request(policy(&["fwt-x"], "pass", &[])))
            .unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(
            error
                .to_string()
                .starts_with("there is no interface fwt-x. Did you mean fwt-a?")
        );
        assert!(!root.path().exists());

        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let before = (engine.observe().unwrap().unwrap(), root.pins());
        let unchanged = || {
            let now = root.engine().observe().unwrap().unwrap();
            assert_eq!(
                (now.record, now.links),
                (before.0.record.clone(), before.0.links.clone())
            );
            assert_eq!(root.pins(), before.1);
        };

        // The second of two interfaces carries someone else's program.
        other
            .engine()
            .apply(&request(policy(&["fwt-d"], "pass", &[])))
            .unwrap();
        let both = policy(&["fwt-b", "fwt-d"], "drop", &[WEB]);
        engine.apply(&request(both)).unwrap_err();
        unchanged();
        other.engine().unload(None).unwrap();

        // The second of two new interfaces refuses the mode: the first one is let go again.
        let mut native = request(policy(&["fwt-d", "lo", "fwt-b"], "drop", &[WEB]));
        native.mode = Some(Mode::Native);
        let error = engine.apply(&native).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot attach to lo in native mode"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 6);
        unchanged();

        // The verifier refuses.
        let mut broken = Engine::with_object(root.path(), Cow::Owned(refused_object()));
        let error = broken
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap_err();
        let EngineError::Kernel(KernelError::Verifier { summary, log }) = &error else {
            panic!("{error}");
        };
        assert!(!summary.is_empty() && error.to_string().contains(summary));
        assert!(fs::read_to_string(log).unwrap().contains(summary.as_str()));
        fs::remove_file(log).unwrap();
        unchanged();

        // The object is no object.
        let mut broken = Engine::with_object(root.path(), Cow::Owned(vec![1; 64]));
        broken
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap_err();
        unchanged();
    });
}

/// The object of the target folder, with a program that reads where it may not.
fn refused_object() -> Vec<u8> {
    let mut object = fs::read(concat!(env!("OUT_DIR"), "/firewall-ebpf.o")).unwrap();
    let u64_at = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    // ELF64: section headers of 64 bytes at e_shoff; sh_flags at 8, sh_offset at 24, sh_size at 32.
    let (table, count) = (
        u64_at(&object, 40),
        u16::from_le_bytes([object[60], object[61]]),
    );
    const EXECUTABLE: usize = 4;
    let code: Vec<usize> = (0..usize::from(count))
        .map(|section| table + section * 64)
        .filter(|&header| u64_at(&object, header + 8) & EXECUTABLE != 0)
        .filter(|&header| u64_at(&object, header + 32) > 8)
        .map(|header| u64_at(&object, header + 24))
        .collect();
    assert!(!code.is_empty());
    for offset in code {
        // r0 = *(u64 *)(r9 + 0), with r9 never written. In every section, because the function
        // that another one begins with may not be part of the program.
        object[offset..offset + 8].copy_from_slice(&[0x79, 0x90, 0, 0, 0, 0, 0, 0]);
    }
    object
}

#[test]
#[ignore = "needs root"]
fn other_peoples_programs_are_named_and_left_alone() {
    in_namespace(|| {
        let (owner, root) = (Root::new(), Root::new());
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d", 3);
        owner
            .engine()
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let id = owner.engine().observe().unwrap().unwrap().links[0].program_id;

        // Held by a link: not even with `replace`.
        let mut wanted = request(policy(&["fwt-b"], "pass", &[WEB]));
        for replace in [false, true] {
            wanted.replace = replace;
            let error = root.engine().apply(&wanted).unwrap_err();
            assert_eq!(error.exit_code(), 6);
            let text = error.to_string();
            let start = format!(
                "fwt-b already carries the XDP program `fw_xdp` (id {id}, pinned at {}/",
                owner.path().display()
            );
            assert!(text.starts_with(&start), "{text}");
            assert!(text.contains("held by a BPF link"), "{text}");
            assert!(!root.path().exists());
        }
        // By netlink: only with `replace`.
        let pin = owner.path().join("gen-1/prog");
        ip(&format!("link set dev fwt-d xdp pinned {}", pin.display()));
        let mut wanted = request(policy(&["fwt-d"], "pass", &[WEB]));
        let error = root.engine().apply(&wanted).unwrap_err().to_string();
        assert!(error.contains("`ip link set dev fwt-d xdp off`"), "{error}");
        wanted.replace = true;
        let applied = root.engine().apply(&wanted).unwrap();
        assert_eq!(
            applied.warnings,
            [format!(
                "took the XDP program with id {id} off fwt-d, as asked"
            )]
        );
        send(3, 443, 4);
        assert_eq!(web_hits(&root.engine()), 4);
        assert_eq!(owner.engine().observe().unwrap().unwrap().warnings, [""; 0]);
    });
}

#[test]
#[ignore = "needs root"]
fn a_driver_without_xdp_gets_generic_mode_and_a_reason() {
    in_namespace(|| {
        let root = Root::new();
        ip("link set lo up");
        let mut engine = root.engine();
        let request = request(policy(&["lo"], "pass", &[WEB]));
        let applied = engine.apply(&request).unwrap();
        assert_eq!(applied.interfaces[0].mode, Mode::Generic);
        let fallback = applied.interfaces[0].fallback.clone().unwrap();
        assert!(
            fallback.starts_with("native mode refused: its driver has no native XDP"),
            "{fallback}"
        );
        assert_eq!(
            applied.warnings,
            [format!("lo is filtered in generic mode: {fallback}")]
        );

        // The mode and its reason stay on record when the policy changes.
        let mut changed = request.clone();
        changed.policy_text = policy(&["lo"], "pass", &[]);
        let applied = engine.apply(&changed).unwrap();
        assert_eq!(applied.interfaces[0].mode, Mode::Generic);
        assert_eq!(applied.interfaces[0].fallback, Some(fallback));
        changed.mode = Some(Mode::Native);
        let error = engine.apply(&changed).unwrap_err();
        assert!(
            error.to_string().contains("`unload -i lo` first"),
            "{error}"
        );
    });
}

#[test]
#[ignore = "needs root"]
fn what_a_crash_leaves_behind_is_mended_by_the_next_change() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        let text = policy(&["fwt-b"], "pass", &[WEB]);
        engine.apply(&request(&*text)).unwrap();
        send(2, 443, 6);

        // Died while staging: the folder is there, no link runs its program.
        fs::create_dir(root.path().join("gen-2")).unwrap();
        assert_eq!(engine.observe().unwrap().unwrap().record.generation, 1);
        assert!(!engine.apply(&request(&*text)).unwrap().changed);
        assert!(!root.path().join("gen-2").exists());

        // Died before the older generation was removed.
        engine
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap();
        fs::create_dir(root.path().join("gen-1")).unwrap();
        assert_eq!(engine.observe().unwrap().unwrap().record.generation, 2);
        engine.apply(&request(&*text)).unwrap();
        assert!(
            root.pins()
                .iter()
                .all(|pin| pin.starts_with("gen-3/") || pin == "links/fwt-b")
        );
        assert!(!root.path().join("gen-1").exists());
        assert_eq!(web_hits(&engine), 6);

        // Someone removed the link's pin, and with it the filter.
        fs::remove_file(root.path().join("links/fwt-b")).unwrap();
        assert!(engine.observe().unwrap().is_none());
        assert!(engine.apply(&request(&*text)).unwrap().changed);
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
    // A writer waits ten seconds for the others, which is not much where the machine is emulated.
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
                        root.engine().apply(&request(text)).unwrap();
                    }
                });
            }
        });
        let observed = root.engine().observe().unwrap().unwrap();
        assert_eq!(observed.record.generation, 4 * rounds);
        assert_eq!(observed.warnings, [""; 0]);
        assert_eq!(root.pins().len(), 9);
    });
}

#[test]
#[ignore = "needs root"]
fn a_namespace_does_not_touch_the_pins_of_another() {
    in_namespace(|| {
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
