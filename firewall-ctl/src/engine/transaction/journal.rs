//! The steps of a change that have been taken, and how each one is taken back.
//!
//! Invariant: steps are taken back in reverse, all of them, whatever fails.

use super::super::store::{Folder, Survey};
use crate::kernel::link::{Link, TakenOff, unpin};
use crate::kernel::{Hook, KernelError};
use std::path::PathBuf;

/// How to take one step back.
#[derive(Debug)]
pub(in crate::engine) enum Undo {
    RemoveFolder(Folder),
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
        generation: u64,
    },
}

/// The steps taken so far.
#[derive(Debug, Default)]
pub(in crate::engine) struct Journal {
    pub(in crate::engine) steps: Vec<Undo>,
}

impl Journal {
    /// Takes every step back, the last one first. What cannot be undone is logged; the error that
    /// led here is the one to report.
    pub(super) fn roll_back(self, survey: &Survey) {
        for step in self.steps.into_iter().rev() {
            let what = format!("{step:?}");
            let undone = match step {
                Undo::RemoveFolder(folder) => folder.remove(),
                Undo::PutBack { interface, program } => program.restore().map_err(
                    KernelError::call(format!("put the program back on {interface}")),
                ),
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
                    generation,
                } => {
                    let generations = &survey.generations;
                    let old = generations.iter().find(|old| old.number == generation);
                    let program = old.and_then(|old| match hook {
                        Hook::Xdp => old.program.as_ref(),
                        Hook::Egress => old.egress.as_ref(),
                    });
                    match program {
                        Some(program) => {
                            Link::open(&pin).and_then(|link| link.update(program, &interface))
                        }
                        None => Err(KernelError::State(format!(
                            "generation {generation} is gone"
                        ))),
                    }
                }
            };
            if let Err(error) = undone {
                tracing::error!(%error, step = what, "cannot take a step back");
            }
        }
    }
}
