//! Subnet carving.
