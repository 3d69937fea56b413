//! The files of a bridge's DHCP server, under nova's names.

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
    /// Those of `bridge`.
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

    /// The DHCP hosts, one line each. Its path in a command line marks a dnsmasq as ours.
    pub fn hosts(&self) -> PathBuf {
        self.with("conf")
    }

    /// The DNS names of the same hosts, in the format of `/etc/hosts`.
    pub fn names(&self) -> PathBuf {
        self.with("hosts")
    }

    /// The process.
    pub fn pid(&self) -> PathBuf {
        self.with("pid")
    }

    /// Process and device number of the bridge that it is bound to; empty before it is started.
    /// Marks the files as ours.
    pub fn bound(&self) -> PathBuf {
        self.with("bound")
    }

    /// Removes them all.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // The mark last: without it nobody would find the others again.
        for file in [self.hosts(), self.names(), self.pid(), self.bound()] {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The program that dnsmasq runs on lease events.
pub(crate) fn script(networks_path: &Path) -> PathBuf {
    networks_path.join("nova-dhcpbridge")
}

/// Mode of `networks_path`: the user that dnsmasq becomes reads files in it, and nobody but root
/// changes them, as dnsmasq runs one of them as root.
const FOLDER_MODE: u32 = 0o755;
/// Mode of the script.
const SCRIPT_MODE: u32 = 0o755;
/// Mode of all other files.
pub(crate) const FILE_MODE: u32 = 0o644;

/// Whether it is there with this mode, root's.
pub(crate) fn has_mode(path: &Path, mode: u32) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.permissions().mode() & 0o7777 == mode && meta.uid() == our_user())
}

fn our_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the folder is as we make it. One outside of `state_path` may be anybody's (`/tmp`): how it
/// is, is right.
pub(crate) fn folder_is_right(networks_path: &Path, state_path: &Path) -> bool {
    !is_ours(networks_path, state_path) || has_mode(networks_path, FOLDER_MODE)
}

fn is_ours(networks_path: &Path, state_path: &Path) -> bool {
    networks_path != state_path && networks_path.starts_with(state_path)
}

/// Makes the folder, or gives it its mode and owner back.
pub(crate) fn mend_folder(networks_path: &Path, state_path: &Path) -> io::Result<()> {
    if folder_is_right(networks_path, state_path) {
        return Ok(());
    }
    std::fs::create_dir_all(networks_path)?;
    std::os::unix::fs::chown(networks_path, Some(our_user()), None)?;
    std::fs::set_permissions(networks_path, std::fs::Permissions::from_mode(FOLDER_MODE))
}

/// Whether dnsmasq finds its script, and in it what we wrote.
pub(crate) fn has_script(networks_path: &Path, text: &str) -> bool {
    let path = script(networks_path);
    std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) && has_mode(&path, SCRIPT_MODE)
}

/// Writes it. dnsmasq runs it by its path each time, so one that runs already has the new one.
pub(crate) fn write_script(networks_path: &Path, text: &str) -> io::Result<()> {
    if has_script(networks_path, text) {
        return Ok(());
    }
    replace(&script(networks_path), text, SCRIPT_MODE)
}

/// Removes it.
pub(crate) fn remove_script(networks_path: &Path) -> io::Result<()> {
    match std::fs::remove_file(script(networks_path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Bridges with a file of ours.
pub(crate) fn bridges(networks_path: &Path) -> Vec<IfName> {
    let name = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let (bridge, extension) = name.strip_prefix("nova-")?.rsplit_once('.')?;
        // A nova-network's files have the other names, but never this one.
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

/// Writes a file whole or not at all, readable by the user that dnsmasq becomes. Does nothing where
/// the file is like that already.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
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
    crate::whole::replace(path, mode, text.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_script_that_cannot_be_written_anew_is_still_there_for_the_server_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write_script(path, "old").unwrap();
        // One that only lost its mode is put right.
        std::fs::set_permissions(script(path), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!has_script(path, "old"));
        write_script(path, "old").unwrap();
        assert!(has_script(path, "old"));
        // What cannot be removed is in the way.
        std::fs::create_dir(path.join("nova-dhcpbridge.new")).unwrap();
        assert!(write_script(path, "new").is_err());
        assert!(has_script(path, "old"));
    }

    #[test]
    fn the_files_of_a_nova_network_in_the_same_folder_are_not_ours() {
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
