//! What the package does, from installation to purge, on a [`Machine`]: as root types it, with a peer that
//! knocks at an open port and at a closed one.
//!
//! The commands of docs/install.md are these. Invariant: the first step that fails is the last one.

use super::machine::{Knock, Machine, within};
use crate::workspace::Workspace;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How many steps passed and failed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Steps {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// The policy: the web for everybody, nothing else.
const POLICY: &str = "\
# yaml-language-server: $schema=/usr/share/firewall/schema/v1.json
version: 1
interfaces: [{match: up0}]
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: [80, 443], action: pass}
";

/// Takes the filter off after a while, if nobody is there to stop that.
const UNDO: &str = "systemd-run --unit=firewall-undo --on-active=600 sh -c \
                    'systemctl disable --now firewall; firewall-ctl unload --all'";

/// One of the steps.
type Step = (&'static str, fn(&mut Machine) -> Result<()>);

/// In the order of a package's life.
const STEPS: &[Step] = &[
    ("an installation filters nothing", installed),
    ("units are whole", units),
    (
        "enabled without a policy, nothing runs and nothing is closed",
        enabled_without_policy,
    ),
    ("enabled with a policy, it is in force", enabled),
    (
        "the daemon has its three capabilities and no root",
        privileges,
    ),
    ("members of the group may look, others may not", group),
    ("a reload changes what is in force", reloaded),
    (
        "a broken policy changes nothing, and the reload fails",
        broken,
    ),
    ("a restart leaves no gap", restarted),
    ("a killed daemon leaves no gap, and comes back", killed),
    ("a daemon that hangs is replaced", hung),
    ("it starts no other program", no_programs),
    (
        "where the BPF file system was mounted anew, it starts all the same",
        mounted_anew,
    ),
    (
        "what root has loaded is handed over to the daemon",
        handed_over,
    ),
    (
        "after a boot it is in force before the network is up",
        booted,
    ),
    ("disabled, it says nothing and keeps nothing", disabled),
    ("a purge leaves nothing", purged),
];

/// Installs, uses and removes the package.
pub(super) fn run(workspace: &Workspace, package: &Path) -> Result<Steps> {
    let mut machine = Machine::new(workspace)?;
    let name = package.file_name().unwrap_or_default();
    std::fs::copy(package, machine.path("/root").join(name))?;
    // Nobody is there to answer.
    let answer = "APT::Get::Assume-Yes \"true\";\n";
    std::fs::write(machine.path("/etc/apt/apt.conf.d/fwt-yes"), answer)?;
    machine.cable()?;
    machine.start()?;
    machine.wait()?;
    let mut steps = Steps::default();
    for (name, step) in STEPS {
        let start = Instant::now();
        match step(&mut machine) {
            Ok(()) => {
                println!("ok      {name} ({:.1} s)", start.elapsed().as_secs_f64());
                steps.passed += 1;
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                let log = "systemctl status --no-pager --lines=30 firewall firewall-early || true";
                println!("{}", machine.shell(log).unwrap_or_default());
                steps.failed += 1;
                break;
            }
        }
    }
    let _ = machine.halt();
    Ok(steps)
}

/// That the open port answers and the closed one does not.
fn enforced(machine: &Machine) -> Result<()> {
    let closed = machine.knock(22, "1")?;
    ensure!(closed == Knock::Silence, "the closed port: {closed:?}");
    let open = machine.knock(80, "5")?;
    ensure!(open == Knock::Answered, "the open port: {open:?}");
    Ok(())
}

/// That nothing is filtered.
fn open(machine: &Machine) -> Result<()> {
    for port in [22, 80] {
        let knock = machine.knock(port, "5")?;
        ensure!(knock == Knock::Answered, "port {port}: {knock:?}");
    }
    let link = machine.shell("ip -details link show up0")?;
    ensure!(!link.contains("xdp"), "a program is on up0: {link}");
    Ok(())
}

/// That the closed port gives no answer while something happens; and what came of that.
fn closed_while<T>(machine: &Machine, happens: impl FnOnce() -> Result<T>) -> Result<T> {
    thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let knocks = scope.spawn(move || {
            let mut silent = 0;
            loop {
                match machine.knock(22, "0.3")? {
                    Knock::Silence => silent += 1,
                    other => bail!("the closed port after {silent} attempts: {other:?}"),
                }
                if is_done.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                    return Ok(());
                }
            }
        });
        let result = happens();
        drop(done);
        match knocks.join() {
            Ok(quiet) => quiet.and(result),
            Err(_) => bail!("the peer failed"),
        }
    })
}

