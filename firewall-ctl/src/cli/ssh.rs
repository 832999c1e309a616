//! The connection that SSH says this command came over, so that a change which would cut it can be
//! refused. May not change anything.

use firewall_api::sets::Session;
use std::net::{IpAddr, SocketAddr};

/// What SSH tells its sessions.
const NAME: &str = "SSH_CONNECTION";

/// Both ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Connection {
    /// The client.
    pub(super) from: SocketAddr,
    /// This host.
    pub(super) to: SocketAddr,
}

impl Connection {
    /// The one that this command came over, if it came over SSH. `sudo` takes the variable away, so
    /// it is looked for in the environment of the processes that this one descends from, too.
    ///
    /// # Errors
    /// It came over SSH, and what SSH says of that cannot be read.
    pub(super) fn own() -> Result<Option<Self>, Unclear> {
        const MOST: usize = 32;
        let read = |text: &str| Self::read(text).map(Some).ok_or(Unclear);
        match std::env::var(NAME) {
            Ok(own) => return read(&own),
            Err(std::env::VarError::NotUnicode(_)) => return Err(Unclear),
            Err(std::env::VarError::NotPresent) => {}
        }
        let mut process = std::process::id();
        for _ in 0..MOST {
            let Some(parent) = parent(process).filter(|&parent| parent > 1) else {
                break;
            };
            process = parent;
            let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            let name = [NAME.as_bytes(), b"="].concat();
            let mut pairs = environment.split(|&byte| byte == 0);
            if let Some(found) = pairs.find_map(|pair| pair.strip_prefix(&name[..])) {
                return read(std::str::from_utf8(found).map_err(|_| Unclear)?);
            }
        }
        Ok(None)
    }

    /// `client port host port`. Link-local addresses have an interface, and those of IPv4 on a
    /// socket of IPv6 a prefix; neither is kept.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let mut end = || {
            let address = words.next()?.split('%').next()?;
            let address: IpAddr = address.parse().ok()?;
            let port = words.next()?.parse().ok()?;
            Some(SocketAddr::new(address.to_canonical(), port))
        };
        let (from, to) = (end()?, end()?);
        Some(Self { from, to })
    }

    /// Its first packet, as text for `test`.
    pub(super) fn opening(&self) -> String {
        format!("tcp {} > {} syn", self.from, self.to)
    }
}

/// There is a connection, and nobody can say which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unclear;

/// The session that this command comes from.
pub(super) fn session() -> Session {
    match Connection::own() {
        Ok(None) => Session::None,
        Ok(Some(own)) => Session::From(own.from.ip()),
        Err(Unclear) => Session::Unclear,
    }
}

/// The process that another one was started from.
fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold anything; state and parent follow it.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Connection;

    #[test]
    fn the_connection_as_ssh_names_it() {
        let text = |connection: &str| {
            let read = Connection::read(connection);
            read.map_or(String::new(), |connection| connection.opening())
        };
        assert_eq!(
            text("203.0.113.9 50000 198.51.100.1 22"),
            "tcp 203.0.113.9:50000 > 198.51.100.1:22 syn"
        );
        assert_eq!(
            text("::ffff:203.0.113.9 50000 ::ffff:198.51.100.1 22"),
            "tcp 203.0.113.9:50000 > 198.51.100.1:22 syn"
        );
        assert_eq!(
            text("fe80::1%eth0 50000 fe80::2%eth0 2222"),
            "tcp [fe80::1]:50000 > [fe80::2]:2222 syn"
        );
        assert_eq!(text("203.0.113.9"), "");
    }
}
