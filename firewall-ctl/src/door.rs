//! The one door: which firewall a command asks. The only file of this crate that may name the engine.
//!
//! Whoever asks gets a [`Firewall`] and need not know which one it is.

use crate::remote::Remote;
use firewall_api::failure::{Exit, Failure};
use firewall_api::firewall::{Firewall, Host};
use firewall_api::request::no_daemon;
use firewall_engine::local::Local;
use std::path::Path;

/// Where this host's pins are, unless somebody says otherwise.
pub const DEFAULT_ROOT: &str = firewall_engine::engine::DEFAULT_ROOT;

/// The firewall: the daemon's if one listens, else this host's own.
///
/// # Errors
/// Exit code 4 when the socket is there and may not be opened.
pub fn firewall(root: &Path, socket: &Path) -> Result<Box<dyn Firewall>, Failure> {
    Ok(match Remote::connect(socket)? {
        Some(remote) => Box::new(remote),
        None => Box::new(Local::new(root, socket)),
    })
}

/// As [`firewall`], and this host's own where the daemon's may not be asked: for questions about the
/// machine.
#[must_use]
pub fn nearest(root: &Path, socket: &Path) -> Box<dyn Firewall> {
    firewall(root, socket).unwrap_or_else(|_| Box::new(Local::new(root, socket)))
}

/// The daemon's firewall.
///
/// # Errors
/// Exit code 5 when no daemon listens; as [`firewall`].
pub fn daemon(socket: &Path) -> Result<Box<dyn Firewall>, Failure> {
    match Remote::connect(socket)? {
        Some(remote) => Ok(Box::new(remote)),
        None => Err(no_daemon(socket)),
    }
}

/// This host's own firewall, whether a daemon runs or not.
#[must_use]
pub fn host(root: &Path, socket: &Path) -> Box<dyn Host> {
    Box::new(Local::new(root, socket))
}

/// Refuses what a daemon does instead while it runs.
///
/// # Errors
/// Exit code 7 when a daemon listens; as [`firewall`].
pub fn without_daemon(socket: &Path) -> Result<(), Failure> {
    match Remote::connect(socket)? {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            Exit::Refused,
            format!(
                "a daemon listens on {} and owns the filter",
                socket.display()
            ),
        )),
    }
}

/// Whether a daemon listens.
#[must_use]
pub fn has_daemon(socket: &Path) -> bool {
    matches!(Remote::connect(socket), Ok(Some(_)))
}
