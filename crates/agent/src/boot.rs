//! Which time this host is up: what was noted before it was started again may not hold any more.

/// Differs after each start of the kernel.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
