//! One change of what is enforced: stage a generation, switch to it, commit. Whatever fails before
//! the commit is undone, in reverse.
//!
//! | step | undo |
//! |---|---|
//! | make the generation's folder; pin its maps, program and record there | remove the folder |
//! | take a foreign program off (only if asked to) | put it back |
//! | attach the new egress program where there is none, switch it where there is one; fill a new table of flows | detach, unpin; switch back |
//! | attach the new program to interfaces that carry none | detach, unpin |
//! | switch each link of our own to the new program (BPF_LINK_UPDATE) | switch it back |
//!
//! New interfaces come before switches, because drivers refuse and updates of a link hardly ever
//! do. The commit detaches interfaces that are no longer wanted, carries counters over and removes
//! older generations; it changes nothing that is enforced on a wanted interface, so its failures
//! are warnings. See [`super::store`] for what a crash leaves behind between any two steps.

mod counters;
mod draft;
mod journal;

pub(super) use journal::{Journal, Undo};

use self::counters::{Counters, Kept};
use self::draft::draft_record;
use super::carry::carry_over;
use super::egress;
use super::files::{self, Source};
use super::flows;
use super::handover::Handover;
use super::resolve::Target;
use super::store::{Folder, PinnedLink, Store, Survey};
use super::types::{EngineError, Record, Request};
use crate::kernel::counters::{clear_interfaces, clear_rules};
use crate::kernel::egress::By;
use crate::kernel::link::{self, Link, NewLink};
use crate::kernel::maps::{self, BigMap};
use crate::kernel::program::{Program, ProgramMaps};
use crate::kernel::shared::Regions;
use crate::kernel::{Hook, KernelError};
use firewall_common::abi::{Config, InterfaceEntry};
use firewall_common::live::SETS;
use firewall_common::region::Region;
use firewall_policy::rule::Mode;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

/// What is to be in force.
#[derive(Debug)]
pub(super) struct Desired<'a> {
    pub(super) request: &'a Request,
    pub(super) source: &'a Source,
    pub(super) targets: &'a [Target],
    pub(super) object: &'a [u8],
    /// Whether frames may come in several buffers.
    pub(super) frags: bool,
    /// By what to attach to what leaves.
    pub(super) egress_by: By,
    /// What is on record about the generation in force, or why that cannot be read.
    pub(super) record: Option<&'a Result<Record, KernelError>>,
}

/// What is in force now.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) record: Record,
    pub(super) warnings: Vec<String>,
}

/// Puts `desired` in force. `kept_modes` comes from [`check_modes`]. Needs the lock on the store.
pub(super) fn run(
    store: &Store,
    survey: &Survey,
    desired: &Desired<'_>,
    kept_modes: &[Option<Mode>],
) -> Result<Done, EngineError> {
    let foreign = foreign_programs(survey, desired)?;
    let mut journal = Journal::default();
    match stage_and_switch(store, survey, desired, kept_modes, &foreign, &mut journal) {
        Ok((mut done, staged)) => {
            commit(survey, desired, &staged, &mut done);
            Ok(done)
        }
        Err(error) => {
            journal.roll_back(survey);
            Err(error)
        }
    }
}

/// The mode in force of each target that we have a link on. A link keeps its mode for life, so
/// another mode needs a gap, which only the user may open.
pub(super) fn check_modes(
    survey: &Survey,
    desired: &Desired<'_>,
) -> Result<Vec<Option<Mode>>, EngineError> {
    let mut modes = Vec::with_capacity(desired.targets.len());
    for target in desired.targets {
        let Some(pinned) = survey.link_on(target.ifindex) else {
            modes.push(None);
            continue;
        };
        let have = mode_in_force(pinned, target)?;
        let want = target.mode;
        if want != Mode::Auto && want != have {
            let (want, have) = (word(want), word(have));
            return Err(KernelError::Attach {
                interface: target.name.clone(),
                mode: want,
                reason: format!(
                    "it is filtered in {have} mode, and a change of mode leaves a gap without \
                     filter; `unload -i {}` first",
                    target.name
                ),
            }
            .into());
        }
        modes.push(Some(have));
    }
    Ok(modes)
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Native => "native",
        Mode::Generic => "generic",
    }
}

/// The mode of a link of our own, as the kernel has it.
fn mode_in_force(pinned: &PinnedLink, target: &Target) -> Result<Mode, KernelError> {
    let programs = link::programs_on(&target.name, target.ifindex)?;
    let id = pinned.link.facts().program_id;
    let ours = programs.iter().find(|program| program.program_id == id);
    Ok(if ours.is_some_and(|program| program.is_generic()) {
        Mode::Generic
    } else {
        Mode::Native
    })
}

