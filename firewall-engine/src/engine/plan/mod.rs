//! A change of the active policy as a plan: steps that are data, made from desired and observed state,
//! then executed. If a step fails, the steps before it are undone in reverse.
//!
//! ```text
//! desired.rs   desired state: interfaces, and the objects of the new generation   (reads only)
//! observed.rs  observed state: pins and links that a plan depends on              (reads only)
//! make.rs      makes a plan from both                                             (pure)
//! execute.rs   executes each step                                                 (writes)
//! follow.rs    executes those of interfaces that come and go                      (writes)
//! attach.rs    the steps of both that attach                                      (writes)
//! undo.rs      undoes each step
//! record.rs    the record of the new generation
//! counters.rs  counters and memory that it takes over from the active one
//! ```
//!
//! See [`super::store`] for what a crash leaves behind between any two steps.

mod attach;
mod counters;
mod desired;
mod execute;
mod follow;
mod make;
mod observed;
mod record;
mod undo;

pub(super) use desired::{Desired, check_modes};
pub(super) use execute::Done;
pub(super) use follow::{Following, Newcomer};

use self::desired::Draft;
use self::execute::Execution;
use self::observed::Observed;
use super::store::{Store, Survey};
use super::types::EngineError;
use crate::kernel::program::Framing;
use crate::kernel::{Hook, KernelError};
use firewall_policy::rule::Mode;
use std::fmt;

/// A plan: the steps of a change, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Steps that are all done, or all undone.
    pub(super) change: Vec<Step>,
    /// Steps behind the change: they change nothing that is enforced on a wanted interface, so what
    /// fails of them is a warning.
    pub(super) tidy: Vec<Step>,
}

/// One step. `pin` is the name of a link's pin in its folder: mostly the interface's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Make the folder of the generation.
    MakeFolder,
    /// Pin its maps there.
    PinMaps,
    /// Fill its bans and live sets.
    FillSets,
    /// Load a program, and pin it.
    Load(Hook, Framing),
    /// Write its record.
    WriteRecord,
    /// Clear the counters of those that have not counted before.
    ClearCounters,
    /// Bring totals from the maps of former generations.
    CarryCounters,
    /// Let the new egress program run beside the former one until the change is over: its table of
    /// flows is another one.
    RunBeside(Interface),
    /// Fill its table of flows, if that is a new one.
    FillFlows,
    /// Hand over once more what the former table of flows has learned until the switch.
    CatchUpFlows,
    /// Take a program of someone else's off an interface, as the user has asked.
    TakeOff { interface: Interface, program: u32 },
    /// Attach a program to an interface that has no link at this hook.
    Attach {
        hook: Hook,
        interface: Interface,
        mode: Mode,
        pin: String,
    },
    /// Make a link run the new program.
    Switch { hook: Hook, pin: String },
    /// Write an interface into the table of the generation in force.
    Admit(Interface),
    /// Write into the record in which modes the interfaces are filtered.
    NoteModes,
    /// Detach a link of an interface that is no longer wanted.
    Detach { hook: Hook, pin: String },
    /// Remove the pin of a link.
    Unpin { hook: Hook, pin: String },
    /// Bring bans and live sets to what the policy says, and what has been banned meanwhile.
    FinishSets,
    /// Remove a former generation.
    RemoveGeneration(u64),
}

/// An interface by both of its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeFolder => write!(f, "make the generation's folder"),
            Self::PinMaps => write!(f, "pin its maps"),
            Self::FillSets => write!(f, "fill its bans and live sets"),
            Self::Load(hook, Framing::Ethernet) => write!(f, "load its program ({hook})"),
            Self::Load(hook, Framing::RawIp) => {
                write!(
                    f,
                    "load its program for frames without link header ({hook})"
                )
            }
            Self::WriteRecord => write!(f, "write its record"),
            Self::ClearCounters => write!(f, "clear new counters"),
            Self::CarryCounters => write!(f, "carry counters over"),
            Self::RunBeside(interface) => {
                write!(
                    f,
                    "run its program beside the former one on {} (egress)",
                    interface.name
                )
            }
            Self::FillFlows => write!(f, "fill its table of flows"),
            Self::CatchUpFlows => write!(f, "catch up with the former table of flows"),
            Self::TakeOff { interface, program } => {
                write!(f, "take program {program} off {}", interface.name)
            }
            Self::Attach {
                hook, interface, ..
            } => write!(f, "attach to {} ({})", interface.name, hook),
            Self::Switch { hook, pin } => write!(f, "switch {pin} ({hook})"),
            Self::Admit(interface) => write!(f, "let {} join", interface.name),
            Self::NoteModes => write!(f, "note the modes"),
            Self::Detach { hook, pin } => write!(f, "detach from {pin} ({hook})"),
            Self::Unpin { hook, pin } => write!(f, "remove the pin of {pin} ({hook})"),
            Self::FinishSets => write!(f, "finish its bans and live sets"),
            Self::RemoveGeneration(number) => write!(f, "remove generation {number}"),
        }
    }
}

/// Puts `desired` in force. `kept_modes` comes from [`check_modes`]. Needs the lock on the store.
/// The step of the number `fails_at` fails, for tests of what is undone.
pub(super) fn run(
    store: &Store,
    survey: &Survey,
    desired: &Desired<'_>,
    kept_modes: &[Option<Mode>],
    fails_at: Option<usize>,
) -> Result<Done, EngineError> {
    let observed = Observed::read(survey, desired.targets)?;
    if !desired.request.replace {
        observed.refuse_foreign()?;
    }
    let attempt = |notes: bool| {
        let mut warnings = Vec::new();
        let draft = Draft::make(survey, desired, kept_modes, notes, &mut warnings)?;
        let plan = make::make(&draft.wanted(desired)?, &observed);
        let foreign = &observed.foreign;
        let execution = Execution::new((store, survey), desired, foreign, draft, warnings);
        execution.run(&plan, fails_at)
    };
    match attempt(true) {
        // Where no rule looks at state, the filter does without the egress program.
        Err(EngineError::Kernel(KernelError::Egress { interface, reason }))
            if !desired.source.policy.tracks_connections() =>
        {
            let mut done = attempt(false)?;
            done.warnings.push(format!(
                "DHCP answers and ICMP errors pass by their form, whether or not this host has asked \
                 for them, because no program can be put on what leaves by {interface}: {reason}"
            ));
            Ok(done)
        }
        outcome => outcome,
    }
}
