//! The reference evaluator: slow, obvious, and with code of its own. Says what a policy means.
//!
//! May not import `compile`, `host` or `firewall_common::classify`.
