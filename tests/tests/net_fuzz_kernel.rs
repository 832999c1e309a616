//! The kernel behind the filter says what a frame is: millions of odd frames to a filtered host, of
//! which nothing may reach a socket that the policy forbids. `FIREWALL_FRAMES=N` says how many, over all
//! settings and both families together, `FIREWALL_SEED=N` picks other ones; `cargo xtask fuzz kernel` is
//! the long run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::stack::{Arrival, Frames, Host, Setting, hunt};
use firewall_tests::{number, seed};

/// What was delivered against the policy. These are of one kind, E41: options before a fragment header
/// that says more than they do. The filter reads what the fragment header names, a host that
/// tracks connections reads it as options, and then what follows.
const FOUND: &[&str] = &[
    // To UDP 161, behind 16 bytes of UDP 4353 > 53.
    "02000000008002000000000186dd6000000000313c4020010db8000a000000000000000000012001\
     0db80000000000000000000000802c00010400000000110000000000123411010035002108000000\
     0000000000009c4000a10011c0f848454c4c4f2d313631",
    // To TCP 161, behind UDP 53.
    "02000000008000000000000086dd6000000000303c0020010db80000000000000000000000092001\
     0db80000000000000000000000802c00000000000000110000000000000006000035002000000000\
     00a10000000000000000000000000000000000000000",
    // To UDP 161, behind TCP 25.
    "02000000008000000000000086dd6000000000403c0020010db80000000000000000000000012001\
     0db80000000000000000000000802c01000000000000000000000000000006000000000000001102\
     00191000000000000000500200000000000000000000000000a1000000000000000000000000",
    // To ESP, behind two headers of options.
    "02000000008000000000000086dd6000000000503c0020010db80000000000000000000000092001\
     0db80000000000000000000000803c0100000000000000000000000000002c000000000000000600\
     00000000000032020019100000000000000050020000000000000000000000000000000000000000\
     0000000000000000000000000000",
    // Behind a routing header.
    "02000000008000000000000086dd60000000003e3c0020010db80000000000000000000000092001\
     0db80000000000000000000000802b000000000000002c0003000000000006000000000000001102\
     001910000000000000005002000000000000000000000000022200000000000000000000",
    // Without a next header.
    "02000000008000000000000086dd60000000002a3c0020010db800a6000000000000000000092001\
     0db80000000000000000000000802c0000000000000011000000000000003b010035001009000000\
     00000000000000000016000000000000",
];

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn nothing_that_the_policy_forbids_reaches_a_socket() {
    let count = number("FIREWALL_FRAMES", 100_000).unwrap() / (2 * Setting::ALL.len() as u64);
    let mut failed = false;
    for (index, setting) in Setting::ALL.into_iter().enumerate() {
        let behind = Host::new(setting).unwrap();
        let open = Host::new(setting).unwrap();
        let _ctl = behind.filter(setting).unwrap();
        // What has been found is not delivered any more.
        for frame in FOUND {
            let arrivals = behind.send(&[bytes(frame)]).unwrap();
            let forbidden = arrivals.iter().find_map(Arrival::forbidden);
            assert_eq!(forbidden, None, "{setting:?}: {frame}");
        }
        let mut source = Frames::new(seed(41 + index as u64).unwrap());
        let found = hunt(&behind, &open, &mut source, count).unwrap();
        let rate = found.frames as f64 / found.time.as_secs_f64();
        let [v4, v6, other] = found.by_family;
        println!(
            "{setting:?}: {v4} frames of IPv4, {v6} of IPv6, {other} of neither, {rate:.0} a second, \
             {} delivered; held back of every eighth batch, by (IPv6, protocol): {:?}",
            found.delivered, found.held_back
        );
        for finding in &found.findings {
            failed = true;
            println!("{finding}");
        }
        // The frames are good enough to be delivered, both what is open and what is not.
        assert!(found.delivered * 50 > found.frames, "{found:?}");
        for kind in [(false, 6), (false, 17), (true, 6), (true, 17)] {
            let times = found.held_back.get(&kind).copied().unwrap_or(0);
            assert!(times * 8_000 > found.frames, "{kind:?}: {found:?}");
        }
    }
    assert!(!failed, "something was delivered that the policy forbids");
}
