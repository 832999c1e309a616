//! One change of what is enforced: stage a generation, switch to it, commit. Whatever fails before
//! the commit is undone, in reverse.
//!
//! | step | undo |
//! |---|---|
//! | make the generation's folder; pin its maps, program and record there | remove the folder |
//! | take a foreign program off (only if asked to) | put it back |
//! | attach the new egress program where there is none, switch it where there is one | detach, unpin; switch back |
//! | attach the new program to interfaces that carry none | detach, unpin |
//! | switch each link of our own to the new program (BPF_LINK_UPDATE) | switch it back |
//!
//! New interfaces come before switches, because drivers refuse and updates of a link hardly ever
//! do. The commit detaches interfaces that are no longer wanted, carries counters over and removes
//! older generations; it changes nothing that is enforced on a wanted interface, so its failures
//! are warnings. See [`super::store`] for what a crash leaves behind between any two steps.

use super::carry::carry_over;
use super::egress;
use super::files::{self, Source};
use super::live::{self, Handover};
use super::resolve::Target;
use super::slots::{self, Assignment};
use super::store::{Folder, PinnedLink, Store, Survey};
use super::types::{EngineError, InterfaceRecord, Record, Request, RuleRecord};
use crate::kernel::counters::{clear_interfaces, clear_rules, create, rule_capacity};
use crate::kernel::egress::By;
use crate::kernel::link::{self, Link, NewLink, TakenOff, unpin};
use crate::kernel::maps::{self, BigMap, rule_slots};
use crate::kernel::program::{Program, ProgramMaps};
use crate::kernel::shared::Regions;
use crate::kernel::{Hook, KernelError, host};
use firewall_common::abi::{ABI_VERSION, Config, INTERFACES, InterfaceEntry};
use firewall_common::live::SETS;
use firewall_common::reason::Reason;
use firewall_common::region::Region;
use firewall_policy::bundle::RUNTIME;
use firewall_policy::rule::{Mode, Policy};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::SystemTime;

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

