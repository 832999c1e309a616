//! The egress program of a generation whose policy uses state, or has essential traffic that must be
//! solicited: one link per interface, attached, switched and detached with the generation.
//!
//! Only the XDP links define the active generation ([`super::store`]). An egress link that runs the
//! program of another generation does no harm: all of them write to the same flow table. If the table
//! changes, the new program runs beside the old one until the rules are switched, so the old rules
//! still see every flow. (A filter in `clsact` cannot do that.)

use super::resolve::Target;
use super::store::{PinnedLink, Survey};
use crate::kernel::link::unpin;
use crate::kernel::{Hook, KernelError};

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
    let Some(in_force) = survey.in_force() else {
        return false;
    };
    if !in_force.has_egress() {
        return survey.egress.is_empty();
    }
    survey.egress.len() == targets.len()
        && targets.iter().all(|target| {
            let wanted = in_force.program_at(Hook::Egress, target.framing);
            let runs = link_on(survey, target.ifindex).map(|it| it.link.facts().program_id);
            wanted.is_some_and(|program| Some(program.id()) == runs)
        })
}

/// The egress link of an interface.
fn link_on(survey: &Survey, ifindex: u32) -> Option<&PinnedLink> {
    let mut links = survey.egress.iter();
    links.find(|pinned| pinned.is_on(ifindex))
}
