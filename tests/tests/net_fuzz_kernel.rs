//! The kernel behind the filter says what a frame is: millions of odd frames to a filtered host, of
//! which nothing may reach a socket that the policy forbids. `FIREWALL_FRAMES=N` says how many,
//! over all settings together, `FIREWALL_SEED=N` picks other ones; `cargo xtask fuzz kernel` is the long
//! run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::stack::{Frames, Host, Setting, hunt};
use firewall_tests::{number, seed};

/// E41: destination options before a fragment header that says more than they do. To a listener on
/// UDP 161, past a filter that reads UDP 53.
const E41: &str = "02000000008002000000000186dd6000000000313c4020010db8000a00000000000000000001\
                   20010db80000000000000000000000802c0001040000000011000000000012341101003500210800\
                   00000000000000009c4000a10011c0f848454c4c4f2d313631";

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
#[ignore = "needs root"]
fn nothing_that_the_policy_forbids_reaches_a_socket() {
    let count = number("FIREWALL_FRAMES", 100_000).unwrap() / Setting::ALL.len() as u64;
    let mut failed = false;
    for (index, setting) in Setting::ALL.into_iter().enumerate() {
        let behind = Host::new(setting.conntrack).unwrap();
        let open = Host::new(setting.conntrack).unwrap();
        let _ctl = behind.filter(setting).unwrap();
        let mut source = Frames::new(seed(41 + index as u64).unwrap());
        let found = hunt(&behind, &open, &mut source, count).unwrap();
        let rate = found.frames as f64 / found.time.as_secs_f64();
        println!(
            "{setting:?}: {} frames, {rate:.0} a second, {} delivered; held back of every eighth \
             batch, by (IPv6, protocol): {:?}",
            found.frames, found.delivered, found.held_back
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

/// Frames that have been findings, one by one.
#[test]
#[ignore = "needs root"]
fn what_was_found_is_not_delivered_any_more() {
    for setting in Setting::ALL {
        let behind = Host::new(setting.conntrack).unwrap();
        let _ctl = behind.filter(setting).unwrap();
        for frame in [E41] {
            let arrivals = behind.send(&[bytes(frame)]).unwrap();
            let forbidden = arrivals.iter().find_map(|arrival| arrival.forbidden());
            assert_eq!(forbidden, None, "{setting:?}: {frame}");
        }
    }
}
