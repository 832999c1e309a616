//! Plans for what may be pinned, on paper.

use super::*;
use crate::engine::plan::Step;

fn wanted(names: &[(&str, u32)], egress: bool) -> Wanted {
    let interface = |&(name, index): &(&str, u32)| Interface {
        name: name.into(),
        index,
    };
    Wanted {
        targets: names.iter().map(|it| (interface(it), Mode::Auto)).collect(),
        framings: BTreeSet::from([Framing::Ethernet]),
        egress,
        has_new_flows: false,
    }
}

#[test]
fn each_kind_of_frame_has_a_program() {
    let plan = |framings: &[Framing], egress: bool| {
        let wanted = Wanted {
            framings: framings.iter().copied().collect(),
            ..wanted(&[("wg0", 2)], egress)
        };
        let plan = make(&wanted, &Observed::default());
        let loads = plan.change.into_iter();
        loads
            .filter(|step| matches!(step, Step::Load(..)))
            .collect::<Vec<_>>()
    };
    let raw = |hook: Hook| Step::Load(hook, Framing::RawIp);
    let ethernet = |hook: Hook| Step::Load(hook, Framing::Ethernet);
    assert_eq!(plan(&[Framing::RawIp], false), [raw(Hook::Xdp)]);
    assert_eq!(
        plan(&Framing::ALL, true),
        [
            ethernet(Hook::Xdp),
            raw(Hook::Xdp),
            ethernet(Hook::Egress),
            raw(Hook::Egress)
        ]
    );
}

/// A link by the name of its pin, and the interface that carries it here.
fn link(pin: &str, on: Option<u32>, is_attached: bool) -> Pinned {
    Pinned {
        pin: pin.into(),
        on,
        is_attached,
        is_filter: false,
    }
}

