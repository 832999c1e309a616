//! `cargo xtask vm`: the kernel tests on other kernels than this machine's. Debian's own kernels,
//! each booted by qemu with the test programs in its initramfs.
//!
//! Software emulation by default, because it works everywhere; it takes a few minutes a kernel.
//! Writes below `target/vm` only, installs nothing but qemu, and the guest has no disk and no
//! network.
//!
//! Invariant: success means that every test ran on every kernel that was asked for, and passed.

mod archive;
mod cards;
mod guest;
mod initramfs;

#[cfg(test)]
pub(crate) use cards::FILE as CARDS_FILE;

use crate::setup::{self, Need};
use crate::test::{self, programs};
use crate::{build, process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use guest::GuestReport;
use initramfs::Program;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which kernel to boot: all, if nothing is said, with --short 6.1
    #[arg(long, value_enum)]
    kernel: Option<Choice>,
    /// Evasion and fuzzed frames only: a few minutes, downloads included
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// Also the tests that take very long in emulation, and those that open sockets
    #[arg(long)]
    long: bool,
    /// Network cards with drivers of their own, on the kernel for machines: Linux 6.12, if --kernel says
    /// nothing
    #[arg(long, conflicts_with_all = ["short", "long"])]
    cards: bool,
    /// Download the kernels anew, to get those of today
    #[arg(long)]
    fetch: bool,
    /// Use the processor's virtualisation (/dev/kvm) in place of software emulation
    #[arg(long)]
    kvm: bool,
    /// How long one kernel may take, in minutes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..600))]
    minutes: u64,
    /// Only tests whose name, as `file::test`, contains one of these; `verifier_table` measures what the
    /// verifier needs
    filter: Vec<String>,
}

/// The kernels by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Choice {
    /// Debian 12: the oldest kernel that the firewall supports
    #[value(name = "6.1")]
    Oldest,
    /// Debian 13
    #[value(name = "6.12")]
    Stable,
    /// The newest that Debian carries in any of its suites
    Newest,
    /// All three
    All,
}

impl Choice {
    /// Debian's suites in which the kernel is looked for; the highest version is taken.
    const fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Oldest => &["bookworm"],
            Self::Stable => &["trixie"],
            Self::Newest | Self::All => &["trixie-backports", "stable-backports", "sid"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Oldest => "6.1",
            Self::Stable => "6.12",
            Self::Newest | Self::All => "newest",
        }
    }
}

/// How many frames a test goes through in a guest, which is ten to thirty times slower than this
/// machine.
const FRAMES: &str = "FIREWALL_FRAMES=2000";

/// Programs of this machine that the tests call. (The rest comes from busybox.)
const TOOLS: [&str; 6] = ["ip", "nsenter", "prlimit", "setpriv", "tc", "unshare"];

/// Files that tests read where they were compiled, below the source tree.
const DATA: [&str; 4] = [
    "docs/verifier.md",
    "rules",
    "tests/corpus",
    "tests/tests/snapshots",
];

/// The tests of `--short`.
const SHORT: [&str; 2] = ["kernel_evasion", "kernel_frames"];

/// Tests of speed and of very large sets, for which emulation is too slow; and one that
/// [`VERIFIER`] stands for.
const LONG: [&str; 5] = [
    "kernel_bench",
    "kernel_classbench",
    "kernel_large_sets",
    "kernel_random",
    "kernel_verifier",
];

/// The example that prints what the verifier needs for every feature; here it counts as a test.
const VERIFIER: &str = "verifier_table";

