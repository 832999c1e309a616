//! What a guest of `cargo xtask vm --cards` has beside that of the others: network cards, and what drives
//! them.
//!
//! Every cable is a hub of qemu's with two cards: what one sends the other one gets, and nothing reaches
//! this machine. Imports nothing.

/// The program of its tests, and the file in it.
pub(super) const PROGRAM: &str = "net";
pub(crate) const FILE: &str = "long_cards";

/// Programs of this machine that they call beside those of the other tests, and the packages that have
/// them.
pub(super) const TOOLS: &[(&str, &str)] = &[("ethtool", "ethtool")];

/// Modules of the kernel.
pub(super) const MODULES: [&str; 5] = ["virtio_pci", "virtio_net", "e1000e", "af_packet", "ipv6"];

/// The card at the inner end of each cable. The outer one is always virtio's.
const CARDS: [&str; 2] = ["virtio-net-pci", "e1000e"];

/// Arguments of qemu. Without ROMs: nothing boots from there.
pub(super) fn devices() -> Vec<String> {
    let mut words = Vec::new();
    for (number, inner) in (1..).zip(CARDS) {
        for (end, model) in (1..).zip(["virtio-net-pci", inner]) {
            let id = format!("n{number}{end}");
            words.push("-netdev".to_owned());
            words.push(format!("hubport,hubid={number},id={id}"));
            words.push("-device".to_owned());
            words.push(format!(
                "{model},netdev={id},mac=52:54:00:00:{number:02}:{end:02},romfile="
            ));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cable_has_two_ends() {
        let words = devices();
        for (number, inner) in (1..).zip(CARDS) {
            let hub = format!("hubport,hubid={number},");
            assert_eq!(words.iter().filter(|it| it.starts_with(&hub)).count(), 2);
            let card = format!("{inner},netdev=n{number}2,mac=52:54:00:00:0{number}:02,romfile=");
            assert!(words.contains(&card), "{words:?}");
        }
    }
}
