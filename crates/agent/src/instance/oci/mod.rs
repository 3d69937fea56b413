//! A driver that runs instances as containers of an OCI runtime (runc or crun): all namespaces, a
//! copy-on-write disk over the image, a list of system calls, few capabilities. Depends on the
//! runtime, on util-linux, and on what the kernel offers.
//!
//! The driver runs the runtime three times per instance (create, start, delete), never to observe.
//! It mounts the disk in a mount namespace of the runtime's own: the host's table of mounts stays
//! as it is, and the mount ends with the instance, also when the agent or the runtime is killed.

mod cgroup;
mod config;
mod ids;
mod profile;
mod stage;
mod stray;
mod userns;

pub use cgroup::{Cgroups, Version};

use super::console;
use super::disk::{Disk, make_layers};
use super::driver::{Driver, Machine};
use super::inject::write_file;
use super::program;
use crate::private;
use crate::settings::Settings;
use config::{Host, Stage};
use futures_util::future::BoxFuture;
use ids::{Ids, Namespaces};
use novanet_model::InstanceId;
use novanet_reconcile::SubsystemError;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use sha2::{Digest, Sha256};
use stage::Cover;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Folders that every host has and every user may enter. In the instance's mount namespace a tmpfs
/// covers one of them, which is not above `state_path`, and holds the disk: the instance's users
/// must be able to enter it, and only root may enter `state_path`.
const STAGES: [&str; 4] = ["/run", "/mnt", "/tmp", "/media"];

/// Hard limit of open files of a process in an instance.
const FILES: u64 = 65_536;
/// Soft limit of open files.
const SOFT_FILES: u64 = 1024;

/// The driver. See the head of this file.
#[derive(Debug, Clone)]
pub struct Oci {
    program: PathBuf,
    /// The runtime's state and logs.
    folder: PathBuf,
    /// One of [`STAGES`].
    stage: &'static str,
    host: Host,
    /// Set when no runtime of an earlier agent runs any more.
    alone: Arc<OnceLock<()>>,
    ids: Ids,
    /// Whether the agent may raise limits of other users' processes.
    can_set_limits: bool,
}

