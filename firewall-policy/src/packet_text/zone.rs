//! Where a packet comes in, as the number that the program knows a zone by.

use super::Ingress;
use crate::rule::{DEFAULT_ROUTE, Policy, glob};

/// The zone number of the place where a packet comes in.
///
/// # Errors
/// A zone that the policy does not have, and an interface whose zone depends on the machine: what
/// to write instead.
pub fn zone_of(policy: &Policy, ingress: &Ingress) -> Result<u32, String> {
    match ingress {
        Ingress::Anywhere => Ok(0),
        Ingress::Zone(name) => {
            let found = policy.zones.iter().skip(1).position(|zone| zone == name);
            if let Some(at) = found {
                return Ok(at as u32 + 1);
            }
            let known = policy.zones.get(1..).unwrap_or_default().join(", ");
            let known = if known.is_empty() {
                "the policy has no zones".to_owned()
            } else {
                format!("zones: {known}")
            };
            Err(format!("no interface has the zone `{name}`; {known}"))
        }
        Ingress::Interface(name) => {
            for interface in &policy.interfaces {
                let fits = |pattern: &String| pattern != DEFAULT_ROUTE && glob(pattern, name);
                if interface.matches.iter().any(fits) {
                    return Ok(interface.zone);
                }
                let by_route = interface.matches.iter().any(|m| m == DEFAULT_ROUTE);
                if by_route && interface.zone != 0 {
                    return Err(format!(
                        "whether {name} is the interface of the default route depends on the \
                         machine; write `in zone {}` instead",
                        policy.zones[interface.zone as usize]
                    ));
                }
            }
            Ok(0)
        }
    }
}
