//! Fills a new flow table: with the flows of the previous table, if that had another size, and with the
//! connections of the kernel's connection tracking. So loading a policy cuts no forwarded connection.
//!
//! Runs after the egress program is attached and before rules that use state are active, so no
//! connection is missed in between. If the previous table has another size, both egress programs run,
//! each with its own table, and the last flows are copied once more after the switch ([`catch_up`]).
//! Connections of this host itself are known by their sockets.

use super::Engine;
use super::types::EngineError;
use crate::kernel::conntrack::{self, Connection, Leaving};
use crate::kernel::flows::{Ends, FlowTable};
use crate::kernel::maps::BigMap;
use crate::kernel::sockets::{self, Socket};
use crate::kernel::{KernelError, host, wait_for_running_programs};
use firewall_common::flows::Adopted;
use firewall_common::parse::proto;
use firewall_common::region::Region;
use std::collections::HashSet;
use std::net::IpAddr;

impl Engine {
    /// The table of flows of the generation in force; `None` if none of its rules looks at state.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read.
    pub fn flows(&self) -> Result<Option<FlowTable>, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        let table = in_force.folder.region(Region::Flows);
        let table = table.filter(|_| record.tracks);
        Ok(table.map(|map| FlowTable::of(&map)).transpose()?)
    }

    /// The connections of this host, by its sockets; `None` if what is in force belongs to another
    /// network namespace than that of this process. Those that never leave the host are left out.
    ///
    /// # Errors
    /// Nothing is loaded, or its pins cannot be read; what the system says.
    pub fn sockets(&self) -> Result<Option<Vec<Socket>>, EngineError> {
        let survey = self.store.survey()?;
        let in_force = survey.in_force().ok_or_else(|| self.nothing_loaded())?;
        let record = in_force.folder.read_record()?;
        if record.namespace != host::network_namespace()? {
            return Ok(None);
        }
        let own = own_addresses()?;
        let found = sockets::connections(|socket| !own.contains(&socket.remote.0));
        let found = found.map_err(KernelError::call("list the sockets of this host"))?;
        Ok(Some(found))
    }
}

/// Fills a table of flows that no generation has used yet. `before` is that of the generation in
/// force. Of what is tracked, the clients of a service that the rules let in anyway need no flow, as the
/// egress program makes none for them: `is_let_in` says it of a UDP flow. A policy that does not look at
/// state tracks no connections, and keeps requests alone: whether that in force and the next one do says
/// `tracks`. What could not be taken over is a warning: the policy is enforced all the same.
pub(super) fn fill(
    map: &BigMap,
    before: Option<&BigMap>,
    [tracked, tracks]: [bool; 2],
    is_let_in: impl Fn(&Ends) -> bool,
    warnings: &mut Vec<String>,
) -> Result<(), KernelError> {
    let same = match before {
        Some(before) => before.id()? == map.id()?,
        None => false,
    };
    if same && (tracked || !tracks) {
        return Ok(());
    }
    let mut filling = Filling {
        table: FlowTable::to_fill(map)?,
        adopted: 0,
        refused: 0,
    };
    if let Some(before) = before.filter(|_| !same) {
        // On another processor a program may still write what leaves to the table before.
        wait_for_running_programs();
        // What left before both took note of it is in the new table alone, and its answer is looked for
        // in the former one yet.
        let former = FlowTable::to_fill(before)?;
        filling.table.for_each_to_keep(|ends, adopted| {
            former.adopt(ends, adopted);
        });
        former.for_each_to_keep(|ends, adopted| {
            if tracks || ends.is_request() {
                filling.take(ends, adopted);
            }
        });
    }
    if tracks {
        filling.take_tracked(is_let_in, warnings)?;
        filling.say(warnings);
    }
    Ok(())
}

/// Adds what has opened while nobody noted it to a table that is in use.
pub(super) fn take_open(map: &BigMap, warnings: &mut Vec<String>) -> Result<(), KernelError> {
    let mut filling = Filling {
        table: FlowTable::to_fill(map)?,
        adopted: 0,
        refused: 0,
    };
    filling.take_tracked(|_| false, warnings)?;
    filling.say(warnings);
    Ok(())
}
/// Hands over once more, when the table `map` is the one that is looked at: what the table before has
/// learned until then.
pub(super) fn catch_up(
    map: &BigMap,
    before: Option<&BigMap>,
    tracks: bool,
) -> Result<(), KernelError> {
    let Some(before) = before else {
        return Ok(());
    };
    if before.id()? == map.id()? {
        return Ok(());
    }
    wait_for_running_programs();
    let table = FlowTable::to_fill(map)?;
    FlowTable::of(before)?.for_each_to_keep(|ends, adopted| {
        if tracks || ends.is_request() {
            // Who found no room has been told.
            table.adopt(ends, adopted);
        }
    });
    Ok(())
}

