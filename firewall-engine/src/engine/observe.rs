//! What is in force, as the kernel has it: read from pins and links, compared with the interfaces that
//! there are.
//!
//! Looks only. Invariant: an interface is reported as filtered only if it carries the program.

use super::carrier::{self, Needs};
use super::resolve::{Present, no_room};
use super::store::{Generation, PinnedLink, Survey};
use super::types::{EngineError, Identity, Observed, ObservedLink};
use super::{Engine, InterfaceRecord, Record};
use crate::kernel::links::Link;
use crate::kernel::live::LiveTable;
use crate::kernel::program::{Framing, Program, Run};
use crate::kernel::{Hook, KernelError, host, link};
use firewall_common::abi::INTERFACES;
use firewall_policy::rule::SELF;
use std::sync::Arc;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The program that an interface carries, to be asked about frames.
#[derive(Debug)]
pub struct Carried {
    program: Program,
    framing: Framing,
    ifindex: u32,
}

impl Carried {
    /// What it says about an Ethernet frame (BPF_PROG_TEST_RUN; at least 14 bytes), which loses its
    /// header where frames have none. Counts like real traffic.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&self, frame: &[u8]) -> Result<Run, KernelError> {
        let frame = match self.framing {
            Framing::Ethernet => frame,
            Framing::RawIp => frame.get(ETHERNET..).unwrap_or_default(),
        };
        Run::of(&self.program, frame, Some(self.ifindex))
    }
}

impl Engine {
    /// The program that an interface carries; `None` if that is none of ours.
    ///
    /// # Errors
    /// Pins that cannot be read.
    pub fn carried(&self, interface: &str) -> Result<Option<Carried>, EngineError> {
        let mut survey = self.store.survey()?;
        let present = self.present()?;
        let link = survey.links.iter().find(|pinned| {
            pinned.is_alive() && present.name_of(pinned.link.facts().ifindex) == Some(interface)
        });
        let Some(facts) = link.map(|pinned| pinned.link.facts()) else {
            return Ok(None);
        };
        let programs = survey.generations.iter_mut();
        let mut programs = programs.flat_map(|it| it.programs.drain(..));
        let found = programs.find(|(_, _, program)| program.id() == facts.program_id);
        Ok(found.map(|(_, framing, program)| Carried {
            program,
            framing,
            ifindex: facts.ifindex,
        }))
    }

    /// What the kernel runs now; `None` when nothing is loaded.
    ///
    /// # Errors
    /// Pins that cannot be read or understood, or that are hidden.
    pub fn observe(&self) -> Result<Option<Observed>, EngineError> {
        let survey = self.survey_seen()?;
        let Some(in_force) = survey.in_force() else {
            return Ok(None);
        };
        let record = in_force.folder.read_record()?;
        let seen = self.see(&survey, in_force, &record)?;
        Ok(Some(seen.with(record)))
    }

