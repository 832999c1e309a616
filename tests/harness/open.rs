//! Connections of every kind that are open while something happens to the filter: idle ones, half
//! closed ones, and ones over which bytes go all the time. Afterwards each is used, in both
//! directions as far as they are open, and who was silent speaks first.

use crate::netns::Namespace;
use crate::patience;
use crate::talk;
use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a connection may take to bring what was sent. Longer than TCP needs to send a lost
/// segment again a few times.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long bytes may stand still that are pushed all the time.
const STILL: Duration = Duration::from_secs(3);

/// Bytes that go at once over a connection of [`Kind::Pushing`], and how often.
const PUSH: usize = 300;
const EVERY: Duration = Duration::from_millis(20);

/// Of each kind no more than so many are waited for that are lost.
const LOST_MAX: usize = 3;

/// Which side did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

/// What goes on over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nothing. Who speaks first afterwards has been silent so far.
    Idle(Side),
    /// That side has said all that it has to say.
    HalfClosed(Side),
    /// That side sends all the time.
    Pushing(Side),
}

const KINDS: [Kind; 6] = [
    Kind::Idle(Side::Client),
    Kind::Idle(Side::Server),
    Kind::HalfClosed(Side::Client),
    Kind::HalfClosed(Side::Server),
    Kind::Pushing(Side::Client),
    Kind::Pushing(Side::Server),
];

/// A connection by its two ends, and where it goes as the client sees it.
struct Open {
    kind: Kind,
    to: SocketAddr,
    client: TcpStream,
    server: TcpStream,
}

impl Open {
    /// The end of a side, then the other one.
    fn of(&mut self, side: Side) -> (&mut TcpStream, &mut TcpStream) {
        match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        }
    }

    /// Uses it, as far as it is open.
    fn is_used(&mut self) -> io::Result<()> {
        match self.kind {
            Kind::Idle(side) => {
                let (first, second) = self.of(side);
                talk::tells(first, second, b"first")?;
                talk::tells(second, first, b"second")
            }
            Kind::HalfClosed(side) => {
                let (closed, open) = self.of(side);
                talk::tells(open, closed, b"still")
            }
            // Against the bytes that are pushed.
            Kind::Pushing(side) => {
                let (pusher, other) = self.of(side);
                other.write_all(b"back")?;
                hears(pusher, b"back")
            }
        }
    }

    /// Both ends come to an end, by the one that is still open.
    fn ends(mut self) -> io::Result<()> {
        let side = match self.kind {
            Kind::Idle(side) => side,
            Kind::HalfClosed(Side::Client) => Side::Server,
            Kind::HalfClosed(Side::Server) => Side::Client,
            Kind::Pushing(_) => return Ok(()),
        };
        let (first, second) = self.of(side);
        first.shutdown(Shutdown::Write)?;
        ends(second)?;
        second.shutdown(Shutdown::Write).or_else(gone)?;
        ends(first)
    }
}

/// A side that has closed before is closed.
fn gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

fn ends(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "more than there is")),
    }
}

/// Reads `text` from an end that does not block.
fn hears(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    let (mut heard, mut bytes) = (Vec::<u8>::new(), [0; 16]);
    let until = Instant::now() + patience(PATIENCE);
    while heard.len() < text.len() {
        match stream.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => heard.extend(&bytes[..length]),
            Err(error) if talk::is_silence(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    if heard == text {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidData, "another text"))
    }
}

/// How a pushing connection stands.
#[derive(Default)]
struct Pushed {
    sent: AtomicU64,
    heard: AtomicU64,
    /// Why no more comes.
    error: Mutex<Option<String>>,
}

impl Pushed {
    fn fails(&self, what: &impl ToString) {
        if let Ok(mut error) = self.error.lock() {
            error.get_or_insert_with(|| what.to_string());
        }
    }

    fn error(&self) -> Option<String> {
        self.error.lock().ok()?.clone()
    }
}

