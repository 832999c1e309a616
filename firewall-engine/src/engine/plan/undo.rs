//! The steps of a change that have been done, and how each one is undone.
//!
//! Invariant: steps are undone in reverse, all of them, whatever fails. What a step holds is let go at the
//! end of the change, whether it has succeeded or not.

use crate::engine::handover::Handover;
use crate::engine::store::{Folder, Survey};
use crate::kernel::link::{Link, TakenOff, unpin};
use crate::kernel::{Hook, KernelError};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// How to undo one step.
#[derive(Debug)]
pub(super) enum Undo {
    RemoveFolder(Folder),
    /// Take out of bans and live sets what was filled in.
    EmptySets,
    PutBack {
        interface: String,
        program: TakenOff,
    },
    Detach {
        interface: String,
        link: Link,
        pin: PathBuf,
    },
    SwitchBack {
        hook: Hook,
        interface: String,
        pin: PathBuf,
        /// Id of the program that ran before.
        program: u32,
    },
    /// What holds a program for as long as the change takes.
    LetGo(OwnedFd),
}

/// The steps done so far.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) steps: Vec<Undo>,
}

impl Journal {
    /// Undoes every step, the last one first. What cannot be undone is logged; the error that led
    /// here is the one to report.
    pub(super) fn roll_back(self, survey: &Survey, sets: Option<&Handover<'_>>) {
        for step in self.steps.into_iter().rev() {
            let what = format!("{step:?}");
            if let Err(error) = undo(step, survey, sets) {
                tracing::error!(%error, step = what, "cannot undo a step");
            }
        }
    }
}

fn undo(step: Undo, survey: &Survey, sets: Option<&Handover<'_>>) -> Result<(), KernelError> {
    match step {
        Undo::RemoveFolder(folder) => folder.remove(),
        Undo::LetGo(link) => {
            drop(link);
            Ok(())
        }
        Undo::EmptySets => sets.map_or(Ok(()), Handover::undo),
        Undo::PutBack { interface, program } => program.restore().map_err(KernelError::call(
            format!("put the program back on {interface}"),
        )),
        Undo::Detach {
            interface,
            link,
            pin,
        } => {
            let detached = link.detach(&interface);
            let _ = unpin(&pin);
            detached
        }
        Undo::SwitchBack {
            hook,
            interface,
            pin,
            program,
        } => switch_back(survey, hook, &pin, (&interface, program)),
    }
}

fn switch_back(
    survey: &Survey,
    hook: Hook,
    pin: &Path,
    (interface, id): (&str, u32),
) -> Result<(), KernelError> {
    let mut generations = survey.generations.iter();
    let program = generations.find_map(|old| old.program(hook, id));
    let (_, program) =
        program.ok_or_else(|| KernelError::State(format!("program {id} is gone")))?;
    Link::open(pin)?.update(program, interface)
}
