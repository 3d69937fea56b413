//! `nova-manage CATEGORY ACTION …`: the operator's command line. It works on the database, also
//! while no server runs.
//!
//! arguments → [`Command`] (pure) → `run` (one file per category) → rows → text (pure).

mod absent;
pub(crate) mod audit;
mod ca_files;
pub(crate) mod config;
pub(crate) mod context;
mod credentials;
pub(crate) mod db;
mod examples;
pub(crate) mod firewall;
pub(crate) mod fixed;
pub(crate) mod floating;
mod grammar;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod instance_type;
pub(crate) mod local;
pub(crate) mod network;
mod preview;
pub(crate) mod project;
mod quota;
mod remote;
pub(crate) mod restored;
pub(crate) mod role;
mod saved_settings;
pub(crate) mod service;
mod structure;
mod structure_iptables;
mod structure_rules;
mod trouble;
pub(crate) mod user;
pub(crate) mod version;
pub(crate) mod vm;
pub(crate) mod vpn;
mod vpn_probe;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub(crate) use examples::of as example;
pub(crate) use grammar::{Action, Category, Parsed, What, action, is_category, parse};

/// A parsed command line of nova-manage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `audit`
    Audit(audit::Command),
    /// `config`
    Config,
    /// `db`
    Db(db::Command),
    /// `firewall`
    Firewall(firewall::Command),
    /// `fixed`
    Fixed(fixed::Command),
    /// `floating`
    Floating(floating::Command),
    /// `host`
    Host(host::Command),
    /// `image`
    Image(image::Command),
    /// `instance_type`
    InstanceType(instance_type::Command),
    /// `network`
    Network(network::Command),
    /// `project`
    Project(project::Command),
    /// `role`
    Role(role::Command),
    /// `service`
    Service(service::Command),
    /// `user`
    User(user::Command),
    /// `version`
    Version,
    /// `vm`
    Vm(vm::Command),
    /// `vpn`
    Vpn(vpn::Command),
}

/// All categories, in alphabetical order.
pub(crate) const CATEGORIES: &[Category] = &[
    audit::CATEGORY,
    config::CATEGORY,
    db::CATEGORY,
    firewall::CATEGORY,
    fixed::CATEGORY,
    floating::CATEGORY,
    host::CATEGORY,
    image::CATEGORY,
    instance_type::CATEGORY,
    network::CATEGORY,
    project::CATEGORY,
    role::CATEGORY,
    service::CATEGORY,
    user::CATEGORY,
    version::CATEGORY,
    vm::CATEGORY,
    vpn::CATEGORY,
];
