//! Attaching: XDP and TCX egress links of our own, and what to say about programs of others.
//!
//! Invariant: a program is attached by a BPF link or not at all. A link belongs to its pin: it
//! outlives every process, and no netlink request can take it off.

pub(crate) use super::netlink::Attached;
use super::netlink::{self, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use super::program::Program;
use super::sys::{self, LinkFacts};
use super::{KernelError, pins};
use firewall_policy::rule::Mode;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// An open link of one of our programs.
#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
    facts: LinkFacts,
}

impl Link {
    /// Opens a pinned link.
    pub(crate) fn open(pin: &Path) -> Result<Self, KernelError> {
        let call = |what: &str| KernelError::call(format!("{what} link {}", pin.display()));
        let fd = sys::open_pin(pin).map_err(call("open"))?;
        let facts = match pins::kind(fd.as_fd()) {
            pins::Kind::Link => sys::link_info(fd.as_fd()).map_err(call("read"))?,
            _ => None,
        };
        let facts = facts.ok_or_else(|| {
            KernelError::State(format!(
                "{} is not a link of this firewall; remove it",
                pin.display()
            ))
        })?;
        Ok(Self { fd, facts })
    }

    /// Id, program and interface when it was opened.
    pub(crate) fn facts(&self) -> LinkFacts {
        self.facts
    }

    /// Runs `program` from now on.
    pub(crate) fn update(&self, program: &Program, interface: &str) -> Result<(), KernelError> {
        sys::link_update(self.fd.as_fd(), program.fd()).map_err(KernelError::call(format!(
            "switch {interface} to the new program"
        )))
    }

    /// Pins it at `path`.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), KernelError> {
        sys::pin(self.fd.as_fd(), path)
            .map_err(KernelError::call(format!("pin {}", path.display())))
    }

    /// Takes the program off its interface.
    pub(crate) fn detach(&self, interface: &str) -> Result<(), KernelError> {
        match sys::link_detach(self.fd.as_fd()) {
            // The interface is gone, and the link with it.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
            answer => answer.map_err(KernelError::call(format!("detach from {interface}"))),
        }
    }
}

/// A new link, and how it came about.
#[derive(Debug)]
pub(crate) struct NewLink {
    pub(crate) link: Link,
    /// Native or generic.
    pub(crate) mode: Mode,
    /// Why generic mode was taken although native mode was tried.
    pub(crate) fallback: Option<String>,
}

/// Attaches `program` to an interface that carries none.
pub(crate) fn attach(
    program: &Program,
    interface: &str,
    ifindex: u32,
    mode: Mode,
) -> Result<NewLink, KernelError> {
    let create = |flags: u32| -> io::Result<Link> {
        let fd = sys::link_create(program.fd(), ifindex, flags)?;
        let facts = sys::link_info(fd.as_fd())?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Link { fd, facts })
    };
    let refused = |mode: &'static str, error: &io::Error| {
        if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
            && let Ok(programs) = netlink::attached(ifindex)
            && let Some(foreign) = programs.first()
        {
            return foreign_program(interface, ifindex, foreign);
        }
        KernelError::Attach {
            interface: interface.into(),
            mode,
            reason: explain(error),
        }
    };
    if mode == Mode::Generic {
        let link = create(XDP_FLAGS_SKB_MODE).map_err(|error| refused("generic", &error))?;
        return Ok(NewLink {
            link,
            mode: Mode::Generic,
            fallback: None,
        });
    }
    let native = match create(XDP_FLAGS_DRV_MODE) {
        Ok(link) => {
            return Ok(NewLink {
                link,
                mode: Mode::Native,
                fallback: None,
            });
        }
        Err(error) => error,
    };
    // Generic mode mends what the driver lacks, nothing else.
    let is_about_the_driver = !matches!(
        native.raw_os_error(),
        Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV)
    );
    if mode == Mode::Native || !is_about_the_driver {
        return Err(refused("native", &native));
    }
    let link = create(XDP_FLAGS_SKB_MODE).map_err(|error| refused("generic", &error))?;
    let fallback = Some(format!("native mode refused: {}", explain(&native)));
    Ok(NewLink {
        link,
        mode: Mode::Generic,
        fallback,
    })
}

