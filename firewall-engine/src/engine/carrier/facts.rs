//! What is known of an interface: what the kernel says of its device and of those above and below it, what
//! its driver says, and whether this host decrypts packets.
//!
//! Reads only.

use crate::engine::resolve::Present;
use crate::kernel::links::Link;
use crate::kernel::{KernelError, ethtool};

/// All that the judge is told of an interface.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) device: &'a Link,
    /// Name of the device that it belongs to.
    pub(super) master: Option<&'a str>,
    /// Names of the devices that belong to it.
    pub(super) slaves: Vec<&'a str>,
    /// Name of one that lies over it and carries a program.
    pub(super) above: Option<&'a str>,
    /// Name of its driver. Some have none.
    pub(super) driver: Option<String>,
    /// Whether its driver takes VLAN tags off.
    pub(super) strips_tags: bool,
    /// Whether policies of IPsec decrypt what comes in to this host.
    pub(super) decrypts: bool,
}

impl<'a> Facts<'a> {
    /// Looks.
    pub(super) fn of(
        name: &'a str,
        ifindex: u32,
        present: &'a Present,
    ) -> Result<Self, KernelError> {
        let Some(device) = present.link(ifindex) else {
            return Err(KernelError::gone(name));
        };
        let slaves = present.links().iter();
        let slaves = slaves.filter(|link| link.master == Some(ifindex));
        let mut above = present.links().iter();
        let above = above.find(|link| link.has_program && link.is_over(device));
        Ok(Self {
            above: above.map(|link| link.name.as_str()),
            name,
            device,
            master: device.master.and_then(|master| present.name_of(master)),
            slaves: slaves.map(|link| link.name.as_str()).collect(),
            driver: ethtool::driver(name).ok(),
            // One that cannot be asked has no such offload.
            strips_tags: ethtool::strips_vlan_tags(name).unwrap_or(false),
            decrypts: present.decrypts(),
        })
    }
}
