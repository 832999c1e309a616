//! Makes a plan from desired and observed state. Pure: reads nothing, changes nothing.
//!
//! New interfaces come before switches, because drivers refuse and updates of a link hardly ever do.
//! The egress program is attached before rules that use state are active, and detached after them.

use super::observed::{Observed, Pinned};
use super::{Interface, Plan, Step};
use crate::kernel::Hook;
use crate::kernel::program::Framing;
use firewall_policy::rule::Mode;
use std::collections::BTreeSet;

/// What a plan must know of what is desired.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The interfaces to filter, and how.
    pub(super) targets: Vec<(Interface, Mode)>,
    /// What frames begin with on them: a program each.
    pub(super) framings: BTreeSet<Framing>,
    /// Whether the policy looks at what leaves.
    pub(super) egress: bool,
    /// Whether its table of flows is another one than before.
    pub(super) has_new_flows: bool,
}

/// The plan that leads from `observed` to `wanted`.
pub(super) fn make(wanted: &Wanted, observed: &Observed) -> Plan {
    let mut change = stage(wanted);
    let mut tidy = Vec::new();
    // As long as the former table is looked at, the former programs note what leaves, and the new ones
    // beside them. A filter in `clsact` takes no other one beside it.
    let is_late = |link: &Pinned| wanted.has_new_flows && !link.is_filter;
    let (late, early): (Vec<_>, Vec<_>) = observed.egress.iter().cloned().partition(is_late);
    let targets = wanted.targets.as_slice();
    if wanted.egress {
        attach(Hook::Egress, targets, &observed.egress, &mut change);
        change.extend(switches(Hook::Egress, wanted, &early));
        run_beside(wanted, &late, &mut change);
        change.push(Step::FillFlows);
    }
    change.extend(observed.foreign.iter().map(|foreign| Step::TakeOff {
        interface: foreign.interface.clone(),
        program: foreign.program.program_id,
    }));
    if attach(Hook::Xdp, targets, &observed.links, &mut change) {
        // Only now the modes are known. Readers between the two find the modes that were hoped for.
        change.push(Step::NoteModes);
    }
    change.extend(switches(Hook::Xdp, wanted, &observed.links));
    if wanted.egress {
        change.extend(switches(Hook::Egress, wanted, &late));
    }
    if wanted.has_new_flows {
        change.push(Step::CatchUpFlows);
    }
    release(Hook::Xdp, &change, &observed.links, &mut tidy);
    release(Hook::Egress, &change, &observed.egress, &mut tidy);
    tidy.extend([Step::FinishSets, Step::CarryCounters]);
    let former = observed.generations.iter();
    tidy.extend(former.map(|&number| Step::RemoveGeneration(number)));
    Plan { change, tidy }
}

/// The steps by which one interface joins the generation in force, whose programs run on the others: what
/// the programs look up of it is written first, and what leaves is bound before what comes in.
pub(super) fn admit(target: &(Interface, Mode), egress: bool, observed: &Observed) -> Vec<Step> {
    let (interface, _) = target;
    let mut steps = vec![Step::Admit(interface.clone())];
    let one = std::slice::from_ref(target);
    if egress {
        attach(Hook::Egress, one, &observed.egress, &mut steps);
    }
    attach(Hook::Xdp, one, &observed.links, &mut steps);
    steps
}

/// The steps that put the program of what leaves back on an interface.
pub(super) fn note(target: &(Interface, Mode), observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    let one = std::slice::from_ref(target);
    attach(Hook::Egress, one, &observed.egress, &mut steps);
    steps
}

/// The steps behind those that are `done`, which let go of links of interfaces that are gone. The last link
/// stays: by it one knows what is in force.
pub(super) fn let_go(done: &[Step], observed: &Observed) -> Vec<Step> {
    let mut steps = Vec::new();
    let is_attached = |step: &Step| {
        matches!(
            step,
            Step::Attach {
                hook: Hook::Xdp,
                ..
            }
        )
    };
    let is_any_left = observed.links.iter().any(|link| link.on.is_some());
    if !is_any_left && !done.iter().any(is_attached) {
        return steps;
    }
    for (hook, links) in [
        (Hook::Xdp, &observed.links),
        (Hook::Egress, &observed.egress),
    ] {
        let gone = links.iter().filter(|link| link.on.is_none());
        let gone: Vec<Pinned> = gone.cloned().collect();
        release(hook, done, &gone, &mut steps);
    }
    steps
}