/// What `systemctl show` says of the daemon.
fn property(machine: &Machine, name: &str) -> Result<String> {
    let line = format!("systemctl show --property={name} --value firewall");
    Ok(machine.shell(&line)?.trim().to_owned())
}

fn write_policy(machine: &Machine, text: &str) -> Result<()> {
    std::fs::write(machine.path("/etc/firewall/firewall.yaml"), text)?;
    Ok(())
}

/// Where the files of the machine before the installation are listed, in a folder that the lists leave out.
const BEFORE: &str = "/var/tmp/before";

fn installed(machine: &mut Machine) -> Result<()> {
    open(machine)?;
    std::fs::write(machine.path(BEFORE), listing(machine)?)?;
    machine.shell("cd /root && apt-get install ./firewall_0.1.0_amd64.deb")?;
    for unit in ["firewall", "firewall-early"] {
        let state = machine.run(&["systemctl", "is-enabled", unit])?;
        let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
        ensure!(state == "disabled", "{unit} is {state}");
        let active = machine.run(&["systemctl", "is-active", unit])?;
        ensure!(!active.status.success(), "{unit} runs");
    }
    machine.shell("getent passwd firewall-daemon && getent group firewall")?;
    machine.shell("test ! -e /etc/firewall && firewall-ctl version")?;
    open(machine)
}

fn units(machine: &mut Machine) -> Result<()> {
    let verify = "systemd-analyze --man=no verify firewall.service firewall-early.service 2>&1";
    let said = machine.shell(verify)?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn enabled_without_policy(machine: &mut Machine) -> Result<()> {
    machine.shell("systemctl enable --now firewall")?;
    let active = machine.run(&["systemctl", "is-active", "firewall"])?;
    ensure!(!active.status.success(), "the daemon runs without a policy");
    open(machine)?;
    machine.shell("systemctl disable --now firewall").map(drop)
}

fn enabled(machine: &mut Machine) -> Result<()> {
    machine.shell("install --directory /etc/firewall")?;
    machine.shell("install --mode 644 /usr/share/firewall/examples/web-server.yaml /etc/firewall/firewall.yaml")?;
    machine.shell("firewall-ctl check /etc/firewall/firewall.yaml")?;
    write_policy(machine, POLICY)?;
    machine.shell("firewall-ctl check /etc/firewall/firewall.yaml")?;
    machine.shell("systemctl enable --now firewall")?;
    enforced(machine)?;
    machine.shell("systemctl is-enabled firewall-early && systemctl status firewall")?;
    machine.shell("firewall-ctl status")?;
    machine.run(&["timeout", "3", "sh", "-c", "firewall-ctl top"])?;
    within(Duration::from_secs(20), "a line of state", || {
        let line = property(machine, "StatusText").ok()?;
        line.contains("of /etc/firewall on up0").then_some(())
    })
}

fn privileges(machine: &mut Machine) -> Result<()> {
    let pid = property(machine, "MainPID")?;
    let status = machine.shell(&format!("cat /proc/{pid}/status"))?;
    let of = |name: &str| {
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().unwrap_or_default().trim().to_owned()
    };
    // CAP_NET_ADMIN is 12, CAP_PERFMON 38, CAP_BPF 39.
    let wanted = 1u64 << 12 | 1 << 38 | 1 << 39;
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let has = u64::from_str_radix(&of(set), 16)?;
        ensure!(has == wanted, "{set} {has:x} instead of {wanted:x}");
    }
    let user = machine.shell("id --user firewall-daemon")?;
    let user = user.trim();
    ensure!(
        of("Uid:").split_whitespace().all(|id| id == user),
        "{}",
        of("Uid:")
    );
    ensure!(
        of("Seccomp:") == "2" && of("NoNewPrivs:") == "1",
        "no filter of system calls"
    );
    Ok(())
}

