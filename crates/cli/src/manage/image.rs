//! `nova-manage image`: what instances boot from.

use super::{Action, Category, action};
use crate::args::{Param, Takes, param};
use crate::failure::Failure;
use crate::table::Row;
use novanet_model::ProjectId;
use serde::Serialize;
use std::path::PathBuf;

pub(crate) const CATEGORY: Category = Category {
    name: "image",
    aliases: &[],
    about: "what instances boot from",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "build",
        "build an image from this host's own packages",
        BUILD,
        |b| {
            let what = b.required("what")?;
            if !BUILT.contains(&what) {
                return Err(Failure::usage(format!(
                    "what {what:?}: must be {}",
                    BUILT.join(" or ")
                )));
            }
            Ok(super::Command::Image(Command::Build {
                what: what.to_owned(),
                output: b.text("output").map(PathBuf::from),
            }))
        },
    ),
    action("register", "make a file an image", REGISTER, |b| {
        let path = PathBuf::from(b.required("path")?);
        let stem = || path.file_name().map(|n| n.to_string_lossy().into_owned());
        let name = b
            .text("name")
            .map(str::to_owned)
            .or_else(stem)
            .unwrap_or_default();
        Ok(super::Command::Image(Command::Register {
            name,
            path,
            owner: b.parse("owner")?,
        }))
    })
    .or(&["image_register", "all_register"]),
    action("list", "all images", &[], |_| {
        Ok(super::Command::Image(Command::List))
    }),
];

/// Images that can be built.
const BUILT: &[&str] = &["tiny"];

const BUILD: &[Param] = &[
    param("what", Takes::Required, "tiny"),
    param(
        "output",
        Takes::Named,
        "write the archive here and do not register it",
    ),
];

const REGISTER: &[Param] = &[
    param(
        "path",
        Takes::Required,
        "a tar archive of the root file system",
    ),
    param("name", Takes::Optional, "name for people (the file's name)"),
    param(
        "owner",
        Takes::Named,
        "project that owns it (none: all may use it)",
    )
    .or(&["project"]),
];

/// What `image` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Build one.
    Build {
        /// Which.
        what: String,
        /// Write it here instead of registering it.
        output: Option<PathBuf>,
    },
    /// Register a file.
    Register {
        /// The file.
        path: PathBuf,
        /// Name for people.
        name: String,
        /// Owner.
        owner: Option<ProjectId>,
    },
    /// List them.
    List,
}

/// A line of `image list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) size: i64,
    pub(crate) project: Option<String>,
    pub(crate) digest: String,
}

impl Row for ImageRow {
    const FORMAT: &'static str = "%-14s %-20s %-10s %12s  %s";
    const TITLES: &'static [&'static str] = &["image", "name", "state", "bytes", "digest"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.state.clone(),
            self.size.to_string(),
            self.digest.clone(),
        ]
    }
}
