//! Whether an interface can carry the filter truthfully, and how. Asked by everything that attaches
//! or looks; nobody else judges.
//!
//! The program takes a frame to begin with an Ethernet header, or in its other variant with the IP header,
//! and the interface that it is attached to for the one that the frame came in on. What breaks that is
//! refused, with the way out.

use super::resolve::{Present, Target};
use crate::kernel::KernelError;
use crate::kernel::links::Link;
use crate::kernel::program::Framing;
use firewall_policy::rule::Mode;

/// Types of hardware (`ARPHRD_*`): what frames begin with.
mod hardware {
    pub(super) const ETHER: u16 = 1;
    pub(super) const PPP: u16 = 512;
    pub(super) const RAWIP: u16 = 519;
    pub(super) const TUNNEL: u16 = 768;
    pub(super) const TUNNEL6: u16 = 769;
    /// Its frames have an Ethernet header.
    pub(super) const LOOPBACK: u16 = 772;
    pub(super) const SIT: u16 = 776;
    pub(super) const IPGRE: u16 = 778;
    pub(super) const IP6GRE: u16 = 823;
    pub(super) const NONE: u16 = 0xfffe;
}

/// Devices that hand native programs down to their slaves.
const BONDS: [&str; 2] = ["bond", "team"];

/// The longest packet whose IP header says how long it is.
const LONGEST: u32 = 65_536;

/// How an interface can carry the filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Carries {
    /// What its frames begin with.
    framing: Framing,
    modes: Modes,
}

/// In which modes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Modes {
    /// In every mode that its driver knows.
    Any,
    /// In generic mode alone, and why.
    Generic(String),
    /// In native mode alone, and why.
    Native(String),
}

impl Carries {
    /// Why it cannot in `mode`, if it cannot.
    fn refuses(&self, mode: Mode) -> Option<&str> {
        match (&self.modes, mode) {
            (Modes::Generic(why), Mode::Native) | (Modes::Native(why), Mode::Generic) => Some(why),
            _ => None,
        }
    }
}

/// What is in the way on an interface that is filtered in `mode`, or is to be; `None` if nothing is.
pub(super) fn obstacle(
    (name, ifindex): (&str, u32),
    mode: Mode,
    present: &Present,
) -> Option<KernelError> {
    match ask(name, ifindex, present) {
        Err(refused) => Some(refused),
        Ok(carries) => carries.refuses(mode).map(|why| refusal(name, why)),
    }
}

/// What frames begin with on an interface that can carry the filter.
pub(super) fn framing((name, ifindex): (&str, u32), present: &Present) -> Option<Framing> {
    let carries = ask(name, ifindex, present).ok()?;
    Some(carries.framing)
}

/// Refuses targets that cannot carry the filter, and settles how those are filtered that can.
pub(super) fn settle(targets: &mut [Target], present: &Present) -> Result<(), KernelError> {
    for target in targets {
        let carries = ask(&target.name, target.ifindex, present)?;
        if let Some(why) = carries.refuses(target.mode) {
            return Err(refusal(&target.name, why));
        }
        target.framing = carries.framing;
        match carries.modes {
            Modes::Generic(why) => {
                target.mode = Mode::Generic;
                target.fallback = Some(why);
            }
            Modes::Native(_) => target.mode = Mode::Native,
            Modes::Any => {}
        }
    }
    Ok(())
}

/// Looks what the interface is, and judges.
fn ask(name: &str, ifindex: u32, present: &Present) -> Result<Carries, KernelError> {
    let Some(device) = present.link(ifindex) else {
        return Err(KernelError::gone(name));
    };
    let master = device.master.and_then(|master| present.name_of(master));
    let slaves = present.links().iter();
    let slaves: Vec<&str> = slaves
        .filter(|link| link.master == Some(ifindex))
        .map(|link| link.name.as_str())
        .collect();
    judge(name, device, master, &slaves)
}

/// The judgement itself. `master` is the name of the device that this one belongs to, `slaves` are those
/// that belong to it.
fn judge(
    name: &str,
    device: &Link,
    master: Option<&str>,
    slaves: &[&str],
) -> Result<Carries, KernelError> {
    let framing = framing_of(device).map_err(|why| refusal(name, why))?;
    let is_bond = |kind: &str| BONDS.contains(&kind);
    // The kernel names the kind of every master that has one: a card over its virtual function has none.
    let is_behind_a_card = device.master.is_some() && device.master_kind.is_empty();
    if is_bond(&device.master_kind) || is_behind_a_card {
        let kind = match &*device.master_kind {
            "" => "card",
            kind => kind,
        };
        let master = master.map_or_else(|| format!("its {kind}"), str::to_owned);
        return Err(refusal(
            name,
            format!(
                "it is a slave of {master}, a {kind}, to which what comes in belongs. Filter \
                 {master} in place of it, with `mode: generic`"
            ),
        ));
    }
    let modes = if framing == Framing::RawIp {
        Modes::Generic(format!(
            "the frames of {name} have no link header, and native mode is for frames that have one"
        ))
    } else if is_bond(&device.kind) {
        let kind = &device.kind;
        Modes::Generic(format!(
            "{name} is a {kind}: in native mode its slaves would run the program, which would drop \
             LACP and never match a zone. Write `mode: generic`"
        ))
    } else if let (true, [slave, ..]) = (device.kind.is_empty(), slaves) {
        Modes::Generic(format!(
            "{name} is a card behind which {slave} works: in native mode that would run the program, \
             which would never match a zone. Write `mode: generic`"
        ))
    } else if device.gro_max > LONGEST {
        Modes::Native(format!(
            "it puts packets of up to {} bytes together (BIG TCP), whose length no header holds, and \
             generic mode sees them so. Use `mode: native`, or: ip link set dev {name} gro_max_size \
             {LONGEST} gro_ipv4_max_size {LONGEST}",
            device.gro_max
        ))
    } else {
        Modes::Any
    };
    Ok(Carries { framing, modes })
}

