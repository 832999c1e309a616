//! Executes a plan, step by step.
//!
//! Invariant: either every step succeeds, or the completed ones are undone in reverse.

use super::desired::{Desired, Draft};
use super::observed::Foreign;
use super::undo::{Journal, Undo};
use super::{Interface, Plan, Step, attach};
use crate::engine::carry::carry_over;
use crate::engine::flows;
use crate::engine::handover::Handover;
use crate::engine::store::{Folder, PinnedLink, Store, Survey};
use crate::engine::types::{EngineError, Record};
use crate::kernel::counters::{clear_interfaces, clear_rules};
use crate::kernel::flows::Ends;
use crate::kernel::link::{self, unpin};
use crate::kernel::program::{Framing, Program};
use crate::kernel::{Hook, KernelError, egress};
use firewall_api::effect::Effect;
use firewall_common::region::Region;
use firewall_policy::host::lets_datagrams_in;
use firewall_policy::rule::Mode;
use std::collections::BTreeSet;

/// What is in force now.
#[derive(Debug)]
pub(in crate::engine) struct Done {
    pub(in crate::engine) record: Record,
    /// The number of the generation before.
    pub(in crate::engine) before: Option<u64>,
    pub(in crate::engine) warnings: Vec<String>,
    /// What it does to packets, if that was asked for.
    pub(in crate::engine) effect: Option<Effect>,
}

/// A plan that is being done.
#[derive(Debug)]
pub(super) struct Execution<'a> {
    store: &'a Store,
    survey: &'a Survey,
    desired: &'a Desired<'a>,
    foreign: &'a [Foreign],
    draft: Draft<'a>,
    folder: Folder,
    sets: Option<Handover<'a>>,
    programs: Vec<(Hook, Framing, Program)>,
    /// The egress programs once more, while the former ones run.
    beside: Vec<(Framing, Program)>,
    journal: Journal,
    warnings: Vec<String>,
}

