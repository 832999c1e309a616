//! Tests of the judge: what follows from each kind of device.

use super::*;
use crate::engine::carrier::Needs;

fn device(hardware: u16, kind: Option<&str>, master_kind: Option<&str>) -> Link {
    Link {
        hardware,
        kind: kind.unwrap_or_default().into(),
        master_kind: master_kind.unwrap_or_default().into(),
        master: master_kind.map(|_| 9),
        ..Link::default()
    }
}

fn facts<'a>(name: &'a str, device: &'a Link, slaves: &[&'a str]) -> Facts<'a> {
    Facts {
        name,
        device,
        master: Some("up0"),
        slaves: slaves.to_vec(),
        above: None,
        driver: None,
        strips_tags: false,
        decrypts: false,
    }
}

fn carries(name: &str, device: &Link) -> Result<Carries, String> {
    judge(&facts(name, device, &[])).map_err(|error| {
        assert_eq!(error.exit_code(), 6);
        error.to_string()
    })
}

/// Why it is refused in `mode`, if it is.
fn refused(carries: &Carries, mode: Mode) -> Option<String> {
    let obstacle = carries.obstacle(mode, Needs::default())?;
    assert_eq!(obstacle.exit_code(), 6);
    Some(obstacle.to_string())
}

/// The limits of an interface whose policy needs nothing.
fn limits(facts: &Facts<'_>, mode: Mode) -> Vec<String> {
    let carries = judge(facts).expect("it can");
    carries.limits(mode, Needs::default())
}

#[test]
fn what_begins_with_the_ip_header_is_carried_in_generic_mode() {
    for (hardware, kind) in [
        (0xfffe, Some("tun")),
        (0xfffe, Some("wireguard")),
        (512, Some("ppp")),
        (512, None),
        (519, None),
        (768, Some("ipip")),
        (769, Some("ip6tnl")),
        (776, Some("sit")),
    ] {
        let carries = carries("eth0", &device(hardware, kind, None)).expect("it can");
        assert_eq!(carries.framing, Framing::RawIp, "{hardware}");
        assert!(refused(&carries, Mode::Native).is_some());
        assert_eq!(refused(&carries, Mode::Auto), None);
        assert_eq!(refused(&carries, Mode::Generic), None);
    }
}

#[test]
fn what_begins_with_something_else_is_refused_whatever_its_name() {
    for (hardware, kind, says) in [
        (0xfffe, None, "link type 65534"),
        (1, Some("tun"), "`tun`, link type 1"),
        (32, Some("tun"), "`tun`, link type 32"),
        (0xfffe, Some("ovpn"), "`ovpn`"),
        (0xfffe, Some("xfrm"), "IPsec"),
        (768, Some("vti"), "IPsec"),
        (769, Some("vti6"), "IPsec"),
        (768, None, "link type 768"),
        (778, Some("gre"), "`remote`"),
        (823, Some("ip6gre"), "`remote`"),
        (32, None, "link type 32"),
        (803, None, "link type 803"),
        (0, None, "link type 0"),
    ] {
        let said = carries("eth0", &device(hardware, kind, None)).unwrap_err();
        assert!(said.contains(says), "{said}");
    }
    for (hardware, kind) in [(778, "gre"), (823, "ip6gre")] {
        let tunnel = Link {
            has_remote: true,
            ..device(hardware, Some(kind), None)
        };
        let carries = carries("gre1", &tunnel).expect("it can");
        assert_eq!(carries.framing, Framing::RawIp);
    }
}

#[test]
fn what_has_an_ethernet_header_is_carried() {
    for (hardware, kind, master) in [
        (1, None, None),
        (hardware::LOOPBACK, None, None),
        (1, Some("veth"), None),
        (1, Some("veth"), Some("bridge")),
        (1, None, Some("openvswitch")),
        (1, Some("bridge"), None),
        (1, Some("dummy"), None),
        (1, Some("macvlan"), None),
        (1, Some("ipvlan"), None),
        (1, Some("vlan"), None),
        (1, Some("gretap"), None),
        (1, Some("vxlan"), None),
        (1, None, Some("vrf")),
    ] {
        let device = device(hardware, kind, master);
        let carries = carries("tun0", &device).expect("it can");
        assert_eq!(carries.framing, Framing::Ethernet, "{device:?}");
        assert_eq!(carries.modes, Modes::Any, "{device:?}");
    }
}

#[test]
fn a_device_of_tun_is_what_it_was_made_as() {
    let tap = |hardware: u16| Link {
        is_tap: true,
        ..device(hardware, Some("tun"), None)
    };
    assert_eq!(
        carries("tap0", &tap(1)).expect("it can").framing,
        Framing::Ethernet
    );
    assert!(carries("tap0", &tap(0xfffe)).is_err());
}

#[test]
fn bonds_are_filtered_as_a_whole_and_in_generic_mode() {
    for kind in BONDS {
        let said = carries("eth0", &device(1, None, Some(kind))).unwrap_err();
        assert!(said.contains("Filter up0 in place of it"), "{said}");
        for slaves in [&[][..], &["eth0", "eth1"]] {
            let bond = device(1, Some(kind), None);
            let carries = judge(&facts("up0", &bond, slaves)).expect("it can");
            let why = refused(&carries, Mode::Native).expect("not in that mode");
            assert!(why.contains("mode: generic"), "{why}");
            assert_eq!(refused(&carries, Mode::Generic), None);
        }
    }
}

