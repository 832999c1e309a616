//! What takes note of packets that leave, by each of the ways to attach it: TCX links, and filters in
//! `clsact` as on kernels before Linux 6.6, where both tests are of the same way.

use crate::common::{NOTHING_ASKED, Root, in_namespace, ip, policy, request, veth};
use firewall_engine::engine::{Engine, EngineError};
use firewall_engine::kernel::KernelError;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;

const REPLIES: &str = "name: replies, state: established, action: pass";
const WEB: &str = "name: web, proto: udp, port: 443, action: pass";

/// Sends a packet that leaves by `fwt-b`, from a port of its own.
fn send_out() {
    let socket = UdpSocket::bind(("192.0.3.1", 0)).unwrap();
    socket.send_to(&[0; 10], ("192.0.3.9", 53)).unwrap();
}

/// What `tc` says in the calling thread's namespace.
fn tc(words: &str) -> String {
    let output = Command::new("tc")
        .args(words.split_whitespace())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tc {words}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn filters() -> String {
    tc("filter show dev fwt-b egress")
}

fn has_clsact() -> bool {
    tc("qdisc show dev fwt-b").contains("clsact")
}

fn flows(engine: &Engine) -> usize {
    engine.flows().unwrap().unwrap().count()
}

fn apply(engine: &mut Engine, rules: &[&str]) -> Result<bool, EngineError> {
    let applied = engine.apply(&request(policy(&["fwt-b"], NOTHING_ASKED, rules)))?;
    Ok(applied.changed)
}

fn prepare() -> Root {
    veth("fwt-a", "fwt-b", 2);
    ip("addr add 192.0.3.1/24 dev fwt-b");
    ip("neigh add 192.0.3.9 lladdr 02:00:00:00:00:08 dev fwt-b");
    Root::new()
}

/// One life: attached, switched, not needed any more, needed again, unloaded.
fn live(engine: &mut Engine) {
    assert!(apply(engine, &[REPLIES]).unwrap());
    send_out();
    assert_eq!(flows(engine), 1);
    // The same again changes nothing.
    assert!(!apply(engine, &[REPLIES]).unwrap());
    // Another policy takes the flows over, and its program takes note of the next ones.
    assert!(apply(engine, &[REPLIES, WEB]).unwrap());
    send_out();
    assert_eq!(flows(engine), 2);
    assert!(apply(engine, &[WEB]).unwrap());
    assert!(engine.flows().unwrap().is_none());
    assert!(apply(engine, &[REPLIES]).unwrap());
    send_out();
    assert_eq!(flows(engine), 1);
}

#[test]
#[ignore = "needs root"]
fn what_leaves_is_taken_note_of_by_the_way_that_the_kernel_has() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine();
        live(&mut engine);
        engine.unload(None).unwrap();
        assert!(!root.path().exists());
        assert!(!has_clsact());
    });
}

#[test]
#[ignore = "needs root"]
fn what_leaves_is_taken_note_of_by_clsact() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        live(&mut engine);
        let before = filters();
        assert!(
            before.contains("fw_egress") && before.contains("direct-action"),
            "{before}"
        );
        apply(&mut engine, &[REPLIES, WEB]).unwrap();
        let after = filters();
        assert_ne!(before, after, "another program");
        assert_eq!(
            after.matches("fw_egress direct-action").count(),
            1,
            "{after}"
        );

        // Without rules on state there is no filter, and no `clsact`, which was made for it.
        apply(&mut engine, &[WEB]).unwrap();
        assert!(!has_clsact());
        assert!(!root.path().join("egress").exists() || root.egress().is_empty());

        apply(&mut engine, &[REPLIES]).unwrap();
        assert!(has_clsact());
        engine.unload(None).unwrap();
        assert!(!has_clsact() && !root.path().exists());
    });
}

#[test]
#[ignore = "needs root"]
fn a_filter_that_was_taken_off_comes_back_with_the_next_change() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        apply(&mut engine, &[REPLIES]).unwrap();
        tc("filter del dev fwt-b egress");
        send_out();
        assert_eq!(flows(&engine), 0);
        assert!(
            apply(&mut engine, &[REPLIES]).unwrap(),
            "it is seen that it is gone"
        );
        send_out();
        assert_eq!(flows(&engine), 1);
        assert_eq!(root.egress().len(), 1);

        // The interface goes, and with it the filter.
        ip("link del fwt-a");
        veth("fwt-a", "fwt-b", 2);
        ip("addr add 192.0.3.1/24 dev fwt-b");
        ip("neigh add 192.0.3.9 lladdr 02:00:00:00:00:08 dev fwt-b");
        apply(&mut engine, &[REPLIES]).unwrap();
        send_out();
        assert_eq!(flows(&engine), 2);
        assert_eq!(root.egress().len(), 1);
    });
}

