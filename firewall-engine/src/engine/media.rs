//! How drivers change frames before the filter sees them: frames in several buffers, stripped VLAN
//! tags.

use super::EngineError;
use super::resolve::Target;
use crate::kernel::program::Framing;
use crate::kernel::{KernelError, ethtool, link};
use firewall_common::field::Field;
use firewall_policy::rule::{Mode, Policy};

/// The driver of virtual Ethernet cables. It has the offload switch and takes nothing off: a tag is
/// in the frame, or it has never been there, because the sender's end was to put it in.
const VETH: &str = "veth";

/// Whether frames of one of the interfaces may come in several buffers.
pub(super) fn in_buffers(targets: &[Target]) -> Result<bool, EngineError> {
    for target in targets {
        if link::in_buffers(&target.name, target.ifindex)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What becomes of VLAN tags before the filter sees a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tags {
    /// They are in the frame.
    Seen,
    /// They are, unless the other end of the cable has left them to its driver.
    SeenIfSent,
    /// The driver takes them off.
    TakenOff,
}

impl Tags {
    /// Asks the driver of an interface. One that cannot be asked has no such offload.
    pub(super) fn of(interface: &str) -> Self {
        let strips = ethtool::strips_vlan_tags(interface).unwrap_or(false);
        Self::stripping(strips, ethtool::driver(interface).ok().as_deref())
    }

    fn stripping(strips: bool, driver: Option<&str>) -> Self {
        match (strips, driver) {
            (false, _) => Self::Seen,
            (true, Some(VETH)) => Self::SeenIfSent,
            (true, _) => Self::TakenOff,
        }
    }

    /// Refuses a policy that matches `vlan` where its rules would never match; gives a warning
    /// where they may not see all.
    fn check(self, interface: &str) -> Result<Option<String>, KernelError> {
        match self {
            Self::Seen => Ok(None),
            Self::SeenIfSent => Ok(Some(format!(
                "rules that match `vlan` do not see tags that the other end of {interface} leaves to \
                 its driver; turn that off there (ethtool -K PEER txvlan off), then say so here \
                 (ethtool -K {interface} rxvlan off)"
            ))),
            Self::TakenOff => Err(KernelError::VlanOffload {
                interface: interface.into(),
            }),
        }
    }
}

/// Whether a policy that matches `vlan` can hold on these interfaces; what to warn about.
pub(super) fn check_vlans(policy: &Policy, targets: &[Target]) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    if matches_vlan(policy) {
        for Target { name, .. } in targets {
            warnings.extend(Tags::of(name).check(name)?);
        }
    }
    Ok(warnings)
}

/// What to warn about where a policy sends answers.
pub(super) fn check_answers(policy: &Policy, targets: &[Target]) -> Vec<String> {
    if !policy.rejects() && !policy.protects() {
        return Vec::new();
    }
    let native = targets.iter().filter(|it| it.mode != Mode::Generic);
    let on_cables = native.filter_map(|it| {
        let driver = ethtool::driver(&it.name).ok();
        answers_on(&it.name, driver.as_deref())
    });
    let raw = targets.iter().filter(|it| it.framing == Framing::RawIp);
    let on_raw = raw.map(|it| {
        format!(
            "what `reject` and `syn_protect` answer is not sent by {}: its frames have no link header; \
             what is rejected there is dropped",
            it.name
        )
    });
    let cookies = policy.protects().then(without_cookies).flatten();
    on_cables.chain(on_raw).chain(cookies).collect()
}

/// Where the kernel gives no SYN cookies, the program gets none from it.
fn without_cookies() -> Option<String> {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").ok()?;
    (setting.trim() == "0").then(|| {
        "`syn_protect` does nothing while the kernel gives no SYN cookies; turn them on \
         (sysctl -w net.ipv4.tcp_syncookies=1)"
            .to_owned()
    })
}

/// Virtual Ethernet takes a frame that a program sends back, and leaves it lying at the other end if
/// there is no program there (`veth_xdp_flush` in the kernel).
fn answers_on(interface: &str, driver: Option<&str>) -> Option<String> {
    (driver == Some(VETH)).then(|| {
        format!(
            "answers of `reject` and `syn_protect` arrive at the other end of {interface} only if an XDP program is \
             attached there; where that is not so, write `mode: generic`"
        )
    })
}

/// Whether an enabled rule asks for VLANs.
fn matches_vlan(policy: &Policy) -> bool {
    policy
        .rules
        .iter()
        .any(|rule| rule.enabled && !rule.matches.is_any(Field::Vlan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_takes_tags_off_refuses_vlan_rules() {
        let tags = Tags::stripping(true, Some("ixgbe"));
        assert_eq!(tags, Tags::TakenOff);
        let error = tags.check("eth0").unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert_eq!(
            error.to_string(),
            "the policy matches `vlan`, but eth0 takes VLAN tags off frames before the filter sees \
             them. Turn that off first: ethtool -K eth0 rxvlan off"
        );
        assert_eq!(Tags::stripping(true, None), Tags::TakenOff);
        assert_eq!(
            Tags::stripping(false, Some("ixgbe")).check("eth0").unwrap(),
            None
        );
        assert_eq!(answers_on("eth0", Some("ixgbe")), None);
        assert!(answers_on("eth0", Some(VETH)).is_some_and(|text| text.contains("mode: generic")));
        let cable = Tags::stripping(true, Some(VETH)).check("eth0").unwrap();
        assert!(cable.is_some_and(|warning| warning.contains("ethtool -K eth0 rxvlan off")));
    }
}
