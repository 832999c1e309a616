//! `fmt`: a policy in its canonical form.

use super::context::Context;
use super::help::after;
use super::policy;
use firewall_api::failure::{Exit, Failure};
use firewall_policy::bundle::parts;
use firewall_policy::fmt::canonical;
use firewall_system::policy_file::{PolicyFile, STDIN};
use firewall_system::whole_file;
use std::path::Path;

/// Format a policy; comments are kept
///
/// Sections and keys are ordered, short entries go on one line. The meaning is kept; an invalid
/// file is refused.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy file or directory; - reads standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Rewrite files in place
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
    /// List unformatted files; exit code 8 if there are any
    #[arg(long)]
    check: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl fmt rules/web-server.yaml",
            "firewall-ctl fmt --write /etc/firewall/firewall.yaml",
            "sudo firewall-ctl get policy | firewall-ctl fmt -",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Changes,
        ],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    if args.write && args.file == STDIN {
        return Err(
            Failure::new(Exit::Usage, "standard input cannot be rewritten")
                .help("omit --write: the result goes to standard output"),
        );
    }
    let file = PolicyFile::read(&args.file)?;
    let (name, text) = (file.name.clone(), file.text.clone());
    if args.write && parts(&text).len() > 1 && !Path::new(&name).is_dir() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name} holds several files in one and cannot be replaced"),
        )
        .help("name the directory that they come from, or omit --write"));
    }
    let before = policy::compile_text(file.clone())?;
    let written = canonical(&name, &text).map_err(|findings| Failure::policy(&findings))?;
    // Nobody's policy is replaced by another one, whatever was wrong here.
    let again = PolicyFile {
        text: written.clone(),
        ..file
    };
    if policy::compile_text(again)?.tables.bytes != before.tables.bytes {
        return Err(Failure::new(
            Exit::Failed,
            format!("{name}: formatting would change the meaning"),
        )
        .help("this is a bug of the firewall: please report it with the policy")
        .outcome("nothing written"));
    }
    if !args.write && !args.check {
        context.print_raw(&written)?;
        return Ok(Exit::Ok);
    }
    let pairs = parts(&text).into_iter().zip(parts(&written));
    for (_, after) in pairs.filter(|(before, after)| before.text != after.text) {
        let file = match after.path {
            "" => name.clone(),
            path => Path::new(&name).join(path).display().to_string(),
        };
        if args.check {
            context.print(&format!("{file}\n"))?;
        } else {
            replace(&file, after.text)?;
            context.say(&format!("{file}: written"))?;
        }
    }
    Ok(if args.check && written != text {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

/// Replaces a file as a whole: by a new one that takes its name, its permissions and its owner.
pub(super) fn replace(path: &str, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot write {path}: {error}"))
    };
    let path = std::fs::canonicalize(path).map_err(failed)?;
    whole_file::replace(&path, text.as_bytes(), 0o644).map_err(failed)
}
