//! Kernel settings that a host needs: forwarding, and bridged packets passing the ip rules. What
//! was there before is remembered, so that removing novanet from a host gives it back.

use super::state_dir;
use crate::subsystem::SubsystemError;
use novanet_model::IfName;
use std::io;
use std::path::{Path, PathBuf};

/// All of them, by their path below `/proc/sys`; each must be 1.
pub(crate) const ALL: [&str; 3] = [
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/ip_forward",
];

/// What each of them must be.
pub(crate) const ON: &str = "1";

/// What comes in by an interface is sent on. Each has its own; one that comes later begins with what
/// `ip_forward` was set to last.
pub(crate) const FORWARDING: (&str, &str) = ("forwarding", ON);

/// What is set of each bridge of ours, whose settings are ours alone. What `all` says counts too: of
/// `rp_filter` and `arp_ignore` the larger number is in force, the others are on if one of both is.
pub(crate) const OF_OUR_BRIDGES: [(&str, &str); 7] = [
    FORWARDING,
    // An instance with several addresses may answer by another port: 1 would drop that, 2 of the
    // bridge is larger than a 1 of `all`.
    ("rp_filter", "2"),
    // The gateway's address is answered.
    ("arp_ignore", "0"),
    ("arp_filter", "0"),
    // And nobody else's.
    ("proxy_arp", "0"),
    ("proxy_arp_pvlan", "0"),
    // 127.0.0.0/8 is the host's own.
    ("route_localnet", "0"),
];

/// Where a setting of an interface is.
pub(crate) fn conf(interface: &IfName, setting: &str) -> String {
    format!("net/ipv4/conf/{interface}/{setting}")
}

/// Interfaces whose forwarding was off before us, by our notes.
pub(crate) fn recorded_forwarding(state_dir: &Path) -> Vec<IfName> {
    state_dir::interfaces(state_dir, "sysctl-net.ipv4.conf.", ".forwarding")
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys").join(path)
}

/// The value; `None`: this kernel (or namespace) has no such setting.
pub(crate) fn read(path: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(file(path)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an interface keeps quiet about addresses that are not its own, which a floating IP with
/// only a route is.
pub(crate) fn is_quiet(interface: &str) -> bool {
    ["all", interface].into_iter().any(|name| {
        let value = read(&format!("net/ipv4/conf/{name}/arp_ignore"));
        value.is_ok_and(|value| value.is_some_and(|value| value != "0"))
    })
}

/// Whether no device answers ARP for any address of the host, because somebody set that for all.
pub(crate) fn nobody_answers() -> bool {
    let value = read("net/ipv4/conf/all/arp_ignore");
    value.is_ok_and(|value| value.as_deref() == Some("8"))
}

/// Sets it, after noting what it was in `notes`.
pub(crate) fn set(state_dir: &Path, path: &str, value: &str) -> Result<(), SubsystemError> {
    let before = match read_or_refuse(path)? {
        Some(before) => before,
        None if path.starts_with("net/bridge/") => {
            load_br_netfilter(path)?;
            read_or_refuse(path)?.ok_or_else(|| missing(path))?
        }
        None => return Err(missing(path)),
    };
    let record = record(state_dir, path);
    if before != value && !record.exists() {
        state_dir::write(&record, before.as_bytes())
            .map_err(|e| SubsystemError::kernel(format!("write {}", record.display()), e))?;
    }
    write(path, value)
}

/// Gives back the value that was there before us, if we changed it.
pub(crate) fn restore(state_dir: &Path, path: &str) -> Result<(), SubsystemError> {
    let Some(before) = recorded(state_dir, path)? else {
        return Ok(());
    };
    // The setting of an interface that is gone is gone with it.
    if read_or_refuse(path)?.is_some() {
        write(path, &before)?;
    }
    let record = record(state_dir, path);
    state_dir::remove(&record)
        .map_err(|e| SubsystemError::kernel(format!("remove {}", record.display()), e))
}

/// What [`restore`] has to give back.
pub(crate) fn recorded(state_dir: &Path, path: &str) -> Result<Option<String>, SubsystemError> {
    let record = record(state_dir, path);
    match std::fs::read_to_string(&record) {
        Ok(before) => Ok(Some(before)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SubsystemError::kernel(
            format!("read {}", record.display()),
            error,
        )),
    }
}

fn record(state_dir: &Path, path: &str) -> PathBuf {
    state_dir.join(format!("sysctl-{}", path.replace('/', ".")))
}

fn read_or_refuse(path: &str) -> Result<Option<String>, SubsystemError> {
    read(path).map_err(|e| SubsystemError::kernel(format!("read {}", file(path).display()), e))
}

/// Sets it, of a thing of ours: nothing to note, it goes with the thing.
pub(crate) fn write(path: &str, value: &str) -> Result<(), SubsystemError> {
    std::fs::write(file(path), value).map_err(|e| {
        SubsystemError::kernel(
            format!("set sysctl {} to {value}", path.replace('/', ".")),
            e,
        )
    })
}

fn missing(path: &str) -> SubsystemError {
    SubsystemError::Refused(format!(
        "sysctl {} is not there: load the kernel module (modprobe br_netfilter; \
         echo br_netfilter > /etc/modules-load.d/br_netfilter.conf), \
         without it security groups do not hold between instances of one bridge",
        path.replace('/', ".")
    ))
}

fn load_br_netfilter(path: &str) -> Result<(), SubsystemError> {
    // Not by PATH: cron and sudo leave sbin out of it.
    let places = ["/usr/sbin/modprobe", "/sbin/modprobe"];
    let program = places.iter().find(|place| Path::new(place).exists());
    let loaded = program.map(|program| {
        let mut command = std::process::Command::new(program);
        command.arg("br_netfilter").output()
    });
    match loaded {
        Some(Ok(output)) if output.status.success() => Ok(()),
        _ => Err(missing(path)),
    }
}
