//! Renders `config.json` of the OCI runtime specification for one instance. Pure.

use super::cgroup::Cgroups;
use super::profile;
use crate::image::IDS;
use crate::instance::driver::Machine;
use serde_json::{Value, json};

/// The properties that all instances of a host share.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) cgroups: Cgroups,
    /// Parent of all instances' cgroups.
    pub(super) cgroup_parent: String,
    /// Hard limit of open files: the agent's own one, up to [`super::FILES`].
    pub(super) files: u64,
}

/// What the covered folder holds for the instance.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Its disk, mounted.
    pub(super) root: String,
    /// A node of `/dev/net/tun` that its users may open: often only root may open the host's.
    /// `None`: the kernel refused to make one.
    pub(super) tun: Option<String>,
    /// Path of its user namespace; `None`: the runtime makes one.
    pub(super) user_namespace: Option<String>,
}

/// More processes than any server has, fewer than would starve a host.
const PROCESSES: u32 = 8192;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NAMESPACES: [&str; 7] = ["user", "pid", "mount", "uts", "network", "ipc", "cgroup"];

/// The whole file.
pub(super) fn config(host: &Host, machine: &Machine, stage: &Stage) -> Value {
    let ids = json!([{"containerID": 0, "hostID": machine.root_id, "size": IDS}]);
    json!({
        "ociVersion": "1.0.2",
        "hostname": machine.hostname,
        "root": {"path": stage.root, "readonly": false},
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/sbin/init"],
            "cwd": "/",
            "env": [PATH, "TERM=linux", "container=oci", format!("INSTANCE_ID={}", machine.instance)],
            "capabilities": profile::capabilities(),
            // A server has sudo and su; they make a user root of this namespace only.
            "noNewPrivileges": false,
            // The agent's is lower, so the kernel kills instances first.
            "oomScoreAdj": 0,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": host.files.min(super::SOFT_FILES), "hard": host.files}],
        },
        "mounts": mounts(stage),
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": NAMESPACES.map(|kind| match (kind, &stage.user_namespace) {
                ("user", Some(path)) => json!({"type": kind, "path": path}),
                _ => json!({"type": kind}),
            }),
            "cgroupsPath": format!("/{}/{}", host.cgroup_parent, machine.instance),
            "resources": resources(host, machine),
            // A new network namespace copies the IPv4 settings of the host, which is a router.
            "sysctl": {"net.ipv4.ip_forward": "0"},
            "seccomp": profile::seccomp(),
            "maskedPaths": profile::MASKED,
            "readonlyPaths": profile::READ_ONLY,
        },
    })
}

fn mounts(stage: &Stage) -> Value {
    let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/run",
            "tmpfs",
            &["nosuid", "nodev", "mode=755", "size=65536k"],
        ),
    ];
    if let Some(tun) = &stage.tun {
        // A bind mount: the kernel makes no device nodes in a user namespace.
        mounts.push(json!({
            "destination": "/dev/net/tun", "type": "bind", "source": tun, "options": ["bind", "nosuid", "noexec"],
        }));
    }
    mounts.into()
}

fn resources(host: &Host, machine: &Machine) -> Value {
    let devices = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
    ]);
    let mut resources = json!({"devices": devices});
    if host.cgroups.memory && machine.memory_mb > 0 {
        let limit = u64::from(machine.memory_mb) << 20;
        resources["memory"] = json!({"limit": limit});
        if host.cgroups.swap {
            // The limit is of memory and swap together, so an instance gets no swap beyond its
            // memory.
            resources["memory"]["swap"] = json!(limit);
        }
    }
    if host.cgroups.cpu && machine.vcpus > 0 {
        let period = 100_000;
        resources["cpu"] = json!({
            "shares": 1024 * u64::from(machine.vcpus),
            "period": period,
            "quota": period * i64::from(machine.vcpus),
        });
    }
    if host.cgroups.pids {
        resources["pids"] = json!({"limit": PROCESSES});
    }
    resources
}
