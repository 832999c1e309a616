//! Clients of an echo server: connections and questions from a host, patient on a slow machine.

use crate::echo;
use crate::netns::Namespace;
use crate::patience;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketType};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long something may take that is to succeed.
pub const LONG: Duration = Duration::from_secs(10);

/// How long to wait for something that is not to come.
pub const SHORT: Duration = Duration::from_millis(400);

/// Answers every line with itself by TCP, and every datagram, as long as the process lives.
///
/// # Errors
/// The port is taken.
pub fn listen(host: &Namespace, port: u16) -> io::Result<()> {
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let (listener, socket) = host.run(|| -> io::Result<_> {
        let listener = TcpListener::bind((any, port))?;
        Ok((listener, UdpSocket::bind((any, port))?))
    })?;
    echo::serve(listener, socket);
    Ok(())
}

/// A listener of a host, for a test that accepts by itself.
///
/// # Errors
/// The port is taken.
pub fn listener(host: &Namespace, port: u16) -> io::Result<TcpListener> {
    host.run(|| TcpListener::bind((IpAddr::from(Ipv6Addr::UNSPECIFIED), port)))
}

/// A connection from `host`.
///
/// # Errors
/// None within `time`.
pub fn connect_within(
    host: &Namespace,
    to: impl Into<SocketAddr>,
    time: Duration,
) -> io::Result<TcpStream> {
    let to = to.into();
    let stream = host.run(|| TcpStream::connect_timeout(&to, patience(time)))?;
    stream.set_read_timeout(Some(patience(LONG)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// As [`connect_within`], with patience.
///
/// # Errors
/// There is no connection.
pub fn connect(host: &Namespace, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    connect_within(host, to, LONG)
}

/// A connection from a port of `host`, which ends by a RST.
///
/// # Errors
/// There is none.
pub fn from_port(host: &Namespace, port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let (family, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    host.run(|| {
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        rustix::net::bind(&socket, &SocketAddr::new(any, port))?;
        for way in [Timeout::Send, Timeout::Recv] {
            sockopt::set_socket_timeout(&socket, way, Some(patience(LONG)))?;
        }
        rustix::net::connect(&socket, &to)?;
        Ok(TcpStream::from(socket))
    })
}

/// Both ends of a connection from `host` to a listener.
///
/// # Errors
/// There is none.
pub fn ends(
    host: &Namespace,
    to: impl Into<SocketAddr>,
    listener: &TcpListener,
) -> io::Result<(TcpStream, TcpStream)> {
    let client = connect(host, to)?;
    listener.set_nonblocking(true)?;
    let until = Instant::now() + patience(LONG);
    loop {
        match listener.accept() {
            Ok((server, from)) if from.port() == client.local_addr()?.port() => {
                server.set_nonblocking(false)?;
                server.set_read_timeout(Some(patience(LONG)))?;
                server.set_nodelay(true)?;
                return Ok((client, server));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends `text` by one end of a connection, and receives it at the other.
///
/// # Errors
/// It does not arrive.
pub fn tells(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    from.write_all(text)?;
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard)?;
    if heard == text {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidData, "another text"))
    }
}

/// Sends a line to an echo server, which answers.
///
/// # Errors
/// It does not.
pub fn says(stream: &mut TcpStream) -> io::Result<()> {
    let mut other = stream.try_clone()?;
    tells(stream, &mut other, b"hello")
}

/// A question by UDP to an echo server, and its answer.
///
/// # Errors
/// There is none within `time`.
pub fn asks(host: &Namespace, to: impl Into<SocketAddr>, time: Duration) -> io::Result<()> {
    let to = to.into();
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = host.run(|| UdpSocket::bind((any, 0)))?;
    socket.set_read_timeout(Some(patience(time)))?;
    socket.send_to(b"question", to)?;
    socket.recv(&mut [0; 16]).map(drop)
}

/// Whether nothing came, where an error would have shown something else.
#[must_use]
pub fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