fn group(machine: &mut Machine) -> Result<()> {
    machine.shell("useradd alice && useradd stranger && adduser alice firewall")?;
    let as_user = |user: &str, line: &str| {
        machine.run(&[
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "sh",
            "-c",
            line,
        ])
    };
    let looks = as_user("alice", "firewall-ctl status")?;
    ensure!(looks.status.success(), "a member may not look: {looks:?}");
    let changes = as_user("alice", "firewall-ctl allow 22/tcp")?;
    ensure!(
        !changes.status.success(),
        "a member may change: {changes:?}"
    );
    let stranger = as_user("stranger", "firewall-ctl status")?;
    ensure!(
        !stranger.status.success(),
        "a stranger may look: {stranger:?}"
    );
    machine
        .shell("userdel alice && userdel stranger")
        .map(drop)?;
    enforced(machine)
}

fn reloaded(machine: &mut Machine) -> Result<()> {
    write_policy(machine, &POLICY.replace("[80, 443]", "[22, 80]"))?;
    machine.shell("systemctl reload firewall")?;
    let knock = machine.knock(22, "5")?;
    ensure!(
        knock == Knock::Answered,
        "port 22 after the reload: {knock:?}"
    );
    write_policy(machine, POLICY)?;
    machine.shell("systemctl reload firewall")?;
    let trail = machine.shell("tail -n 20 /var/lib/firewall/audit.jsonl")?;
    ensure!(trail.contains("reload"), "no reload on record: {trail}");
    machine.shell("journalctl -t firewall FIREWALL_VERB=apply")?;
    enforced(machine)
}

fn broken(machine: &mut Machine) -> Result<()> {
    write_policy(machine, &POLICY.replace("drop", "dorp"))?;
    let reload = machine.run(&["systemctl", "reload", "firewall"])?;
    ensure!(!reload.status.success(), "a broken policy was reloaded");
    closed_while(machine, || machine.shell("systemctl restart firewall"))?;
    write_policy(machine, POLICY)?;
    machine.shell("systemctl reload firewall")?;
    enforced(machine)
}

fn restarted(machine: &mut Machine) -> Result<()> {
    closed_while(machine, || machine.shell("systemctl restart firewall"))?;
    enforced(machine)
}

/// Waits for a daemon with another process id, which is ready.
fn replaced(machine: &Machine, before: &str, patience: u64) -> Result<()> {
    within(Duration::from_secs(patience), "another daemon", || {
        let pid = property(machine, "MainPID").ok()?;
        let is_new = pid != before && pid != "0";
        (is_new && property(machine, "ActiveState").ok()? == "active").then_some(())
    })
}

fn killed(machine: &mut Machine) -> Result<()> {
    let before = property(machine, "MainPID")?;
    closed_while(machine, || {
        machine.shell("systemctl kill --signal=KILL firewall")?;
        replaced(machine, &before, 15)
    })?;
    enforced(machine)
}

fn hung(machine: &mut Machine) -> Result<()> {
    let drop_in = "/run/systemd/system/firewall.service.d";
    machine.shell(&format!(
        "mkdir -p {drop_in} && printf '[Service]\\nWatchdogSec=2\\n' > {drop_in}/fwt.conf && \
         systemctl daemon-reload && systemctl restart firewall"
    ))?;
    let before = property(machine, "MainPID")?;
    closed_while(machine, || {
        machine.shell("systemctl kill --signal=STOP firewall")?;
        replaced(machine, &before, 30)
    })?;
    let journal = machine.shell("journalctl --unit firewall --no-pager")?;
    ensure!(
        journal.contains("Watchdog timeout"),
        "no watchdog: {journal}"
    );
    machine.shell(&format!(
        "rm -r {drop_in} && systemctl daemon-reload && systemctl restart firewall"
    ))?;
    enforced(machine)
}

fn no_programs(machine: &mut Machine) -> Result<()> {
    let drop_in = "/run/systemd/system/firewall.service.d";
    machine.shell(&format!(
        "mkdir -p {drop_in} && printf '[Service]\\nExecReload=\\nExecReload=/usr/bin/true\\n' \
         > {drop_in}/fwt.conf && systemctl daemon-reload"
    ))?;
    let reload = machine.run(&["systemctl", "reload", "firewall"])?;
    ensure!(
        !reload.status.success(),
        "/usr/bin/true was started inside the unit"
    );
    machine.shell(&format!(
        "rm -r {drop_in} && systemctl daemon-reload && systemctl reload firewall"
    ))?;
    enforced(machine)
}

/// The folder of pins is gone with the file system, and with it what ReadWritePaths names.
fn mounted_anew(machine: &mut Machine) -> Result<()> {
    machine.shell(
        "systemctl stop firewall firewall-early && firewall-ctl unload --all && umount /sys/fs/bpf && \
         mount -t bpf -o mode=700,nosuid,nodev,noexec bpf /sys/fs/bpf && \
         systemctl start firewall-early && systemctl start firewall",
    )?;
    enforced(machine)
}

