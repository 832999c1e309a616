//! The tests that need root, of the loaded program, run by the kernel with frames that a test makes.
//! One program and not one for each file: that builds in a third of the time.

mod kernel_answers;
mod kernel_asked;
mod kernel_bench;
mod kernel_classbench;
mod kernel_evasion;
mod kernel_fold;
mod kernel_fragments;
mod kernel_frames;
mod kernel_large_sets;
mod kernel_limits;
mod kernel_live;
mod kernel_log;
mod kernel_parity;
mod kernel_plan;
mod kernel_policy_tests;
mod kernel_random;
mod kernel_raw;
mod kernel_state;
mod kernel_syn;
mod kernel_verifier;
mod kernel_watch;

/// Random policies, of which `firewall-policy` has its own tests.
#[path = "../../firewall-policy/tests/classifier/random.rs"]
mod random;
