//! `check`: is a policy valid? Offline, without root.

use super::context::Context;
use super::help::after;
use super::policy::{self, Compiled};
use super::ssh;
use super::table::Table;
use firewall_api::failure::{Exit, Failure};
use firewall_api::format::{bytes, duration};
use firewall_api::network::prefix_of;
use firewall_api::view::SCHEMA;
use firewall_policy::connection::{Connection, Holds, Judge, Part, Sample, Way};
use firewall_policy::diag::Diagnostics;
use firewall_policy::limit::Per;
use firewall_policy::lint::{lets_ssh_in, lint};
use firewall_policy::rule::{Policy, Rule, SELF, SetSize};
use firewall_policy::tables::WorstPacket;
use firewall_system::exposed::exposed_to_daemon;
use firewall_system::policy_file::PolicyFile;
use serde::Serialize;

/// Validate policies, offline and without root
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Policy files or directories; - reads standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Look for rules that do nothing too: shadowed, repeated, contradicted, unreachable or
    /// never matching ones, and an SSH port that nobody reaches. A finding is exit code 1
    #[arg(long)]
    lint: bool,
    /// Load each policy into the kernel's verifier too, without attaching it, and run its tests
    /// there; needs root
    #[arg(long)]
    kernel: bool,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl check /etc/firewall/firewall.yaml",
            "firewall-ctl check --lint rules/*.yaml",
            "generate-policy | firewall-ctl check -",
        ],
        &[
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Config,
            Exit::Privilege,
            Exit::Unreachable,
            Exit::Unsupported,
            Exit::Refused,
        ],
    )
}

/// `check -o json`.
#[derive(Serialize)]
struct CheckReport {
    schema: &'static str,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    policy: String,
    valid: bool,
    rules: Option<usize>,
    table_bytes: Option<usize>,
    tests: Option<usize>,
    warnings: serde_json::Value,
    error: Option<Failure>,
    sets: Vec<SetSize>,
    lint: Option<serde_json::Value>,
    /// Whom it would lock out: a sentence each.
    lock_out: Vec<String>,
    verified_instructions: Option<u32>,
}

/// A valid policy, and what else was asked for.
struct Checked {
    compiled: Compiled,
    lint: Option<Diagnostics>,
    lock_out: Vec<String>,
    verified: Option<u32>,
}

/// Reads, compiles and tests a policy, and what else was asked for.
fn check(name: &str, args: &Args, context: &Context) -> Result<Checked, Failure> {
    let file = PolicyFile::read(name)?;
    let (shown, text) = (file.name.clone(), file.text.clone());
    let compiled = policy::compile_text(file)?;
    let exposed = compiled.exposed.iter();
    let exposed: Vec<String> = exposed
        .map(|what| format!("{what}; `load`, `apply` and `reload` refuse it"))
        .collect();
    context.warn(&exposed);
    if exposed.is_empty() {
        context.warn(&refused_by_daemon(&compiled));
    }
    let lint = args
        .lint
        .then(|| lint(&shown, &text, &compiled.policy, &compiled.tables).findings);
    let mut lock_out = own_session(&compiled);
    // (With the other findings, lint says that, too.)
    if !args.lint && lets_ssh_in(&compiled.policy) == Some(false) {
        lock_out.push("nobody can open an SSH connection: no SYN to tcp/22 passes".to_owned());
    }
    let verified = if args.kernel {
        let verified = context.firewall()?.verify(&compiled.source)?;
        Some(verified.instructions)
    } else {
        None
    };
    Ok(Checked {
        compiled,
        lint,
        lock_out,
        verified,
    })
}

/// The policy's files that are this user's own: whoever runs the daemon does not trust them.
fn refused_by_daemon(compiled: &Compiled) -> Vec<String> {
    let files = compiled.source.files.iter();
    let said = files.filter_map(|file| {
        let why = exposed_to_daemon(&compiled.source.base.join(&file.path))?;
        Some(format!(
            "set file {}: {why}; a daemon of another user refuses it at start and `reload`",
            file.path
        ))
    });
    said.collect()
}

