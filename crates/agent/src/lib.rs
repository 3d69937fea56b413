//! Programs one host: observe → diff → apply. Depends on `novanet-reconcile`, which says what a
//! subsystem is and keeps it as it must be, and on `novanet-model` for the host objects.
//!
//! The subsystems are [`link`], [`firewall`], [`dhcp`] and [`instance`]; [`runtime`] is the only
//! module that knows all of them.

mod atomic_file;
mod boot;
pub mod dhcp;
pub mod firewall;
pub mod image;
pub mod instance;
pub mod ledger;
pub mod link;
pub mod local;
pub mod metadata;
mod netlink;
mod private;
pub mod reserve;
pub mod runtime;
pub mod server_client;
pub mod settings;
