//! Test harness: packets, programs, namespaces.
