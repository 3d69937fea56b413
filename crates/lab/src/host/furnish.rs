//! Furnishes a new mount namespace: own `/sys` and `/run`, private folders and files. The machine's
//! mounts stay as they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::HostOptions;

/// Furnishes the mount namespace of the calling thread. First of all nothing propagates back.
pub(super) fn furnish(options: &HostOptions) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("making mounts private")?;
    // Where a file is really kept may be a link into /run: ask before /run is covered.
    let files: Vec<(PathBuf, &str)> = options
        .files
        .iter()
        .map(|(path, text)| (real(path), text.as_str()))
        .collect();
    cover("/run")?;
    for folder in ["/run/lock", "/run/netns"] {
        std::fs::create_dir(folder).with_context(|| folder.to_owned())?;
    }
    own_sys()?;
    // First every place, then what is mounted there: a layer over a folder hides what was mounted
    // inside.
    options.layers.iter().try_for_each(|folder| layer(folder))?;
    for folder in &options.private {
        if !folder.is_dir() {
            private_layer(folder, &options.layers)?;
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
    }
    for (path, _) in &files {
        if !path.exists() {
            private_layer(path, &options.layers)?;
            std::fs::write(path, "").with_context(|| path.display().to_string())?;
        }
    }
    options.private.iter().try_for_each(cover)?;
    for (number, (path, text)) in files.iter().enumerate() {
        let source = format!("/run/.lab-file-{number}");
        std::fs::write(&source, text).with_context(|| source.clone())?;
        bind(Path::new(&source), path)?;
    }
    // From here on every thread in the host sees its new mounts (see `Host::exec_in`), and the
    // machine does not.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .context("sharing mounts in the host")
}

/// `unshare` of the network keeps the old `/sys`, where programs would see the machine's devices; a
/// fresh one has no cgroups, so those are carried over.
fn own_sys() -> Result<()> {
    let none = None::<&str>;
    let aside = Path::new("/run/.lab-cgroup");
    std::fs::create_dir(aside)?;
    let cgroups = Path::new("/sys/fs/cgroup");
    bind(cgroups, aside)?;
    mount(
        Some("sysfs"),
        "/sys",
        Some("sysfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )
    .context("mounting /sys")?;
    mount(Some(aside), cgroups, none, MsFlags::MS_MOVE, none).context("keeping the cgroups")?;
    std::fs::remove_dir(aside)?;
    Ok(())
}

/// Lets something be created beside what the machine has: the nearest folder that exists becomes a
/// writable overlay, seen in this host only, unless it is one already: the kernel stacks two at
/// most, and the virtual machine's root is the first.
fn private_layer(path: &Path, layers: &[PathBuf]) -> Result<()> {
    if layers.iter().any(|layer| path.starts_with(layer)) {
        return Ok(());
    }
    let parent = path
        .ancestors()
        .skip(1)
        .find(|p| p.is_dir())
        .context("a relative path")?;
    layer(parent)
}

/// Lays a writable overlay over a folder.
fn layer(folder: &Path) -> Result<()> {
    let layers = tempfile::Builder::new()
        .prefix(".lab-layers")
        .tempdir_in("/run")?
        .keep();
    cover(&layers)?;
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    std::fs::create_dir(&upper)?;
    std::fs::create_dir(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        folder.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        folder,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| format!("laying a private layer over {}", folder.display()))?;
    umount2(&layers, MntFlags::MNT_DETACH).context("hiding the layers")?;
    std::fs::remove_dir(&layers)?;
    Ok(())
}

fn cover(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    mount(
        Some("lab"),
        path,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )
    .with_context(|| format!("mounting an empty {}", path.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none = None::<&str>;
    mount(
        Some(from),
        to,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .with_context(|| format!("binding {} on {}", from.display(), to.display()))
}

/// The path with links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::fs::read_link(path))
        .unwrap_or_else(|_| path.to_owned())
}
