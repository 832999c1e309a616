//! Real traffic from the client: web requests, attempts on blocked ports, pings, and a short flood.
//!
//! Everything goes through the kernel's own sockets, paced so that nothing is lost on the way: the
//! point is exact counts, not speed.

use super::netns::{SERVER_V4, SERVER_V6};
use super::server;
use anyhow::{Context, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Web requests of each address family.
pub(super) const REQUESTS: u32 = 60;
/// TCP ports that `rules/web-server.yaml` blocks (22 for strangers), on which a server listens nevertheless.
pub(super) const BLOCKED: [u16; 4] = [22, 23, 3306, 8080];
/// Port of the flood: memcached, known from reflection attacks.
pub(super) const FLOODED: u16 = 11211;
/// Datagrams of the flood.
pub(super) const FLOOD: u32 = 20_000;
/// Pings of each address family.
pub(super) const PINGS: u16 = 5;
/// How long the traffic lasts.
pub(super) const DURATION: Duration = Duration::from_secs(8);

/// Both addresses of the server.
pub(super) const SERVERS: [IpAddr; 2] = [IpAddr::V4(SERVER_V4), IpAddr::V6(SERVER_V6)];

/// How the client fared.
#[derive(Default)]
pub(super) struct Outcome {
    /// Requests answered with 200.
    pub(super) answered: u32,
    /// The first failure of a request.
    pub(super) failure: Option<String>,
    /// Ports among [`BLOCKED`] that answered, by a connection or by a refusal.
    pub(super) leaks: Vec<String>,
    /// Echo replies received.
    pub(super) pongs: u16,
    /// Datagrams that the flood's socket took.
    pub(super) flooded: u32,
}

/// Sends everything, in the calling thread's namespace, for about [`DURATION`] or until `stop`.
pub(super) fn drive(stop: &AtomicBool) -> Result<Outcome> {
    // Threads started here are in this namespace too.
    std::thread::scope(|scope| {
        let web = scope.spawn(|| requests(stop));
        let knocks: Vec<_> = SERVERS
            .into_iter()
            .flat_map(|server| BLOCKED.map(|port| SocketAddr::new(server, port)))
            .map(|address| scope.spawn(move || knock(address)))
            .collect();
        let flood = scope.spawn(|| flood(stop));
        let mut outcome = Outcome::default();
        for server in SERVERS {
            outcome.pongs += ping(server, stop)?;
        }
        let panicked = |_| anyhow::anyhow!("a traffic thread panicked");
        (outcome.answered, outcome.failure) = web.join().map_err(panicked)?;
        for knock in knocks {
            outcome.leaks.extend(knock.join().map_err(panicked)?);
        }
        outcome.flooded = flood.join().map_err(panicked)??;
        Ok(outcome)
    })
}

/// Sleeps until `part` of `parts` of the whole duration have gone by since `start`.
fn pace(start: Instant, part: u32, parts: u32) {
    sleep((DURATION * part / parts).saturating_sub(start.elapsed()));
}

fn requests(stop: &AtomicBool) -> (u32, Option<String>) {
    let start = Instant::now();
    let (mut answered, mut failure) = (0, None);
    for number in 0..REQUESTS {
        for server in SERVERS {
            match server::get(SocketAddr::new(server, 80)) {
                Ok(body) if body == server::BODY => answered += 1,
                Ok(_) => failure = failure.or(Some(format!("{server}: another body"))),
                Err(error) => failure = failure.or(Some(format!("{server}: {error:#}"))),
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        pace(start, number + 1, REQUESTS);
    }
    (answered, failure)
}

/// Tries to connect, long enough for the kernel to try three times; says so if anything answers.
pub(super) fn knock(address: SocketAddr) -> Option<String> {
    match TcpStream::connect_timeout(&address, Duration::from_millis(3500)) {
        Ok(_) => Some(format!("{address} accepted a connection")),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => None,
        Err(error) => Some(format!("{address} answered: {error}")),
    }
}

fn flood(stop: &AtomicBool) -> Result<u32> {
    // Bursts stay below the 256 frames that a veth queues for its peer.
    const BURST: u32 = 50;
    let socket = UdpSocket::bind("0.0.0.0:0").context("the flood's socket")?;
    let target = (SERVER_V4, FLOODED);
    // After the others have begun, so that its rise is seen.
    let (start, wait) = (Instant::now(), DURATION / 4);
    sleep(wait);
    let mut sent = 0;
    while sent < FLOOD && !stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            socket
                .send_to(b"stats\r\n", target)
                .context("sending the flood")?;
            sent += 1;
        }
        let due = wait + (DURATION - wait) * sent / FLOOD;
        sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(sent)
}

/// Sends echo requests; the number of replies.
fn ping(server: IpAddr, stop: &AtomicBool) -> Result<u16> {
    const IDENTIFIER: [u8; 2] = [0xf1, 0x0e];
    let (family, protocol, request, reply) = match server {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, 8, 0),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, 128, 129),
    };
    let socket = rustix::net::socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )
    .context("the ping's socket")?;
    let wait = Some(Duration::from_millis(300));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, wait).context("its timeout")?;
    let mut replies = 0;
    for number in 0..PINGS {
        let mut echo = vec![request, 0, 0, 0, IDENTIFIER[0], IDENTIFIER[1], 0, 0];
        echo[6..8].copy_from_slice(&number.to_be_bytes());
        echo.extend(b"firewall demo");
        if server.is_ipv4() {
            // For ICMPv6 the kernel fills the checksum in.
            let sum = checksum(&echo);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let flags = SendFlags::empty();
        match server {
            IpAddr::V4(ip) => rustix::net::sendto(&socket, &echo, flags, &SocketAddrV4::new(ip, 0)),
            IpAddr::V6(ip) => {
                rustix::net::sendto(&socket, &echo, flags, &SocketAddrV6::new(ip, 0, 0, 0))
            }
        }
        .context("sending a ping")?;
        replies += u16::from(awaits(&socket, server.is_ipv4(), reply, &echo[4..]));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        sleep(DURATION / 4 / u32::from(PINGS));
    }
    Ok(replies)
}

/// Whether a reply of this type with this identifier, number and data comes before the timeout.
fn awaits(socket: &std::os::fd::OwnedFd, with_header: bool, reply: u8, rest: &[u8]) -> bool {
    let mut buffer = [0_u8; 256];
    // A raw socket also hears neighbour discovery, and earlier replies: look at a few.
    for _ in 0..8 {
        let Ok((read, _)) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) else {
            return false;
        };
        // IPv4 raw sockets deliver the IP header, IPv6 ones do not.
        let start = if with_header {
            usize::from(buffer[0] & 0x0f) * 4
        } else {
            0
        };
        let message = buffer[..read].get(start..).unwrap_or_default();
        if message.first() == Some(&reply) && message.get(4..) == Some(rest) {
            return true;
        }
    }
    false
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_to_zero() {
        let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'o', b'd', b'd'];
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&message), 0);
        // The example of RFC 1071, section 3.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }
}