/// What the frames of a device begin with, or why the filter cannot read them.
fn framing_of(device: &Link) -> Result<Framing, String> {
    match (device.hardware, &*device.kind) {
        // Its owner may say that it is of any type: that changes no frame.
        (hardware::ETHER, "tun") if device.is_tap => Ok(Framing::Ethernet),
        (hardware::NONE, "tun") if !device.is_tap => Ok(Framing::RawIp),
        (hardware::ETHER | hardware::LOOPBACK, kind) if kind != "tun" => Ok(Framing::Ethernet),
        (hardware::PPP | hardware::RAWIP, _)
        | (hardware::NONE, "wireguard")
        | (hardware::TUNNEL, "ipip")
        | (hardware::TUNNEL6, "ip6tnl")
        | (hardware::SIT, "sit") => Ok(Framing::RawIp),
        (hardware::IPGRE, "gre") | (hardware::IP6GRE, "ip6gre") if device.has_remote => {
            Ok(Framing::RawIp)
        }
        (hardware::IPGRE, "gre") | (hardware::IP6GRE, "ip6gre") => Err(
            "without one remote address, its frames begin with the tunnel's own header. Set \
             `remote` on it, or filter the interface by which the tunnel arrives"
                .to_owned(),
        ),
        (hardware::NONE, "xfrm") | (hardware::TUNNEL, "vti") | (hardware::TUNNEL6, "vti6") => Err(
            "what IPsec has decrypted keeps the link header of the frame that it came in, which is \
             another one's. Filter the interface by which it arrives: `proto: esp`, and in generic \
             mode the packets inside, which are judged there"
                .to_owned(),
        ),
        (number, kind) => {
            let what = match kind {
                "" => format!("link type {number}"),
                kind => format!("`{kind}`, link type {number}"),
            };
            Err(format!(
                "its frames begin neither with an Ethernet header nor with an IP header, as far as is \
                 known ({what}), and the filter would read other bytes than it means. Filter the \
                 interface by which its packets arrive"
            ))
        }
    }
}

fn refusal(name: &str, reason: impl Into<String>) -> KernelError {
    KernelError::Carrier {
        interface: name.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(hardware: u16, kind: Option<&str>, master_kind: Option<&str>) -> Link {
        Link {
            hardware,
            kind: kind.unwrap_or_default().into(),
            master_kind: master_kind.unwrap_or_default().into(),
            master: master_kind.map(|_| 9),
            ..Link::default()
        }
    }

    fn carries(name: &str, device: &Link) -> Result<Carries, String> {
        judge(name, device, Some("up0"), &[]).map_err(|error| {
            assert_eq!(error.exit_code(), 6);
            error.to_string()
        })
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
            assert!(carries.refuses(Mode::Native).is_some());
            assert_eq!(carries.refuses(Mode::Auto), None);
            assert_eq!(carries.refuses(Mode::Generic), None);
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
                let carries = judge("up0", &bond, None, slaves).expect("it can");
                let why = carries.refuses(Mode::Native).expect("not in that mode");
                assert!(why.contains("mode: generic"), "{why}");
                assert_eq!(carries.refuses(Mode::Generic), None);
            }
        }
    }

    #[test]
    fn a_card_is_filtered_in_place_of_the_one_that_works_behind_it() {
        let mut function = device(1, None, None);
        function.master = Some(9);
        let said = carries("eth1", &function).unwrap_err();
        assert!(said.contains("Filter up0 in place of it"), "{said}");
        let card = judge("eth0", &device(1, None, None), None, &["eth1"]).expect("it can");
        let why = card.refuses(Mode::Native).expect("not in that mode");
        assert!(why.contains("eth1 works"), "{why}");
        // A bridge's ports, and what a VRF has, are slaves of another kind.
        for kind in ["bridge", "vrf"] {
            let carries = judge("br0", &device(1, Some(kind), None), None, &["eth1"]);
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
        assert_eq!(big.refuses(Mode::Auto), None);
        let why = big.refuses(Mode::Generic).expect("not in that mode");
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
}
