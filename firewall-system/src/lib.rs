//! What user space asks of the operating system besides filtering: the files of a policy, who asks,
//! terminals. No crate above this one but the engine makes system calls.
//!
//! May import `firewall_api` and `firewall_policy`. Knows no kernel program, no daemon and no command
//! line.

#![forbid(unsafe_code)]

pub mod compiled;
pub mod exposed;
pub mod file_store;
pub mod hash;
pub mod history;
pub mod host;
pub mod policy_file;
pub mod process;
pub mod set_files;
pub mod trail;
pub mod whole_file;
