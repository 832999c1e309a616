//! What rtnetlink says an interface is: its hardware type, its driver's kind, and what it belongs to.
//!
//! Attributes: `linux/if_link.h`. Hardware types: `linux/if_arp.h`.

use super::xdp::link;
use super::{HEADER, IFINFO, attributes};
use std::io;

const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;

/// An interface, as the kernel describes it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Device {
    /// `ARPHRD_*`: what stands at the beginning of its frames.
    pub(crate) hardware: u16,
    /// Kind of a virtual device: `bond`, `tun`, `wireguard`.
    pub(crate) kind: Option<String>,
    /// Kind of the device that it belongs to: `bond`, `bridge`.
    pub(crate) master_kind: Option<String>,
    /// Index of the device that it belongs to.
    pub(crate) master: Option<u32>,
}

/// Asks about an interface of this namespace.
pub(crate) fn device(ifindex: u32) -> io::Result<Device> {
    Device::read(&link(ifindex)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Device {
    /// Reads a message about a link.
    fn read(message: &[u8]) -> Option<Self> {
        // Behind family and padding.
        let hardware = message.get(HEADER + 2..HEADER + 4)?.first_chunk()?;
        let mut device = Self {
            hardware: u16::from_ne_bytes(*hardware),
            ..Self::default()
        };
        for (kind, value) in attributes(message.get(HEADER + IFINFO..)?) {
            match kind {
                IFLA_MASTER => device.master = value.first_chunk().map(|i| u32::from_ne_bytes(*i)),
                IFLA_LINKINFO => {
                    for (kind, value) in attributes(value) {
                        match kind {
                            IFLA_INFO_KIND => device.kind = Some(word(value)),
                            IFLA_INFO_SLAVE_KIND => device.master_kind = Some(word(value)),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(device)
    }
}

/// Text up to its terminating zero.
fn word(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{NLA_F_NESTED, attribute};
    use super::*;

    /// A message about a link of a hardware type, with these attributes.
    fn message(hardware: u16, attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER + IFINFO];
        message[HEADER + 2..HEADER + 4].copy_from_slice(&hardware.to_ne_bytes());
        message.extend(attributes);
        message
    }

    fn link_info(pairs: &[(u16, &[u8])], nested: u16) -> Vec<u8> {
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        for (kind, value) in pairs {
            attribute(&mut inner, *kind, value);
        }
        attribute(&mut outer, IFLA_LINKINFO | nested, &inner);
        outer
    }

    #[test]
    fn a_slave_names_its_master_and_that_ones_kind() {
        for nested in [0, NLA_F_NESTED] {
            let mut attributes = link_info(&[(IFLA_INFO_SLAVE_KIND, b"bond\0")], nested);
            attribute(&mut attributes, IFLA_MASTER, &7u32.to_ne_bytes());
            let slave = Device {
                hardware: 1,
                kind: None,
                master_kind: Some("bond".into()),
                master: Some(7),
            };
            assert_eq!(Device::read(&message(1, &attributes)), Some(slave));
        }
    }

    #[test]
    fn a_device_says_its_own_kind() {
        let attributes = link_info(
            &[
                (IFLA_INFO_KIND, b"vlan\0"),
                (IFLA_INFO_SLAVE_KIND, b"bridge\0"),
            ],
            0,
        );
        let device = Device::read(&message(1, &attributes)).expect("a device");
        assert_eq!(device.kind.as_deref(), Some("vlan"));
        assert_eq!(device.master_kind.as_deref(), Some("bridge"));
        assert_eq!(device.master, None);
        let card = Device::read(&message(0xfffe, &[]));
        assert_eq!(card.expect("a device").hardware, 0xfffe);
    }

    #[test]
    fn a_cut_message_is_no_device() {
        assert_eq!(Device::read(&message(1, &[])[..HEADER + 3]), None);
        assert_eq!(Device::read(&message(1, &[])[..HEADER + IFINFO - 1]), None);
        assert_eq!(Device::read(&[]), None);
    }
}
