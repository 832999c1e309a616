//! What follows from the facts about an interface: what its frames begin with, in which modes it can carry
//! the filter, and with which limits.
//!
//! The program takes a frame to begin with an Ethernet header, or in its other variant with the IP header,
//! and the interface that it is attached to for the one that the frame came in on. What breaks that is
//! refused, with the way out. Pure: looks at nothing but the facts.

use super::Carries;
use super::facts::Facts;
use super::media::{self, Tags};
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

/// In which modes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Modes {
    /// In every mode that its driver knows.
    Any,
    /// In generic mode alone, and why.
    Generic(String),
    /// In native mode alone, and why.
    Native(String),
}

impl Modes {
    /// Why not in `mode`, if not.
    pub(super) fn refuses(&self, mode: Mode) -> Option<&str> {
        match (self, mode) {
            (Self::Generic(why), Mode::Native) | (Self::Native(why), Mode::Generic) => Some(why),
            _ => None,
        }
    }
}

/// The judgement.
pub(super) fn judge(facts: &Facts<'_>) -> Result<Carries, KernelError> {
    let Facts { name, device, .. } = *facts;
    let framing = framing_of(device).map_err(|why| refusal(name, why))?;
    refuse_slave(facts)?;
    refuse_below(facts)?;
    let tags = Tags::of(facts.strips_tags, facts.driver.as_deref());
    let in_buffers = media::in_buffers(device.mtu);
    let driver = facts.driver.as_deref().unwrap_or("none");
    let buffers = match in_buffers {
        true => " (frames in several buffers)",
        false => "",
    };
    let words = match framing {
        Framing::RawIp => "no link header".to_owned(),
        Framing::Ethernet => tags.words(name),
    };
    Ok(Carries {
        name: name.to_owned(),
        framing,
        modes: modes(facts, framing),
        in_buffers,
        tags,
        limits: limits(facts),
        found: format!("driver {driver}; MTU {}{buffers}; {words}", device.mtu),
    })
}

/// What comes in by the slave of a bond, or by the function behind a card, belongs to another interface.
fn refuse_slave(facts: &Facts<'_>) -> Result<(), KernelError> {
    let device = facts.device;
    // The kernel names the kind of every master that has one: a card over its virtual function has none.
    let is_behind_a_card = device.master.is_some() && device.master_kind.is_empty();
    if !BONDS.contains(&&*device.master_kind) && !is_behind_a_card {
        return Ok(());
    }
    let kind = match &*device.master_kind {
        "" => "card",
        kind => kind,
    };
    let master = facts.master;
    let master = master.map_or_else(|| format!("its {kind}"), str::to_owned);
    Err(refusal(
        facts.name,
        format!(
            "it is a slave of {master}, a {kind}, to which what comes in belongs. Filter {master} in \
             place of it, with `mode: generic`"
        ),
    ))
}

/// The kernel puts no program on an interface while one that lies over it carries one. The other order is
/// fine.
fn refuse_below(facts: &Facts<'_>) -> Result<(), KernelError> {
    let Some(above) = facts.above.filter(|_| !facts.device.has_program) else {
        return Ok(());
    };
    let name = facts.name;
    Err(refusal(
        name,
        format!(
            "{above}, which lies over it, carries a program already, and the kernel takes none below that. \
             Take that one off first (`unload -i {above}`), then load both: {name} is attached first"
        ),
    ))
}

fn modes(facts: &Facts<'_>, framing: Framing) -> Modes {
    let Facts { name, device, .. } = *facts;
    if framing == Framing::RawIp {
        Modes::Generic(format!(
            "the frames of {name} have no link header, and native mode is for frames that have one"
        ))
    } else if BONDS.contains(&&*device.kind) {
        let kind = &device.kind;
        Modes::Generic(format!(
            "{name} is a {kind}: in native mode its slaves would run the program, which would drop \
             LACP and never match a zone. Write `mode: generic`"
        ))
    } else if let (true, [slave, ..]) = (device.kind.is_empty(), facts.slaves.as_slice()) {
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
    }
}

/// What the filter does not see, or sees twice, although it reads every frame rightly: in every mode, in
/// native mode, in generic mode.
fn limits(facts: &Facts<'_>) -> [Vec<String>; 3] {
    let Facts { name, device, .. } = *facts;
    let slaves = &facts.slaves;
    let named = match slaves.as_slice() {
        [] => "its ports".to_owned(),
        names => names.join(", "),
    };
    let mut always = Vec::new();
    match &*device.kind {
        "bridge" => always.push(format!(
            "what {name}, a bridge, forwards between its ports does not come in by it and is not \
             filtered; to filter that, filter {named}"
        )),
        "vrf" => always.push(format!(
            "nothing comes in by {name}, a VRF: packets come in by its ports. Filter {named}"
        )),
        kind @ ("dummy" | "ifb" | "nlmon") => always.push(format!(
            "nothing comes in by {name}, whose kind is `{kind}`: packets to its addresses come in by \
             other interfaces. Filter those"
        )),
        kind if BONDS.contains(&kind) && slaves.is_empty() => always.push(format!(
            "nothing comes in by {name}, a {kind} without slaves; slaves that it gets later are filtered \
             with it"
        )),
        _ => {}
    }
    let mut generic = Vec::new();
    if facts.decrypts {
        generic.push(format!(
            "IPsec decrypts packets here, and generic mode sees those of {name} once more, without ESP: \
             rules must pass both the ESP packet and the one inside. Native mode sees the ESP packet \
             alone"
        ));
    }
    [always, Vec::new(), generic]
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

pub(super) fn refusal(name: &str, reason: impl Into<String>) -> KernelError {
    KernelError::Carrier {
        interface: name.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
