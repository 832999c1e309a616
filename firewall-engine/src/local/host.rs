//! What is asked of this host's own firewall alone: loading and unloading without a daemon, and whether
//! the machine can filter.

use super::{Local, failure};
use crate::engine::{Guard, Request, Scope};
use firewall_api::audit::{Asked, Recorded as _};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Host;
use firewall_api::report::{ApplyReport, UnloadReport};
use firewall_api::request::LoadRequest;
use firewall_api::trial::{CheckView, DoctorReport, DoctorRequest};
use firewall_api::view::SCHEMA;
use firewall_system::file_store::FileStore;
use firewall_system::set_files::Kept;

impl Host for Local {
    fn load(&self, request: &LoadRequest) -> Result<ApplyReport, Failure> {
        self.on_record(&request.asked(), || self.put_in_force(request))
    }

    fn unload(&self, interfaces: Option<&[String]>) -> Result<UnloadReport, Failure> {
        let subject = interfaces.map_or("all".to_owned(), |names| names.join(", "));
        let verb = "unload";
        self.on_record(&Asked { verb, subject }, || {
            let before = self.engine().observe().ok().flatten();
            let unloaded = self.engine().unload(interfaces);
            Ok(UnloadReport {
                schema: SCHEMA.to_owned(),
                unloaded: unloaded.map_err(|error| failure(&error))?,
                before: before.map(|it| it.record.generation),
                warnings: Vec::new(),
            })
        })
    }
}

impl Local {
    fn put_in_force(&self, request: &LoadRequest) -> Result<ApplyReport, Failure> {
        let mut engine = self.engine();
        if engine.has_keeper() {
            return Err(Failure::new(
                Exit::Refused,
                "a daemon keeps what is pinned there, by whatever socket it listens",
            )
            .help("apply the policy by the daemon (`--socket`), or stop the daemon first"));
        }
        let LoadRequest { policy, .. } = request;
        if let Ok(Some(observed)) = engine.observe() {
            observed
                .record
                .keep_runtime_rules(&policy.text, request.discard_runtime)?;
        }
        // What is in force can be asked later, whatever becomes of its files.
        let store = FileStore::new(&engine.state().join("files"));
        let wanted = Request {
            policy_path: policy.path.clone(),
            policy_text: policy.text.clone(),
            base: policy.base.clone(),
            kept: Some(Kept {
                store: store.clone(),
                named: None,
            }),
            interfaces: request.interfaces.clone(),
            mode: request.mode,
            replace: request.replace,
            scope: Scope::Present,
            of: None,
            guard: Guard::of_request(request.session.clone(), request.i_know),
            is_change: false,
        };
        let applied = engine.apply(&wanted).map_err(|error| failure(&error))?;
        if let Ok(Some(observed)) = engine.observe() {
            store.prune(&observed.record.files);
        }
        Ok(ApplyReport::new(&policy.path, applied))
    }

    pub(super) fn examine(&self, request: &DoctorRequest) -> Result<DoctorReport, Failure> {
        let checks = self.engine().health(&request.interfaces);
        let checks = checks.map_err(|error| failure(&error))?.into_iter();
        let view = checks.map(|check| CheckView {
            what: check.what,
            ok: check.ok,
            found: check.found,
            advice: check.advice,
        });
        Ok(DoctorReport {
            schema: SCHEMA.to_owned(),
            checks: view.collect(),
            selftest: None,
        })
    }
}
