//! The egress program of a generation whose policy looks at state, or has essential traffic that must be
//! asked for: one link for each interface, attached, switched and taken off with the generation.
//!
//! What is in force is said by the XDP links alone ([`super::store`]). A link here that runs the
//! program of another generation does no harm: all of them write to the same table of flows. Where the
//! table is another one, the new program runs beside the former one until the rules are switched: so
//! what the former rules look at meanwhile has every flow, too. (Not where it is a filter in `clsact`.)

use super::resolve::Target;
use super::store::{PinnedLink, Survey};
use crate::kernel::KernelError;
use crate::kernel::link::unpin;

/// Takes one off, and removes its pin.
pub(super) fn remove(pinned: &PinnedLink) -> Result<(), KernelError> {
    if pinned.is_attached() {
        pinned.link.detach(&pinned.name)?;
    }
    unpin(&pinned.path)
}

/// Whether what leaves by each interface goes through the egress program of the generation in
/// force, if that has one, and nothing else is attached.
pub(super) fn is_complete(survey: &Survey, targets: &[Target]) -> bool {
    let Some(egress) = survey.in_force().map(|generation| &generation.egress) else {
        return false;
    };
    match egress {
        None => survey.egress.is_empty(),
        Some(program) => {
            survey.egress.len() == targets.len()
                && targets.iter().all(|target| {
                    link_on(survey, target.ifindex)
                        .is_some_and(|pinned| pinned.link.facts().program_id == program.id())
                })
        }
    }
}

/// The egress link of an interface.
fn link_on(survey: &Survey, ifindex: u32) -> Option<&PinnedLink> {
    let mut links = survey.egress.iter();
    links.find(|pinned| pinned.is_on(ifindex))
}
