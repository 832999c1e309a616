//! Options, extension headers and payload in a packet as text: `options router-alert`, `payload ffff`.
//!
//! May not import what builds the rest of a frame.

use super::PacketText;
use firewall_common::abi::option_bit::{
    ANY, AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, RECORD_ROUTE, ROUTER_ALERT, ROUTING,
    SOURCE_ROUTE, TIMESTAMP,
};
use firewall_common::parse::fragment;

/// Bytes of payload that a text can name.
pub(super) const LONGEST: usize = 1_024;

/// Options that an IPv4 header can have.
pub(super) const OF_V4: u32 = ANY | ROUTER_ALERT | SOURCE_ROUTE | RECORD_ROUTE | TIMESTAMP;

/// What IPv6 has in their place.
pub(super) const OF_V6: u32 =
    ANY | SOURCE_ROUTE | HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT | AUTHENTICATION;

impl PacketText {
    /// The options of its IPv4 header, in words of four bytes.
    pub(super) fn options_v4(&self) -> Vec<u8> {
        let Some(asked) = self.options else {
            return Vec::new();
        };
        let has = |bit: u32| asked & bit != 0;
        let mut bytes = Vec::new();
        if has(ROUTER_ALERT) {
            bytes.extend([148, 4, 0, 0]);
        }
        if has(SOURCE_ROUTE) {
            bytes.extend([131, 7, 4, 192, 0, 2, 1, 1]);
        }
        if has(RECORD_ROUTE) {
            bytes.extend([7, 7, 4, 0, 0, 0, 0, 1]);
        }
        if has(TIMESTAMP) {
            bytes.extend([68, 8, 5, 0, 0, 0, 0, 0]);
        }
        if bytes.is_empty() {
            // No operation, which changes nothing but that there are options.
            bytes.extend([1; 4]);
        }
        bytes
    }

    /// The extension headers of IPv6 before `next`, with the number of the first; `fragment` is the header
    /// of a fragment, without the number of what follows it.
    pub(super) fn extensions(&self, alert: bool, part: Option<[u8; 7]>, next: u8) -> (u8, Vec<u8>) {
        let asked = match self.options {
            Some(ANY) => DESTINATION,
            asked => asked.unwrap_or(0),
        };
        let has = |bit: u32| asked & bit != 0;
        let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
        if alert {
            headers.push((0, vec![0, 5, 2, 0, 0, 1, 0]));
        } else if has(HOP_BY_HOP) {
            headers.push((0, vec![0, 1, 4, 0, 0, 0, 0]));
        }
        if let Some(part) = part {
            headers.push((44, part.to_vec()));
        } else if has(FRAGMENT) {
            headers.push((44, vec![0, 0, 0, 0, 0, 0x12, 0x34]));
        }
        if has(SOURCE_ROUTE) {
            // Type 2 with a stop to come (RFC 6275).
            let mut header = vec![2, 2, 1, 0, 0, 0, 0];
            header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            headers.push((43, header));
        } else if has(ROUTING) {
            headers.push((43, vec![0, 3, 0, 0, 0, 0, 0]));
        }
        if has(AUTHENTICATION) {
            let mut header = vec![4, 0, 0, 0, 0, 0x12, 0x34];
            header.resize(23, 0);
            headers.push((51, header));
        }
        if has(DESTINATION) {
            headers.push((60, vec![0, 1, 4, 0, 0, 0, 0]));
        }
        let mut bytes = Vec::new();
        let mut behind = next;
        for (number, header) in headers.iter().rev() {
            bytes.splice(0..0, std::iter::once(behind).chain(header.iter().copied()));
            behind = *number;
        }
        (behind, bytes)
    }

    /// Bytes behind the header of TCP or UDP that are said.
    pub(super) fn said_payload(&self) -> &[u8] {
        match self.fragment {
            fragment::LATER => &[],
            _ => &self.payload,
        }
    }
}
