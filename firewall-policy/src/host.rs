//! The host's [`firewall_common::machine::Machine`]: runs the kernel's code over [`crate::tables::Tables`].