/// The connections.
pub struct Crowd {
    open: Vec<Open>,
    /// Of each pushing one, where it stands in `open`.
    pushed: Vec<(usize, Arc<Pushed>)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Opens `count` connections from `client` to `port` of `server`, as many to each of the
    /// addresses by which the client knows it. Each is used in both directions before.
    ///
    /// # Errors
    /// One does not open.
    pub fn open(
        client: &Namespace,
        server: &Namespace,
        to: &[SocketAddr],
        port: u16,
        count: usize,
    ) -> Result<Self> {
        let limit = getrlimit(Resource::Nofile);
        let current = limit.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
        let listener = talk::listener(server, port)?;
        let mut open = Vec::new();
        for number in 0..count {
            let kind = KINDS[number / to.len() % KINDS.len()];
            let to = to[number % to.len()];
            let (client, server) = talk::ends(client, to, &listener)?;
            let mut one = Open {
                kind,
                to,
                client,
                server,
            };
            begin(&mut one)?;
            open.push(one);
        }
        let mut crowd = Self {
            open,
            pushed: Vec::new(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        crowd.push()?;
        Ok(crowd)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Bytes that have been pushed and have arrived, over all.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        let heard = |it: &(usize, Arc<Pushed>)| it.1.heard.load(Ordering::Relaxed);
        self.pushed.iter().map(heard).sum()
    }

    /// Starts what goes on all the time: a thread that writes, and one that reads.
    fn push(&mut self) -> Result<()> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (index, one) in self.open.iter_mut().enumerate() {
            let Kind::Pushing(side) = one.kind else {
                continue;
            };
            let pushed = Arc::<Pushed>::default();
            let (pusher, other) = one.of(side);
            pusher.set_nonblocking(true)?;
            other.set_nonblocking(true)?;
            from.push((pusher.try_clone()?, Arc::clone(&pushed)));
            to.push((other.try_clone()?, Arc::clone(&pushed)));
            self.pushed.push((index, pushed));
        }
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for (stream, pushed) in &mut from {
                    write(stream, pushed);
                }
                std::thread::sleep(EVERY);
            }
            for (stream, _) in from {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }));
        self.threads.push(std::thread::spawn(move || {
            while !to.is_empty() {
                to.retain_mut(|(stream, pushed)| read(stream, pushed));
                std::thread::sleep(EVERY / 4);
            }
        }));
        Ok(())
    }

    /// Uses every connection; what has become of those that are lost.
    pub fn lost(&mut self) -> Vec<String> {
        let before: Vec<u64> = self
            .pushed
            .iter()
            .map(|(_, it)| it.heard.load(Ordering::Relaxed))
            .collect();
        let mut lost: Vec<String> = Vec::new();
        for (number, one) in self.open.iter_mut().enumerate() {
            let kind = format!("{:?}", one.kind);
            if lost.iter().filter(|it| it.starts_with(&kind)).count() >= LOST_MAX {
                continue;
            }
            if let Err(error) = one.is_used() {
                lost.push(format!("{kind}, number {number}, to {}: {error}", one.to));
            }
        }
        let until = Instant::now() + patience(STILL);
        for ((number, pushed), before) in self.pushed.iter().zip(before) {
            while pushed.heard.load(Ordering::Relaxed) <= before
                && pushed.error().is_none()
                && Instant::now() < until
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            let one = &self.open[*number];
            if let Some(error) = pushed.error() {
                lost.push(format!("{:?}, to {}: {error}", one.kind, one.to));
            } else if pushed.heard.load(Ordering::Relaxed) <= before {
                lost.push(format!("{:?}, to {}: stands still", one.kind, one.to));
            }
        }
        lost
    }

    /// Ends every connection, and sees that all that was pushed has arrived.
    ///
    /// # Errors
    /// One that does not come to its end, or not with all its bytes.
    pub fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        let until = Instant::now() + patience(PATIENCE);
        while threads.iter().any(|it| !it.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut bad = Vec::new();
        for (number, pushed) in &self.pushed {
            let kind = self.open[*number].kind;
            let sent = pushed.sent.load(Ordering::Relaxed);
            let heard = pushed.heard.load(Ordering::Relaxed);
            if let Some(error) = pushed.error() {
                bad.push(format!("{kind:?}: {error}"));
            } else if sent != heard {
                bad.push(format!("{kind:?}: {heard} of {sent} bytes"));
            }
        }
        for one in std::mem::take(&mut self.open) {
            let what = format!("{:?}, to {}", one.kind, one.to);
            if let Err(error) = one.ends() {
                bad.push(format!("{what}: {error}"));
            }
        }
        ensure!(bad.is_empty(), "at the end: {bad:#?}");
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Speaks over a new connection, and brings it to what it is to be.
fn begin(one: &mut Open) -> io::Result<()> {
    for end in [&one.client, &one.server] {
        end.set_read_timeout(Some(patience(PATIENCE)))?;
    }
    let kind = one.kind;
    // Who is to speak first afterwards has heard the last word.
    let first = match kind {
        Kind::Idle(side) => side,
        _ => Side::Client,
    };
    let (first, second) = one.of(first);
    talk::tells(first, second, b"hello")?;
    talk::tells(second, first, b"hello")?;
    if let Kind::HalfClosed(side) = kind {
        let (closed, open) = one.of(side);
        closed.shutdown(Shutdown::Write)?;
        ends(open)?;
    }
    Ok(())
}

/// The bytes that are pushed, from the first on.
const fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

fn write(stream: &mut TcpStream, pushed: &Pushed) {
    let at = pushed.sent.load(Ordering::Relaxed);
    let bytes: Vec<u8> = (at..at + PUSH as u64).map(byte).collect();
    match stream.write(&bytes) {
        Ok(length) => {
            pushed.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
        Err(error) if talk::is_silence(&error) => {}
        Err(error) => pushed.fails(&error),
    }
}

/// Reads what is there; whether more will come.
fn read(stream: &mut TcpStream, pushed: &Pushed) -> bool {
    let mut bytes = [0; 1 << 14];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(length) => {
                let at = pushed.heard.load(Ordering::Relaxed);
                let wanted = (at..).map(byte);
                if bytes[..length]
                    .iter()
                    .copied()
                    .zip(wanted)
                    .any(|(a, b)| a != b)
                {
                    pushed.fails(&"other bytes");
                    return false;
                }
                pushed.heard.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if talk::is_silence(&error) => return true,
            Err(error) => {
                pushed.fails(&error);
                return false;
            }
        }
    }
}
