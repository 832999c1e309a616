//! Fuzz target `import_iptables`: see `firewall_fuzz::imports`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::imports::import_iptables(data));
