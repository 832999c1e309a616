//! The connections that this command came over by SSH, so that a change which would cut one can be
//! refused. May not change anything.
//!
//! ```text
//! ssh.rs       from this process up to an SSH server, or to a terminal that is shared
//! logins.rs    who is logged in by SSH, where that way says nothing
//! ```
//!
//! SSH tells its sessions in a variable, which `sudo` and `su` take away: so the processes that this one
//! descends from are asked, too. A shared terminal (tmux, screen) descends from nobody who uses it: there
//! those count that are attached to it now. Of a terminal that descends from no SSH server and is none that is
//! known (zellij, dtach, mosh), its variable is that of who began it: there every login of its user counts.
//! Invariant: where something says SSH, there is a session, whether or not anybody knows which.

mod logins;

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

/// The first and the last major number of pseudo-terminals (`linux/major.h`).
const PSEUDO_TERMINALS: (u32, u32) = (136, 143);

/// There is a connection, and nobody can say which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unclear;

/// What is found on the way from a process to the first one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Way {
    /// The variable that is next to the process.
    connection: Option<Vec<u8>>,
    /// Whether the way leads through an SSH server.
    has_server: bool,
    /// Id and user of the shared terminal that it leads to.
    terminal: Option<(u32, u32)>,
    /// Whether it leads to the first process, or to that terminal.
    is_whole: bool,
    /// Whether the process is at a pseudo-terminal, which another program holds.
    is_at_terminal: bool,
    /// The user of the last process on it that is not the first one.
    user: Option<u32>,
}

/// Who else knows of connections by SSH.
trait Known {
    /// The connections that a user is logged in by now.
    fn logins(&self, user: Option<u32>) -> Vec<Connection>;
    /// Whether a user, or anybody, is logged in from elsewhere.
    fn is_remote(&self, user: Option<u32>) -> bool;
    /// Whether this host has the connection now.
    fn is_alive(&self, connection: &Connection) -> bool;
}

/// This host.
struct Host;

impl Known for Host {
    fn logins(&self, user: Option<u32>) -> Vec<Connection> {
        logins::connections(user)
    }

    fn is_remote(&self, user: Option<u32>) -> bool {
        logins::is_remote(user)
    }

    fn is_alive(&self, connection: &Connection) -> bool {
        is_alive(connection)
    }
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
    let found = of_process(std::process::id(), own, &mut Vec::new())?;
    Ok(found.into_iter().collect())
}

/// The connections that a process came over; `own` is what it knows itself, and `terminals` are the shared
/// ones that have been looked at: one may be used in another.
fn of_process(
    process: u32,
    own: Option<Vec<u8>>,
    terminals: &mut Vec<u32>,
) -> Result<BTreeSet<Connection>, Unclear> {
    let mut way = way_of(process);
    way.connection = own.or(way.connection);
    let Some((terminal, user)) = way.terminal else {
        return Ok(of_way(&way, &Host)?.into_iter().collect());
    };
    let mut found = BTreeSet::new();
    if !terminals.contains(&terminal) {
        terminals.push(terminal);
        for client in clients(terminal, user) {
            found.extend(of_process(client, None, terminals)?);
        }
    }
    // Who started the terminal may use it yet, by means that no process tells.
    let began = way.connection.as_deref().and_then(read);
    found.extend(began.filter(is_alive));
    Ok(found)
}

/// The connections of a way that leads through no shared terminal that is known.
fn of_way(way: &Way, known: &impl Known) -> Result<Vec<Connection>, Unclear> {
    let said = way
        .connection
        .as_deref()
        .map(|text| read(text).ok_or(Unclear));
    let said = said.transpose()?;
    let is_detached = way.is_whole && !way.has_server && way.is_at_terminal;
    if !is_detached {
        return match said {
            Some(connection) => Ok(vec![connection]),
            None if way.has_server => Err(Unclear),
            // A way that ends half way may have come from anywhere.
            None if !way.is_whole && known.is_remote(None) => Err(Unclear),
            None => Ok(Vec::new()),
        };
    }
    // Whoever holds the terminal has been left by its SSH server, or had none.
    let mut found: BTreeSet<Connection> = known.logins(way.user).into_iter().collect();
    found.extend(said.filter(|it| known.is_alive(it)));
    if found.is_empty() && (said.is_some() || known.is_remote(way.user)) {
        return Err(Unclear);
    }
    Ok(found.into_iter().collect())
}

/// Looks at the processes from one up to the first one, or to a shared terminal.
fn way_of(mut process: u32) -> Way {
    let mut way = Way::default();
    for step in 0..DEEP {
        let Some(stat) = Stat::of(process) else {
            break;
        };
        if step == 0 {
            let (first, last) = PSEUDO_TERMINALS;
            way.is_at_terminal = (first..=last).contains(&stat.terminal);
        }
        if way.connection.is_none() {
            way.connection = variable(process);
        }
        let is = |names: &[&str]| names.iter().any(|name| stat.name.starts_with(name));
        // (A client of one is nobody's parent, and SCREEN may be the child of its first one.)
        if is(&SHARED) && step > 0 {
            way.terminal = Some((process, stat.user));
            way.is_whole = true;
            break;
        }
        way.has_server |= is(&SERVERS);
        if process > 1 {
            way.user = Some(stat.user);
        }
        if stat.parent <= 1 {
            way.is_whole = true;
            break;
        }
        process = stat.parent;
    }
    way
}

