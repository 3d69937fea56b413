//! The boot of this host: notes of an earlier boot may be wrong now.

/// Differs after each start of the kernel.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
