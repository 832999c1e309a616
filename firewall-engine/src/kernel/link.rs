//! Attaching: XDP and TCX egress links of our own, and what to say about programs of others.
//!
//! Invariant: an XDP program is attached by a BPF link or not at all. A link belongs to its pin: it
//! outlives every process, and no netlink request can take it off. An egress program, which stops
//! no packet, is hung into `clsact` where the kernel has no link for it ([`super::egress`]).

use super::egress::Filter;
pub(crate) use super::netlink::xdp::Attached;
use super::netlink::xdp::{self as netlink, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use super::program::Program;
use super::sys::{self, Hook, LinkFacts};
use super::{KernelError, pins};
use firewall_policy::rule::Mode;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What holds one of our programs to an interface, open.
#[derive(Debug)]
pub(crate) struct Link {
    held: Held,
    facts: LinkFacts,
}

/// The XDP programs that interfaces carry, as of one moment; of none nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Carried(HashMap<u32, Vec<Attached>>);

impl Carried {
    /// Asks the kernel once. What it does not say is asked for one by one.
    pub(crate) fn now() -> Self {
        Self(netlink::attached_to_all().unwrap_or_default())
    }

    /// Whether the link's interface is known to carry its program.
    pub(crate) fn has(&self, link: &Link) -> bool {
        let facts = link.facts;
        let here = self
            .0
            .get(&facts.ifindex)
            .filter(|_| facts.hook == Hook::Xdp);
        here.is_some_and(|all| all.iter().any(|one| one.program_id == facts.program_id))
    }
}

#[derive(Debug)]
enum Held {
    Link(OwnedFd),
    Filter(Filter),
}

impl Link {
    /// Opens a pinned link, or the filter that a folder stands for.
    pub(crate) fn open(pin: &Path) -> Result<Self, KernelError> {
        let call = |what: &str| KernelError::call(format!("{what} link {}", pin.display()));
        let stranger = || {
            KernelError::State(format!(
                "{} is not a link of this firewall; remove it",
                pin.display()
            ))
        };
        if pin.is_dir() {
            let filter = Filter::open(pin).ok_or_else(stranger)?;
            return Self::of_filter(filter).map_err(call("read"));
        }
        let fd = sys::open_pin(pin).map_err(call("open"))?;
        let facts = match pins::kind(fd.as_fd()) {
            pins::Kind::Link => sys::link_info(fd.as_fd()).map_err(call("read"))?,
            _ => None,
        };
        Ok(Self {
            held: Held::Link(fd),
            facts: facts.ok_or_else(stranger)?,
        })
    }

    /// A link that was just made.
    pub(super) fn of_fd(fd: OwnedFd) -> io::Result<Self> {
        let facts = sys::link_info(fd.as_fd())?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            held: Held::Link(fd),
            facts,
        })
    }

    pub(super) fn of_filter(filter: Filter) -> io::Result<Self> {
        let facts = filter.facts()?;
        Ok(Self {
            held: Held::Filter(filter),
            facts,
        })
    }

    /// Id, program and interface when it was opened.
    pub(crate) fn facts(&self) -> LinkFacts {
        self.facts
    }

    /// Whether a filter in `clsact` is in place of a link.
    pub(crate) const fn is_filter(&self) -> bool {
        matches!(self.held, Held::Filter(_))
    }

    /// Whether the interface that has the link's index in this namespace carries the program that
    /// the link runs. The index alone proves nothing: it may be that of an interface which has moved
    /// to another namespace, and belong to another one here.
    pub(crate) fn is_carried(&self) -> Result<bool, KernelError> {
        let Held::Link(fd) = &self.held else {
            // A filter is asked for where it is.
            return Ok(self.facts.ifindex != 0);
        };
        let mut facts = self.facts;
        loop {
            if facts.ifindex == 0 {
                return Ok(false);
            }
            let carried = match facts.hook {
                Hook::Xdp => netlink::attached(facts.ifindex)
                    .map(|all| all.iter().map(|one| one.program_id).collect()),
                Hook::Egress => sys::egress_programs(facts.ifindex),
            };
            let carried: Vec<u32> = match carried {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Vec::new(),
                answer => answer.map_err(KernelError::call(format!(
                    "ask what interface {} carries",
                    facts.ifindex
                )))?,
            };
            if carried.contains(&facts.program_id) {
                return Ok(true);
            }
            // Switched to another program between the two questions, perhaps.
            let now = sys::link_info(fd.as_fd())
                .map_err(KernelError::call("read a link"))?
                .unwrap_or(facts);
            if now == facts {
                return Ok(false);
            }
            facts = now;
        }
    }

    /// Runs `program` from now on.
    pub(crate) fn update(&self, program: &Program, interface: &str) -> Result<(), KernelError> {
        let updated = match &self.held {
            Held::Link(fd) => sys::link_update(fd.as_fd(), program.fd()),
            Held::Filter(filter) => filter.update(program),
        };
        updated.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOLINK | libc::ENODEV) => KernelError::gone(interface),
            _ => KernelError::call(format!("switch {interface} to the new program"))(error),
        })
    }

    /// Pins it at `path`.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), KernelError> {
        let pinned = match &self.held {
            Held::Link(fd) => sys::pin(fd.as_fd(), path),
            // Its folder was there before it.
            Held::Filter(_) => Ok(()),
        };
        pinned.map_err(KernelError::call(format!("pin {}", path.display())))
    }

    /// Takes the program off its interface.
    pub(crate) fn detach(&self, interface: &str) -> Result<(), KernelError> {
        let detached = match &self.held {
            Held::Link(fd) => sys::link_detach(fd.as_fd()),
            Held::Filter(filter) => filter.remove(),
        };
        match detached {
            // The interface is gone, and the link with it.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
            answer => answer.map_err(KernelError::call(format!("detach from {interface}"))),
        }
    }
}

