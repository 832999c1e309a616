//! Interfaces that come and go while a policy is in force: what matches the words by which its interfaces
//! were chosen gets the program that is loaded already, and what is gone is let go of.
//!
//! An ordinary re-plan ([`super::plan`]), of another desired state: the generation in force, on the
//! interfaces that the words mean now. Nothing is compiled and nothing is loaded, so that an interface is
//! open for no longer than it takes to attach. Whatever needs another program is left to an ordinary
//! change, and said ([`Followed::is_stale`]). An interface that is filtered stays so, whatever the words
//! mean by now.

use super::plan::{Following, Newcomer};
use super::resolve::{Present, Target, no_room};
use super::slots;
use super::store::{Generation, Survey};
use super::types::{EngineError, InterfaceRecord, Record, Selectors};
use super::{Engine, carrier};
use crate::kernel::{Hook, host};
use firewall_common::abi::INTERFACES;

/// What has come of looking after interfaces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    /// Names of the interfaces that are filtered now, and were not.
    pub attached: Vec<String>,
    /// Names of those that are gone, or have gone to another namespace.
    pub gone: Vec<String>,
    /// What somebody has taken off and is back, a sentence each.
    pub mended: Vec<String>,
    /// What could not be done, a sentence each.
    pub failed: Vec<String>,
    /// Whether the policy must be applied once more: to interfaces for which no program is loaded.
    pub is_stale: bool,
}

impl Followed {
    /// Whether there is something to tell.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.attached.is_empty() || !self.gone.is_empty() || !self.mended.is_empty()
    }

    /// Takes up what came of the next look. What could not be done is what it says.
    pub fn add(&mut self, next: Self) {
        self.attached.extend(next.attached);
        self.gone.extend(next.gone);
        self.mended.extend(next.mended);
        self.failed = next.failed;
        self.is_stale |= next.is_stale;
    }
}

impl Engine {
    /// Attaches what is in force to interfaces that match and are not filtered, and lets go of those that
    /// are gone. Changes nothing if there are none.
    ///
    /// # Errors
    /// What is pinned cannot be read or changed.
    pub fn follow(&mut self) -> Result<Followed, EngineError> {
        if !self.root().exists() {
            return Ok(Followed::default());
        }
        let _lock = host::lock(self.root())?;
        let followed = self.follow_locked();
        self.store.remove_if_empty();
        followed
    }

    fn follow_locked(&self) -> Result<Followed, EngineError> {
        let survey = self.store.survey()?;
        match survey.in_force() {
            Some(in_force) => self.follow_on(&survey, in_force),
            None => Ok(Followed::default()),
        }
    }

    /// As [`Engine::follow`], of a generation that may have no link at all. Needs the lock on the store.
    pub(super) fn follow_on(
        &self,
        survey: &Survey,
        in_force: &Generation,
    ) -> Result<Followed, EngineError> {
        let mut record = in_force.folder.read_record()?;
        if record.namespace != host::network_namespace()? {
            return Ok(Followed::default());
        }
        let present = self.present()?;
        let before = record.clone();
        let mut followed = Followed {
            is_stale: !in_force.folder.missing(&record).is_empty(),
            ..Followed::default()
        };
        let by = (&self.store, self.egress_by);
        let mut following = Following::new(by, survey, in_force, self.fails_at);
        for target in unnoted(survey, in_force, &present) {
            match following.note(&target) {
                Ok(()) => followed.mended.push(format!(
                    "the egress program of {}, which somebody took off",
                    target.name
                )),
                Err(error) => followed.failed.push(error.to_string()),
            }
        }
        for target in newcomers((survey, in_force), &record, &present, &mut followed) {
            let mut before = before.interfaces.iter();
            let is_lost = before.any(|it| it.ifindex == target.ifindex);
            match join(&target, &mut following, survey, &mut record) {
                Ok(()) => {
                    if is_lost {
                        let what =
                            format!("the filter of {}, which somebody took off", target.name);
                        followed.mended.push(what);
                    }
                    followed.attached.push(target.name);
                }
                Err(error) => followed.failed.push(error.to_string()),
            }
        }
        followed.failed.extend(following.let_go());
        forget_gone(survey, &present, &mut record, &mut followed);
        followed.is_stale |= rename(&mut record, &present);
        if record != before {
            in_force.folder.write_record(&record)?;
        }
        Ok(followed)
    }
}

