//! What the kernel holds for us: after a change nothing of the generation before it but what it
//! hands on, after `unload` nothing at all.

use crate::common::{Root, in_namespace_whole, ip, policy, request, send, veth};
use aya::maps::{MapInfo, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// Uses every kind of map that there is.
const RULES: [&str; 3] = [
    "name: replies, state: established, action: pass",
    "name: ssh, proto: tcp, port: 22, limit: {new: 6/30s, per: source}, ban: 10m, action: pass",
    "name: web, proto: tcp, port: 80, syn_protect: auto, action: pass",
];

/// How long the kernel may take to free what nobody holds any more.
const SOON: Duration = Duration::from_secs(5);

/// Ids of maps and programs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Held {
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Held {
    /// What is pinned below a root, and the maps that its programs use.
    fn of(root: &Root) -> Self {
        let mut held = Self::default();
        for pin in root.pins() {
            let path = root.path().join(&pin);
            match pin.split_once('/') {
                Some(("links" | "egress", _)) => {}
                Some((_, "prog" | "egress")) => {
                    let program = ProgramInfo::from_pin(path).unwrap();
                    held.programs.insert(program.id());
                    held.maps.extend(program.map_ids().unwrap().unwrap());
                }
                _ => {
                    held.maps.insert(MapInfo::from_pin(path).unwrap().id());
                }
            }
        }
        held
    }

    /// Those of them that the kernel still has.
    fn alive(&self) -> Self {
        // What goes while the list is read is an error in the list.
        let maps = loaded_maps().filter_map(|map| Some(map.ok()?.id()));
        let programs = loaded_programs().filter_map(|program| Some(program.ok()?.id()));
        Self {
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
        }
    }

    /// The programs in the kernel that use one of the maps.
    fn users(&self) -> BTreeSet<u32> {
        let uses = |program: &ProgramInfo| {
            let maps = program.map_ids().ok().flatten().unwrap_or_default();
            maps.iter().any(|map| self.maps.contains(map))
        };
        let programs = loaded_programs().filter_map(Result::ok);
        programs.filter(uses).map(|program| program.id()).collect()
    }

    /// Waits until nothing but `these` is left.
    fn wait_for(&self, these: &Self) {
        let start = Instant::now();
        while self.alive() != *these {
            let left = self.alive();
            assert!(start.elapsed() < SOON, "left: {left:?}, not {these:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn generations_and_unload_leave_nothing_in_the_kernel() {
    in_namespace_whole(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        ip("addr add 192.0.3.1/24 dev fwt-b");
        let mut engine = root.engine();
        let mut before = Held::default();
        for port in 1..=5 {
            let open = format!("name: open, proto: udp, port: {port}, action: pass");
            let rules = [&RULES[..], &[&open]].concat();
            engine
                .apply(&request(policy(&["fwt-b"], "drop", &rules)))
                .unwrap();
            send(2, port, 3);
            let now = Held::of(&root);
            assert!(now.maps.len() >= 8 && now.programs.len() == 2, "{now:?}");
            assert!(now.programs.is_disjoint(&before.programs));
            // Counters and flows are handed on, tables and constants are not.
            let kept = Held {
                maps: before.maps.intersection(&now.maps).copied().collect(),
                programs: BTreeSet::new(),
            };
            assert!(kept.maps.len() >= before.maps.len() / 4, "{kept:?}");
            assert!(port == 1 || kept.maps.len() < before.maps.len());
            before.wait_for(&kept);
            assert_eq!(now.alive(), now);
            before = now;
        }
        engine.unload(None).unwrap();
        before.wait_for(&Held::default());
        assert!(!root.path().exists());
    });
}

#[test]
#[ignore = "needs root"]
fn a_refused_change_leaves_nothing_in_the_kernel() {
    in_namespace_whole(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        engine
            .apply(&request(policy(&["fwt-b"], "drop", &RULES)))
            .unwrap();
        let now = Held::of(&root);
        // Loopback takes no program in native mode: refused when everything is loaded.
        let refused =
            policy(&["fwt-b", "lo"], "drop", &RULES[..1]).replace("\"lo\"", "lo, mode: native");
        engine.apply(&request(refused)).unwrap_err();
        assert_eq!(Held::of(&root), now);
        let start = Instant::now();
        while now.users() != now.programs {
            assert!(start.elapsed() < SOON, "{:?}", now.users());
            thread::sleep(Duration::from_millis(20));
        }
    });
}