/// The connections by SSH that this command came over and that the policy drops, wherever they come in.
/// Live sets hold what the policy puts there: nothing else is known offline.
fn own_session(compiled: &Compiled) -> Vec<String> {
    let Compiled { policy, tables, .. } = compiled;
    let dropped = |connection: &Connection| {
        let zones = 0..policy.zones.len().max(1) as u32;
        let own = policy.live_set(SELF);
        let own = own.map(|set| (set, prefix_of(connection.to.ip())));
        let holds = Holds {
            members: own.into_iter().collect(),
            ..Holds::default()
        };
        let sample = Sample::of(connection.packet(Part::Opening));
        let judge = Judge::new(policy, tables, [&sample], &holds);
        let all = zones.flat_map(|zone| {
            let way = Way {
                zone,
                ..Way::default()
            };
            judge.judge(&sample, &way, &policy.macs)
        });
        let mut opening = all.peekable();
        let by = opening.peek()?.by.clone();
        opening.all(|judged| !judged.passes).then(|| {
            format!(
                "it would cut your own connection: {} is dropped by {by}",
                connection.packet(Part::Opening)
            )
        })
    };
    match ssh::connections() {
        Ok(own) => own.iter().filter_map(dropped).collect(),
        Err(ssh::Unclear) => vec![
            "whether it would cut your own connection cannot be told: which one you use is not known"
                .to_owned(),
        ],
    }
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    let mut files = Vec::new();
    for name in &args.files {
        let result = check(name, args, context);
        let code = match &result {
            Err(failure) => failure.exit_code,
            Ok(Checked { lint, .. }) if lint.as_ref().is_some_and(|f| !f.is_empty()) => {
                Exit::Failed
            }
            Ok(_) => Exit::Ok,
        };
        // Of several, the first failure's code.
        if exit == Exit::Ok {
            exit = code;
        }
        if context.format.is_text() {
            match result {
                Ok(checked) => show(name, &checked, context)?,
                Err(failure) => context.complain(&failure),
            }
        } else {
            files.push(report(name, result));
        }
    }
    if !context.format.is_text() {
        context.print(&context.format.document(
            &CheckReport {
                schema: SCHEMA,
                files,
            },
            false,
        )?)?;
    }
    Ok(exit)
}

/// Whom a rule can ban, in a line; `None` if nobody.
fn ban_line(rule: &Rule, policy: &Policy) -> Option<String> {
    let limit = rule.limit.as_ref()?;
    let (time, Per::Source(lengths)) = (limit.ban?, limit.per) else {
        return None;
    };
    let name = &rule.name;
    if policy.audit || rule.audit.is_some() {
        return Some(format!("the rule `{name}` never bans: it is in audit mode"));
    }
    let exempt = match policy.exempt.is_empty() {
        true => "",
        false => ", nor addresses in `exempt`",
    };
    Some(format!(
        "the rule `{name}` can ban for {}: a source (/{} of IPv4, /{} of IPv6) whose TCP packets are over \
         its limit, if it has completed a TCP connection within the last hour; never an address of this \
         host, its gateways, its resolvers, fe80::/10{exempt}",
        duration(time as f64),
        lengths.v4,
        lengths.v6
    ))
}

fn show(name: &str, checked: &Checked, context: &Context) -> Result<(), Failure> {
    let compiled = &checked.compiled;
    if !context.quiet && !compiled.warnings.list.is_empty() {
        context.complain_about(&compiled.warnings);
    }
    if let Some(findings) = &checked.lint
        && !findings.is_empty()
    {
        context.complain_about(findings);
    }
    context.warn(&checked.lock_out);
    context.say(&summary(name, checked, context))?;
    if checked.lint.is_some() {
        for rule in compiled.policy.rules.iter().filter(|rule| rule.enabled) {
            if let Some(line) = ban_line(rule, &compiled.policy) {
                context.say(&line)?;
            }
        }
    }
    if context.verbose > 0 {
        show_sizes(checked, context)?;
    }
    Ok(())
}