/// The interfaces that match, are not filtered, and can be by what is loaded. Of the others that match,
/// what is in the way is noted.
fn newcomers(
    (survey, in_force): (&Survey, &Generation),
    record: &Record,
    present: &Present,
    followed: &mut Followed,
) -> Vec<Target> {
    let needs = carrier::Needs::on_record(record);
    let mut newcomers = Vec::new();
    for target in wanted(record, present) {
        if survey.link_on(target.ifindex).is_some() {
            continue;
        }
        let mut targets = [target];
        if let Err(error) = carrier::settle(&mut targets, needs, present) {
            followed.failed.push(error.to_string());
            continue;
        }
        let [target] = targets;
        let is_loaded = in_force.program_at(Hook::Xdp, target.framing).is_some();
        if is_loaded && (record.frags || !target.in_buffers) {
            newcomers.push(target);
        } else {
            followed.is_stale = true;
        }
    }
    present.lower_first(&mut newcomers);
    newcomers
}

/// The interfaces that are to be filtered: what the words mean, and what has been filtered under whatever
/// words.
fn wanted(record: &Record, present: &Present) -> Vec<Target> {
    let selectors = &record.selectors;
    let meant = selectors.meant(present).into_iter();
    let mut wanted: Vec<Target> = meant.map(|(target, _)| target).collect();
    for known in &record.interfaces {
        let name = present.name_of(known.ifindex);
        let is_new = !wanted.iter().any(|it| it.ifindex == known.ifindex);
        if let Some(name) = name.filter(|name| is_new && *name == known.name) {
            wanted.push(present.describe(selectors, name, known.ifindex));
        }
    }
    wanted
}

/// The filtered interfaces by which something leaves that nobody notes, although rules look at it.
fn unnoted(survey: &Survey, in_force: &Generation, present: &Present) -> Vec<Target> {
    let mut unnoted = Vec::new();
    let links = survey.links.iter().filter(|pinned| pinned.is_alive());
    for pinned in links.filter(|_| in_force.has_egress()) {
        let facts = pinned.link.facts();
        let is_noted = survey.egress.iter().any(|it| it.is_on(facts.ifindex));
        let Some(name) = present.name_of(facts.ifindex).filter(|_| !is_noted) else {
            continue;
        };
        let runs = in_force.program(Hook::Xdp, facts.program_id);
        let mut target = present.describe(&Selectors::default(), name, facts.ifindex);
        target.framing = runs.map_or(target.framing, |(framing, _)| framing);
        unnoted.push(target);
    }
    unnoted
}

/// Has one interface filtered, and notes that in the record.
fn join(
    target: &Target,
    following: &mut Following<'_>,
    survey: &Survey,
    record: &mut Record,
) -> Result<(), EngineError> {
    let taken = record.interfaces.iter();
    let taken: Vec<(&str, u32)> = taken.map(|it| (it.name.as_str(), it.slot)).collect();
    // A slot in which nobody else counts.
    let assigned = slots::assign(&[&target.name], &taken, 1..INTERFACES as u32);
    let assigned = assigned.ok_or_else(|| {
        let name = &target.name;
        EngineError::Interface(format!("{name} is not filtered: {}", no_room()))
    })?;
    let mut filtered = survey.filtered();
    filtered.extend(record.interfaces.iter().map(|it| it.ifindex));
    let interface = following.admit(&Newcomer {
        target,
        slot: assigned.slots[0],
        fresh: &assigned.fresh,
        filtered: &filtered,
    })?;
    record.interfaces.retain(|it| it.name != target.name);
    record.interfaces.push(interface);
    Ok(())
}

/// Gives interfaces in the record the names that they have now; whether one has another zone by its new
/// name.
fn rename(record: &mut Record, present: &Present) -> bool {
    let mut is_stale = false;
    for interface in &mut record.interfaces {
        let Some(name) = present.name_of(interface.ifindex) else {
            continue;
        };
        if name != interface.name {
            let meant = present.describe(&record.selectors, name, interface.ifindex);
            is_stale |= meant.zone != interface.zone;
            name.clone_into(&mut interface.name);
        }
    }
    is_stale
}

/// Takes interfaces out of the record that are gone, while any is left. One that is here, and that could
/// not be filtered again just now, stays: it is missed, and tried once more.
fn forget_gone(survey: &Survey, present: &Present, record: &mut Record, followed: &mut Followed) {
    // By index: a pin has the name of the day when it was made.
    let is_gone = |it: &mut InterfaceRecord| {
        survey.link_on(it.ifindex).is_none()
            && !followed.attached.contains(&it.name)
            && present.name_of(it.ifindex) != Some(it.name.as_str())
    };
    if survey.filtered().is_empty() && followed.attached.is_empty() {
        return;
    }
    let gone = record.interfaces.extract_if(.., is_gone);
    followed.gone = gone.map(|it| it.name).collect();
}