fn words(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_policy_only_makes_and_attaches() {
    let plan = make(&wanted(&[("eth0", 2)], false), &Observed::default());
    assert_eq!(
        words(&plan.change),
        [
            "make the generation's folder",
            "pin its maps",
            "fill its bans and live sets",
            "load its program (xdp)",
            "write its record",
            "clear new counters",
            "carry counters over",
            "attach to eth0 (xdp)",
            "note the modes",
        ]
    );
    assert_eq!(
        words(&plan.tidy),
        ["finish its bans and live sets", "carry counters over"]
    );
}

#[test]
fn what_leaves_is_bound_before_what_comes_in_and_released_behind_it() {
    let observed = Observed {
        generations: vec![3],
        links: vec![link("eth0", Some(2), true), link("eth1", Some(3), true)],
        egress: vec![link("eth0", Some(2), true), link("eth1", Some(3), true)],
        ..Observed::default()
    };
    let plan = make(&wanted(&[("eth0", 2), ("eth2", 4)], true), &observed);
    assert_eq!(
        words(&plan.change)[8..],
        [
            "attach to eth2 (egress)",
            "switch eth0 (egress)",
            "fill its table of flows",
            "attach to eth2 (xdp)",
            "note the modes",
            "switch eth0 (xdp)",
        ]
    );
    assert_eq!(
        words(&plan.tidy),
        [
            "detach from eth1 (xdp)",
            "remove the pin of eth1 (xdp)",
            "detach from eth1 (egress)",
            "remove the pin of eth1 (egress)",
            "finish its bans and live sets",
            "carry counters over",
            "remove generation 3",
        ]
    );
    // A policy that does not look at what leaves lets go of all of it, behind the switch.
    let plan = make(&wanted(&[("eth0", 2)], false), &observed);
    assert_eq!(words(&plan.change)[7..], ["switch eth0 (xdp)"]);
    assert!(words(&plan.tidy).contains(&"detach from eth0 (egress)".into()));
}

#[test]
fn another_table_of_flows_is_filled_twice_and_written_by_both_meanwhile() {
    let observed = Observed {
        generations: vec![3],
        links: vec![link("eth0", Some(2), true)],
        egress: vec![link("eth0", Some(2), true)],
        ..Observed::default()
    };
    let mut wanted = wanted(&[("eth0", 2), ("eth1", 3)], true);
    wanted.has_new_flows = true;
    assert_eq!(
        words(&make(&wanted, &observed).change)[8..],
        [
            "attach to eth1 (egress)",
            "run its program beside the former one on eth0 (egress)",
            "fill its table of flows",
            "attach to eth1 (xdp)",
            "note the modes",
            "switch eth0 (xdp)",
            "switch eth0 (egress)",
            "catch up with the former table of flows",
        ]
    );
    // Nothing runs beside a filter in `clsact`: it is switched before the table is filled.
    let mut observed = observed;
    observed.egress[0].is_filter = true;
    assert_eq!(
        words(&make(&wanted, &observed).change)[8..11],
        [
            "attach to eth1 (egress)",
            "switch eth0 (egress)",
            "fill its table of flows",
        ]
    );
}

#[test]
fn pins_of_renamed_and_of_dead_interfaces() {
    // `eth0` is now the name of another interface than that whose link has the pin.
    let renamed = Observed {
        links: vec![link("eth0", Some(7), true)],
        ..Observed::default()
    };
    let plan = make(&wanted(&[("eth0", 9)], false), &renamed);
    let pins = |plan: &Plan| -> Vec<String> {
        let pin = |step: &Step| match step {
            Step::Attach { pin, .. } => Some(pin.clone()),
            _ => None,
        };
        plan.change.iter().filter_map(pin).collect()
    };
    assert_eq!(pins(&plan), ["eth0_9"]);
    assert_eq!(
        words(&plan.tidy)[..2],
        ["detach from eth0 (xdp)", "remove the pin of eth0 (xdp)"]
    );
    // The interface is gone: its pin makes room, and is not removed once more.
    let dead = Observed {
        links: vec![link("eth0", None, false)],
        ..Observed::default()
    };
    let plan = make(&wanted(&[("eth0", 9)], false), &dead);
    assert_eq!(pins(&plan), ["eth0"]);
    assert_eq!(words(&plan.tidy)[0], "finish its bans and live sets");
    // It has moved to another namespace: the program leaves it there.
    let moved = Observed {
        links: vec![link("eth0", None, true)],
        ..Observed::default()
    };
    let plan = make(&wanted(&[("eth0", 9)], false), &moved);
    assert_eq!(words(&plan.tidy)[0], "detach from eth0 (xdp)");
    assert!(!words(&plan.tidy).contains(&"remove the pin of eth0 (xdp)".into()));
}

#[test]
fn who_joins_is_written_down_before_it_is_attached() {
    let new = |index: u32| {
        let name = "eth1".into();
        (Interface { name, index }, Mode::Auto)
    };
    let observed = Observed {
        generations: vec![3],
        links: vec![link("eth0", Some(2), true), link("eth1", None, false)],
        egress: vec![link("eth0", Some(2), true)],
        ..Observed::default()
    };
    let steps = admit(&new(5), true, &observed);
    assert_eq!(
        words(&steps),
        [
            "let eth1 join",
            "attach to eth1 (egress)",
            "remove the pin of eth1 (xdp)",
            "attach to eth1 (xdp)",
        ]
    );
    assert_eq!(words(&admit(&new(5), false, &observed)).len(), 3);
    // The pin that has made room is not removed once more.
    assert!(let_go(&steps, &observed).is_empty());
    assert_eq!(
        words(&let_go(&[], &observed)),
        ["remove the pin of eth1 (xdp)"]
    );
}

#[test]
fn what_is_gone_is_let_go_of_while_something_is_filtered() {
    let mut observed = Observed {
        // One is gone, one is in another namespace.
        links: vec![link("eth0", None, false), link("eth1", None, true)],
        egress: vec![link("eth1", None, true)],
        ..Observed::default()
    };
    assert!(let_go(&[], &observed).is_empty());
    let joined = Step::Attach {
        hook: Hook::Xdp,
        interface: Interface {
            name: "eth2".into(),
            index: 9,
        },
        mode: Mode::Auto,
        pin: "eth2".into(),
    };
    let all = [
        "remove the pin of eth0 (xdp)",
        "detach from eth1 (xdp)",
        "remove the pin of eth1 (xdp)",
        "detach from eth1 (egress)",
        "remove the pin of eth1 (egress)",
    ];
    assert_eq!(words(&let_go(&[joined], &observed)), all);
    observed.links.push(link("eth3", Some(4), true));
    assert_eq!(words(&let_go(&[], &observed)), all);
}
