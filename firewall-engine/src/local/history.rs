//! The history of this host's own firewall, and policies of it compared. To change what is in force by it
//! needs time, and so a daemon.

use super::{Local, failure, nothing_loaded};
use crate::engine::Engine;
use firewall_api::compared::{CompareRequest, Compared, Side};
use firewall_api::failure::Failure;
use firewall_api::history::HistoryReport;
use firewall_api::trial::CheckView;
use firewall_policy::diff::diff;
use firewall_policy::rule::Policy;
use std::path::PathBuf;

impl Local {
    /// An engine that looks for the history where it is kept: where this firewall was told, else where what
    /// is in force has been kept.
    pub(super) fn engine_of_history(&self) -> Engine {
        let of_record = || -> Option<PathBuf> {
            let observed = self.engine().observe().ok()??;
            Some(observed.record.state).filter(|it| !it.as_os_str().is_empty())
        };
        match self.state.clone().or_else(of_record) {
            Some(state) => self.engine().keeping_in(state),
            None => self.engine(),
        }
    }

    pub(super) fn list_generations(&self) -> Result<HistoryReport, Failure> {
        let report = self.engine_of_history().history_report();
        report.map_err(|error| failure(&error))
    }

    /// What is wrong with the history of what is in force.
    pub(super) fn wounds_of_history(&self) -> Vec<CheckView> {
        let engine = self.engine_of_history();
        let Ok(Some(observed)) = engine.observe() else {
            return Vec::new();
        };
        let trouble = engine.history_trouble(Some(observed.record.generation));
        let view = trouble.into_iter().map(|found| CheckView {
            what: "history".to_owned(),
            ok: false,
            found,
            advice: Some(
                "make room, or remove what is damaged; nothing else is affected".to_owned(),
            ),
        });
        view.collect()
    }

    pub(super) fn compare_policies(&self, request: &CompareRequest) -> Result<Compared, Failure> {
        let old = self.side(&request.old)?;
        let new = self.side(&request.new)?;
        Ok(Compared::of(&diff(&old, &new), &old, &new, request.all))
    }

    fn side(&self, side: &Side) -> Result<Policy, Failure> {
        match side {
            Side::InForce => {
                let engine = self.engine();
                match engine.observe() {
                    Ok(None) => Err(nothing_loaded()),
                    _ => engine
                        .policy_in_force()
                        .map(|(policy, _)| policy)
                        .map_err(|error| failure(&error)),
                }
            }
            Side::Generation(number) => self.engine_of_history().policy_of(*number),
            Side::Policy(policy) => Ok(self.compile(policy, false)?.policy),
        }
    }
}
