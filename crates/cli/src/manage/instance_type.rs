//! `nova-manage instance_type`: the sizes of instances.

use super::{Category, action};
use crate::args::{Takes, param};
use crate::failure::Failure;
use crate::table::Row;
use novanet_model::instance_type::{INSTANCE_TYPES, InstanceType, find};
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "instance_type",
    aliases: &["flavor"],
    about: "sizes of instances",
    actions: &[action(
        "list",
        "all sizes, or one",
        &[param("name", Takes::Optional, "only this one")],
        |bound| {
            let name = bound.text("name").map(str::to_owned);
            Ok(super::Command::InstanceType(Command::List { name }))
        },
    )],
};

/// The actions of `instance_type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List them, or one.
    List {
        /// Only this one.
        name: Option<String>,
    },
}

/// A size.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TypeRow(&'static InstanceType);

/// The sizes that a command asks for.
pub(crate) fn rows(command: &Command) -> Result<Vec<TypeRow>, Failure> {
    let Command::List { name } = command;
    match name {
        None => Ok(INSTANCE_TYPES.iter().map(TypeRow).collect()),
        Some(name) => find(name).map(|t| vec![TypeRow(t)]).ok_or_else(|| {
            let names: Vec<&str> = INSTANCE_TYPES.iter().map(|t| t.name).collect();
            Failure::failed(format!(
                "instance type {name:?}: not known: there are {}",
                names.join(", ")
            ))
        }),
    }
}

impl Row for TypeRow {
    const FORMAT: &'static str = "%s: Memory: %sMB, VCPUS: %s, Storage: %sGB, FlavorID: %s, Swap: 0MB, RXTX Quota: 0GB, RXTX Cap: 0MB";
    const TITLES: &'static [&'static str] = &["name", "memory MB", "vcpus", "disk GB", "flavor id"];
    const HEADED: bool = false;

    fn cells(&self) -> Vec<String> {
        let t = self.0;
        vec![
            t.name.to_owned(),
            t.memory_mb.to_string(),
            t.vcpus.to_string(),
            t.local_gb.to_string(),
            t.flavor_id.to_string(),
        ]
    }
}
