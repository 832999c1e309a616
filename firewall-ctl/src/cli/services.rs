//! `services`: the names that stand for ports, and the folder that adds to them.

use super::context::Context;
use super::help::after;
use super::table::Table;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_policy::services::{Catalogue, Service};
use serde_json::json;
use std::path::Path;

/// Services in files that are larger have something else in them.
const LARGEST: u64 = 1 << 20;

/// List services: names that stand for ports in allow, deny, limit and reject
///
/// Files in /etc/firewall/services.d that end in .yaml add services or replace them. Those that a policy
/// may name as well are marked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only services whose name holds this word
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// `services`, with a name or without.
pub(super) fn listed(name: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    let name = name.map(str::to_owned);
    run(&Args { name }, context)
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl services",
            "firewall-ctl services nginx",
            "firewall-ctl services -o json",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage, Exit::Config],
    )
}

/// All services of this host.
pub(super) fn catalogue(context: &Context) -> Result<Catalogue, Failure> {
    let mut catalogue = Catalogue::builtin();
    for path in files(&context.services)? {
        let name = path.display().to_string();
        let failed = |error: &std::io::Error| {
            Failure::new(Exit::Config, format!("cannot read {name}: {error}"))
                .help("make it readable, or take it away")
        };
        let size = std::fs::metadata(&path)
            .map_err(|error| failed(&error))?
            .len();
        if size > LARGEST {
            return Err(Failure::new(
                Exit::Config,
                format!("{name} has {size} bytes; a file of services has {LARGEST} at most"),
            )
            .help("split it"));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
        catalogue
            .add(&name, &text)
            .map_err(|findings| Failure::policy(&findings))?;
    }
    Ok(catalogue)
}

/// The files of the folder, in the order of their names; none without the folder.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let what = format!("cannot read {}: {error}", folder.display());
            return Err(Failure::new(Exit::Config, what).help("make it readable"));
        }
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_file = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "yaml");
    let mut paths: Vec<_> = paths.filter(is_file).collect();
    paths.sort();
    Ok(paths)
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let catalogue = catalogue(context)?;
    let wanted = args.name.as_deref().unwrap_or_default().to_lowercase();
    let found: Vec<&Service> = catalogue
        .all()
        .filter(|service| service.name.to_lowercase().contains(&wanted))
        .collect();
    if found.is_empty() {
        let near = catalogue.nearest(&wanted);
        let help = near.map_or_else(
            || "list them: firewall-ctl services".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let what = format!("there is no service called `{wanted}`");
        return Err(Failure::new(Exit::Failed, what).help(help));
    }
    let ports = |service: &Service| -> Vec<String> {
        service.ports.iter().map(ToString::to_string).collect()
    };
    if !context.format.is_text() {
        let list: Vec<_> = found
            .iter()
            .map(|service| {
                json!({
                    "name": service.name,
                    "ports": ports(service),
                    "in_policies": service.is_builtin,
                    "comment": service.comment,
                    "file": service.file,
                })
            })
            .collect();
        let document = json!({ "schema": SCHEMA, "services": list });
        context.print(&context.format.document(&document, false)?)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["SERVICE", "PORTS", "IN POLICIES", "COMMENT"]);
    for service in found {
        let comment = match service.file.as_str() {
            "" => service.comment.clone(),
            file if service.comment.is_empty() => file.to_owned(),
            file => format!("{} ({file})", service.comment),
        };
        table.row([
            service.name.clone(),
            ports(service).join(" "),
            if service.is_builtin { "yes" } else { "no" }.to_owned(),
            comment,
        ]);
    }
    context.print(&table.render())?;
    Ok(Exit::Ok)
}
