//! Attaches the egress program to an interface: by a TCX link if the kernel has that (Linux 6.6), else
//! by a filter in `clsact`.
//!
//! A filter has no pin. A folder in the place of the pin stands for it, whose name ends in the
//! number of the interface; in it is another one if `clsact` was made for the filter. The filter
//! itself is asked for what it runs, so the folder can be left over, but cannot be wrong.
//!
//! Invariant: nothing is attached without its pin. A link is made first, because it goes with the
//! process until it is pinned; a filter stays, so its folder is made first.

use super::KernelError;
use super::link::Link;
use super::netlink::clsact;
use super::program::Program;
use super::sys::{self, Hook, LinkFacts};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// In the folder of a filter for which `clsact` was made.
const MADE_CLSACT: &str = "clsact";

/// By what an egress program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum By {
    /// A link, where the kernel has it.
    #[default]
    Link,
    /// A filter, wherever it runs.
    Filter,
}

/// Attaches `program` to what leaves by an interface, beside all other programs there, and pins it.
/// `place` says where a pin with the name that it gets goes. Returns it with its pin.
pub(crate) fn attach(
    by: By,
    program: &Program,
    (interface, ifindex): (&str, u32),
    place: impl Fn(&str) -> PathBuf,
) -> Result<(Link, PathBuf), KernelError> {
    let refused = |reason: String| KernelError::Egress {
        interface: interface.into(),
        reason,
    };
    if by == By::Link {
        match sys::link_create_egress(program.fd(), ifindex).and_then(Link::of_fd) {
            Ok(link) => {
                let pin = place(interface);
                link.pin(&pin)?;
                return Ok((link, pin));
            }
            // Linux before 6.6 does not know the attach type.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                return Err(KernelError::gone(interface));
            }
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    let pin = place(&format!("{interface}_{ifindex}"));
    let failed = |error: &io::Error| {
        refused(match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::AddrInUse, _) => format!(
                "an `ingress` qdisc, which takes no filters for what leaves, has the place of \
                 `clsact`; `tc qdisc del dev {interface} ingress` takes it off, with its filters"
            ),
            (_, Some(libc::EEXIST)) => format!(
                "the first filter of its `clsact` is somebody else's; `tc filter show dev \
                 {interface} egress` shows it"
            ),
            (_, Some(libc::ENOENT)) => {
                format!("this kernel has no `clsact` (modules sch_ingress and cls_bpf) ({error})")
            }
            _ => error.to_string(),
        })
    };
    fs::create_dir(&pin).map_err(KernelError::call(format!("make folder {}", pin.display())))?;
    let filter = Filter::add(ifindex, program, &pin).and_then(Link::of_filter);
    match filter {
        Ok(link) => Ok((link, pin)),
        Err(error) => {
            let _ = fs::remove_dir_all(&pin);
            Err(failed(&error))
        }
    }
}

/// Lets a program note what leaves by an interface, beside another one that has a link there, until the
/// answer is dropped or this process ends: by a link without a pin.
pub(crate) fn beside(
    program: &Program,
    (interface, ifindex): (&str, u32),
) -> Result<OwnedFd, KernelError> {
    sys::link_create_egress(program.fd(), ifindex).map_err(|error| KernelError::Egress {
        interface: interface.into(),
        reason: error.to_string(),
    })
}

/// A program of ours in `clsact`.
#[derive(Debug)]
pub(super) struct Filter {
    ifindex: u32,
    /// Nobody had use for `clsact` before.
    made_clsact: bool,
}

impl Filter {
    /// Hangs one in, and notes in its folder if `clsact` was made for it.
    fn add(ifindex: u32, program: &Program, pin: &Path) -> io::Result<Self> {
        let made_clsact = clsact::make(ifindex)?;
        let noted = match made_clsact {
            true => fs::create_dir(pin.join(MADE_CLSACT)),
            false => Ok(()),
        };
        let added = noted.and_then(|()| clsact::add(ifindex, program.fd()));
        added.inspect_err(|_| {
            if made_clsact {
                let _ = clsact::remove_if_empty(ifindex);
            }
        })?;
        Ok(Self {
            ifindex,
            made_clsact,
        })
    }

    /// The one that a folder stands for.
    pub(super) fn open(pin: &Path) -> Option<Self> {
        let (_, ifindex) = pin.file_name()?.to_str()?.rsplit_once('_')?;
        Some(Self {
            ifindex: ifindex.parse().ok()?,
            made_clsact: pin.join(MADE_CLSACT).is_dir(),
        })
    }

    /// What it runs now; interface 0 if it is gone.
    pub(super) fn facts(&self) -> io::Result<LinkFacts> {
        let program = clsact::program(self.ifindex)?;
        Ok(LinkFacts {
            hook: Hook::Egress,
            id: 0,
            program_id: program.unwrap_or(0),
            ifindex: program.map_or(0, |_| self.ifindex),
        })
    }

    /// Puts another program in its place.
    pub(super) fn update(&self, program: &Program) -> io::Result<()> {
        clsact::replace(self.ifindex, program.fd())
    }

    /// Takes it off, and `clsact` if that was made for it and nobody else uses it by now.
    pub(super) fn remove(&self) -> io::Result<()> {
        clsact::remove(self.ifindex)?;
        if self.made_clsact {
            clsact::remove_if_empty(self.ifindex)?;
        }
        Ok(())
    }
}
