//! The session that a change comes from, as a request carries it: what the guard keeps from being cut. And
//! who asks for it, as the kernel says.
//!
//! Data alone: how a session is found, the command line knows.

use core::net::IpAddr;
pub use firewall_policy::connection::Connection;
use serde::{Deserialize, Serialize};

/// Connections of one session that are judged at most; a session of more is unclear.
pub const CONNECTIONS: usize = 64;

/// Who has asked for a change.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Asker {
    /// User id.
    pub uid: Option<u32>,
    /// User id with which the session began in which it was asked, before `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What the process is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Address and port from which SSH says that the session comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

/// The session that a change comes from, so that it is not cut off.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Session {
    /// None that could be cut off: a console, a timer, the daemon itself.
    #[default]
    None,
    /// One from an address, over who knows which ports.
    From(IpAddr),
    /// One over these connections: several where a terminal is shared.
    Over(Vec<Connection>),
    /// There is one, and nobody can say over what.
    Unclear,
}

impl Session {
    /// The addresses that it comes from.
    #[must_use]
    pub fn peers(&self) -> Vec<IpAddr> {
        match self {
            Self::None | Self::Unclear => Vec::new(),
            Self::From(address) => vec![address.to_canonical()],
            Self::Over(connections) => connections
                .iter()
                .map(|connection| connection.from.ip().to_canonical())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_the_wire() {
        let connection = Connection {
            from: "[::ffff:203.0.113.5]:50000".parse().unwrap(),
            to: "192.0.2.80:22".parse().unwrap(),
        };
        for session in [
            Session::None,
            Session::Unclear,
            Session::From("2001:db8::7".parse().unwrap()),
            Session::Over(vec![connection]),
        ] {
            let text = serde_json::to_string(&session).unwrap();
            assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
        }
        let peers = Session::Over(vec![connection]).peers();
        assert_eq!(peers, ["203.0.113.5".parse::<IpAddr>().unwrap()]);
    }
}
