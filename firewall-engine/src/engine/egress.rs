//! The egress program of a generation whose policy uses state, or has essential traffic that must be
//! solicited: one link per interface, attached, switched and detached with the generation.
//!
//! Only the XDP links define the active generation ([`super::store`]). An egress link that runs the
//! program of another generation does no harm: all of them write to the same flow table. If the table
//! changes, the new program runs beside the old one until the rules are switched, so the old rules
//! still see every flow. (A filter in `clsact` cannot do that.)

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
