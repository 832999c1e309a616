//! What is pinned and attached now, as far as a plan depends on it: plain data, read once.

use super::Interface;
use crate::engine::resolve::Target;
use crate::engine::store::{PinnedLink, Survey};
use crate::engine::types::EngineError;
use crate::kernel::KernelError;
use crate::kernel::link;

/// What is pinned and attached.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Numbers of the generations there are, oldest first.
    pub(super) generations: Vec<u64>,
    /// Links of what comes in.
    pub(super) links: Vec<Pinned>,
    /// Links of what leaves.
    pub(super) egress: Vec<Pinned>,
    /// Programs of others on interfaces that are wanted.
    pub(super) foreign: Vec<Foreign>,
}

/// A pinned link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pinned {
    /// Name of the pin.
    pub(super) pin: String,
    /// Index of the interface of this network namespace that carries the program by it.
    pub(super) on: Option<u32>,
    /// Whether an interface carries it, perhaps in another namespace.
    pub(super) is_attached: bool,
    /// Whether it stands for a filter in `clsact`.
    pub(super) is_filter: bool,
}

/// A program of someone else's.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) interface: Interface,
    pub(super) program: link::Attached,
}

impl Observed {
    /// Reads it. Where a target has a link of ours, nobody else has a program there.
    pub(super) fn read(survey: &Survey, targets: &[Target]) -> Result<Self, KernelError> {
        let mut foreign = Vec::new();
        for target in targets {
            if survey.link_on(target.ifindex).is_some() {
                continue;
            }
            for program in link::programs_on(&target.name, target.ifindex)? {
                foreign.push(Foreign {
                    interface: Interface {
                        name: target.name.clone(),
                        index: target.ifindex,
                    },
                    program,
                });
            }
        }
        Ok(Self {
            foreign,
            ..Self::of(survey)
        })
    }

    /// Without programs of others.
    pub(super) fn of(survey: &Survey) -> Self {
        Self {
            generations: survey.generations.iter().map(|it| it.number).collect(),
            links: survey.links.iter().map(pinned).collect(),
            egress: survey.egress.iter().map(pinned).collect(),
            foreign: Vec::new(),
        }
    }

    /// An error if someone else's program is where ours is to be.
    pub(super) fn refuse_foreign(&self) -> Result<(), EngineError> {
        match self.foreign.first() {
            None => Ok(()),
            Some(Foreign { interface, program }) => {
                Err(link::foreign_program(&interface.name, interface.index, program).into())
            }
        }
    }
}

fn pinned(link: &PinnedLink) -> Pinned {
    Pinned {
        pin: link.name.clone(),
        on: link.is_alive().then(|| link.link.facts().ifindex),
        is_attached: link.is_attached(),
        is_filter: link.link.is_filter(),
    }
}
