//! What is in force, as the kernel has it: read from pins and links, compared with the interfaces that
//! there are.
//!
//! Looks only. Invariant: an interface is reported as filtered only if it carries the program.

use super::carrier::{self, Needs};
use super::resolve::{Present, no_room};
use super::store::PinnedLink;
use super::types::{EngineError, Observed, ObservedLink};
use super::{Engine, InterfaceRecord, Record};
use crate::kernel::program::{Framing, Program, Run};
use crate::kernel::{Hook, KernelError, host};
use firewall_common::abi::INTERFACES;
use firewall_policy::rule::SELF;

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
        let present = Present::now()?;
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
    /// Pins that cannot be read or understood.
    pub fn observe(&self) -> Result<Option<Observed>, EngineError> {
        let survey = self.store.survey()?;
        let Some(in_force) = survey.in_force() else {
            return Ok(None);
        };
        let record = in_force.folder.read_record()?;
        let present = Present::now()?;
        // From another namespace nobody can tell what the interfaces there carry.
        let is_here = record.namespace == host::network_namespace()?;
        let mut warnings = Vec::new();
        if !is_here {
            warnings.push(elsewhere(record.namespace));
        }
        let needs = Needs::on_record(&record);
        let mut links = Vec::new();
        for pinned in &survey.links {
            let facts = pinned.link.facts();
            if let Some(why) = lost(pinned, is_here) {
                warnings.push(why);
                continue;
            }
            let name = present
                .name_of(facts.ifindex)
                .filter(|_| is_here)
                .unwrap_or(&pinned.name)
                .to_owned();
            if survey.generation_of(pinned) != Some(in_force.number) {
                warnings.push(format!(
                    "{name} does not run generation {}: a change was interrupted; apply the \
                     policy again",
                    in_force.number
                ));
            }
            let recorded = record
                .interfaces
                .iter()
                .find(|i| i.ifindex == facts.ifindex);
            let mut limits = Vec::new();
            if is_here && let Some(recorded) = recorded {
                let place = (name.as_str(), facts.ifindex);
                let runs = in_force.program(Hook::Xdp, facts.program_id);
                let framing = runs.map(|(framing, _)| framing);
                match carrier::ask(place, &present) {
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
            links.push(ObservedLink {
                name,
                ifindex: facts.ifindex,
                link_id: facts.id,
                program_id: facts.program_id,
                limits,
            });
        }
        warnings.extend(without_link(&record.interfaces, &survey.links));
        warnings.extend(self.outdated(&record, &links, is_here.then_some(&present)));
        Ok(Some(Observed {
            record,
            links,
            warnings,
        }))
    }

    /// What has changed since the record was made; of the interfaces only where they are present.
    fn outdated(
        &self,
        record: &Record,
        links: &[ObservedLink],
        here: Option<&Present>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(present) = here {
            warnings.extend(unfiltered(record, links, present));
            if self.is_self_stale(record) {
                warnings.push(SELF_STALE.to_owned());
            }
        }
        if record.clock_has_moved() {
            warnings.push(CLOCK_MOVED.to_owned());
        }
        warnings
    }

    /// Whether the policy on record uses `@self`, and that is out of date.
    pub(super) fn is_self_stale(&self, record: &Record) -> bool {
        // Who may not look says nothing.
        record.live.iter().any(|set| set.name == SELF)
            && self
                .live_view()
                .is_ok_and(|view| view.is_self_current().is_ok_and(|is_current| !is_current))
    }
}

/// What to say when this host has other addresses than those by which rules know it.
const SELF_STALE: &str = "`@self` does not hold the addresses that this host has now: rules on it match \
                          former ones; apply the policy again, or run the daemon, which keeps it up to date";

/// What to say when the clock no longer is what rules expire by.
const CLOCK_MOVED: &str = "the clock was set, or the machine slept, since the policy was applied: its \
                           rules expire by the clock as it was then; apply the policy again";

/// Why a pinned link filters nothing.
fn lost(pinned: &PinnedLink, is_here: bool) -> Option<String> {
    let name = &pinned.name;
    if !pinned.is_attached() {
        return Some(format!(
            "{name} is gone, and its filter with it; apply the policy again when it is back"
        ));
    }
    (is_here && !pinned.is_alive()).then(|| {
        format!(
            "{name} is not filtered: the interface has moved to another network namespace; apply \
             the policy again"
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
fn unfiltered(record: &Record, links: &[ObservedLink], present: &Present) -> Vec<String> {
    let selectors = &record.selectors;
    let is_filtered = |ifindex: u32| links.iter().any(|link| link.ifindex == ifindex);
    let known = |name: &str| record.interfaces.iter().any(|it| it.name == name);
    let meant = selectors.meant(present).into_iter();
    let open = meant.filter(|(target, _)| !is_filtered(target.ifindex));
    let open = open.map(|(target, pattern)| {
        let name = &target.name;
        let place = (name.as_str(), target.ifindex);
        let needs = Needs::on_record(record);
        let why = match carrier::obstacle(place, (target.mode, needs), present) {
            Some(obstacle) => obstacle.to_string(),
            None if links.len() >= INTERFACES - 1 => no_room(),
            None => "apply the policy again, or run the daemon, which follows".to_owned(),
        };
        format!("{name} matches `{pattern}` and is not filtered: {why}")
    });
    // Of what has been filtered is said that it is gone.
    let missing = selectors.missing(present).into_iter();
    let missing = missing.filter(|word| !known(word)).map(|word| {
        format!(
            "`{word}` is named, and no such interface is there: the daemon filters it when it comes"
        )
    });
    open.chain(missing).collect()
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
