//! The connections that this command came over by SSH, so that a change which would cut one can be
//! refused. May not change anything.
//!
//! SSH tells its sessions in a variable, which `sudo` and `su` take away: so the processes that this one
//! descends from are asked, too. A shared terminal (tmux, screen) descends from nobody who uses it: there
//! those count that are attached to it now. Invariant: below an SSH server there is a session, whether or
//! not its variable can be read.

use firewall_api::session::{Connection, Session};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt as _;

/// What SSH tells its sessions.
const NAME: &str = "SSH_CONNECTION";

/// Names of SSH servers: a session descends from one.
const SERVERS: [&str; 3] = ["sshd", "dropbear", "tinysshd"];

/// Names of shared terminals, whose processes outlive who uses them.
const SHARED: [&str; 3] = ["tmux", "screen", "SCREEN"];

/// How many processes one descends from at most.
const DEEP: usize = 64;

/// There is a connection, and nobody can say which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unclear;

/// What is found on the way from a process to the first one.
#[derive(Debug, Default)]
struct Way {
    /// The variable that is next to the process.
    connection: Option<Vec<u8>>,
    /// Whether the way leads through an SSH server.
    has_server: bool,
    /// Id and user of the shared terminal that it leads to.
    terminal: Option<(u32, u32)>,
}

/// The session that this command comes from.
pub(super) fn session() -> Session {
    match connections() {
        Err(Unclear) => Session::Unclear,
        Ok(none) if none.is_empty() => Session::None,
        Ok(some) => Session::Over(some),
    }
}

/// The connections that this command came over, if it came over SSH.
///
/// # Errors
/// It came over SSH, and what SSH says of that cannot be read.
pub(super) fn connections() -> Result<Vec<Connection>, Unclear> {
    let own = std::env::var_os(NAME).map(OsStringExt::into_vec);
    let mut way = way_of(std::process::id());
    way.connection = own.or(way.connection);
    let Some((terminal, user)) = way.terminal else {
        return Ok(of_way(&way)?.into_iter().collect());
    };
    let mut found = BTreeSet::new();
    for client in clients(terminal, user) {
        found.extend(of_way(&way_of(client))?);
    }
    // Who started the terminal may use it yet, by means that no process tells.
    let began = way.connection.as_deref().and_then(read);
    found.extend(began.filter(is_alive));
    Ok(found.into_iter().collect())
}

/// The connection of a way that leads through no shared terminal.
fn of_way(way: &Way) -> Result<Option<Connection>, Unclear> {
    match &way.connection {
        Some(text) => read(text).map(Some).ok_or(Unclear),
        None if way.has_server => Err(Unclear),
        None => Ok(None),
    }
}

/// Looks at the processes from one up to the first one, or to a shared terminal.
fn way_of(mut process: u32) -> Way {
    let mut way = Way::default();
    for _ in 0..DEEP {
        let Some(stat) = Stat::of(process) else {
            break;
        };
        if way.connection.is_none() {
            way.connection = variable(process);
        }
        let is = |names: &[&str]| names.iter().any(|name| stat.name.starts_with(name));
        if is(&SHARED) && stat.parent <= 1 {
            way.terminal = Some((process, stat.user));
            break;
        }
        way.has_server |= is(&SERVERS);
        if stat.parent <= 1 {
            break;
        }
        process = stat.parent;
    }
    way
}

/// The processes of a user by which somebody looks at a shared terminal: those of its kind that descend
/// from elsewhere.
fn clients(terminal: u32, user: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_client = |&process: &u32| {
        Stat::of(process).is_some_and(|stat| {
            process != terminal
                && stat.user == user
                && stat.parent > 1
                && SHARED.iter().any(|name| stat.name.starts_with(name))
        })
    };
    processes.filter(is_client).collect()
}

/// What `/proc` says of a process to everybody.
struct Stat {
    name: String,
    parent: u32,
    /// Its effective user.
    user: u32,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        let folder = format!("/proc/{process}");
        let user = std::fs::metadata(&folder).ok()?.uid();
        let stat = std::fs::read(format!("{folder}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name in brackets may hold anything; state and parent follow it.
        let (front, behind) = stat.rsplit_once(')')?;
        let (_, name) = front.split_once('(')?;
        let parent = behind.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            parent,
            user,
        })
    }
}

