//! Live frames: placeholder for the bed.
use anyhow::{Context, Result};

/// The index of an interface of this network namespace.
pub(crate) fn ifindex(name: &str) -> Result<u32> {
    let interfaces = pnet_datalink::interfaces();
    let found = interfaces.iter().find(|interface| interface.name == name);
    Ok(found.with_context(|| format!("no interface {name}"))?.index)
}