/// Removes the pin of a link.
pub(crate) fn unpin(pin: &Path) -> Result<(), KernelError> {
    let removed = if pin.is_dir() {
        fs::remove_dir_all(pin)
    } else {
        fs::remove_file(pin)
    };
    removed.map_err(KernelError::call(format!("remove {}", pin.display())))
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
        Link::of_fd(sys::link_create(program.fd(), ifindex, flags)?)
    };
    let refused = |mode: &'static str, error: &io::Error| {
        if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
            && let Ok(programs) = netlink::attached(ifindex)
            && let Some(foreign) = programs.first()
        {
            return foreign_program(interface, ifindex, foreign);
        }
        if error.raw_os_error() == Some(libc::ENODEV) {
            return KernelError::gone(interface);
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

/// What an errno of BPF_LINK_CREATE means for an XDP program.
fn explain(error: &io::Error) -> String {
    let meaning = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "its driver has no native XDP",
        Some(libc::EINVAL | libc::ERANGE | libc::E2BIG | libc::EMSGSIZE) => {
            "its driver does not take the program as the interface is set up now; often the MTU is \
             too large, LRO is on, or it belongs to a bond (dmesg may say more)"
        }
        Some(libc::ENOSPC | libc::ENOMEM) => "its driver has too few queues or too little memory",
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
    let advice = match held_by_link(id, ifindex) {
        Ok(true) => {
            "It is held by a BPF link, which only its owner can take off; stop its owner first"
        }
        Ok(false) => {
            "Take it off with its own tool (or `ip link set dev IF xdp off`), or add --replace"
        }
        // Only CAP_SYS_ADMIN may look.
        Err(_) => {
            "Stop its owner, or take it off with its own tool (or `ip link set dev IF xdp off`)"
        }
    };
    KernelError::ForeignProgram {
        interface: interface.into(),
        name,
        id,
        pin: pins::find_program(id),
        advice: advice.replace("IF", interface),
    }
}

/// Whether a link holds the program on the interface. An error if this process may not look.
fn held_by_link(program_id: u32, ifindex: u32) -> io::Result<bool> {
    for link in sys::links() {
        let facts = sys::link_info(link?.as_fd())?;
        if facts.is_some_and(|it| (it.program_id, it.ifindex) == (program_id, ifindex)) {
            return Ok(true);
        }
    }
    Ok(false)
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
    // Where that cannot be known, the kernel refuses what a link holds.
    if held_by_link(program.program_id, ifindex).unwrap_or(false) {
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

/// The programs that an interface carries.
pub(crate) fn programs_on(interface: &str, ifindex: u32) -> Result<Vec<Attached>, KernelError> {
    netlink::attached(ifindex).map_err(asked(interface, "ask which XDP programs it carries"))
}

/// What a question about an interface fails with.
fn asked(interface: &str, what: &str) -> impl FnOnce(io::Error) -> KernelError {
    let interface = interface.to_owned();
    let what = format!("{what} ({interface})");
    move |error| match error.raw_os_error() {
        Some(libc::ENODEV) => KernelError::gone(&interface),
        _ => KernelError::call(what)(error),
    }
}
