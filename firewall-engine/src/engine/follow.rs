//! Interfaces that come and go while a policy is in force: what matches the words by which its interfaces
//! were chosen gets the program that is loaded already, and what is gone is let go of.
//!
//! Nothing is compiled and nothing is loaded, so that an interface is open for no longer than it takes to
//! attach. Whatever needs another program is left to an ordinary change, and said
//! ([`Followed::is_stale`]). An interface that is filtered stays so, whatever the words mean by now.

use super::resolve::{Present, Target};
use super::slots;
use super::store::{Generation, PinnedLink, Survey, make_folder};
use super::types::{EngineError, InterfaceRecord, Record};
use super::{Engine, carrier, egress, media};
use crate::kernel::counters::clear_interfaces;
use crate::kernel::link::{self, Link, NewLink, unpin};
use crate::kernel::{Hook, KernelError, host};
use firewall_common::abi::{INTERFACES, InterfaceEntry};
use std::path::PathBuf;

/// What has come of looking after interfaces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Followed {
    /// Names of the interfaces that are filtered now, and were not.
    pub attached: Vec<String>,
    /// Names of those that are gone, or have gone to another namespace.
    pub gone: Vec<String>,
    /// What could not be done, a sentence each.
    pub failed: Vec<String>,
    /// Whether the policy must be applied once more: to interfaces for which no program is loaded.
    pub is_stale: bool,
}

impl Followed {
    /// Whether there is something to tell.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.attached.is_empty() || !self.gone.is_empty()
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
        let Some(in_force) = survey.in_force() else {
            return Ok(Followed::default());
        };
        let mut record = in_force.folder.read_record()?;
        if record.namespace != host::network_namespace()? {
            return Ok(Followed::default());
        }
        let present = Present::now()?;
        let before = record.clone();
        let mut followed = Followed::default();
        for (target, _) in record.selectors.meant(&present) {
            if survey.link_on(target.ifindex).is_some() {
                continue;
            }
            let mut targets = [target];
            if let Err(error) = carrier::settle(&mut targets, &present) {
                followed.failed.push(error.to_string());
                continue;
            }
            let [target] = targets;
            let is_loaded = in_force.program_at(Hook::Xdp, target.framing).is_some();
            let one = std::slice::from_ref(&target);
            if !is_loaded || (!record.frags && media::in_buffers(one)?) {
                followed.is_stale = true;
                continue;
            }
            let newcomer = Newcomer {
                engine: self,
                survey: &survey,
                in_force,
                target: &target,
            };
            match newcomer.attach(&record) {
                Ok(interface) => {
                    followed.attached.push(target.name.clone());
                    record.interfaces.retain(|it| it.name != target.name);
                    record.interfaces.push(interface);
                }
                Err(error) => followed.failed.push(error.to_string()),
            }
        }
        self.let_go(&survey, &mut record, &mut followed)?;
        for interface in &mut record.interfaces {
            if let Some(name) = present.name_of(interface.ifindex)
                && survey.link_on(interface.ifindex).is_some()
            {
                name.clone_into(&mut interface.name);
            }
        }
        if record != before {
            in_force.folder.write_record(&record)?;
        }
        Ok(followed)
    }

    /// Lets go of the links of interfaces that are gone. The last one stays: by it one knows what is in
    /// force.
    fn let_go(
        &self,
        survey: &Survey,
        record: &mut Record,
        followed: &mut Followed,
    ) -> Result<(), KernelError> {
        let is_any_left = survey.links.iter().any(PinnedLink::is_alive);
        if !is_any_left && followed.attached.is_empty() {
            return Ok(());
        }
        for pinned in survey.links.iter().filter(|pinned| !pinned.is_alive()) {
            pinned.link.detach(&pinned.name)?;
            // Another interface may have the pin's name by now, and a link of its own there.
            if pinned.path.exists() && !Self::is_replaced(pinned)? {
                unpin(&pinned.path)?;
            }
        }
        // By index: a pin has the name of the day when it was made.
        let is_gone = |it: &mut InterfaceRecord| {
            survey.link_on(it.ifindex).is_none() && !followed.attached.contains(&it.name)
        };
        let gone = record.interfaces.extract_if(.., is_gone);
        let gone: Vec<String> = gone.map(|it| it.name).collect();
        followed.gone = gone;
        for pinned in survey.egress.iter().filter(|pinned| !pinned.is_alive()) {
            if !Self::is_replaced(pinned)? {
                egress::remove(pinned)?;
            }
        }
        Ok(())
    }

    /// Whether another link is pinned by now where one was.
    fn is_replaced(pinned: &PinnedLink) -> Result<bool, KernelError> {
        if pinned.link.is_filter() || !pinned.path.exists() {
            return Ok(false);
        }
        Ok(Link::open(&pinned.path)?.facts().id != pinned.link.facts().id)
    }
}

