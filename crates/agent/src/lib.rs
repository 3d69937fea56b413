//! Programs one host: observe → diff → apply.
//!
//! Each part of a host is a *subsystem* ([`subsystem::Subsystem`]): links, firewall, DHCP, instances. A subsystem says
//! which items follow from the host objects (pure), what is there (observe), and makes changes
//! (apply). The [`engine`] does the rest, the same for all subsystems.
//!
//! Must not know: SQL, EC2.

mod boot;
pub mod dhcp;
pub mod engine;
pub mod fake;
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
pub mod settings;
pub mod subsystem;
pub mod upstream;
mod whole;
