//! Restricts what an instance may ask of the kernel: system calls, capabilities, hidden and
//! read-only files. Pure. It is the second barrier; the first is the user namespace, whose root has
//! no rights on the host.

use serde_json::{Value, json};

const SYSCALLS: &str = include_str!("syscalls.txt");

/// `CLONE_NEW*`: no namespaces of its own.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Unix, IPv4, IPv6, netlink, packet. Servers need no other address family, and the kernel's code
/// of the others had vulnerabilities.
const FAMILIES: [u64; 5] = [1, 2, 10, 16, 17];
/// Plain Linux, a 32-bit `uname`, the old version number, both, and the query. None of those that
/// turn protections off.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Capabilities of root in an instance: those that a server's root needs, its own network included.
/// Not mounting or tracing (`SYS_ADMIN`, `SYS_PTRACE`), modules, the clock, or raw devices.
const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn syscalls() -> Vec<&'static str> {
    SYSCALLS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect()
}

/// The `seccomp` part of a runtime's configuration.
pub(super) fn seccomp() -> Value {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        _ => "SCMP_ARCH_X86_64",
    };
    let mut rules = vec![
        json!({"names": syscalls(), "action": "SCMP_ACT_ALLOW"}),
        json!({
            "names": ["clone"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
        }),
    ];
    rules.extend(FAMILIES.map(|family| allow_with("socket", family)));
    rules.extend(PERSONALITIES.map(|persona| allow_with("personality", persona)));
    // Other families fail as in a kernel without them.
    let above = json!({"index": 0, "value": FAMILIES[4], "op": "SCMP_CMP_GT"});
    rules.push(json!({
        "names": ["socket"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": EAFNOSUPPORT,
        "args": [above],
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": [architecture],
        "syscalls": rules,
    })
}

fn allow_with(name: &str, argument: u64) -> Value {
    json!({
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": argument, "op": "SCMP_CMP_EQ"}],
    })
}

/// The `capabilities` part of a runtime's configuration.
pub(super) fn capabilities() -> Value {
    json!({
        "bounding": CAPABILITIES,
        "effective": CAPABILITIES,
        "permitted": CAPABILITIES,
    })
}

/// Files that show the host.
pub(super) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Files that act on the host. Not `/proc/sys`: in a user namespace the kernel lets an instance
/// write the settings of its own network only.
pub(super) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn system_calls_that_act_on_the_host_are_not_allowed() {
        let allowed: BTreeSet<_> = syscalls().into_iter().collect();
        for door in [
            "mount",
            "personality",
            "syslog",
            "umount2",
            "unshare",
            "setns",
            "clone3",
            "bpf",
            "init_module",
            "kexec_load",
            "open_by_handle_at",
            "reboot",
            "keyctl",
            "perf_event_open",
            "io_uring_setup",
            "userfaultfd",
            "settimeofday",
            "clone",
            "socket",
        ] {
            assert!(!allowed.contains(door), "{door}");
        }
        assert_eq!(allowed.len(), syscalls().len(), "no name twice");
    }
}
