//! Connections: requests for them, and the documents that list them.

use crate::network::Network;
use crate::view::SCHEMA;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which flows are asked for. What is `None` fits every flow.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowsRequest {
    /// The protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<FlowProto>,
    /// The network of the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Network>,
    /// The network of this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Network>,
    /// The port on either side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What comes first.
    pub sort: FlowSort,
    /// How many flows are listed at most; 0: they are only counted. `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Protocols that have flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowProto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo.
    Icmp,
    /// ICMPv6 echo.
    Icmpv6,
}

impl FlowProto {
    /// Its name, as in [`FlowView::proto`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }
}

impl FlowsRequest {
    /// Whether it leaves something out.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.proto.is_some() || self.from.is_some() || self.to.is_some() || self.port.is_some()
    }

    /// The request as the query of an address; empty if it asks for everything.
    #[must_use]
    pub fn query(&self) -> String {
        let pairs = [
            self.proto.map(|proto| format!("proto={}", proto.name())),
            self.from.as_ref().map(|net| format!("from={net}")),
            self.to.as_ref().map(|net| format!("to={net}")),
            self.port.map(|port| format!("port={port}")),
            Some(format!("sort={}", self.sort.name())),
            self.limit.map(|limit| format!("limit={limit}")),
        ];
        pairs.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// By what flows are sorted; what is not known comes last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowSort {
    /// The latest packet first.
    #[default]
    Idle,
    /// First what the table forgets first.
    Left,
    /// The most bytes first.
    Bytes,
    /// By protocol.
    Proto,
    /// By state.
    State,
    /// By the address of the other side.
    Remote,
    /// By the address of this side.
    Local,
}

impl FlowSort {
    /// Its name in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Left => "left",
            Self::Bytes => "bytes",
            Self::Proto => "proto",
            Self::State => "state",
            Self::Remote => "remote",
            Self::Local => "local",
        }
    }

    /// Every order.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Left,
        Self::Bytes,
        Self::Proto,
        Self::State,
        Self::Remote,
        Self::Local,
    ];
}

/// What `flows -o json` says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowsReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// How many flows the table has room for: never fewer than it has.
    pub capacity: usize,
    /// How many of its flows are in use, as `status` counts them: neither ended nor answered questions,
    /// which give way at once. Only without a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<usize>,
    /// How many fit the filter.
    pub count: usize,
    /// The same by protocol, by state, and by where they are known from.
    pub summary: FlowsSummary,
    /// As many as were asked for, in their order; none if they were only counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<Vec<FlowView>>,
    /// What is not seen, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl FlowsReport {
    /// The report about `count` flows, of which `flows` are listed.
    #[must_use]
    pub fn new(
        capacity: usize,
        count: usize,
        summary: FlowsSummary,
        flows: Option<Vec<FlowView>>,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            capacity,
            in_use: None,
            count,
            summary,
            flows,
            warnings: Vec::new(),
        }
    }
}

/// How many flows there are, by what they are and where they are known from.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct FlowsSummary {
    /// By protocol.
    pub proto: BTreeMap<String, usize>,
    /// By state.
    pub state: BTreeMap<String, usize>,
    /// By where they are known from: `table`, `socket` or `both`.
    pub from: BTreeMap<String, usize>,
}

/// A connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlowView {
    /// The protocol's name.
    pub proto: String,
    /// The other side.
    pub remote: IpAddr,
    /// Its port.
    pub remote_port: u16,
    /// This side.
    pub local: IpAddr,
    /// Its port, or the identifier of an echo request.
    pub local_port: u16,
    /// `waiting`, `established`, `closing` and so on.
    pub state: String,
    /// Seconds since its last packet; `None`: not known.
    pub idle: Option<f64>,
    /// Seconds until the table forgets it; `None`: it is not there.
    pub left: Option<f64>,
    /// `table`, `socket` or `both`.
    pub from: String,
    /// Bytes that have come, of TCP connections of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Bytes that have arrived on the other side, of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
}

/// What `flows delete -o json` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowsForgotten {
    /// [`SCHEMA`].
    pub schema: String,
    /// Flows of the table that are forgotten.
    pub deleted: usize,
    /// Connections of this host that fit the filter, and go on.
    pub sockets: usize,
}
