//! Hostile and essential packets by hand, each with what must become of it: one table for the host
//! and for the kernel.
//!
//! Numbers `E..` name kinds of evasion; each frame varies one thing of a sane TCP packet over IPv4
//! or IPv6. Expectations come from the standards named and from two policies, never from the
//! parser.
//!
//! Invariant: a packet that hides where it goes never passes under a policy that drops by default,
//! nor where a rule drops what it really is.

mod essential;
mod ipv4;
mod ipv6;
mod link;
mod source;
mod transport;

use crate::frames::{Frame, Ipv4, ethernet, ipv6, tcp};
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;

/// Drops by default; lets TCP port 80 in.
pub const POLICY_A: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: 80, action: pass}
";

/// Passes by default; keeps TCP port 22 out.
pub const POLICY_B: &str = "\
version: 1
default: {in: pass}
rules:
  - {name: ssh, proto: tcp, port: 22, action: drop}
";

/// Verdict and reason.
pub type End = (Verdict, Reason);

/// A frame, and its end under both policies.
#[derive(Clone, Debug)]
pub struct Row {
    /// Kind of evasion.
    pub id: &'static str,
    /// What is odd about the frame.
    pub what: String,
    /// The frame.
    pub frame: Frame,
    /// Under [`POLICY_A`].
    pub under_a: End,
    /// Under [`POLICY_B`].
    pub under_b: End,
}

const fn pass(reason: Reason) -> End {
    (Verdict::PASS, reason)
}

const fn drop(reason: Reason) -> End {
    (Verdict::DROP, reason)
}

/// An anomaly that both policies drop.
const fn anomaly(reason: Reason) -> [End; 2] {
    [drop(reason), drop(reason)]
}

/// Seen through, to TCP port 22.
const SSH: [End; 2] = [drop(Reason::NO_MATCH), drop(Reason::RULE)];

/// Seen through, to TCP port 80.
const WEB: [End; 2] = [pass(Reason::RULE), pass(Reason::NO_MATCH)];

/// Some other packet, which the defaults decide about.
const OTHER: [End; 2] = [drop(Reason::NO_MATCH), pass(Reason::NO_MATCH)];

/// Not IP: the defaults decide.
const NON_IP: [End; 2] = [drop(Reason::NON_IP), pass(Reason::NON_IP)];

/// A fragment in order that matches no rule: `packet.fragments` decides, by default as
/// `default.in`.
const FRAGMENT: [End; 2] = [drop(Reason::FRAGMENT), pass(Reason::FRAGMENT)];

/// The first fragment of a packet to TCP port 22.
const FIRST_FRAGMENT_SSH: [End; 2] = [drop(Reason::FRAGMENT), drop(Reason::RULE)];

/// Essential traffic: policy A passes it by name; policy B has no need to.
const fn essential(reason: Reason) -> [End; 2] {
    [pass(reason), pass(Reason::NO_MATCH)]
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
    transport::truncated(&mut table);
    transport::transport(&mut table);
    transport::tunnels(&mut table);
    source::bogons(&mut table);
    essential::neighbours(&mut table);
    link::other(&mut table);
    essential::essentials(&mut table);
    table.0
}

#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn add(&mut self, id: &'static str, what: impl Into<String>, frame: Frame, ends: [End; 2]) {
        self.0.push(Row {
            id,
            what: what.into(),
            frame,
            under_a: ends[0],
            under_b: ends[1],
        });
    }

    /// The same oddity on the way to port 22 and to port 80.
    fn seen_through(&mut self, id: &'static str, what: &str, frame: impl Fn(u16) -> Frame) {
        self.add(id, format!("{what}, port 22"), frame(22), SSH);
        self.add(id, format!("{what}, port 80"), frame(80), WEB);
    }
}