struct Filling {
    table: FlowTable,
    adopted: u64,
    refused: u64,
}

impl Filling {
    /// Says how much was taken over, and what was not.
    fn say(self, warnings: &mut Vec<String>) {
        let Self {
            table,
            adopted,
            refused,
        } = self;
        if refused > 0 {
            warnings.push(format!(
                "{refused} flows of connections that are open found no room in the table of flows, \
                 which has room for {}: ask for more by `state: {{flows: N}}`",
                table.capacity()
            ));
        }
        if adopted > 0 {
            tracing::info!(flows = adopted, "took over what is open");
        }
    }

    /// What the kernel's connection tracking knows.
    fn take_tracked(
        &mut self,
        is_let_in: impl Fn(&Ends) -> bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), KernelError> {
        let own = own_addresses()?;
        let counts = (self.adopted, self.refused);
        let tracked = conntrack::connections(|connection| match connection {
            // What is there already is not taken over twice.
            None => (self.adopted, self.refused) = counts,
            Some(connection) => {
                for (ends, adopted) in flows_of(connection, &own) {
                    if u32::from(ends.proto) != proto::UDP || !is_let_in(&ends) {
                        self.take(&ends, adopted);
                    }
                }
            }
        });
        if let Err(error) = tracked {
            warnings.push(format!(
                "not every connection that goes through this host is known: its connection tracking \
                 cannot be read: {error}"
            ));
        }
        Ok(())
    }

    fn take(&mut self, ends: &Ends, adopted: Adopted) {
        let is_open = adopted.replied || u32::from(ends.proto) != proto::TCP;
        if self.table.adopt(ends, adopted) {
            self.adopted += 1;
        } else if is_open {
            self.refused += 1;
        }
    }
}

/// The flows of a connection: as what goes each way leaves this host. `own` are its addresses.
fn flows_of(
    connection: &Connection,
    own: &HashSet<IpAddr>,
) -> impl Iterator<Item = (Ends, Adopted)> + use<> {
    let Connection {
        proto,
        replied,
        is_plain,
        original,
        reply,
    } = *connection;
    let ends = [original.local.0, original.remote.0];
    let [begun_here, accepted_here] = ends.map(|end| is_plain && own.contains(&end));
    let is_local = ends.iter().any(IpAddr::is_loopback) || begun_here && accepted_here;
    // The socket says the same, and does so for as long as the connection lives.
    let is_socket = u32::from(proto) == proto::TCP && (begun_here || accepted_here);
    let wanted = !is_local && !is_socket;
    // Of a connection of this host, what the other side sends does not leave by any interface.
    let original = Some(original).filter(|_| wanted && !accepted_here);
    let reply = reply.filter(|_| wanted && !begun_here);
    let flow = move |leaving: Leaving| {
        let Leaving {
            local,
            remote,
            fin_out,
            fin_in,
        } = leaving;
        let ends = Ends {
            proto,
            local,
            remote,
        };
        let adopted = Adopted {
            replied,
            fin_in,
            fin_out,
            // A handshake that nobody has answered is not taken over.
            asked: false,
        };
        (ends, adopted)
    };
    original.into_iter().chain(reply).map(flow)
}

fn own_addresses() -> Result<HashSet<IpAddr>, KernelError> {
    Ok(host::own_addresses()?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 4_000);
    const SERVER: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80)), 80);

    fn connection(proto: u8, is_plain: bool) -> Connection {
        let leaving = |local, remote| Leaving {
            local,
            remote,
            fin_out: false,
            fin_in: false,
        };
        Connection {
            proto,
            replied: true,
            is_plain,
            original: leaving(CLIENT, SERVER),
            reply: Some(leaving(SERVER, CLIENT)),
        }
    }

    /// The local ends of a connection's flows on a host with these addresses.
    fn locals(proto: u8, is_plain: bool, own: &[IpAddr]) -> Vec<IpAddr> {
        let own = own.iter().copied().collect();
        flows_of(&connection(proto, is_plain), &own)
            .map(|(ends, _)| ends.local.0)
            .collect()
    }

    #[test]
    fn what_goes_through_is_known_from_both_sides() {
        let (tcp, udp) = (6, 17);
        for proto in [tcp, udp] {
            assert_eq!(locals(proto, true, &[]), [CLIENT.0, SERVER.0]);
            // A router that translates is no end of the connection, whatever address it lends.
            assert_eq!(locals(proto, false, &[CLIENT.0]), [CLIENT.0, SERVER.0]);
        }
    }

    #[test]
    fn of_this_host_what_has_no_socket_of_its_own() {
        let (tcp, udp) = (6, 17);
        for own in [CLIENT.0, SERVER.0] {
            assert_eq!(locals(udp, true, &[own]), [own]);
            assert!(locals(tcp, true, &[own]).is_empty());
        }
        assert!(locals(udp, true, &[CLIENT.0, SERVER.0]).is_empty());
    }
}
