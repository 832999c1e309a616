//! What the fuzz targets of `import` have found so far, replayed.
//!
//! `cargo xtask fuzz` looks for more; see CONTRIBUTING.md.

#[expect(unreachable_pub, reason = "a module of the fuzz targets, too")]
#[path = "../../fuzz/src/imports.rs"]
mod imports;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

use firewall_import::{Options, iptables};

#[test]
fn the_corpus_holds_all_properties() {
    replay::replay(&imports::ALL);
}

/// A rule for ICMPv6 in rules for IPv4 became a rule that the reader refuses.
#[test]
fn found_icmp_of_the_other_family_in_an_import() {
    let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n";
    imports::import_iptables(text.as_bytes());
    let imported = iptables(Some(text), None, &Options::default()).expect("iptables-save");
    let reasons: Vec<&str> = imported.left_out.iter().map(|left| &*left.reason).collect();
    assert!(
        reasons.contains(&"ICMPv6 does not run over IPv4"),
        "{reasons:?}"
    );
}

/// An empty text had its error in column 0.
#[test]
fn found_an_import_of_nothing() {
    imports::import_nft(b"");
}
