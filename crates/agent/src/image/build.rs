//! Builds the `tiny` image from the host's own packages: a root file system with busybox and
//! dropbear that boots to an address, ssh and a page in a fraction of a second.
//!
//! The same programs give the same bytes, and so the same digest: names are sorted, times and
//! owners are zero. Depends on `busybox`, `dropbear` and `ldd` of the host.

use super::ImageError;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that [`tiny`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// `sha256:…` of the file.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// A program of the host that goes into the image.
struct Program {
    /// Places where the host may have it, best first.
    from: &'static [&'static str],
    /// Its path in the image.
    to: &'static str,
    /// The Debian package to install.
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        from: &["/bin/busybox", "/usr/bin/busybox"],
        to: "bin/busybox",
        package: "busybox-static",
    },
    Program {
        from: &["/usr/sbin/dropbear"],
        to: "usr/sbin/dropbear",
        package: "dropbear-bin",
    },
    Program {
        from: &["/usr/bin/dropbearkey"],
        to: "usr/bin/dropbearkey",
        package: "dropbear-bin",
    },
];

/// novanet's own files in the image: path, mode, content.
const FILES: &[(&str, u32, &str)] = &[
    ("sbin/init", 0o755, include_str!("tiny/init")),
    ("lib/tiny/card", 0o755, include_str!("tiny/card")),
    ("lib/tiny/hotplug", 0o755, include_str!("tiny/hotplug")),
    ("lib/tiny/network", 0o755, include_str!("tiny/network")),
    ("lib/tiny/lease", 0o755, include_str!("tiny/lease")),
    ("lib/tiny/services", 0o755, include_str!("tiny/services")),
    (
        "etc/passwd",
        0o644,
        "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    (
        "etc/group",
        0o644,
        "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nnobody:x:65534:\n",
    ),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n"),
    ("etc/nsswitch.conf", 0o644, "hosts: files dns\n"),
    ("etc/os-release", 0o644, "ID=tiny\nNAME=tiny\n"),
    (
        "etc/profile",
        0o644,
        "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nPS1='\\u@\\h:\\w\\$ '\n",
    ),
];

const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc/dropbear", 0o700),
    ("etc/network", 0o755),
    ("etc/network/if-up.d", 0o755),
    ("etc/network/if-down.d", 0o755),
    ("etc/network/if-pre-up.d", 0o755),
    ("etc/network/if-post-down.d", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/www", 0o755),
];

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

/// The bytes of the `tiny` image: some mebibytes.
pub fn tiny_archive() -> Result<Vec<u8>, ImageError> {
    let mut nodes = BTreeMap::new();
    for (path, mode) in DIRECTORIES {
        add(&mut nodes, path, Node::Directory(*mode));
    }
    for (path, mode, text) in FILES {
        add(&mut nodes, path, Node::File(*mode, text.as_bytes().into()));
    }
    add(&mut nodes, "var/run", Node::Link("/run".to_owned()));
    for program in PROGRAMS {
        let from = find(program)?;
        add(&mut nodes, program.to, Node::File(0o755, read(&from)?));
        for library in libraries(&from)? {
            let inside = library.to_string_lossy().trim_start_matches('/').to_owned();
            add(&mut nodes, &inside, Node::File(0o755, read(&library)?));
        }
    }
    for (path, target) in applets(&find(&PROGRAMS[0])?)? {
        nodes.entry(path).or_insert(Node::Link(target));
    }
    archive(&nodes).map_err(|e| ImageError::Build(e.to_string()))
}

/// Programs that [`tiny`] needs and this host lacks, each with its Debian package.
pub fn missing() -> Vec<(&'static str, &'static str)> {
    PROGRAMS
        .iter()
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