/// An interface that is to get the program in force.
struct Newcomer<'a> {
    engine: &'a Engine,
    survey: &'a Survey,
    in_force: &'a Generation,
    target: &'a Target,
}

impl Newcomer<'_> {
    /// Attaches the programs: first what takes note of what leaves.
    fn attach(&self, record: &Record) -> Result<InterfaceRecord, EngineError> {
        let Target { name, ifindex, .. } = self.target;
        let slot = self.slot(record)?;
        self.in_force
            .folder
            .interfaces()?
            .add_interface(InterfaceEntry {
                ifindex: *ifindex,
                slot: slot as u16,
                zone: self.target.zone as u16,
            })?;
        let outgoing = self.attach_egress()?;
        let attached = self.attach_ingress();
        if attached.is_err()
            && let Some((link, pin)) = &outgoing
        {
            let _ = link.detach(name);
            let _ = unpin(pin);
        }
        let NewLink { mode, fallback, .. } = attached?;
        Ok(InterfaceRecord {
            name: name.clone(),
            ifindex: *ifindex,
            slot,
            zone: self.target.zone,
            zone_name: self.target.zone_name.clone(),
            mode,
            fallback: fallback.or_else(|| self.target.fallback.clone()),
        })
    }

    /// A slot in which nobody else has counted, cleared.
    fn slot(&self, record: &Record) -> Result<u32, EngineError> {
        let taken = record.interfaces.iter();
        let taken: Vec<(&str, u32)> = taken.map(|it| (it.name.as_str(), it.slot)).collect();
        let name = self.target.name.as_str();
        let assigned = slots::assign(&[name], &taken, 1..INTERFACES as u32).ok_or_else(|| {
            let most = INTERFACES - 1;
            EngineError::Interface(format!(
                "{name} is not filtered: one host can filter {most} interfaces"
            ))
        })?;
        clear_interfaces(&self.in_force.folder.reasons()?, &assigned.fresh)?;
        Ok(assigned.slots[0])
    }

    fn attach_egress(&self) -> Result<Option<(Link, PathBuf)>, KernelError> {
        use crate::kernel::egress;
        let Target { name, ifindex, .. } = self.target;
        let program = self.in_force.program_at(Hook::Egress, self.target.framing);
        let Some(program) = program else {
            return Ok(None);
        };
        let store = &self.engine.store;
        make_folder(&store.egress_folder())?;
        let place = |pin: &str| match pin == name {
            true => free(store.egress_path(name), *ifindex, &self.survey.egress),
            false => store.egress_path(pin),
        };
        let on = (name.as_str(), *ifindex);
        egress::attach(self.engine.egress_by, program, on, place).map(Some)
    }

    fn attach_ingress(&self) -> Result<NewLink, KernelError> {
        let Target { name, ifindex, .. } = self.target;
        let program = self.in_force.program_at(Hook::Xdp, self.target.framing);
        let program = program
            .ok_or_else(|| KernelError::State(format!("no program is loaded for {name}")))?;
        let store = &self.engine.store;
        make_folder(&store.links_folder())?;
        let pin = free(store.link_path(name), *ifindex, &self.survey.links);
        let new = link::attach(program, name, *ifindex, self.target.mode)?;
        if let Err(error) = new.link.pin(&pin) {
            let _ = new.link.detach(name);
            return Err(error);
        }
        Ok(new)
    }
}

/// Where the link of an interface is pinned: at a path that may be taken by a link that lives under an
/// earlier name, or by one that is dead, which goes.
fn free(path: PathBuf, ifindex: u32, links: &[PinnedLink]) -> PathBuf {
    match links.iter().find(|pinned| pinned.path == path) {
        Some(pinned) if pinned.is_alive() => {
            let mut name = path.into_os_string();
            name.push(format!("_{ifindex}"));
            name.into()
        }
        Some(pinned) => {
            let _ = unpin(&pinned.path);
            path
        }
        None => path,
    }
}