impl<'a> Execution<'a> {
    /// Of a plan that has not begun.
    pub(super) fn new(
        (store, survey): (&'a Store, &'a Survey),
        desired: &'a Desired<'a>,
        foreign: &'a [Foreign],
        draft: Draft<'a>,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            store,
            survey,
            desired,
            foreign,
            folder: store.folder(draft.record.generation),
            draft,
            sets: None,
            programs: Vec::new(),
            beside: Vec::new(),
            journal: Journal::default(),
            warnings,
        }
    }

    /// Does all of it. The step of the number `fails_at` fails.
    pub(super) fn run(mut self, plan: &Plan, fails_at: Option<usize>) -> Result<Done, EngineError> {
        for (number, step) in plan.change.iter().enumerate() {
            let outcome = match fails_at {
                Some(at) if at == number => Err(injected(step).into()),
                _ => self.step(step),
            };
            if let Err(error) = outcome {
                self.journal.roll_back(self.survey, self.sets.as_ref());
                return Err(error);
            }
        }
        for (number, step) in plan.tidy.iter().enumerate() {
            let outcome = match fails_at {
                Some(at) if at == plan.change.len() + number => Err(injected(step).into()),
                _ => self.step(step),
            };
            if let Err(error) = outcome {
                self.warnings
                    .push(format!("the new policy is in force, but: {error}"));
            }
        }
        Ok(Done {
            before: None,
            record: self.draft.record,
            warnings: self.warnings,
            effect: None,
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), EngineError> {
        match step {
            Step::MakeFolder => self.make_folder()?,
            Step::PinMaps => self
                .draft
                .pinned()
                .try_for_each(|map| self.folder.pin_map(map))?,
            Step::FillSets => self.fill_sets()?,
            Step::Load(hook, framing) => self.load(*hook, *framing)?,
            Step::WriteRecord => self.folder.write_record(&self.draft.record)?,
            Step::ClearCounters => self.clear_counters()?,
            Step::CarryCounters => carry_over(self.survey, &self.folder)?,
            Step::RunBeside(interface) => self.run_beside(interface)?,
            Step::FillFlows => self.fill_flows()?,
            Step::CatchUpFlows => {
                let table = self.draft.regions.map(Region::Flows);
                let tracks = self.draft.record.tracks;
                flows::catch_up(table, self.draft.former_flows.as_ref(), tracks)?;
            }
            Step::TakeOff { interface, program } => self.take_off(interface, *program)?,
            Step::Attach {
                hook: Hook::Xdp,
                interface,
                mode,
                pin,
            } => self.attach(interface, *mode, pin)?,
            Step::Attach {
                hook: Hook::Egress,
                interface,
                pin,
                ..
            } => self.attach_egress(interface, pin)?,
            Step::Switch { hook, pin } => self.switch(*hook, pin)?,
            Step::NoteModes => self.note_modes()?,
            Step::Detach { hook, pin } => {
                let pinned = pinned(self.survey, *hook, pin)?;
                pinned.link.detach(&pinned.name)?;
            }
            Step::Unpin { hook, pin } => unpin(&pinned(self.survey, *hook, pin)?.path)?,
            Step::FinishSets => self.sets.as_ref().map_or(Ok(()), Handover::finish)?,
            Step::RemoveGeneration(number) => self.store.folder(*number).remove()?,
            // All interfaces of a new generation are in its table from the start.
            Step::Admit(interface) => return Err(unplanned(&interface.name).into()),
        }
        Ok(())
    }

    fn make_folder(&mut self) -> Result<(), KernelError> {
        self.folder.create()?;
        let folder = self.folder.clone();
        self.journal.steps.push(Undo::RemoveFolder(folder));
        Ok(())
    }

    fn fill_sets(&mut self) -> Result<(), KernelError> {
        let before = self.draft.kept.region(Region::Live);
        let sets = Handover::new(
            &self.desired.source.policy,
            self.draft.record.live.clone(),
            self.desired.known().zip(before.as_ref()),
            self.draft.regions.map(Region::Live),
        )?;
        // Noted first: it may fail half way.
        self.journal.steps.push(Undo::EmptySets);
        self.sets.insert(sets).prepare()
    }

    fn load(&mut self, hook: Hook, framing: Framing) -> Result<(), KernelError> {
        let draft = &self.draft;
        let config = framing.of(&draft.config);
        let program = Program::load(self.desired.object, hook, &config, &draft.maps())?;
        self.folder.pin_program(hook, framing, &program)?;
        self.programs.push((hook, framing, program));
        Ok(())
    }

    /// What frames begin with on an interface.
    fn framing_on(&self, ifindex: u32) -> Framing {
        let mut targets = self.desired.targets.iter();
        let target = targets.find(|target| target.ifindex == ifindex);
        target.map_or(Framing::Ethernet, |target| target.framing)
    }

    /// The program for an interface, `name` in words.
    fn program_for(
        &self,
        hook: Hook,
        (name, ifindex): (&str, u32),
    ) -> Result<&Program, KernelError> {
        let wanted = (hook, self.framing_on(ifindex));
        let mut all = self.programs.iter();
        let found = all.find(|(at, of, _)| (*at, *of) == wanted);
        let found = found.map(|(_, _, program)| program);
        found.ok_or_else(|| unplanned(name))
    }

    fn clear_counters(&self) -> Result<(), KernelError> {
        let counters = &self.draft.counters;
        clear_rules(&counters.rules, &counters.rule_slots.fresh)?;
        clear_interfaces(&counters.reasons, &counters.interface_slots.fresh)
    }

    /// A program is attached to an interface once, so this is the new one loaded once more: it goes with
    /// the plan.
    fn run_beside(&mut self, interface: &Interface) -> Result<(), KernelError> {
        let framing = self.framing_on(interface.index);
        if !self.beside.iter().any(|(of, _)| *of == framing) {
            let draft = &self.draft;
            let config = framing.of(&draft.config);
            let object = self.desired.object;
            let again = Program::load(object, Hook::Egress, &config, &draft.maps())?;
            self.beside.push((framing, again));
        }
        let mut all = self.beside.iter();
        let again = all.find(|(of, _)| *of == framing);
        let (_, again) = again.ok_or_else(|| unplanned(&interface.name))?;
        let place = (interface.name.as_str(), interface.index);
        let link = egress::beside(again, place)?;
        self.journal.steps.push(Undo::LetGo(link));
        Ok(())
    }

    fn fill_flows(&mut self) -> Result<(), KernelError> {
        let draft = &self.draft;
        // By which interface a client comes, nobody knows here: it is let in by each of them, or not.
        let zones: BTreeSet<u32> = draft.record.interfaces.iter().map(|it| it.zone).collect();
        let is_let_in = |ends: &Ends| {
            let ends = (ends.local, ends.remote);
            let comes_in = |&zone| lets_datagrams_in(&draft.compiled, ends, zone);
            zones.iter().all(comes_in)
        };
        let (table, before) = (
            draft.regions.map(Region::Flows),
            draft.former_flows.as_ref(),
        );
        let known = self.desired.known();
        let tracks = [known.is_some_and(|known| known.tracks), draft.record.tracks];
        flows::fill(table, before, tracks, is_let_in, &mut self.warnings)
    }

    fn take_off(&mut self, interface: &Interface, id: u32) -> Result<(), KernelError> {
        let mut foreign = self.foreign.iter();
        let found = foreign.find(|it| it.interface == *interface && it.program.program_id == id);
        let found = found.ok_or_else(|| unplanned(&interface.name))?;
        let program = link::take_off(&interface.name, interface.index, &found.program)?;
        self.warnings.push(format!(
            "took the XDP program with id {id} off {}, as asked",
            interface.name
        ));
        self.journal.steps.push(Undo::PutBack {
            interface: interface.name.clone(),
            program,
        });
        Ok(())
    }

    fn attach(&mut self, interface: &Interface, mode: Mode, pin: &str) -> Result<(), KernelError> {
        let place = (interface.name.as_str(), interface.index);
        let mut targets = self.desired.targets.iter();
        let target = targets.find(|target| target.ifindex == interface.index);
        let target = target.ok_or_else(|| unplanned(&interface.name))?;
        let mut journal = std::mem::take(&mut self.journal);
        let attached = self.program_for(Hook::Xdp, place).and_then(|program| {
            attach::ingress((self.store, &mut journal), program, (target, mode), pin)
        });
        self.journal = journal;
        let (mode, fallback) = attached?;
        if let Some(reason) = &fallback {
            self.warnings.push(format!(
                "{} is filtered in generic mode: {reason}",
                interface.name
            ));
        }
        let mut entries = self.draft.record.interfaces.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.ifindex == interface.index) {
            (entry.mode, entry.fallback) = (mode, fallback);
        }
        Ok(())
    }

    fn attach_egress(&mut self, interface: &Interface, pin: &str) -> Result<(), KernelError> {
        let place = (interface.name.as_str(), interface.index);
        let to = (interface, self.desired.egress_by);
        let mut journal = std::mem::take(&mut self.journal);
        let attached = self
            .program_for(Hook::Egress, place)
            .and_then(|program| attach::outgoing((self.store, &mut journal), program, to, pin));
        self.journal = journal;
        attached
    }

    fn switch(&mut self, hook: Hook, pin: &str) -> Result<(), KernelError> {
        let pinned = pinned(self.survey, hook, pin)?;
        let facts = pinned.link.facts();
        let program = self.program_for(hook, (&pinned.name, facts.ifindex))?;
        pinned.link.update(program, &pinned.name)?;
        if self.survey.generation_at(hook, pinned).is_some() {
            self.journal.steps.push(Undo::SwitchBack {
                hook,
                interface: pinned.name.clone(),
                pin: pinned.path.clone(),
                program: facts.program_id,
            });
        }
        Ok(())
    }

    fn note_modes(&self) -> Result<(), KernelError> {
        self.folder.write_record(&self.draft.record)
    }
}

/// A link that was there before.
pub(super) fn pinned<'a>(
    survey: &'a Survey,
    hook: Hook,
    pin: &str,
) -> Result<&'a PinnedLink, KernelError> {
    let links = match hook {
        Hook::Xdp => &survey.links,
        Hook::Egress => &survey.egress,
    };
    let found = links.iter().find(|link| link.name == pin);
    found.ok_or_else(|| unplanned(pin))
}

/// A step that speaks of what is not there: a fault in the plan.
pub(super) fn unplanned(what: &str) -> KernelError {
    KernelError::State(format!(
        "the plan has a step for {what} that comes too early"
    ))
}

/// The failure that a test asks for.
pub(super) fn injected(step: &Step) -> KernelError {
    KernelError::State(format!("the step `{step}` fails, as the test asks"))
}