/// Foreign programs on interfaces that we have no link on: an error, unless they may be replaced.
fn foreign_programs(
    survey: &Survey,
    desired: &Desired<'_>,
) -> Result<Vec<(Target, link::Attached)>, EngineError> {
    let mut foreign = Vec::new();
    for target in desired
        .targets
        .iter()
        .filter(|t| survey.link_on(t.ifindex).is_none())
    {
        for program in link::programs_on(&target.name, target.ifindex)? {
            if !desired.request.replace {
                return Err(link::foreign_program(&target.name, target.ifindex, &program).into());
            }
            foreign.push((target.clone(), program));
        }
    }
    Ok(foreign)
}

/// A generation that is complete and pinned.
#[derive(Debug)]
struct Staged<'a> {
    folder: Folder,
    live: Handover<'a>,
    program: Program,
    egress: Option<Program>,
}

fn stage_and_switch<'a>(
    store: &Store,
    survey: &Survey,
    desired: &Desired<'a>,
    kept_modes: &[Option<Mode>],
    foreign: &[(Target, link::Attached)],
    journal: &mut Journal,
) -> Result<(Done, Staged<'a>), EngineError> {
    let mut warnings = Vec::new();
    let kept = Kept::open(survey, desired, &mut warnings);
    let counters = Counters::obtain(&kept, desired)?;
    let tables = files::compile(&desired.source.policy, &counters.rule_slots.slots)?;

    let number = survey.next_number();
    let mut record = draft_record(desired, &counters, number, tables.bytes.len() as u64)?;
    for (interface, mode) in record.interfaces.iter_mut().zip(kept_modes) {
        if let Some(mode) = mode {
            interface.mode = *mode;
            interface.fallback = kept.fallback_of(interface.ifindex);
        }
    }

    let folder = store.folder(number);
    folder.create()?;
    journal.steps.push(Undo::RemoveFolder(folder.clone()));

    let tables_map = BigMap::constant(maps::TABLES, &tables.bytes)?;
    let entries: Vec<InterfaceEntry> = record
        .interfaces
        .iter()
        .map(|i| InterfaceEntry {
            ifindex: i.ifindex,
            slot: i.slot as u16,
            zone: i.zone as u16,
        })
        .collect();
    let stations = record.stations.as_deref().unwrap_or_default();
    let (interfaces, left_out) = BigMap::interfaces(&entries, stations)?;
    if left_out > 0 {
        warnings.push(format!(
            "this host has too many addresses: what is sent to {left_out} of them is rejected \
             without an answer"
        ));
    }
    let (reasons, ports, rules) = (&counters.reasons, &counters.ports, &counters.rules);
    let regions = Regions::obtain(&tables.config, |region| kept.region(region))?;
    let all = ProgramMaps {
        tables: &tables_map,
        interfaces: &interfaces,
        reasons,
        ports,
        rules,
        regions: &regions,
    };
    let own = [
        all.tables,
        all.interfaces,
        all.reasons,
        all.ports,
        all.rules,
    ];
    for map in own.into_iter().chain(regions.pinned(&tables.config)) {
        folder.pin_map(map)?;
    }
    let mut live_ids = [0; SETS];
    for (id, set) in live_ids.iter_mut().zip(&record.live) {
        *id = set.id;
    }
    let mut config = Config {
        live_ids,
        frags: u32::from(desired.frags),
        stations: u32::from(record.stations.is_some()),
        clock: record
            .clock
            .map_or([0; 2], |clock| [clock as u32, (clock >> 32) as u32]),
        fragment_seed: RandomState::new().hash_one(number) as u32,
        ..tables.config
    };
    regions.seed(&mut config)?;
    let before = kept.region(Region::Live);
    let known = desired.record.and_then(|record| record.as_ref().ok());
    let handover = Handover::prepare(
        &desired.source.policy,
        record.live.clone(),
        known.zip(before.as_ref()),
        regions.map(Region::Live),
    )?;
    let program = Program::load(desired.object, Hook::Xdp, &config, &all)?;
    folder.pin_program(&program)?;
    let egress = match config.flows {
        0 => None,
        _ => Some(Program::load(desired.object, Hook::Egress, &config, &all)?),
    };
    if let Some(egress) = &egress {
        folder.pin_egress(egress)?;
    }
    folder.write_record(&record)?;

    clear_rules(rules, &counters.rule_slots.fresh)?;
    clear_interfaces(reasons, &counters.interface_slots.fresh)?;
    // Totals that a larger map takes over are there before the first packet counts in it, so that
    // nobody sees them go back. The commit brings in what is counted until the switch.
    carry_over(survey, &folder)?;

    // Before the rules that look at state are in force, what leaves is taken note of.
    if let Some(program) = &egress {
        egress::attach(
            store,
            survey,
            desired.targets,
            (program, desired.egress_by),
            journal,
        )?;
        let before = kept.region(Region::Flows);
        flows::fill(regions.map(Region::Flows), before.as_ref(), &mut warnings)?;
    }

    for (target, found) in foreign {
        let program = link::take_off(&target.name, target.ifindex, found)?;
        warnings.push(format!(
            "took the XDP program with id {} off {}, as asked",
            found.program_id, target.name
        ));
        journal.steps.push(Undo::PutBack {
            interface: target.name.clone(),
            program,
        });
    }
    let hoped_for = record.interfaces.clone();
    attach_new(store, survey, desired, &program, &mut record, journal)?;
    for interface in record.interfaces.iter().filter(|i| i.fallback.is_some()) {
        if let Some(reason) = &interface.fallback
            && survey.link_on(interface.ifindex).is_none()
        {
            warnings.push(format!(
                "{} is filtered in generic mode: {reason}",
                interface.name
            ));
        }
    }
    // Only now the modes are known. Readers between the two find the modes that were hoped for.
    if record.interfaces != hoped_for {
        folder.write_record(&record)?;
    }

    for pinned in desired
        .targets
        .iter()
        .filter_map(|target| survey.link_on(target.ifindex))
    {
        pinned.link.update(&program, &pinned.name)?;
        if let Some(generation) = survey.generation_of(pinned) {
            journal.steps.push(Undo::SwitchBack {
                hook: Hook::Xdp,
                interface: pinned.name.clone(),
                pin: pinned.path.clone(),
                generation,
            });
        }
    }
    let staged = Staged {
        folder,
        live: handover,
        program,
        egress,
    };
    Ok((Done { record, warnings }, staged))
}