    /// As [`Engine::observe`]. Where nothing has changed since `before`, that is the answer: a long
    /// record is not read again.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    pub fn observe_again(
        &self,
        before: &Arc<Observed>,
    ) -> Result<Option<Arc<Observed>>, EngineError> {
        let survey = self.survey_seen()?;
        let Some(in_force) = survey.in_force() else {
            return Ok(None);
        };
        if identity(in_force) != before.identity {
            return Ok(self.observe()?.map(Arc::new));
        }
        let seen = self.see(&survey, in_force, &before.record)?;
        if seen.is(before) {
            return Ok(Some(Arc::clone(before)));
        }
        Ok(Some(Arc::new(seen.with(before.record.clone()))))
    }

    /// What is pinned; an error if something is in force that is not. Looks at pins, ledger and interfaces
    /// one after the other, without a lock.
    fn survey_seen(&self) -> Result<Survey, EngineError> {
        let survey = self.store.survey()?;
        if survey.in_force().is_some() {
            return Ok(survey);
        }
        let Err(hidden) = self.refuse_hidden() else {
            return Ok(survey);
        };
        // What was put in force between the first look and the others is pinned by now.
        let again = self.store.survey()?;
        match again.in_force().is_some() {
            true => Ok(again),
            false => Err(hidden),
        }
    }

    /// What is to be said of the generation in force.
    fn see(
        &self,
        survey: &Survey,
        in_force: &Generation,
        record: &Record,
    ) -> Result<Seen, EngineError> {
        let present = self.present()?;
        let mut seen = Seen {
            identity: identity(in_force),
            ..Seen::default()
        };
        // From another namespace nobody can tell what the interfaces there carry.
        let is_here = record.namespace == host::network_namespace()?;
        if !is_here {
            seen.warnings.push(elsewhere(record.namespace));
        }
        let known = Known {
            survey,
            in_force,
            record,
            present: &present,
            is_here,
        };
        for pinned in &survey.links {
            seen.see_link(pinned, &known);
        }
        let warnings = &mut seen.warnings;
        let without = without_link(&record.interfaces, &survey.links);
        let before = warnings.len();
        warnings.extend(without);
        seen.is_wounded |= is_here && warnings.len() > before;
        if is_here {
            let (open, can_be_filtered) = unfiltered(record, &seen.links, &present);
            warnings.extend(open);
            seen.is_wounded |= can_be_filtered;
        }
        let missing = in_force.folder.missing(record);
        if !missing.is_empty() {
            seen.is_wounded = true;
            warnings.push(format!(
                "pins of generation {} were removed ({}): the filter goes on, and nobody can read or \
                 change what lies there; apply the policy again",
                in_force.number,
                missing.join(", ")
            ));
        } else if is_here && self.is_self_stale(in_force, record) {
            warnings.push(SELF_STALE.to_owned());
        }
        if record.clock_has_moved() {
            warnings.push(CLOCK_MOVED.to_owned());
        }
        seen.renewal = renewal(record, present.links());
        Ok(seen)
    }

    /// Names of the interfaces that carry what is in force by the ledger, each with the program's id.
    /// Asked of the interfaces: pins are no part of it.
    pub(super) fn hidden(&self) -> Result<Vec<String>, EngineError> {
        let ledger = self.store.ledger()?;
        let ours = ledger.programs();
        if ours.is_empty() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for (name, ifindex) in &self.present()?.interfaces {
            // One that has gone meanwhile carries nothing.
            let carried = link::programs_on(name, *ifindex).unwrap_or_default();
            let found = carried.iter().find(|it| ours.contains(&it.program_id));
            names.extend(found.map(|it| format!("{name} (program {})", it.program_id)));
        }
        Ok(names)
    }

    /// An error if interfaces carry a filter of ours whose pins cannot be seen.
    pub(super) fn refuse_hidden(&self) -> Result<(), EngineError> {
        let hidden = self.hidden()?;
        if hidden.is_empty() {
            return Ok(());
        }
        let (root, names) = (self.root(), hidden.join(", "));
        let parent = root.parent().unwrap_or(root).display();
        let how = match host::require_bpffs(root) {
            Ok(()) => format!(
                "another file system may hide them: `findmnt {parent}` lists what is mounted there, and \
                 `umount {parent}` takes off the topmost"
            ),
            Err(_) => format!(
                "no BPF file system is at {parent}: `mount -t bpf bpf {parent}`, or `umount {parent}`"
            ),
        };
        Err(KernelError::State(format!(
            "the filter is on, and its pins under {} cannot be seen: {names}; {how}",
            root.display()
        ))
        .into())
    }

    /// Whether the policy on record uses `@self`, and that is out of date.
    pub(super) fn is_self_stale(&self, in_force: &Generation, record: &Record) -> bool {
        // Who may not look says nothing.
        record.live.iter().any(|set| set.name == SELF)
            && self
                .view_of(in_force, record, LiveTable::of_region)
                .is_ok_and(|view| view.is_self_current().is_ok_and(|is_current| !is_current))
    }
}

/// What a look has found, beside the record.
#[derive(Debug, Default)]
struct Seen {
    links: Vec<ObservedLink>,
    warnings: Vec<String>,
    /// Whether something is missing that can be put back.
    is_wounded: bool,
    renewal: Option<&'static str>,
    identity: Identity,
}

