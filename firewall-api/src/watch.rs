//! Live filters: every packet that fits, whatever the policy logs, for as long as somebody looks on.
//!
//! A reader asks again and again, each time for what lies behind the last answer; each request renews the
//! lease of its slot. Who stops asking gives the slot up, at the end of the lease.

use crate::events::{EventCursor, EventView, EventsRequest};
use crate::failure::{Exit, Failure};
use serde::{Deserialize, Serialize};

/// How many filters there can be at a time.
pub const SLOTS: u64 = firewall_common::watch::SLOTS;

/// Packets that one filter shows in a second, on average.
pub const RATE: u64 = firewall_common::watch::RATE;

/// Begins to watch, goes on, or ends.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchRequest {
    /// What the first answer said; `None` begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Gives the slot back with this answer.
    pub stop: bool,
    /// What is to be seen, behind which place, and how long to wait for it. (`last` and `since` are about
    /// events that are there, and refused.)
    pub events: EventsRequest,
    /// The user who asks, if that one may change nothing, and so takes no slot that others need. The server
    /// says so.
    #[serde(skip)]
    pub modest: Option<u32>,
}

/// `POST /v1/watch`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WatchReport {
    /// [`crate::view::SCHEMA`].
    pub schema: String,
    /// To go on with.
    pub id: String,
    /// The filter's slot, from 1 on.
    pub slot: u64,
    /// What was seen, the oldest first.
    pub events: Vec<EventView>,
    /// The place behind them.
    pub cursor: EventCursor,
    /// Packets that have matched since the slot was taken.
    pub matched: u64,
    /// Those of them that were more than [`RATE`] a second, and are not shown.
    pub beyond: u64,
    /// Events that were overwritten before this request could read them.
    pub missed: u64,
    /// Whether nobody watched for a while, because this request came after the end of the lease.
    pub lapsed: bool,
}

/// Why there is no slot for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSlot {
    /// All are held.
    All,
    /// So many are held by those who may change nothing, and they get no more.
    Modest(u64),
    /// So many are held by the one who asks, who may change nothing.
    Own(u64),
}

/// The failure of a request where no slot is free.
#[must_use]
pub fn no_slot(why: NoSlot) -> Failure {
    let filters = |count: u64| match count {
        1 => "one filter".to_owned(),
        count => format!("{count} filters"),
    };
    let what = match why {
        NoSlot::Modest(count) => format!(
            "users who may change nothing watch packets with {} already",
            filters(count)
        ),
        NoSlot::Own(count) => format!(
            "your user watches packets with {} already, and may change nothing",
            filters(count)
        ),
        NoSlot::All => {
            format!("packets are watched with {SLOTS} filters already, and there are no more")
        }
    };
    Failure::new(Exit::Refused, what)
        .help("end one of the other `observe -f`; one that was killed ends by itself within 16 s")
}
