//! An instance's folder, `state_path/instances/i-…`: what it is, what state it is in, its disk and its
//! console. What is in here is all that an agent knows of an instance after its own restart.

use super::process::ProcessId;
use crate::room::RoomError;
use novanet_model::InstanceId;
use novanet_model::object::{InjectedNetwork, Instance, Port};
use rustix::fs::{Gid, Mode, Uid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What an instance is made from: `spec.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) instance: Instance,
    pub(super) ports: Vec<Port>,
}

/// Where it is in its life: `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The boot that this is about.
    pub(super) boot: i64,
    /// The kernel it ran under: after a restart of the host it is started again, after an end of its own
    /// it is not.
    pub(super) host_boot: String,
    /// Its first process, once it has been let go.
    pub(super) process: Option<ProcessId>,
}

/// Prefix of folders that are being removed.
const REMOVED: &str = ".removed-";
/// Prefix of folders that are being made.
const MAKING: &str = ".making-";

/// The folder of one instance.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

/// The folder of all instances.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    path: PathBuf,
    uid_base: u32,
}

impl Folders {
    pub(super) fn new(state_path: &Path, uid_base: u32) -> Self {
        Self {
            path: state_path.join("instances"),
            uid_base,
        }
    }

    pub(super) fn of(&self, instance: InstanceId) -> Folder {
        Folder {
            path: self.path.join(instance.to_string()),
        }
    }

    /// The instances that have a folder. Half-made and half-removed ones of a killed agent go.
    pub(super) fn list(&self) -> Result<Vec<InstanceId>, RoomError> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| RoomError::kernel(self.path.display().to_string(), e))?,
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(REMOVED) || name.starts_with(MAKING) {
                remove_tree(&entry.path())?;
            } else if let Ok(id) = name.parse() {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Makes the folder with its spec and an empty disk, or writes the new spec into the one that is there.
    pub(super) fn ensure(&self, spec: &Spec) -> Result<Folder, RoomError> {
        let folder = self.of(spec.instance.instance);
        if folder.path.exists() {
            self.make_disk(&folder)?;
            folder.write("spec.json", spec)?;
            return Ok(folder);
        }
        let making = Folder {
            path: self
                .path
                .join(format!("{MAKING}{}", spec.instance.instance)),
        };
        remove_tree(&making.path)?;
        let failed = |e: std::io::Error| RoomError::kernel(making.path.display().to_string(), e);
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        // Set-user-id programs and other people's files are in there.
        rustix::fs::chmod(&self.path, Mode::from(0o700)).map_err(|e| failed(e.into()))?;
        std::fs::create_dir(&making.path).map_err(failed)?;
        self.make_disk(&making)?;
        making.write("spec.json", spec)?;
        std::fs::rename(&making.path, &folder.path).map_err(failed)?;
        Ok(folder)
    }

    fn make_disk(&self, folder: &Folder) -> Result<(), RoomError> {
        let new = !folder.path.join("upper").exists();
        for name in ["upper", "work"] {
            let path = folder.path.join(name);
            let failed = |e: std::io::Error| RoomError::kernel(path.display().to_string(), e);
            match std::fs::create_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed)?,
            }
        }
        let upper = folder.path.join("upper");
        let (uid, gid) = (Uid::from_raw(self.uid_base), Gid::from_raw(self.uid_base));
        // It is the instance's `/`, which its users must be able to enter whatever our umask is.
        rustix::fs::chown(&upper, Some(uid), Some(gid))
            .and_then(|()| {
                if new {
                    rustix::fs::chmod(&upper, Mode::from(0o755))
                } else {
                    Ok(())
                }
            })
            .map_err(|e| RoomError::kernel(upper.display().to_string(), e))
    }

    /// Writes the addresses of a flat network into the instance's disk, as nova did: the file that
    /// Debian's ifupdown and busybox's `ifup` read.
    pub(super) fn inject(&self, folder: &Folder, net: &InjectedNetwork) -> Result<(), RoomError> {
        let etc = folder.path.join("upper/etc");
        let network = etc.join("network");
        let path = network.join("interfaces");
        let failed = |e: std::io::Error| RoomError::kernel(path.display().to_string(), e);
        let (uid, gid) = (Uid::from_raw(self.uid_base), Gid::from_raw(self.uid_base));
        // The disk is the instance's to fill: never write through a link it may have put there.
        for parent in [&etc, &network] {
            match std::fs::symlink_metadata(parent) {
                Ok(meta) if meta.is_dir() => continue,
                Ok(_) => std::fs::remove_file(parent).map_err(failed)?,
                Err(_) => {}
            }
            std::fs::create_dir(parent).map_err(failed)?;
            rustix::fs::chown(parent, Some(uid), Some(gid))
                .and_then(|()| rustix::fs::chmod(parent, Mode::from(0o755)))
                .map_err(|e| failed(e.into()))?;
        }
        let mut file = tempfile::NamedTempFile::new_in(&network).map_err(failed)?;
        file.write_all(interfaces(net).as_bytes()).map_err(failed)?;
        rustix::fs::fchown(file.as_file(), Some(uid), Some(gid)).map_err(|e| failed(e.into()))?;
        rustix::fs::fchmod(file.as_file(), Mode::from(0o644)).map_err(|e| failed(e.into()))?;
        file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn console(&self) -> PathBuf {
        self.path.join("console.log")
    }

    pub(super) fn spec(&self) -> Option<Spec> {
        self.read("spec.json")
    }

    pub(super) fn state(&self) -> Option<State> {
        self.read("state.json")
    }

    pub(super) fn set_state(&self, state: &State) -> Result<(), RoomError> {
        self.write("state.json", state)
    }

    /// Removes it, aside first, so that a half-removed one never looks like an instance.
    pub(super) fn remove(&self) -> Result<(), RoomError> {
        let Some(name) = self.path.file_name() else {
            return Ok(());
        };
        let aside = self
            .path
            .with_file_name(format!("{REMOVED}{}", name.to_string_lossy()));
        remove_tree(&aside)?;
        match std::fs::rename(&self.path, &aside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => {
                other.map_err(|e| RoomError::kernel(self.path.display().to_string(), e))?;
            }
        }
        remove_tree(&aside)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.path.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RoomError> {
        let path = self.path.join(name);
        let failed = |e: std::io::Error| RoomError::kernel(path.display().to_string(), e);
        let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        crate::whole::replace(&path, 0o600, &bytes).map_err(failed)
    }
}

fn remove_tree(path: &Path) -> Result<(), RoomError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(RoomError::kernel(format!("remove {}", path.display()), e))
        }
        _ => Ok(()),
    }
}