/// Attaches the program to every wanted interface that we have no link on.
fn attach_new(
    store: &Store,
    survey: &Survey,
    desired: &Desired<'_>,
    program: &Program,
    record: &mut Record,
    journal: &mut Journal,
) -> Result<(), EngineError> {
    let links = store.links_folder();
    fs::create_dir_all(&links).map_err(KernelError::call(format!(
        "make folder {}",
        links.display()
    )))?;
    for (target, entry) in desired.targets.iter().zip(&mut record.interfaces) {
        if survey.link_on(target.ifindex).is_some() {
            continue;
        }
        let mode = target.mode;
        let NewLink {
            link,
            mode,
            fallback,
        } = link::attach(program, &target.name, target.ifindex, mode)?;
        (entry.mode, entry.fallback) = (mode, fallback.or_else(|| target.fallback.clone()));
        let pin = free_pin(store, survey, target);
        let pinned = link.pin(&pin);
        journal.steps.push(Undo::Detach {
            interface: target.name.clone(),
            link,
            pin,
        });
        pinned?;
    }
    Ok(())
}

/// Where to pin the link of an interface. A dead link there belonged to an earlier interface of
/// that name and is removed; a living one belongs to an interface that has been renamed since.
fn free_pin(store: &Store, survey: &Survey, target: &Target) -> PathBuf {
    let path = store.link_path(&target.name);
    match survey.links.iter().find(|pinned| pinned.path == path) {
        Some(pinned) if pinned.is_alive() => {
            store.link_path(&format!("{}_{}", target.name, target.ifindex))
        }
        Some(_) => {
            let _ = fs::remove_file(&path);
            path
        }
        None => path,
    }
}

/// Tidies up behind a switch that has succeeded.
fn commit(survey: &Survey, desired: &Desired<'_>, staged: &Staged<'_>, done: &mut Done) {
    let mut warn = |result: Result<(), KernelError>| {
        if let Err(error) = result {
            done.warnings
                .push(format!("the new policy is in force, but: {error}"));
        }
    };
    for pinned in &survey.links {
        let is_wanted = |target: &Target| pinned.is_on(target.ifindex);
        if desired.targets.iter().any(is_wanted) {
            continue;
        }
        if pinned.is_attached() {
            warn(pinned.link.detach(&pinned.name));
        }
        // A dead link's pin may have made room for a new link meanwhile.
        let ours =
            Link::open(&pinned.path).is_ok_and(|now| now.facts().program_id == staged.program.id());
        if !ours {
            let gone = fs::remove_file(&pinned.path);
            warn(gone.map_err(KernelError::call(format!(
                "remove {}",
                pinned.path.display()
            ))));
        }
    }
    for gone in egress::remove_others(survey, desired.targets, staged.egress.as_ref()) {
        warn(gone);
    }
    warn(staged.live.finish());
    warn(carry_over(survey, &staged.folder));
    for generation in &survey.generations {
        warn(generation.folder.remove());
    }
}
