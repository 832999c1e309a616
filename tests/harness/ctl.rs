//! The program under test: `firewall-ctl` as a user runs it, with pins and socket of its own.
//!
//! Invariant: a [`Ctl`] leaves no process, pin or file behind when it is dropped.

use crate::netns::{Namespace, unique};
use crate::patience;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Puts a program into exactly the capabilities that the documents ask for: in runs that are about that
/// (`cargo xtask test --capabilities`).
const THREE: [&str; 4] = [
    "setpriv",
    "--bounding-set=-all,+bpf,+net_admin,+perfmon",
    "--inh-caps=-all,+bpf,+net_admin,+perfmon",
    "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
];

/// All that a command has said: output and errors.
#[must_use]
pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Waits until something holds, 30 s at most.
///
/// # Panics
/// If it does not, with the daemon's log.
pub fn until(what: &str, ctl: &Ctl<'_>, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        let late = start.elapsed() > patience(Duration::from_secs(30));
        assert!(!late, "{what}\n{}", ctl.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One user's `firewall-ctl` on one host.
#[derive(Debug)]
pub struct Ctl<'a> {
    host: &'a Namespace,
    program: PathBuf,
    folder: PathBuf,
    pins: PathBuf,
    daemon: Option<Child>,
    /// Where programs are started, if not where the test was.
    place: Option<PathBuf>,
    variables: Vec<(&'static str, OsString)>,
}

impl<'a> Ctl<'a> {
    /// The program that `FIREWALL_CTL` names, on `host`.
    ///
    /// # Errors
    /// `FIREWALL_CTL` is not set, as `cargo xtask test` sets it.
    pub fn new(host: &'a Namespace) -> Result<Self> {
        let program = std::env::var_os("FIREWALL_CTL")
            .context("FIREWALL_CTL does not name the program: run these by `cargo xtask test`")?;
        let name = unique("ctl");
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder)?;
        let pins = Path::new("/sys/fs/bpf").join(&name);
        Ok(Self {
            host,
            program: program.into(),
            folder,
            pins,
            daemon: None,
            place: None,
            variables: Vec::new(),
        })
    }

    /// Sets an environment variable for everything that is started from now on.
    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    /// The folder of this user's pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The folder of this user's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder in which the daemon keeps what outlives the pins.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Removes the pins by other means than `unload`: as the machine's next start does.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_pins(&self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.pins)?)
    }

    /// Writes a policy file, and gives its path.
    ///
    /// # Errors
    /// What the system says.
    pub fn policy(&self, text: &str) -> Result<PathBuf> {
        let path = self.folder.join("policy.yaml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The command that runs a verb, for what [`Ctl::run`] does not do with it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], &self.program, arguments)
    }

    /// `program` with `arguments`, started by the words of `wrapper`.
    fn command_under(&self, wrapper: &[&str], program: &Path, arguments: &[&str]) -> Command {
        let three = std::env::var_os("FIREWALL_CAPABILITIES").map(|_| THREE);
        let wrapper = match wrapper {
            [] => three.as_ref().map_or(wrapper, |three| &three[..]),
            _ => wrapper,
        };
        let mut command = match wrapper {
            [] => self.host.command(program),
            [first, rest @ ..] => {
                let mut command = self.host.command(first);
                command.args(rest).arg(program);
                command
            }
        };
        if let Some(place) = &self.place {
            command.current_dir(place);
        }
        command.arg("--root").arg(&self.pins);
        command
            .arg("--socket")
            .arg(self.folder.join("control.sock"));
        command
            .args(arguments)
            .env("FIREWALL_STATE", self.folder.join("var"))
            .envs(self.variables.iter().cloned())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Runs a verb as the last words of the command `wrapper`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_under(&self, wrapper: &[&str], arguments: &[&str]) -> Result<Output> {
        let output = self
            .command_under(wrapper, &self.program, arguments)
            .output()?;
        Ok(output)
    }

    /// Runs a verb as `nobody`, who has no capability and is in no group.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_unprivileged(&self, arguments: &[&str]) -> Result<Output> {
        const NOBODY: [&str; 6] = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ];
        // The program may lie in a home folder that nobody else may enter.
        let copy = self.folder.join("firewall-ctl");
        if !copy.exists() {
            fs::copy(&self.program, &copy)?;
        }
        let output = self.command_under(&NOBODY, &copy, arguments).output()?;
        Ok(output)
    }

    /// Runs a verb that must succeed; what it prints.
    ///
    /// # Errors
    /// Another exit code than 0.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!(
                "{arguments:?}: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a verb that prints JSON.
    ///
    /// # Errors
    /// Another exit code than 0, or no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.ok(&all)?)?)
    }

    /// What `top --once -o json` shows: every counter, read after this call began. (A daemon
    /// answers with its last sample, which is up to a second old.)
    ///
    /// # Errors
    /// As [`Ctl::json`], and no new sample within ten seconds.
    pub fn snapshot(&self) -> Result<Value> {
        let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        for _ in 0..100 {
            let snapshot = self.json(&["top", "--once"])?;
            if snapshot["time"].as_f64().context("a snapshot has a time")? > start {
                return Ok(snapshot);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("no new sample within ten seconds")
    }

    /// Starts the daemon and waits until it enforces.
    ///
    /// # Errors
    /// It ends, or takes more than 30 seconds.
    pub fn start(&mut self, policy: &Path) -> Result<u32> {
        self.start_with(policy, &[])
    }

    /// As [`Ctl::start`], with more arguments.
    ///
    /// # Errors
    /// As [`Ctl::start`].
    pub fn start_with(&mut self, policy: &Path, more: &[&str]) -> Result<u32> {
        let path = policy.to_str().context("a path in UTF-8")?;
        let log = fs::File::create(self.folder.join("daemon.log"))?;
        let child = self
            .command(&["daemon", "-i", crate::netns::INTERFACE, "-f", path])
            .arg("--state")
            .arg(self.state())
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        self.daemon = Some(child);
        let deadline = Instant::now() + patience(Duration::from_secs(30));
        loop {
            // What is degraded enforces, too.
            let output = self.run(&["-o", "json", "status"])?;
            if let Ok(status) = serde_json::from_slice::<Value>(&output.stdout)
                && !status["daemon_pid"].is_null()
                && !status["generation"].is_null()
            {
                return Ok(pid);
            }
            let ended = match &mut self.daemon {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if ended.is_some() || Instant::now() > deadline {
                bail!("the daemon does not enforce ({ended:?}):\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// As [`Ctl::start`], from a folder, with a path that counts from there.
    ///
    /// # Errors
    /// As [`Ctl::start`].
    pub fn start_in(&mut self, folder: &Path, policy: &Path) -> Result<u32> {
        self.place = Some(folder.to_owned());
        let started = self.start(policy);
        self.place = None;
        started
    }

    /// Waits until the daemon has ended by itself.
    ///
    /// # Errors
    /// It does not within 30 seconds.
    pub fn ended(&mut self) -> Result<()> {
        let Some(child) = &mut self.daemon else {
            return Ok(());
        };
        let deadline = Instant::now() + patience(Duration::from_secs(30));
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the daemon does not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.daemon = None;
        Ok(())
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default()
    }

    /// Tells the daemon to end, and waits until it has.
    ///
    /// # Errors
    /// As [`Ctl::ended`].
    pub fn terminate(&mut self) -> Result<()> {
        if let Some(child) = &self.daemon {
            let pid = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.ended()
    }

    /// Kills the daemon by SIGKILL.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.daemon.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Ctl<'_> {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.run(&["unload", "--all"]);
        let _ = fs::remove_dir_all(&self.pins);
        let _ = fs::remove_dir_all(&self.folder);
    }
}
