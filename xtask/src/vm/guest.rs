//! The guest: what its first process does, and what is read from its serial console.
//!
//! The console carries the output of the tests, and lines of our own that begin with [`MARK`].

use super::VERIFIER;
use crate::test::{self, Tally};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Begins a line of the guest's first process.
const MARK: &str = "@@ ";

/// Modules that the tests need where the kernel has them as modules.
pub(super) const MODULES: &[&str] = &[
    "veth",
    "dummy",
    "8021q",
    "bridge",
    "ipip",
    "sit",
    "ip_gre",
    "vxlan",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
];

/// What became of one test program.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Name of the test target.
    pub(super) name: String,
    /// How many tests passed.
    pub(super) passed: u64,
    /// Names of the tests that did not.
    pub(super) failed: Vec<String>,
    /// How long it took; `None` if it did not end.
    pub(super) seconds: Option<u64>,
    /// Tests that it left out, and how it ended.
    tally: Tally,
    status: String,
    /// Whether the lines that come are about tests that failed.
    in_failures: bool,
}

/// What became of the tests on one kernel.
#[derive(Debug, Default)]
pub(super) struct GuestReport {
    /// One for each test program that was started.
    pub(super) runs: Vec<Run>,
    /// What the verifier processed: policy and number of instructions.
    pub(super) verified: Vec<(String, String)>,
    /// From switching on to switching off.
    pub(super) seconds: u64,
    /// Whether the guest's first process reached its end.
    finished: bool,
}

impl GuestReport {
    /// Tests that passed.
    pub(super) fn passed(&self) -> u64 {
        self.runs.iter().map(|run| run.passed).sum()
    }

    /// Tests that failed.
    pub(super) fn failed(&self) -> u64 {
        self.runs.iter().map(|run| run.failed.len() as u64).sum()
    }

    /// Whether every test ran and passed.
    pub(super) fn is_good(&self) -> bool {
        self.passed() > 0 && self.complaints().is_empty()
    }

    /// What is not in order.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for run in &self.runs {
            let name = &run.name;
            complaints.extend(
                run.failed
                    .iter()
                    .map(|test| format!("{name}: {test} failed")),
            );
            if run.tally.ignored > 0 {
                complaints.push(format!("{name}: {} tests were skipped", run.tally.ignored));
            }
            match run.status.as_str() {
                "0" => {}
                "" => complaints.push(format!("{name} did not end")),
                status if run.failed.is_empty() => {
                    complaints.push(format!("{name} ended with status {status}"));
                }
                _ => {}
            }
        }
        if !self.finished {
            complaints.push("the guest did not reach its end".to_owned());
        }
        complaints
    }

    /// Takes in one line of the console.
    fn line(&mut self, line: &str) {
        if let Some(mark) = line.strip_prefix(MARK) {
            let words: Vec<&str> = mark.split(' ').collect();
            match (words.as_slice(), self.runs.last_mut()) {
                (["begin", name], _) => self.runs.push(Run {
                    name: (*name).to_owned(),
                    ..Run::default()
                }),
                (["end", status, seconds], Some(run)) => {
                    run.status = (*status).to_owned();
                    if run.name == VERIFIER {
                        if *status == "0" {
                            run.passed = 1;
                        } else {
                            run.failed.push("every row".to_owned());
                        }
                    }
                    run.seconds = seconds.parse().ok();
                }
                (["done"], _) => self.finished = true,
                _ => {}
            }
            return;
        }
        if let Some(row) = line.strip_prefix("| ") {
            let mut cells = row.split(" | ");
            if let (Some(policy), Some(number)) = (cells.next(), cells.next())
                && number.parse::<u32>().is_ok()
            {
                self.verified.push((policy.to_owned(), number.to_owned()));
            }
        }
        let Some(run) = self.runs.last_mut() else {
            return;
        };
        if let Some(tally) = test::parse_result(line) {
            run.passed += tally.passed;
            run.tally = tally;
            run.in_failures = false;
        }
        // A heading stands twice: before what the tests printed, and before their names, each with
        // four spaces in front. The second time counts.
        match (line, line.strip_prefix("    ")) {
            ("failures:", _) => {
                run.failed.clear();
                run.in_failures = true;
            }
            (_, Some(name)) if run.in_failures && !name.contains(' ') => {
                run.failed.push(name.to_owned());
            }
            _ => {}
        }
    }
}

/// Tests to run in the guest, in one process: those of one file.
pub(super) struct Tests {
    /// The file.
    pub(super) name: String,
    /// The program that they are in, in the guest.
    pub(super) program: String,
    /// As the program names them; none if it is no test program.
    pub(super) tests: Vec<String>,
}

impl Tests {
    /// A line of the guest's script: `run NAME PROGRAM ARGUMENTS`.
    fn line(&self) -> String {
        let mut line = format!("run {} {}", self.name, self.program);
        if !self.tests.is_empty() {
            line += " --include-ignored --test-threads=1 --show-output --exact ";
            line += &self.tests.join(" ");
        }
        line + "\n"
    }
}

