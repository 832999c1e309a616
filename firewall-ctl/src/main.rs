//! `firewall-ctl`: see `firewall_ctl::cli`.

fn main() {}
