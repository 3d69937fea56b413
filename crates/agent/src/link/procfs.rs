//! Files below `/proc/sys`, by their path there: reads and writes settings, and records what a
//! setting was before novanet changed it. Depends on the state directory.

use super::state_dir;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::io;
use std::path::{Path, PathBuf};

/// Path of a setting of an interface.
pub(super) fn conf(interface: &IfName, setting: &str) -> String {
    format!("net/ipv4/conf/{interface}/{setting}")
}

/// Interfaces whose `forwarding` novanet changed, by the records.
pub(super) fn recorded_forwarding(state_dir: &Path) -> Vec<IfName> {
    state_dir::interfaces(state_dir, "sysctl-net.ipv4.conf.", ".forwarding")
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys").join(path)
}

/// The value; `None`: this kernel, or network namespace, has no such setting.
pub(super) fn read(path: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(file(path)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an interface answers ARP for its own addresses only (`arp_ignore`), so not for a
/// floating IP that has a route only.
pub(super) fn answers_own_addresses_only(interface: &str) -> bool {
    ["all", interface].into_iter().any(|name| {
        let value = read(&format!("net/ipv4/conf/{name}/arp_ignore"));
        value.is_ok_and(|value| value.is_some_and(|value| value != "0"))
    })
}

/// Whether the host answers no ARP at all: `arp_ignore` of all interfaces is 8.
pub(super) fn answers_no_arp() -> bool {
    let value = read("net/ipv4/conf/all/arp_ignore");
    value.is_ok_and(|value| value.as_deref() == Some("8"))
}

/// Changes a setting, after recording what it was. Loads `br_netfilter` for its settings.
pub(super) fn change(state_dir: &Path, path: &str, value: &str) -> Result<(), SubsystemError> {
    let before = match read_or_refuse(path)? {
        Some(before) => before,
        None if path.starts_with("net/bridge/") => {
            load_br_netfilter(path)?;
            read_or_refuse(path)?.ok_or_else(|| missing(path))?
        }
        None => return Err(missing(path)),
    };
    let record = record_path(state_dir, path);
    if before != value && !record.exists() {
        state_dir::write(&record, before.as_bytes())
            .map_err(|e| SubsystemError::kernel(format!("write {}", record.display()), e))?;
    }
    write(path, value)
}

/// Sets the recorded value again, if novanet changed the setting, and removes the record.
pub(super) fn restore(state_dir: &Path, path: &str) -> Result<(), SubsystemError> {
    let Some(before) = recorded(state_dir, path)? else {
        return Ok(());
    };
    // The kernel removes an interface's settings with the interface.
    if read_or_refuse(path)?.is_some() {
        write(path, &before)?;
    }
    let record = record_path(state_dir, path);
    state_dir::remove(&record)
        .map_err(|e| SubsystemError::kernel(format!("remove {}", record.display()), e))
}

/// The recorded value; `None`: novanet has not changed the setting.
pub(super) fn recorded(state_dir: &Path, path: &str) -> Result<Option<String>, SubsystemError> {
    let record = record_path(state_dir, path);
    match std::fs::read_to_string(&record) {
        Ok(before) => Ok(Some(before)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SubsystemError::kernel(
            format!("read {}", record.display()),
            error,
        )),
    }
}

fn record_path(state_dir: &Path, path: &str) -> PathBuf {
    state_dir.join(format!("sysctl-{}", path.replace('/', ".")))
}

fn read_or_refuse(path: &str) -> Result<Option<String>, SubsystemError> {
    read(path).map_err(|e| SubsystemError::kernel(format!("read {}", file(path).display()), e))
}

/// Sets a setting of a device of novanet's: without a record, because it goes with the device.
pub(super) fn write(path: &str, value: &str) -> Result<(), SubsystemError> {
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
    // Not by PATH, from which cron and sudo omit sbin.
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
