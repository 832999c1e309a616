//! Real TCP transfers between two hosts: a server on each, and clients that ask it for bytes or
//! bring it some, in many sizes and ways to begin and to end.
//!
//! A transfer has succeeded if the client has seen every byte right and the end of the connection.

use crate::netns::Namespace;
use crate::random::Random;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes that are made and compared at once.
const CHUNK: usize = 1 << 14;

/// The way of a transfer. What is `true` of the client is the server's where it is `false`.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Whether the client is on the inside host.
    pub from_inside: bool,
    /// Over IPv6.
    pub v6: bool,
    /// Bytes.
    pub size: u64,
    /// The client sends the bytes.
    pub client_sends: bool,
    /// The client is the first to close.
    pub client_closes: bool,
    /// Where the bytes begin, as random numbers go.
    pub seed: u64,
}

impl Transfer {
    /// A random one of up to `largest` bytes: as many small ones as large ones.
    #[must_use]
    pub fn random(random: &mut Random, largest: u64) -> Self {
        let bits = u64::from(64 - largest.leading_zeros());
        let most = 1 << random.below(bits + 1);
        Self {
            from_inside: random.one_in(2),
            v6: random.one_in(2),
            size: 1 + random.below(largest.min(most)),
            client_sends: random.one_in(2),
            client_closes: random.one_in(2),
            seed: random.bits(),
        }
    }

    fn header(&self) -> [u8; 24] {
        let ways = u64::from(self.client_sends) | u64::from(self.client_closes) << 1;
        let mut header = [0; 24];
        for (at, word) in [self.size, self.seed, ways].into_iter().enumerate() {
            header[at * 8..][..8].copy_from_slice(&word.to_be_bytes());
        }
        header
    }

    fn read(header: &[u8; 24]) -> Self {
        let [size, seed, ways] = [0, 8, 16].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[at..at + 8]);
            u64::from_be_bytes(word)
        });
        Self {
            from_inside: false,
            v6: false,
            size,
            client_sends: ways & 1 != 0,
            client_closes: ways & 2 != 0,
            seed,
        }
    }

    fn client(&self, to: SocketAddr, patience: Duration) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, patience)?;
        limit(&stream, patience)?;
        stream.write_all(&self.header())?;
        if self.client_sends {
            send(&mut stream, self)?;
            stream.read_exact(&mut [0])?;
        } else {
            receive(&mut stream, self)?;
            stream.write_all(b"k")?;
        }
        if self.client_closes {
            stream.shutdown(Shutdown::Write)?;
        }
        ends(&mut stream)
    }

    fn server(mut stream: TcpStream, patience: Duration) -> io::Result<()> {
        limit(&stream, patience)?;
        let mut header = [0; 24];
        stream.read_exact(&mut header)?;
        let transfer = Self::read(&header);
        if transfer.client_sends {
            receive(&mut stream, &transfer)?;
            stream.write_all(b"k")?;
        } else {
            send(&mut stream, &transfer)?;
            stream.read_exact(&mut [0])?;
        }
        if !transfer.client_closes {
            stream.shutdown(Shutdown::Write)?;
        }
        ends(&mut stream)
    }
}

fn limit(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

fn ends(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "more than there is")),
    }
}

/// The next bytes of a transfer.
fn fill(random: &mut Random, bytes: &mut [u8]) {
    for word in bytes.chunks_mut(8) {
        let bits = random.bits().to_be_bytes();
        word.copy_from_slice(&bits[..word.len()]);
    }
}

fn chunks(transfer: &Transfer) -> impl Iterator<Item = usize> {
    let (whole, rest) = (transfer.size / CHUNK as u64, transfer.size % CHUNK as u64);
    (0..whole)
        .map(|_| CHUNK)
        .chain((rest > 0).then_some(rest as usize))
}

fn send(stream: &mut TcpStream, transfer: &Transfer) -> io::Result<()> {
    let (mut random, mut bytes) = (Random::new(transfer.seed), [0; CHUNK]);
    for size in chunks(transfer) {
        fill(&mut random, &mut bytes[..size]);
        stream.write_all(&bytes[..size])?;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, transfer: &Transfer) -> io::Result<()> {
    let mut random = Random::new(transfer.seed);
    let (mut bytes, mut wanted) = ([0; CHUNK], [0; CHUNK]);
    for size in chunks(transfer) {
        stream.read_exact(&mut bytes[..size])?;
        fill(&mut random, &mut wanted[..size]);
        if bytes[..size] != wanted[..size] {
            return Err(io::Error::new(ErrorKind::InvalidData, "other bytes"));
        }
    }
    Ok(())
}

/// Serves transfers on a port of a host, as long as the process lives. A client that is not heard
/// of for `patience` is given up.
///
/// # Errors
/// The port is taken.
pub fn serve(host: &Namespace, port: u16, patience: Duration) -> io::Result<()> {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let listener = host.run(|| TcpListener::bind((any, port)))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || Transfer::server(stream, patience));
        }
    });
    Ok(())
}

/// Waits until no connection of these hosts is on the way to its end: the last FINs of transfers that
/// have succeeded may be lost, and come again.
///
/// # Errors
/// Some still are after `patience`.
pub fn all_closed(hosts: [&Namespace; 2], patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let mut open = String::new();
        for host in hosts {
            open.push_str(&host.run(connections)?);
        }
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(io::Error::new(ErrorKind::TimedOut, open));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The lines of `/proc/net/tcp` and `tcp6` of this thread's namespace, without sockets that listen and
/// connections of which both sides are done.
fn connections() -> io::Result<String> {
    const TIME_WAIT: &str = "06";
    const LISTEN: &str = "0A";
    let mut open = String::new();
    for name in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/thread-self/net/{name}"))?;
        for line in table.lines().skip(1) {
            let state = line.split_ascii_whitespace().nth(3);
            if state.is_none_or(|state| state != TIME_WAIT && state != LISTEN) {
                open.push_str(line.trim_end());
                open.push('\n');
            }
        }
    }
    Ok(open)
}

/// Runs the transfers, so many at once, to `port` of the other host, whose address `to` gives; the
/// errors of those that failed.
pub fn run(
    transfers: &[Transfer],
    at_once: usize,
    hosts: [&Namespace; 2],
    to: impl Fn(&Transfer) -> SocketAddr + Sync,
    patience: Duration,
) -> Vec<(Transfer, io::Error)> {
    let next = AtomicUsize::new(0);
    let [outside, inside] = hosts;
    let worker = || {
        let mut failed = Vec::new();
        while let Some(transfer) = transfers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let host = if transfer.from_inside {
                inside
            } else {
                outside
            };
            if let Err(error) = host.run(|| transfer.client(to(transfer), patience)) {
                failed.push((*transfer, error));
            }
        }
        failed
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
