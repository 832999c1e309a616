//! Changes of rules are no choice of interfaces: those that the policy's words mean no more stay filtered.

use crate::net_links::{CHANGE, POLICY, settles, settles_within, uplinks};
use firewall_tests::ctl::Ctl;
use std::process::{Child, Stdio};

/// Ends a daemon that the harness has not started.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A rule that is added or saved is no new choice of interfaces: an uplink that has lost its route stays
/// filtered.
#[test]
#[ignore = "needs root"]
fn a_change_of_rules_opens_no_interface_that_the_words_mean_no_more() {
    let host = uplinks();
    let ctl = Ctl::new(&host).unwrap();
    host.ip("route add default via 10.0.0.1 dev up0").unwrap();
    let policy = format!("interfaces: [{{match: default-route}}]\n{POLICY}");
    let file = ctl.policy(&policy).unwrap();
    let mut words = ctl.command(&["daemon", "-f", file.to_str().unwrap(), "--state"]);
    words.arg(ctl.state()).stderr(Stdio::null());
    let _daemon = Daemon(words.spawn().unwrap());
    settles_within(&ctl, &["up0"], "the start", CHANGE);
    host.ip("route replace default via 10.0.1.1 dev up1")
        .unwrap();
    settles(&ctl, &["up0", "up1"], "a failover");
    ctl.ok(&["allow", "80/tcp"]).unwrap();
    settles(&ctl, &["up0", "up1"], "a rule was added");
    ctl.ok(&["save"]).unwrap();
    settles(&ctl, &["up0", "up1"], "it was saved");
}
