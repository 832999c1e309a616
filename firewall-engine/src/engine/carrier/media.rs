//! What becomes of frames before the filter sees them: stripped VLAN tags, frames in several buffers.
//!
//! Imports nothing of the engine. Pure.

/// The driver of virtual Ethernet cables. It has the offload switch and takes nothing off: a tag is
/// in the frame, or it has never been there, because the sender's end was to put it in.
const VETH: &str = "veth";

/// The largest MTU whose frames fit into one buffer of any driver: 2 KiB, the least that drivers use,
/// less Ethernet header and two VLAN tags.
const ONE_BUFFER_MTU: u32 = 2048 - 14 - 8;

/// Whether frames may come in several buffers. Drivers that split them refuse a program that is not
/// loaded for it.
pub(super) const fn in_buffers(mtu: u32) -> bool {
    mtu > ONE_BUFFER_MTU
}

/// What becomes of VLAN tags before the filter sees a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tags {
    /// They are in the frame.
    Seen,
    /// They are, on a cable whose other end puts them in itself.
    SeenOnCable,
    /// They are, unless the other end of the cable has left them to its driver.
    SeenIfSent,
    /// The driver takes them off.
    TakenOff,
}

impl Tags {
    /// By what the driver says.
    pub(super) fn of(strips: bool, driver: Option<&str>) -> Self {
        match (strips, driver) {
            (true, Some(VETH)) => Self::SeenIfSent,
            (false, Some(VETH)) => Self::SeenOnCable,
            (false, _) => Self::Seen,
            (true, _) => Self::TakenOff,
        }
    }

    /// Whether frames come by a virtual cable.
    pub(super) const fn is_cable(self) -> bool {
        matches!(self, Self::SeenOnCable | Self::SeenIfSent)
    }

    /// In a few words.
    pub(super) fn words(self, interface: &str) -> String {
        match self {
            Self::Seen | Self::SeenOnCable => "VLAN tags seen".to_owned(),
            Self::SeenIfSent => "VLAN tags seen, unless the other end offloads them".to_owned(),
            Self::TakenOff => {
                format!("VLAN tags taken off before the filter (ethtool -K {interface} rxvlan off)")
            }
        }
    }

    /// What rules that match `vlan` do not see.
    pub(super) fn limit(self, interface: &str) -> Option<String> {
        (self == Self::SeenIfSent).then(|| {
            format!(
                "rules that match `vlan` do not see tags that the other end of {interface} leaves to \
                 its driver; turn that off there (ethtool -K PEER txvlan off), then say so here \
                 (ethtool -K {interface} rxvlan off)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_says_what_becomes_of_tags() {
        assert_eq!(Tags::of(true, Some("ixgbe")), Tags::TakenOff);
        assert_eq!(Tags::of(true, None), Tags::TakenOff);
        assert_eq!(Tags::of(false, Some("ixgbe")), Tags::Seen);
        assert!(!Tags::of(false, None).is_cable());
        let cable = Tags::of(true, Some(VETH));
        assert!(cable.is_cable() && Tags::of(false, Some(VETH)).is_cable());
        let limit = cable.limit("eth0").expect("it has one");
        assert!(limit.contains("ethtool -K eth0 rxvlan off"), "{limit}");
        assert_eq!(Tags::TakenOff.limit("eth0"), None);
    }
}
