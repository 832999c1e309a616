//! What is asked of this host's own firewall alone: loading and unloading without a daemon, and whether
//! the machine can filter.

use super::{Local, failure};
use crate::engine::{Applied, Engine, Guard, Origin, Request, Scope, Stage};
use firewall_api::audit::{Asked, Recorded as _};
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::Host;
use firewall_api::report::{ApplyReport, UnloadReport};
use firewall_api::request::LoadRequest;
use firewall_api::trial::{CheckView, DoctorReport, DoctorRequest};
use firewall_api::view::SCHEMA;
use firewall_system::file_store::FileStore;
use firewall_system::process;
use firewall_system::set_files::Kept;

impl Host for Local {
    fn load(&self, request: &LoadRequest) -> Result<ApplyReport, Failure> {
        let mut request = request.clone();
        request.told(&process::own());
        self.on_record(&request.asked(), || self.put_in_force(&request))
    }

    fn unload(&self, interfaces: Option<&[String]>) -> Result<UnloadReport, Failure> {
        let subject = interfaces.map_or("all".to_owned(), |names| names.join(", "));
        let asked = Asked {
            verb: "unload",
            subject,
            why: None,
        };
        self.on_record(&asked, || {
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

/// Puts the newest confirmed policy in force in the place of one that cannot be, or was not confirmed.
fn confirmed_instead(
    engine: &mut Engine,
    wanted: &Request,
    why: Failure,
) -> Result<Applied, Failure> {
    // What is in force is better than what was.
    if !matches!(engine.observe(), Ok(None)) {
        return Err(why);
    }
    let adapted = |request: Request| Request {
        interfaces: match wanted.interfaces.is_empty() {
            true => request.interfaces,
            false => wanted.interfaces.clone(),
        },
        mode: wanted.mode,
        ..request
    };
    let Ok((mut applied, number)) = engine.go_back(None, &wanted.origin, adapted) else {
        return Err(why);
    };
    applied.warnings.insert(
        0,
        format!(
            "{} is not loaded: {}; the policy of generation {number}, the newest confirmed one, is",
            wanted.policy_path,
            why.line()
        ),
    );
    Ok(applied)
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
        if let Ok(Some(observed)) = engine.observe()
            && request.unreadable.is_none()
        {
            observed
                .record
                .keep_runtime_rules(&policy.text, request.discard_runtime)?;
        }
        let wanted = Request {
            policy_path: policy.path.clone(),
            policy_text: policy.text.clone(),
            base: policy.base.clone(),
            // What is in force can be asked later, whatever becomes of its files.
            kept: Some(Kept {
                store: FileStore::new(&engine.state().join("files")),
                named: None,
            }),
            interfaces: request.interfaces.clone(),
            mode: request.mode,
            replace: request.replace,
            scope: Scope::Present,
            of: None,
            guard: Guard::of_request(request.session.clone(), request.i_know),
            is_change: false,
            origin: Origin {
                verb: "load",
                asker: request.asker.clone(),
                why: request.why.clone(),
                stage: match request.or_confirmed {
                    true => Stage::Start,
                    false => Stage::Stays,
                },
                restores: None,
            },
        };
        let applied = match &request.unreadable {
            Some(why) => Err((true, why.clone())),
            None => engine
                .apply(&wanted)
                .map_err(|error| (error.is_of_policy(), failure(&error))),
        };
        let applied = match applied {
            Err((true, why)) if request.or_confirmed => {
                confirmed_instead(&mut engine, &wanted, why)
            }
            applied => applied.map_err(|(_, why)| why),
        }?;
        if let Ok(Some(observed)) = engine.observe() {
            engine.prune_files(&observed.record);
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
        let mut checks: Vec<CheckView> = view.collect();
        checks.extend(self.wounds_of_history());
        Ok(DoctorReport {
            schema: SCHEMA.to_owned(),
            checks,
            selftest: None,
        })
    }
}