fn interfaces(net: &InjectedNetwork) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\taddress {}\n\tnetmask {}\n\tbroadcast {}\n",
        net.address.addr(),
        net.address.netmask(),
        net.address.broadcast(),
    );
    if let Some(gateway) = net.gateway {
        let _ = writeln!(text, "\tgateway {gateway}");
    }
    if !net.dns.is_empty() {
        let servers: Vec<_> = net.dns.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "\tdns-nameservers {}", servers.join(" "));
    }
    text
}

/// Stands for an instance whose notes cannot be read: it is there, and that is all that is known.
pub(super) fn unknown(instance: InstanceId) -> Instance {
    Instance {
        instance,
        hostname: String::new(),
        image: String::new(),
        memory_mb: 0,
        vcpus: 0,
        ports: 0,
        boot: 0,
        injected: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_instances_users_may_enter_its_disk_whatever_our_umask_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::new(dir.path(), 0);
        let net = InjectedNetwork {
            address: "10.0.0.5/24".parse().unwrap(),
            gateway: None,
            dns: Vec::new(),
        };
        let spec = Spec {
            instance: unknown(InstanceId(1)),
            ports: Vec::new(),
        };
        // As systemd's UMask=0077. Other tests of this process make nothing that others must read.
        let before = rustix::process::umask(Mode::from(0o077));
        let folder = folders.ensure(&spec);
        let injected = folder.as_ref().map(|f| folders.inject(f, &net).is_ok());
        rustix::process::umask(before);
        assert!(injected.unwrap());
        for path in ["upper", "upper/etc", "upper/etc/network"] {
            let meta = std::fs::metadata(folder.as_ref().unwrap().path().join(path)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o755, "{path}");
        }
    }

    #[test]
    fn a_flat_instance_finds_its_addresses_as_ifupdown_reads_them() {
        let net = InjectedNetwork {
            address: "10.0.0.5/24".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            dns: vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()],
        };
        insta::assert_snapshot!(interfaces(&net).replace('\t', "  "), @r"
        auto lo
        iface lo inet loopback

        auto eth0
        iface eth0 inet static
          address 10.0.0.5
          netmask 255.255.255.0
          broadcast 10.0.0.255
          gateway 10.0.0.1
          dns-nameservers 9.9.9.9 1.1.1.1
        ");
    }
}