/// Boots the kernels, and prints what became of the tests on each.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("cargo xtask vm boots x86-64 kernels only, and runs this machine's programs in them");
    }
    let tools = setup::ensure(workspace, Need::Vm)?;
    if args.cards {
        setup::offer(cards::TOOLS);
    }
    build::all(workspace, &tools, false)?;
    let tests = build_tests(workspace, args)?;
    let mut data: Vec<PathBuf> = DATA.iter().map(|name| workspace.root.join(name)).collect();
    data.push(tests.object.clone());

    let choices = match (args.short, args.kernel) {
        (_, None) if args.cards => vec![Choice::Stable],
        (true, None) => vec![Choice::Oldest],
        (false, None) | (_, Some(Choice::All)) => {
            vec![Choice::Oldest, Choice::Stable, Choice::Newest]
        }
        (_, Some(one)) => vec![one],
    };
    let mut reports = Vec::new();
    for choice in choices {
        let (version, report) = run(workspace, args, choice, (&tests, &data, &tools.objcopy))?;
        reports.push((choice.name(), version, report));
    }
    print(&reports);
    Ok(if reports.iter().all(|(_, _, report)| report.is_good()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Boots one kernel with the tests, the data that they read, and without the debug information of programs:
/// its version, and what became of them.
fn run(
    workspace: &Workspace,
    args: &Args,
    choice: Choice,
    (tests, data, objcopy): (&Tests, &[PathBuf], &Path),
) -> Result<(String, GuestReport)> {
    let (meta, place) = match args.cards {
        true => (archive::FULL, format!("cards-{}", choice.name())),
        false => (archive::CLOUD, choice.name().to_owned()),
    };
    let folder = workspace.target.join("vm").join(place);
    let kernel = archive::kernel(&folder, meta, choice.suites(), args.fetch)
        .with_context(|| format!("getting the {} kernel", choice.name()))?;
    println!("{}: Debian's {}", choice.name(), kernel.version);
    let image = kernel.folder.join("initramfs.cpio");
    let (variables, devices) = match args.cards {
        true => ("", cards::devices()),
        false => (FRAMES, Vec::new()),
    };
    let mut modules = Vec::new();
    if args.cards {
        modules.extend(cards::MODULES);
    }
    modules.extend(guest::MODULES);
    let mut programs = tests.programs.clone();
    programs.push(Program::new(
        "/host/firewall-ctl",
        workspace.programs(false).join("firewall-ctl"),
    ));
    let more = if args.cards { cards::TOOLS } else { &[] };
    for name in TOOLS.iter().chain(more.iter().map(|(name, _)| name)) {
        let path = process::find(name).with_context(|| format!("{name} is not installed"))?;
        programs.push(Program::new(format!("/host/{name}"), path));
    }
    initramfs::Content {
        init: guest::init(&workspace.root, &tests.files, variables),
        busybox: &kernel.busybox,
        programs: &programs,
        modules: &kernel.modules(&modules)?,
        data,
        objcopy,
    }
    .write(&image)
    .with_context(|| format!("writing {}", image.display()))?;
    let machine = guest::Machine {
        kvm: args.kvm,
        devices: &devices,
        limit: Duration::from_secs(args.minutes * 60),
    };
    let report = guest::boot(&kernel.image, &image, &machine)?;
    Ok((kernel.version, report))
}

/// What was built to run in the guest.
struct Tests {
    programs: Vec<Program>,
    /// By the file that they stand in.
    files: Vec<guest::Tests>,
    /// Folder of the BPF object that is inside the programs: some tests read it.
    object: PathBuf,
}

/// Whether the tests of a file are wanted.
fn is_wanted(file: &str, args: &Args) -> bool {
    match (args.short, args.long) {
        _ if args.cards => file == cards::FILE,
        _ if args.filter.iter().any(|word| word == file) => true,
        (true, _) => SHORT.contains(&file),
        (_, true) => !file.starts_with("long_"),
        _ => file.starts_with("kernel_") && !LONG.contains(&file),
    }
}

/// Builds the test programs that need root, and finds the tests that are wanted in them.
fn build_tests(workspace: &Workspace, args: &Args) -> Result<Tests> {
    let is_named = |name: &str| args.filter.iter().any(|word| name.contains(word.as_str()));
    let targets = programs::targets(workspace)?;
    let needed = |name: &&String| match args.cards {
        true => *name == cards::PROGRAM,
        false => programs::needs_root(name),
    };
    let mut words = Vec::new();
    for name in targets.iter().filter(needed) {
        words.extend(["--test", name]);
    }
    let built = programs::build(workspace, &words)?;
    let (mut programs, mut files) = (Vec::new(), Vec::<guest::Tests>::new());
    let mut left_out = BTreeSet::new();
    for program in &built.programs {
        let to = format!("/tests/{}", program.target);
        for one in program.tests()? {
            if !is_wanted(&one.module, args) {
                left_out.insert(one.module);
            } else if args.filter.is_empty() || is_named(&one.title()) {
                match files.last_mut().filter(|file| file.name == one.module) {
                    Some(file) => file.tests.push(one.name),
                    None => files.push(guest::Tests {
                        name: one.module,
                        program: to.clone(),
                        tests: vec![one.name],
                    }),
                }
            }
        }
        programs.push(Program::new(to, program.file.clone()));
    }
    programs.retain(|program| files.iter().any(|file| file.program == program.to));
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let left_out: Vec<String> = left_out.into_iter().collect();
    println!("left out: {}", test::list(&left_out));
    let is_asked_for = |word: &String| VERIFIER.contains(word.as_str());
    if !args.short
        && !args.cards
        && (args.filter.is_empty() || args.filter.iter().any(is_asked_for))
    {
        let mut cargo = process::host_cargo();
        cargo.current_dir(&workspace.root);
        process::run(cargo.args([
            "build",
            "--package",
            "firewall-tests",
            "--example",
            VERIFIER,
        ]))?;
        let to = format!("/tests/{VERIFIER}");
        let from = workspace.programs(false).join("examples").join(VERIFIER);
        programs.push(Program::new(to.clone(), from));
        files.push(guest::Tests {
            name: VERIFIER.to_owned(),
            program: to,
            tests: Vec::new(),
        });
    }
    if files.is_empty() {
        bail!("no kernel test was built");
    }
    Ok(Tests {
        programs,
        files,
        object: built
            .object
            .context("cargo names no output folder of firewall-engine")?,
    })
}

/// The table: a row for each kernel and test program, and what did not pass.
fn print(reports: &[(&str, String, GuestReport)]) {
    let mut rows = Vec::new();
    for (name, version, report) in reports {
        for run in &report.runs {
            let seconds = run.seconds.map_or("-".to_owned(), |s| format!("{s} s"));
            rows.push([
                (*name).to_owned(),
                run.name.clone(),
                run.passed.to_string(),
                run.failed.len().to_string(),
                seconds,
            ]);
        }
        rows.push([
            (*name).to_owned(),
            format!("all, on {version}"),
            report.passed().to_string(),
            report.failed().to_string(),
            format!("{} s", report.seconds),
        ]);
    }
    println!();
    setup::print_table(["KERNEL", "TESTS", "PASSED", "FAILED", "TIME"], &rows);

    let mut verified: Vec<[String; 3]> = Vec::new();
    for (name, _, report) in reports {
        for (what, instructions) in &report.verified {
            verified.push([(*name).to_owned(), what.clone(), instructions.clone()]);
        }
    }
    if !verified.is_empty() {
        println!();
        setup::print_table(["KERNEL", "POLICY", "INSTRUCTIONS VERIFIED"], &verified);
    }
    for (name, _, report) in reports {
        for complaint in report.complaints() {
            println!("error: {name}: {complaint}");
        }
    }
    let passed: u64 = reports.iter().map(|(_, _, report)| report.passed()).sum();
    let failed: u64 = reports.iter().map(|(_, _, report)| report.failed()).sum();
    println!("{passed} passed, {failed} failed");
}

/// A folder that is there and empty.
fn empty_folder(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| path.display().to_string())?;
    }
    std::fs::create_dir_all(path).with_context(|| path.display().to_string())
}

/// `dpkg-deb`, `xz` and the like: run quietly, with an error that says what was run.
fn quietly(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    process::capture(Command::new(program).args(arguments)).map(drop)
}