#[test]
#[ignore = "needs root"]
fn the_clsact_of_others_stays_theirs() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        // Made by others before: it stays when ours is not needed any more.
        tc("qdisc add dev fwt-b clsact");
        apply(&mut engine, &[REPLIES]).unwrap();
        apply(&mut engine, &[WEB]).unwrap();
        assert!(has_clsact());
        assert_eq!(filters(), "");
        tc("qdisc del dev fwt-b clsact");

        // Made by us, used by others since: it stays, too.
        apply(&mut engine, &[REPLIES]).unwrap();
        let program = root.program_of("egress");
        tc(&format!(
            "filter add dev fwt-b egress pref 7 bpf da object-pinned {}",
            program.display()
        ));
        engine.unload(None).unwrap();
        assert!(has_clsact());
        let left = filters();
        assert!(
            left.contains("pref 7") && !left.contains("pref 1 "),
            "{left}"
        );
        tc("qdisc del dev fwt-b clsact");
    });
}

#[test]
#[ignore = "needs root"]
fn where_no_filter_can_be_nothing_is_changed() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        apply(&mut engine, &[WEB]).unwrap();
        // The older `ingress` qdisc has the place of `clsact`, and only one half.
        tc("qdisc add dev fwt-b ingress");
        let pins = root.pins();
        let error = apply(&mut engine, &[REPLIES]).unwrap_err();
        let EngineError::Kernel(KernelError::Egress { .. }) = &error else {
            panic!("{error}");
        };
        assert!(
            error.to_string().contains("tc qdisc del dev fwt-b ingress"),
            "{error}"
        );
        assert_eq!(root.pins(), pins);
        assert_eq!(engine.observe().unwrap().unwrap().record.generation, 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_filter_that_a_crash_left_behind_is_found_again() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        apply(&mut engine, &[REPLIES]).unwrap();
        let before = filters();
        // As after a crash before the packets that come in are filtered.
        let lose_links = || {
            for link in fs::read_dir(root.path().join("links")).unwrap() {
                fs::remove_file(link.unwrap().path()).unwrap();
            }
        };
        lose_links();
        apply(&mut engine, &[REPLIES, WEB]).unwrap();
        let after = filters();
        assert_ne!(before, after, "another program");
        assert_eq!(
            after.matches("fw_egress direct-action").count(),
            1,
            "{after}"
        );
        lose_links();
        apply(&mut engine, &[WEB]).unwrap();
        assert!(!has_clsact() && root.egress().is_empty());
        engine.unload(None).unwrap();
    });
}

/// Essential traffic that must be asked for needs it, too, and can do without.
#[test]
#[ignore = "needs root"]
fn where_no_filter_can_be_essential_traffic_passes_by_its_form() {
    in_namespace(|| {
        let root = prepare();
        let mut engine = root.engine().with_clsact();
        let wanted = request(policy(&["fwt-b"], "drop", &[WEB]));
        engine.apply(&wanted).unwrap();
        assert!(filters().contains("fw_egress"));
        // No rule looks at state: there is nothing to list.
        assert!(engine.flows().unwrap().is_none());
        assert!(!engine.apply(&wanted).unwrap().changed);
        apply(&mut engine, &[WEB]).unwrap();
        assert!(!has_clsact() && root.egress().is_empty());

        tc("qdisc add dev fwt-b ingress");
        let applied = engine.apply(&wanted).unwrap();
        assert!(applied.changed && root.egress().is_empty());
        let said = applied.warnings.join("\n");
        assert!(said.contains("pass by their form"), "{said}");
        assert!(said.contains("tc qdisc del dev fwt-b ingress"), "{said}");
        assert!(!root.pins().iter().any(|pin| pin.ends_with("/egress")));
        assert!(!engine.apply(&wanted).unwrap().changed);

        // Of two interfaces one takes it: neither keeps it.
        veth("fwt-c", "fwt-d", 2);
        let both = request(policy(&["fwt-d", "fwt-b"], "drop", &[WEB]));
        let applied = engine.apply(&both).unwrap();
        assert_eq!(applied.warnings.len(), 1, "{:?}", applied.warnings);
        assert!(root.egress().is_empty());
        assert!(!tc("qdisc show dev fwt-d").contains("clsact"));
        engine.unload(None).unwrap();
    });
}
