//! What a driver says about an interface: its name, and whether it takes VLAN tags off frames
//! before XDP sees them. By ioctl(2) SIOCETHTOOL (`linux/ethtool.h`), which needs no privilege for
//! these questions.
//!
//! Interfaces are those of the calling thread's network namespace.
#![expect(unsafe_code, reason = "ioctl(2)")]

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// Names of driver and device.
const ETHTOOL_GDRVINFO: u32 = 3;
/// Offloads as bits.
const ETHTOOL_GFLAGS: u32 = 0x25;
/// Of [`ETHTOOL_GFLAGS`]: tags are taken off received frames.
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// Bytes of `struct ethtool_drvinfo`, and of its command and of its first name.
const DRIVER_INFO: usize = 196;
const COMMAND: usize = 4;
const DRIVER_NAME: usize = 32;

/// The driver's name.
pub(crate) fn driver(interface: &str) -> io::Result<String> {
    let mut info = [0u8; DRIVER_INFO];
    info[..COMMAND].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
    // SAFETY: the kernel writes `struct ethtool_drvinfo`, which is as long as `info`.
    unsafe { request(interface, info.as_mut_ptr().cast())? };
    let name = &info[COMMAND..COMMAND + DRIVER_NAME];
    let end = name.iter().position(|&byte| byte == 0);
    Ok(String::from_utf8_lossy(&name[..end.unwrap_or(DRIVER_NAME)]).into_owned())
}

/// Whether VLAN tags are taken off received frames (`rx-vlan-offload`). False where the driver has
/// no such feature.
pub(crate) fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value {
        command: ETHTOOL_GFLAGS,
        data: 0,
    };
    // SAFETY: the kernel reads and writes `struct ethtool_value`.
    match unsafe { request(interface, (&raw mut value).cast()) } {
        Ok(()) => Ok(value.data & ETH_FLAG_RXVLAN != 0),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// One request about an interface.
///
/// # Safety
/// `data` points to what the command in its first four bytes reads and writes.
unsafe fn request(interface: &str, data: *mut c_void) -> io::Result<()> {
    /// `struct ifreq`, as far as this request uses it, at its full size.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut c_void,
        rest: [u8; 16],
    }
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte ends the name.
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    name[..interface.len()].copy_from_slice(interface.as_bytes());
    let mut request = Request {
        name,
        data,
        rest: [0; 16],
    };
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: `request` is a `struct ifreq`; the caller answers for what `data` points to.
    let answer = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            SIOCETHTOOL as _,
            (&raw mut request).cast::<c_void>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_a_driver_without_offloads() {
        assert!(!strips_vlan_tags("lo").unwrap());
        // It has no driver's name of its own in every kernel: no answer is one, too.
        if let Err(error) = driver("lo") {
            assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
        }
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert_eq!(
            driver("fwt-none").unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
        assert!(driver("a-name-that-is-too-long").is_err());
    }
}
