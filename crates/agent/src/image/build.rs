//! Builds images from the host's own packages: `tiny`, a root file system with busybox and dropbear
//! that boots to an address, ssh and a page in a fraction of a second, and `cloudpipe`, a VPN
//! server.
//!
//! The same programs give the same bytes, and so the same digest: names are sorted, times and
//! owners are zero. Depends on `ldd` of the host and on the programs of the recipes.

use super::ImageError;
use super::recipe::{BUSYBOX, CLOUDPIPE, Program, Recipe, TINY};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that a build wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// `sha256:…` of the file.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// An entry of the archive; a file with its mode.
enum Node {
    Directory(u32),
    File(u32, Vec<u8>),
    Link(String),
}

/// Writes the `tiny` image to the file `out`, replacing it in one step.
pub fn tiny(out: &Path) -> Result<BuiltImage, ImageError> {
    write(out, &tiny_archive()?)
}

/// Writes the `cloudpipe` image to the file `out`, replacing it in one step.
pub fn cloudpipe(out: &Path) -> Result<BuiltImage, ImageError> {
    write(out, &archive_of(&CLOUDPIPE)?)
}

/// The bytes of the `tiny` image: some mebibytes.
pub fn tiny_archive() -> Result<Vec<u8>, ImageError> {
    archive_of(&TINY)
}

fn archive_of(recipe: &Recipe) -> Result<Vec<u8>, ImageError> {
    let mut nodes = BTreeMap::new();
    for (path, mode) in recipe.directories.iter().copied().flatten() {
        add(&mut nodes, path, Node::Directory(*mode));
    }
    // A later file replaces an earlier one of the same path.
    for (path, mode, text) in recipe.files.iter().copied().flatten() {
        add(&mut nodes, path, Node::File(*mode, text.as_bytes().into()));
    }
    add(&mut nodes, "var/run", Node::Link("/run".to_owned()));
    for program in recipe.programs.iter().copied().flatten() {
        let from = find(program)?;
        add(&mut nodes, program.to, Node::File(0o755, read(&from)?));
        for library in libraries(&from)? {
            let inside = library.to_string_lossy().trim_start_matches('/').to_owned();
            add(&mut nodes, &inside, Node::File(0o755, read(&library)?));
        }
    }
    for (path, target) in applets(&find(&BUSYBOX)?)? {
        nodes.entry(path).or_insert(Node::Link(target));
    }
    archive(&nodes).map_err(|e| ImageError::Build(e.to_string()))
}

/// Programs that [`tiny`] needs and this host lacks, each with its Debian package.
pub fn missing() -> Vec<(&'static str, &'static str)> {
    let programs = TINY.programs.iter().copied().flatten();
    programs
        .filter(|program| find(program).is_err())
        .map(|program| (program.from[0], program.package))
        .collect()
}

/// Adds a node and the folders above it.
fn add(nodes: &mut BTreeMap<String, Node>, path: &str, node: Node) {
    for (end, _) in path.match_indices('/') {
        nodes
            .entry(path[..end].to_owned())
            .or_insert(Node::Directory(0o755));
    }
    nodes.insert(path.to_owned(), node);
}

fn find(program: &Program) -> Result<PathBuf, ImageError> {
    program
        .from
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or(ImageError::MissingProgram {
            program: program.from[0],
            package: program.package,
        })
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|e| ImageError::file(path, e))
}

/// The shared libraries that the host's loader would load for this program. Empty for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(|_| ImageError::MissingProgram {
            program: "ldd",
            package: "libc-bin",
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        return Err(ImageError::Build(format!(
            "{}: a library is missing: {}",
            program.display(),
            line.trim()
        )));
    }
    Ok(text
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect())
}

/// The links that this busybox lists for its applets: `bin/ls` → `/bin/busybox`.
fn applets(busybox: &Path) -> Result<Vec<(String, String)>, ImageError> {
    let output = Command::new(busybox)
        .arg("--list-full")
        .output()
        .map_err(|e| ImageError::file(busybox, e))?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|path| (path.to_owned(), "/bin/busybox".to_owned()))
        .collect())
}

fn write(out: &Path, bytes: &[u8]) -> Result<BuiltImage, ImageError> {
    let failed = |e: std::io::Error| ImageError::file(out, e);
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(out).map_err(|e| failed(e.error))?;
    Ok(BuiltImage {
        digest: format!("sha256:{}", hex::encode(Sha256::digest(bytes))),
        size: bytes.len() as u64,
        path: out.to_owned(),
    })
}

fn archive(nodes: &BTreeMap<String, Node>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, node) in nodes {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match node {
            Node::Directory(mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Node::File(mode, bytes) => {
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            }
            Node::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()
}