#[test]
fn a_card_is_filtered_in_place_of_the_one_that_works_behind_it() {
    let mut function = device(1, None, None);
    function.master = Some(9);
    let said = carries("eth1", &function).unwrap_err();
    assert!(said.contains("Filter up0 in place of it"), "{said}");
    let plain = device(1, None, None);
    let card = judge(&facts("eth0", &plain, &["eth1"])).expect("it can");
    let why = refused(&card, Mode::Native).expect("not in that mode");
    assert!(why.contains("eth1 works"), "{why}");
    // A bridge's ports, and what a VRF has, are slaves of another kind.
    for kind in ["bridge", "vrf"] {
        let carries = judge(&facts("br0", &device(1, Some(kind), None), &["eth1"]));
        assert_eq!(carries.expect("it can").modes, Modes::Any);
    }
}

#[test]
fn packets_without_length_are_not_for_generic_mode() {
    let big = Link {
        gro_max: 200_000,
        ..device(1, None, None)
    };
    let big = carries("eth0", &big).expect("it can");
    assert_eq!(refused(&big, Mode::Auto), None);
    let why = refused(&big, Mode::Generic).expect("not in that mode");
    assert!(
        why.contains("ip link set dev eth0 gro_max_size 65536"),
        "{why}"
    );
    let usual = Link {
        gro_max: LONGEST,
        ..device(1, None, None)
    };
    let usual = carries("eth0", &usual).expect("it can");
    assert_eq!(usual.modes, Modes::Any);
}

#[test]
fn what_comes_in_elsewhere_is_said() {
    for (kind, slaves, says) in [
        ("bridge", &["eth0", "eth1"][..], "filter eth0, eth1"),
        ("bridge", &[], "filter its ports"),
        ("vrf", &["eth1"], "Filter eth1"),
        ("dummy", &[], "nothing comes in by up0"),
        ("ifb", &[], "nothing comes in by up0"),
        ("bond", &[], "without slaves"),
        ("team", &[], "without slaves"),
    ] {
        let device = device(1, Some(kind), None);
        for mode in [Mode::Auto, Mode::Native, Mode::Generic] {
            let said = limits(&facts("up0", &device, slaves), mode);
            assert_eq!(said.len(), 1, "{kind} {said:?}");
            assert!(said[0].contains(says), "{kind}: {said:?}");
        }
    }
    for (kind, slaves) in [
        ("veth", &[][..]),
        ("macvlan", &[]),
        ("vlan", &[]),
        ("bond", &["a"]),
    ] {
        let device = device(1, Some(kind), None);
        let said = limits(&facts("up0", &device, slaves), Mode::Generic);
        assert!(said.is_empty(), "{kind}: {said:?}");
    }
}

#[test]
fn what_lies_below_a_program_gets_none() {
    let port = device(1, Some("veth"), Some("bridge"));
    let below = Facts {
        above: Some("br0"),
        ..facts("eth0", &port, &[])
    };
    let error = judge(&below).expect_err("the kernel refuses it");
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains("unload -i br0"), "{error}");
    // What carries one keeps it.
    let filtered = Link {
        has_program: true,
        ..port.clone()
    };
    let below = Facts {
        device: &filtered,
        ..below
    };
    assert!(judge(&below).is_ok());
}

#[test]
fn generic_mode_sees_decrypted_packets_once_more() {
    let device = device(1, None, None);
    let facts = Facts {
        decrypts: true,
        ..facts("eth0", &device, &[])
    };
    assert!(limits(&facts, Mode::Native).is_empty());
    let said = limits(&facts, Mode::Generic);
    assert!(said[0].contains("once more, without ESP"), "{said:?}");
}

#[test]
fn a_policy_needs_what_its_rules_do() {
    let (vlans, answers) = (
        Needs {
            vlans: true,
            answers: false,
        },
        Needs {
            vlans: false,
            answers: true,
        },
    );
    let device = device(1, None, None);
    let by = |driver: Option<&str>, strips_tags: bool| {
        let facts = Facts {
            driver: driver.map(str::to_owned),
            strips_tags,
            ..facts("eth0", &device, &[])
        };
        judge(&facts).expect("it can")
    };
    let strips = by(Some("ixgbe"), true);
    assert!(strips.obstacle(Mode::Auto, answers).is_none());
    let error = strips
        .obstacle(Mode::Auto, vlans)
        .expect("it takes them off");
    assert_eq!(error.exit_code(), 6);
    assert_eq!(
        error.to_string(),
        "the policy matches `vlan`, but eth0 takes VLAN tags off frames before the filter sees \
         them. Turn that off first: ethtool -K eth0 rxvlan off"
    );
    assert!(
        by(Some("ixgbe"), false)
            .obstacle(Mode::Auto, vlans)
            .is_none()
    );
    // A virtual cable takes nothing off, and sends answers to programs alone.
    let cable = by(Some("veth"), true);
    assert!(cable.obstacle(Mode::Native, vlans).is_none());
    assert!(cable.limits(Mode::Generic, vlans)[0].contains("txvlan off"));
    assert!(cable.limits(Mode::Native, answers)[0].contains("mode: generic"));
    assert!(cable.limits(Mode::Generic, answers).is_empty());
    assert!(strips.limits(Mode::Native, answers).is_empty());
    let tunnel = Link {
        kind: "wireguard".into(),
        hardware: 0xfffe,
        ..Link::default()
    };
    let tunnel = judge(&facts("wg0", &tunnel, &[])).expect("it can");
    assert!(tunnel.limits(Mode::Generic, answers)[0].contains("no link header"));
}
