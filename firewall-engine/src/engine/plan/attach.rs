//! The steps that attach: of a whole change, and of an interface that joins what is in force.
//!
//! Invariant: what is attached is in the journal, whatever comes of its pin.

use super::Interface;
use super::undo::{Journal, Undo};
use crate::engine::resolve::Target;
use crate::engine::store::{Store, make_folder};
use crate::kernel::KernelError;
use crate::kernel::egress::{self, By};
use crate::kernel::link::{self, NewLink};
use crate::kernel::program::Program;
use firewall_policy::rule::Mode;

/// Attaches the program of what comes in. Gives the mode in force, and why it is the generic one, if it is.
pub(super) fn ingress(
    (store, journal): (&Store, &mut Journal),
    program: &Program,
    (target, mode): (&Target, Mode),
    pin: &str,
) -> Result<(Mode, Option<String>), KernelError> {
    make_folder(&store.links_folder())?;
    let path = store.link_path(pin);
    let new = link::attach(program, &target.name, target.ifindex, mode);
    let NewLink {
        link,
        mode,
        fallback,
    } = new.map_err(|error| target.explain(error))?;
    let pinned = link.pin(&path);
    journal.steps.push(Undo::Detach {
        interface: target.name.clone(),
        link,
        pin: path,
    });
    pinned?;
    Ok((mode, fallback.or_else(|| target.why_generic())))
}

/// Attaches the program of what leaves.
pub(super) fn outgoing(
    (store, journal): (&Store, &mut Journal),
    program: &Program,
    (interface, by): (&Interface, By),
    pin: &str,
) -> Result<(), KernelError> {
    make_folder(&store.egress_folder())?;
    let path = store.egress_path(pin);
    // The filter of a kernel without links has its index in its name.
    let place = |name: &str| match name == interface.name {
        true => path.clone(),
        false => store.egress_path(name),
    };
    let to = (interface.name.as_str(), interface.index);
    let (link, pin) = egress::attach(by, program, to, place)?;
    journal.steps.push(Undo::Detach {
        interface: interface.name.clone(),
        link,
        pin,
    });
    Ok(())
}
