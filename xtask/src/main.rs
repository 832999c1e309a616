//! Set-up, builds, demo and tests of this workspace.

fn main() {}
