//! The egress program of a generation whose policy looks at state: one link for each interface,
//! attached, switched and taken off with the generation.
//!
//! What is in force is said by the XDP links alone ([`super::store`]). A link here that runs the
//! program of another generation does no harm: all of them write to the same table of flows.

use super::resolve::Target;
use super::store::{PinnedLink, Store, Survey};
use super::transaction::{Journal, Undo};
use crate::kernel::egress::{self as attachment, By};
use crate::kernel::link::{Link, unpin};
use crate::kernel::program::Program;
use crate::kernel::{Hook, KernelError};
use std::fs;
use std::path::PathBuf;

/// Attaches the program to what leaves by each of the interfaces, or switches the link that is
/// there.
pub(super) fn attach(
    store: &Store,
    survey: &Survey,
    targets: &[Target],
    (program, by): (&Program, By),
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let folder = store.egress_folder();
    fs::create_dir_all(&folder).map_err(KernelError::call(format!(
        "make folder {}",
        folder.display()
    )))?;
    for target in targets {
        let interface = target.name.clone();
        if let Some(pinned) = link_on(survey, target.ifindex) {
            pinned.link.update(program, &pinned.name)?;
            let runs = pinned.link.facts().program_id;
            let generation = survey.generations.iter().find(|generation| {
                let egress = generation.egress.as_ref();
                egress.is_some_and(|program| program.id() == runs)
            });
            if let Some(generation) = generation {
                journal.steps.push(Undo::SwitchBack {
                    hook: Hook::Egress,
                    interface,
                    pin: pinned.path.clone(),
                    generation: generation.number,
                });
            }
            continue;
        }
        let place = |name: &str| free_pin(store, survey, target, name);
        let (link, pin) = attachment::attach(by, program, (&target.name, target.ifindex), place)?;
        journal.steps.push(Undo::Detach {
            interface,
            link,
            pin,
        });
    }
    Ok(())
}

/// Takes off what no longer belongs: links of interfaces that are not filtered any more, and all of
/// them under a policy without `egress` program.
pub(super) fn remove_others(
    survey: &Survey,
    targets: &[Target],
    egress: Option<&Program>,
) -> Vec<Result<(), KernelError>> {
    let stays = |pinned: &&PinnedLink| {
        egress.is_some() && targets.iter().any(|target| pinned.is_on(target.ifindex))
    };
    // A dead link's pin may have made room for a new link meanwhile.
    let is_new = |pinned: &PinnedLink| {
        let now = Link::open(&pinned.path).map(|link| link.facts());
        now.is_ok_and(|now| egress.is_some_and(|program| program.id() == now.program_id))
    };
    survey
        .egress
        .iter()
        .filter(|pinned| !stays(pinned) && !is_new(pinned))
        .map(remove)
        .collect()
}

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

/// Where to pin the link of an interface under a name: as for XDP links.
fn free_pin(store: &Store, survey: &Survey, target: &Target, name: &str) -> PathBuf {
    let path = store.egress_path(name);
    match survey.egress.iter().find(|pinned| pinned.path == path) {
        Some(pinned) if pinned.is_alive() => {
            store.egress_path(&format!("{}_{}", target.name, target.ifindex))
        }
        Some(_) => {
            let _ = unpin(&path);
            path
        }
        None => path,
    }
}
