//! `nova-manage image`: what instances boot from.

use super::context::Context;
use super::{Action, Category, action};
use crate::args::{Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_agent::image::build;
use novanet_model::{AmiId, ImageId};
use serde::Serialize;
use std::path::{Path, PathBuf};

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
        Ok(super::Command::Image(Command::Register { name, path }))
    })
    .or(&["image_register", "all_register"]),
    action("list", "all images", &[], |_| {
        Ok(super::Command::Image(Command::List))
    }),
    action("delete", "launch it no more; instances stay", DELETE, |b| {
        Ok(super::Command::Image(Command::Delete {
            image: b.parse_required("image")?,
        }))
    }),
];

/// Images that can be built.
const BUILT: &[&str] = &["tiny", "cloudpipe"];

const BUILD: &[Param] = &[
    param("what", Takes::Required, "tiny or cloudpipe"),
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
];

const DELETE: &[Param] = &[param(
    "image",
    Takes::Required,
    "the image, like ami-00000001",
)];

/// The actions of `image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Build one.
    Build {
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
    },
    /// List them.
    List,
    /// Forget one.
    Delete { image: AmiId },
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Build { what, .. } => build_and_register(&what, cx).await,
        Command::Register { path, name } => register(&path, &name, cx).await,
        Command::Delete { image } => {
            cx.cloud.delete_image(ImageId(image.0)).await?;
            Ok(String::new())
        }
        Command::List => {
            let images = cx.cloud.all_images().await?;
            let rows: Vec<ImageRow> = images
                .into_iter()
                .map(|image| ImageRow {
                    id: AmiId(image.id.0).to_string(),
                    name: image.name,
                    size: image.size,
                    project: image.project.map(|p| p.to_string()),
                    public: image.is_public,
                    digest: image.digest,
                })
                .collect();
            Ok(render(&rows, cx.format))
        }
    }
}

/// Builds an image and registers it under its own name.
async fn build_and_register(what: &str, cx: &Context) -> Result<String, Failure> {
    // A private folder, which is removed also after an error.
    let folder = tempfile::tempdir()
        .map_err(|e| Failure::failed(format!("image build {what}: no scratch folder: {e}")))?;
    let scratch = folder.path().join("image.tar");
    build_file(what, &scratch)?;
    register(&scratch, what, cx).await
}

/// Builds an image into a file.
pub(crate) fn build_file(what: &str, path: &Path) -> Result<String, Failure> {
    let build = match what {
        "cloudpipe" => build::cloudpipe,
        _ => build::tiny,
    };
    let built = build(path).map_err(|e| Failure::failed(format!("image build {what}: {e}")))?;
    Ok(format!("{}  {}\n", built.digest, built.path.display()))
}

async fn register(path: &Path, name: &str, cx: &Context) -> Result<String, Failure> {
    let unreadable = |e| Failure::failed(format!("image register: {}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(Failure::failed(format!(
            "image register: {} is a folder: pack it first: tar -C {0} -cf image.tar .",
            path.display()
        )));
    }
    novanet_agent::image::check(path)
        .map_err(|e| Failure::failed(format!("image register: {e}")))?;
    let before = cx.cloud.all_images().await?;
    let image = cx.cloud.register_image(name, file).await?;
    if before.iter().any(|i| i.id == image.id) {
        cx.note(&format!("image {name}: the same bytes are there already"));
    }
    Ok(format!("{}\n", AmiId(image.id.0)))
}

/// A line of `image list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) size: i64,
    pub(crate) project: Option<String>,
    pub(crate) public: bool,
    pub(crate) digest: String,
}

impl Row for ImageRow {
    const FORMAT: &'static str = "%-14s %-20s %-10s %12s  %s";
    const TITLES: &'static [&'static str] = &["image", "name", "project", "bytes", "digest"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            none(self.project.as_ref()),
            self.size.to_string(),
            self.digest.clone(),
        ]
    }
}