/// What SSH has told a process.
fn variable(process: u32) -> Option<Vec<u8>> {
    let environment = std::fs::read(format!("/proc/{process}/environ")).ok()?;
    let name = [NAME.as_bytes(), b"="].concat();
    let mut pairs = environment.split(|&byte| byte == 0);
    let found = pairs.find_map(|pair| pair.strip_prefix(&name[..]))?;
    Some(found.to_owned())
}

/// `client port host port`. Link-local addresses have an interface, and those of IPv4 on a socket of
/// IPv6 a prefix; neither is kept.
fn read(text: &[u8]) -> Option<Connection> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let mut end = || {
        let address = words.next()?.split('%').next()?;
        let address: IpAddr = address.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    let (from, to) = (end()?, end()?);
    Some(Connection { from, to })
}

/// Whether this host has the connection now.
fn is_alive(connection: &Connection) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        let mut lines = text.lines().skip(1);
        lines.any(|line| established(line).as_ref() == Some(connection))
    })
}

/// A connection of a line of `/proc/net/tcp` that is established.
fn established(line: &str) -> Option<Connection> {
    const ESTABLISHED: &str = "01";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (own, peer) = (words.next()?, words.next()?);
    if words.next()? != ESTABLISHED {
        return None;
    }
    Some(Connection {
        from: end_of(peer)?,
        to: end_of(own)?,
    })
}

/// `ADDRESS:PORT` in hexadecimal digits: words of 32 bits as the host has them.
fn end_of(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(connection: Option<Connection>) -> String {
        connection.map_or(String::new(), |it| format!("{} > {}", it.from, it.to))
    }

    #[test]
    fn the_connection_as_ssh_names_it() {
        for (said, meant) in [
            (
                "203.0.113.9 50000 198.51.100.1 22",
                "203.0.113.9:50000 > 198.51.100.1:22",
            ),
            (
                "::ffff:203.0.113.9 50000 ::ffff:198.51.100.1 22",
                "203.0.113.9:50000 > 198.51.100.1:22",
            ),
            (
                "fe80::1%eth0 50000 fe80::2%eth0 2222",
                "[fe80::1]:50000 > [fe80::2]:2222",
            ),
            ("203.0.113.9", ""),
            ("\u{fffd}", ""),
        ] {
            assert_eq!(text(read(said.as_bytes())), meant, "{said}");
        }
    }

    #[test]
    fn below_a_server_a_session_without_its_variable_is_unclear() {
        let way = |connection: Option<&[u8]>, has_server| Way {
            connection: connection.map(<[u8]>::to_vec),
            has_server,
            terminal: None,
        };
        let good = Some(&b"203.0.113.9 50000 198.51.100.1 22"[..]);
        assert!(matches!(of_way(&way(good, true)), Ok(Some(_))));
        assert!(matches!(of_way(&way(good, false)), Ok(Some(_))));
        assert_eq!(of_way(&way(None, false)), Ok(None));
        assert_eq!(of_way(&way(None, true)), Err(Unclear));
        assert_eq!(of_way(&way(Some(b"odd"), false)), Err(Unclear));
    }

    #[test]
    fn the_kernel_knows_which_connections_are_alive() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(to).unwrap();
        let connection = Connection {
            from: client.local_addr().unwrap(),
            to,
        };
        assert!(is_alive(&connection));
        let other = Connection {
            from: "203.0.113.9:50000".parse().unwrap(),
            to,
        };
        assert!(!is_alive(&other));
        let v6 = "   0: 0000000000000000FFFF00000100007F:0016 \
                  0000000000000000FFFF00000200007F:C350 01 0";
        if cfg!(target_endian = "little") {
            assert_eq!(text(established(v6)), "127.0.0.2:50000 > 127.0.0.1:22");
        }
    }

    #[test]
    fn every_process_says_who_its_parent_is() {
        let own = Stat::of(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(Stat::of(u32::MAX).is_none());
    }
}