/// Why a policy is to be applied once more as it is: rules of it expire and the clock was set since, or it
/// sends answers and an address of this host has changed, or other interfaces lie over the filtered ones
/// than before.
fn renewal(record: &Record, links: &[Link]) -> Option<&'static str> {
    if record.clock_has_moved() {
        Some("the clock was set: reapplying the policy for rules that expire")
    } else if record.stations_differ(links) {
        Some("an address of this host changed: reapplying the policy for its answers")
    } else if record.uppers_differ(links) {
        Some("other interfaces lie over the filtered ones: reapplying the policy")
    } else {
        None
    }
}

/// What a look knows.
struct Known<'a> {
    survey: &'a Survey,
    in_force: &'a Generation,
    record: &'a Record,
    present: &'a Present,
    is_here: bool,
}

impl Seen {
    /// Looks at a link of what comes in.
    fn see_link(&mut self, pinned: &PinnedLink, known: &Known<'_>) {
        let Known {
            survey,
            in_force,
            record,
            present,
            is_here,
        } = *known;
        let warnings = &mut self.warnings;
        let facts = pinned.link.facts();
        if let Some(why) = lost(pinned, record, is_here, present) {
            self.is_wounded |= why.can_be_put_back;
            warnings.push(why.text);
            return;
        }
        let name = present
            .name_of(facts.ifindex)
            .filter(|_| is_here)
            .unwrap_or(&pinned.name)
            .to_owned();
        if survey.generation_of(pinned) != Some(in_force.number) {
            warnings.push(format!(
                "{name} does not run generation {}: a change was interrupted; apply the policy again",
                in_force.number
            ));
        }
        let mut limits = Vec::new();
        if is_here {
            let mut recorded = record.interfaces.iter();
            let recorded = recorded.find(|i| i.ifindex == facts.ifindex);
            let place = (name.as_str(), facts.ifindex);
            if let Some(recorded) = recorded {
                let runs = in_force.program(Hook::Xdp, facts.program_id);
                let framing = runs.map(|(framing, _)| framing);
                let needs = Needs::on_record(record);
                match carrier::ask(place, present) {
                    Ok(carries) => {
                        let obstacle = carries.obstacle(recorded.mode, needs);
                        warnings.extend(obstacle.map(|it| cannot_carry(&name, &it)));
                        if framing.is_some_and(|framing| framing != carries.framing) {
                            warnings.push(misreads(&name));
                        }
                        limits = carries.limits(recorded.mode, needs);
                    }
                    Err(obstacle) => warnings.push(cannot_carry(&name, &obstacle)),
                }
            }
            if let Some(why) = unnoted(place, survey, in_force) {
                self.is_wounded = true;
                warnings.push(why);
            }
        }
        self.links.push(ObservedLink {
            name,
            ifindex: facts.ifindex,
            link_id: facts.id,
            program_id: facts.program_id,
            limits,
        });
    }

    fn is(&self, before: &Observed) -> bool {
        self.links == before.links
            && self.warnings == before.warnings
            && self.is_wounded != before.is_whole
            && self.renewal == before.renewal
    }

    fn with(self, record: Record) -> Observed {
        Observed {
            record,
            links: self.links,
            warnings: self.warnings,
            is_whole: !self.is_wounded,
            renewal: self.renewal,
            identity: self.identity,
        }
    }
}

fn identity(of: &Generation) -> Identity {
    Identity {
        programs: of.ids(Hook::Xdp),
        record: of.folder.record_stamp(),
    }
}

/// What to say when this host has other addresses than those by which rules know it.
const SELF_STALE: &str = "`@self` does not hold the addresses that this host has now: rules on it match \
                          former ones; apply the policy again, or run the daemon, which keeps it up to date";

/// What to say when the clock no longer is what rules expire by.
const CLOCK_MOVED: &str = "the clock was set, or the machine slept, since the policy was applied: its \
                           rules expire by the clock as it was then; apply the policy again";

/// Why a pinned link filters nothing.
struct Lost {
    text: String,
    can_be_put_back: bool,
}