impl Oci {
    /// Looks for a runtime that works on this host. The error names the package to install.
    pub fn probe(settings: &Settings) -> Result<Self, SubsystemError> {
        let cgroups = Cgroups::probe();
        // crun 1.8 refuses cgroup v1; where both work it is the faster one.
        let candidates: &[&str] = match cgroups.version {
            Version::V1 => &["runc"],
            Version::V2 => &["crun", "runc"],
        };
        let program = candidates
            .iter()
            .find_map(|name| program::installed(name))
            .ok_or_else(|| {
                SubsystemError::Refused(
                    "no OCI runtime to run instances with: install the Debian package runc"
                        .to_owned(),
                )
            })?;
        let text = settings.state_path.to_string_lossy();
        let real = std::fs::canonicalize(&settings.state_path)
            .unwrap_or_else(|_| settings.state_path.clone());
        let stage = STAGES
            .into_iter()
            .find(|stage| Path::new(stage).is_dir() && !real.starts_with(stage));
        let (false, true, Some(stage)) = (
            text.contains([',', ':', '\\']),
            settings.state_path.is_absolute(),
            stage,
        ) else {
            return Err(SubsystemError::Refused(format!(
                "state_path {text}: must be absolute, and instances' disks cannot be mounted from a path with ',', ':' or '\\' in it"
            )));
        };
        let mut name = Sha256::new();
        name.update(settings.host.as_bytes());
        name.update([0]);
        name.update(text.as_bytes());
        Ok(Self {
            program,
            folder: settings.state_path.join("runtime"),
            stage,
            alone: Arc::default(),
            ids: Ids::new(stage, settings),
            can_set_limits: capabilities(None)
                .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE)),
            host: Host {
                cgroups,
                // Several agents may share one kernel (a demo, tests), each with its own cgroups.
                cgroup_parent: format!("novanet-{}", &hex::encode(name.finalize())[..12]),
                files: getrlimit(Resource::Nofile)
                    .maximum
                    .unwrap_or(FILES)
                    .min(FILES),
            },
        })
    }

    /// The limits that this host can enforce.
    pub fn cgroups(&self) -> Cgroups {
        self.host.cgroups
    }

    /// The cgroup of an instance, below each hierarchy.
    pub fn cgroup_of(&self, instance: InstanceId) -> String {
        format!("{}/{instance}", self.host.cgroup_parent)
    }

    fn create_now(&self, machine: &Machine) -> Result<i32, SubsystemError> {
        self.clean_now(machine.instance)?;
        let namespaces = self.ids.namespaces_for(machine)?;
        let disk = Disk::open(machine.instance, &machine.folder)?;
        let stage = self.set_stage(machine, disk, namespaces)?;
        let pid_file = machine.folder.join("pid");
        let joins = stage.user_namespace.is_some();
        match self.run_create(machine, &stage, &pid_file) {
            Ok(()) if joins => self.ids.joined(),
            // Not every runtime can start an instance in an existing namespace.
            Err(error) if joins && !self.ids.is_known_to_join() => {
                self.clean_now(machine.instance)?;
                let stage = Stage {
                    user_namespace: None,
                    ..stage
                };
                self.run_create(machine, &stage, &pid_file)?;
                self.ids.cannot_join(&error);
            }
            other => other?,
        }
        let pid = std::fs::read_to_string(&pid_file)
            .map_err(|e| SubsystemError::kernel(pid_file.display().to_string(), e))?;
        let pid: i32 = pid
            .trim()
            .parse()
            .map_err(|_| SubsystemError::Refused(format!("{}: is no pid", pid_file.display())))?;
        // crun 1.8 reads the configuration's 0 as: the parent's value, which is lower under
        // systemd. The instance runs without it if the kernel refuses.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
        Ok(pid)
    }

    fn run_create(
        &self,
        machine: &Machine,
        stage: &Stage,
        pid_file: &Path,
    ) -> Result<(), SubsystemError> {
        let failed =
            |what: &Path, e: std::io::Error| SubsystemError::kernel(what.display().to_string(), e);
        let file = machine.folder.join("config.json");
        // In a user namespace that root did not make, the runtime needs this capability to set
        // limits.
        let inherits = stage.user_namespace.is_some() && !self.can_set_limits;
        let prefix = if inherits {
            let files = self.host.files;
            let limit = format!("--nofile={}:{files}", files.min(SOFT_FILES));
            vec![program::find("prlimit")?.into_os_string(), limit.into()]
        } else {
            Vec::new()
        };
        let mut config = config::config(&self.host, machine, stage);
        if inherits {
            config["process"]["rlimits"] = serde_json::json!([]);
        }
        let text = config.to_string();
        private::write(&file, text.as_bytes()).map_err(|e| failed(&file, e))?;
        let fifo = console::fifo(&machine.folder);
        let writer = console::open_writer(&machine.folder).map_err(|e| failed(&fifo, e))?;
        let copy = || writer.try_clone().map_err(|e| failed(&fifo, e));
        let (stdout, stderr) = (copy()?, copy()?);
        self.run_after(&prefix, machine.instance, "create", |command| {
            command
                .arg("--bundle")
                .arg(&machine.folder)
                .arg("--pid-file")
                .arg(pid_file)
                .stdout(stdout)
                .stderr(stderr);
        })?;
        console::never_blocks(&writer).map_err(|e| failed(&fifo, e))
    }

    fn clean_now(&self, instance: InstanceId) -> Result<(), SubsystemError> {
        self.alone
            .get_or_init(|| stray::wait_for_the_end(&self.state()));
        // The log of a runtime whose agent was killed.
        let _ = std::fs::remove_file(self.log(instance));
        if self.state().join(instance.to_string()).exists() {
            self.run(instance, "delete", |command| {
                command.arg("--force");
            })?;
        }
        // A runtime that was killed before it had written its state leaves a cgroup that its
        // `delete` knows nothing of.
        let name = self.cgroup_of(instance);
        cgroup::remove(&name).map_err(|e| SubsystemError::kernel(format!("cgroup {name}"), e))
    }

    fn log(&self, instance: InstanceId) -> PathBuf {
        self.folder.join(format!("{instance}.log"))
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Moves this thread into a mount namespace of its own, and mounts the instance's disk there.
    fn set_stage(
        &self,
        machine: &Machine,
        disk: Option<Disk>,
        namespaces: Option<Namespaces>,
    ) -> Result<Stage, SubsystemError> {
        let cover = Cover::enter(self.stage)?;
        let own = match disk {
            Some(disk) => {
                let space = cover.folder("space")?;
                disk.mount(&space)?;
                make_layers(Path::new(&space), machine.root_id)?;
                PathBuf::from(space)
            }
            None => machine.folder.clone(),
        };
        for file in &machine.files {
            let upper = own.join("upper");
            write_file((&upper, &machine.image), machine.root_id, file)?;
        }
        let mut stage = Stage {
            root: String::new(),
            tun: cover.tun(),
            user_namespace: None,
        };
        let image = match namespaces {
            Some(mut namespaces) => {
                stage.user_namespace = namespaces.own_in(&cover)?;
                namespaces.map_image(&cover, &machine.image)?
            }
            None => machine.image.clone(),
        };
        stage.root = cover.overlay(&image, &own)?;
        Ok(stage)
    }

    /// Runs the runtime. Its standard streams may become the instance's, so it reports errors in a
    /// log.
    fn run(
        &self,
        instance: InstanceId,
        verb: &str,
        more: impl FnOnce(&mut Command),
    ) -> Result<(), SubsystemError> {
        self.run_after(&[], instance, verb, more)
    }

    /// As [`Self::run`], with another program and its arguments in front of the runtime.
    fn run_after(
        &self,
        prefix: &[OsString],
        instance: InstanceId,
        verb: &str,
        more: impl FnOnce(&mut Command),
    ) -> Result<(), SubsystemError> {
        let log = self.log(instance);
        let failed = |message: String| SubsystemError::Command {
            command: format!("{} {verb} {instance}", self.program.display()),
            message,
        };
        private::folder(&self.folder)
            .map_err(|e| SubsystemError::kernel(self.folder.display().to_string(), e))?;
        let mut words = prefix.to_vec();
        words.push(self.program.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("--root")
            .arg(self.state())
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", verb])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        more(&mut command);
        let status = bounded(command.arg(instance.to_string()));
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(
                last_error(&said).unwrap_or_else(|| status.to_string()),
            )),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// How long the runtime may take for one command.
const RUNTIME_TIMEOUT: Duration = Duration::from_mins(1);

/// Runs a program. Kills it after [`RUNTIME_TIMEOUT`].
fn bounded(command: &mut Command) -> std::io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let until = Instant::now() + RUNTIME_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            let message = format!("not done after {} s, ended it", RUNTIME_TIMEOUT.as_secs());
            return Err(std::io::Error::other(message));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Driver for Oci {
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, SubsystemError>> {
        let (this, machine) = (self.clone(), machine.clone());
        Box::pin(on_own_thread(move || this.create_now(&machine)))
    }

    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        let this = self.clone();
        Box::pin(on_own_thread(move || this.run(instance, "start", |_| {})))
    }

    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>> {
        let this = self.clone();
        Box::pin(on_own_thread(move || this.clean_now(instance)))
    }

    fn has_id_ranges(&self) -> bool {
        self.ids.has_ranges()
    }

    fn sweep(&self) {
        for folder in cgroup::folders(&self.host.cgroup_parent) {
            // Fails if a cgroup of an instance is in there.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// The message of the last error in a runtime's JSON log.
fn last_error(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["level"] == "error").then(|| line["msg"].as_str().map(str::to_owned))?
    })
}

/// Runs work that blocks, or that changes its thread's namespaces, on a thread of its own.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SubsystemError> + Send + 'static,
) -> Result<T, SubsystemError> {
    let (sender, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("runtime".to_owned())
        .spawn(move || {
            let _ = sender.send(work());
        })
        .map_err(|e| SubsystemError::kernel("start a thread", e))?;
    result
        .await
        .map_err(|_| SubsystemError::Refused("the thread of the runtime ended early".to_owned()))?
}
