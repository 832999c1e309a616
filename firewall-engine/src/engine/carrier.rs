//! Whether an interface can carry the filter truthfully, and how. Asked by everything that attaches
//! or looks; nobody else judges.
//!
//! The program takes a frame to begin with an Ethernet header, and the interface that it is attached
//! to for the one that the frame came in on. What breaks either is refused, with the way out.

use super::resolve::{Present, Target};
use crate::kernel::KernelError;
use crate::kernel::link;
use crate::kernel::links::Link;
use firewall_policy::rule::Mode;

/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// `ARPHRD_LOOPBACK`: its frames have an Ethernet header.
const LOOPBACK: u16 = 772;

/// Devices that hand native programs down to their slaves.
const BONDS: [&str; 2] = ["bond", "team"];

/// How an interface can carry the filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Carries {
    /// In every mode that its driver knows.
    InAnyMode,
    /// In generic mode alone, and why.
    InGenericMode(String),
}

/// What is in the way on an interface that is filtered in `mode`, or is to be; `None` if nothing is.
pub(super) fn obstacle(
    (name, ifindex): (&str, u32),
    mode: Mode,
    present: &Present,
) -> Result<Option<KernelError>, KernelError> {
    Ok(match ask(name, ifindex, present)? {
        Err(refused) => Some(refused),
        Ok(Carries::InGenericMode(why)) if mode == Mode::Native => Some(refusal(name, why)),
        Ok(_) => None,
    })
}

/// Refuses targets that cannot carry the filter, and settles the mode of those that can in one mode
/// alone.
pub(super) fn settle(targets: &mut [Target], present: &Present) -> Result<(), KernelError> {
    for target in targets {
        match ask(&target.name, target.ifindex, present)?? {
            Carries::InAnyMode => {}
            Carries::InGenericMode(why) if target.mode == Mode::Native => {
                return Err(refusal(&target.name, why));
            }
            Carries::InGenericMode(why) => {
                target.mode = Mode::Generic;
                target.fallback = Some(why);
            }
        }
    }
    Ok(())
}

/// Asks the kernel what the interface is, and judges. The outer error is that it cannot be asked.
fn ask(
    name: &str,
    ifindex: u32,
    present: &Present,
) -> Result<Result<Carries, KernelError>, KernelError> {
    let device = link::device(name, ifindex)?;
    let master = device.master.and_then(|master| present.name_of(master));
    Ok(judge(name, &device, master))
}

/// The judgement itself. `master` is the name of the device that this one belongs to.
fn judge(name: &str, device: &Link, master: Option<&str>) -> Result<Carries, KernelError> {
    let is_bond = |kind: &str| BONDS.contains(&kind);
    if ![ETHERNET, LOOPBACK].contains(&device.hardware) {
        let what = match &*device.kind {
            "" => format!("link type {}", device.hardware),
            kind => format!("`{kind}`"),
        };
        return Err(refusal(
            name,
            format!(
                "its frames have no Ethernet header ({what}), and the filter would read other bytes \
                 than it means. Filter the Ethernet interface by which its packets arrive, and name \
                 {name} neither with -i nor under `interfaces`"
            ),
        ));
    }
    if is_bond(&device.master_kind) {
        let kind = &device.master_kind;
        let master = master.map_or_else(|| format!("its {kind}"), str::to_owned);
        return Err(refusal(
            name,
            format!(
                "it is a slave of {master}, a {kind}, to which what comes in belongs. Filter \
                 {master} in place of it, with `mode: generic`"
            ),
        ));
    }
    if is_bond(&device.kind) {
        let kind = &device.kind;
        return Ok(Carries::InGenericMode(format!(
            "{name} is a {kind}: in native mode its slaves would run the program, which would drop \
             LACP and never match a zone. Write `mode: generic`"
        )));
    }
    Ok(Carries::InAnyMode)
}

fn refusal(name: &str, reason: String) -> KernelError {
    KernelError::Carrier {
        interface: name.into(),
        reason,
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

    #[test]
    fn what_has_no_ethernet_header_is_refused_whatever_its_name() {
        for (hardware, kind) in [
            (0xfffe, Some("tun")),
            (0xfffe, Some("wireguard")),
            (0xfffe, None),
            (512, Some("ppp")),
            (519, None),
            (768, Some("ipip")),
            (769, Some("ip6tnl")),
            (776, Some("sit")),
            (778, Some("gre")),
            (823, Some("ip6gre")),
            (32, None),
            (803, None),
            (0, None),
        ] {
            let error = judge("eth0", &device(hardware, kind, None), None).unwrap_err();
            assert_eq!(error.exit_code(), 6, "{hardware}");
            let said = error.to_string();
            assert!(said.contains("no Ethernet header"), "{said}");
            assert!(said.contains(kind.unwrap_or("link type")), "{said}");
        }
    }

    #[test]
    fn what_has_one_is_carried() {
        for (hardware, kind, master) in [
            (1, None, None),
            (LOOPBACK, None, None),
            (1, Some("veth"), None),
            (1, Some("veth"), Some("bridge")),
            (1, Some("bridge"), None),
            (1, Some("dummy"), None),
            (1, Some("macvlan"), None),
            (1, Some("ipvlan"), None),
            (1, Some("vlan"), None),
            (1, Some("tun"), None), // tap
            (1, Some("gretap"), None),
            (1, Some("vxlan"), None),
            (1, None, Some("vrf")),
        ] {
            let device = device(hardware, kind, master);
            let carries = judge("tun0", &device, Some("up0")).expect("it can");
            assert_eq!(carries, Carries::InAnyMode, "{device:?}");
        }
    }

    #[test]
    fn bonds_are_filtered_as_a_whole_and_in_generic_mode() {
        for kind in BONDS {
            let slave = device(1, None, Some(kind));
            let said = judge("eth0", &slave, Some("up0")).unwrap_err().to_string();
            assert!(said.contains("Filter up0 in place of it"), "{said}");
            let carries = judge("up0", &device(1, Some(kind), None), None).expect("it can");
            assert!(
                matches!(carries, Carries::InGenericMode(why) if why.contains("mode: generic"))
            );
        }
    }
}