/// `firewall.yaml: valid, 12 rules, default drop, tables 4.2 kB, 3 tests hold`.
fn summary(name: &str, checked: &Checked, context: &Context) -> String {
    let compiled = &checked.compiled;
    let rules = compiled
        .policy
        .rules
        .iter()
        .filter(|rule| rule.enabled)
        .count();
    let size = bytes(compiled.tables.bytes.len() as u64, context.numbers);
    let tests = match compiled.tests.len() {
        0 => String::new(),
        1 => ", 1 test holds".to_owned(),
        n => format!(", {n} tests hold"),
    };
    let lint = match checked.lint.as_ref().map(Diagnostics::count) {
        None => String::new(),
        Some(0) => ", lint finds nothing".to_owned(),
        Some(1) => ", lint: 1 finding".to_owned(),
        Some(n) => format!(", lint: {n} findings"),
    };
    let verified = match checked.verified {
        Some(n) => format!(", verified by the kernel ({n} instructions)"),
        None => String::new(),
    };
    let audit = match compiled
        .policy
        .rules
        .iter()
        .filter(|rule| rule.enabled && rule.audit.is_some())
        .count()
    {
        _ if compiled.policy.audit => " (AUDIT: nothing is dropped)".to_owned(),
        0 => String::new(),
        n => format!(" ({n} in audit mode)"),
    };
    format!(
        "{name}: valid, {rules} {}{audit}, default {}, tables {size}{tests}{lint}{verified}",
        if rules == 1 { "rule" } else { "rules" },
        compiled.policy.default_verdict
    )
}

/// Sets, the worst packet, and the tables.
fn show_sizes(checked: &Checked, context: &Context) -> Result<(), Failure> {
    let compiled = &checked.compiled;
    for set in &compiled.sets {
        context.say(&set_line(set))?;
    }
    for (family, worst) in ["IPv4", "IPv6"].iter().zip(&compiled.tables.worst) {
        if worst.rounds > 0 {
            context.say(&worst_line(family, worst))?;
        }
    }
    let mut table = Table::new(&["TABLE", ">ENTRIES", ">BYTES"]);
    for line in &compiled.tables.report {
        table.row([
            line.what.clone(),
            line.entries.to_string(),
            line.bytes.to_string(),
        ]);
    }
    if !table.is_empty() {
        context.print(&table.render())?;
    }
    Ok(())
}

/// `set blocked: 1000000 entries, 998123 after folding`.
fn set_line(set: &SetSize) -> String {
    format!(
        "set {}: {} {}, {} after folding",
        set.name,
        set.entries,
        if set.entries == 1 { "entry" } else { "entries" },
        set.ranges
    )
}

/// `worst IPv4 packet: up to 3 rounds of the walk, 57 reads, 2 rules on its way (1 limited, 1 counting)`.
fn worst_line(family: &str, worst: &WorstPacket) -> String {
    let plural = |n: u32| if n == 1 { "" } else { "s" };
    let passed = &worst.passed;
    let kinds = [
        (passed.limited, "limited"),
        (passed.logged, "logged"),
        (passed.expiring, "expiring"),
        (passed.audited, "audited"),
        (passed.counting, "counting"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    let way = match passed.most {
        0 => "no rule on its way".to_owned(),
        n if passed.exact => format!("{n} rule{} on its way ({})", plural(n), kinds.join(", ")),
        n => format!("at most {n} rules on its way"),
    };
    format!(
        "worst {family} packet: up to {} round{} of the walk, {} reads, {way}",
        worst.rounds,
        plural(worst.rounds),
        worst.reads,
    )
}

fn report(name: &str, result: Result<Checked, Failure>) -> FileReport {
    match result {
        Ok(Checked {
            compiled,
            lint,
            lock_out,
            verified,
        }) => FileReport {
            policy: name.to_owned(),
            valid: true,
            rules: Some(
                compiled
                    .policy
                    .rules
                    .iter()
                    .filter(|rule| rule.enabled)
                    .count(),
            ),
            table_bytes: Some(compiled.tables.bytes.len()),
            tests: Some(compiled.tests.len()),
            warnings: serde_json::to_value(&compiled.warnings).unwrap_or_default(),
            error: None,
            sets: compiled.sets,
            lint: lint.map(|findings| serde_json::to_value(findings).unwrap_or_default()),
            lock_out,
            verified_instructions: verified,
        },
        Err(failure) => FileReport {
            policy: name.to_owned(),
            valid: false,
            rules: None,
            table_bytes: None,
            tests: None,
            warnings: serde_json::Value::Array(Vec::new()),
            error: Some(failure),
            sets: Vec::new(),
            lint: None,
            lock_out: Vec::new(),
            verified_instructions: None,
        },
    }
}