/// Attaches `program` to what leaves by an interface, beside all other programs there.
pub(crate) fn attach_egress(
    program: &Program,
    interface: &str,
    ifindex: u32,
) -> Result<Link, KernelError> {
    let create = || -> io::Result<Link> {
        let fd = sys::link_create_egress(program.fd(), ifindex)?;
        let facts = sys::link_info(fd.as_fd())?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Link { fd, facts })
    };
    create().map_err(|error| KernelError::Egress {
        interface: interface.into(),
        reason: match error.raw_os_error() {
            // Linux before 6.6 does not know the attach type.
            Some(libc::EINVAL) => {
                format!("this kernel has no TCX, which is in Linux 6.6 ({error})")
            }
            _ => error.to_string(),
        },
    })
}

/// What an errno of BPF_LINK_CREATE means for an XDP program.
fn explain(error: &io::Error) -> String {
    let meaning = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "its driver has no native XDP",
        Some(libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::EMSGSIZE) => {
            "its driver does not take the program as the interface is set up now; often the MTU is \
             too large, LRO is on, or it belongs to a bond (dmesg may say more)"
        }
        Some(libc::ENOSPC | libc::ENOMEM) => "its driver has too few queues or too little memory",
        Some(libc::ENODEV) => "the interface is gone",
        Some(libc::EEXIST) => "a program is attached in the other mode already",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}

/// Names the program on an interface and says what can be done.
pub(crate) fn foreign_program(interface: &str, ifindex: u32, program: &Attached) -> KernelError {
    let id = program.program_id;
    let name = sys::program_by_id(id)
        .and_then(|fd| sys::program_info(fd.as_fd()))
        .map_or_else(|_| "unknown".into(), |facts| facts.name);
    let advice = if held_by_link(id, ifindex) {
        "It is held by a BPF link, which only its owner can take off; stop its owner first"
    } else {
        "Take it off with its own tool (or `ip link set dev IF xdp off`), or add --replace"
    };
    KernelError::ForeignProgram {
        interface: interface.into(),
        name,
        id,
        pin: pins::find_program(id),
        advice: advice.replace("IF", interface),
    }
}

/// Whether a link holds the program on the interface.
fn held_by_link(program_id: u32, ifindex: u32) -> bool {
    sys::links()
        .filter_map(Result::ok)
        .filter_map(|link| sys::link_info(link.as_fd()).ok().flatten())
        .any(|facts| (facts.program_id, facts.ifindex) == (program_id, ifindex))
}

/// A program of someone else's that was taken off an interface. It stays loaded as long as this
/// lives, so that it can be put back.
#[derive(Debug)]
pub(crate) struct TakenOff {
    ifindex: u32,
    mode: u32,
    program: OwnedFd,
}

impl TakenOff {
    /// Puts it back.
    pub(crate) fn restore(&self) -> io::Result<()> {
        netlink::attach(self.ifindex, self.program.as_fd(), self.mode)
    }
}

/// Takes a program off that was attached by netlink. Refused for one that a link holds.
pub(crate) fn take_off(
    interface: &str,
    ifindex: u32,
    program: &Attached,
) -> Result<TakenOff, KernelError> {
    if held_by_link(program.program_id, ifindex) {
        return Err(foreign_program(interface, ifindex, program));
    }
    let call = || {
        KernelError::call(format!(
            "take program {} off {interface}",
            program.program_id
        ))
    };
    let fd = sys::program_by_id(program.program_id).map_err(call())?;
    netlink::detach(ifindex, fd.as_fd(), program.mode).map_err(call())?;
    Ok(TakenOff {
        ifindex,
        mode: program.mode,
        program: fd,
    })
}

/// The largest MTU whose frames fit into one buffer of any driver: 2 KiB, the least that drivers use,
/// less Ethernet header and two VLAN tags.
const ONE_BUFFER_MTU: u32 = 2048 - 14 - 8;

/// Whether the frames of an interface may come in several buffers. Drivers that split them refuse a
/// program that is not loaded for it.
pub(crate) fn in_buffers(interface: &str, ifindex: u32) -> Result<bool, KernelError> {
    Ok(mtu(interface, ifindex)? > ONE_BUFFER_MTU)
}

/// The longest IP packet, in bytes, that an interface takes.
pub(crate) fn mtu(interface: &str, ifindex: u32) -> Result<u32, KernelError> {
    netlink::mtu(ifindex).map_err(KernelError::call(format!("read the MTU of {interface}")))
}

/// The programs that an interface carries.
pub(crate) fn programs_on(interface: &str, ifindex: u32) -> Result<Vec<Attached>, KernelError> {
    netlink::attached(ifindex).map_err(KernelError::call(format!(
        "ask which XDP programs {interface} carries"
    )))
}
