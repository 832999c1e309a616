//! What the service manager is told, by the protocol of `sd_notify(3)`: that the filter is in force, what
//! is, and signs of life for its watchdog. Without a service manager nothing is told.
//!
//! Invariant: a sign of life is an answer of the state task. If that hangs, the watchdog bites; calls of
//! peers, and the threads that they wait on, have no part in it.

use firewall_api::view::Status;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Time between two looks at the state where the manager asks for no signs of life.
const LEISURELY: Duration = Duration::from_secs(5);

/// Where the service manager listens, and how often it wants to hear something.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<UnixDatagram>,
    patience: Option<Duration>,
}

impl Manager {
    /// As this process's environment says. What cannot be reached is said once, and is no reason to
    /// leave the host without a filter.
    pub(super) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(place) = variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let patience = patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
        match connect(&place) {
            Ok(socket) => Self {
                socket: Some(socket),
                patience,
            },
            Err(error) => {
                warn!(
                    "cannot tell the service manager at {}: {error}",
                    place.display()
                );
                Self::default()
            }
        }
    }

    /// Sends assignments, one a line.
    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            warn!("cannot tell the service manager: {error}");
        }
    }

    /// The end has begun.
    pub(super) fn ending(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping; the filter stays");
    }

    /// Says that the filter is in force and the socket answers; from then on, as long as it lives, how
    /// things stand, which `look` tells until the daemon ends.
    pub(super) async fn attend<L: Future<Output = Option<Status>>>(
        self: Arc<Self>,
        look: impl Fn() -> L,
    ) {
        if self.socket.is_none() {
            return;
        }
        // Three signs of life in the time in which one must come.
        let pause = self.patience.map_or(LEISURELY, |patience| patience / 3);
        let mut last = String::new();
        self.tell("READY=1");
        loop {
            let Some(status) = look().await else {
                return; // The daemon is ending.
            };
            let line = line(&status);
            if line == last {
                self.tell("WATCHDOG=1");
            } else {
                self.tell(&format!("WATCHDOG=1\nSTATUS={line}"));
                last = line;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// The state in one line, for `systemctl status`.
fn line(status: &Status) -> String {
    let Some(generation) = &status.generation else {
        return "nothing is filtered".to_owned();
    };
    let interfaces = status.interfaces.iter();
    let names: Vec<&str> = interfaces
        .map(|interface| interface.name.as_str())
        .collect();
    let mut line = format!(
        "generation {} of {} on {}",
        generation.number,
        generation.policy,
        names.join(", ")
    );
    if status.pending.is_some() {
        line.push_str("; it waits to be confirmed");
    }
    if let Some(error) = &status.last_error {
        line.push_str(&format!("; {error}"));
    } else if let Some(warning) = status.warnings.first() {
        line.push_str(&format!("; {warning}"));
    }
    // A message has a line for each assignment.
    line.replace(['\n', '\r'], " ")
}

/// How long the manager waits for a sign of life, if it waits for one of this process.
fn patience(microseconds: Option<OsString>, of: Option<OsString>) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    let is_ours = of.is_none_or(|of| number(of) == Some(std::process::id().into()));
    let microseconds = number(microseconds?).filter(|&time| time > 0 && is_ours)?;
    Some(Duration::from_micros(microseconds))
}

/// A path, or a name behind an `@` in Linux's namespace of names without files.
fn connect(place: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match place.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(place)?,
    }
    // A manager that does not read is no reason to wait.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let some = |text: &str| Some(OsString::from(text));
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(patience(some("1000000"), some(&own)), second);
        assert_eq!(patience(some("1000000"), None), second);
        assert_eq!(patience(some("1000000"), some("1")), None);
        assert_eq!(patience(some("soon"), None), None);
        assert_eq!(patience(some("0"), None), None);
        assert_eq!(patience(None, None), None);
    }

    #[test]
    fn messages_arrive_at_files_and_at_names() {
        let name = format!("fwt-manager-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let file = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let named = UnixDatagram::bind_addr(&address).unwrap();
        let places = [
            (path.clone().into_os_string(), file),
            (OsString::from(format!("@{name}")), named),
        ];
        for (place, listener) in places {
            let manager = Manager {
                socket: Some(connect(&place).unwrap()),
                patience: None,
            };
            manager.ending();
            let mut buffer = [0; 100];
            let length = listener.recv(&mut buffer).unwrap();
            assert!(buffer[..length].starts_with(b"STOPPING=1\nSTATUS="));
        }
        std::fs::remove_file(path).unwrap();
        assert!(connect(OsStr::new("/nonexistent/socket")).is_err());
    }
}
