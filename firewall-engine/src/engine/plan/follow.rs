//! Executes what a plan has for interfaces that come and go while a generation is in force.
//!
//! Nothing is compiled and nothing is loaded. Invariant: an interface that joins is filtered as a whole, or
//! what was done for it is undone; what becomes of one does not touch the others.

use super::execute::{injected, pinned, unplanned};
use super::observed::Observed;
use super::undo::Journal;
use super::{Interface, Step, attach, make};
use crate::engine::resolve::Target;
use crate::engine::store::{Generation, Store, Survey};
use crate::engine::types::{EngineError, InterfaceRecord};
use crate::kernel::counters::clear_interfaces;
use crate::kernel::egress::By;
use crate::kernel::link::unpin;
use crate::kernel::program::Program;
use crate::kernel::{Hook, KernelError};
use firewall_common::abi::InterfaceEntry;
use firewall_policy::rule::Mode;

/// An interface that is to be filtered by the generation in force.
#[derive(Debug)]
pub(in crate::engine) struct Newcomer<'a> {
    pub(in crate::engine) target: &'a Target,
    /// Its counter slot.
    pub(in crate::engine) slot: u32,
    /// Slots in which somebody else has counted.
    pub(in crate::engine) fresh: &'a [u32],
    /// Indices of the interfaces that are filtered.
    pub(in crate::engine) filtered: &'a [u32],
}

/// Changes of which interfaces a generation filters.
#[derive(Debug)]
pub(in crate::engine) struct Following<'a> {
    store: &'a Store,
    survey: &'a Survey,
    in_force: &'a Generation,
    egress_by: By,
    observed: Observed,
    /// Steps that are done, and have not been undone.
    done: Vec<Step>,
    /// How many were begun, and at which one to fail.
    begun: usize,
    fails_at: Option<usize>,
}

impl<'a> Following<'a> {
    /// Of the generation in force.
    pub(in crate::engine) fn new(
        (store, egress_by): (&'a Store, By),
        survey: &'a Survey,
        in_force: &'a Generation,
        fails_at: Option<usize>,
    ) -> Self {
        Self {
            store,
            survey,
            in_force,
            egress_by,
            observed: Observed::of(survey),
            done: Vec::new(),
            begun: 0,
            fails_at,
        }
    }

    /// Filters one interface more. Gives what is to be on record of it.
    pub(in crate::engine) fn admit(
        &mut self,
        newcomer: &Newcomer<'_>,
    ) -> Result<InterfaceRecord, EngineError> {
        let target = newcomer.target;
        let interface = Interface {
            name: target.name.clone(),
            index: target.ifindex,
        };
        // That of an interface whose other link somebody has detached is there yet.
        let is_noted = self.survey.egress.iter().any(|it| it.is_on(target.ifindex));
        let has_egress = self.in_force.has_egress() && !is_noted;
        let steps = make::admit(&(interface, target.mode), has_egress, &self.observed);
        let joined = self.perform(steps, newcomer)?;
        let (mode, fallback) = joined.mode;
        Ok(InterfaceRecord {
            name: target.name.clone(),
            ifindex: target.ifindex,
            slot: newcomer.slot,
            zone: target.zone,
            zone_name: target.zone_name.clone(),
            mode,
            fallback,
        })
    }

    /// Puts the program of what leaves back on an interface that is filtered.
    pub(in crate::engine) fn note(&mut self, target: &Target) -> Result<(), EngineError> {
        let interface = Interface {
            name: target.name.clone(),
            index: target.ifindex,
        };
        let steps = make::note(&(interface, target.mode), &self.observed);
        let newcomer = Newcomer {
            target,
            slot: 0,
            fresh: &[],
            filtered: &[],
        };
        self.perform(steps, &newcomer).map(drop)
    }

    /// Does steps for one interface, or none of them.
    fn perform(
        &mut self,
        steps: Vec<Step>,
        newcomer: &Newcomer<'_>,
    ) -> Result<Joined, EngineError> {
        let mut joined = Joined {
            journal: Journal::default(),
            mode: (newcomer.target.mode, None),
        };
        for step in &steps {
            let outcome = self.counted(step).and_then(|()| {
                let by = (self.store, self.in_force, self.egress_by);
                match step {
                    Step::Unpin { hook, pin } => unpin(&pinned(self.survey, *hook, pin)?.path),
                    _ => joined.step(step, newcomer, by),
                }
            });
            if let Err(error) = outcome {
                joined.journal.roll_back(self.survey, None);
                return Err(error.into());
            }
            // A pin that has made room is not put back.
            if matches!(step, Step::Unpin { .. }) {
                self.done.push(step.clone());
            }
        }
        self.done.extend(steps);
        Ok(joined)
    }

    /// Lets go of the links of interfaces that are gone: what could not be done, a sentence each.
    pub(in crate::engine) fn let_go(&mut self) -> Vec<String> {
        let steps = make::let_go(&self.done, &self.observed);
        let failed = steps.iter().filter_map(|step| {
            let outcome = self.counted(step).and_then(|()| match step {
                Step::Detach { hook, pin } => {
                    let pinned = pinned(self.survey, *hook, pin)?;
                    pinned.link.detach(&pinned.name)
                }
                Step::Unpin { hook, pin } => unpin(&pinned(self.survey, *hook, pin)?.path),
                _ => Err(unplanned("one that is gone")),
            });
            outcome.err().map(|error| error.to_string())
        });
        failed.collect()
    }

    /// Fails at the step that a test asks for.
    fn counted(&mut self, step: &Step) -> Result<(), KernelError> {
        let number = self.begun;
        self.begun += 1;
        match self.fails_at {
            Some(at) if at == number => Err(injected(step)),
            _ => Ok(()),
        }
    }
}

/// What has been done for one interface.
struct Joined {
    journal: Journal,
    /// The mode in force, and why it is the generic one, if it is.
    mode: (Mode, Option<String>),
}

impl Joined {
    fn step(
        &mut self,
        step: &Step,
        newcomer: &Newcomer<'_>,
        (store, in_force, egress_by): (&Store, &Generation, By),
    ) -> Result<(), KernelError> {
        let target = newcomer.target;
        let program = |hook: Hook| -> Result<&Program, KernelError> {
            let found = in_force.program_at(hook, target.framing);
            found.ok_or_else(|| unplanned(&target.name))
        };
        match step {
            Step::Admit(interface) => {
                let entry = InterfaceEntry {
                    ifindex: interface.index,
                    slot: newcomer.slot as u16,
                    zone: target.zone as u16,
                };
                clear_interfaces(&in_force.folder.reasons()?, newcomer.fresh)?;
                let table = in_force.folder.interfaces()?;
                table.add_interface(entry, newcomer.filtered)
            }
            Step::Attach {
                hook: Hook::Egress,
                interface,
                pin,
                ..
            } => {
                let place = (store, &mut self.journal);
                attach::outgoing(place, program(Hook::Egress)?, (interface, egress_by), pin)
            }
            Step::Attach {
                hook: Hook::Xdp,
                mode,
                pin,
                ..
            } => {
                let place = (store, &mut self.journal);
                self.mode = attach::ingress(place, program(Hook::Xdp)?, (target, *mode), pin)?;
                Ok(())
            }
            _ => Err(unplanned(&target.name)),
        }
    }
}