fn handed_over(machine: &mut Machine) -> Result<()> {
    machine.shell("systemctl stop firewall")?;
    let other = POLICY.replace("name: web", "name: web-by-root");
    write_policy(machine, &other)?;
    closed_while(machine, || {
        machine.shell("firewall-ctl load --file /etc/firewall")?;
        let roots = machine.shell("find /sys/fs/bpf/firewall -not -user firewall-daemon")?;
        ensure!(roots.is_empty(), "pins that are not the daemon's: {roots}");
        machine.shell("systemctl start firewall")
    })?;
    let journal = machine.shell("journalctl --unit firewall --no-pager --output cat --lines 20")?;
    ensure!(
        journal.contains("unchanged"),
        "the daemon has not adopted it: {journal}"
    );
    enforced(machine)
}

fn booted(machine: &mut Machine) -> Result<()> {
    machine.halt()?;
    machine.cable_again()?;
    machine.start()?;
    let knocking = &*machine;
    closed_while(knocking, || knocking.wait())?;
    let early = machine.shell("systemctl is-active firewall-early firewall")?;
    ensure!(early == "active\nactive\n", "{early}");
    enforced(machine)
}

fn disabled(machine: &mut Machine) -> Result<()> {
    machine.shell("systemctl disable --now firewall")?;
    enforced(machine)?;
    machine.shell("firewall-ctl unload --all")?;
    open(machine)?;
    machine.shell("systemctl enable --now firewall")?;
    enforced(machine)?;
    let soon = "--on-active=1 --timer-property=AccuracySec=100ms";
    machine.shell(&UNDO.replace("--on-active=600", soon))?;
    within(
        Duration::from_secs(20),
        "the filter to be taken off",
        || open(machine).ok(),
    )?;
    machine.shell("systemctl enable --now firewall")?;
    enforced(machine)
}

fn purged(machine: &mut Machine) -> Result<()> {
    machine.shell("apt-get purge firewall")?;
    open(machine)?;
    let pins = machine.shell("ls -A /sys/fs/bpf /run/firewall 2>/dev/null || true")?;
    ensure!(
        !pins.contains("firewall") && !pins.contains("gen-"),
        "pins: {pins}"
    );
    let before = std::fs::read_to_string(machine.path(BEFORE))?;
    let before: BTreeSet<&str> = before.lines().collect();
    let after = listing(machine)?;
    let left: Vec<&str> = after.lines().filter(|it| !before.contains(it)).collect();
    ensure!(left.is_empty(), "files: {}", left.join(", "));
    Ok(())
}

/// All files but those that apt, dpkg and the journal keep of what they did, and those of the users: a
/// package's user stays, so that no other one gets its number.
fn listing(machine: &Machine) -> Result<String> {
    machine.shell(
        "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -path /tmp -prune \
         -o -path /var/tmp -prune -o -path /var/log -prune -o -path /var/cache -prune \
         -o -path /var/lib/dpkg -prune -o -path /var/lib/apt -prune -o -path /root -prune \
         -o -path /var/lib/systemd/random-seed -prune -o -path /etc/.updated -prune -o -path /var/.updated -prune \
         -o -name '*-' -prune -o -name .pwd.lock -prune -o -print | sort",
    )
}

#[cfg(test)]
mod tests {
    use crate::workspace::Workspace;

    #[test]
    fn every_command_for_users_is_tried() {
        let root = Workspace::find().unwrap().root;
        let page = std::fs::read_to_string(root.join("docs/install.md")).unwrap();
        let tried = include_str!("life.rs").replace("\\\n                    ", "");
        let mut in_shell = false;
        let mut count = 0;
        for line in page.lines() {
            if let Some(info) = line.strip_prefix("```") {
                in_shell = info == "sh";
                continue;
            }
            let line = line.split(" #").next().unwrap_or_default().trim();
            let line = line.trim_start_matches("sudo ");
            // An editor wants somebody who types; this program is the other.
            if in_shell && !line.starts_with("editor ") && !line.starts_with("cargo xtask ") {
                assert!(
                    tried.contains(&format!("{line}\"")),
                    "`{line}` is not tried"
                );
                count += 1;
            }
        }
        assert!(count >= 10, "{count} commands only");
    }
}
