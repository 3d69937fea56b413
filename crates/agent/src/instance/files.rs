//! An instance's folder, `state_path/instances/i-…`: its spec, its state, its disk and its console.
//! A restarted agent knows nothing else of an instance. Depends on [`super::disk`] and
//! [`super::range`].

use super::disk;
use super::process::ProcessId;
use super::range::{self, Ranges};
use novanet_model::InstanceId;
use novanet_model::object::{Instance, Port};
use novanet_reconcile::SubsystemError;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The objects that an instance is made from: `spec.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) instance: Instance,
    pub(super) ports: Vec<Port>,
}

/// The last boot of an instance: `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The number of the boot.
    pub(super) boot: i64,
    /// The boot id of the kernel. If it is another one now, the agent starts the instance again; an
    /// instance that ended by itself stays stopped.
    pub(super) host_boot: String,
    /// Its first process; `None`: the driver has not started it.
    pub(super) process: Option<ProcessId>,
}

/// Prefix of folders that an agent is removing.
const REMOVED: &str = ".removed-";
/// The file that says that the disk has the files of the first boot.
const FIRST_BOOT_DONE: &str = "first-boot.json";
/// Prefix of folders that an agent is making.
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
    ranges: Ranges,
    /// Whether this host has loop devices; not set: not probed yet.
    has_loops: Arc<OnceLock<bool>>,
}

impl Folders {
    pub(super) fn new(state_path: &Path, uid_base: u32) -> Self {
        Self {
            path: state_path.join("instances"),
            ranges: Ranges::new(uid_base),
            has_loops: Arc::default(),
        }
    }

    pub(super) fn of(&self, instance: InstanceId) -> Folder {
        Folder {
            path: self.path.join(instance.to_string()),
        }
    }

    /// The instances that have a folder. Removes unfinished folders of a killed agent.
    pub(super) fn list(&self) -> Result<Vec<InstanceId>, SubsystemError> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => {
                other.map_err(|e| SubsystemError::kernel(self.path.display().to_string(), e))?
            }
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

    /// Makes the folder with its spec and an empty disk of `bytes`, or writes the new spec into an
    /// existing folder. An existing disk stays as it is. `own_ids`: whether a new instance gets ids
    /// of its own.
    pub(super) fn ensure(
        &self,
        spec: &Spec,
        bytes: u64,
        own_ids: impl FnOnce() -> bool,
    ) -> Result<Folder, SubsystemError> {
        let folder = self.of(spec.instance.instance);
        if folder.path.exists() {
            self.ensure_disk(&folder, bytes)?;
            folder.write("spec.json", spec)?;
            return Ok(folder);
        }
        let making = Folder {
            path: self
                .path
                .join(format!("{MAKING}{}", spec.instance.instance)),
        };
        remove_tree(&making.path)?;
        let failed =
            |e: std::io::Error| SubsystemError::kernel(making.path.display().to_string(), e);
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        // Below are set-user-id programs and users' files.
        rustix::fs::chmod(&self.path, Mode::from(0o700)).map_err(|e| failed(e.into()))?;
        std::fs::create_dir(&making.path).map_err(failed)?;
        if own_ids() {
            self.ranges.allocate(&making.path, &self.path)?;
        }
        self.ensure_disk(&making, bytes)?;
        making.write("spec.json", spec)?;
        std::fs::rename(&making.path, &folder.path).map_err(failed)?;
        Ok(folder)
    }

    fn ensure_disk(&self, folder: &Folder, bytes: u64) -> Result<(), SubsystemError> {
        if disk::is_in(&folder.path) {
            return Ok(());
        }
        // `upper`: an older agent made the folder, or the host had no loop devices.
        let old = folder.path.join("upper").exists();
        if !old && *self.has_loops.get_or_init(|| self.probe_loops()) {
            disk::make(&folder.path, bytes)
        } else {
            disk::make_layers(&folder.path, self.ranges.root_of(&folder.path))
        }
    }

    /// The host's id of an instance's root.
    pub(super) fn root_id(&self, folder: &Folder) -> u32 {
        self.ranges.root_of(&folder.path)
    }

    /// Removes an instance's folder and frees its ids.
    pub(super) fn remove(&self, folder: &Folder) -> Result<(), SubsystemError> {
        let number = range::number_of(&folder.path);
        folder.remove()?;
        self.ranges.release(number);
        Ok(())
    }

    fn probe_loops(&self) -> bool {
        let problem = disk::unavailable(&self.path);
        if let Some(problem) = &problem {
            tracing::warn!(
                problem,
                "this host has no loop devices: new instances run without a limit on their disks"
            );
        }
        problem.is_none()
    }
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn spec(&self) -> Option<Spec> {
        self.read("spec.json")
    }

    pub(super) fn state(&self) -> Option<State> {
        self.read("state.json")
    }

    pub(super) fn set_state(&self, state: &State) -> Result<(), SubsystemError> {
        self.write("state.json", state)
    }

    /// Whether the disk has the files of the first boot.
    pub(super) fn is_first_boot_done(&self) -> bool {
        self.path.join(FIRST_BOOT_DONE).exists()
    }

    pub(super) fn set_first_boot_done(&self) -> Result<(), SubsystemError> {
        self.write(FIRST_BOOT_DONE, &true)
    }

    /// Renames the folder, then removes it: a half-removed one must not look like an instance.
    fn remove(&self) -> Result<(), SubsystemError> {
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
                other.map_err(|e| SubsystemError::kernel(self.path.display().to_string(), e))?;
            }
        }
        remove_tree(&aside)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.path.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), SubsystemError> {
        let path = self.path.join(name);
        let failed = |e: std::io::Error| SubsystemError::kernel(path.display().to_string(), e);
        let bytes = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        crate::atomic_file::replace(&path, 0o600, &bytes).map_err(failed)
    }
}

fn remove_tree(path: &Path) -> Result<(), SubsystemError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(SubsystemError::kernel(
            format!("remove {}", path.display()),
            e,
        )),
        _ => Ok(()),
    }
}

/// Stands for an instance whose `spec.json` cannot be read.
pub(super) fn unknown(instance: InstanceId) -> Instance {
    Instance {
        instance,
        hostname: String::new(),
        image: String::new(),
        memory_mb: 0,
        vcpus: 0,
        disk_gb: 0,
        ports: 0,
        boot: 0,
        halted: false,
        injected: None,
        more_injected: Vec::new(),
    }
}
