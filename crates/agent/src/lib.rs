//! Programs one host: observe → diff → apply.
//!
//! Each part of a host is a *room* ([`room::Room`]): links, firewall, DHCP, instances. A room says
//! which items follow from the host objects (pure), what is there (observe), and makes changes
//! (apply). The [`engine`] does the rest, the same for all rooms.
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
pub mod metadata_proxy;
mod private;
pub mod reserve;
pub mod room;
pub mod settings;
pub mod upstream;
mod whole;