fn lost(pinned: &PinnedLink, record: &Record, is_here: bool, present: &Present) -> Option<Lost> {
    let name = &pinned.name;
    if !pinned.is_attached() {
        // The interface that it was made for may be there, under another name.
        let mut recorded = record.interfaces.iter();
        let recorded = recorded.find(|it| it.name == *name);
        let there = recorded.and_then(|it| present.name_of(it.ifindex));
        return Some(match there.filter(|_| is_here) {
            Some(name) => Lost {
                text: format!(
                    "{name} is not filtered: somebody has detached its link; apply the policy again, or \
                     run the daemon, which puts it back"
                ),
                can_be_put_back: true,
            },
            None => Lost {
                text: format!(
                    "{name} is gone, and its filter with it; apply the policy again when it is back"
                ),
                can_be_put_back: false,
            },
        });
    }
    (is_here && !pinned.is_alive()).then(|| Lost {
        text: format!(
            "{name} is not filtered: the interface has moved to another network namespace; apply \
             the policy again"
        ),
        can_be_put_back: false,
    })
}

/// What to say of a filtered interface where nothing notes what leaves, although rules look at it.
fn unnoted((name, ifindex): (&str, u32), survey: &Survey, in_force: &Generation) -> Option<String> {
    if !in_force.has_egress() {
        return None;
    }
    let mut links = survey.egress.iter();
    let is_noted = links.any(|pinned| pinned.is_on(ifindex));
    (!is_noted).then(|| {
        format!(
            "nothing notes what leaves by {name}, so replies to it are dropped: somebody has removed \
             the egress program; apply the policy again, or run the daemon, which puts it back"
        )
    })
}

/// Interfaces of the policy in force that have no link any more, each with what to do.
fn without_link<'a>(
    interfaces: &'a [InterfaceRecord],
    links: &'a [PinnedLink],
) -> impl Iterator<Item = String> + 'a {
    let has_link = |interface: &&InterfaceRecord| {
        links.iter().any(|pinned| {
            pinned.link.facts().ifindex == interface.ifindex || pinned.name == interface.name
        })
    };
    interfaces
        .iter()
        .filter(move |interface| !has_link(interface))
        .map(|interface| {
            format!(
                "{} is not filtered: its link was removed; apply the policy again",
                interface.name
            )
        })
}

/// What the words mean by which interfaces were chosen, and the filter does not cover.
fn unfiltered(record: &Record, links: &[ObservedLink], present: &Present) -> (Vec<String>, bool) {
    let mut can_be_filtered = false;
    let selectors = &record.selectors;
    let is_filtered = |ifindex: u32| links.iter().any(|link| link.ifindex == ifindex);
    let known = |name: &str| record.interfaces.iter().any(|it| it.name == name);
    let meant = selectors.meant(present).into_iter();
    let open = meant.filter(|(target, _)| !is_filtered(target.ifindex));
    let mut said: Vec<String> = Vec::new();
    said.extend(open.map(|(target, pattern)| {
        let name = &target.name;
        let place = (name.as_str(), target.ifindex);
        let needs = Needs::on_record(record);
        let why = match carrier::obstacle(place, (target.mode, needs), present) {
            Some(obstacle) => obstacle.to_string(),
            None if links.len() >= INTERFACES - 1 => no_room(),
            None => {
                can_be_filtered = true;
                "apply the policy again, or run the daemon, which follows".to_owned()
            }
        };
        format!("{name} matches `{pattern}` and is not filtered: {why}")
    }));
    // Of what has been filtered is said that it is gone.
    let missing = selectors.missing(present).into_iter();
    let missing = missing.filter(|word| !known(word)).map(|word| {
        format!(
            "`{word}` is named, and no such interface is there: the daemon filters it when it comes"
        )
    });
    said.extend(missing);
    (said, can_be_filtered)
}

/// What cannot be seen from here, and where it can.
fn elsewhere(namespace: u64) -> String {
    format!(
        "the active policy belongs to another network namespace (inode {namespace}): whether its \
         interfaces still carry the filter, and what they are called now, is not seen from here; \
         look there"
    )
}

/// What to say of a filtered interface on which the filter does not see what it means to.
fn cannot_carry(name: &str, obstacle: &KernelError) -> String {
    format!("{obstacle}; `unload -i {name}` takes the filter off")
}

/// What to say of an interface that carries the program for other frames than it has.
fn misreads(name: &str) -> String {
    format!(
        "the frames of {name} begin with another header than when the policy was applied; apply it \
         again"
    )
}
