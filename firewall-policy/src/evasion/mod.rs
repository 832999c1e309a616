//! Hostile and essential packets by hand, each with what it is under its disguise: one table for
//! tests on the host and in the kernel, and for `doctor --selftest`.
//!
//! Numbers `E..` name kinds of evasion; each frame varies one thing of a sane TCP packet over IPv4
//! or IPv6. What a frame is comes from the standards named, by hand, never from the parser; what
//! must become of it comes from that and from the policy, by the oracle ([`Meaning::end`]). May not
//! import `compile`, `host` or `packet_text`.
//!
//! Invariant: a packet that hides where it goes never passes under a policy that drops by default,
//! nor where a rule drops what it really is.

mod essential;
pub mod frames;
mod hidden;
mod ipv4;
mod ipv6;
mod link;
mod meaning;
mod source;
mod transport;

use frames::{Frame, Ipv4, ethernet, ipv6, tcp};
pub use meaning::{End, Inner, Kind, Meaning};

/// A frame, and what it is.
#[derive(Clone, Debug)]
pub struct Row {
    /// Kind of evasion.
    pub id: &'static str,
    /// What is odd about the frame.
    pub what: String,
    /// The frame.
    pub frame: Frame,
    /// What it is.
    pub meaning: Meaning,
}

const SRC4: [u8; 4] = [192, 0, 2, 1];
const DST4: [u8; 4] = [198, 51, 100, 80];
const SYN: u8 = 2;
const MORE: u16 = 0x2000;

/// The documentation address `2001:db8::last`.
const fn address6(last: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn syn(port: u16) -> Vec<u8> {
    tcp(40_000, port, SYN, &[0; 20])
}

fn header4() -> Ipv4 {
    Ipv4::new(SRC4, DST4, 6)
}

/// A sane SYN over IPv4: 74 bytes.
#[must_use]
pub fn base4(port: u16) -> Frame {
    ethernet(0x0800, &header4().packet(&syn(port)))
}

/// A sane SYN over IPv6: 94 bytes.
#[must_use]
pub fn base6(port: u16) -> Frame {
    after6(6, &syn(port))
}

/// An IPv6 packet with these headers.
fn after6(next: u8, payload: &[u8]) -> Frame {
    ethernet(0x86dd, &ipv6(address6(1), address6(2), next, 64, payload))
}

/// `frame` with other bytes at `at`.
fn patched(mut frame: Frame, at: usize, bytes: &[u8]) -> Frame {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A fragment header; `offset` in bytes.
fn fragment6(next: u8, reserved: u8, offset: u16, more: bool) -> Vec<u8> {
    let mut header = vec![next, reserved];
    header.extend((offset | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0x12, 0x34]);
    header
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Every frame of the table.
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut table = Table::default();
    link::vlan(&mut table);
    ipv4::headers(&mut table);
    ipv4::fragments(&mut table);
    ipv6::headers(&mut table);
    ipv6::fragments(&mut table);
    hidden::fragments(&mut table);
    transport::truncated(&mut table);
    transport::transport(&mut table);
    transport::tunnels(&mut table);
    hidden::tunnels(&mut table);
    source::bogons(&mut table);
    essential::neighbours(&mut table);
    link::other(&mut table);
    essential::essentials(&mut table);
    table.0
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, id: &'static str, what: impl Into<String>, frame: Frame, meaning: Meaning) {
        self.0.push(Row {
            id,
            what: what.into(),
            meaning: meaning.of_length(frame.len()),
            frame,
        });
    }

    /// The same oddity on the way to port 22 and to port 80.
    fn seen_through(
        &mut self,
        id: &'static str,
        what: &str,
        meaning: Meaning,
        frame: impl Fn(u16) -> Frame,
    ) {
        for port in [22, 80] {
            let what = format!("{what}, port {port}");
            self.add(id, what, frame(port), meaning.syn(port));
        }
    }
}
