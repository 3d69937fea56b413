//! Instances as containers of an OCI runtime (runc or crun): user, process, mount, host name, network, IPC
//! and cgroup namespaces, a copy-on-write disk over the image, a list of system calls, few capabilities.
//!
//! The runtime is run three times in an instance's life (create, start, delete) and never to look at it.
//! The disk is mounted in a mount namespace that only the runtime sees: the host's table of mounts stays
//! as it was, and the mount goes when the instance does, whoever was killed.

mod cgroup;
mod config;
mod profile;

pub use cgroup::Cgroups;

use super::driver::{Driver, Machine};
use crate::room::RoomError;
use crate::settings::Settings;
use config::Host;
use futures_util::future::BoxFuture;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use novanet_model::InstanceId;
use rustix::process::{Resource, getrlimit};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the disk is mounted, in a mount namespace of its own, on a file system of its own: every folder
/// above it can be entered by the instance's users, which `state_path` cannot.
const ROOT: &str = "/run/disk";

/// Open files that a process of an instance may ask for.
const FILES: u64 = 65_536;

/// Instances by an OCI runtime.
#[derive(Debug, Clone)]
pub struct Oci {
    program: PathBuf,
    /// The runtime's own notes.
    state: PathBuf,
    host: Host,
}

impl Oci {
    /// Looks for a runtime that works on this host. The error names the package to install.
    pub fn probe(settings: &Settings) -> Result<Self, RoomError> {
        let cgroups = Cgroups::probe();
        // crun 1.8 refuses cgroup v1; where both work it is the faster one.
        let candidates: &[&str] = if cgroups.unified {
            &["crun", "runc"]
        } else {
            &["runc"]
        };
        let program = candidates
            .iter()
            .find_map(|name| find_program(name))
            .ok_or_else(|| {
                RoomError::Refused(
                    "no OCI runtime to run instances with: install the Debian package runc"
                        .to_owned(),
                )
            })?;
        let state = settings.state_path.join("runtime");
        let text = settings.state_path.to_string_lossy();
        if text.contains([',', ':', '\\']) || !settings.state_path.is_absolute() {
            return Err(RoomError::Refused(format!(
                "state_path {text}: must be absolute, and instances' disks cannot be mounted from a path with ',', ':' or '\\' in it"
            )));
        }
        let mut name = Sha256::new();
        name.update(settings.host.as_bytes());
        name.update([0]);
        name.update(text.as_bytes());
        Ok(Self {
            program,
            state,
            host: Host {
                uid_base: settings.instance_uid_base,
                cgroups,
                // Several agents may share one kernel (a demo, tests): theirs are not ours.
                cgroup_parent: format!("novanet-{}", &crate::image::hex(&name.finalize())[..12]),
                tun: Path::new("/dev/net/tun").exists(),
                files: getrlimit(Resource::Nofile)
                    .maximum
                    .unwrap_or(FILES)
                    .min(FILES),
            },
        })
    }

    /// What this host can hold instances to.
    pub fn cgroups(&self) -> Cgroups {
        self.host.cgroups
    }

    /// The cgroup of an instance, below each hierarchy.
    pub fn cgroup_of(&self, instance: InstanceId) -> String {
        format!("{}/{instance}", self.host.cgroup_parent)
    }

    fn create_now(&self, machine: &Machine) -> Result<i32, RoomError> {
        self.clean_now(machine.instance)?;
        let failed =
            |what: &Path, e: std::io::Error| RoomError::kernel(what.display().to_string(), e);
        std::fs::create_dir_all(&self.state).map_err(|e| failed(&self.state, e))?;
        let file = machine.folder.join("config.json");
        let text = config::config(&self.host, machine, ROOT).to_string();
        std::fs::write(&file, text).map_err(|e| failed(&file, e))?;
        let console = machine.folder.join("console.log");
        let console = File::options()
            .append(true)
            .create(true)
            .open(&console)
            .map_err(|e| failed(&console, e))?;
        let again = console.try_clone().map_err(|e| failed(&file, e))?;
        let pid_file = machine.folder.join("pid");
        enter_private_mounts(machine)?;
        let mut command = self.command(&machine.folder);
        command
            .arg("create")
            .arg("--bundle")
            .arg(&machine.folder)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(machine.instance.to_string())
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(again);
        run(
            &mut command,
            &format!("create {}", machine.instance),
            &machine.folder,
        )?;
        let pid = std::fs::read_to_string(&pid_file).map_err(|e| failed(&pid_file, e))?;
        pid.trim()
            .parse()
            .map_err(|_| RoomError::Refused(format!("{}: is no pid", pid_file.display())))
    }

