//! Fuzz target `import_ufw`: see `firewall_fuzz::imports`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| firewall_fuzz::imports::import_ufw(data));