/// How to take one step back.
#[derive(Debug)]
pub(super) enum Undo {
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
pub(super) struct Journal {
    pub(super) steps: Vec<Undo>,
}

impl Journal {
    /// Takes every step back, the last one first. What cannot be undone is logged; the error that
    /// led here is the one to report.
    fn roll_back(self, survey: &Survey) {
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
        let want = desired.request.mode.unwrap_or(target.mode);
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
    let interfaces = BigMap::interfaces(&entries)?;
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
        let mode = desired.request.mode.unwrap_or(target.mode);
        let NewLink {
            link,
            mode,
            fallback,
        } = link::attach(program, &target.name, target.ifindex, mode)?;
        (entry.mode, entry.fallback) = (mode, fallback);
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
        let ifindex = pinned.link.facts().ifindex;
        if desired
            .targets
            .iter()
            .any(|target| target.ifindex == ifindex)
        {
            continue;
        }
        if pinned.is_alive() {
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

/// The counters of the generation in force, if they can be used on.
#[derive(Debug)]
struct Kept<'a> {
    found: Option<(&'a Record, BigMap, BigMap, BigMap)>,
    /// The folder of that generation, if its record is of this version.
    folder: Option<Folder>,
}

impl<'a> Kept<'a> {
    fn open(survey: &Survey, desired: &Desired<'a>, warnings: &mut Vec<String>) -> Self {
        let (Some(generation), Some(record)) = (survey.in_force(), desired.record) else {
            return Self {
                found: None,
                folder: None,
            };
        };
        let folder = &generation.folder;
        let maps = || Ok((folder.reasons()?, folder.ports()?, folder.rules()?));
        let found = match record {
            Ok(record) => maps()
                .map(|(reasons, ports, rules)| (record, reasons, ports, rules))
                .map_err(|error: KernelError| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let found = found
            .map_err(|error| warnings.push(format!("counters start from zero: {error}")))
            .ok();
        let folder = record.is_ok().then(|| folder.clone());
        Self { found, folder }
    }

    /// What its programs remember, where that is handed on.
    fn region(&self, region: Region) -> Option<BigMap> {
        self.folder.as_ref()?.region(region)
    }

    /// Why an interface that stays was attached in generic mode.
    fn fallback_of(&self, ifindex: u32) -> Option<String> {
        let (record, ..) = self.found.as_ref()?;
        record
            .interfaces
            .iter()
            .find(|i| i.ifindex == ifindex)?
            .fallback
            .clone()
    }
}

/// The counters of the generation to be, and who counts where.
#[derive(Debug)]
struct Counters {
    reasons: BigMap,
    ports: BigMap,
    rules: BigMap,
    rule_slots: Assignment,
    interface_slots: Assignment,
}

impl Counters {
    /// Those of the generation before, as far as there are any and they are large enough.
    fn obtain(kept: &Kept<'_>, desired: &Desired<'_>) -> Result<Self, EngineError> {
        let names = desired.source.policy.counters();
        let rules: Vec<&str> = names.iter().map(String::as_str).collect();
        let interfaces: Vec<&str> = desired
            .targets
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        let too_many = || {
            EngineError::Interface(format!(
                "{} interfaces are too many: one host can filter {}",
                interfaces.len(),
                INTERFACES - 1
            ))
        };
        let by_slot = |taken: &[(&str, u32)]| {
            slots::assign(&interfaces, taken, 1..INTERFACES as u32).ok_or_else(too_many)
        };
        let Some((record, reasons, ports, counters)) = &kept.found else {
            let (reasons, ports, counters) = create(rule_slots(rules.len()))?;
            let rule_slots = first_slots(&rules);
            let mut interface_slots = by_slot(&[])?;
            interface_slots.fresh.clear();
            return Ok(Self {
                reasons,
                ports,
                rules: counters,
                rule_slots,
                interface_slots,
            });
        };
        let taken: Vec<(&str, u32)> = record
            .interfaces
            .iter()
            .map(|i| (i.name.as_str(), i.slot))
            .collect();
        // Too many only because slots of interfaces that go are not free yet: take those.
        let interface_slots = by_slot(&taken).or_else(|_| by_slot(&[]))?;
        let taken = record.counters();
        let taken: Vec<(&str, u32)> = taken
            .iter()
            .map(|(name, slot)| (name.as_str(), *slot))
            .collect();
        let capacity = rule_capacity(counters)?;
        let fitting = (rules.len() <= capacity as usize / 2)
            .then(|| slots::assign(&rules, &taken, 0..capacity))
            .flatten();
        let (counters, rule_slots) = match fitting {
            Some(assignment) => (counters.try_clone()?, assignment),
            None => {
                // Every name keeps its slot number, so the new map must reach as far.
                let capacity = rule_slots(rules.len()).max(capacity.saturating_mul(2));
                let mut assignment = slots::assign(&rules, &taken, 0..capacity)
                    .unwrap_or_else(|| first_slots(&rules));
                assignment.fresh.clear();
                (BigMap::new_rules(capacity)?, assignment)
            }
        };
        Ok(Self {
            reasons: reasons.try_clone()?,
            ports: ports.try_clone()?,
            rules: counters,
            rule_slots,
            interface_slots,
        })
    }
}

/// Slots of a map that nobody has counted in.
fn first_slots(names: &[&str]) -> Assignment {
    Assignment {
        slots: (0..names.len() as u32).collect(),
        fresh: Vec::new(),
    }
}

/// The record of the generation to be, with the modes that are hoped for.
fn draft_record(
    desired: &Desired<'_>,
    counters: &Counters,
    generation: u64,
    table_bytes: u64,
) -> Result<Record, EngineError> {
    let Desired {
        request,
        source,
        targets,
        ..
    } = desired;
    let mut interfaces = Vec::with_capacity(targets.len());
    for (target, &slot) in targets.iter().zip(&counters.interface_slots.slots) {
        let mode = match request.mode.unwrap_or(target.mode) {
            Mode::Generic => Mode::Generic,
            Mode::Auto | Mode::Native => Mode::Native,
        };
        interfaces.push(InterfaceRecord {
            name: target.name.clone(),
            ifindex: target.ifindex,
            slot,
            zone: target.zone,
            zone_name: target.zone_name.clone(),
            mode,
            fallback: None,
        });
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let expires = source
        .policy
        .rules
        .iter()
        .any(|rule| rule.expires.is_some());
    Ok(Record {
        abi_version: ABI_VERSION,
        generation,
        policy_path: request.policy_path.clone(),
        policy_text: request.policy_text.clone(),
        base: request.base.clone(),
        clock: expires.then(host::clock_offset),
        sha256: source.sha256.clone(),
        fingerprint: source.fingerprint.clone(),
        namespace: host::network_namespace()?,
        applied: now.as_secs_f64(),
        default: source.policy.default_verdict.name().into(),
        default_unlogged: source
            .policy
            .default_log
            .and_then(|_| counters.rule_slots.slots.last().copied()),
        audit: source.policy.audit,
        would_drop: would_drop(&source.policy),
        frags: desired.frags,
        table_bytes,
        rules: rule_records(&source.policy, &counters.rule_slots.slots),
        live: live::assign(&source.policy, desired.record.and_then(|r| r.as_ref().ok())),
        interfaces,
    })
}

/// Reasons for which packets would be dropped, if the policy is in audit mode.
fn would_drop(policy: &Policy) -> Vec<String> {
    let reasons = Reason::ALL
        .iter()
        .filter(|&&reason| policy.audit && policy.drops(reason));
    reasons.map(|reason| reason.name().to_owned()).collect()
}

fn rule_records(policy: &Policy, slots: &[u32]) -> Vec<RuleRecord> {
    let (slots, others) = slots.split_at(policy.rules.len());
    let (over, unlogged) = others.split_at(policy.limits().count());
    let (mut over, mut unlogged) = (over.iter().copied(), unlogged.iter().copied());
    policy
        .rules
        .iter()
        .zip(slots)
        .map(|(rule, &slot)| RuleRecord {
            name: rule.name.clone(),
            slot,
            action: rule.action.name().into(),
            audit: rule.audit.map(|action| action.name().into()),
            owner: rule.owner.clone(),
            reason: rule.reason.clone(),
            expires: rule.expires.map(|expiry| expiry.at),
            summary: rule.summary.clone(),
            place: format!("{}:{}", rule.place.file, rule.place.line),
            enabled: rule.enabled,
            over: rule.limit.as_ref().and_then(|_| over.next()),
            unlogged: rule.log.and_then(|_| unlogged.next()),
            runtime: rule.place.file == RUNTIME,
        })
        .collect()
}
