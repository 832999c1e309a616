//! A program alone: run by BPF_PROG_TEST_RUN on a stream of headers. What the stream costs is
//! measured in the same round, with a program that only drops, and taken away.

use crate::measure::{self, Series};
use crate::traffic::Traffic;
use crate::truth;
use anyhow::Result;
use firewall_common::abi::InterfaceEntry;
use firewall_engine::kernel::bench::{Bed, Subject};
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_policy::rule::Policy;
use firewall_policy::tables::Tables;

/// The loopback interface, on which test runs take place; its counter slot here.
const LOOPBACK: InterfaceEntry = InterfaceEntry {
    ifindex: 1,
    slot: 1,
    zone: 0,
};

/// One program with its stream of headers.
#[derive(Debug)]
pub(crate) struct Contender {
    bed: Bed,
    target: Subject,
    base: Subject,
    repeat: u32,
    /// Keeps our program's maps.
    _loaded: Option<Loaded>,
}

/// What a program costs, in nanoseconds a packet.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// The program alone.
    pub(crate) net: Series,
    /// What the stream of headers and a bare drop cost.
    pub(crate) base: Series,
}

/// Compiles a policy whose rule `i` counts in slot `i`.
pub(crate) fn compiled(policy: &Policy) -> Result<Tables> {
    let slots: Vec<u32> = (0..policy.counters().len() as u32).collect();
    Ok(compile(policy, &slots)?)
}

/// Loads our program for a policy, for test runs and for the interface `ifindex` besides.
pub(crate) fn load(policy: &Policy, tables: &Tables, ifindex: Option<u32>) -> Result<Loaded> {
    let mut interfaces = vec![LOOPBACK];
    interfaces.extend(ifindex.map(|ifindex| InterfaceEntry {
        ifindex,
        slot: 2,
        zone: 0,
    }));
    Ok(Loaded::load(
        tables,
        policy.rules.len() as u32,
        &interfaces,
    )?)
}

impl Contender {
    /// Our program with a policy, after every answer has been checked.
    pub(crate) fn ours(
        object: &[u8],
        policy: &Policy,
        tables: &Tables,
        traffic: &Traffic,
    ) -> Result<Self> {
        let loaded = load(policy, tables, None)?;
        truth::check(policy, tables, &loaded, traffic)?;
        let mut bed = Bed::load(object, &traffic.headers, traffic.long, 0)?;
        let contender = Self {
            target: Subject::ours(&loaded)?,
            base: bed.program("bench_drop")?,
            repeat: bed.count(),
            bed,
            _loaded: Some(loaded),
        };
        Ok(contender)
    }

    /// One of the benchmark's own programs, on a bed that is ready for it.
    pub(crate) fn of_bed(mut bed: Bed, program: &str) -> Result<Self> {
        Ok(Self {
            target: bed.program(program)?,
            base: bed.program("bench_drop")?,
            repeat: bed.count(),
            bed,
            _loaded: None,
        })
    }

    /// The program itself.
    pub(crate) fn target(&self) -> &Subject {
        &self.target
    }

    fn sample(&mut self, base: bool) -> Result<f64> {
        self.bed.aim(if base { &self.base } else { &self.target })?;
        self.bed.rewind()?;
        let (_, nanoseconds) = self.bed.run(self.repeat)?;
        Ok(nanoseconds)
    }
}

/// Measures all of them against each other: every header once a round.
pub(crate) fn contest(
    what: &str,
    rounds: usize,
    contenders: &mut [Contender],
) -> Result<Vec<Cost>> {
    let series = measure::rounds(what, rounds, contenders.len() * 2, |subject| {
        contenders[subject / 2].sample(subject.is_multiple_of(2))
    })?;
    Ok(series
        .chunks(2)
        .map(|pair| Cost {
            net: pair[1].minus(&pair[0]),
            base: pair[0].clone(),
        })
        .collect())
}
