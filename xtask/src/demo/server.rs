//! A small HTTP server with real sockets. It listens on the allowed port, and on ports that the
//! policy blocks too: that nobody answers there is then the firewall's doing.

use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server answers.
pub(super) const BODY: &str = "It works, and the firewall lets you see it.\n";

/// A listener on one port, both address families.
pub(super) struct Server {
    pub(super) port: u16,
    /// Connections accepted so far.
    accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens in the calling thread's network namespace.
    pub(super) fn start(port: u16) -> Result<Self> {
        // The unspecified IPv6 address takes IPv4 connections too.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .with_context(|| format!("listening on port {port}"))?;
        listener.set_nonblocking(true).context("the listener")?;
        let accepted = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&accepted), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        count.fetch_add(1, Ordering::Relaxed);
                        // A client that goes away is its own business.
                        let _ = answer(stream);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(_) => {}
                }
            }
        });
        Ok(Self {
            port,
            accepted,
            stop,
            thread: Some(thread),
        })
    }

    /// Connections accepted so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 8192 {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&part[..read]),
        }
    }
    let length = BODY.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{BODY}"
    )
}

/// One GET request on a connection of its own; the body of a 200 answer.
pub(super) fn get(address: std::net::SocketAddr) -> Result<String> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the header")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "answer {head}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn requests_are_answered_and_counted() {
        // Port 0 would hide which port it is: find a free one first.
        let port = TcpListener::bind("[::1]:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server::start(port).unwrap();
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            assert_eq!(get(address.parse::<SocketAddr>().unwrap()).unwrap(), BODY);
        }
        assert_eq!(server.accepted(), 2);
        drop(server);
        assert!(get(SocketAddr::from(([127, 0, 0, 1], port))).is_err());
    }
}
