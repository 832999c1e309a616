//! xdp-filter of xdp-tools: exact addresses and ports in hash maps, as it is attached by its own
//! loader (behind the dispatcher of libxdp).

use super::{find, run};
use anyhow::Result;
use firewall_engine::kernel::bench::Subject;
use firewall_tests::netns::{INTERFACE, Pair};
use std::path::PathBuf;

/// xdp-filter on one end of a cable.
#[derive(Debug)]
pub(crate) struct XdpFilter {
    program: PathBuf,
    pair: Pair,
}

/// Loads it with all features, dropping TCP to one port.
pub(crate) fn load(port: u16) -> Result<XdpFilter> {
    let program = find("xdp-filter", "xdp-tools")?;
    let pair = Pair::new()?;
    let filter = XdpFilter { program, pair };
    filter.call(&["load", "--mode", "native", "--policy", "allow", INTERFACE])?;
    filter.call(&["port", "--mode", "dst", "--proto", "tcp", &port.to_string()])?;
    Ok(filter)
}

impl XdpFilter {
    fn call(&self, arguments: &[&str]) -> Result<String> {
        run(self.pair.inside.command(&self.program).args(arguments))
    }

    /// The program on its interface.
    pub(crate) fn subject(&self) -> Result<Subject> {
        self.pair.inside.run(|| {
            let ifindex = crate::live::ifindex(INTERFACE)?;
            Ok(Subject::attached(INTERFACE, ifindex)?)
        })
    }
}

impl Drop for XdpFilter {
    fn drop(&mut self) {
        let _ = self.call(&["unload", INTERFACE]);
    }
}
