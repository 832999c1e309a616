//! `cargo xtask demo`: the real filter on a real interface, with real traffic, in two network
//! namespaces of its own; at the end the firewall's counters are held against what was sent.
//!
//! Invariant: whatever happens, errors and Ctrl-C included, nothing it made stays on the machine;
//! exit 0 only if every count agrees and the traffic fared as the policy says.

use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{build, process};
use anyhow::{Context, Result, bail, ensure};
use netns::{INTERFACE, Stage};
use report::Counted;
use server::Server;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tap::{Sent, Tap};
use traffic::Outcome;

mod netns;
mod report;
mod server;
mod tap;
mod traffic;

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Plain lines even on a terminal
    #[arg(long)]
    plain: bool,
    /// Use the programs as they are built
    #[arg(long, hide = true)]
    no_build: bool,
}

/// Sets up, builds, and runs the demo as root.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    if !args.no_build {
        let tools = setup::ensure(workspace, Need::Kernel)?;
        build::all(workspace, &tools, false)?;
    }
    if !process::is_root() {
        return again_as_root(workspace, args);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("handling signals")?;
    }
    match perform(workspace, args, &stop) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(_) if stop.load(Ordering::Relaxed) => {
            eprintln!("interrupted; everything that the demo made is removed");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

/// Network namespaces need root; the build did not.
fn again_as_root(workspace: &Workspace, args: &Args) -> Result<ExitCode> {
    let mut command = process::as_root("env");
    // Where the sources are, which sudo would not hand on.
    command.arg(format!(
        "CARGO_MANIFEST_DIR={}",
        workspace.root.join("xtask").display()
    ));
    command
        .arg(std::env::current_exe()?)
        .args(["demo", "--no-build"]);
    if args.plain {
        command.arg("--plain");
    }
    println!("the demo makes network namespaces and loads a kernel program, as root:");
    println!("+ {}", process::display(&command));
    let code = command.status().context("cannot start sudo")?.code();
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn perform(workspace: &Workspace, args: &Args, stop: &Arc<AtomicBool>) -> Result<()> {
    netns::sweep();
    println!("\n== two network namespaces, joined by a veth pair; nothing else is touched ==");
    let stage = Stage::build()?;
    // Made after the stage, so dropped before it: the daemon goes first, then what it filters.
    let mut firewall = Firewall::start(workspace, &stage, stop)?;
    let servers = stage.server.run(|| {
        let ports = traffic::BLOCKED.into_iter().chain([80]);
        ports.map(Server::start).collect::<Result<Vec<_>>>()
    })?;
    // The tap runs before the first frame can travel, and after the filter is in place: both count
    // every frame of the client.
    let tap = stage.client.run(Tap::start)?;
    stage.connect()?;

    println!("\n== real traffic: web requests, attempts on blocked ports, pings, a flood ==");
    let flag = Arc::clone(stop);
    let traffic = stage.client.spawn(move || {
        // The peer's carrier takes a moment to show.
        sleep(Duration::from_millis(500));
        traffic::drive(&flag)
    });
    firewall.show_top(&stage, args.plain, stop)?;
    let outcome = netns::join(traffic)?;
    check_stop(stop)?;

    let (sent, counted) = settle(&tap, &firewall, stop)?;
    println!("\n== sent by the client, as seen on its interface, and counted by the firewall ==");
    report::print(&sent, &counted);
    let interface = stage.client.run(|| tap::interface_sent(INTERFACE))?;
    ensure!(
        interface == sent.all.packets,
        "the demo's own count is wrong: the interface sent {interface} frames"
    );
    let accepted = |port| {
        servers
            .iter()
            .find(|s| s.port == port)
            .map_or(0, Server::accepted)
    };
    let blocked: u64 = traffic::BLOCKED.into_iter().map(accepted).sum();
    compare(&outcome, &sent, &counted, accepted(80), blocked)?;

    println!("\n== unload, and try a blocked port again ==");
    firewall.unload(&stage)?;
    let address = SocketAddr::new(traffic::SERVERS[0], traffic::BLOCKED[0]);
    let answer = stage.client.run(move || Ok(traffic::knock(address)))?;
    ensure!(
        answer.is_some(),
        "{address} gives no answer even without the firewall"
    );
    println!("{address} answers now: it was the firewall that kept it silent");
    println!("\ndemo: every count agrees");
    Ok(())
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    ensure!(!stop.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Waits until both counts stand still and agree, or have had time enough to. The daemon reads its
/// counters once a second.
fn settle(tap: &Tap, firewall: &Firewall, stop: &AtomicBool) -> Result<(Sent, Counted)> {
    let patience = Instant::now() + Duration::from_secs(6);
    loop {
        let (sent, counted) = (tap.sent(), firewall.counters()?);
        if counted.agrees(&sent) || Instant::now() > patience {
            return Ok((sent, counted));
        }
        check_stop(stop)?;
        sleep(Duration::from_millis(300));
    }
}

/// Prints what came of the traffic.
fn show(outcome: &Outcome) {
    let requests = traffic::REQUESTS * 2;
    println!();
    println!(
        "web requests over IPv4 and IPv6: {} of {requests} answered",
        outcome.answered
    );
    println!(
        "attempts on blocked ports that got an answer: {}",
        outcome.leaks.len()
    );
    println!(
        "pings answered: {} of {}",
        outcome.pongs,
        traffic::PINGS * 2
    );
    println!(
        "flood: {} datagrams sent to udp/{}",
        outcome.flooded,
        traffic::FLOODED
    );
}

/// Whether everything went as the policy says, and every count is exact.
fn compare(
    outcome: &Outcome,
    sent: &Sent,
    counted: &Counted,
    accepted: u64,
    blocked: u64,
) -> Result<()> {
    show(outcome);
    let faults = faults(outcome, sent, counted, accepted, blocked);
    if !faults.is_empty() {
        bail!(
            "the demo did not go as it should:\n  {}",
            faults.join("\n  ")
        );
    }
    Ok(())
}

/// What did not go as the policy says, and counts that are not exact.
fn faults(
    outcome: &Outcome,
    sent: &Sent,
    counted: &Counted,
    accepted: u64,
    blocked: u64,
) -> Vec<String> {
    let requests = traffic::REQUESTS * 2;
    let mut faults = Vec::new();
    let mut expect = |good: bool, fault: String| {
        if !good {
            faults.push(fault);
        }
    };
    expect(
        counted.agrees(sent),
        "the firewall's counters differ from what was sent".to_owned(),
    );
    let failure = outcome.failure.as_deref().unwrap_or("no error");
    expect(
        outcome.answered == requests,
        format!("not all web requests were answered: {failure}"),
    );
    expect(
        accepted == u64::from(requests),
        format!("the server accepted {accepted} connections on port 80, not {requests}"),
    );
    expect(
        outcome.leaks.is_empty(),
        format!("blocked ports answered: {:?}", outcome.leaks),
    );
    expect(
        blocked == 0,
        format!("{blocked} connections reached servers on blocked ports"),
    );
    expect(
        outcome.flooded == traffic::FLOOD,
        "the flood was not sent in full".to_owned(),
    );
    expect(
        outcome.pongs == traffic::PINGS * 2,
        "not all pings were answered".to_owned(),
    );
    let web = counted.of(&("tcp", 80));
    expect(
        web.drop.packets == 0,
        format!("{} packets to tcp/80 dropped", web.drop.packets),
    );
    let flood = counted.of(&("udp", traffic::FLOODED));
    expect(
        flood.drop.packets == u64::from(traffic::FLOOD),
        format!(
            "{} datagrams of the flood dropped, not all",
            flood.drop.packets
        ),
    );
    for port in traffic::BLOCKED {
        let verdicts = counted.of(&("tcp", port));
        expect(
            verdicts.pass.packets == 0 && verdicts.drop.packets > 0,
            format!("tcp/{port}: {} packets passed", verdicts.pass.packets),
        );
    }
    faults
}

/// The daemon under test, and its command line.
struct Firewall {
    program: PathBuf,
    socket: PathBuf,
    pins: PathBuf,
    daemon: Child,
}

impl Firewall {
    /// Starts the daemon in the server's namespace, and waits until it filters.
    fn start(workspace: &Workspace, stage: &Stage, stop: &AtomicBool) -> Result<Self> {
        let program = workspace.programs(false).join("firewall-ctl");
        let socket = stage.folder.join("control.sock");
        let log = stage.folder.join("daemon.log");
        let mut command = Self::command_line(&program, &socket, &stage.pins);
        command
            .args(["daemon", "-i", INTERFACE, "-f", "rules/web-server.yaml"])
            .arg("--state")
            .arg(stage.folder.join("state"))
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).context("the daemon's log")?);
        println!("+ {}", process::display(&command));
        // A process belongs to the namespace of the thread that starts it.
        let daemon = stage
            .server
            .run(move || command.spawn().context("starting the daemon"))?;
        let mut firewall = Self {
            program,
            socket,
            pins: stage.pins.clone(),
            daemon,
        };
        firewall.wait_until_ready(&log, stop)?;
        Ok(firewall)
    }

    fn wait_until_ready(&mut self, log: &Path, stop: &AtomicBool) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(20);
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        loop {
            check_stop(stop)?;
            if let Some(status) = self.daemon.try_wait().context("the daemon")? {
                bail!("the daemon ended ({status}):\n{}", said());
            }
            // The tables must be read at least once before anything is sent.
            if self.socket.exists() && self.counters().is_ok() {
                break;
            }
            ensure!(
                Instant::now() < patience,
                "the daemon is not ready:\n{}",
                said()
            );
            sleep(Duration::from_millis(100));
        }
        process::run_quietly(self.ctl().arg("status"))
    }

    fn command_line(program: &Path, socket: &Path, pins: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--socket").arg(socket).arg("--root").arg(pins);
        command
    }

    fn ctl(&self) -> Command {
        Self::command_line(&self.program, &self.socket, &self.pins)
    }

    /// The counters as the daemon tells them.
    fn counters(&self) -> Result<Counted> {
        Counted::parse(&process::capture(
            self.ctl().args(["top", "--once", "-o", "json"]),
        )?)
    }

    /// Runs `top` while the traffic lasts: on a terminal the full screen, else plain lines.
    fn show_top(&self, stage: &Stage, plain: bool, stop: &AtomicBool) -> Result<()> {
        let mut command = self.ctl();
        command.args(["top", "-i", "1s"]);
        if plain || !std::io::stdout().is_terminal() {
            command.arg("--plain");
        }
        println!("+ {}", process::display(&command));
        // In the server's namespace, where a later sweep finds it should we be killed.
        let mut top = stage
            .server
            .run(move || command.spawn().context("starting top"))?;
        let end = Instant::now() + traffic::DURATION + Duration::from_secs(1);
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            if let Some(status) = top.try_wait().context("top")? {
                // Someone pressed q: the traffic goes on.
                ensure!(status.success(), "top ended ({status})");
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        terminate(&mut top);
        Ok(())
    }

    /// Ends the daemon, then takes the filter off, and checks that nothing is left of it.
    fn unload(&mut self, stage: &Stage) -> Result<()> {
        terminate(&mut self.daemon);
        let mut command = self.ctl();
        command.args(["unload", "--all"]);
        println!("+ {}", process::display(&command));
        stage
            .server
            .run(move || process::run_quietly(&mut command))?;
        let left: Vec<_> = std::fs::read_dir(&self.pins)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(left.is_empty(), "unload left {left:?}");
        Ok(())
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        terminate(&mut self.daemon);
    }
}

/// Asks a process to end, and makes it end if it does not within two seconds.
fn terminate(child: &mut Child) {
    let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
    if !running(child) {
        return;
    }
    if let Some(id) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    let patience = Instant::now() + Duration::from_secs(2);
    while running(child) && Instant::now() < patience {
        sleep(Duration::from_millis(20));
    }
    if running(child) {
        let _ = child.kill();
        let _ = child.wait();
    }
}