    fn clean_now(&self, instance: InstanceId) -> Result<(), RoomError> {
        self.wait_for_stray_runtimes();
        let name = instance.to_string();
        if self.state.join(&name).exists() {
            let mut command = self.command(&self.state);
            command.args(["delete", "--force", &name]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            run(&mut command, &format!("delete {name}"), &self.state)?;
        }
        Ok(())
    }

    /// An agent that was killed leaves its `create` running for some milliseconds.
    fn wait_for_stray_runtimes(&self) {
        let _ = self;
    }

    fn command(&self, log_folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(&self.state)
            .arg("--log")
            .arg(log_folder.join("runtime.log"))
            .args(["--log-format", "json"]);
        command
    }
}

impl Driver for Oci {
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, RoomError>> {
        let (this, machine) = (self.clone(), machine.clone());
        Box::pin(on_own_thread(move || this.create_now(&machine)))
    }

    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), RoomError>> {
        let this = self.clone();
        Box::pin(on_own_thread(move || {
            let mut command = this.command(&this.state);
            command
                .arg("start")
                .arg(instance.to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            run(&mut command, &format!("start {instance}"), &this.state)
        }))
    }

    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), RoomError>> {
        let this = self.clone();
        Box::pin(on_own_thread(move || this.clean_now(instance)))
    }

    fn sweep(&self) {
        for folder in cgroup::folders(&self.host.cgroup_parent) {
            // Not empty: somebody's instance is in there after all.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Takes this thread into a mount namespace of its own, with the instance's disk at [`ROOT`].
fn enter_private_mounts(machine: &Machine) -> Result<(), RoomError> {
    let failed =
        |what: &str, e: nix::Error| RoomError::kernel(format!("{}: {what}", machine.instance), e);
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| failed("make a mount namespace", e))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(|e| failed("make mounts private", e))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .map_err(|e| failed("mount /run", e))?;
    std::fs::create_dir(ROOT).map_err(|e| RoomError::kernel(ROOT, e))?;
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        machine.image.display(),
        machine.folder.join("upper").display(),
        machine.folder.join("work").display()
    );
    let overlay = Some("overlay");
    mount(
        overlay,
        ROOT,
        overlay,
        MsFlags::empty(),
        Some(layers.as_str()),
    )
    .map_err(|e| failed("mount the disk", e))
}

/// Runs the runtime. Its standard streams may be the instance's, so what it has to say is in its log.
fn run(command: &mut Command, what: &str, log_folder: &Path) -> Result<(), RoomError> {
    let command_line = format!("{} {what}", command_name(command));
    let failed = |message: String| RoomError::Command {
        command: command_line.clone(),
        message,
    };
    let log = log_folder.join("runtime.log");
    let before = log.metadata().map_or(0, |m| m.len());
    let status = match command.status() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => return Err(failed(error.to_string())),
    };
    let said = std::fs::read(&log).unwrap_or_default();
    let new = usize::try_from(before)
        .ok()
        .and_then(|before| said.get(before..))
        .unwrap_or_default();
    Err(failed(
        last_error(&String::from_utf8_lossy(new)).unwrap_or(status),
    ))
}

fn command_name(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The message of the last error in a runtime's JSON log.
fn last_error(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["level"] == "error").then(|| line["msg"].as_str().map(str::to_owned))?
    })
}

/// Runs something that leaves its thread changed, or that blocks, on a thread that ends with it.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RoomError> + Send + 'static,
) -> Result<T, RoomError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("runtime".to_owned())
        .spawn(move || {
            let _ = tell.send(work());
        })
        .map_err(|e| RoomError::kernel("start a thread", e))?;
    told.await
        .map_err(|_| RoomError::Refused("the thread of the runtime ended early".to_owned()))?
}

fn find_program(name: &str) -> Option<PathBuf> {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .map(|folder| Path::new(folder).join(name))
    .find(|path| path.is_file())
}
