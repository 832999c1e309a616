//! From counters to a [`crate::view::Snapshot`]: rates, histories, names.
