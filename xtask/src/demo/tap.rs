//! What really left the client, counted frame by frame on its interface by a packet socket: the
//! measure that the firewall's counters are held against. It shares no code with the firewall.
//!
//! Frames are counted by protocol and destination port, retransmissions included, and all together.

use super::netns::CLIENT_MAC;
use anyhow::{Context, Result};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames and their bytes, Ethernet header included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Count {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Protocol name and destination port.
pub(super) type Port = (&'static str, u16);

/// What was counted so far.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) ports: BTreeMap<Port, Count>,
    /// Every frame: ports, ICMP, ARP, neighbour discovery.
    pub(super) all: Count,
}

impl Sent {
    fn add(&mut self, frame: &[u8], length: usize) {
        let one = Count {
            packets: 1,
            bytes: length as u64,
        };
        self.all.add(one);
        if let Some(port) = port(frame) {
            self.ports.entry(port).or_default().add(one);
        }
    }
}

/// A running count.
pub(super) struct Tap {
    sent: Arc<Mutex<Sent>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Counts in the calling thread's network namespace.
    pub(super) fn start() -> Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(rustix::net::eth::ALL),
        )
        .context("opening a packet socket")?;
        // Room for the whole flood, should this thread not run for a while.
        const ROOM: usize = 64 << 20;
        sockopt::set_socket_recv_buffer_size_force(&socket, ROOM).context("its buffer")?;
        let pause = Some(Duration::from_millis(100));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, pause)
            .context("its timeout")?;

        let sent = Arc::new(Mutex::new(Sent::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, end) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = std::thread::spawn(move || listen(&socket, &count, &end));
        Ok(Self {
            sent,
            stop,
            thread: Some(thread),
        })
    }

    /// What was counted so far.
    pub(super) fn sent(&self) -> Sent {
        self.sent
            .lock()
            .map(|sent| sent.clone())
            .unwrap_or_default()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(socket: &OwnedFd, sent: &Mutex<Sent>, stop: &AtomicBool) {
    // Headers are enough; TRUNC tells the length of the whole frame.
    let mut head = [0_u8; 128];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((read, length)) = rustix::net::recv(socket, &mut head[..], RecvFlags::TRUNC) {
            let frame = &head[..read.min(head.len())];
            // The socket also sees what arrives, and the loopback interface.
            if frame.get(6..12) == Some(&CLIENT_MAC[..])
                && let Ok(mut sent) = sent.lock()
            {
                sent.add(frame, length);
            }
        }
    }
}

/// How many frames the interface of the calling thread's namespace says that it has sent: the check
/// that the tap missed nothing. (Its bytes are of no use: a veth whose peer runs XDP leaves the
/// Ethernet headers out.)
pub(super) fn interface_sent(interface: &str) -> Result<u64> {
    let file = "/proc/thread-self/net/dev";
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    transmitted(&text, interface).with_context(|| format!("{file} has no line for {interface}"))
}

/// Transmitted packets in the kernel's table of interfaces.
fn transmitted(table: &str, interface: &str) -> Option<u64> {
    let name = |line: &'_ str| line.trim().split(':').next() == Some(interface);
    let line = table.lines().find(|line| name(line))?;
    // The name, eight columns of reception, transmitted bytes, transmitted packets.
    let columns = line.split_once(':')?.1;
    columns.split_whitespace().nth(9)?.parse().ok()
}

/// Destination port of an untagged TCP or UDP frame without extension headers, which is what the
/// client's sockets send.
fn port(frame: &[u8]) -> Option<Port> {
    let byte = |at: usize| frame.get(at).copied();
    let (protocol, payload) = match (byte(12)?, byte(13)?) {
        (0x08, 0x00) => (byte(23)?, 14 + usize::from(byte(14)? & 0x0f) * 4),
        (0x86, 0xdd) => (byte(20)?, 14 + 40),
        _ => return None,
    };
    let name = match protocol {
        6 => "tcp",
        17 => "udp",
        _ => return None,
    };
    Some((
        name,
        u16::from_be_bytes([byte(payload + 2)?, byte(payload + 3)?]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet and IPv4 headers, then ports 40000 and 8080.
    fn frame(protocol: u8) -> Vec<u8> {
        let mut frame = vec![0_u8; 12];
        frame.extend([0x08, 0x00, 0x45]);
        frame.extend([0; 8]);
        frame.push(protocol);
        frame.extend([0; 10]);
        frame.extend([0x9c, 0x40, 0x1f, 0x90]);
        frame
    }

    #[test]
    fn frames_are_counted_by_port() {
        let mut sent = Sent::default();
        sent.add(&frame(6), 60);
        sent.add(&frame(6), 70);
        sent.add(&frame(17), 80);
        sent.add(&frame(1), 90);
        assert_eq!(
            sent.all,
            Count {
                packets: 4,
                bytes: 300
            }
        );
        assert_eq!(
            sent.ports[&("tcp", 8080)],
            Count {
                packets: 2,
                bytes: 130
            }
        );
        assert_eq!(
            sent.ports[&("udp", 8080)],
            Count {
                packets: 1,
                bytes: 80
            }
        );
        assert_eq!(sent.ports.len(), 2);
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes ...\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0\n\
                     wan0:  92477 1001 0 0 0 0 0 0 1062896 21001 0 0 0 0 0 0\n";
        assert_eq!(transmitted(table, "wan0"), Some(21001));
        assert_eq!(transmitted(table, "wan"), None);
    }

    #[test]
    fn short_frames_have_no_port() {
        let whole = frame(6);
        for length in 0..whole.len() {
            assert_eq!(port(&whole[..length]), None, "{length} bytes");
        }
    }
}
