//! `firewall-ctl`: see [`firewall_ctl::cli`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_ctl::cli::main()
}
