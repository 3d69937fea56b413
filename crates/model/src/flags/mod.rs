//! nova-network's flags.
