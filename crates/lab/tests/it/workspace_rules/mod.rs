//! The workspace's rules (ARCHITECTURE.md, "Invariants"): which crate may use which, licenses, and
//! the form of every file. They read `cargo metadata` and the sources, and build nothing.

mod agent;
mod crates;
mod cycles;
mod documents;
mod files;
mod licenses;
mod modules;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The workspace's root folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
}

/// A package in use, ours or not.
struct Package {
    name: String,
    ours: bool,
    license: Option<String>,
    folder: PathBuf,
    targets: Vec<(String, String)>,
    /// Ids of its dependencies and their kind: `normal`, `dev` or `build`.
    uses: Vec<(String, &'static str)>,
}

/// All packages of the lock file for this platform, by id, from `cargo metadata`. Two versions of a
/// name are two packages.
fn packages() -> &'static BTreeMap<String, Package> {
    static PACKAGES: OnceLock<BTreeMap<String, Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--format-version=1",
                "--offline",
                "--filter-platform",
                &platform,
            ])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        read(&serde_json::from_slice(&output.stdout).unwrap())
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn read(metadata: &Value) -> BTreeMap<String, Package> {
    let ours: Vec<String> = list(&metadata["workspace_members"]).map(text).collect();
    let named: BTreeMap<String, String> = list(&metadata["packages"])
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let mut uses: BTreeMap<String, Vec<(String, &'static str)>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        for used in list(&node["deps"]) {
            for kind in list(&used["dep_kinds"]) {
                let kind = match kind["kind"].as_str() {
                    None => "normal",
                    Some("dev") => "dev",
                    Some(_) => "build",
                };
                uses.entry(text(&node["id"]))
                    .or_default()
                    .push((text(&used["pkg"]), kind));
            }
        }
    }
    let package = |package: &Value| {
        let id = text(&package["id"]);
        let target = |target: &Value| (text(&target["name"]), text(&target["kind"][0]));
        let read = Package {
            name: named[&id].clone(),
            ours: ours.contains(&id),
            license: package["license"].as_str().map(str::to_owned),
            folder: Path::new(&text(&package["manifest_path"]))
                .parent()
                .unwrap()
                .to_owned(),
            targets: list(&package["targets"]).map(target).collect(),
            uses: uses.remove(&id).unwrap_or_default(),
        };
        (id, read)
    };
    list(&metadata["packages"]).map(package).collect()
}

/// Our crates by their short names (`store` for `novanet-store`).
fn crates() -> impl Iterator<Item = (&'static str, &'static Package)> {
    packages()
        .values()
        .filter(|package| package.ours)
        .map(|package| (short(&package.name), package))
}

fn short(name: &str) -> &str {
    name.strip_prefix("novanet-").unwrap_or(name)
}

/// Fails with every place that breaks the rule.
#[track_caller]
fn none(what: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{what}:\n  {}", broken.join("\n  "));
}
