//! `firewall-ctl`: see [`firewall_ctl::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_ctl::cli::main()
}