/// The script of the guest's first process.
pub(super) fn init(root: &Path, tests: &[Tests], variables: &str) -> String {
    format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null || {{ /bin/busybox mkdir -p /bin; /bin/busybox --install -s /bin; }}
export PATH=/host:/bin HOME=/tmp TMPDIR=/tmp INSTA_UPDATE=no INSTA_WORKSPACE_ROOT='{root}'
export FIREWALL_CTL=/host/firewall-ctl FIREWALL_KERNEL_TESTS=1 {variables}
export FIREWALL_EMULATED=1
export RUST_BACKTRACE=0
mkdir -p /proc /sys /dev /run /tmp /etc
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
{tmp}
mount -t bpf bpf /sys/fs/bpf
echo 'root:x:0:0:root:/:/bin/sh' > /etc/passwd
echo 'root:x:0:' > /etc/group
for module in /modules/*; do insmod $module || echo \"{MARK}module $module\"; done
ip link set lo up
echo \"{MARK}boot $(uname -r)\"
run() {{
  echo \"{MARK}begin $1\"
  shift
  start=$(cut -d. -f1 /proc/uptime)
  \"$@\" 2>&1
  status=$?
  for log in $(ls /tmp/firewall-verifier-*.log 2>/dev/null | head -n 3); do
    echo \"the end of $log:\"
    tail -n 12 $log | cut -c1-600
  done
  rm -f /tmp/firewall-verifier-*.log
  end=$(cut -d. -f1 /proc/uptime)
  echo
  echo \"{MARK}end $status $((end - start))\"
}}
{tests}echo \"{MARK}done\"
poweroff -f
",
        root = root.display(),
        // A file system mounted there would hide the files of a source tree that lies below it.
        tmp = if root.starts_with("/tmp") {
            "chmod 1777 /tmp"
        } else {
            "mount -t tmpfs -o mode=1777 tmpfs /tmp"
        },
        tests = tests.iter().map(Tests::line).collect::<String>()
    )
}

/// The kernel's command line. Without the self-tests of its ciphers: emulated, they take minutes, and
/// on Linux 6.1 now and then do not end.
const APPEND: &str = "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests";

/// How a guest is emulated.
pub(super) struct Machine<'a> {
    /// Use the processor's virtualisation.
    pub(super) kvm: bool,
    /// What is plugged in beside processors and memory: arguments of qemu.
    pub(super) devices: &'a [String],
    /// How long it may run.
    pub(super) limit: Duration,
}

/// Boots the kernel, shows what the guest prints, and reports. Stops the guest after its time.
pub(super) fn boot(kernel: &Path, image: &Path, machine: &Machine<'_>) -> Result<GuestReport> {
    let limit = machine.limit;
    let mut qemu = Command::new("qemu-system-x86_64");
    // qemu 7.2 emulates `cmpxchg16b` with garbage in the flags now and then, and the kernel's slab
    // allocator jumps by them. Without the instruction the kernel takes a lock.
    let (accelerator, processor) = if machine.kvm {
        ("kvm", "host")
    } else {
        ("tcg,thread=multi", "max,la57=off,cx16=off")
    };
    qemu.args(["-accel", accelerator, "-cpu", processor])
        .args(["-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", APPEND])
        .args(machine.devices);
    println!("+ {}", crate::process::display(&qemu));
    let start = Instant::now();
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let console = child.stdout.take().context("qemu has no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut report = GuestReport::default();
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                println!("{line}");
                report.line(&line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!("error: stopped after {} minutes", limit.as_secs() / 60);
                child.kill().context("stopping qemu")?;
                break;
            }
        }
    }
    drop(lines);
    child.wait().context("waiting for qemu")?;
    if reader.join().is_err() {
        bail!("reading the guest's console failed");
    }
    report.seconds = start.elapsed().as_secs();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> GuestReport {
        let mut report = GuestReport::default();
        for line in lines {
            report.line(line);
        }
        report
    }

    #[test]
    fn nothing_hides_the_source_tree() {
        let mounts = |root: &str| init(Path::new(root), &[], "A=1").contains("tmpfs /tmp");
        assert!(mounts("/home/me/firewall"));
        assert!(!mounts("/tmp/firewall"));
    }

    #[test]
    fn a_good_run_has_no_complaint() {
        let report = report(&[
            "@@ begin kernel_a",
            "| policy | instructions | program | load, ms |",
            "| rules/web-server.yaml | 4711 | 18000 | 24 |",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured",
            "@@ end 0 12",
            "@@ done",
        ]);
        assert!(report.is_good(), "{report:?}");
        assert_eq!(report.passed(), 3);
        assert_eq!(report.runs[0].seconds, Some(12));
        assert_eq!(
            report.verified,
            [("rules/web-server.yaml".to_owned(), "4711".to_owned())]
        );
    }

    #[test]
    fn every_kind_of_failure_is_a_complaint() {
        let failed = report(&[
            "@@ begin kernel_a",
            "failures:",
            "---- one::two stdout ----",
            "    left",
            "failures:",
            "    one::two",
            "",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured",
            "@@ end 101 3",
            "@@ done",
        ]);
        assert_eq!(
            failed.complaints(),
            [
                "kernel_a: one::two failed",
                "kernel_a: 1 tests were skipped"
            ]
        );
        let crashed = report(&["@@ begin kernel_a", "@@ end 139 3", "@@ done"]);
        assert_eq!(crashed.complaints(), ["kernel_a ended with status 139"]);
        let hung = report(&["@@ begin kernel_a"]);
        assert_eq!(
            hung.complaints(),
            ["kernel_a did not end", "the guest did not reach its end"]
        );
        assert!(!report(&["@@ done"]).is_good(), "nothing ran");
    }
}