/// The steps that make a generation. Nothing that is enforced changes by them.
fn stage(wanted: &Wanted) -> Vec<Step> {
    let mut steps = vec![Step::MakeFolder, Step::PinMaps, Step::FillSets];
    let load = |hook: Hook| {
        let framings = wanted.framings.iter();
        framings.map(move |&framing| Step::Load(hook, framing))
    };
    steps.extend(load(Hook::Xdp));
    if wanted.egress {
        steps.extend(load(Hook::Egress));
    }
    // Totals that a larger map takes over are there before the first packet counts in it, so that
    // nobody sees them go back. What is counted until the switch comes behind it.
    steps.extend([Step::WriteRecord, Step::ClearCounters, Step::CarryCounters]);
    steps
}

/// The link of an interface at a hook.
fn link_on(links: &[Pinned], index: u32) -> Option<&Pinned> {
    links.iter().find(|link| link.on == Some(index))
}

/// Steps by which every target that has no link at a hook gets one, with the new program. Whether there
/// are any.
fn attach(
    hook: Hook,
    targets: &[(Interface, Mode)],
    links: &[Pinned],
    steps: &mut Vec<Step>,
) -> bool {
    let mut is_new = false;
    for (interface, mode) in targets {
        if link_on(links, interface.index).is_some() {
            continue;
        }
        is_new = true;
        let names = pin_names(interface);
        // A dead link there belonged to an earlier interface of that name.
        let dead = links.iter().filter(|link| link.on.is_none());
        steps.extend(dead.filter(|link| names.contains(&link.pin)).map(|link| {
            let pin = link.pin.clone();
            Step::Unpin { hook, pin }
        }));
        // A living one belongs to an interface that has been renamed since.
        let is_taken = |name: &String| links.iter().any(|it| it.on.is_some() && it.pin == *name);
        let [name, with_index] = names;
        steps.push(Step::Attach {
            hook,
            interface: interface.clone(),
            mode: *mode,
            pin: if is_taken(&name) { with_index } else { name },
        });
    }
    is_new
}

/// Steps by which these links of targets run the new program.
fn switches(hook: Hook, wanted: &Wanted, links: &[Pinned]) -> Vec<Step> {
    let targets = wanted.targets.iter();
    let links = targets.filter_map(|(interface, _)| link_on(links, interface.index));
    let pins = links.map(|link| link.pin.clone());
    pins.map(|pin| Step::Switch { hook, pin }).collect()
}

/// Steps that let the new egress program run beside these links.
fn run_beside(wanted: &Wanted, links: &[Pinned], steps: &mut Vec<Step>) {
    for (interface, _) in &wanted.targets {
        if link_on(links, interface.index).is_some() {
            steps.push(Step::RunBeside(interface.clone()));
        }
    }
}

/// How the pin of an interface's link may be named. Where filters stand for links, it is the second.
fn pin_names(interface: &Interface) -> [String; 2] {
    let Interface { name, index } = interface;
    [name.clone(), format!("{name}_{index}")]
}

/// Steps that let go of links which `change` does not switch.
fn release(hook: Hook, change: &[Step], links: &[Pinned], steps: &mut Vec<Step>) {
    for link in links {
        let pin = || link.pin.clone();
        let is_done = |step: Step| change.contains(&step);
        if is_done(Step::Switch { hook, pin: pin() }) {
            continue;
        }
        if link.is_attached {
            steps.push(Step::Detach { hook, pin: pin() });
        }
        if !is_done(Step::Unpin { hook, pin: pin() }) {
            steps.push(Step::Unpin { hook, pin: pin() });
        }
    }
}

#[cfg(test)]
mod tests;
