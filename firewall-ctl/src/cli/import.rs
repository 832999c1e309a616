//! `import`: the rules of another firewall as a policy.

use super::context::Context;
use super::help::after;
use super::policy;
use clap::ValueEnum;
use firewall_api::failure::{Exit, Failure};
use firewall_api::view::SCHEMA;
use firewall_import::{self as import, Effect, ImportError, Imported, LeftOut, Options};
use firewall_system::policy_file::{PolicyFile, STDIN};
use serde::Serialize;
use std::io::{self, Read};
use std::path::PathBuf;

/// Largest text of rules, in bytes.
const LIMIT: u64 = 64 << 20;

/// Rules of one reason that are listed.
const SHOWN: usize = 5;

/// Convert rules of another firewall into a policy
///
/// The policy goes to standard output. What cannot be converted exactly goes to standard error and
/// into comments at the end of the policy, each with the reason and what it does. The exit code is 8
/// if the policy passes more or less than the rules did. Nothing is guessed, and nothing on this
/// machine changes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Source firewall
    #[arg(value_enum, value_name = "FIREWALL")]
    from: From,
    /// Rules file; - reads standard input
    #[arg(value_name = "FILE", required_unless_present = "ip6")]
    file: Option<String>,
    /// IPv6 rules file, if separate
    #[arg(long, value_name = "FILE")]
    ip6: Option<String>,
    /// Output of `ipset save`, for sets in iptables rules
    #[arg(long, value_name = "FILE")]
    ipset: Option<String>,
    /// Convert rules of this interface only
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// Address of this host with prefix length (192.0.2.10/24); repeatable. With it, rules for
    /// forwarded packets are converted too
    #[arg(long, value_name = "ADDRESS")]
    local: Vec<String>,
    /// Output file; must not exist
    #[arg(short = 'O', long, value_name = "OUT.yaml")]
    out: Option<PathBuf>,
}

/// Firewalls whose rules are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum From {
    /// The output of iptables-save, and of ip6tables-save with --ip6
    Iptables,
    /// The output of `nft -j list ruleset`
    Nft,
    /// /etc/ufw/user.rules and with --ip6 user6.rules, or the output of `ufw show added` or
    /// `ufw status verbose`
    Ufw,
}

pub(super) fn help() -> String {
    after(
        &[
            "sudo iptables-save | firewall-ctl import iptables - -O policy.yaml",
            "firewall-ctl import iptables v4.rules --ip6 v6.rules --ipset sets.save -i eth0",
            "sudo nft -j list ruleset | firewall-ctl import nft - --local 192.0.2.10/24 -o json",
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
    let inputs = [&args.file, &args.ip6, &args.ipset];
    let stdin = inputs.iter().filter(|name| name.as_deref() == Some(STDIN));
    if stdin.count() > 1 {
        return Err(
            Failure::new(Exit::Usage, "standard input can be read only once")
                .help("save the rules to files and name those"),
        );
    }
    let [file, ip6, ipset] = inputs.map(|name| name.as_deref().map(read).transpose());
    let options = Options {
        interface: args.interface.clone(),
        local: args.local.clone(),
        ipset: ipset?,
        ..Options::default()
    };
    let (file, ip6) = (file?, ip6?);
    let only_for = |given: bool, option: &str, of: &str| {
        if given {
            let error = Failure::new(Exit::Usage, format!("{option} is for {of}"));
            return Err(error.help("leave it out"));
        }
        Ok(())
    };
    let text = file.as_deref().unwrap_or_default();
    let imported = match args.from {
        From::Iptables => import::iptables(file.as_deref(), ip6.as_deref(), &options),
        From::Nft => {
            only_for(ip6.is_some(), "--ip6", "iptables and ufw")?;
            only_for(options.ipset.is_some(), "--ipset", "iptables")?;
            import::nft(text, &options)
        }
        From::Ufw => {
            only_for(options.ipset.is_some(), "--ipset", "iptables")?;
            import::ufw(text, ip6.as_deref(), &options)
        }
    };
    let imported = imported.map_err(|error| failure(&error))?;
    // What is handed out is a policy, whatever was wrong here.
    policy::compile_text(PolicyFile {
        name: "imported policy".into(),
        text: imported.yaml.clone(),
        base: PathBuf::from("/"),
    })?;
    if let Some(out) = &args.out {
        write(out, &imported.yaml)?;
    }
    show(&imported, args.out.is_none(), context)?;
    Ok(if imported.changes() {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

fn failure(error: &ImportError) -> Failure {
    Failure::new(Exit::Config, error.to_string()).help(&error.help)
}

/// Reads a text of rules.
fn read(name: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Config,
        };
        Failure::new(exit, format!("cannot read {name}: {error}"))
    };
    let mut bytes = Vec::new();
    let size = if name == STDIN {
        io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(name).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
    };
    if size.map_err(failed)? as u64 > LIMIT {
        return Err(Failure::new(
            Exit::Config,
            format!("{name} is larger than 64 MiB"),
        ));
    }
    // What PowerShell redirects to a file.
    if let Some(units) = bytes.strip_prefix(&[0xff, 0xfe]) {
        let units = units
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        return Ok(char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect());
    }
    // Comments of an older host may be Latin-1, of which each byte is a character.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect()))
}

/// Writes the policy into a new file.
fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Privilege,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("cannot write {}: {error}", path.display()))
            .help("existing files are not overwritten: name a new file")
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}

/// `import -o json`.
#[derive(Serialize)]
struct ImportReport<'a> {
    schema: &'static str,
    policy: &'a str,
    left_out: &'a [LeftOut],
    rules: usize,
    exact: usize,
    passes_more: usize,
}

fn show(imported: &Imported, print: bool, context: &Context) -> Result<(), Failure> {
    if !context.format.is_text() {
        let report = ImportReport {
            schema: SCHEMA,
            policy: &imported.yaml,
            left_out: &imported.left_out,
            rules: imported.rules,
            exact: imported.exact,
            passes_more: imported.passes_more(),
        };
        return context.print(&context.format.document(&report, false)?);
    }
    if print {
        context.print_raw(&imported.yaml)?;
    }
    context.note(&format!(
        "{}{}.\npasses more: {}\n",
        list(&imported.left_out),
        imported.summary(),
        imported.passes_more()
    ));
    Ok(())
}

/// What was left out, for people: by effect and reason, the worst first.
fn list(left_out: &[LeftOut]) -> String {
    let mut groups: Vec<(Effect, &str, Vec<&LeftOut>)> = Vec::new();
    for entry in left_out {
        let same = |group: &&mut (Effect, &str, Vec<&LeftOut>)| {
            group.0 == entry.effect && group.1 == entry.reason
        };
        match groups.iter_mut().find(same) {
            Some((.., entries)) => entries.push(entry),
            None => groups.push((entry.effect, &entry.reason, vec![entry])),
        }
    }
    groups.sort_by_key(|(effect, ..)| *effect);
    let mut text = String::new();
    for (effect, reason, entries) in groups {
        text.push_str(&format!("not exactly: {reason}\n  = {}\n", effect.words()));
        for entry in entries.iter().take(SHOWN) {
            text.push_str(&format!("    {}: {}\n", entry.place, entry.text));
        }
        if entries.len() > SHOWN {
            let more = entries.len() - SHOWN;
            text.push_str(&format!("    and {more} more: see the end of the policy\n"));
        }
    }
    text
}
