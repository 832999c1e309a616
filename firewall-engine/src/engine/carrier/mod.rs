//! The one judge of an interface: whether it can carry the filter truthfully, and how. Load, apply, hot-plug,
//! status and doctor ask it; nobody else judges.
//!
//! ```text
//! facts.rs  what is known of an interface: its device, its driver, what lies over it   (reads only)
//! judge.rs  what follows from that                                                     (pure)
//! media.rs  what becomes of frames before the filter sees them                         (pure)
//! ```
//!
//! The answer has three parts. What the filter would misread, or never see, is refused with the way out.
//! Where it depends on the mode, the mode is settled. What it can carry with a limit says the limit, in
//! `load`, `status` and `doctor`.

mod facts;
mod judge;
mod media;

use super::resolve::{Present, Target};
use super::types::{InterfaceRecord, Record};
use crate::kernel::KernelError;
use crate::kernel::program::Framing;
use facts::Facts;
use firewall_common::field::Field;
use firewall_policy::rule::{Mode, Policy};
use judge::{Modes, refusal};
use media::Tags;

/// What a policy needs of the interfaces that it is put on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Needs {
    /// Rules match `vlan`.
    vlans: bool,
    /// Packets are answered: `reject`, `syn_protect`.
    answers: bool,
}

impl Needs {
    /// Those of a policy.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut enabled = policy.rules.iter().filter(|rule| rule.enabled);
        Self {
            vlans: enabled.any(|rule| !rule.matches.is_any(Field::Vlan)),
            answers: policy.rejects() || policy.protects(),
        }
    }

    /// Those of the policy on record.
    pub(super) fn on_record(record: &Record) -> Self {
        Self {
            vlans: record.matches_vlan,
            answers: record.stations.is_some(),
        }
    }

    /// Whether rules match `vlan`.
    pub(super) const fn vlans(self) -> bool {
        self.vlans
    }
}

/// How an interface can carry the filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Carries {
    name: String,
    /// What its frames begin with.
    pub(super) framing: Framing,
    modes: Modes,
    /// Whether its frames may come in several buffers.
    pub(super) in_buffers: bool,
    tags: Tags,
    /// Limits in every mode, in native mode, and in generic mode; a sentence each.
    limits: [Vec<String>; 3],
    /// What it is, in words.
    pub(super) found: String,
}

impl Carries {
    /// Why it cannot carry a policy with these needs in `mode`, if it cannot.
    pub(super) fn obstacle(&self, mode: Mode, needs: Needs) -> Option<KernelError> {
        if let Some(why) = self.modes.refuses(mode) {
            return Some(refusal(&self.name, why));
        }
        (needs.vlans && self.tags == Tags::TakenOff).then(|| KernelError::VlanOffload {
            interface: self.name.clone(),
        })
    }

    /// With which limits it carries such a policy in `mode`, a sentence each.
    pub(super) fn limits(&self, mode: Mode, needs: Needs) -> Vec<String> {
        let [always, native, generic] = &self.limits;
        let by_mode = match mode {
            Mode::Native => native.as_slice(),
            Mode::Generic => generic.as_slice(),
            Mode::Auto => &[],
        };
        let mut limits = [always, by_mode].concat();
        if needs.vlans {
            limits.extend(self.tags.limit(&self.name));
        }
        if needs.answers {
            limits.extend(self.unanswered(mode));
        }
        limits
    }

    /// Where answers do not arrive.
    fn unanswered(&self, mode: Mode) -> Option<String> {
        let name = &self.name;
        if self.framing == Framing::RawIp {
            return Some(format!(
                "what `reject` and `syn_protect` answer is not sent by {name}: its frames have no link \
                 header; what is rejected there is dropped"
            ));
        }
        // Virtual Ethernet takes a frame that a program sends back, and leaves it lying at the other end
        // if there is no program there (`veth_xdp_flush` in the kernel).
        (self.tags.is_cable() && mode != Mode::Generic).then(|| {
            format!(
                "answers of `reject` and `syn_protect` arrive at the other end of {name} only if an XDP \
                 program is attached there; where that is not so, write `mode: generic`, and before that \
                 is applied, `firewall-ctl unload -i {name}`"
            )
        })
    }
}

/// Asks about an interface.
///
/// # Errors
/// It cannot carry the filter in any mode, or is gone.
pub(super) fn ask((name, ifindex): (&str, u32), present: &Present) -> Result<Carries, KernelError> {
    judge::judge(&Facts::of(name, ifindex, present)?)
}

/// What is in the way on an interface that is filtered in `mode`, or is to be; `None` if nothing is.
pub(super) fn obstacle(
    place: (&str, u32),
    (mode, needs): (Mode, Needs),
    present: &Present,
) -> Option<KernelError> {
    match ask(place, present) {
        Err(refused) => Some(refused),
        Ok(carries) => carries.obstacle(mode, needs),
    }
}

/// Refuses targets that cannot carry the filter, and settles how those are filtered that can.
pub(super) fn settle(
    targets: &mut [Target],
    needs: Needs,
    present: &Present,
) -> Result<(), KernelError> {
    for target in targets {
        let carries = ask((&target.name, target.ifindex), present)?;
        if let Some(obstacle) = carries.obstacle(target.mode, needs) {
            return Err(obstacle);
        }
        target.framing = carries.framing;
        target.in_buffers = carries.in_buffers;
        match carries.modes {
            Modes::Generic(why) => {
                target.mode = Mode::Generic;
                target.only = Some(why);
            }
            Modes::Native(why) => {
                target.mode = Mode::Native;
                target.only = Some(why);
            }
            Modes::Any => {}
        }
    }
    Ok(())
}

/// With which limits these interfaces are filtered, a sentence each.
pub(super) fn limits(
    interfaces: &[InterfaceRecord],
    needs: Needs,
    present: &Present,
) -> Vec<String> {
    let limits = interfaces.iter().filter_map(|it| {
        // What has gone meanwhile has none.
        let carries = ask((&it.name, it.ifindex), present).ok()?;
        Some(carries.limits(it.mode, needs))
    });
    limits.flatten().collect()
}
