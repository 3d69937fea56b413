//! The files of a bridge's DHCP server, under nova's names: where they are, their modes, and
//! atomic writes. Depends on the file system only.

use novanet_model::IfName;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The files of one bridge, in `networks_path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    folder: PathBuf,
    bridge: IfName,
}

impl Files {
    /// Names the files; reads and writes nothing.
    pub fn new(networks_path: &Path, bridge: &IfName) -> Self {
        Self {
            folder: networks_path.to_owned(),
            bridge: bridge.clone(),
        }
    }

    fn with(&self, extension: &str) -> PathBuf {
        self.folder
            .join(format!("nova-{}.{extension}", self.bridge))
    }

    /// The DHCP hosts, one line each. A dnsmasq whose command line has this path belongs to
    /// novanet.
    pub fn hosts(&self) -> PathBuf {
        self.with("conf")
    }

    /// The DNS names of the same hosts, in the format of `/etc/hosts`.
    pub fn names(&self) -> PathBuf {
        self.with("hosts")
    }

    /// The process id of the dnsmasq.
    pub fn pid(&self) -> PathBuf {
        self.with("pid")
    }

    /// Process id of the dnsmasq and device number of the bridge that it is bound to; empty before
    /// the start. Bridges with this file belong to novanet.
    pub fn bound(&self) -> PathBuf {
        self.with("bound")
    }

    /// Removes all of them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // `bound` last: without it the agent would not find the others again.
        for file in [self.hosts(), self.names(), self.pid(), self.bound()] {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The script that dnsmasq runs on lease events.
pub(crate) fn script(networks_path: &Path) -> PathBuf {
    networks_path.join("nova-dhcpbridge")
}

/// Mode of `networks_path`. The user that dnsmasq becomes reads files in it; only root may change
/// them, because dnsmasq runs the script as root.
const FOLDER_MODE: u32 = 0o755;
const SCRIPT_MODE: u32 = 0o755;
/// Mode of all files but the script.
pub(crate) const FILE_MODE: u32 = 0o644;

/// Whether the file exists, with this mode and the agent's user as its owner.
pub(crate) fn has_mode(path: &Path, mode: u32) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.permissions().mode() & 0o7777 == mode && meta.uid() == our_user())
}

fn our_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the folder has its mode and owner. A folder outside of `state_path` may belong to
/// another program (`/tmp`), so any mode is right there.
pub(crate) fn folder_is_right(networks_path: &Path, state_path: &Path) -> bool {
    !is_ours(networks_path, state_path) || has_mode(networks_path, FOLDER_MODE)
}

fn is_ours(networks_path: &Path, state_path: &Path) -> bool {
    networks_path != state_path && networks_path.starts_with(state_path)
}

/// Makes the folder, or sets its mode and owner.
pub(crate) fn repair_folder(networks_path: &Path, state_path: &Path) -> io::Result<()> {
    if folder_is_right(networks_path, state_path) {
        return Ok(());
    }
    std::fs::create_dir_all(networks_path)?;
    std::os::unix::fs::chown(networks_path, Some(our_user()), None)?;
    std::fs::set_permissions(networks_path, std::fs::Permissions::from_mode(FOLDER_MODE))
}

/// Whether the script exists with this text and its mode.
pub(crate) fn has_script(networks_path: &Path, text: &str) -> bool {
    let path = script(networks_path);
    std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) && has_mode(&path, SCRIPT_MODE)
}

/// Writes the script. dnsmasq opens it by path at each event, so a running one uses the new text.
pub(crate) fn write_script(networks_path: &Path, text: &str) -> io::Result<()> {
    if has_script(networks_path, text) {
        return Ok(());
    }
    replace(&script(networks_path), text, SCRIPT_MODE)
}

/// Removes the script, if it exists.
pub(crate) fn remove_script(networks_path: &Path) -> io::Result<()> {
    match std::fs::remove_file(script(networks_path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Bridges with a `bound` file, sorted.
pub(crate) fn bridges(networks_path: &Path) -> Vec<IfName> {
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let (bridge, extension) = name.strip_prefix("nova-")?.rsplit_once('.')?;
        // nova-network writes files with the other names, but never this one.
        (extension == "bound").then(|| IfName::new(bridge).ok())?
    };
    let mut all: Vec<_> = std::fs::read_dir(networks_path)
        .into_iter()
        .flatten()
        .filter_map(name)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Replaces a file atomically, readable by the user that dnsmasq becomes. Does nothing if the file
/// already has this text and mode.
pub(crate) fn write_atomic(path: &Path, text: &str) -> io::Result<()> {
    let same = std::fs::read(path).is_ok_and(|old| old == text.as_bytes());
    if same && has_mode(path, FILE_MODE) {
        return Ok(());
    }
    replace(path, text, FILE_MODE)
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(FOLDER_MODE))?;
    }
    crate::atomic_file::replace(path, mode, text.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_old_script_stays_when_the_new_one_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write_script(path, "old").unwrap();
        // A lost mode comes back.
        std::fs::set_permissions(script(path), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!has_script(path, "old"));
        write_script(path, "old").unwrap();
        assert!(has_script(path, "old"));
        // A folder under the temporary name cannot be replaced.
        std::fs::create_dir(path.join("nova-dhcpbridge.new")).unwrap();
        assert!(write_script(path, "new").is_err());
        assert!(has_script(path, "old"));
    }

    #[test]
    fn files_of_nova_network_in_the_same_folder_are_foreign() {
        let folder = tempfile::tempdir().unwrap();
        let [theirs, ours] = ["br9", "br100"].map(|name| IfName::new(name).unwrap());
        for bridge in [&theirs, &ours] {
            let files = Files::new(folder.path(), bridge);
            std::fs::write(files.hosts(), "").unwrap();
            std::fs::write(files.pid(), "1\n").unwrap();
        }
        let files = Files::new(folder.path(), &ours);
        std::fs::write(files.bound(), "").unwrap();
        assert_eq!(bridges(folder.path()), [ours]);
        files.remove().unwrap();
        assert_eq!(bridges(folder.path()), []);
        assert!(Files::new(folder.path(), &theirs).hosts().exists());
    }
}