/// The processes of a user by which somebody looks at a shared terminal: those of its kind that are at a
/// terminal themselves.
fn clients(terminal: u32, user: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_client = |&process: &u32| {
        Stat::of(process).is_some_and(|stat| {
            process != terminal
                && stat.user == user
                && stat.terminal != 0
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
    /// Major number of the terminal that it is at; 0 if it is at none.
    terminal: u32,
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
        let mut numbers = behind.split_ascii_whitespace().skip(1);
        let parent = numbers.next()?.parse().ok()?;
        // (Behind process group and session.)
        let terminal: u32 = numbers.nth(2)?.parse().unwrap_or_default();
        Some(Self {
            name: name.to_owned(),
            parent,
            user,
            terminal: terminal >> 8 & 0xfff,
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

    const SAID: &[u8] = b"203.0.113.9 50000 198.51.100.1 22";

    /// A host that knows so much.
    #[derive(Default)]
    struct Known {
        logins: Vec<Connection>,
        is_remote: bool,
        is_alive: bool,
    }

    impl super::Known for Known {
        fn logins(&self, _user: Option<u32>) -> Vec<Connection> {
            self.logins.clone()
        }

        fn is_remote(&self, _user: Option<u32>) -> bool {
            self.is_remote
        }

        fn is_alive(&self, _connection: &Connection) -> bool {
            self.is_alive
        }
    }

    fn way(connection: Option<&[u8]>, has_server: bool) -> Way {
        Way {
            connection: connection.map(<[u8]>::to_vec),
            has_server,
            is_whole: true,
            ..Way::default()
        }
    }

    #[test]
    fn below_a_server_a_session_without_its_variable_is_unclear() {
        let of = |way: &Way| of_way(way, &Known::default()).map(|found| found.len());
        assert_eq!(of(&way(Some(SAID), true)), Ok(1));
        assert_eq!(of(&way(Some(SAID), false)), Ok(1));
        assert_eq!(of(&way(None, false)), Ok(0));
        assert_eq!(of(&way(None, true)), Err(Unclear));
        assert_eq!(of(&way(Some(b"odd"), false)), Err(Unclear));
    }

    #[test]
    fn a_way_that_ends_half_way_is_unclear_where_somebody_is_logged_in_from_elsewhere() {
        let cut = |connection| Way {
            is_whole: false,
            ..way(connection, false)
        };
        let known = |is_remote| Known {
            is_remote,
            ..Known::default()
        };
        assert_eq!(of_way(&cut(None), &known(false)), Ok(Vec::new()));
        assert_eq!(of_way(&cut(None), &known(true)), Err(Unclear));
        assert_eq!(
            of_way(&cut(Some(SAID)), &known(true)).map(|it| it.len()),
            Ok(1)
        );
        assert!(!way_of(u32::MAX).is_whole);
    }

    #[test]
    fn at_a_terminal_that_its_server_has_left_every_login_of_the_user_counts() {
        let detached = |connection| Way {
            is_at_terminal: true,
            ..way(connection, false)
        };
        let of = |connection, known: &Known| of_way(&detached(connection), known);
        let mut known = Known::default();
        // A console, a terminal of a desktop, a container.
        assert_eq!(of(None, &known), Ok(Vec::new()));
        // What it says is over, and nobody else is there.
        assert_eq!(of(Some(SAID), &known), Err(Unclear));
        known.is_remote = true;
        assert_eq!(of(None, &known), Err(Unclear));
        let other = read(b"203.0.113.7 40000 198.51.100.1 22").unwrap();
        known.logins = vec![other];
        assert_eq!(of(None, &known), Ok(vec![other]));
        assert_eq!(of(Some(SAID), &known), Ok(vec![other]));
        known.is_alive = true;
        assert_eq!(of(Some(SAID), &known).map(|it| it.len()), Ok(2));
        // Below a server, its word counts.
        let below = Way {
            has_server: true,
            ..detached(Some(SAID))
        };
        assert_eq!(of_way(&below, &known), Ok(vec![read(SAID).unwrap()]));
    }

    /// As `systemd --user` starts one: its parent is not the first process.
    #[test]
    fn a_shared_terminal_is_one_whoever_its_parent_is() {
        use std::io::BufRead as _;
        let folder = std::env::temp_dir().join(format!("firewall-ssh-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let tmux = folder.join("tmux");
        std::fs::copy("/bin/sh", &tmux).unwrap();
        let mut server = std::process::Command::new(&tmux)
            .args(["-c", "sleep 30 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = server.stdout.take().unwrap();
        std::io::BufReader::new(output)
            .read_line(&mut line)
            .unwrap();
        let shell: u32 = line.trim().parse().unwrap();
        let way = way_of(shell);
        let _ = std::process::Command::new("kill").arg(line.trim()).status();
        server.wait().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(way.terminal.map(|it| it.0), Some(server.id()));
        assert!(way.is_whole);
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
