//! Rounds and their statistics.
//!
//! All subjects of a contest run once in each round, one after the other, so that what disturbs
//! the machine for a while disturbs all of them. Ratios are taken inside a round.

use crate::{machine, stop};
use anyhow::Result;

/// The values of one subject, one for each round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series(pub(crate) Vec<f64>);

impl Series {
    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// Median of the distances from the median: half of all values lie closer.
    pub(crate) fn spread(&self) -> f64 {
        let middle = self.median();
        median(
            &self
                .0
                .iter()
                .map(|value| (value - middle).abs())
                .collect::<Vec<_>>(),
        )
    }

    /// This minus the other, round by round.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    /// This over the other, round by round.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    fn with(&self, other: &Self, what: impl Fn(f64, f64) -> f64) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(&a, &b)| what(a, b))
                .collect(),
        )
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Runs `subjects` subjects for `rounds` rounds. `sample` gives the value of the subject with a
/// number; the first round warms up and is not counted.
pub(crate) fn rounds(
    what: &str,
    rounds: usize,
    subjects: usize,
    mut sample: impl FnMut(usize) -> Result<f64>,
) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); subjects];
    let _one_cpu = machine::OneCpu::enter()?;
    for round in 0..=rounds {
        eprint!("\r  {what}: round {round} of {rounds} ");
        for step in 0..subjects {
            stop::check()?;
            // Every other round backwards: nobody always runs behind the same neighbour.
            let subject = if round % 2 == 0 {
                step
            } else {
                subjects - 1 - step
            };
            let value = sample(subject)?;
            if round > 0 {
                series[subject].0.push(value);
            }
        }
    }
    eprintln!();
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_few_values() {
        let series = Series(vec![5.0, 1.0, 9.0, 4.0]);
        assert_eq!((series.median(), series.spread()), (4.5, 2.0));
        assert_eq!(Series(vec![3.0]).spread(), 0.0);
        let other = Series(vec![1.0, 1.0, 3.0, 2.0]);
        assert_eq!(series.minus(&other).0, [4.0, 0.0, 6.0, 2.0]);
        assert_eq!(series.over(&other).0, [5.0, 1.0, 3.0, 2.0]);
    }

    #[test]
    fn every_subject_runs_once_a_round_and_the_first_round_does_not_count() {
        let mut order = Vec::new();
        let series = rounds("test", 2, 3, |subject| {
            order.push(subject);
            Ok(order.len() as f64)
        })
        .unwrap();
        assert_eq!(order, [0, 1, 2, 2, 1, 0, 0, 1, 2]);
        assert_eq!(series[0].0, [6.0, 7.0]);
        assert_eq!(series[2].0, [4.0, 9.0]);
    }
}
